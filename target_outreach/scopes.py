"""Which OAuth scopes a sync needs (API reference 7).

Scopes are ``<resource>.read``, ``.write``, ``.delete`` and ``.all``; only ``.all`` covers others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.goals import explicit_goal, links_of
from target_outreach.settings.entries import known_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from target_outreach.records.model import ObjectType
    from target_outreach.settings import Settings, StreamSettings


def needed_scopes(settings: Settings) -> tuple[str, ...]:
    """List the scopes that the configured sync needs, as far as the settings tell.

    The objects are those that the settings name; where they name none, a stream's name may lead to
    any. Those that are sold apart count only where the pattern of an entry says them. What records
    are linked to is read too, where an entry under ``columns`` says it.
    Imports have scopes of their own, beside those of their records (API reference 6.1).
    """
    said = [settings.defaults, *(entry.settings for entry in settings.streams)]
    named = {settings.outreach_object, *(one.object for one in said)}
    entries = {known_object(entry, settings.outreach_object) for entry in settings.streams}
    objects = [one for one in load_catalog().values() if one.stream and one.name in named]
    if objects:  # the names of other entries may say further ones
        named |= entries
        objects = [one for one in load_catalog().values() if one.stream and one.name in named]
    objects = objects or [
        one
        for one in map(load_catalog().__getitem__, stream_objects())
        if not one.sold_apart or one.name in entries
    ]
    names = [one.name for one in objects] + ["imports"] * (settings.bulk_writes != "off")
    scopes = [f"{name}.{action}" for name in names for action in ("read", "write")]
    if any(one.on_missing_relation == "create" for one in said):
        scopes += [scope for one in objects for scope in _of_created(one)]
    for entry in settings.streams:
        name = known_object(entry, settings.outreach_object)
        if entry.settings.object != "none":
            for one in objects if name is None else [load_catalog()[name]]:
                scopes += _of_links(one, entry.settings)
    return tuple(dict.fromkeys(scopes))


def stream_scopes(
    object_type: ObjectType, goals: Iterable[str], *, creates_links: bool, in_bulk: bool
) -> tuple[str, ...]:
    """List the scopes that a stream needs, by what its columns go to and its settings."""
    names = [object_type.name, *["imports"] * in_bulk]
    scopes = [f"{name}.{action}" for name in names for action in ("read", "write")]
    if creates_links:
        scopes += _of_created(object_type)
    for goal in (*object_type.required_links, *goals):
        link, _, part = goal.partition(".")
        if link in object_type.relationships and part != "id":
            scopes.append(f"{object_type.relationships[link].object}.read")
    return tuple(dict.fromkeys(scopes))


def _of_created(object_type: ObjectType) -> Iterator[str]:
    """Go through the scopes for what can be created for records to be linked to."""
    for name in links_of(object_type):
        linked = load_catalog()[object_type.relationships[name].object]
        if linked.created_for_links:
            yield from (f"{linked.name}.read", f"{linked.name}.write")


def _of_links(object_type: ObjectType, settings: StreamSettings) -> Iterator[str]:
    """Go through the scopes for what the records of a stream are linked to."""
    for link in object_type.required_links:
        yield f"{object_type.relationships[link].object}.read"
    for target in settings.columns.values():
        try:
            goal = explicit_goal(object_type, target)
        except ValueError:
            continue  # whoever reads the stream will say what is wrong
        relationship, _, part = goal.name.partition(".")
        if goal.kind == "relationship" and part != "id":
            yield f"{object_type.relationships[relationship].object}.read"


def missing_scopes(granted: Collection[str], needed: Collection[str]) -> list[str]:
    """List the needed scopes that are not granted."""
    return [
        scope
        for scope in needed
        if scope not in granted and f"{scope.rpartition('.')[0]}.all" not in granted
    ]
