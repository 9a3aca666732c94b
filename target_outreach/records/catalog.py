"""The attribute catalogue: what Outreach's objects are made of.

One data file, ``catalog.json``, holds every attribute with its kind, limits and access. Mapping,
schemas, the sandbox and the documentation all read it through this module. The facts are those of
Outreach's published OpenAPI document and JSON hyper-schema (types, lengths, read-only, filterable
and sortable flags agree in both). What an organisation has made of its custom fields is not in it;
`custom_fields` lays that over it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from target_outreach.records.model import Attribute, Kind, ObjectType, Relationship

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def load_catalog() -> Mapping[str, ObjectType]:
    """Read the catalogue of the package.

    Returns:
        The objects by plural name: what streams can be for, and what it is linked to.
    """
    text = resources.files(__package__).joinpath("catalog.json").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(text)
    linked_by = {
        name: MappingProxyType({"id": "id", **entry.get("linked_by", {})})
        for name, entry in entries.items()
    }
    return MappingProxyType(
        {name: _object_type(name, entry, linked_by) for name, entry in entries.items()}
    )


@cache
def stream_objects() -> tuple[str, ...]:
    """List the objects that a stream is for when its name says so."""
    return tuple(name for name, one in load_catalog().items() if one.stream == "by_name")


def _object_type(
    name: str, entry: dict[str, Any], linked_by: Mapping[str, Mapping[str, str]]
) -> ObjectType:
    attributes = {
        attribute: Attribute(name=attribute, **_with_tuples(facts))
        for attribute, facts in entry["attributes"].items()
    }
    attributes |= {a.name: a for a in _custom_fields(**entry.get("custom_fields", {"count": 0}))}
    relationships = {
        relationship: Relationship(name=relationship, linked_by=linked_by[said["object"]], **said)
        for relationship, said in entry["relationships"].items()
    }
    parts = {"attributes", "custom_fields", "relationships", "linked_by"}
    facts = _with_tuples({fact: value for fact, value in entry.items() if fact not in parts})
    return ObjectType(
        name=name,
        attributes=MappingProxyType(attributes),
        relationships=MappingProxyType(relationships),
        linked_by=linked_by[name],
        **facts,
    )


def _with_tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        fact: tuple(value) if isinstance(value, list) else value for fact, value in facts.items()
    }


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
