"""The settings: what they are called, what they mean, and whether they make sense together.

A setting is declared once: in `declared`, among the credentials in `access`, or among the settings
of streams in `records.rules`. `schema` makes the JSON Schema of them all; ``--about``,
`meltano.yml` and `docs/settings.md` follow it. `problems` words what does not fit, `checks` what
contradicts.
"""

from target_outreach.records.rules import StreamSettings
from target_outreach.settings.declared import Settings, StreamEntry
from target_outreach.settings.problems import (
    environment_problems,
    faultless,
    find_problems,
    first_of,
    foreign,
    without_nulls,
)
from target_outreach.settings.schema import TIERS, config_schema

__all__ = [
    "TIERS",
    "Settings",
    "StreamEntry",
    "StreamSettings",
    "config_schema",
    "environment_problems",
    "faultless",
    "find_problems",
    "first_of",
    "foreign",
    "without_nulls",
]
