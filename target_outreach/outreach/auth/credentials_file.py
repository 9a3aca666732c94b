"""The credentials file: the newest tokens, kept between runs and shared by processes.

One file holds an entry for each chain of tokens. A chain is named by the address that mints its
tokens, the client, and a hash of the refresh token that the user configured, from which the others
descend: two organisations on one machine never mix, and a new configured token begins a new chain.

A file of this machine is replaced as a whole, readable by its owner only, under a lock between
processes. An object in a store is replaced only if nobody else has done so since it was read. Who
is about to renew a token leaves a mark there, and others wait for what it brings; a mark that does
not change for a while is that of a run that was killed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from target_outreach.errors import CredentialsError, SettingsError, reason_of
from target_outreach.object_store import Conflict, StoredObject, local_path, public_name
from target_outreach.outreach.auth.tokens import Tokens
from target_outreach.private_files import LocalFile
from target_outreach.stores import open_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    #: Asks what stands for the organisation of tokens; nothing where that is not known.
    Whose = Callable[[Tokens], tuple[str, ...]]

logger = logging.getLogger("target-outreach")

#: Seconds of one try to get the lock, and how many there are: another process that renews a token
#: may be told several times to wait for a minute.
LOCK_LOOK = 0.5
LOCK_TRIES = 1200

#: Seconds after which a mark in a store that has not changed is no one's any more.
MARK_HOLDS = 120.0

#: How often others may replace the file before what is to be written into it.
MOST_CONFLICTS = 50

VERSION = 1

OTHERWISE = "set another credentials_path for this login, or log in with --replace"


def open_chain(path: str | None, endpoint: str, client: str, configured: str | None) -> Chain:
    """Open the entry of a chain of tokens, by default in the user's state folder.

    Args:
        path: The configured path or URL, if one is.
        endpoint: The address that mints its tokens.
        client: Who asks there.
        configured: The secret that the user configured and the chain begins with; None where it
            begins with a login.
    """
    state = Path(platformdirs.user_state_dir("target-outreach", appauthor=False))
    origin = hashlib.sha256(configured.encode()).hexdigest()[:16] if configured else "login"
    return Chain(path or str(state / "credentials.json"), f"{endpoint} {client} {origin}")


def marked(
    tokens: Tokens, keys: tuple[str, ...], held: Tokens | None, whose: Whose, path: str | None
) -> Tokens:
    """Note whose new tokens are, and let none silently take the place of another organisation's.

    Args:
        tokens: What a login brought.
        keys: What stands for their organisation; nothing where that is not known.
        held: The tokens that the file holds for this app, if any.
        whose: Asks whose the held ones are.
        path: The file, to be named in an error; None where the new tokens may be whoever's.

    Returns:
        The new tokens with their organisation.

    Raises:
        CredentialsError: Those in the file are, or may be, another organisation's.
    """
    if held is not None and path is not None:
        owner = held.organisation
        if owner is None and held.is_alive(time.time()):
            owner = next(iter(whose(held)), None)
        if owner is not None and not keys:
            raise CredentialsError(
                f"{path} holds the tokens of an organisation for this app, and Outreach does not "
                f"say whose the new ones are: {OTHERWISE}."
            )
        if owner is not None and owner not in keys:
            raise CredentialsError(
                f"{path} holds the tokens of another organisation for this app: {OTHERWISE}."
            )
    return replace(tokens, organisation=next(iter(keys), None))


@dataclass(frozen=True, slots=True)
class _Document:
    """What the file holds: the entries of all chains, and the marks of those being renewed."""

    entries: dict[str, Any]
    marks: dict[str, Any]
    version: Mapping[str, str] | None


class Chain:
    """The entry of one chain in a credentials file."""

    def __init__(self, path: str, name: str) -> None:
        """Read nothing yet.

        Args:
            path: A local path, or a URL of a bucket or any other that fsspec knows.
            name: The chain's, as `open_chain` gives it.

        Raises:
            SettingsError: The path is none, or the URL cannot be used.
        """
        local = local_path(path)
        self.path = public_name(path if local is None else local)
        self._name = name
        self._mark: str | None = None
        self._marked: Any = None
        self._place: LocalFile | StoredObject
        try:
            self._place = (
                open_object(path, "credentials_path")
                if local is None
                else LocalFile(local, LOCK_LOOK)
            )
        except (RuntimeError, OSError):
            raise SettingsError("credentials_path is no path of a file.") from None

    @contextmanager
    def locked(self, rest: Callable[[float], None] = lambda _seconds: None) -> Iterator[None]:
        """Keep other processes from renewing the same tokens meanwhile.

        Args:
            rest: Called while the lock is waited for; raises where the run ends.

        Raises:
            CredentialsError: The file cannot be written, or the lock cannot be acquired.
        """
        if isinstance(self._place, LocalFile):
            with self._lock(self._place, rest):
                yield
            return
        self._leave_mark(rest)
        try:
            yield
        finally:
            self._take_mark_away()

    def _lock(
        self, file: LocalFile, rest: Callable[[float], None]
    ) -> AbstractContextManager[object]:
        for tried in range(LOCK_TRIES):
            try:
                return file.lock()
            except TimeoutError:  # which `filelock.Timeout` is
                self._wait(tried, rest)
            except OSError as error:
                raise self._unusable("written", error) from None
        raise self._locked()

    def _leave_mark(self, rest: Callable[[float], None]) -> None:
        """Note in a store that the tokens are being renewed, once nobody else does so."""
        theirs, since = None, 0.0
        mark = secrets.token_hex(8)
        for tried in range(LOCK_TRIES):
            document = self._read()
            if (found := document.marks.get(self._name)) != theirs:
                theirs, since = found, time.monotonic()
            if theirs is None or time.monotonic() - since >= MARK_HOLDS:
                marks = {**document.marks, self._name: mark}
                if self._save(replace(document, marks=marks)):
                    self._mark, self._marked = mark, document.entries.get(self._name)
                    return
                continue
            time.sleep(LOCK_LOOK)
            self._wait(tried, rest)
        raise self._locked()

    def _take_mark_away(self) -> None:
        """Take our mark away, unless `write` has; where that fails, it ends by itself."""
        with suppress(CredentialsError):
            while self._mark is not None:
                document = self._read()
                is_ours = document.marks.get(self._name) == self._mark
                if not is_ours or self._save(self._without_mark(document)):
                    break
        self._mark = None

    def _without_mark(self, document: _Document) -> _Document:
        marks = {name: mark for name, mark in document.marks.items() if mark != self._mark}
        return replace(document, marks=marks)

    @staticmethod
    def _wait(tried: int, rest: Callable[[float], None]) -> None:
        if tried == 1:
            logger.warning("Waiting for another process that is renewing the token.")
        rest(0)

    def _locked(self) -> CredentialsError:
        return CredentialsError(
            f"Another process has kept {self.path} locked for "
            f"{LOCK_TRIES * LOCK_LOOK / 60:.0f} minutes."
        )

    def read(self) -> Tokens | None:
        """Return the newest tokens, or None where the file holds none of this chain.

        Raises:
            CredentialsError: The file cannot be read, or is not ours.
        """
        return self._tokens(self._read().entries.get(self._name))

    def _tokens(self, kept: Any) -> Tokens | None:  # noqa: ANN401 - JSON
        try:
            return None if kept is None else Tokens.from_json(kept)
        except ValueError:
            raise self._foreign() from None

    @property
    def has_others(self) -> bool:
        """Whether the file holds tokens of other chains.

        Raises:
            CredentialsError: The file cannot be read, or is not ours.
        """
        return not self._read().entries.keys() <= {self._name}

    def write(self, tokens: Tokens) -> Tokens:
        """Keep new tokens; those of other chains stay, however old a clock says that they are.

        Returns:
            What the file holds now. It is what another run has got if that took our mark for one
            of a run that was killed; our refresh tokens are kept behind its own.

        Raises:
            CredentialsError: The file cannot be written.
        """
        for _ in range(MOST_CONFLICTS):
            document = self._read()
            theirs = document.entries.get(self._name)
            if self._mark is not None and theirs is not None and theirs != self._marked:
                winner = self._tokens(theirs)
                assert winner is not None  # noqa: S101 - for the type checker
                known = dict.fromkeys([*winner.refresh_tokens, *tokens.refresh_tokens])
                tokens = replace(winner, refresh_tokens=tuple(known))
            entries = {**document.entries, self._name: tokens.to_json()}
            if self._save(self._without_mark(replace(document, entries=entries))):
                self._mark = None
                return tokens
        raise self._unusable("written", OSError("others keep replacing them"))

    def check(self) -> None:
        """Find out that the file can be written, by writing what it holds.

        A token that was minted and could not be kept may be the only one that still works. The
        mark in a store has shown it.

        Raises:
            CredentialsError: It cannot.
        """
        if self._mark is None:
            self._save(self._read())

    def _save(self, document: _Document) -> bool:
        """Write a document; tell whether nobody else has written one since it was read."""
        given = {"version": VERSION, "chains": document.entries}
        if document.marks:
            given["renewing"] = document.marks
        try:
            self._place.replace(json.dumps(given, indent=1).encode(), document.version)
        except Conflict:
            return False
        except OSError as error:
            raise self._unusable("written", error) from None
        return True

    def _read(self) -> _Document:
        try:
            stored = self._place.read()
        except OSError as error:
            raise self._unusable("read", error) from None
        if stored is None or not stored.content.strip():
            return _Document({}, {}, None if stored is None else stored.version)
        try:
            document = json.loads(stored.content)
            entries: dict[str, Any] = document["chains"]
            marks = document.get("renewing", {})
            if (
                document.get("version") != VERSION
                or not isinstance(marks, dict)
                or not all(isinstance(kept["issued_at"], int | float) for kept in entries.values())
            ):
                raise self._foreign()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._foreign() from None
        return _Document(entries, marks, stored.version)

    def _foreign(self) -> CredentialsError:
        return CredentialsError(
            f"{self.path} holds something else than tokens: check credentials_path, or delete "
            "the file and log in again."
        )

    def _unusable(self, what: str, error: OSError) -> CredentialsError:
        return CredentialsError(
            f"The tokens in {self.path} cannot be {what} ({reason_of(error)}): check "
            "credentials_path."
        )
