"""Reading Singer messages. No message of an error repeats a line."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.singerlib.encoding import SimpleSingerReader

from target_outreach.errors import InputError
from target_outreach.inbox import Inbox, lines_of
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

#: What standard input is called.
INPUT = "the input"
MESSAGE_TYPES = "SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH"


class RecordBeforeSchemaError(InputError, RecordsWithoutSchemaException):
    """A RECORD came before the SCHEMA of its stream."""


class MissingKeyError(InputError, MissingKeyPropertiesError):
    """A RECORD lacks one of its stream's key properties."""


class MessageReader(SimpleSingerReader):
    """Reads Singer messages and hands them over, saying of a bad one only where it stands.

    Attributes:
        tick: Called between chunks of lines, and twice a second while none come.
        shortcut: Settles rows that need not be read, if there is one.
        first: Files to read before the input.
        line: The line under way, as received.
        line_number: Its number in the file or in the input, counted from one.
        source_stream: The stream of the last SCHEMA message, by its name as received.
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
        self.source_stream = ""
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
            for lines in lines_of(path):
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
