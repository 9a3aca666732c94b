"""Text, numbers, booleans and dates as an attribute takes them.

What cannot be read is refused: nothing is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any

NUMERIC_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
ISO_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
UTC_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d+))?(?:Z|\+00:00)", re.ASCII
)
BOOLEAN_TEXT = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "do not allow"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "allow"), False),
}
LARGEST_EXPONENT = 300
LARGEST_PLAIN = 2**63
#: Between these, a float that is not whole was not made of a whole number, nor of a tiny one.
SMALLEST_PLAIN = 1e-3
LARGEST_EXACT = 2**53
ISO_DATE_LENGTH = len("2026-03-31")


class Uncoercible(ValueError):  # noqa: N818 - a reason, worded for the end of a sentence
    """A value does not fit its attribute; the text says what would."""


def as_text(value: Any) -> str:  # noqa: ANN401
    """Read text, or write a scalar as text.

    Raises:
        Uncoercible: It is a list or an object, or cannot be encoded.
    """
    if isinstance(value, str):
        return value if value.isascii() else _whole(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return plain_number(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise Uncoercible("text, not a list or an object")


def _whole(text: str) -> str:
    """Refuse half a surrogate pair, which no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Uncoercible("text, and this has a broken character") from None
    return text


def plain_number(value: float | Decimal) -> str:
    """Write a number without exponent and without trailing zeros.

    Raises:
        Uncoercible: It is not finite, or far out of every range.
    """
    number = finite(value if isinstance(value, Decimal) else Decimal(str(value)))
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def finite(number: Decimal) -> Decimal:
    """Refuse a number that is not finite, or far out of every range.

    Raises:
        Uncoercible: It is so.
    """
    if not number.is_finite() or abs(number.adjusted()) > LARGEST_EXPONENT:
        raise Uncoercible("a finite number")
    return number


def as_decimal(value: Any) -> Decimal:  # noqa: ANN401
    """Read a number or numeric text, with all its digits.

    Raises:
        Uncoercible: It is neither.
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return finite(value if isinstance(value, Decimal) else Decimal(str(value)))
    if isinstance(value, str) and NUMERIC_TEXT.fullmatch(value.strip()):
        return finite(Decimal(value.strip()))
    raise Uncoercible("a number")


def _is_plain_integer(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is an integer of a size that needs no further look."""
    return type(value) is int and -LARGEST_PLAIN <= value <= LARGEST_PLAIN


def as_integer(value: Any) -> int:  # noqa: ANN401
    """Read a whole number.

    Raises:
        Uncoercible: It is none.
    """
    if _is_plain_integer(value):
        return int(value)
    number = as_decimal(value)
    if number != number.to_integral_value():
        raise Uncoercible("a whole number")
    return int(number)


def as_number(value: Any) -> int | float:  # noqa: ANN401
    """Read a number; a whole one as an integer.

    Raises:
        Uncoercible: It is none.
    """
    if _is_plain_integer(value):
        return int(value)
    if type(value) is Decimal and value.is_finite():
        quick = float(value)
        if SMALLEST_PLAIN < abs(quick) < LARGEST_EXACT and not quick.is_integer():
            return quick
    number = as_decimal(value)
    return int(number) if number == number.to_integral_value() else float(number)


def as_boolean(value: Any) -> bool:  # noqa: ANN401
    """Read yes or no, as people, databases and spreadsheets write it.

    Raises:
        Uncoercible: It is neither.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if text in BOOLEAN_TEXT:
            return BOOLEAN_TEXT[text]
        value = as_decimal(text) if NUMERIC_TEXT.fullmatch(text) else None
    if isinstance(value, int | Decimal | float) and value in (0, 1):
        return value == 1
    raise Uncoercible("true or false")


def as_moment(value: Any) -> datetime:  # noqa: ANN401
    """Read an ISO 8601 date or date-time; one without a zone is taken as UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, str) and ISO_DATE_TIME.fullmatch(value.strip()):
        value = _parse_iso(value.strip())
    if not isinstance(value, datetime):
        raise Uncoercible("an ISO 8601 date or date-time, such as 2026-03-31T09:30:00Z")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _parse_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-").replace(" Z", "Z"))
    except ValueError:
        raise Uncoercible("a date of the calendar") from None


def as_date_time(value: Any) -> str:  # noqa: ANN401
    """Read a moment as text in UTC, with milliseconds.

    Raises:
        Uncoercible: It is none.
    """
    if isinstance(value, str) and (plain := UTC_DATE_TIME.fullmatch(value)):
        day, clock, fraction = plain.groups()
        if _is_plain_date(day):
            return f"{day}T{clock}.{(fraction or '')[:3]:0<3}Z"
    try:
        moment = as_moment(value)
    except OverflowError:
        raise Uncoercible("a date of the calendar") from None
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def as_date(value: Any) -> str:  # noqa: ANN401
    """Take a date, or a date-time at midnight, which is how some taps send dates."""
    if isinstance(value, str) and _is_plain_date(value):
        return value
    if isinstance(value, str) and ISO_DATE_TIME.fullmatch(value.strip()):
        value = _parse_iso(value.strip())
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    if isinstance(value, datetime) or not isinstance(value, date):
        raise Uncoercible("an ISO 8601 date, such as 2026-03-31")
    return value.isoformat()


def _is_plain_date(text: str) -> bool:
    """Whether a text is a date of the calendar in the form in which it is sent."""
    if len(text) != ISO_DATE_LENGTH or text[4] != "-" or text[7] != "-":
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def visible(text: str) -> str:
    """Remove invisible characters (Unicode category Cf), such as a byte-order mark."""
    if text.isascii():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def as_name(text: str) -> str:
    """Write names that look the same alike: in NFC, nothing invisible, no blanks around."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", visible(text)).strip()


def comparable_name(text: str) -> str:
    """Reduce a name to what counts in comparisons: not its case, nor how many blanks it has."""
    return " ".join(as_name(text).casefold().split())


@cache
def plain(name: str) -> str:
    """Reduce a name to what counts: lower case, no ``_-./#:?``, blanks or invisible characters."""
    return re.sub(r"[\s_.\-/#:?]", "", visible(name)).lower()
