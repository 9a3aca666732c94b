"""What happened to the rows that earlier runs rejected: delivered, rejected again, or still there.

A tap that sends whole tables sends the rows again that were rejected. Once such a row is in
Outreach as its source says it, its reject is resolved: it moves to the file of the same name with
the ending ``.done``.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from singer_sdk.singerlib.json import deserialize_json

from target_outreach.delivery.rejects import in_use, mark_of
from target_outreach.delivery.tally import counted
from target_outreach.plain_text import COMMAND
from target_outreach.records.fingerprints import key_hash
from target_outreach.records.rows import SourceKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from target_outreach.delivery.earlier_rejects import EarlierRejects
    from target_outreach.delivery.rejects import RejectsFile
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.object_store import Folder
    from target_outreach.records.folding import Group

logger = logging.getLogger("target-outreach")

#: Rejected rows that are watched for; of further ones nobody sees that they are delivered.
MOST_WATCHED = 50_000


@dataclass(frozen=True)
class ResolvedRejects:
    """Knows the keys of rejected rows, and hears which keys are delivered.

    Attributes:
        hashes: What stands for the source keys of the rows, as `key_hash` returns it.
    """

    hashes: Collection[bytes] = frozenset()
    _streams: Collection[str] = frozenset()
    _files: Sequence[EarlierRejects] = ()
    _delivered: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, files: Sequence[EarlierRejects]) -> ResolvedRejects:
        """Read the keys of the rows in some rejects files, as far as they can be read."""
        rows = [row for file in files for row in _rows(file.path) if row.key is not None]
        rows = rows[:MOST_WATCHED]
        hashes = frozenset(key_hash(row.key) for row in rows if row.key is not None)
        return cls(hashes, frozenset(row.stream for row in rows), files)

    def knows(self, item: Item) -> bool:
        """Tell whether an earlier run has rejected a row."""
        key = item.desired.source_key if item.desired is not None and self.hashes else None
        return key is not None and key_hash(key) in self.hashes

    def delivered(self, stream: Stream, groups: Iterable[Group[Item]]) -> None:
        """Hear that records are in Outreach as they should be."""
        if stream.source not in self._streams:
            return
        for item in (item for group in groups for item in group.members):
            # What is sent again may be older than what was rejected since.
            if item.desired is not None and not item.is_replayed:
                key = item.desired.source_key
                if key is not None:
                    self._delivered.add(_place(stream.source, key))

    def resolve(self, rejects: RejectsFile) -> None:
        """Move the rejects that are resolved out of the files that contain them.

        Files whose rows were all rejected again, with the same text, are marked done: so the same
        rows do not pile up, run by run, in files that all have to be fixed. A file with any other
        row, or with one that has been fixed, stays. So does one that was written to meanwhile: what
        a run beside this one has rejected may be newer than what this one has delivered.

        Args:
            rejects: Where this run has written what it rejected.
        """
        files = [file for file in self._files if not _is_written_since(file, rejects.begun_at)]
        if self._delivered:
            ours = {None, rejects.mark}
            for file in files:
                if file.path.exists() and mark_of(file.name) in ours:
                    _resolve(file, self._delivered)
        if rejects.lines:
            for file in files:
                if mark_of(file.name) == rejects.mark and _is_repeated(file, rejects):
                    file.mark_done()
                    logger.info(
                        "All rows in %s were rejected again; they are in %s.", file, rejects.path
                    )


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a rejects file; `key` is the source key of a RECORD, if it has one."""

    line: str
    type: str
    stream: str
    key: str | None


def _rows(file: Path) -> list[_Row]:
    """Read the lines of a rejects file; of one that cannot be read, none."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    found: list[_Row] = []
    try:
        with file.open(encoding="utf-8", errors="surrogatepass") as opened:
            for line in opened:
                message = deserialize_json(line)
                stream, kind = str(message.get("stream")), str(message.get("type"))
                if kind == "SCHEMA":
                    keys[stream] = message.get("key_properties") or []
                key = None
                if kind == "RECORD" and keys[stream]:
                    values = [message["record"].get(name) for name in keys[stream]]
                    key = SourceKey(stream, keys[stream]).of(values)
                found.append(_Row(line, kind, stream, key))
    except (OSError, ValueError, ArithmeticError, RecursionError):
        return []
    except (AttributeError, KeyError, TypeError):  # it is JSON, and no message
        return []
    return found


def _place(source: str, key: str) -> bytes:
    """Return what stands for a row, whatever stream maps call its stream and its key."""
    _, _, *values = json.loads(key)
    said = json.dumps([source, values])
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_resolved(row: _Row, delivered: Collection[bytes]) -> bool:
    return row.key is not None and _place(row.stream, row.key) in delivered


def _resolve(file: EarlierRejects, delivered: Collection[bytes]) -> None:
    """Move the rows that were delivered to the file that is done."""
    rows = _rows(file.path)
    resolved = [row for row in rows if _is_resolved(row, delivered)]
    if not resolved or in_use(file.path):
        return
    rest = [row for row in rows if not _is_resolved(row, delivered)]
    streams = {row.stream for row in resolved}
    try:
        if any(row.type == "RECORD" for row in rest):
            schemas = (row for row in rows if row.type == "SCHEMA" and row.stream in streams)
            file.add_to_done(_text([*schemas, *resolved]))
            file.keep_only(_text(rest))
        else:
            file.mark_done()
    except OSError as error:
        logger.warning("%s keeps rows that are resolved (%s).", file, error.strerror)
        return
    logger.info(
        "%s of %s: this run has delivered the same rows, and they are in %s now.",
        counted(len(resolved), "resolved reject"),
        file,
        file.done_name,
    )


def _is_written_since(file: EarlierRejects, moment: datetime) -> bool:
    """Whether a run beside this one may have written to a file since; in a store each is whole."""
    with suppress(OSError):
        return file.folder is None and file.path.stat().st_mtime >= moment.timestamp()
    return False


def _is_repeated(file: EarlierRejects, rejects: RejectsFile) -> bool:
    """Whether each record in a file was rejected again by this run."""
    records = [row for row in _rows(file.path) if row.type == "RECORD"]
    return bool(records) and all(rejects.has(row.stream, row.line) for row in records)


def _text(rows: Iterable[_Row]) -> bytes:
    lines = (f"{row.line.rstrip()}\n" for row in rows)
    return "".join(lines).encode("utf-8", "surrogatepass")


def mention(files: Sequence[EarlierRejects]) -> None:
    """Say what earlier runs have rejected and nobody has sent again: how much, where, how to."""
    if files and (folder := files[0].folder) is not None:
        _mention_stored(files, folder)
        return
    counts = {file: count for file in files if (count := _records_in(file.path))}
    if not counts:
        return
    folders = dict.fromkeys(file.path.parent for file in counts)
    shown = (shlex.quote(str(folder)) + "/*.jsonl" for folder in folders)
    if len(counts) == 1:
        shown = (shlex.quote(str(file)) for file in counts)
    command = f"target-outreach replay {' '.join(shown)}"
    logger.warning(
        "%s of earlier runs, in %s, not resolved yet. Fix what is wrong with them, and send them "
        "with the options of this run by: %s",
        counted(sum(counts.values()), "rejected record"),
        counted(len(counts), "file"),
        command,
        extra={COMMAND: command},
    )


def _mention_stored(files: Sequence[EarlierRejects], folder: Folder) -> None:
    """Say how many of the files are still there, without another request for each."""
    try:
        left = {file.name for file in files}.intersection(folder.names(""))
    except OSError:
        return
    if left:
        logger.warning(
            "What earlier runs rejected, in %s, is not resolved yet. Fix what is wrong with it, "
            "and send it with the options of this run by: target-outreach replay %s",
            counted(len(left), "object"),
            shlex.quote(f"{str(files[0]).rpartition('/')[0]}/*.jsonl"),
        )


def _records_in(file: Path) -> int:
    """Count the records in a rejects file, as far as it can be read."""
    try:
        with file.open("rb") as opened:
            return sum(b'"RECORD"' in line and b'"error"' in line for line in opened)
    except OSError:
        return 0
