"""Reading Singer messages. No message of an error repeats a line."""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.singerlib.encoding import SimpleSingerReader

from target_outreach.errors import InputError
from target_outreach.inbox import Inbox, lines_of
from target_outreach.json_reader import read_exact_json, read_in_part, read_json

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_outreach.delivery.earlier_rejects import EarlierRejects
    from target_outreach.verbatim import Shortcut

logger = logging.getLogger("target-outreach")

#: What standard input is called.
INPUT = "the input"
#: How lines of logs begin: with a time, a level, or the head of a traceback.
LOG = re.compile(
    r"\s*(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\[?(?:time=|level=|DEBUG|INFO|WARN|ERROR|CRITICAL)"
    r"|Traceback \(most recent)"
)

#: The end of a message, right before the beginning of another one.
MORE = re.compile(r'\}\s*\{\s*"type"')

#: Files that are no text, by how they begin.
PACKED = {
    b"\x1f\x8b": "a gzip file: unpack it first, as in gunzip -c FILE | target-outreach …",
    b"PK\x03\x04": "a zip or Excel file: unpack it, or save it as CSV and read it by tap-csv",
    b"PAR1": "a Parquet file, which a tap must read first",
}

#: Names or values with one of the usual delimiters between them.
CSV = re.compile(r"[^{}\[\]]*[^{}\[\],;\t|][,;\t|][^{}\[\]]*")
MESSAGE_TYPES = "SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH"


class RecordBeforeSchemaError(InputError, RecordsWithoutSchemaException):
    """A RECORD came before the SCHEMA of its stream."""


class MissingKeyError(InputError, MissingKeyPropertiesError):
    """A RECORD lacks one of its stream's key properties."""


class MessageReader(SimpleSingerReader):
    """Reads Singer messages and hands them over, reporting of a bad one only its place.

    Attributes:
        tick: Called between chunks of lines, and twice a second while none come.
        shortcut: Settles rows that need not be read, if there is one.
        take_plain: Takes in lines that need not be read as JSON; says which these are.
        first: Files to read before the input.
        line: The line under way, as received.
        is_whole: Whether all of it could be read.
        line_number: Its number in the file or in the input, counted from one.
        is_replaying: Whether it is one of a rejects file, which is read before the input.
        source_stream: The stream of the last SCHEMA message, by its name as received.
        counts: How many messages of each type were taken in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox()
        self.first: list[EarlierRejects] = []
        self.tick: Callable[[], None] = lambda: None
        self.shortcut: Shortcut | None = None
        self.take_plain: Callable[[bytes], bool] | None = None
        self.line = ""
        self.is_whole = True
        self.line_number = 0
        self.is_replaying = False
        self.source_stream = ""
        self.counts: Counter[str] = Counter()
        self._source: Iterator[list[bytes]] = iter(())
        self._place = INPUT

    @override
    def process_lines(
        self, file_input: IO[str] | None, callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> Counter[str]:
        if file_input is None and sys.stdin is None:
            raise InputError("Standard input is closed.")
        self._source = self._chunks(file_input or sys.stdin)
        for chunk in self._source:
            if self.shortcut is None:
                self._take_in(chunk, callbacks)
            else:
                self.shortcut.look_at(chunk)
                try:
                    self._take_in(chunk, callbacks)
                finally:
                    self.shortcut.hand_over()
                self.shortcut.hand_over_known()
            self.tick()
        return self.counts

    def _take_in(
        self, lines: list[bytes], callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> None:
        shortcut, counts = self.shortcut, self.counts
        for position, raw in enumerate(lines):
            self.line_number += 1
            if (shortcut is not None and shortcut.settles(position)) or (
                self.take_plain is not None and self.take_plain(raw)
            ):
                counts["RECORD"] += 1
                continue
            message = self._message(raw)
            if message is None:
                continue
            callback = callbacks.get(message["type"])
            if callback is None:
                raise self.bad_line(f"has another type than {MESSAGE_TYPES}, in capitals")
            callback(message)
            counts[message["type"]] += 1

    def _chunks(self, file: IO[str]) -> Iterator[list[bytes]]:
        """Yield the lines of the files to read first, and then those of the input."""
        for rejects in self.first:
            self.line_number, self._place, self.is_replaying = 0, str(rejects), True
            try:
                for lines in lines_of(rejects.path):
                    yield _without_torn_end(lines, self._place)
            except FileNotFoundError:
                logger.warning(
                    "%s is gone and is not sent again; another run may have sent it.", rejects
                )
        self.line_number, self._place, self.is_replaying = 0, INPUT, False
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
        if self.line_number == 1 and raw.startswith(tuple(PACKED)):
            kind = next(kind for start, kind in PACKED.items() if raw.startswith(start))
            raise self.bad_line(f"is not JSON: it looks like {kind}")
        self.is_whole = True
        try:
            self.line = raw.decode("utf-8")
            message = read_exact_json(raw, self.line)
        except UnicodeDecodeError:
            raise self.bad_line(f"is not UTF-8{_encoding(raw)}") from None
        except (ValueError, ArithmeticError, RecursionError):
            message = self._record_in_part(raw)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise self.bad_line(f"is no Singer message: {_without_type(message)}")
        return message

    def _record_in_part(self, raw: bytes) -> dict[str, Any]:
        """Read a RECORD as far as that is possible, so that it can be rejected."""
        try:
            message = read_in_part(self.line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or message.get("type") != "RECORD":
            if looks := _look(self.line):
                raise self.bad_line(f"is not JSON: it looks like {looks}")
            what = "is not valid JSON, or too large or deep to read"
            raise self.bad_line(f"{what}{self._guess(raw)}")
        self.is_whole = False
        return message

    @override
    def deserialize_json(self, line: str) -> Any:
        return read_exact_json(line.encode("utf-8", "surrogatepass"), line)

    def bad_line(self, what: str, kind: type[InputError] = InputError) -> InputError:
        """Word an error about the line under way."""
        end = "" if what.endswith("?") else "."
        return kind(f"Line {self.line_number} of {self._place} {what}{end}")

    def _guess(self, raw: bytes) -> str:
        """Guess from the place of a line why it is no JSON."""
        if self.is_replaying:
            return ""
        if self.line_number == 1:
            return "; is it the output of a Singer tap, and does the tap log to stderr?"
        return "; the tap may have died" if raw is self.inbox.torn else ""


def _encoding(raw: bytes) -> str:
    """Say which encoding a line seems to have, if it is one that programs choose by themselves."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
        return (
            ", but looks like UTF-16, as PowerShell writes it: pipe the tap from another shell, or "
            "save the file as UTF-8"
        )
    return ": have the tap write UTF-8, or convert the file, as with iconv -f latin1 -t utf-8"


def _look(line: str) -> str:
    """Say what a line that is no JSON looks like, without a word of it."""
    if LOG.match(line):
        return "a line of a log, which the tap must write to standard error"
    if not line.lstrip().startswith(("{", "[")) and CSV.fullmatch(line.strip()):
        return "CSV, which a tap must read first, such as tap-csv"
    if line.strip() in {"{", "["}:
        return "a document of several lines; each message must be on one line, as jq -c writes it"
    if MORE.search(line):
        return "several messages; each must be on a line of its own"
    if line.lstrip().startswith("<"):
        return "HTML or XML, perhaps an error page; the input must be the output of a Singer tap"
    return ""


def _without_type(message: Any) -> str:  # noqa: ANN401 - JSON
    """Say what JSON without a type may be."""
    if isinstance(message, list):
        return "it is a list; read files of rows with a tap"
    if isinstance(message, dict) and isinstance(message.get("streams"), list):
        return "it has no type, and looks like a catalog, which is for the tap (--catalog)"
    return "it has no type, such as RECORD; read files of rows with a tap"


def _without_torn_end(lines: list[bytes], name: str) -> list[bytes]:
    """Ignore a last line that a crash has cut off; no STATE has passed its record."""
    if lines[-1].endswith(b"\n"):
        return lines
    try:
        read_json(lines[-1])
    except ValueError:
        logger.warning("The last line of %s was cut off and is ignored.", name)
        return lines[:-1]
    return lines
