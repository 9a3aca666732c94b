"""What columns can go to, and where those of a stream would: as values, to be printed."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from target_outreach.errors import SettingsError
from target_outreach.records.goals import UNKNOWN, link_names, names_of, near
from target_outreach.records.model import CUSTOM_NAME, Attribute, ObjectType
from target_outreach.records.routing import first_match, likely_object, route
from target_outreach.records.rules import StreamSettings
from target_outreach.settings.entries import match_fields

if TYPE_CHECKING:
    from target_outreach.records.mapping import StreamMapping
    from target_outreach.settings import Settings
    from target_outreach.sinks import OutreachSink

Fields = dict[str, Any]
KINDS = {
    "texts": "list of texts",
    "emails": "list of email addresses",
    "phones": "list of phone numbers",
}


def attributes_of(object_type: ObjectType) -> list[Fields]:
    """Describe the attributes of an object, the curated ones first."""
    found_by = match_fields(object_type)
    ordered = sorted(object_type.attributes.values(), key=lambda one: not one.curated)
    return [
        {
            "name": one.name,
            "type": _type(one),
            "max_length": one.max_length,
            "written": _written(one),
            "match_on": one.name in found_by,
            "label": one.label,
            "choices": list(one.custom.choices) if one.custom is not None else [],
            "required": one.name in {*object_type.required, object_type.required_attribute},
            "description": one.description,
        }
        for one in ordered
    ]


def _type(attribute: Attribute) -> str:
    if attribute.custom is not None:
        return attribute.custom.type
    return KINDS.get(attribute.kind, attribute.kind)


def _written(attribute: Attribute) -> str:
    if attribute.read_only:
        return "read-only"
    return "by columns" if attribute.explicit_only else "yes"


def link_columns(object_type: ObjectType) -> list[Fields]:
    """Describe the columns that link a record to others."""
    return [
        {
            "name": name,
            "type": "Outreach id" if name.rpartition(".")[2] == "id" else "text",
            "max_length": None,
            "written": "finds" if name == "id" else "yes",
            "match_on": False,
            "label": None,
            "choices": [],
            "required": False,
            "description": "Which record it is." if name == "id" else "Links to another record.",
        }
        for name in ("id", *link_names(object_type))
    ]


def describe_stream(sink: OutreachSink, settings: Settings) -> Fields:
    """Describe where the columns of a stream go, and what is wrong with its settings."""
    described: Fields = {
        "stream": sink.stream_name,
        "object": None,
        "problems": [],
        "entry": None,
    }
    mapping, rules = sink.mapping, sink.stream.rules
    if mapping is None:
        return described
    problems = [f"Stream {sink.stream_name!r}: {one}." for one in mapping.missing.values()]
    columns = mapping.goals()
    missing = set(mapping.object.required) - set(mapping.attributes)
    attributes = mapping.object.attributes
    return described | {
        "object": mapping.object.name,
        "sync_mode": rules.sync_mode,
        "match_on": list(rules.match_fields),
        "columns": [
            {
                "column": column,
                "goal": goal,
                "label": attributes[goal].label if goal in attributes else None,
                "type": _type(attributes[goal]) if goal in attributes else "link",
            }
            for column, goal in columns.items()
        ],
        "left_out": dict(mapping.unmapped),
        "suggested": dict(mapping.suggested),
        "nearest": _nearest(mapping),
        "problems": problems,
        "entry": _entry_of(sink.stream_name, mapping, settings),
        "required": sorted(missing) if rules.sync_mode != "update" else [],
    }


def _entry_of(stream: str, mapping: StreamMapping, settings: Settings) -> Fields:
    """Write an entry of `streams` that says what the settings say, and takes what is suggested.

    Links are not taken, since a row whose link leads nowhere may be rejected.
    """
    chosen = first_match(stream, settings.streams)
    said = chosen.settings if chosen is not None else settings.defaults
    rest = {
        one.name: list(value) if isinstance(value := getattr(said, one.name), tuple) else value
        for one in fields_of(StreamSettings)
        if one.name not in {"object", "columns"}
        and getattr(said, one.name) != getattr(settings.defaults, one.name)
    }
    columns = {
        column: goal for column, goal in said.columns.items() if column not in mapping.missing
    }
    taken = set(mapping.attributes)
    known = mapping.object.writable.keys()
    lists = {name for name, attribute in mapping.object.attributes.items() if attribute.is_array}
    for column, goal in mapping.suggested.items():
        if column in mapping.unmapped and goal in known and goal not in taken - lists:
            columns[column] = goal
            taken.add(goal)
    rest |= {"columns": columns} if columns else {}
    return {"stream": stream, "object": mapping.object.name, **rest}


def likely_object_of(stream: str, settings: Settings) -> str:
    """Say which object a stream is for, or likely to be for."""
    entry = first_match(stream, settings.streams)
    try:
        by_entry = entry.settings.object if entry is not None else None
        name = route(stream, by_entry, settings.outreach_object)
    except SettingsError:
        name = None
    return name or likely_object(stream)


def _nearest(mapping: StreamMapping) -> dict[str, str]:
    """Name, for each unknown column, the attribute with the most similar name."""
    known = [name for name in names_of(mapping.object) if not CUSTOM_NAME.fullmatch(name)]
    found = {
        column: near(column, known)
        for column, why in mapping.unmapped.items()
        if why == UNKNOWN and column not in mapping.suggested
    }
    return {column: names[0] for column, names in found.items() if names}
