"""What was delivered, reduced to hashes: enough to see what differs, too little to read it.

A fingerprint belongs to one attribute or relationship. It is salted with every setting that shapes
what is written of it, so that a changed setting makes the attribute look changed. Beside what the
record said stands what Outreach held afterwards, by which a later edit by others is recognised.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_outreach.records.planning import says_something

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from target_outreach.records.mapping import Desired
    from target_outreach.records.matching import Resource
    from target_outreach.records.planning import Rules

#: Begins each salt; another number makes all that is remembered worthless.
VERSION = 1

NAME_BYTES = 4
VALUE_BYTES = 8
ENTRY_BYTES = NAME_BYTES + 2 * VALUE_BYTES
UNKNOWN = bytes(VALUE_BYTES)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a record that was delivered before.

    Attributes:
        id: Its Outreach id.
        said: A hash of what the record said, by the hash of the attribute's name.
        held: A hash of what Outreach held afterwards, likewise; `UNKNOWN` where it did not say.
    """

    id: int
    said: Mapping[bytes, bytes]
    held: Mapping[bytes, bytes]

    def pack(self) -> bytes:
        """Write it as bytes."""
        return b"".join(
            name + value + self.held.get(name, UNKNOWN) for name, value in self.said.items()
        )

    @classmethod
    def unpack(cls, resource_id: int, packed: bytes) -> Remembered:
        """Read what `pack` wrote."""
        said: dict[bytes, bytes] = {}
        held: dict[bytes, bytes] = {}
        for start in range(0, len(packed), ENTRY_BYTES):
            name = packed[start : start + NAME_BYTES]
            said[name] = packed[start + NAME_BYTES : start + NAME_BYTES + VALUE_BYTES]
            held[name] = packed[start + NAME_BYTES + VALUE_BYTES : start + ENTRY_BYTES]
        return cls(resource_id, said, held)


def name_hash(name: str) -> bytes:
    """Return what stands for the name of an attribute or a relationship."""
    return _NAMES.get(name) or _NAMES.setdefault(name, _digest(name, NAME_BYTES))


_NAMES: dict[str, bytes] = {}


def key_hash(key: str) -> bytes:
    """Return what stands for a record's key, 16 bytes."""
    return _digest(key, 16)


def changes(desired: Desired, rules: Rules, remembered: Remembered) -> list[str]:
    """List the attributes and relationships in which a record says something else than it did."""
    return [
        name
        for name, value in _said(desired, rules)
        if remembered.said.get(name_hash(name)) != _hash_of(name, value, rules)
    ]


def remember(
    desired: Desired,
    rules: Rules,
    resource: Resource,
    before: Remembered | None,
    seen: Collection[str] | None = None,
) -> Remembered:
    """Take in what was delivered.

    Args:
        desired: What the record said.
        rules: The settings of its stream.
        resource: What Outreach answered; what it leaves out is as it was.
        before: What was remembered until now, if anything.
        seen: The names of which Outreach's answer is to be kept; None for all. What nobody
            compared may have been edited by others, who are then noticed later.
    """
    said: dict[bytes, bytes] = {}
    held: dict[bytes, bytes] = {}
    for name, value in _said(desired, rules):
        key = name_hash(name)
        said[key] = _hash_of(name, value, rules)
        theirs = _held(resource, name) if seen is None or name in seen else _ABSENT
        if theirs is not _ABSENT:
            held[key] = _digest(_text(theirs), VALUE_BYTES)
        elif before is not None and key in before.held:
            held[key] = before.held[key]
    return Remembered(resource.id, said, held)


def edited(resource: Resource, names: Iterable[str], remembered: Remembered) -> list[str]:
    """List the attributes and relationships that somebody else has changed since.

    Args:
        resource: What Outreach holds now.
        names: Attributes and relationships that may have been delivered.
        remembered: What it held when that was last seen.
    """
    return [
        name
        for name in names
        if (was := remembered.held.get(name_hash(name), UNKNOWN)) != UNKNOWN
        and (theirs := _held(resource, name)) is not _ABSENT
        and _digest(_text(theirs), VALUE_BYTES) != was
    ]


_ABSENT: Any = object()


def _held(resource: Resource, name: str) -> Any:  # noqa: ANN401 - whatever Outreach holds
    if name in resource.attributes:
        return resource.attributes[name]
    return resource.links.get(name, _ABSENT)


def _said(desired: Desired, rules: Rules) -> Iterable[tuple[str, Any]]:
    """Go through what a record says; a null that is ignored says nothing."""
    for name, value in desired.attributes.items():
        if says_something(name, value, rules):
            yield name, value
    for name, link in desired.relationships.items():
        if says_something(name, link, rules):
            yield name, link


def _hash_of(name: str, value: Any, rules: Rules) -> bytes:  # noqa: ANN401
    salt = (VERSION, rules.on_null, rules.array_rule(name), rules.field_rules.get(name))
    return _digest(f"{salt}{rules.allow_opt_in}{_text(value)}", VALUE_BYTES)


def _text(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, sort_keys=True, default=str)


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
