"""Tables that commands print: no wider than the terminal, if they go to one."""

from __future__ import annotations

import sys
from textwrap import wrap
from typing import TYPE_CHECKING

from target_outreach.plain_text import NARROWEST, on_one_line, say, terminal_columns, width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Blanks between two columns.
GAP = 2


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their cells under each other, the first as a header.

    Where that is wider than the terminal, the last column is broken between words; where there is
    no room for it, each row becomes two lines or more.
    """
    plain = [[on_one_line(cell) for cell in row] for row in rows]
    say(*lines_of_table(plain, terminal_columns(sys.stdout)))


def lines_of_table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Lay rows out as lines of at most so many columns; the first row is the header."""
    widths = [max(map(width, cells)) for cells in zip(*rows, strict=True)]
    before = sum(widths[:-1]) + GAP * (len(widths) - 1)
    if columns is not None and before + widths[-1] > columns:
        if columns - before < NARROWEST:
            return [line for row in rows[1:] for line in _stacked(rows[0], row, columns)]
        widths[-1] = columns - before
    ruler = ["-" * one for one in widths]
    return [line for row in (rows[0], ruler, *rows[1:]) for line in _aligned(row, widths)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Lay a row out as one line, or as several where its last cell is too wide for its column."""
    *cells, last = row
    first, *others = wrap(last, widths[-1], break_on_hyphens=False) or [""]
    padded = [cell + " " * (room - width(cell)) for cell, room in zip(cells, widths, strict=False)]
    yield (" " * GAP).join((*padded, first)).rstrip()
    indent = " " * (sum(widths[:-1]) + GAP * len(cells))
    yield from (indent + other for other in others)


def _stacked(header: Sequence[str], row: Sequence[str], columns: int) -> Iterator[str]:
    """Lay a row out as its first cell, and what the others say below it."""
    yield from wrap(row[0], columns)
    pairs = zip(header[1:], row[1:], strict=True)
    said = "; ".join(f"{name}: {cell.strip()}" for name, cell in pairs if cell)
    yield from wrap(said, columns, initial_indent="  ", subsequent_indent="  ")
