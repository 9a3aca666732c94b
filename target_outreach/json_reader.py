"""Reading JSON fast: what `msgspec` takes is read by it, and all else by the standard library.

`msgspec` refuses what JSON does not know but Python reads: ``NaN``, half a surrogate pair, other
encodings than UTF-8. The standard library has the last word, so both read the same language with
the same values; the quick one is there for the millions of lines that are nothing special.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

#: What a document is made of, as far as it can make it unreadable for Python.
TOKEN = re.compile(
    r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?([0-9]++))?', re.DOTALL
)

#: Levels, characters of a number and digits of an exponent that `read_in_part` leaves in place.
DEEPEST = 100
LONGEST_NUMBER = 4_000
LONGEST_EXPONENT = 9

_read_floats: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_read_decimals: Callable[[bytes], Any] = msgspec.json.Decoder(float_hook=Decimal).decode


def read_json(body: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read a JSON document as `json.loads` does.

    Raises:
        ValueError: It is none, or a number in it has too many digits.
        RecursionError: It is nested too deep.
    """
    try:
        return _read_floats(body)
    except (ValueError, RecursionError):  # what `msgspec` raises is a ValueError
        return json.loads(body)


def read_exact_json(body: bytes, text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read a JSON document with every digit: numbers with a point or an exponent as `Decimal`.

    It comes in UTF-8, and decoded.

    Raises:
        ValueError: It is none, or a number in it has too many digits.
        ArithmeticError: The exponent of a number is too large.
        RecursionError: It is nested too deep.
    """
    try:
        return _read_decimals(body)
    except (ValueError, ArithmeticError, RecursionError):
        return json.loads(text, parse_float=Decimal)


def read_in_part(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read a JSON document that is too much for Python, without what is too much in it.

    A number of thousands of digits is read as null, and so is what is deeper than `DEEPEST`.

    Raises:
        ValueError: It is no JSON even so.
    """
    kept: list[str] = []
    opened: list[str] = []
    start = 0
    for token in TOKEN.finditer(text):
        sign = token[0][0]
        if sign in "[{":
            opened.append(sign)
            if len(opened) == DEEPEST + 1:
                kept += [text[start : token.start()], "null"]
        elif sign in "]}":
            if not opened or opened.pop() + sign not in {"[]", "{}"}:
                raise ValueError
            if len(opened) == DEEPEST:
                start = token.end()
        elif (
            sign != '"'
            and len(opened) <= DEEPEST
            and (len(token[0]) > LONGEST_NUMBER or len(token[1] or "") > LONGEST_EXPONENT)
        ):
            kept += [text[start : token.start()], "null"]
            start = token.end()
    if opened:
        raise ValueError
    return json.loads("".join([*kept, text[start:]]), parse_float=Decimal)
