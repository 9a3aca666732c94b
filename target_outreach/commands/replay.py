"""``target-outreach replay``: send the records of a rejects file again."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, dry_run_option, explained, open_target
from target_outreach.delivery.tally import counted
from target_outreach.running import run

if TYPE_CHECKING:
    from target_outreach.report import Report

logger = logging.getLogger("target-outreach")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@dry_run_option
@click.pass_context
@explained
def replay(context: click.Context, file: Path, configs: tuple[str, ...], *, dry_run: bool) -> int:
    """Send the records of a rejects file again; when all are settled it is renamed to .done.

    The values of the file are written as if they came now: they overwrite newer values of the same
    rows that were delivered since. What is rejected again goes to a new file.

    Example: target-outreach replay rejects/20260331T093000Z-1f2e3d4c.jsonl --config config.json
    """
    target = open_target(context, configs, dry_run=dry_run)
    target.replay(file)
    code = run(target, io.StringIO(), recurs=False)
    if file.exists():
        logger.warning("%s is not done and stays as it is.", file)
    else:
        logger.info("%s is done%s.", file, _rest(target.report()))
    return code


def _rest(report: Report) -> str:
    """Say what is left to do, as the end of a sentence."""
    if not report.received:
        return "; it held no record"
    if not (rejected := report.total("rejected")):
        return ""
    were = "was" if rejected == 1 else "were"
    place = report.rejects_file
    return f"; {counted(rejected, 'record')} {were} rejected again, now in {place}"
