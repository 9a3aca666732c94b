"""Files of this machine that only their owner may read, where others may write into the folder."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING

from target_outreach.object_store import Conflict, Stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

#: Not to follow a link that somebody has put there since; Windows does not know it.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)

#: Windows would change the ends of lines otherwise.
BINARY = getattr(os, "O_BINARY", 0)

#: To make a file that nobody has made before.
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | BINARY
APPENDED = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINK | BINARY


def is_ours(path: Path) -> bool:
    """Tell whether nobody else has put a file or link there; nothing there is fine.

    Ours are those of the user that runs, of root, and of whoever owns the folder. That is what
    Linux asks of files in folders that all may write into (``fs.protected_regular``).

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        return _is_owner_trusted(path.lstat(), path)
    except FileNotFoundError:
        return True


def refuse_foreign(path: Path) -> None:
    """Refuse a file or link that is not ours, as `is_ours` has it.

    Raises:
        PermissionError: Somebody else owns it.
        OSError: It cannot be looked at.
    """
    if not is_ours(path):
        raise _foreign()


def open_own(path: Path) -> IO[bytes]:
    """Open a file for reading that is ours, as `is_ours` has it, and is no link.

    Raises:
        PermissionError: Somebody else owns it.
        OSError: It cannot be read, or is a symbolic link.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_LINK | BINARY)
    if not _is_owner_trusted(os.fstat(descriptor), path):
        os.close(descriptor)
        raise _foreign()
    return os.fdopen(descriptor, "rb")


def _is_owner_trusted(found: os.stat_result, path: Path) -> bool:
    if sys.platform == "win32":  # which knows no such owners
        return True
    else:  # noqa: RET505 - else mypy finds it unreachable on Windows
        return found.st_uid in {os.geteuid(), 0, path.parent.stat().st_uid}


def _foreign() -> PermissionError:
    return PermissionError(errno.EPERM, "it belongs to another user")


class Replacement:
    """A file that is written beside the one of its name, and replaces it in the end.

    So a symbolic link at its name is replaced, not followed, and nobody reads half a file. What is
    no regular file, such as ``/dev/stdout`` or a pipe, is written into as it is.

    Attributes:
        file: What to write into.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        """Open the file beside.

        Args:
            path: The file to replace; its folder must be there.
            mode: The permissions of the file that replaces it, as far as the umask and those of
                the file that is there allow them.

        Raises:
            PermissionError: The file or link that is there belongs to somebody else.
            OSError: It cannot be written.
        """
        refuse_foreign(path)
        self._path = path
        self._beside: Path | None = None
        if path.exists() and not path.is_file():
            self.file: IO[bytes] = path.open("wb")
            return
        if path.exists() and not path.is_symlink():
            mode &= stat.S_IMODE(path.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR
        self._beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        self.file = os.fdopen(os.open(self._beside, NEW, mode), "wb")

    def finish(self) -> None:
        """Put what was written into its place, where a crash does not undo it.

        Raises:
            OSError: It cannot be written.
        """
        if self._beside is None:
            self.file.close()
            return
        try:
            with self.file as file:
                file.flush()
                os.fsync(file.fileno())
            self._beside.replace(self._path)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Leave what is there as it is, and nothing beside it; fine after `finish` too."""
        with suppress(OSError):
            self.file.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole, as `Replacement` does.

    Raises:
        PermissionError: The file or link that is there belongs to somebody else.
        OSError: It cannot be written.
    """
    replacement = Replacement(path, mode)
    try:
        replacement.file.write(content)
    except BaseException:
        replacement.drop()
        raise
    replacement.finish()


class LocalFile:
    """A file of this machine that is replaced as a whole, like a `StoredObject`."""

    def __init__(self, path: str, look: float) -> None:
        """Read nothing yet.

        Args:
            path: The file; a link there is kept, and the file that it leads to is replaced.
            look: Seconds of one try to get the lock.

        Raises:
            OSError: It leads nowhere.
            RuntimeError: Idem.
        """
        from filelock import FileLock  # noqa: PLC0415 - few runs need it

        self._named = Path(path).expanduser()
        self._path = self._named.resolve()
        self._lock = FileLock(f"{self._path}.lock", look, thread_local=False)

    def lock(self) -> AbstractContextManager[object]:
        """Keep other processes from replacing it, until the lock is let go or the process ends.

        Raises:
            TimeoutError: Another process has kept it locked.
            OSError: The folder cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._lock.acquire()

    def read(self) -> Stored | None:
        """Return what it holds, None where it is not there."""
        refuse_foreign(self._named)
        try:
            with open_own(self._path) as file:
                content = file.read()
        except FileNotFoundError:
            return None
        return Stored(content, {"sha256": sha256(content).hexdigest()})

    def replace(self, content: bytes, version: Mapping[str, str] | None) -> Mapping[str, str]:
        """Replace what it holds, if it is still the version that was read."""
        with self.lock():
            there = self.read()
            if (None if there is None else there.version) != version:
                raise Conflict
            replace_file(self._path, content)
        return {"sha256": sha256(content).hexdigest()}

    def delete(self) -> None:
        """Delete it; fine where it is not there."""
        self._path.unlink(missing_ok=True)
