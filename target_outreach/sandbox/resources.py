"""Records, the values that Outreach derives, and how a record looks in JSON:API."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from target_outreach.records.catalog import load_catalog

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from target_outreach.records.model import Attribute, ObjectType

FOLDED_KINDS = frozenset({"text", "domain"})
# Flags with the time at which they were set, of which the one follows from the other.
_FLAGS = (("optedOut", "optedOutAt"), ("enabled", "enabledAt"), ("locked", "lockedAt"))
_NAME_PARTS = ("firstName", "middleName", "lastName")

#: Some of what recorded answers show although the specification has it not, blank (2.1).
UNDOCUMENTED: Mapping[str, Any] = MappingProxyType(
    {
        "accountName": None,
        "companyLinkedInEmployees": 0,
        "emailContacts": [],
        "personaName": None,
        "smsOptedOut": False,
        "stageName": None,
        "updaterType": "User",
    }
)

_SLUG = re.compile(r"linkedin\.com/in/([^/?#]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: attributes that are not blank, and related ids by relationship."""

    id: int
    attributes: Mapping[str, Any]
    relationships: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What one write brings.

    Attributes:
        method: ``POST``, ``PATCH`` or ``DELETE``; ``import`` for what an import writes;
            ``company`` for an account that the name of a company made; ``seed`` and ``edit`` for
            writes past the API.
        attributes: New values; None clears.
        relationships: New related ids; None unlinks.
        author: Id of the user who writes, or None.
        shared_emails: Whether an address may belong to another prospect as well.
        at: When it is written, in epoch seconds; None for now.
    """

    method: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    relationships: Mapping[str, int | None] = field(default_factory=dict)
    author: int | None = None
    shared_emails: bool = False
    at: float | None = None


def object_type(name: str) -> ObjectType:
    """Return the catalogue's entry of an object.

    Raises:
        ValueError: The catalogue has no such object.
    """
    try:
        return load_catalog()[name]
    except KeyError:
        message = f"no such object: {name!r}; there are {', '.join(load_catalog())}"
        raise ValueError(message) from None


def timestamp(seconds: float) -> str:
    """Write epoch seconds as Outreach does: UTC, with milliseconds that are always zero (1)."""
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}.000Z"  # strftime cuts the year 999 to 3 digits


@cache
def links_to(name: str) -> tuple[tuple[str, str], ...]:
    """Return what can point to an object: the plural names of others, and their relationships."""
    kinds = load_catalog().values()
    return tuple(
        (kind.name, link.name)
        for kind in kinds
        for link in kind.relationships.values()
        if link.object == name
    )


@cache
def blank_attributes(name: str) -> Mapping[str, Any]:
    """Return all attributes of an object as they look when nothing was ever set (1)."""
    return MappingProxyType({a.name: _blank(a) for a in object_type(name).attributes.values()})


def _blank(attribute: Attribute) -> object:
    if attribute.is_array:
        return []
    if attribute.kind == "histogram":
        return [[0, 0]] * 12
    if attribute.kind == "boolean":
        # An account is a named one, unless a prospect has brought it about (2.3).
        return attribute.name == "named"
    if attribute.name == "userId":
        return None  # Outreach's own, but no counter
    # Counters and the engaged score are Outreach's own and begin at 0; `score` is the caller's.
    return 0 if attribute.kind in {"integer", "number"} and attribute.read_only else None


def apply(name: str, before: Record, change: Change, now: str) -> Record:
    """Lay a change over a record.

    Args:
        name: Plural name of the object.
        before: The record as it is; an empty one for a create.
        change: What is to change.
        now: Time of the write.

    Returns:
        The record with derived values; the same as `before` where nothing differs.
    """
    blank = blank_attributes(name)
    merged = {**before.attributes, **change.attributes}
    merged |= _derived(name, before.attributes, merged, now)
    links = {**before.relationships, **change.relationships}
    if "userId" in blank:
        merged["userId"] = links.get("user")
    attributes = {k: v for k, v in merged.items() if v is not None and v != blank[k]}
    return Record(before.id, attributes, {k: v for k, v in links.items() if v is not None})


def _derived(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], now: str
) -> dict[str, Any]:
    """Return what Outreach computes: name, LinkedIn slug, and times of changes (2.1, 2.6, 2.7)."""
    known = object_type(name).attributes
    derived: dict[str, Any] = {}
    if "name" in known and known["name"].read_only:
        derived["name"] = _full_name(after)
    if "linkedInSlug" in known:
        slug = _SLUG.search(after.get("linkedInUrl") or "")
        derived["linkedInSlug"] = slug[1] if slug else None
    for flag, since in _FLAGS:
        if since in known and bool(before.get(flag)) != bool(after.get(flag)):
            derived[since] = now if after.get(flag) else None
    if "stateChangedAt" in known and before.get("state") != after.get("state"):
        derived["stateChangedAt"] = now
    return derived


def _full_name(attributes: Mapping[str, Any]) -> str | None:
    parts = [attributes[part] for part in _NAME_PARTS if attributes.get(part)]
    emails = attributes.get("emails") or [attributes.get("email")]
    return " ".join(parts) or emails[0]


def folded(name: str, attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the filterable texts of a record in the form in which they are compared."""
    known = object_type(name).attributes
    return {
        key: value.casefold()
        for key, value in attributes.items()
        if known[key].filterable and known[key].kind in FOLDED_KINDS
    }


def render(
    name: str, record: Record, base: str = "/api/v2", fields: Collection[str] | None = None
) -> dict[str, Any]:
    """Write a record as a JSON:API resource (2.2, 3.1).

    Args:
        name: Plural name of the object.
        record: The record.
        base: Start of the links.
        fields: Attributes and relationships to show; None for all.

    Returns:
        The resource, with an integer id.
    """
    kind = object_type(name)
    attributes: dict[str, Any] = {**blank_attributes(name), **record.attributes}
    if fields is not None:
        attributes = {key: attributes[key] for key in fields if key in attributes}
    relationships = {
        link.name: {"data": _linkage(link.object, record.relationships.get(link.name))}
        for link in kind.relationships.values()
        if fields is None or link.name in fields
    }
    return {
        "type": kind.type,
        "id": record.id,
        "attributes": attributes,
        "relationships": relationships,
        "links": {"self": f"{base}/{name}/{record.id}"},
    }


def _linkage(target: str, related: int | None) -> dict[str, Any] | None:
    return None if related is None else {"type": object_type(target).type, "id": related}
