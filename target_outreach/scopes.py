"""Which OAuth scopes a sync needs (API reference 7).

Scopes are ``<resource>.read``, ``.write``, ``.delete`` and ``.all``; only ``.all`` covers others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.records.catalog import load_catalog
from target_outreach.records.mapping import explicit_goal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from target_outreach.settings import Settings, StreamSettings

OBJECTS = ("prospects", "accounts")


def needed_scopes(settings: Settings) -> tuple[str, ...]:
    """List the scopes that the configured sync needs, as far as the settings tell.

    The objects are those that the settings name; where they name none, a stream's name may lead to
    either. What records are linked to is read too, where an entry under ``columns`` says it.
    Imports have scopes of their own, beside those of their records (API reference 6.1).
    """
    said = [settings.defaults, *(entry.settings for entry in settings.streams)]
    named = [settings.outreach_object, *(one.object for one in said)]
    enrols = "sequenceStates" in named
    objects = [name for name in OBJECTS if name in named] or ([] if enrols else [*OBJECTS])
    objects += ["sequenceStates"] * enrols + ["imports"] * settings.bulk_updates
    scopes = [f"{name}.{action}" for name in objects for action in ("read", "write")]
    if "prospects" in objects and any(one.on_missing_relation == "create" for one in said):
        scopes += ["accounts.read", "accounts.write"]
    scopes += [scope for one in said for scope in _of_links(one, settings.outreach_object)]
    return tuple(dict.fromkeys(scopes))


def _of_links(settings: StreamSettings, by_setting: str | None) -> Iterator[str]:
    """Go through the scopes for what the records of a stream are linked to."""
    name = settings.object or by_setting or "prospects"
    if name == "sequenceStates":
        yield from ("prospects.read", "sequences.read", "mailboxes.read")
    if name not in OBJECTS:
        return
    object_type = load_catalog()[name]
    for target in settings.columns.values():
        try:
            goal = explicit_goal(object_type, target)
        except ValueError:
            continue  # whoever reads the stream will say what is wrong
        relationship, _, part = goal.name.partition(".")
        if goal.kind == "relationship" and part != "id":
            linked = object_type.relationships[relationship].object
            yield f"{linked}.read"
            if linked == "accounts" and settings.on_missing_relation == "create":
                yield "accounts.write"


def missing_scopes(granted: Collection[str], needed: Collection[str]) -> list[str]:
    """List the needed scopes that are not granted."""
    return [
        scope
        for scope in needed
        if scope not in granted and f"{scope.rpartition('.')[0]}.all" not in granted
    ]
