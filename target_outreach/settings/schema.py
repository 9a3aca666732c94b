"""The JSON Schema of the configuration, made from the declared settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec

from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.rules import TIERS as NAMES
from target_outreach.records.rules import StreamSettings
from target_outreach.settings.declared import OF_ENTRIES, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL = {"type": "null"}

#: The settings in the tiers in which the documentation shows them.
TIERS: Mapping[str, tuple[Field[Any], ...]] = {
    tier: tuple(
        one
        for declared in (StreamSettings, Settings)
        for one in fields(declared)
        if one.metadata.get("tier") == tier
    )
    for tier in NAMES
}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of our own settings; each may be null, which counts as unset."""
    of_streams, others = _types(StreamSettings), _types(Settings)
    enrolments = [name for name, one in load_catalog().items() if one.stream == "by_entry"]
    objects = {"type": ["string", "null"], "enum": [*stream_objects()]}
    of_streams["object"] = objects | {"enum": [*stream_objects(), *enrolments, "none"]}
    others["outreach_object"] = objects
    entry = {name: of_streams[name] for name in OF_ENTRIES}
    others["streams"]["items"] = {
        "type": "object",
        "properties": {"stream": {"type": "string"}} | entry,
        "required": ["stream"],
        "additionalProperties": False,
    }
    known = of_streams | others
    properties = {one.name: known[one.name] | _said(one) for tier in TIERS.values() for one in tier}
    return {"$schema": DIALECT, "type": "object", "properties": properties}


def _types(declared: type) -> dict[str, dict[str, Any]]:
    """Return the types of the fields of a dataclass as JSON Schemas."""
    schema = msgspec.json.schema(declared)["$defs"][declared.__name__]
    hints, types = get_type_hints(declared), {}
    for name, one in schema["properties"].items():
        several = [kind for kind in one.get("anyOf", [one]) if kind != NULL]
        # A value that may be a map or text is given as text: `problems.without_nulls`.
        kind = several[0] if len(several) == 1 else {"type": "string"}
        kind.pop("default", None)
        if "enum" in kind:
            kind["enum"] = [*get_args(hints[name])]  # in the order in which they are declared
        types[name] = kind | {"type": [kind.get("type", "string"), "null"]}
    return types


def _said(declared: Field[Any]) -> dict[str, Any]:
    """Return the title, description, default and secrecy of a setting."""
    said: dict[str, Any] = {name: declared.metadata[name] for name in ("title", "description")}
    if declared.metadata["secret"]:
        said |= {"secret": True, "writeOnly": True}
    if (default := declared.default) not in {None, ()}:
        said["default"] = [*default] if isinstance(default, tuple) else default
    return said
