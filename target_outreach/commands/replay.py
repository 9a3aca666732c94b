"""``target-outreach replay``: send the records of a rejects file again."""

from __future__ import annotations

import io
from pathlib import Path

import click

from target_outreach.commands import config_option, explained, open_target
from target_outreach.running import run


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@click.pass_context
@explained
def replay(context: click.Context, file: Path, configs: tuple[str, ...]) -> int:
    """Send the records of a rejects file again; when all are settled it is renamed to .done.

    Example: target-outreach replay rejects/20260331T093000Z-1f2e3d4c.jsonl --config config.json
    """
    target = open_target(context, configs)
    target.replay(file)
    return run(target, io.StringIO())
