"""One live line at the bottom of a terminal, rewritten in place.

Log lines appear above it. It is written with carriage returns and blanks alone, which every
terminal understands.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO


class LiveLine:
    """A line that shows what is so now; it stands in for the terminal in the log's handlers.

    Args:
        terminal: The terminal, such as standard error.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()
        self._text = ""
        self._shown = 0
        self._handlers: list[logging.StreamHandler[TextIO]] = []

    def attach(self) -> None:
        """Let the log write around the line."""
        for handler in _handlers_of(self._terminal):
            # A handler calls no more than `write` and `flush`.
            handler.setStream(self)  # type: ignore[arg-type]
            self._handlers.append(handler)

    def detach(self) -> None:
        """Clear the line, and give the terminal back to the log."""
        self.show("")
        while self._handlers:
            self._handlers.pop().setStream(self._terminal)

    def show(self, *variants: str) -> None:
        """Show the first of some wordings that fits into the terminal, or what fits of the last."""
        with self._lock:
            self._erase()
            self._text = _fitting(variants, self._columns() - 1)
            self._draw()
            self._terminal.flush()

    def write(self, text: str) -> int:
        """Write a log line above the live one."""
        with self._lock:
            self._erase()
            self._terminal.write(text)
            if text.endswith("\n"):
                self._draw()
            return len(text)

    def flush(self) -> None:
        """Let what was written be seen."""
        self._terminal.flush()

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._terminal.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def _erase(self) -> None:
        if self._shown:
            self._terminal.write("\r" + " " * min(self._shown, self._columns() - 1) + "\r")
            self._shown = 0

    def _draw(self) -> None:
        if self._text:
            self._terminal.write(self._text)
            self._shown = width(self._text)


def width(text: str) -> int:
    """Count the columns that a text takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def printable(text: str, columns: int = 40) -> str:
    """Return a name that cannot move a cursor, cut to so many columns."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if width(text) <= columns else _cut(text, columns - 1) + "…"


def _fitting(variants: Sequence[str], columns: int) -> str:
    for text in variants:
        if width(text) <= columns:
            return text
    return _cut(variants[-1], columns) if variants else ""


def _cut(text: str, columns: int) -> str:
    while width(text) > columns:
        text = text[: max(0, min(len(text) - 1, columns))]
    return text


def _handlers_of(stream: TextIO) -> Iterator[logging.StreamHandler[TextIO]]:
    """Find what writes the log to a stream."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in (logging.root, *loggers):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                yield handler
