"""The settings: what they are called, what they mean, and whether they make sense together.

`declared` is the one place where a setting is declared; ``--about``, `meltano.yml` and the README
follow it. `problems` words what does not fit, `access` finds the credentials among the settings,
and `reading` makes values of all of them.
"""

from target_outreach.records.rules import StreamSettings
from target_outreach.settings.declared import SETTINGS, TIERS
from target_outreach.settings.problems import environment_problems, find_problems, without_nulls
from target_outreach.settings.reading import Settings, StreamEntry

__all__ = [
    "SETTINGS",
    "TIERS",
    "Settings",
    "StreamEntry",
    "StreamSettings",
    "environment_problems",
    "find_problems",
    "without_nulls",
]
