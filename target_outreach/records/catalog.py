"""The attribute catalogue: what Outreach's objects are made of.

One data file, ``catalog.json``, holds every attribute with its kind, limits and access. Mapping,
schemas, the sandbox and the documentation all read it through this module. The facts are those of
Outreach's published OpenAPI document and JSON hyper-schema (types, lengths, read-only, filterable
and sortable flags agree in both). What an organisation has made of its custom fields is not in it;
`custom_fields` lays that over it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.records.custom_fields import CustomField

Kind = Literal[
    "text",
    "texts",
    "emails",
    "phones",
    "domain",
    "integer",
    "number",
    "boolean",
    "date",
    "date-time",
    "histogram",
    "custom",  # a custom field of which the organisation says more than that it is text
]

ARRAY_KINDS = frozenset({"texts", "emails", "phones"})
CUSTOM_NAME = re.compile(r"custom\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an object, as Outreach declares it.

    `custom` is what the organisation says of a custom field, where that has been asked.
    """

    name: str
    kind: Kind
    description: str
    max_length: int | None = None
    read_only: bool = False
    filterable: bool = False
    sortable: bool = False
    curated: bool = False
    explicit_only: bool = False
    synonyms: tuple[str, ...] = ()
    custom: CustomField | None = None

    @property
    def is_array(self) -> bool:
        """Whether the value is a list of texts."""
        return self.kind in ARRAY_KINDS

    @property
    def is_custom(self) -> bool:
        """Whether it is one of the numbered fields to which organisations give a meaning."""
        return CUSTOM_NAME.fullmatch(self.name) is not None

    @property
    def label(self) -> str | None:
        """What the organisation calls it, if that is known."""
        return self.custom.label if self.custom is not None else None

    @property
    def title(self) -> str:
        """The name, with the label behind it where there is one."""
        return self.name if self.label is None else f"{self.name} ({self.label})"


@dataclass(frozen=True, slots=True)
class Relationship:
    """A to-one link from one object to another, `object` being the plural name of the other."""

    name: str
    object: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object of Outreach: `name` is the plural in paths, `type` the singular in bodies.

    `required` are the custom fields without which the organisation lets nobody create a record.
    """

    name: str
    type: str
    attributes: Mapping[str, Attribute] = field(repr=False)
    relationships: Mapping[str, Relationship] = field(repr=False)
    required: Sequence[str] = field(default=(), repr=False)

    @property
    def writable(self) -> Mapping[str, Attribute]:
        """The attributes that may be sent."""
        return {name: a for name, a in self.attributes.items() if not a.read_only}

    @property
    def has_custom_fields(self) -> bool:
        """Whether organisations can give it fields of their own."""
        return "custom1" in self.attributes


@cache
def load_catalog() -> Mapping[str, ObjectType]:
    """Read the catalogue of the package.

    Returns:
        The objects by plural name: what streams can be for, and what it is linked to.
    """
    text = resources.files(__package__).joinpath("catalog.json").read_text(encoding="utf-8")
    return MappingProxyType(
        {name: _object_type(name, entry) for name, entry in json.loads(text).items()}
    )


def _object_type(name: str, entry: dict[str, Any]) -> ObjectType:
    attributes = {
        attribute: Attribute(
            name=attribute, **{**facts, "synonyms": tuple(facts.get("synonyms", ()))}
        )
        for attribute, facts in entry["attributes"].items()
    }
    attributes |= {a.name: a for a in _custom_fields(**entry.get("custom_fields", {"count": 0}))}
    relationships = {
        relationship: Relationship(name=relationship, **facts)
        for relationship, facts in entry["relationships"].items()
    }
    return ObjectType(
        name, entry["type"], MappingProxyType(attributes), MappingProxyType(relationships)
    )


def _custom_fields(
    count: int,
    kind: Kind = "text",
    max_length: int | None = None,
    curated: int = 0,
    description: str = "",
) -> list[Attribute]:
    """Spell out ``custom1`` to ``customN``, which differ in nothing but the number."""
    return [
        Attribute(
            name=f"custom{number}",
            kind=kind,
            description=description.format(number=number),
            max_length=max_length,
            curated=number <= curated,
        )
        for number in range(1, count + 1)
    ]
