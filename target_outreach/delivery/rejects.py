"""The rejects file: what could not be delivered, and why, as Singer messages.

Each run that rejects writes its own file. A record stands there as it was received, with an
``error`` beside it, so that the file can be piped back in. Its lines are on disk before STATE
passes them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from singer_sdk.singerlib.json import deserialize_json, serialize_json

from target_outreach.delivery.place import tag
from target_outreach.delivery.tally import counted
from target_outreach.errors import OutputError, SettingsError
from target_outreach.json_reader import read_exact_json
from target_outreach.private_files import NEW, is_ours
from target_outreach.stored import StoredObject, local_path, public_name

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from target_outreach.delivery.place import Place
    from target_outreach.errors import RecordFault

logger = logging.getLogger("target-outreach")

#: Rows of a run that are told apart, so that one which comes again is written once; 100 bytes each.
MOST_TOLD_APART = 50_000

#: The ending of files whose records are all settled.
DONE = ".done"

#: From here on, rejects that are sent again are worth a warning.
STALE = timedelta(days=2)


def _home() -> Path:
    return Path(platformdirs.user_state_dir("target-outreach", appauthor=False)) / "rejects"


def default_folder(place: str) -> str:
    """Return the folder for rejects in the user's state folder.

    Args:
        place: Names where the records were to go, so that they are not sent elsewhere.
    """
    return str(_home() / place)


def unresolved(folder: str | None, whose: Callable[[], Place]) -> list[Path]:
    """List the rejects files of earlier runs that are not done, the oldest first.

    Those of other organisations and other users are none of these, nor are those that a run still
    writes. Files of which nothing says whose they are count in a folder of the user's choice; in
    the user's state folder they are named in a warning.

    Args:
        folder: The folder of this machine that is configured, if one is, or its URL.
        whose: Finds out whose rejects are wanted; called only where there are any.

    Raises:
        RunError: It cannot be found out.
    """
    folder = folder if folder is None else local_path(folder)
    home = _home()
    found = [*home.glob("*.jsonl"), *home.glob("*/*.jsonl")] if folder is None else []
    found = sorted(Path(folder).glob("*.jsonl") if folder is not None else found, key=_by_age)
    if planted := [file for file in found if not is_ours(file)]:
        logger.warning(
            "Ignored, since they belong to other users of this machine: %s.",
            ", ".join(map(str, planted)),
        )
    found = [file for file in found if file not in planted and not in_use(file)]
    if not found or (folder is not None and not any(map(_mark, found))):
        return found
    place = whose()
    ours = [file for file in found if (_mark(file) or tag(place.folders[0])) in place.tags]
    if folder is not None:
        if foreign := [file for file in found if file not in ours]:
            logger.warning(
                "Ignored, since they are rejects of another organisation: %s. Send them with the "
                "configuration that they were written with.",
                ", ".join(map(str, foreign)),
            )
        return ours
    if unplaced := [file for file in found if file.parent in (home, home / place.shared)]:
        logger.warning(
            "Left alone, since they do not say which Outreach they are for: %s. Send them by "
            "`target-outreach replay FILE`, or move them to %s.",
            ", ".join(map(str, unplaced)),
            default_folder(place.folders[0]),
        )
    return [file for file in ours if file.parent.name in place.folders]


def left_over(folder: str | None, own: str) -> list[Path]:
    """List the rejects files that are not done, without asking whose they are.

    Args:
        folder: The folder that is configured, if one is; none is looked at behind a URL.
        own: A glob for the names that folders of this Outreach have in the user's state folder.

    Returns:
        The files, the oldest first.
    """
    if folder is None:
        return sorted(_home().glob(f"{own}/*.jsonl"), key=_by_age)
    local = folder.removeprefix("file://")
    return [] if "://" in local else sorted(Path(local).glob("*.jsonl"), key=_by_age)


def mention(files: Sequence[Path]) -> None:
    """Say what earlier runs have rejected and nobody has sent again: how many, where, and how to.

    Args:
        files: The rejects files that are not done.
    """
    counts = {file: count for file in files if (count := _records_in(file))}
    if not counts:
        return
    folders = dict.fromkeys(file.parent for file in counts)
    shown = (shlex.quote(str(folder)) + "/*.jsonl" for folder in folders)
    if len(counts) == 1:
        shown = (shlex.quote(str(file)) for file in counts)
    logger.warning(
        "%s of earlier runs, in %s, not resolved yet. Mend what is wrong with them, and send them "
        "with the options of this run by: target-outreach replay %s",
        counted(sum(counts.values()), "rejected record"),
        counted(len(counts), "file"),
        " ".join(shown),
    )


def _records_in(file: Path) -> int:
    """Count the records in a rejects file, as far as it can be read."""
    try:
        with file.open("rb") as opened:
            return sum(b'"RECORD"' in line and b'"error"' in line for line in opened)
    except OSError:
        return 0


def mark_superseded(files: Sequence[Path], rejects: object) -> None:
    """Mark those files done all of whose rows this run has rejected again, as they stand there.

    So the same rows do not pile up, run by run, in files that all have to be mended. A file with
    any other row, or with one that has been mended, stays.

    Args:
        files: Rejects files of earlier runs.
        rejects: Where this run has written what it rejected.
    """
    if not isinstance(rejects, RejectsFile) or not rejects.lines:
        return
    for file in files:
        if _mark(file) == rejects.mark and rejects.has_all_of(file):
            mark_done(file)
            logger.info("All rows in %s were rejected again; they are in %s.", file, rejects.path)


def refuse_foreign(files: Sequence[Path], tags: Callable[[], Collection[str]]) -> None:
    """Refuse rejects files of another organisation.

    Args:
        files: The files; nothing says whose those are that lack a mark.
        tags: Returns the marks of this one; called only where there is a mark to compare.

    Raises:
        SettingsError: One of them is another's.
        RunError: It cannot be found out.
    """
    for file in files:
        if (mark := _mark(file)) is not None and mark not in tags():
            raise SettingsError(
                f"{file} holds what another organisation, or other credentials, were to get: use "
                f"the configuration that it was written with. If it is meant for this one, take "
                f"{mark}- out of its name."
            )


def _mark(file: Path) -> str | None:
    """Return what the name of a rejects file says of where its records belong, if it does."""
    found = re.match(r"\d{8}T\d{6}Z-([0-9a-f]{8})-[0-9a-f]{8}\b", file.name)
    return None if found is None else found[1]


def _by_age(file: Path) -> tuple[str, str]:
    return file.name, str(file)


def announce(files: Sequence[Path], *, clock: Callable[[], datetime] | None = None) -> None:
    """Say that rejects files are sent again, and how old the oldest is.

    Args:
        files: The files, the oldest first.
        clock: Tells the time.
    """
    if not files:
        return
    age = (clock or now_utc)() - _written_at(files[0])
    others = f" and {counted(len(files) - 1, 'later file')}" if len(files) > 1 else ""
    logger.log(
        logging.INFO if age < STALE else logging.WARNING,
        "Sending again what is in %s%s (%s): its values overwrite newer values of the same rows "
        "that were delivered since.",
        files[0],
        others,
        _ago(age),
    )


def _written_at(file: Path) -> datetime:
    """Read from the name of a rejects file when its run began, since mending changes its time."""
    if (stamp := re.match(r"\d{8}T\d{6}Z", file.name)) is not None:
        try:
            return datetime.strptime(f"{stamp[0][:-1]}+0000", "%Y%m%dT%H%M%S%z")
        except ValueError:  # such as the 99th of a month
            pass
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _ago(age: timedelta) -> str:
    hours = int(age / timedelta(hours=1))
    if hours < 1:
        return "less than an hour ago"
    return f"{counted(hours, 'hour') if age < STALE else counted(age.days, 'day')} ago"


def done(file: Path) -> Path:
    """Return what a rejects file is called once its records are all settled."""
    return file.with_name(file.name + DONE)


def mark_done(file: Path) -> None:
    """Give a rejects file whose records are all settled the ending ``.done``.

    One that a run still writes keeps its name, since more can follow in it.
    """
    if in_use(file):
        logger.warning("%s keeps its name, since another run still writes it.", file)
    else:
        file.rename(done(file))


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


def now_utc() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class RejectsFile:
    """The rejects of one run, under a folder or an fsspec URL."""

    def __init__(
        self,
        folder: str | None,
        place: Callable[[], str] | None = None,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """Write nothing yet: a run without rejects leaves no file.

        Args:
            folder: A local folder, or a URL that fsspec knows; None for the user's state folder.
            place: Names where the records were to go; called for the first reject. The name of the
                file says it, so that it is not sent elsewhere.
            clock: Tells the time.
        """
        self._clock = clock
        local = folder if folder is None else local_path(folder)
        if folder is not None and local is None:
            StoredObject(folder, "rejects_path")  # says at the start if that can be used
        self._folder = folder if local is None else local
        self._is_remote = self._folder is not None and local is None
        self._place = place
        self._begun = clock()
        self._file: _LocalFile | _RemoteFile | None = None
        self._schemas: dict[str, str] = {}
        self._seen: dict[bytes, int] = {}
        self.lines = 0

    @cached_property
    def path(self) -> str:
        """Where the file is; to be asked for where there are rejects."""
        place = "" if self._place is None else self._place()
        folder = default_folder(place) if self._folder is None else self._folder
        marks = [tag(place)] * bool(place) + [secrets.token_hex(4)]
        name = f"{self._begun:%Y%m%dT%H%M%SZ}-{'-'.join(marks)}.jsonl"
        return f"{folder.rstrip('/')}/{name}" if self._is_remote else str(Path(folder) / name)

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Write one rejected record, unless it stands there already.

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
        if len(self._seen) < MOST_TOLD_APART:
            self._seen[digest] = self.lines
        return self.lines

    @property
    def mark(self) -> str | None:
        """What the name of the file says of where its records belong."""
        return _mark(Path(self.path))

    def has_all_of(self, file: Path) -> bool:
        """Whether each record of another rejects file stands in this one as well.

        One that was written to since this run began may be that of a run beside this one.
        """
        stream_lines = []
        try:
            if file.stat().st_mtime >= self._begun.timestamp():
                return False
            with file.open(encoding="utf-8", errors="surrogatepass") as opened:
                for line in opened:
                    message = deserialize_json(line)
                    if message.get("type") == "RECORD":
                        stream_lines.append((str(message.get("stream")), line))
        except (OSError, ValueError, AttributeError):
            return False
        return bool(stream_lines) and all(_digest(*one) in self._seen for one in stream_lines)

    def _write(self, line: str) -> None:
        try:
            if self._file is None:
                kind = _RemoteFile if self._is_remote else _LocalFile
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


def _digest(stream: str, record_line: str) -> bytes:
    """Hash what a record says, whatever stands beside it and however it is written.

    What the tap says of the row (``_sdc_…``) differs from run to run, and does not count.
    """
    line = record_line.strip().removeprefix("\ufeff")
    message = read_exact_json(line.encode("utf-8", "surrogatepass"), line)
    # By `repr`, a number with a point is never what a text is.
    row = message.get("record")
    if isinstance(row, dict):
        row = {name: value for name, value in row.items() if not name.startswith("_sdc_")}
    said = json.dumps([stream, row], sort_keys=True, default=repr)
    return blake2b(said.encode(), digest_size=16).digest()


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
        descriptor = os.open(path, NEW, 0o600)
        if sys.platform != "win32":
            with suppress(OSError):  # some network drives have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
