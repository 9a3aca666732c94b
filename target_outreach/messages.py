"""Reading Singer messages: lines from stdin, without being deaf while none come.

A thread reads, so that the main one can close batches by age and hear that the run must end while
the tap is silent. No message of an error repeats a line.
"""

from __future__ import annotations

import logging
import select
import sys
import threading
from collections import Counter
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.singerlib.encoding import SimpleSingerReader

from target_outreach.errors import InputError
from target_outreach.json_reader import read_exact_json, read_json

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from target_outreach.verbatim import Shortcut

logger = logging.getLogger("target-outreach")

CHUNK_BYTES = 256 * 1024
CHUNKS_AHEAD = 4
TICK_SECONDS = 0.5
#: What standard input is called.
INPUT = "the input"
MESSAGE_TYPES = "SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH"


class RecordBeforeSchemaError(InputError, RecordsWithoutSchemaException):
    """A RECORD came before the SCHEMA of its stream."""


class MissingKeyError(InputError, MissingKeyPropertiesError):
    """A RECORD lacks one of its stream's key properties."""


class Inbox:
    """Chunks of lines from a file, read ahead by a thread, and wake-up calls between them.

    Attributes:
        torn: The last line, where it does not end as lines do.
    """

    def __init__(self) -> None:
        self.torn: bytes | None = None
        self._chunks: SimpleQueue[list[bytes] | Exception | None] = SimpleQueue()
        self._room = threading.Semaphore(CHUNKS_AHEAD)

    def wake(self) -> None:
        """Let the reader look around now; safe in a signal handler."""
        self._chunks.put([])

    def read(self, file: IO[str]) -> None:
        """Begin to read a file on a thread of its own."""
        threading.Thread(target=self._read, args=(file.fileno(),), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        pieces: list[bytes] = []
        try:
            # A raw read holds no lock that the interpreter would wait for at its end.
            with open(descriptor, "rb", buffering=0, closefd=False) as raw:
                while (chunk := raw.read(CHUNK_BYTES)) != b"":
                    if chunk is None:  # a pipe that does not block, and has nothing yet
                        select.select([raw], [], [], TICK_SECONDS)
                        continue
                    head, newline, tail = chunk.rpartition(b"\n")
                    if newline:
                        self._hand_over(b"".join((*pieces, head)).split(b"\n"))
                        pieces = [tail] if tail else []
                    else:
                        pieces.append(chunk)
            if pieces:
                self.torn = b"".join(pieces)
                self._hand_over([self.torn])
        except OSError as error:
            self._chunks.put(InputError(f"Standard input cannot be read ({error.strerror})."))
        self._chunks.put(None)

    def _hand_over(self, lines: list[bytes]) -> None:
        self._room.acquire()
        self._chunks.put(lines)

    def chunks(self) -> Iterator[list[bytes]]:
        """Yield the lines as they come, and an empty list whenever there is time to look around."""
        while True:
            try:
                chunk = self._chunks.get(timeout=TICK_SECONDS)
            except Empty:
                chunk = []
            if chunk is None:
                return
            if isinstance(chunk, Exception):
                raise chunk
            if chunk:
                self._room.release()
            yield chunk


class MessageReader(SimpleSingerReader):
    """Reads Singer messages and hands them over, saying of a bad one only where it stands.

    Attributes:
        tick: Called between chunks of lines, and twice a second while none come.
        shortcut: Settles rows that need not be read, if there is one.
        first: Files to read before the input.
        line: The line under way, as received.
        line_number: Its number in the file or in the input, counted from one.
        counts: How many messages of each type were taken in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox()
        self.first: list[Path] = []
        self.tick: Callable[[], None] = lambda: None
        self.shortcut: Shortcut | None = None
        self.line = ""
        self.line_number = 0
        self.counts: Counter[str] = Counter()
        self._source: Iterator[list[bytes]] = iter(())
        self._place = INPUT

    @override
    def process_lines(
        self, file_input: IO[str] | None, callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> Counter[str]:
        counts = self.counts
        if file_input is None and sys.stdin is None:
            raise InputError("Standard input is closed.")
        self._source = self._all_chunks(file_input or sys.stdin)
        for chunk in self._source:
            if self.shortcut is None:
                self._take_in(chunk, callbacks, counts)
            else:
                self.shortcut.look_at(chunk)
                try:
                    self._take_in(chunk, callbacks, counts)
                finally:
                    self.shortcut.hand_over()
                self.shortcut.hand_over_known()
            self.tick()
        return counts

    def _take_in(
        self,
        lines: list[bytes],
        callbacks: dict[str, Callable[[dict[str, Any]], None]],
        counts: Counter[str],
    ) -> None:
        for position, raw in enumerate(lines):
            self.line_number += 1
            if self.shortcut is not None and self.shortcut.settles(position):
                counts["RECORD"] += 1
                continue
            message = self._message(raw)
            if message is None:
                continue
            self._dispatch(message, callbacks)
            counts[message["type"]] += 1

    def _all_chunks(self, file: IO[str]) -> Iterator[list[bytes]]:
        """Yield the lines of the files to read first, and then those of the input."""
        for path in self.first:
            self.line_number, self._place = 0, str(path)
            with path.open("rb") as earlier:
                while lines := earlier.readlines(CHUNK_BYTES):
                    yield _without_torn_end(lines, path)
        self.line_number, self._place = 0, INPUT
        yield from self._chunks(file)

    def _chunks(self, file: IO[str]) -> Iterator[list[bytes]]:
        try:
            file.fileno()
        except (AttributeError, OSError):
            yield from ([line.encode("utf-8", "surrogatepass")] for line in file)
            return
        self.inbox.read(file)
        yield from self.inbox.chunks()

    def discard(self) -> None:
        """Read what is left and forget it, so that the tap can end in peace."""
        for _ in self._source:
            pass

    def _message(self, raw: bytes) -> dict[str, Any] | None:
        """Read a line as a JSON object with a type; a blank line is none."""
        if self.line_number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            return None
        try:
            self.line = raw.decode("utf-8")
            message = read_exact_json(raw, self.line)
        except UnicodeDecodeError:
            raise self.bad_line(f"is not UTF-8{self._guess(raw)}") from None
        except (ValueError, ArithmeticError, RecursionError):
            what = "is not valid JSON, or too large or deep to read"
            raise self.bad_line(f"{what}{self._guess(raw)}") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise self.bad_line("is no Singer message: it has no type")
        return message

    @override
    def deserialize_json(self, line: str) -> Any:
        return read_exact_json(line.encode("utf-8", "surrogatepass"), line)

    def _dispatch(
        self, message: dict[str, Any], callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> None:
        callback = callbacks.get(message["type"])
        if callback is None:
            raise self.bad_line(f"is a message of another type than {MESSAGE_TYPES}")
        callback(message)

    def bad_line(self, what: str, kind: type[InputError] = InputError) -> InputError:
        """Word an error about the line under way."""
        end = "" if what.endswith("?") else "."
        return kind(f"Line {self.line_number} of {self._place} {what}{end}")

    def _guess(self, raw: bytes) -> str:
        """Guess from where a line stands why it is no JSON."""
        if self._place != INPUT:
            return ""
        if self.line_number == 1:
            return "; is it the output of a Singer tap, and does the tap log to stderr?"
        return "; the tap may have died" if raw is self.inbox.torn else ""


def _without_torn_end(lines: list[bytes], path: Path) -> list[bytes]:
    """Leave out a last line that a crash has cut off; no STATE has passed its record."""
    if lines[-1].endswith(b"\n"):
        return lines
    try:
        read_json(lines[-1])
    except ValueError:
        logger.warning("The last line of %s was cut off and is left out.", path)
        return lines[:-1]
    return lines
