"""The rejects file: what could not be delivered, and why, as Singer messages.

Each run that rejects writes its own file. A record stands there as it was received, with an
``error`` beside it, so that the file can be piped back in. Its lines are on disk before STATE
passes them.
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from singer_sdk.singerlib.json import deserialize_json, serialize_json

from target_outreach.errors import OutputError
from target_outreach.stored import StoredObject, public_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.errors import RecordFault


def default_folder() -> str:
    """Return the folder for rejects in the user's state folder."""
    return str(Path(platformdirs.user_state_dir("target-outreach", appauthor=False)) / "rejects")


def unresolved(folder: str) -> list[Path]:
    """List the rejects files of earlier runs that are not done, the oldest first."""
    return sorted(Path(folder).glob("*.jsonl"))


def mark_done(file: Path) -> None:
    """Give a rejects file whose records are all settled the ending ``.done``."""
    file.rename(file.with_name(file.name + ".done"))


def now_utc() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class RejectsFile:
    """The rejects of one run, under a folder or an fsspec URL."""

    def __init__(self, folder: str, *, clock: Callable[[], datetime] = now_utc) -> None:
        """Write nothing yet: a run without rejects leaves no file.

        Args:
            folder: A local folder, or a URL that fsspec knows.
            clock: Tells the time.
        """
        self._clock = clock
        if "://" in folder:
            StoredObject(folder, "rejects_path")  # says at the start if that can be used
        folder = folder.removeprefix("file://")
        name = f"{clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.jsonl"
        self.path = f"{folder.rstrip('/')}/{name}" if "://" in folder else str(Path(folder) / name)
        self._file: _LocalFile | _RemoteFile | None = None
        self._schemas: dict[str, str] = {}
        self.lines = 0

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Write one rejected record.

        Args:
            stream: The stream's name as received.
            schema_line: Its SCHEMA message as received.
            record_line: The RECORD message as received.
            fault: What is wrong with it.

        Returns:
            The number of its line in the file, counted from one.

        Raises:
            OutputError: The file cannot be written.
        """
        error = {
            "code": fault.code,
            "message": f"{fault.message} {fault.detail}" if fault.detail else fault.message,
            "field": fault.field,
            "status": fault.status,
            "attempts": fault.attempts,
            "at": self._clock().isoformat(timespec="seconds"),
        }
        if self._schemas.get(stream) != schema_line:
            self._schemas[stream] = schema_line
            self._write(schema_line.strip())
        self._write(_with_error(record_line, error))
        return self.lines

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                kind = _RemoteFile if "://" in self.path else _LocalFile
                self._file = kind(self.path)
            self._file.write(line + "\n")
        except OSError as error:
            raise self._unwritable(error) from None
        self.lines += 1

    def sync(self) -> None:
        """Return only when all lines are where a crash does not reach them.

        Raises:
            OutputError: That cannot be had.
        """
        try:
            if self._file is not None:
                self._file.sync()
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _unwritable(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error) or type(error).__name__
        return OutputError(
            f"The rejects file {public_name(self.path)} cannot be written ({reason}): check "
            "rejects_path; no STATE has passed what is not saved."
        )


def _with_error(record_line: str, error: dict[str, Any]) -> str:
    """Put the error beside the record, leaving the rest of the line as it came."""
    line = record_line.strip().removeprefix("\ufeff")
    if '"error"' in line:
        message = deserialize_json(line)
        message["error"] = error
        return serialize_json(message)
    return f'{line[:-1].rstrip()}, "error": {json.dumps(error)}}}'


class _LocalFile:
    """A file that only its owner may read."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogatepass")
        self._dirty = False

    def write(self, text: str) -> None:
        self._dirty = True
        self._file.write(text)

    def sync(self) -> None:
        if self._dirty:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._dirty = False

    def close(self) -> None:
        self._file.close()


class _RemoteFile:
    """An object in a store, which can only be written as a whole."""

    def __init__(self, url: str) -> None:
        self._stored = StoredObject(url, "rejects_path")
        self._text: list[str] = []
        self._saved = 0

    def write(self, text: str) -> None:
        self._text.append(text)

    def sync(self) -> None:
        if self._saved < len(self._text):
            self._stored.write("".join(self._text).encode("utf-8", "surrogatepass"))
            self._saved = len(self._text)

    def close(self) -> None:
        self.sync()
