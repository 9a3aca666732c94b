"""Which OAuth scopes a sync needs (API reference 7).

Scopes are ``<resource>.read``, ``.write``, ``.delete`` and ``.all``; only ``.all`` covers others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from target_outreach.settings import Settings

OBJECTS = ("prospects", "accounts")


def needed_scopes(settings: Settings) -> tuple[str, ...]:
    """List the scopes that the configured sync needs.

    The objects are those that the settings name; where they name none, a stream's name may lead to
    either. Imports have scopes of their own, beside those of their
    records (API reference 6.1).
    """
    named = [settings.outreach_object, *(entry.settings.object for entry in settings.streams)]
    objects = [name for name in OBJECTS if name in named] or [*OBJECTS]
    if settings.bulk_updates:
        objects.append("imports")
    return tuple(f"{name}.{action}" for name in objects for action in ("read", "write"))


def missing_scopes(granted: Collection[str], needed: Collection[str]) -> list[str]:
    """List the needed scopes that are not granted."""
    return [
        scope
        for scope in needed
        if scope not in granted and f"{scope.rpartition('.')[0]}.all" not in granted
    ]
