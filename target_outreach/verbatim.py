"""Rows whose text in the input is exactly as when they were last delivered.

Under a memory, most rows of an hourly run of a whole table are such. To read, check and map one
of them again takes several times as long as to see that it is one: the bytes of the record are
hashed, and its key properties alone are read out of them. Where the memory holds that hash, the row
would be found unchanged, because

* it is salted with all that decides what a row amounts to: the SCHEMA, the mapping, the settings of
  the stream and the version of this program;
* the memory keeps it for a row that it would find unchanged, were it to come again at once, and
  drops it with everything else that it keeps of that key;
* it does not count where anybody may have changed the record since.

Order is kept by not looking ahead: a row is taken for unchanged only if all rows of its object that
arrived earlier and are not known are settled, and in the memory. Until then the known ones go the
long way too; and with one that does, all later ones of its key or of its record in Outreach.

Where hardly any row is known again, since a column differs in each run, no more are looked for.
"""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Raw, Struct

from target_outreach.records.fingerprints import key_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_outreach.delivery.memory_reader import MemoryReader
    from target_outreach.delivery.stream import Stream
    from target_outreach.parts import Parts
    from target_outreach.records.rows import SourceKey

HASH_BYTES = 8
CONTEXT_BYTES = 2

#: Below this, a chunk of lines is no sign of haste, and not worth a look into the memory.
FEWEST_LINES = 8

#: Rows that may differ for no good reason before no more are compared, and what one that is known
#: counts against that.
MOST_IN_VAIN = 1000
GAIN = 10

#: What rows may have in common: the name of the stream and the key, the object and the id.
_About = tuple[str, bytes | int]


class _Envelope(Struct):
    """What is read of a line; the rest is skipped, faster than it could be read."""

    type: str
    stream: str = ""
    record: Raw = Raw(b"")


_open: Callable[[bytes], _Envelope] = msgspec.json.Decoder(_Envelope).decode


class Verbatim:
    """Hashes the rows of one stream by their exact text in the input."""

    def __init__(self, context: str, source_key: SourceKey) -> None:
        """Prepare for a stream.

        Args:
            context: All that decides what a row of it amounts to.
            source_key: Words the keys of its rows; it has one key property at least.
        """
        self._salt = blake2b(context.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._source_key = source_key
        names = {f"key{number}": name for number, name in enumerate(source_key.names)}
        keys = msgspec.defstruct("Keys", [(name, Any) for name in names], rename=names)
        self._read_keys = msgspec.json.Decoder(keys, float_hook=Decimal).decode

    def key(self, record: Raw) -> bytes | None:
        """Return what stands for the source key of a record in the memory.

        Raises:
            ValueError: It lacks a key property, or is no JSON object.
            ArithmeticError: The exponent of a number is too large.
        """
        values = msgspec.structs.astuple(self._read_keys(record))
        source_key = self._source_key.of(values)
        return None if source_key is None else key_hash(source_key)

    def hash(self, record: Raw) -> bytes:
        """Return what stands for the row: a few bytes of the context, and a hash."""
        own = blake2b(record, digest_size=HASH_BYTES, key=self._salt).digest()
        return self._salt[:CONTEXT_BYTES] + own


class RowSink(Protocol):
    """The sink of a stream, as far as its rows are known again."""

    @property
    def stream(self) -> Stream:
        """The stream."""

    @property
    def object_name(self) -> str:
        """The object that it is for; none where it is ignored."""

    @property
    def verbatim(self) -> Verbatim | None:
        """What hashes its rows, where they can be known again by that."""

    @property
    def current_size(self) -> int:
        """How many records wait to be handed over."""

    def receive_unread(self) -> int:
        """Count in a row that need not be read, and return its sequence number."""

    def settle_unread(self, numbers: list[int]) -> None:
        """Have rows settled that were counted in so."""

    def hand_over(self) -> None:
        """Hand over what waits."""


class _Row(Struct, frozen=True):
    """A row that may be known again."""

    sink: RowSink
    key: bytes
    hash: bytes


class Shortcut:
    """Settles rows that need not be read; used on the main thread only.

    Attributes:
        row: What stands for the row under way, for the memory to keep; None where nothing does.
    """

    def __init__(
        self,
        reader: MemoryReader,
        parts: Parts,
        sinks: Mapping[str, RowSink],
    ) -> None:
        """Begin.

        Args:
            reader: Reads the memory on this thread.
            parts: Have the engine, once it has begun.
            sinks: Those of the streams whose records come as they are, by stream; they may change.
        """
        self.row: bytes | None = None
        self._reader = reader
        self._parts = parts
        self._sinks = sinks
        self._rows: dict[int, _Row] = {}
        #: The ids of the records of Outreach that known rows are about, by the place of the row.
        self._same: dict[int, int] = {}
        self._position = -1
        #: The newest record of each object that may be written.
        self._doubtful: dict[str, int] = {}
        self._open: set[str] = set()
        #: Known rows that were read all the same: their numbers, and what they are about.
        self._read: deque[tuple[int, set[_About]]] = deque()
        self._held: Counter[_About] = Counter()
        self._settled: dict[RowSink, list[int]] = {}
        self._gains: Counter[RowSink] = Counter()

    def look_at(self, lines: Sequence[bytes]) -> None:
        """Find out which of some lines are rows whose exact text the memory holds."""
        self.forget()
        engine = self._parts.started_engine
        if engine is None or len(lines) < FEWEST_LINES:
            return
        sinks = {name: sink for name, sink in self._sinks.items() if self._is_worthwhile(sink)}
        if not sinks:
            return
        # Asked before the memory is read, so that it holds what these rows have amounted to.
        self._let_go(self._parts.settlement.kept_before)
        for position, line in enumerate(lines):
            if (row := _row_of(line, sinks)) is not None:
                self._rows[position] = row
        for sink in sinks.values():
            if engine.knows_edits(sink.stream):
                self._compare(sink)

    def _is_worthwhile(self, sink: RowSink) -> bool:
        """Whether rows of a stream are known again often enough to be looked for."""
        return sink.verbatim is not None and self._gains[sink] > -MOST_IN_VAIN

    def _let_go(self, kept_before: int) -> None:
        """Forget what was in the way of rows and is settled now, and in the memory."""
        self._open = {name for name, number in self._doubtful.items() if number >= kept_before}
        while self._read and self._read[0][0] < kept_before:
            for about in self._read.popleft()[1]:
                self._held[about] -= 1
                if not self._held[about]:
                    del self._held[about]

    def _compare(self, sink: RowSink) -> None:
        places = [(at, row) for at, row in self._rows.items() if row.sink is sink]
        known = self._reader.rows(sink.stream, [row.key for _, row in places])
        for position, row in places:
            resource_id, kept = known.get(row.key, (0, b""))
            if kept == row.hash:
                self._same[position] = resource_id
                self._gains[sink] += GAIN
            elif kept[:CONTEXT_BYTES] == row.hash[:CONTEXT_BYTES]:
                self._gains[sink] -= 1

    def settles(self, position: int) -> bool:
        """Take in the row on a line if it needs no reading.

        Args:
            position: Which of the lines it is.
        """
        self._position = position
        row = self._rows.get(position)
        self.row = row.hash if row is not None else None
        if row is None or position not in self._same or row.sink.object_name in self._open:
            return False
        if row.key in self._parts.resolved_rejects.hashes:
            return False  # whoever has it delivered says so
        if self._held and not self._held.keys().isdisjoint(self._about(row)):
            return False
        self._settled.setdefault(row.sink, []).append(row.sink.receive_unread())
        return True

    def received(self, sink: RowSink, number: int) -> None:
        """Hear that a record goes the long way, at the end of which it may be written.

        One that the memory knows can only be written if what comes before it changes what the
        memory says of its key or of its record in Outreach.

        Args:
            sink: Its sink.
            number: Its sequence number.
        """
        if self._position in self._same:
            about = self._about(self._rows[self._position])
            self._read.append((number, about))
            self._held.update(about)
        else:
            self._doubtful[sink.object_name] = number
            self._open.add(sink.object_name)

    def _about(self, row: _Row) -> set[_About]:
        """Return what a known row has in common with others that are about the same."""
        return {
            (row.sink.stream.name, row.key),
            (row.sink.object_name, self._same[self._position]),
        }

    def hand_over(self) -> None:
        """Have the rows settled that were taken in."""
        settled, self._settled = self._settled, {}
        for sink, numbers in settled.items():
            sink.settle_unread(numbers)

    def hand_over_known(self) -> None:
        """Let no known row that was read wait for others to fill its batch: they pass it by.

        STATE would wait with it. It costs no request, as long as none is there that is not known.
        """
        for sink in {row.sink for row in self._rows.values()}:
            if sink.current_size and sink.object_name not in self._open:
                sink.hand_over()

    def forget(self) -> None:
        """Look at no more of the lines, since a SCHEMA has changed what they amount to."""
        self._rows.clear()
        self._same.clear()
        self._position = -1


def _row_of(line: bytes, sinks: Mapping[str, RowSink]) -> _Row | None:
    """Read as much of a line as it takes to know its row again; what is wrong is said later."""
    try:
        envelope = _open(line)
        if envelope.type != "RECORD" or (sink := sinks.get(envelope.stream)) is None:
            return None
        verbatim = sink.verbatim
        if verbatim is None or (key := verbatim.key(envelope.record)) is None:
            return None
        if not line.isascii():
            line.decode("utf-8")
        return _Row(sink, key, verbatim.hash(envelope.record))
    except (ValueError, ArithmeticError, RecursionError):
        return None
