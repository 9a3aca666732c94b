"""Names and times as a terminal shows them."""

from __future__ import annotations

import unicodedata

MINUTE = 60


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
