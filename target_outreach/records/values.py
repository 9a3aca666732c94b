"""From what a tap sends to what an attribute takes, and when two values are the same.

A value that cannot be coerced rejects its record: nothing is guessed. No message repeats a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from target_outreach.errors import RecordFault
from target_outreach.records.contacts import (
    as_domain,
    as_emails,
    as_phones,
    domain_key,
    email_key,
    same_phone,
)
from target_outreach.records.lists import BETWEEN_ITEMS, as_texts, items_of, unique
from target_outreach.records.model import Dropped, Value
from target_outreach.records.scalars import (
    Uncoercible,
    as_boolean,
    as_date,
    as_date_time,
    as_integer,
    as_moment,
    as_name,
    as_number,
    as_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.records.model import Attribute, Kind


#: Does as `coerce` for one attribute, of which it knows all that can be known beforehand.
Coercion = Callable[[Any, list[Dropped]], Value]


def coerce(
    attribute: Attribute,
    value: Any,  # noqa: ANN401 - whatever JSON holds
    dropped: list[Dropped] | None = None,
) -> Value:
    """Turn an incoming value into what the attribute takes.

    Args:
        attribute: The attribute that the value is for.
        value: Anything that JSON holds, floats read as `Decimal`.
        dropped: Takes what is there but is no value, as ``N/A`` is no domain: the attribute's
            name and why.

    Returns:
        Text, a number, a boolean, a list of texts, or None for null and blank text.

    Raises:
        RecordFault: The value does not fit; the fault has the code ``invalid_value``.
    """
    return coercion(attribute)(value, [] if dropped is None else dropped)


def coercion(attribute: Attribute) -> Coercion:
    """Return what does as `coerce` for an attribute, to be used for the values of many records."""
    read = _reader(attribute)

    def coerce_one(value: Any, dropped: list[Dropped]) -> Value:  # noqa: ANN401
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return read(value, dropped)
        except Uncoercible as reason:
            message = f"{attribute.title} takes {reason}."
            raise RecordFault("invalid_value", message, field=attribute.name) from None

    return coerce_one


def _reader(attribute: Attribute) -> Coercion:
    """Return what reads values that are not empty."""
    name, kind, custom = attribute.name, attribute.kind, attribute.custom
    if name == "name" and kind == "text":
        return lambda value, _: as_name(as_text(value)) or None
    if custom is not None:
        return lambda value, _: custom.coerce(value)
    if kind in SELECTIONS:
        select = SELECTIONS[kind]
        return lambda value, dropped: select(value, name, dropped)
    read = COERCIONS[kind]
    return lambda value, _: read(value)


def fitting_items(attribute: Attribute, value: Any) -> Value:  # noqa: ANN401 - JSON
    """Read those items of a list that fit; of anything else nothing does.

    Args:
        attribute: The attribute that the value is for.
        value: A value that does not fit as a whole.
    """
    if not attribute.is_array:
        return None
    try:
        items = items_of(value)
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


COERCIONS: Mapping[Kind, Callable[[Any], Value]] = {
    "text": as_text,
    "texts": as_texts,
    "emails": as_emails,
    "integer": as_integer,
    "number": as_number,
    "boolean": as_boolean,
    "date": as_date,
    "date-time": as_date_time,
}
#: The kinds of which some text is not refused, but no value at all.
SELECTIONS: Mapping[Kind, Callable[[Any, str, list[Dropped]], Value]] = {
    "phones": as_phones,
    "domain": as_domain,
}


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
        return as_text(held)
    except Uncoercible:
        return None


def _same_domain(ours: str, held: str) -> bool:
    key = domain_key(ours)
    return key == domain_key(held) if key else ours.lower() == held.strip().lower()


def is_empty(value: Any) -> bool:  # noqa: ANN401
    """Whether a value stands for nothing: null, no text, no items."""
    return value is None or value in ("", [])


def is_unset(value: Any) -> bool:  # noqa: ANN401
    """Whether nobody has said anything: Outreach holds false where nothing was said."""
    return value is False or is_empty(value)


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
    """Return the texts of a list that Outreach holds, whatever else may be in it."""
    return [item for item in held if isinstance(item, str)] if isinstance(held, list) else []


def _same_moment(ours: str, held: Any) -> bool:  # noqa: ANN401
    """Compare instants; where Outreach keeps whole seconds only, ours are cut to them."""
    try:
        mine, theirs = as_moment(ours), as_moment(held)
    except Uncoercible:
        return False
    return mine == theirs or (not theirs.microsecond and mine.replace(microsecond=0) == theirs)
