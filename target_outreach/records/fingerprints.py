"""What was delivered, reduced to hashes: enough to see what differs, too little to read it.

A fingerprint belongs to one attribute or relationship. It is salted with every setting that shapes
what is written of it, so that a changed setting makes the attribute look changed. Beside what the
record said is what Outreach held afterwards, by which a later edit by others is recognised.

Before them all is one fingerprint of the whole record. Where that is the same, as it is for
most rows, no attribute need be looked at.
"""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from target_outreach.records.planning import says_something

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_outreach.records.model import Desired, Resource
    from target_outreach.records.rules import Rules

#: Begins each salt; another number makes all that is remembered worthless.
VERSION = 1

NAME_BYTES = 4
VALUE_BYTES = 8
ENTRY_BYTES = NAME_BYTES + 2 * VALUE_BYTES
WHOLE_BYTES = 16
UNKNOWN = bytes(VALUE_BYTES)

_encode = msgspec.json.Encoder().encode


class Remembered(Struct, frozen=True, dict=True):
    """What is known of a record that was delivered before.

    Attributes:
        id: Its Outreach id.
        packed: The hashes: of the whole record, and for each attribute of its name, of what the
            record said of it, and of what Outreach held afterwards; `UNKNOWN` where it did not say.
    """

    id: int
    packed: bytes

    @property
    def whole(self) -> bytes:
        """A hash of the whole record, or none where none was taken."""
        return self.packed[: self._first]

    @property
    def _first(self) -> int:
        """Where the first attribute begins; the whole is shorter than an attribute."""
        return len(self.packed) % ENTRY_BYTES

    @cached_property
    def said(self) -> Mapping[bytes, bytes]:
        """A hash of what the record said, by the hash of the attribute's name."""
        return self._read(NAME_BYTES)

    @cached_property
    def held(self) -> Mapping[bytes, bytes]:
        """A hash of what Outreach held afterwards, likewise."""
        return self._read(NAME_BYTES + VALUE_BYTES)

    def _read(self, offset: int) -> dict[bytes, bytes]:
        return {
            self.packed[start : start + NAME_BYTES]: self.packed[
                start + offset : start + offset + VALUE_BYTES
            ]
            for start in range(self._first, len(self.packed), ENTRY_BYTES)
        }


def name_hash(name: str) -> bytes:
    """Return what stands for the name of an attribute or a relationship."""
    return _NAMES.get(name) or _NAMES.setdefault(name, _digest(name, NAME_BYTES))


_NAMES: dict[str, bytes] = {}


def key_hash(key: str) -> bytes:
    """Return what stands for a record's key, 16 bytes."""
    return _digest(key, 16)


def changes(desired: Desired, rules: Rules, remembered: Remembered) -> list[str]:
    """List the attributes and relationships in which a record says something else than it did."""
    if remembered.whole == _whole(desired, rules):
        return []
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
) -> Remembered:
    """Take in what was delivered.

    Args:
        desired: What the record said.
        rules: The settings of its stream.
        resource: What Outreach holds; what is missing in it is as it was.
        before: What was remembered until now, if anything.
    """
    packed = [_whole(desired, rules)]
    for name, value in _said(desired, rules):
        key = name_hash(name)
        held = before.held.get(key, UNKNOWN) if before is not None else UNKNOWN
        theirs = _held(resource, name)
        if theirs is not _ABSENT:
            held = _digest(_text(theirs), VALUE_BYTES)
        packed += key, _hash_of(name, value, rules), held
    return Remembered(resource.id, b"".join(packed))


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
        if name not in desired.references and says_something(name, link, rules):
            yield name, link
    for name, reference in desired.references.items():
        yield name, reference.values


def _whole(desired: Desired, rules: Rules) -> bytes:
    """Hash all that a record says, with every setting that shapes what is written of it."""
    links: Mapping[str, Any] = desired.relationships
    if desired.references:  # what is linked to is known by what is said of it
        links = {**links, **{name: one.values for name, one in desired.references.items()}}
    text = b"[%d,%b,%b" % (VERSION, rules.shaping, _encode((desired.attributes, links))[1:])
    return blake2b(text, digest_size=WHOLE_BYTES).digest()


def _hash_of(name: str, value: Any, rules: Rules) -> bytes:  # noqa: ANN401
    salt = (VERSION, *rules.shaping_of(name))
    return _digest(f"{salt}{rules.allow_opt_in}{_text(value)}", VALUE_BYTES)


def _text(value: Any) -> str:  # noqa: ANN401
    if type(value) is str:
        return encode_basestring_ascii(value)
    return json.dumps(value, sort_keys=True, default=str)


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()
