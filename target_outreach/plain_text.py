"""One line stays one line: names from taps and servers cannot forge others, nor steer a terminal.

Both the log and what commands print go through `on_one_line`. Only a terminal that is narrower than
a line of a command shows it as several, broken between words.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
import unicodedata
from textwrap import fill
from typing import IO, Any

import click

#: The attribute of a record of the log for a command to type next, with which its message ends.
COMMAND = "command"

#: A word in a column of its own, at the beginning of a line.
LEAD = re.compile(r"(?:\S+ {2,})?")

#: The narrowest column of words.
NARROWEST = 24

MINUTE = 60


def on_one_line(text: str) -> str:
    """Write what is not printable as JSON escapes it: line ends, control and bidi characters."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def say(*lines: str, err: bool = False, nl: bool = True) -> None:
    """Print lines of words, none wider than the terminal if they go to one."""
    columns = terminal_columns(sys.stderr if err else sys.stdout)
    click.echo("\n".join(fitted(on_one_line(line), columns) for line in lines), err=err, nl=nl)


def say_unbroken(*lines: str) -> None:
    """Print lines that are to be copied or read by programs; JSON stays the same JSON."""
    click.echo("\n".join(map(on_one_line, lines)))


def terminal_columns(stream: IO[str] | None) -> int | None:
    """Return the width of the terminal that a stream goes to, or None where it goes to none."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def fitted(line: str, columns: int | None) -> str:
    """Break a line between words where it is wider than so many columns.

    What is to be copied stays whole: words without a blank in them, and lines that begin with one.
    """
    if columns is None or len(line) <= columns or line.startswith(" "):
        return line
    lead = LEAD.match(line)
    indent = len(lead[0]) if lead is not None else 0
    if indent > columns - NARROWEST:
        indent = 0
    return fill(
        line,
        max(columns, NARROWEST),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def width(text: str) -> int:
    """Count the columns that a text takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def printable(text: str, columns: int = 40) -> str:
    """Return a name that cannot move a cursor, cut to so many columns."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if width(text) <= columns:
        return text
    while width(text) >= columns:
        text = text[: max(0, min(len(text), columns) - 1)]
    return f"{text}…"


def clock(seconds: float) -> str:
    """Write a time as a person says it: ``43 s``, ``12:05 min``, ``1:02:05 h``."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s" if whole else f"{seconds:.1f} s"
    minutes, seconds = divmod(whole, MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"


class PlainRecord(logging.LogRecord):
    """A record of the log whose name and message are one line each.

    The lines of a traceback are indented, so that none looks like a line of the log.
    """

    def __init__(self, name: str | None, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(on_one_line(name or ""), *args, **options)
        if self.exc_info and self.exc_info[0] is not None:
            lines = "".join(traceback.format_exception(*self.exc_info)).splitlines()
            self.exc_text = "\n".join(f"  {on_one_line(line)}" for line in lines)

    def getMessage(self) -> str:  # noqa: N802 - the library's name
        """Return the message."""
        return on_one_line(super().getMessage())


def keep_log_plain() -> None:
    """Let all loggers of this process write such records, whoever handles them."""
    logging.setLogRecordFactory(PlainRecord)
