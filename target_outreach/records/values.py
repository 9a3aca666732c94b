"""From what a tap sends to what an attribute takes, and when two values are the same.

A value that cannot be coerced rejects its record: nothing is guessed. No message repeats a value.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import unicodedata
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import idna

from target_outreach.errors import RecordFault

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from target_outreach.records.model import Attribute, Dropped, Kind, Value


NUMERIC_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
ISO_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
UTC_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d+))?(?:Z|\+00:00)", re.ASCII
)
EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+")
NO_DIGITS = re.compile(r"[^0-9]+")
SCHEMES = re.compile(r"\A(?:[a-z][a-z0-9+-]*:/+)+", re.IGNORECASE)
HOST_NAME = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])",
    re.ASCII,
)
BOOLEAN_TEXT = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}
#: A telephone number that needs no further look.
PLAIN_PHONE = re.compile(r"[+(]?(?:[0-9][ ()-]{0,3}){6,14}[0-9]", re.ASCII)
#: What stands between two telephone numbers, but not before an extension of one.
BETWEEN_PHONES = re.compile(r"[,;|\n](?!\s*(?:ext|x|#))", re.IGNORECASE)
BETWEEN_ITEMS = re.compile("[,;]")
#: How databases and Python write that there is nothing.
NOTHING = frozenset({"null", "none", "nan"})
#: Characters up to which a text is read as a list of Python.
LONGEST_PYTHON = 100_000
LONGEST_EMAIL = 254

#: Letters of the name of a host (RFC 1035).
LONGEST_HOST = 253
LARGEST_EXPONENT = 300
LARGEST_PLAIN = 2**63

#: Between these, a float that is not whole was not made of a whole number, nor of a tiny one.
SMALLEST_PLAIN = 1e-3
LARGEST_EXACT = 2**53
ISO_DATE_LENGTH = len("2026-03-31")
SHORTEST_PHONE_SUFFIX = 7

#: Why a value is not delivered although its record is.
NO_HOST = "no host name"
NO_PHONE = "no telephone number"


class Uncoercible(ValueError):  # noqa: N818 - a reason, worded for the end of a sentence
    """A value does not fit its attribute; the text says what would."""


def coerce(
    attribute: Attribute,
    value: Any,  # noqa: ANN401 - whatever JSON holds
    dropped: list[Dropped] | None = None,
) -> Value:
    """Turn an incoming value into what the attribute takes.

    Args:
        attribute: The attribute that the value is for.
        value: Anything that JSON holds, floats read as `Decimal`.
        dropped: Takes what stands there but is no value, as ``N/A`` is no domain: the attribute's
            name and why.

    Returns:
        Text, a number, a boolean, a list of texts, or None for null and blank text.

    Raises:
        RecordFault: The value does not fit; the fault has the code ``invalid_value``.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        if attribute.kind == "text" and is_plain_text(value):
            return value
    try:
        if attribute.custom is not None:
            return attribute.custom.coerce(value)
        if (read := COERCIONS.get(attribute.kind)) is not None:
            return read(value)
        select = SELECTIONS[attribute.kind]
        return select(value, attribute.name, [] if dropped is None else dropped)
    except Uncoercible as reason:
        message = f"{attribute.title} takes {reason}."
        raise RecordFault("invalid_value", message, field=attribute.name) from None


def is_plain_text(text: str) -> bool:
    """Whether a text is what a text attribute takes, without any further look."""
    return text.isascii() and bool(text) and not text.isspace()


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return value if value.isascii() else _whole(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return plain_number(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    msg = "text, not a list or an object"
    raise Uncoercible(msg)


def _whole(text: str) -> str:
    """Refuse half a surrogate pair, which no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = "text, and this has a broken character"
        raise Uncoercible(msg) from None
    return text


def plain_number(value: float | Decimal) -> str:
    """Write a number without exponent and without trailing zeros.

    Raises:
        Uncoercible: It is not finite, or far out of every range.
    """
    number = _finite(value if isinstance(value, Decimal) else Decimal(str(value)))
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _finite(number: Decimal) -> Decimal:
    if not number.is_finite() or abs(number.adjusted()) > LARGEST_EXPONENT:
        msg = "a finite number"
        raise Uncoercible(msg)
    return number


def as_decimal(value: Any) -> Decimal:  # noqa: ANN401
    """Read a number or numeric text, with all its digits.

    Raises:
        Uncoercible: It is neither.
    """
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _finite(value if isinstance(value, Decimal) else Decimal(str(value)))
    if isinstance(value, str) and NUMERIC_TEXT.fullmatch(value.strip()):
        return _finite(Decimal(value.strip()))
    msg = "a number"
    raise Uncoercible(msg)


def _is_plain_integer(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is an integer of a size that needs no further look."""
    return type(value) is int and -LARGEST_PLAIN <= value <= LARGEST_PLAIN


def _integer(value: Any) -> int:  # noqa: ANN401
    if _is_plain_integer(value):
        return int(value)
    number = as_decimal(value)
    if number != number.to_integral_value():
        msg = "a whole number"
        raise Uncoercible(msg)
    return int(number)


def _number(value: Any) -> int | float:  # noqa: ANN401
    if _is_plain_integer(value):
        return int(value)
    if type(value) is Decimal and value.is_finite():
        quick = float(value)
        if SMALLEST_PLAIN < abs(quick) < LARGEST_EXACT and not quick.is_integer():
            return quick
    number = as_decimal(value)
    return int(number) if number == number.to_integral_value() else float(number)


def _boolean(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if text in BOOLEAN_TEXT:
            return BOOLEAN_TEXT[text]
        value = as_decimal(text) if NUMERIC_TEXT.fullmatch(text) else None
    if isinstance(value, int | Decimal | float) and value in (0, 1):
        return value == 1
    msg = "true or false"
    raise Uncoercible(msg)


def _moment(value: Any) -> datetime:  # noqa: ANN401
    """Read an ISO 8601 date or date-time; one without a zone is taken as UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, str) and ISO_DATE_TIME.fullmatch(value.strip()):
        value = _parse_iso(value.strip())
    if not isinstance(value, datetime):
        msg = "an ISO 8601 date or date-time, such as 2026-03-31T09:30:00Z"
        raise Uncoercible(msg)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _parse_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-").replace(" Z", "Z"))
    except ValueError:
        msg = "a date of the calendar"
        raise Uncoercible(msg) from None


def _date_time(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str) and (plain := UTC_DATE_TIME.fullmatch(value)):
        day, clock, fraction = plain.groups()
        if _is_plain_date(day):
            return f"{day}T{clock}.{(fraction or '')[:3]:0<3}Z"
    try:
        moment = _moment(value)
    except OverflowError:
        msg = "a date of the calendar"
        raise Uncoercible(msg) from None
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _date(value: Any) -> str:  # noqa: ANN401
    """Take a date, or a date-time at midnight, which is how some taps send dates."""
    if isinstance(value, str) and _is_plain_date(value):
        return value
    if isinstance(value, str) and ISO_DATE_TIME.fullmatch(value.strip()):
        value = _parse_iso(value.strip())
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    if isinstance(value, datetime) or not isinstance(value, date):
        msg = "an ISO 8601 date, such as 2026-03-31"
        raise Uncoercible(msg)
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


def _items(value: Any) -> list[Any]:  # noqa: ANN401
    """See a list in a list, in the text of one, and in a lone scalar."""
    if isinstance(value, str) and _may_be_list(value):
        value = _list_or_text(value.strip())
    if value is None:
        return []
    if isinstance(value, dict):
        msg = "a list of texts, not an object"
        raise Uncoercible(msg)
    return value if isinstance(value, list) else [value]


def _may_be_list(text: str) -> bool:
    """Whether a text begins as a list, a quoted text or nothing does in JSON, SQL or Python."""
    return text.lstrip()[:1] in {"[", "{", '"', "n", "N"}


def _list_or_text(text: str) -> Any:  # noqa: ANN401
    """Read the list that a text is in JSON, in Python or in PostgreSQL, or leave it as it is."""
    if text.lower() in NOTHING:
        return None
    try:
        parsed = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        if text[0] == "{" and text[-1] == "}":
            return _postgresql_items(text)
        return _python_list_or_text(text) if text[0] == "[" and text[-1] == "]" else text
    if parsed == {}:
        return []  # an empty array of PostgreSQL
    return parsed if isinstance(parsed, list | str | dict) else text


def _postgresql_items(text: str) -> Any:  # noqa: ANN401
    try:
        rows = list(csv.reader([text[1:-1]], escapechar="\\", skipinitialspace=True))
    except csv.Error:
        return text
    return [item for row in rows for item in row if item.lower() not in NOTHING]


def _python_list_or_text(text: str) -> Any:  # noqa: ANN401
    if len(text) > LONGEST_PYTHON:
        return text
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return parsed if isinstance(parsed, list) else text


def whole_texts(value: Any) -> list[str]:  # noqa: ANN401 - whatever JSON holds
    """Read a list of texts, each once; a lone text is one of them, whatever stands in it.

    Raises:
        Uncoercible: It is an object, or an item is no text.
    """
    if isinstance(value, str) and not _may_be_list(value):
        return [_text(value)] if value.strip() else []
    texts = [_text(item) for item in _items(value) if item is not None]
    return unique([text for text in texts if text.strip()], key=str)


def _texts(value: Any) -> list[str]:  # noqa: ANN401
    """Read a list of texts; a lone text is divided, since no database writes a list so but text."""
    texts = whole_texts(value)
    if not isinstance(value, str) or len(texts) != 1 or not BETWEEN_ITEMS.search(texts[0]):
        return texts
    if _may_be_list(value) and _items(value) != [value.strip()]:
        return texts  # a list with one item
    parts = [part.strip() for part in BETWEEN_ITEMS.split(texts[0])]
    return unique([part for part in parts if part], key=str)


def _phones(
    value: Any,  # noqa: ANN401
    name: str,
    dropped: list[Dropped],
) -> list[str]:
    if type(value) is str and PLAIN_PHONE.fullmatch(value):
        return [value]
    kept: list[str] = []
    for phone in _phone_texts(value):
        if len(NO_DIGITS.sub("", phone)) < SHORTEST_PHONE_SUFFIX:
            dropped.append((name, NO_PHONE))
            continue
        place = next((n for n, other in enumerate(kept) if same_phone(phone, other)), None)
        if place is None:
            kept.append(phone)
        elif len(digits(phone)) > len(digits(kept[place])):
            kept[place] = phone  # it says more: the area, or the country
    return kept


def _phone_texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Go through the texts in which a telephone number may stand."""
    for item in _items(value):
        text = str(item) if isinstance(item, Decimal | float) else item
        if text is None:
            continue
        for part in BETWEEN_PHONES.split(_text(text)):
            halves = part.split(" / ")  # but "0711 / 123456" is one number
            if any(len(NO_DIGITS.sub("", half)) < SHORTEST_PHONE_SUFFIX for half in halves):
                halves = [part]
            yield from (_phone(half.strip()) for half in halves if half.strip())


def _phone(text: str) -> str:
    """Read a number that a spreadsheet took for a quantity, as ``14155550101.0``."""
    if not NUMERIC_TEXT.fullmatch(text) or text.lstrip("+").isdigit():
        return text
    number = _finite(Decimal(text))
    if "e" in text.lower() and number.as_tuple().exponent > 0:  # type: ignore[operator] # finite
        msg = "telephone numbers with all their digits, and a spreadsheet has rounded this one"
        raise Uncoercible(msg)
    if number != number.to_integral_value():
        return text
    return ("+" if text[0] == "+" else "") + plain_number(number)


def _emails(value: Any) -> list[str]:  # noqa: ANN401
    if isinstance(value, str) and value.isascii() and is_email(alone := value.strip()):
        return [alone]
    parts = (
        visible(part).strip() for text in whole_texts(value) for part in BETWEEN_ITEMS.split(text)
    )
    addresses = unique([part for part in parts if part], key=email_key)
    if not all(is_email(address) for address in addresses):
        msg = "email addresses only, and one of these is not an email address"
        raise Uncoercible(msg)
    return addresses


def visible(text: str) -> str:
    """Leave out invisible characters (Unicode category Cf), such as a byte-order mark."""
    if text.isascii():
        return text
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def _domain(
    value: Any,  # noqa: ANN401
    name: str,
    dropped: list[Dropped],
) -> str | None:
    host = domain_key(_text(value))
    if not host:
        dropped.append((name, NO_HOST))
    return host or None


def fitting_items(attribute: Attribute, value: Any) -> Value:  # noqa: ANN401 - JSON
    """Read those items of a list that fit; of anything else nothing does.

    Args:
        attribute: The attribute that the value is for.
        value: A value that does not fit as a whole.
    """
    if not attribute.is_array:
        return None
    try:
        items = _items(value)
    except Uncoercible:
        return None
    kept: list[str] = []
    for item in items:
        for part in BETWEEN_ITEMS.split(item) if isinstance(item, str) else [item]:
            try:
                read = coerce(attribute, part)
            except RecordFault:
                continue
            kept += read if isinstance(read, list) else []
    return missing_from(attribute, [], kept)


COERCIONS: dict[Kind, Callable[[Any], Value]] = {
    "text": _text,
    "texts": _texts,
    "emails": _emails,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "date-time": _date_time,
}

#: The kinds of which some text is not refused, but no value at all.
SELECTIONS: dict[Kind, Callable[[Any, str, list[Dropped]], Value]] = {
    "phones": _phones,
    "domain": _domain,
}


def unique(values: Sequence[str], key: Callable[[str], Hashable]) -> list[str]:
    """Keep the first of the values that have the same key."""
    if len(values) < 2:  # noqa: PLR2004 - most lists have one item
        return list(values)
    kept: dict[Hashable, str] = {}
    for value in values:
        kept.setdefault(key(value), value)
    return list(kept.values())


def is_email(address: str) -> bool:
    """Whether the text has the form of an address; Outreach judges the rest."""
    return len(address) <= LONGEST_EMAIL and EMAIL.fullmatch(address) is not None


def email_key(address: str) -> str:
    """Return what makes two addresses the same: the normal form (NFC) in lower case.

    Characters that nobody sees do not count.
    """
    if address.isascii():
        return address.strip().lower()
    return unicodedata.normalize("NFC", visible(address).strip().lower())


@lru_cache(maxsize=10_000)
def domain_key(domain: str) -> str:
    """Return the bare host of a domain in its IDNA form, or no text where there is no host name.

    Scheme, ``www.``, port, path, case, a trailing dot and invisible characters do not count. An
    address of mail or of the network is no host name, nor are two of them.
    """
    text = SCHEMES.sub("", visible(domain).strip())
    try:
        parts = urlsplit(f"//{text.lstrip('/')}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    host = host.rstrip(".")
    if len(host) > LONGEST_HOST:
        return ""
    if "@" in parts.netloc:
        return ""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii").rstrip(".")
        except idna.IDNAError:
            return ""
    while host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    return host if HOST_NAME.fullmatch(host) else ""


def digits(phone: str) -> str:
    """Return the digits of a telephone number, without a trunk ``0`` behind the country's code."""
    return NO_DIGITS.sub("", phone.replace("(0)", ""))


def same_phone(one: str, other: str) -> bool:
    """Whether two numbers are equal, or one ends with the other's seven digits or more.

    Zeros in front do not count: they stand for a trunk or an international call, and are gone where
    Outreach writes the number with its country's code (API reference 2.5).
    """
    forms = (digits(phone).lstrip("0") or digits(phone) for phone in (one, other))
    ours, theirs = sorted(forms, key=len)
    if not ours:
        return one.strip() == other.strip()
    if len(ours) < SHORTEST_PHONE_SUFFIX:
        return ours == theirs
    return theirs.endswith(ours) or ours in _without_trunk(theirs)


def _without_trunk(number: str) -> Iterator[str]:
    """Drop a trunk ``0`` that may have been kept behind a country's code of one to three digits."""
    for code in range(1, 4):
        if number[code] == "0":
            yield number[:code] + number[code + 1 :]


def same(  # noqa: PLR0911 - one for each kind
    attribute: Attribute,
    ours: Value,
    held: Any,  # noqa: ANN401 - Outreach's JSON
) -> bool:
    """Whether Outreach already holds the value, up to what does not count for its kind.

    Args:
        attribute: The attribute that both are values of.
        ours: What should be in Outreach.
        held: What Outreach answered.
    """
    if is_empty(ours) or is_empty(held):
        unset = held is False and attribute.kind == "boolean"
        return is_empty(ours) and (is_empty(held) or unset)
    if isinstance(ours, list):
        return isinstance(held, list) and same_list(attribute, ours, texts_of(held))
    if attribute.kind == "domain":
        return _same_domain(str(ours), str(held))
    if attribute.kind == "date-time":
        return _same_moment(str(ours), held)
    if attribute.custom is not None:
        return attribute.custom.is_same(str(ours), held)
    if attribute.kind in {"text", "date"}:
        return ours == (held if isinstance(held, str) else _text_or_none(held))
    return bool(ours == held) and isinstance(ours, bool) == isinstance(held, bool)


def differing(ours: Mapping[str, Value], held: Mapping[str, Any]) -> dict[str, Value]:
    """Return those of our values that Outreach does not hold word for word.

    Most rows say what they said before, so this quick look comes before `same`.
    """
    return {
        name: value
        for name, value in ours.items()
        if (theirs := held.get(name)) != value or type(theirs) is not type(value)
    }


def _text_or_none(held: Any) -> str | None:  # noqa: ANN401
    try:
        return _text(held)
    except Uncoercible:
        return None


def _same_domain(ours: str, held: str) -> bool:
    key = domain_key(ours)
    return key == domain_key(held) if key else ours.lower() == held.strip().lower()


def is_empty(value: Any) -> bool:  # noqa: ANN401
    """Whether a value stands for nothing: null, no text, no items."""
    return value is None or value in ("", [])


def same_list(attribute: Attribute, ours: list[str], held: list[str]) -> bool:
    """Whether two lists hold the same items in the same order."""
    same_item = item_comparison(attribute)
    return len(ours) == len(held) and all(map(same_item, ours, held))


def _item_key(attribute: Attribute) -> Callable[[str], str]:
    """Return what makes two items the same, for all lists but phones."""
    return email_key if attribute.kind == "emails" else str


def item_comparison(attribute: Attribute) -> Callable[[str, str], bool]:
    """Return how two items of the attribute's list are compared."""
    if attribute.kind == "phones":
        return same_phone
    key = _item_key(attribute)
    return lambda one, other: key(one) == key(other)


def missing_from(attribute: Attribute, held: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Return those of our items that are not held yet, each once and in our order."""
    if all(item in held for item in ours):
        return []
    if attribute.kind != "phones":
        key = _item_key(attribute)
        there = {key(item) for item in held}
        return unique([item for item in ours if key(item) not in there], key=key)
    added: list[str] = []
    for item in ours:
        if not any(same_phone(item, other) for other in (*held, *added)):
            added.append(item)
    return added


def as_held(attribute: Attribute, held: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Return our items, those that are held in the form in which they are."""
    if attribute.kind != "phones":
        key = _item_key(attribute)
        forms = {key(item): item for item in reversed(held)}
        return unique([forms.get(key(item), item) for item in ours], key=str)
    found = [next((form for form in held if same_phone(form, item)), item) for item in ours]
    return unique(found, key=str)


def texts_of(held: Any) -> list[str]:  # noqa: ANN401 - Outreach's JSON
    """Return the texts of a list that Outreach holds, whatever else may stand in it."""
    return [item for item in held if isinstance(item, str)] if isinstance(held, list) else []


def _same_moment(ours: str, held: Any) -> bool:  # noqa: ANN401
    """Compare instants; where Outreach keeps whole seconds only, ours are cut to them."""
    try:
        mine, theirs = _moment(ours), _moment(held)
    except Uncoercible:
        return False
    return mine == theirs or (not theirs.microsecond and mine.replace(microsecond=0) == theirs)
