"""Rows that stand in the input letter by letter as when they were last delivered.

Under a memory, most rows of an hourly run of a whole table are such. To read, check and map one
of them again takes several times as long as to see that it is one: the bytes of the record are
hashed, and its key properties alone are read out of them. Where the memory holds that hash, the row
would be found unchanged, because

* it is salted with all that decides what a row amounts to: the SCHEMA, the mapping, the settings of
  the stream and the version of this program;
* the memory keeps it for a row that it would find unchanged, were it to come again at once, and
  drops it with everything else that it keeps of that key;
* it does not count where anybody may have changed the record since.

Order is kept by not looking ahead: a row is taken for unchanged only if every row of its object
that may be written and arrived earlier is settled, and that is in the memory. Until then all
rows go the long way.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from target_outreach.records.fingerprints import key_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_outreach.delivery.memory import MemoryReader
    from target_outreach.delivery.pipeline import Pipeline
    from target_outreach.sinks import OutreachSink

ROW_BYTES = 8


class _Envelope(Struct):
    """What is read of a line; the rest is skipped, faster than it could be read."""

    type: str
    stream: str = ""
    record: Raw = Raw(b"")


_open: Callable[[bytes], _Envelope] = msgspec.json.Decoder(_Envelope).decode


class Verbatim:
    """Hashes the rows of one stream, as they stand in the input."""

    def __init__(
        self, context: str, key_properties: Sequence[str], key_of: Callable[[list[Any]], str | None]
    ) -> None:
        """Prepare for a stream.

        Args:
            context: All that decides what a row of it amounts to.
            key_properties: Its key properties, one at least.
            key_of: Returns the source key for their values, or None where one is null.
        """
        self._salt = blake2b(context.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._key_of = key_of
        names = {f"key{number}": name for number, name in enumerate(key_properties)}
        keys = msgspec.defstruct("Keys", [(name, Any) for name in names], rename=names)
        self._read_keys = msgspec.json.Decoder(keys, float_hook=Decimal).decode

    def key(self, record: Raw) -> bytes | None:
        """Return what stands for the source key of a record in the memory.

        Raises:
            ValueError: It lacks a key property, or is no JSON object.
            ArithmeticError: The exponent of a number is too large.
        """
        values = msgspec.structs.astuple(self._read_keys(record))
        source_key = self._key_of(list(values))
        return None if source_key is None else key_hash(source_key)

    def hash(self, record: Raw) -> bytes:
        """Return what stands for the row."""
        return blake2b(record, digest_size=ROW_BYTES, key=self._salt).digest()


class Shortcut:
    """Settles rows that need not be read; used on the main thread only.

    Attributes:
        row: What stands for the row under way, for the memory to keep; None where nothing does.
    """

    def __init__(
        self,
        reader: MemoryReader,
        pipeline: Callable[[], Pipeline | None],
        sinks: Mapping[str, OutreachSink],
    ) -> None:
        """Begin.

        Args:
            reader: Reads the memory on this thread.
            pipeline: Returns the pipeline, once it is there.
            sinks: Those of the streams whose records come as they are, by stream; they may change.
        """
        self.row: bytes | None = None
        self._reader = reader
        self._pipeline = pipeline
        self._sinks = sinks
        self._rows: dict[int, tuple[OutreachSink, bytes]] = {}
        self._same: set[int] = set()
        self._is_same = False
        #: The newest record of each object that may be written.
        self._doubtful: dict[str, int] = {}
        self._open: set[str] = set()
        self._settled: dict[OutreachSink, list[int]] = {}

    def look_at(self, lines: Sequence[bytes]) -> None:
        """Find out which of some lines are rows that the memory holds as they stand."""
        self._rows.clear()
        self._same.clear()
        pipeline = self._pipeline()
        if pipeline is None or not self._sinks:
            return
        # Asked before the memory is read, so that it holds what these rows have amounted to.
        self._open = {
            name for name, number in self._doubtful.items() if number >= pipeline.kept_before
        }
        keys: dict[OutreachSink, dict[int, bytes]] = {}
        for position, line in enumerate(lines):
            try:
                envelope = _open(line)
                if envelope.type != "RECORD" or (sink := self._sinks.get(envelope.stream)) is None:
                    continue
                if (verbatim := sink.verbatim) is None:
                    continue
                key = verbatim.key(envelope.record)
            except (ValueError, ArithmeticError, RecursionError):
                continue  # what is wrong with it is said when it is read
            if key is not None:
                keys.setdefault(sink, {})[position] = key
                self._rows[position] = sink, verbatim.hash(envelope.record)
        for sink, places in keys.items():
            if pipeline.knows_edits(sink.stream):
                known = self._reader.rows(sink.stream, places.values())
                self._same.update(
                    position
                    for position, key in places.items()
                    if known.get(key) == self._rows[position][1]
                )

    def settles(self, position: int) -> bool:
        """Take in the row on a line if it needs no reading.

        Args:
            position: Which of the lines it is.
        """
        entry = self._rows.get(position)
        if entry is None:
            self.row, self._is_same = None, False
            return False
        sink, self.row = entry
        self._is_same = position in self._same
        if not self._is_same or sink.object_name in self._open:
            return False
        self._settled.setdefault(sink, []).append(sink.receive_unread())
        return True

    def received(self, sink: OutreachSink, number: int) -> None:
        """Hear that a record goes the long way, at the end of which it may be written.

        Args:
            sink: Its sink.
            number: Its sequence number.
        """
        if not self._is_same:
            self._doubtful[sink.object_name] = number
            self._open.add(sink.object_name)

    def hand_over(self) -> None:
        """Have the rows settled that were taken in."""
        if self._settled and (pipeline := self._pipeline()) is not None:
            settled, self._settled = self._settled, {}
            for sink, numbers in settled.items():
                sink.record_counter_metric.increment(len(numbers))
                pipeline.settle_unchanged(sink.stream, numbers)

    def forget(self) -> None:
        """Look at no more of the lines, since a SCHEMA has changed what they amount to."""
        self._rows.clear()
        self._same.clear()
