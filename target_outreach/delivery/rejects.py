"""The rejects file: what could not be delivered, and why, as Singer messages.

Each run that rejects writes its own file. It has the record as it was received, with an
``error`` beside it, so that the file can be piped back in. Its lines are on disk before STATE
passes them. In a store, such as a bucket, a file is an object for each batch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from singer_sdk.singerlib.json import deserialize_json, serialize_json

from target_outreach.delivery.place import tag
from target_outreach.errors import OutputError, reason_of
from target_outreach.json_reader import read_exact_json
from target_outreach.object_store import StoredObject, local_path, public_name
from target_outreach.private_files import NEW
from target_outreach.stores import open_folder

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.errors import RecordFault
    from target_outreach.object_store import Folder

logger = logging.getLogger("target-outreach")

#: Rows of a run that are remembered, so that a repeated one is written once; 100 bytes each.
MOST_TOLD_APART = 50_000


def home() -> Path:
    """Return where rejects are without a folder of the user's choice."""
    return Path(platformdirs.user_state_dir("target-outreach", appauthor=False)) / "rejects"


def default_folder(place: str) -> str:
    """Return the folder in the user's state folder for what was to go to one place only."""
    return str(home() / place)


def in_use(file: Path) -> bool:
    """Tell whether a run still writes a rejects file, by the lock that it holds on it.

    Where a system has no such locks (Windows, some network drives), no file is in use.
    """
    if sys.platform != "win32":
        try:
            with file.open("rb") as opened:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # reading it says what is wrong
            return False
    return False


def mark_of(name: str) -> str | None:
    """Return what the name of a rejects file says of where its records belong, if it does."""
    found = re.match(r"\d{8}T\d{6}Z-([0-9a-f]{8})-[0-9a-f]{8}\b", name)
    return None if found is None else found[1]


class RejectsFile:
    """The rejects of one run, under a folder or an fsspec URL.

    Attributes:
        begun_at: When the run began.
        lines: How many lines were written.
    """

    def __init__(
        self,
        folder: str | None,
        place: Callable[[], str] | None = None,
    ) -> None:
        """Write nothing yet: a run without rejects leaves no file.

        Args:
            folder: A local folder, or a URL that fsspec knows; None for the user's state folder.
            place: Names where the records were to go; called for the first reject. The name of the
                file says it, so that it is not sent elsewhere.
        """
        local = folder if folder is None else local_path(folder)
        self._store: Folder | None = None
        if folder is not None and local is None:
            self._store = open_folder(folder, "rejects_path")
        self._folder = folder if local is None else local
        self._place = place
        self.begun_at = datetime.now(UTC)
        self._file: _LocalFile | _StoredParts | None = None
        self._schemas: dict[str, str] = {}
        self._seen: dict[bytes, int] = {}
        self._saved = 0
        self.lines = 0

    @cached_property
    def path(self) -> str:
        """Where the file is, or its first part; to be asked for where there are rejects."""
        place = "" if self._place is None else self._place()
        folder = default_folder(place) if self._folder is None else self._folder
        marks = [tag(place)] * bool(place) + [secrets.token_hex(4)]
        name = f"{self.begun_at:%Y%m%dT%H%M%SZ}-{'-'.join(marks)}.jsonl"
        return (
            f"{folder.rstrip('/')}/{name}" if self._store is not None else str(Path(folder) / name)
        )

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Write one rejected record, unless it is there already.

        What is sent again before a tap sends it too would be there twice after this run, and once
        more after each later one.

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
        digest = _digest(stream, record_line)
        if (there := self._seen.get(digest)) is not None:
            return there
        opt_out = f"The row's opt-out: {fault.opt_out}." if fault.opt_out else None
        error = {
            "code": fault.code,
            "message": " ".join(filter(None, (fault.message, fault.detail, opt_out))),
            "field": fault.field,
            "status": fault.status,
            "attempts": fault.attempts,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"opt_out": fault.opt_out} if fault.opt_out else {}),
        }
        if self._schemas.get(stream) != schema_line:
            self._schemas[stream] = schema_line
            self._write(schema_line.strip())
        self._write(_with_error(record_line, error))
        if len(self._seen) < MOST_TOLD_APART:
            self._seen[digest] = self.lines
        return self.lines

    @property
    def mark(self) -> str | None:
        """What the name of the file says of where its records belong."""
        return mark_of(Path(self.path).name)

    def has(self, stream: str, record_line: str) -> bool:
        """Whether a reject of this run is saved, by the RECORD message of an earlier one."""
        return 0 < self._seen.get(_digest(stream, record_line), 0) <= self._saved

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                name = self.path.rpartition("/")[2]
                stored = self._store and _StoredParts(self._store, name)
                self._file = stored or _LocalFile(self.path)
            self._file.write(line + "\n")
        except OSError as error:
            raise self._unwritable(error) from None
        self.lines += 1

    def sync(self) -> None:
        """Return only when all lines are where a crash does not reach them.

        Raises:
            OutputError: That is not possible.
        """
        try:
            if self._file is not None and self._file.sync() and self._store is not None:
                self._schemas.clear()  # each part can be sent again by itself
        except OSError as error:
            raise self._unwritable(error) from None
        self._saved = self.lines

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"The rejects file {public_name(self.path)} cannot be written ({reason_of(error)}): "
            "check rejects_path; no STATE has passed what is not saved."
        )


class NoRejects:
    """Takes rejected records and keeps none of them, as a dry run does."""

    path = ""

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Return 0, which is the number of no line."""
        del stream, schema_line, record_line, fault
        return 0

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _digest(stream: str, record_line: str) -> bytes:
    """Hash what a record says, whatever is beside it and however it is written.

    What the tap says of the row (``_sdc_…``) differs from run to run, and does not count. A line
    that is too much to be read is hashed as it is.
    """
    line = record_line.strip().removeprefix("\ufeff")
    try:
        message = read_exact_json(line.encode("utf-8", "surrogatepass"), line)
        row = message.get("record")
        if isinstance(row, dict):
            row = {name: value for name, value in row.items() if not name.startswith("_sdc_")}
        # By `repr`, a number with a point is never what a text is.
        said = json.dumps([stream, row], sort_keys=True, default=repr)
    except (ValueError, ArithmeticError, RecursionError):
        said = line
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _with_error(record_line: str, error: dict[str, Any]) -> str:
    """Put the error beside the record, leaving the rest of the line as it came."""
    line = record_line.strip().removeprefix("\ufeff")
    if '"error"' in line:
        with suppress(ValueError, ArithmeticError, RecursionError):  # then the later one counts
            return serialize_json({**deserialize_json(line), "error": error})
    return f'{line[:-1].rstrip()}, "error": {json.dumps(error)}}}'


class _LocalFile:
    """A file that only its owner may read."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, NEW, 0o600)
        if sys.platform != "win32":
            with suppress(OSError):  # some network drives have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # a look by `in_use` is over at once
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogatepass")
        self._dirty = False

    def write(self, text: str) -> None:
        self._dirty = True
        self._file.write(text)

    def sync(self) -> bool:
        """Tell whether there was anything to be saved."""
        if not self._dirty:
            return False
        self._file.flush()
        os.fsync(self._file.fileno())
        self._dirty = False
        return True

    def close(self) -> None:
        self._file.close()


class _StoredParts:
    """Objects in a store, each of which holds what was rejected since the one before."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._parts = 0
        self._text: list[str] = []

    def write(self, text: str) -> None:
        self._text.append(text)

    def sync(self) -> bool:
        """Tell whether there was anything to be saved."""
        if not self._text:
            return False
        number = f".{self._parts + 1:06}" if self._parts else ""
        name = f"{self._name.removesuffix('.jsonl')}{number}.jsonl"
        content = "".join(self._text).encode("utf-8", "surrogatepass")
        StoredObject(self._folder, name).replace(content, None)
        self._parts += 1
        self._text.clear()
        return True

    def close(self) -> None:
        self.sync()
