"""Which of the rows that earlier runs rejected this run has delivered.

A tap that sends whole tables sends the rows again that were rejected. Once such a row is in
Outreach as its source says it, its reject is resolved: it moves to the file of the same name with
the ending ``.done``.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from singer_sdk.singerlib.json import deserialize_json

from target_outreach.delivery.rejects import in_use, mark_of
from target_outreach.delivery.tally import counted
from target_outreach.records.fingerprints import key_hash
from target_outreach.records.rows import SourceKey

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from target_outreach.delivery.earlier_rejects import EarlierRejects
    from target_outreach.delivery.stream import Item, Stream
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

    def resolve(self, mark: Callable[[], str | None]) -> None:
        """Move the rejects that are resolved out of the files that contain them.

        Args:
            mark: Returns what the names of files say that are for this Outreach; called only where
                something was delivered.
        """
        if not self._delivered:
            return
        ours = {None, mark()}
        for file in self._files:
            if file.path.exists() and mark_of(file.name) in ours:
                _resolve(file, self._delivered)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a rejects file; `key` is the source key of a RECORD, if it has one."""

    line: str
    type: str
    stream: str
    key: str | None


def _rows(file: Path) -> Iterator[_Row]:
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
    except (
        OSError,
        ValueError,
        ArithmeticError,
        RecursionError,
        AttributeError,
        KeyError,
        TypeError,
    ):
        return iter(())
    return iter(found)


def _place(source: str, key: str) -> bytes:
    """Return what stands for a row, whatever stream maps call its stream and its key."""
    _, _, *values = json.loads(key)
    said = json.dumps([source, values])
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_resolved(row: _Row, delivered: Collection[bytes]) -> bool:
    return row.key is not None and _place(row.stream, row.key) in delivered


def _resolve(file: EarlierRejects, delivered: Collection[bytes]) -> None:
    """Move the rows that were delivered to the file that is done."""
    rows = [*_rows(file.path)]
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


def _text(rows: Iterable[_Row]) -> bytes:
    lines = (f"{row.line.rstrip()}\n" for row in rows)
    return "".join(lines).encode("utf-8", "surrogatepass")
