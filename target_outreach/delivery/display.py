"""What a person at a terminal sees of a run: log lines without a prefix, and how far it is.

Nothing here is used where standard error is a file or a pipe: there the log stays as the SDK
writes it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from singer_sdk.logging import ConsoleFormatter

from target_outreach.delivery.tally import counted
from target_outreach.plain_text import COMMAND, clock, on_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from target_outreach.delivery.status import Moment

#: Loggers of the SDK that say nothing to a person.
NOISE = ("singer_sdk.metrics", "singer_sdk.configuration")

#: How the SDK's count of messages begins, which the table of a run says better.
COUNT_OF_MESSAGES = "Reader '%s' completed processing"

#: The prefix of a message, and its style, by the least level.
LEVELS = ((logging.ERROR, "Error: ", "bold red"), (logging.WARNING, "Warning: ", "yellow"))


class TerminalHandler(logging.Handler):
    """Writes log messages to a terminal, without metrics and without a prefix of columns.

    Attributes:
        console: Writes to the terminal.
    """

    def __init__(self, terminal: TextIO) -> None:
        """Write to a terminal, such as standard error."""
        super().__init__()
        self.console = Console(file=terminal, highlight=False, markup=False, emoji=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message above the display of the progress, if there is one."""
        if record.name.startswith(NOISE) or str(record.msg).startswith(COUNT_OF_MESSAGES):
            return
        words = ((word, style) for level, word, style in LEVELS if record.levelno >= level)
        word, style = next(words, ("", ""))
        try:
            message = self.format(record)
            command = on_one_line(getattr(record, COMMAND, ""))
            message = message.removesuffix(command).rstrip()
            # A line that begins with blanks goes on with the one before.
            text = message if message[:1] == " " else word + message
            lines = "\n".join(map(self._wrapped, text.splitlines()))
            if command:  # whole, on a line of its own, to be copied
                lines += f"\n  {command}"
            self.console.print(Text(lines, style), overflow="ignore", crop=False)
        except Exception:  # noqa: BLE001 - as all handlers of `logging` do
            self.handleError(record)

    def _wrapped(self, line: str) -> str:
        """Break a line between words; paths and commands stay whole, to be copied."""
        return textwrap.fill(
            line,
            self.console.width,
            subsequent_indent=" " * (len(line) - len(line.lstrip())),
            break_long_words=False,
            break_on_hyphens=False,
        )


def take_over_log() -> None:
    """Let the SDK's log lines appear for a person, where standard error is a terminal.

    A log that was configured by `SINGER_SDK_LOG_CONFIG` stays as it is.
    """
    for handler in list(logging.root.handlers):
        if (
            isinstance(handler, logging.StreamHandler)
            and handler.stream is sys.stderr
            and isinstance(handler.formatter, ConsoleFormatter)
        ):
            logging.root.removeHandler(handler)
            logging.root.addHandler(TerminalHandler(handler.stream))


def find_console() -> Console | None:
    """Return what writes the log to a terminal, if something does."""
    handlers = logging.root.handlers
    return next((one.console for one in handlers if isinstance(one, TerminalHandler)), None)


class Display:
    """The last lines of a terminal, which show how far a run is."""

    def __init__(self, console: Console) -> None:
        """Show nothing yet; the console is that of the log, so that its lines appear above."""
        self._console = console
        self._live = self._new()

    def _new(self) -> Live:
        return Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Take the last lines of the terminal."""
        # A new one each time: one that is started again would clear the lines above it, as many
        # as it had before.
        self._live = self._new()
        self._live.start()
        # The cursor stays, since a second signal ends the process without a word.
        self._console.show_cursor(show=True)

    def close(self) -> None:
        """Leave the terminal without them."""
        self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show how far the run is."""
        self._live.update(Group(*_lines(moment, self._console.width)), refresh=True)

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Leave the terminal to standard output for a line, if that is a terminal as well."""
        if not self._live.is_started or not sys.stdout.isatty():
            yield
            return
        self.close()
        try:
            yield
        finally:
            self.start()


def _rows(parts: list[str], columns: int) -> Iterator[str]:
    """Join parts to rows of at most so many columns; a part is never broken."""
    row = parts[0]
    for part in parts[1:]:
        longer = f"{row} · {part}"
        if len(longer) > columns:
            yield row
            row = part
        else:
            row = longer
    yield row


def _lines(moment: Moment, columns: int) -> Iterator[Text | Table]:
    """Word the lines of the display; each takes one row, however narrow the terminal is."""
    point = moment.point
    rejected = sum(count.outcomes["rejected"] for count in moment.streams.values())
    parts = [
        counted(point.settled, "record"),
        f"{moment.pace:,.0f}/s",
        clock(point.seconds),
        f"{rejected:,} rejected",
        counted(point.requests, "request"),
    ]
    if (budget := moment.budget) is not None:
        parts.append(f"{budget.remaining:,} of {budget.limit:,} left")
    if moment.dry_run:
        parts.append("dry run")
    for row in _rows(parts, columns):
        yield Text(row, no_wrap=True, overflow="ellipsis")
    if moment.input_ended and point.received:
        bar = Table.grid(padding=(0, 1))
        percent = f"{100 * point.settled // point.received} %"
        left = moment.ends_in
        remaining = "" if left is None else f"about {clock(left.total_seconds())} left"
        bar.add_row(
            ProgressBar(total=point.received, completed=point.settled, width=30),
            Text(percent, no_wrap=True),
            Text(remaining, no_wrap=True, overflow="ellipsis"),
        )
        yield bar
    waits = {"Waiting for Outreach": moment.resumes_in, "Next try": moment.retries_in}
    for what, wait in waits.items():
        if wait is not None:
            said = f"{what}: {clock(wait.total_seconds())}"
            yield Text(said, no_wrap=True, overflow="ellipsis")
