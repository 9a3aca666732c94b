"""The settings as a report shows them to people."""

from __future__ import annotations

import json
from dataclasses import fields

from target_outreach.records.rules import StreamSettings
from target_outreach.settings.declared import Settings

#: The addresses that are known to hold no user, password or query.
CHECKED = frozenset({"api_url", "oauth_url"})


def shown(settings: Settings) -> dict[str, str]:
    """Return the settings that differ from their defaults, as texts by name.

    Of secrets they say only that they are set, of a URL that may hold a password only its scheme.
    """
    found = {}
    for declared, of in ((StreamSettings, settings.defaults), (Settings, settings)):
        for one in fields(declared):
            value = getattr(of, one.name)
            if "tier" in one.metadata and value != one.default and value is not None:
                found[one.name] = "set" if one.metadata["secret"] else _text(one.name, value)
    return found


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        scheme, separator, _ = value.partition("://")
        return value if name in CHECKED or not separator else f"{scheme}://…"
    if isinstance(value, tuple | list):
        # Entries of `streams` are named by the streams that they are for.
        return ", ".join(str(getattr(one, "pattern", one)) for one in value)
    return json.dumps(value, default=str)
