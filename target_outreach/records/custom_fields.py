"""What an organisation has made of its custom fields: labels, types, pick lists.

Outreach keeps every custom field as text, and tells by ``GET /types`` what the text must be (API
reference 1.1). A value is put into that form before it is sent, and compared by what it means: to a
number field ``78`` and ``78.0`` are the same.

How several options of a pick list are written in one text is not published. They are sent joined by
``;``, as the CRMs that Outreach is synchronised with write them, and read however they are joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args
from urllib.parse import urlsplit

from target_outreach.records.catalog import load_catalog
from target_outreach.records.contacts import digits, same_phone
from target_outreach.records.lists import whole_texts
from target_outreach.records.model import Attribute, FieldType, ObjectType
from target_outreach.records.scalars import Uncoercible, as_decimal, plain_number
from target_outreach.records.values import COERCIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: The custom fields of an organisation, by object and by name.
CustomFields = dict[str, dict[str, "CustomField"]]

#: What is between several options in one text.
SEPARATOR = ";"
SEPARATORS = (re.compile(";"), re.compile(","), re.compile("[,;]"))
SECONDS_LENGTH = len("2026-03-31T09:30:00")
HOST = re.compile(r"[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+\.?")


@dataclass(frozen=True, slots=True)
class CustomField:
    """One custom field as the organisation declares it.

    Attributes:
        name: Its name in the API, such as ``custom7``.
        label: What people call it.
        type: What its text must be.
        choices: The options of a pick list; none where any value goes.
        required: Whether a new record needs a value in it.
    """

    name: str
    label: str | None = None
    type: FieldType = "string"
    choices: tuple[str, ...] = ()
    required: bool = False

    def coerce(self, value: Any) -> str | None:  # noqa: ANN401 - whatever JSON holds
        """Turn an incoming value into the text that Outreach keeps.

        Raises:
            Uncoercible: The value is none of this type; the text says what would be.
        """
        return READERS[self.type](self, value) or None

    def is_same(self, ours: str, held: Any) -> bool:  # noqa: ANN401 - Outreach's JSON
        """Whether Outreach holds what a coerced value of ours means, in whatever form.

        What it holds may be of no type at all: a field's type can change after its values.
        """
        if self.type == "phone_number":
            return isinstance(held, str) and same_phone(ours, held)
        try:
            if self.type == "multi_inclusion":
                return self._key(ours) == self._key(held)
            return ours == self.coerce(held)
        except Uncoercible:
            return False

    def _key(self, value: Any) -> frozenset[str]:  # noqa: ANN401
        return frozenset(map(_folded, _options(self, value)))

    def choice(self, text: str) -> str | None:
        """Return an option in the pick list's own spelling, or None where it is none of them."""
        if not self.choices or text in self.choices:
            return text
        return next((choice for choice in self.choices if _folded(choice) == _folded(text)), None)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


# Values


def _text(_field: CustomField, value: Any) -> str:  # noqa: ANN401
    return str(COERCIONS["text"](value))


def _number(_field: CustomField, value: Any) -> str:  # noqa: ANN401
    return plain_number(as_decimal(value))


def _inclusion(field: CustomField, value: Any) -> str:  # noqa: ANN401
    choice = field.choice(_text(field, value).strip())
    if choice is None:
        raise Uncoercible("one of the options of its pick list")
    return choice


def _options(field: CustomField, value: Any) -> list[str]:  # noqa: ANN401
    """Read several options, each once: from a list, from JSON text of one, or from joined text."""
    texts = whole_texts(value)
    parts = texts if len(texts) != 1 else _divided(field, texts[0])
    chosen = [field.choice(part.strip()) for part in parts if part.strip()]
    known = [choice for choice in chosen if choice is not None]
    if len(known) < len(chosen):
        raise Uncoercible("options of its pick list only, and one of these is not among them")
    return list(dict.fromkeys(known))


def _divided(field: CustomField, text: str) -> list[str]:
    """Divide joined options; one that has the separator in it is not divided."""
    ways = [[text], *(separator.split(text) for separator in SEPARATORS)]
    for parts in ways if field.choices else ():
        if all(field.choice(part.strip()) is not None for part in parts if part.strip()):
            return parts
    return ways[-1]


def _phone(field: CustomField, value: Any) -> str:  # noqa: ANN401
    text = _text(field, value).strip()
    if not digits(text):
        raise Uncoercible("a telephone number")
    return text


def _url(field: CustomField, value: Any) -> str:  # noqa: ANN401
    text = _text(field, value).strip()
    if not _is_url(text):
        raise Uncoercible("an address of the web, with http:// or https://, or a host alone")
    return text


def _is_url(text: str) -> bool:
    if text.split() != [text]:
        return False
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_host = HOST.fullmatch(host) is not None or ("://" in text and bool(host))
    return parts.scheme in {"http", "https"} and is_host and "@" not in parts.netloc


READERS: Mapping[FieldType, Callable[[CustomField, Any], str]] = {
    "boolean": lambda _, value: "true" if COERCIONS["boolean"](value) else "false",
    "currency": _number,
    "date": lambda _, value: str(COERCIONS["date"](value)),
    # In UTC to the second, without a zone, as Outreach stores it.
    "date_time": lambda _, value: str(COERCIONS["date-time"](value))[:SECONDS_LENGTH],
    "inclusion": _inclusion,
    "multi_inclusion": lambda field, value: SEPARATOR.join(_options(field, value)),
    "numerical": _number,
    "percentage": _number,
    "phone_number": _phone,
    "string": _text,
    "url": _url,
}


# What Outreach says of them


def read_types(document: Any) -> CustomFields | None:  # noqa: ANN401 - JSON
    """Read the answer to ``GET /types``; what is malformed in it is ignored.

    Args:
        document: The answer.

    Returns:
        The custom fields of the objects that the catalogue has, or None where it is no such answer.
    """
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    by_type = {_folded(one.type): one for one in load_catalog().values()}
    found: CustomFields = {}
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        object_type = (
            by_type.get(_folded(kind).removesuffix("s")) if isinstance(kind, str) else None
        )
        if object_type is not None:
            fields = {field.name: field for field in _fields(object_type, entry)}
            found.setdefault(object_type.name, {}).update(fields)
    return found


def _fields(object_type: ObjectType, entry: dict[str, Any]) -> Iterator[CustomField]:
    meta = entry.get("meta")
    rules = meta.get("validations") if isinstance(meta, dict) else None
    for name, rule in rules.items() if isinstance(rules, dict) else ():
        attribute = object_type.attributes.get(name)
        if attribute is not None and attribute.is_custom and isinstance(rule, dict):
            yield _field(name, rule)


def _field(name: str, rule: dict[str, Any]) -> CustomField:
    kind, label = rule.get("type"), rule.get("label")
    known: FieldType = cast("FieldType", kind) if kind in get_args(FieldType) else "string"
    return CustomField(
        name=name,
        label=" ".join(label.split()) or None if isinstance(label, str) else None,
        type=known,
        choices=_choices(rule.get("definition")) if known.endswith("inclusion") else (),
        required=rule.get("required") is True,
    )


def _choices(definition: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON
    """Read a pick list, also from JSON text of one; one that is not understood checks nothing."""
    if isinstance(definition, str):
        try:
            definition = json.loads(definition)
        except (ValueError, RecursionError):
            return ()
    items = definition if isinstance(definition, list) else []
    if not all(isinstance(item, str | int | float) for item in items):
        return ()
    texts = (str(item).strip() for item in items)
    return tuple(dict.fromkeys(text for text in texts if text))


class OwnObjects(Mapping[str, "ObjectType"]):
    """The objects of the catalogue as one organisation has them.

    A run begins without knowing its custom fields and asks for them when a stream needs that. It
    has one `ObjectType` for each object throughout, by which streams for the same object are known.
    """

    def __init__(self) -> None:
        catalog = load_catalog()
        self._attributes = {name: dict(one.attributes) for name, one in catalog.items()}
        self._required: dict[str, list[str]] = {name: [] for name in catalog}
        self._objects = {
            name: replace(
                one,
                attributes=MappingProxyType(self._attributes[name]),
                required=self._required[name],
            )
            for name, one in catalog.items()
        }

    def __getitem__(self, name: str) -> ObjectType:
        return self._objects[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def learn(self, declared: CustomFields) -> None:
        """Lay what the organisation says of its custom fields over the catalogue, once."""
        for name, fields in declared.items():
            self._attributes[name].update(declared_attributes(self[name], fields))
            self._required[name] += [field.name for field in fields.values() if field.required]


def declared_attributes(
    object_type: ObjectType, fields: Mapping[str, CustomField]
) -> dict[str, Attribute]:
    """Return the custom attributes of an object as they are declared."""
    return {
        name: replace(
            object_type.attributes[name],
            kind="text" if field.type == "string" else "custom",
            custom=field,
        )
        for name, field in fields.items()
    }
