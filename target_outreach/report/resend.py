"""The command that sends rejected records again."""

from __future__ import annotations

import os
import shlex

import click

#: Where the context of the command line has the names that ``--config`` was given.
CONFIGS = "target-outreach.configs"


def replay_command(file: str) -> str:
    """Return the command that sends a rejects file (a path or URL) again, as it can be pasted."""
    if (loader := os.environ.get("MELTANO_LOADER_NAME")) is not None:
        return f"meltano invoke {shlex.quote(loader)}:replay {shlex.quote(file)}"
    context = click.get_current_context(silent=True)
    names = context.meta.get(CONFIGS) if context is not None else None
    options = (f"--config {shlex.quote(name)}" for name in names or ["config.json"])
    return f"target-outreach replay {shlex.quote(file)} {' '.join(options)}"
