"""Which record of Outreach a record of the stream is about.

Match fields are tried in their order, each only if the record has it; the first with a match
decides. A match by a later field is none when Outreach holds a different value in an earlier field
that the record carries: two companies may both be called Acme.

Unnamed accounts, which Outreach makes for prospects and does not show, are found by their id only
(API reference 2.3): whoever sends an account called Acme expects to see one of that name. A record
that says itself whether it is `named` may be about either.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from target_outreach.records.contacts import domain_key, email_key
from target_outreach.records.model import Desired, Key, ObjectType, Resource
from target_outreach.records.scalars import comparable_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.records.rules import OnAmbiguous


def comparable(object_type: ObjectType, field: str, value: Any) -> frozenset[str]:  # noqa: ANN401
    """Reduce the value of a match field to what makes two values the same.

    Args:
        object_type: The object that the field belongs to.
        field: The name of an attribute.
        value: Ours, or Outreach's own.

    Returns:
        The comparable forms, several for an array, none for what identifies nobody.
    """
    if isinstance(value, list):
        return frozenset(
            [key for item in value if isinstance(item, str) and (key := email_key(item))]
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip() if value is not None else ""
    if object_type.attributes[field].kind == "domain":
        text = domain_key(text)
    elif field != "customId":  # an id of somebody else's system, where case may count
        text = comparable_name(text)
    return frozenset({text} if text else ())


def keys_of(object_type: ObjectType, desired: Desired, match_fields: Sequence[str]) -> list[Key]:
    """List what a record can be found by: its id alone, or each value of its match fields."""
    if desired.id is not None:
        return [Key("id", desired.id)]
    return [key for field in match_fields for key in field_keys(object_type, desired, field)]


def field_keys(object_type: ObjectType, desired: Desired, field: str) -> list[Key]:
    """List each value that a record has in a match field, whether or not it says an id."""
    keys = desired.keys.get(field)
    if keys is None:
        forms = comparable(object_type, field, desired.attributes.get(field))
        keys = desired.keys[field] = [Key(field, form) for form in sorted(forms)]
    return keys


def order_keys(object_type: ObjectType, desired: Desired, match_fields: Sequence[str]) -> list[Key]:
    """List all that a record may have in common with another, which must then wait for it.

    A record that is found by its id may give the one in Outreach an address or a name that the next
    record is found by. Records of one source key are about one record, whatever else they say.
    """
    keys: list[Key] = []
    if desired.id is not None:
        keys.append(Key("id", desired.id))
    if desired.remembered is not None and desired.remembered != desired.id:
        keys.append(Key("id", desired.remembered))
    for field in match_fields:
        keys += field_keys(object_type, desired, field)
    if desired.source_key is not None:
        keys.append(Key("source", desired.source_key))
    return keys


class RemoteSnapshot:
    """What is known of one object's records in Outreach, found by id and by match field.

    Attributes:
        object: What the records are.
        version: Grows whenever anything of it may have changed.
        fields: The match fields that they are found by.
    """

    def __init__(self, object_type: ObjectType, match_fields: Sequence[str]) -> None:
        self.object = object_type
        self.version = 0
        self.fields = match_fields
        self._by_id: dict[int, Resource] = {}
        self._keys: dict[int, list[Key]] = {}
        self._having: dict[Key, dict[int, Resource]] = defaultdict(dict)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_id.values())

    def put(self, resource: Resource) -> None:
        """Remember a record as Outreach answered it, instead of what was known of it."""
        if resource.id in self._by_id:
            self.forget(resource.id)
        self.version += 1
        self._by_id[resource.id] = resource
        self._keys[resource.id] = keys = self.keys(resource)
        for key in keys:
            self._having[key][resource.id] = resource

    def forget(self, resource_id: int) -> None:
        """Drop what is known of a record."""
        self.version += 1
        self._by_id.pop(resource_id, None)
        for key in self._keys.pop(resource_id, ()):
            having = self._having[key]
            having.pop(resource_id, None)  # two fields may be one
            if not having:
                del self._having[key]

    def keys(self, resource: Resource) -> list[Key]:
        """List the keys that a record of Outreach is found by, beside its id."""
        return [
            Key(field, value)
            for field in self.fields
            for value in comparable(self.object, field, resource.attributes.get(field))
        ]

    def known_keys(self, resource_id: int) -> tuple[Key, ...]:
        """Return the keys of a known record, its id included."""
        return (Key("id", resource_id), *self._keys.get(resource_id, ()))

    def get(self, resource_id: int) -> Resource | None:
        """Return the record of that id, if it is known."""
        return self._by_id.get(resource_id)

    def having(self, key: Key) -> list[Resource]:
        """Return the known records that have a key."""
        if key.field == "id":
            known = self._by_id.get(int(key.value))
            return [known] if known else []
        return [*self._having.get(key, {}).values()]


def match(
    desired: Desired, snapshot: RemoteSnapshot, match_fields: Sequence[str]
) -> list[Resource]:
    """Find what a record is about.

    Args:
        desired: What the record says.
        snapshot: What is known of Outreach, all of the record's keys having been looked up.
        match_fields: The fields to try, in their order.

    Returns:
        No resource, the one, or several where the record fits more than one, the oldest first.
    """
    if desired.id is not None:
        known = snapshot.get(desired.id)
        return [known] if known else []
    if desired.remembered is not None and (known := snapshot.get(desired.remembered)):
        return [known]
    for position, field in enumerate(match_fields):
        earlier = match_fields[:position]
        found = {
            resource.id: resource
            for key in field_keys(snapshot.object, desired, field)
            for resource in snapshot.having(key)
            if _fits(snapshot.object, desired, resource, field, earlier)
        }
        if found:
            fitting = [*found.values()]
            return fitting if len(fitting) == 1 else sorted(fitting, key=_age)
    return []


def _age(resource: Resource) -> tuple[str, int]:
    return resource.created_at, resource.id


def _fits(
    object_type: ObjectType,
    desired: Desired,
    resource: Resource,
    field: str,
    earlier: Iterable[str],
) -> bool:
    """Whether Outreach's record, found by one match field, does not contradict ours elsewhere.

    An account that Outreach made for a prospect, and does not show, fits only what says itself
    whether it is named (2.3). What does not say where it lies may be about any record, if there is
    only one.
    """
    if resource.attributes.get("named") is False and "named" not in desired.attributes:
        return False
    for name in earlier:
        ours = comparable(object_type, name, desired.attributes.get(name))
        theirs = comparable(object_type, name, resource.attributes.get(name))
        if ours and theirs and not ours & theirs:
            return False
    within = object_type.match_within.get(field)
    if within is None or within not in desired.relationships:
        return True
    return desired.relationships[within] == resource.links.get(within)


def choose(found: Sequence[Resource], on_ambiguous: OnAmbiguous) -> Resource | None:
    """Pick one of several matches, the oldest first in the list, or none by policy."""
    if len(found) == 1:
        return found[0]
    if not found or on_ambiguous == "reject":
        return None
    return found[0 if on_ambiguous == "oldest" else -1]
