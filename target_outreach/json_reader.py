"""Reading JSON fast: what `msgspec` takes is read by it, and all else by the standard library.

`msgspec` refuses what JSON does not know but Python reads: ``NaN``, half a surrogate pair, other
encodings than UTF-8. The standard library has the last word, so both read the same language with
the same values; the quick one is there for the millions of lines that are nothing special.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

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

    Args:
        body: The document in UTF-8.
        text: The same, decoded.

    Raises:
        ValueError: It is none, or a number in it has too many digits.
        ArithmeticError: The exponent of a number is too large.
        RecursionError: It is nested too deep.
    """
    try:
        return _read_decimals(body)
    except (ValueError, ArithmeticError, RecursionError):
        return json.loads(text, parse_float=Decimal)
