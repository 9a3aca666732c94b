"""The credentials file: the newest tokens, kept between runs and shared by processes.

One file holds an entry for each chain of tokens. A chain is named by the address that mints its
tokens, the client, and a hash of the refresh token that the user configured, from which the others
descend: two organisations on one machine never mix, and a new configured token begins a new chain.

A file of this machine is replaced as a whole, readable by its owner only, under a lock between
processes. An object in a store is written as a whole too, but has no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import filelock
import platformdirs

from target_outreach.errors import CredentialsError, SettingsError
from target_outreach.outreach.tokens import Tokens
from target_outreach.private_files import open_own, refuse_foreign, replace_file
from target_outreach.stored import StoredObject, local_path, public_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

logger = logging.getLogger("target-outreach")

#: Seconds of one try to get the lock, and how many there are: another process that renews a token
#: may be told several times to wait for a minute.
LOCK_LOOK = 0.5
LOCK_TRIES = 1200

VERSION = 1


def default_path() -> str:
    """Return the path of the file in the user's state folder."""
    folder = platformdirs.user_state_dir("target-outreach", appauthor=False)
    return str(Path(folder) / "credentials.json")


def chain_name(endpoint: str, client: str, configured: str | None) -> str:
    """Name a chain of tokens.

    Args:
        endpoint: The address that mints its tokens.
        client: Who asks there.
        configured: The secret that the user configured and the chain begins with; None where it
            begins with a login.
    """
    origin = hashlib.sha256(configured.encode()).hexdigest()[:16] if configured else "login"
    return f"{endpoint} {client} {origin}"


class Chain:
    """The entry of one chain in a credentials file."""

    def __init__(self, path: str, name: str) -> None:
        """Read nothing yet.

        Args:
            path: A local path, or a URL that fsspec knows.
            name: The chain's, as `chain_name` gives it.

        Raises:
            SettingsError: fsspec knows no such protocol, or lacks a package for it.
        """
        local = local_path(path)
        self.path = public_name(path if local is None else local)
        self._name = name
        self._place: _Place = (
            _Store(StoredObject(path, "credentials_path")) if local is None else _File(local)
        )

    @contextmanager
    def locked(self, rest: Callable[[float], None] = lambda _seconds: None) -> Iterator[None]:
        """Keep other processes from renewing the same tokens meanwhile, where that can be had.

        Args:
            rest: Called while the lock is waited for; raises where the run ends.

        Raises:
            CredentialsError: The file's folder cannot be written, or the lock is not to be had.
        """
        with self._lock(rest):
            yield

    def _lock(self, rest: Callable[[float], None]) -> AbstractContextManager[object]:
        for tried in range(LOCK_TRIES):
            try:
                return self._place.lock()
            except filelock.Timeout:
                if tried == 1:
                    logger.warning("Waiting for another process that is renewing the token.")
                rest(0)
            except OSError as error:
                raise self._unusable("written", error) from None
        raise CredentialsError(
            f"Another process has kept {self.path} locked for "
            f"{LOCK_TRIES * LOCK_LOOK / 60:.0f} minutes."
        )

    def read(self) -> Tokens | None:
        """Return the newest tokens, or None where the file holds none of this chain.

        Raises:
            CredentialsError: The file cannot be read, or is not ours.
        """
        kept = self._entries().get(self._name)
        try:
            return None if kept is None else Tokens.from_json(kept)
        except ValueError:
            raise self._foreign() from None

    def write(self, tokens: Tokens) -> None:
        """Keep new tokens; those of other chains stay, however old a clock says that they are.

        Raises:
            CredentialsError: The file cannot be written.
        """
        self._save(self._entries() | {self._name: tokens.to_json()})

    def check(self) -> None:
        """Find out that the file can be written, by writing what it holds.

        A token that was minted and could not be kept may be the only one that still works. An
        object in a store is not written, since without a lock that may undo what others write.

        Raises:
            CredentialsError: It cannot.
        """
        entries = self._entries()
        if self._place.has_lock:
            self._save(entries)

    def _save(self, entries: dict[str, Any]) -> None:
        text = json.dumps({"version": VERSION, "chains": entries}, indent=1)
        try:
            self._place.write(text.encode())
        except OSError as error:
            raise self._unusable("written", error) from None

    def _entries(self) -> dict[str, Any]:
        try:
            content = self._place.read()
        except OSError as error:
            raise self._unusable("read", error) from None
        if not content.strip():
            return {}
        try:
            document = json.loads(content)
            entries: dict[str, Any] = document["chains"]
            if document.get("version") != VERSION or not all(
                isinstance(kept["issued_at"], int | float) for kept in entries.values()
            ):
                raise self._foreign()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._foreign() from None
        return entries

    def _foreign(self) -> CredentialsError:
        return CredentialsError(
            f"{self.path} holds something else than tokens: check credentials_path, or delete "
            "the file and log in again."
        )

    def _unusable(self, what: str, error: OSError) -> CredentialsError:
        reason = error.strerror or str(error) or type(error).__name__
        return CredentialsError(
            f"The tokens in {self.path} cannot be {what} ({reason}): check credentials_path."
        )


class _Place(Protocol):
    """Where the file is."""

    has_lock: bool

    def lock(self) -> AbstractContextManager[object]: ...

    def read(self) -> bytes: ...

    def write(self, content: bytes) -> None: ...


class _File:
    """A file that only its owner may read."""

    has_lock = True

    def __init__(self, path: str) -> None:
        try:
            self._named = Path(path).expanduser()
            self._path = self._named.resolve()  # a link is kept, not replaced
        except (RuntimeError, OSError):
            raise SettingsError("credentials_path is no path of a file.") from None
        self._lock = filelock.FileLock(f"{self._path}.lock", LOCK_LOOK, thread_local=False)

    def lock(self) -> AbstractContextManager[object]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._lock.acquire()

    def read(self) -> bytes:
        refuse_foreign(self._named)
        try:
            with open_own(self._path) as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def write(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_foreign(self._named)
        replace_file(self._path, content)


class _Store:
    """An object in a store."""

    has_lock = False

    def __init__(self, stored: StoredObject) -> None:
        self._stored = stored

    def lock(self) -> AbstractContextManager[object]:
        return nullcontext()

    def read(self) -> bytes:
        return self._stored.read()

    def write(self, content: bytes) -> None:
        self._stored.write(content)
