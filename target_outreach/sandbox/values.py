"""Types of values in bodies, and the forms in which Outreach keeps them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox import errors
from target_outreach.sandbox.resources import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_outreach.records.model import Attribute

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_URL = re.compile(r"https?://\S+|[^\s/:@]+\.\S+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)

NUMERIC_TYPES = ("currency", "numerical", "percentage")


def moment(text: str) -> str:
    """Write an ISO 8601 date or date-time as Outreach stores it; without a zone it is UTC.

    Raises:
        ValueError: The text is no ISO 8601 date or date-time.
    """
    parsed = datetime.fromisoformat(text)
    return timestamp((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def read_value(attribute: Attribute, given: object) -> object:
    """Check the type of one value of a body; null clears whatever it is (8.7).

    Args:
        attribute: What the catalogue says about it.
        given: The JSON that was sent.

    Returns:
        The value as it is stored; times in UTC.

    Raises:
        ApiError: 422 where the value is of another type.
    """
    if given is None:
        return None
    try:
        if attribute.is_array:
            return _texts(given)
        return _READERS[attribute.kind](given)
    except (OverflowError, TypeError, ValueError):
        # That a wrong type is refused is known; the sentence is not.
        pointer = f"/data/attributes/{attribute.name}"
        raise errors.invalid(f"{attribute.name} is invalid.", pointer) from None


def _texts(given: object) -> list[str]:
    if not isinstance(given, list):
        raise TypeError
    return [_text(item) for item in given]


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError
    given.encode()  # half a surrogate pair cannot be stored
    return given


def _boolean(given: object) -> bool:
    if not isinstance(given, bool):
        raise TypeError
    return given


def _integer(given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError
    return given


def _number(given: object) -> float:
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        raise TypeError
    return given


def _date(given: object) -> str:
    text = _text(given)
    if not _DATE.fullmatch(text):
        raise ValueError
    return date.fromisoformat(text).isoformat()


_READERS: dict[str, Callable[[object], object]] = {
    "text": _text,
    "domain": _text,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "date": _date,
    "date-time": lambda given: moment(_text(given)),
}


def _are_options(text: str, options: Sequence[str]) -> bool:
    """Whether a text is options of a pick list, some of which may have a separator in them."""
    ways = ([text], text.split(";"), text.split(","))
    return any(all(part.strip() in options for part in parts) for parts in ways)


def show_types(resources: Sequence[dict[str, Any]], rules: Mapping[str, Any]) -> None:
    """Turn custom fields, which are kept as text, into what their declared types suggest (8.5).

    Args:
        resources: As they will be answered; they are changed.
        rules: What the organisation declared, by attribute.
    """
    for resource in resources:
        attributes = resource["attributes"]
        for name in attributes.keys() & rules.keys():
            if attributes[name] is not None:
                attributes[name] = _typed(attributes[name], rules[name]["type"])


def _typed(text: str, kind: str) -> object:
    if kind in NUMERIC_TYPES:
        return float(text) if "." in text else int(text)
    if kind == "multi_inclusion":
        return [part.strip() for part in re.split("[;,]", text)]
    return text == "true" if kind == "boolean" else text


def obeys(text: str, rule: Mapping[str, Any]) -> bool:
    """Check a custom field against its declared type (1.1, 8.5).

    How several options are written as one text is not known; commas and semicolons are taken here.
    """
    options = rule["definition"] or ()
    checks: dict[str, Callable[[], object]] = {
        "boolean": lambda: text in {"true", "false"},
        "date": lambda: _date(text),
        "date_time": lambda: datetime.fromisoformat(text),
        "inclusion": lambda: not options or text in options,
        "multi_inclusion": lambda: not options or _are_options(text, options),
        "phone_number": lambda: re.search(r"\d", text),
        "url": lambda: _URL.fullmatch(text),
    }
    checks |= dict.fromkeys(NUMERIC_TYPES, lambda: _NUMBER.fullmatch(text))
    try:
        return bool(checks.get(rule["type"], lambda: True)())
    except ValueError:
        return False
