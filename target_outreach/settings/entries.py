"""Checks the attributes that the settings of a stream name against the stream's object.

Attributes may be named as columns are: case, ``_``, ``-``, ``.`` and blanks do not matter. The
label of a custom field works too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from target_outreach.errors import SettingsError
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.goals import (
    NoSuchAttribute,
    explicit_goal,
    is_unknown,
    links_of,
    may_be_custom,
    names_of,
    near,
    nearest,
)
from target_outreach.records.routing import first_match, route
from target_outreach.records.scalars import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from target_outreach.records.custom_fields import OwnObjects
    from target_outreach.records.model import ObjectType
    from target_outreach.records.rules import StreamSettings
    from target_outreach.settings.declared import Settings, StreamEntry

R = TypeVar("R")

#: Kinds of attributes that many records share, so that they are useless for matching.
UNFIT_KINDS = frozenset({"boolean", "date-time"})

#: The setting that also concerns links.
RULES = "field_rules"

#: What makes a name a glob.
GLOB = frozenset("*?[]")


def for_object(
    object_type: ObjectType, settings: StreamSettings, defaults: StreamSettings
) -> StreamSettings:
    """Remove the `array_fields` of all streams that name attributes of other objects."""
    arrays = settings.array_fields
    if isinstance(arrays, str) or arrays is not defaults.array_fields:
        return settings
    others = [load_catalog()[name] for name in stream_objects()]
    own = {
        name: rule
        for name, rule in arrays.items()
        if not is_unknown(object_type, name) or all(is_unknown(other, name) for other in others)
    }
    return replace(settings, array_fields=own)


def name_custom_fields(object_type: ObjectType, settings: StreamSettings) -> bool:
    """Whether the settings name a custom field, or possibly the label of one."""
    return any(may_be_custom(object_type, name) for name in _names(object_type, settings))


def _names(object_type: ObjectType, settings: StreamSettings) -> Iterator[str]:
    """Go through the names of attributes in the settings, which may be labels."""
    links = {plain(name) for name in links_of(object_type)}
    yield from settings.columns.values()
    yield from (name for name in settings.field_rules if plain(name) not in links)
    if not isinstance(settings.array_fields, str):
        yield from settings.array_fields


def resolved(object_type: ObjectType, settings: StreamSettings) -> StreamSettings:
    """Return the settings of a stream with the attributes' own names.

    Raises:
        SettingsError: They name attributes that do not exist or do not fit; all problems are
            reported at once.
    """
    problems = _column_problems(object_type, settings.columns)
    match_on = settings.match_on and _match_on(object_type, settings.match_on, problems)
    field_rules = _by_name(object_type, RULES, settings.field_rules, problems)
    arrays = settings.array_fields
    if not isinstance(arrays, str):
        arrays = _by_name(object_type, "array_fields", arrays, problems)
        problems += [
            f"array_fields names {name!r}, which is no array"
            for name in arrays
            if not object_type.attributes[name].is_array
        ]
    if problems:
        raise SettingsError(*problems)
    return replace(settings, match_on=match_on, field_rules=field_rules, array_fields=arrays)


def _column_problems(object_type: ObjectType, columns: Mapping[str, str]) -> list[str]:
    """List the entries under ``columns`` that name nothing, or several that name one value."""
    problems = []
    sources: dict[str, list[str]] = defaultdict(list)
    lists = {name for name, attribute in object_type.attributes.items() if attribute.is_array}
    for column, target in columns.items():
        try:
            goal = explicit_goal(object_type, target)
        except ValueError as problem:
            problems.append(f"columns maps {column!r} to {target!r}, {problem}")
            continue
        if goal.kind != "nowhere" and goal.name not in lists:
            sources[goal.name].append(column)
    return problems + [
        f"columns {' and '.join(several)} both map to {name}, which takes one value"
        for name, several in sources.items()
        if len(several) > 1
    ]


def _by_name(
    object_type: ObjectType, setting: str, rules: Mapping[str, R], problems: list[str]
) -> dict[str, R]:
    """Return rules by the attributes' own names, and collect problems."""
    named: dict[str, R] = {}
    links = {plain(name): name for name in links_of(object_type)} if setting == RULES else {}
    for given, rule in rules.items():
        if (link := links.get(plain(given))) is not None:
            if link in named:
                problems.append(f"{setting} names {link} twice")
            named[link] = rule
            continue
        try:
            goal = explicit_goal(object_type, given)
        except NoSuchAttribute:
            near = nearest(given, names_of(object_type))
            problems.append(f"{setting} names {given!r}, which cannot be written; {near}")
            continue
        except ValueError as problem:
            problems.append(f"{setting} names {given!r}, {problem}")
            continue
        if goal.kind != "attribute":
            near = nearest(given, names_of(object_type))
            problems.append(f"{setting} names {given!r}, which is no attribute; {near}")
        elif goal.name in named:
            problems.append(f"{setting} names {goal.name} twice")
        else:
            named[goal.name] = rule
    return named


def _match_on(
    object_type: ObjectType, given: tuple[str, ...], problems: list[str]
) -> tuple[str, ...]:
    """Return the attributes that match fields name, collecting what is wrong with them."""
    known = {plain(name): name for name in object_type.attributes}
    fitting = match_fields(object_type)
    named = [known.get(plain(name), name) for name in given]
    for name in dict.fromkeys(named):
        if name not in object_type.attributes and name not in names_of(object_type):
            what = f"which {object_type.name} do not have; {nearest(name, fitting)}"
            problems.append(f"match_on names {name!r}, {what}")
        elif name not in fitting:
            problems.append(f"match_on names {name!r}, {_why_unfit(object_type, name, fitting)}")
    return tuple(dict.fromkeys(named))


def _why_unfit(object_type: ObjectType, name: str, fitting: Iterable[str]) -> str:
    """Say why no record can be found by an attribute, and by which it can."""
    ways = ", ".join(sorted(fitting))
    why = f"by which Outreach cannot look up {object_type.name}; it can by {ways}"
    if name == "externalId":
        why += (
            ". With memory_path, and change_detection source or drift, a row that was delivered is "
            "found again by its own key as long as the memory is kept"
        )
    return why


def match_fields(object_type: ObjectType) -> list[str]:
    """List the writable attributes by which Outreach can find a record."""
    return [
        name
        for name, attribute in object_type.writable.items()
        if attribute.filterable and attribute.kind not in UNFIT_KINDS
    ]


def known_object(entry: StreamEntry, by_setting: str | None) -> str | None:
    """Return the object of all streams that an entry fits, or None if it depends on the stream."""
    last = re.split(r"-|\.|__|/", entry.pattern)[-1]
    if entry.settings.object is None and by_setting is None and not GLOB.isdisjoint(last):
        return None
    try:
        return route(entry.pattern, entry.settings.object, by_setting)
    except SettingsError:
        return None


def entry_problems(settings: Settings, objects: OwnObjects) -> list[str]:
    """Say what is wrong with the entries of `streams`, as far as their object is known."""
    problems: list[str] = []
    for number, entry in enumerate(settings.streams, 1):
        name = known_object(entry, settings.outreach_object)
        if name is None:
            continue
        try:
            resolved(objects[name], for_object(objects[name], entry.settings, settings.defaults))
        except SettingsError as error:
            where = f"Entry {number} of streams ({entry.pattern!r})"
            problems += (f"{where}: {problem}." for problem in error.errors)
    return problems


def name_labels(settings: Settings, objects: OwnObjects) -> bool:
    """Whether an entry of `streams` names something that can only be a label."""
    return any(
        is_unknown(objects[name], target)
        for entry in settings.streams
        if (name := known_object(entry, settings.outreach_object)) is not None
        and objects[name].has_custom_fields
        for target in _names(
            objects[name], for_object(objects[name], entry.settings, settings.defaults)
        )
    )


class EntryUse:
    """Which entries of `streams` have been used.

    Args:
        entries: All of them.
    """

    def __init__(self, entries: Sequence[StreamEntry]) -> None:
        self._entries = entries
        self._streams: dict[str, None] = {}

    def choose(self, stream: str) -> StreamEntry | None:
        """Return the entry for a stream, the first that fits it."""
        self._streams[stream] = None
        return first_match(stream, self._entries)

    def unused(self) -> list[str]:
        """Say of each unused entry why it was not used; empty if no stream came."""
        won = [first_match(stream, self._entries) for stream in self._streams]
        return [
            f"{entry.pattern!r} ({self._why(entry)})"
            for entry in self._entries
            if self._streams and not any(entry is one for one in won)
        ]

    def _why(self, entry: StreamEntry) -> str:
        streams = [stream for stream in self._streams if first_match(stream, [entry])]
        # The pattern itself stands for the streams that have not come.
        for stream in (*streams, entry.pattern):
            first = first_match(stream, self._entries)
            if first is not None and first is not entry and (streams or _covers(first, entry)):
                return f"{first.pattern!r} comes first"
        close = near(entry.pattern, self._streams)
        return f"fits no stream; nearest: {close[0]}" if close else "fits no stream"


def _covers(first: StreamEntry, later: StreamEntry) -> bool:
    """Whether an entry that fits a later one's text fits all the streams that the later does."""
    return GLOB.isdisjoint(later.pattern) or GLOB.isdisjoint(set(first.pattern) - {"*"})
