"""``target-outreach replay``: send the records of rejects files again."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, dry_run_option, explained, open_target
from target_outreach.delivery.rejects import DONE, done
from target_outreach.delivery.tally import counted
from target_outreach.running import run

if TYPE_CHECKING:
    from target_outreach.report import Report

logger = logging.getLogger("target-outreach")


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@config_option
@dry_run_option
@click.pass_context
@explained
def replay(
    context: click.Context, files: tuple[Path, ...], configs: tuple[str, ...], *, dry_run: bool
) -> int:
    """Send the records of rejects files again; when all are settled they are renamed to .done.

    Several files are one run, in the order given: name the oldest first, as rejects/*.jsonl does.
    Of rows with the same key the last one counts.

    The values of the files are written as if they came now: they overwrite newer values of the same
    rows that were delivered since. What is rejected again goes to a new file.

    Example: target-outreach replay rejects/20260331T093000Z-1f2e3d4c.jsonl --config config.json
    """
    for file in files:
        if file.suffix == DONE:
            raise click.UsageError(
                f"{file} is done already: rename it to {file.stem} to send it again."
            )
    once = list(dict.fromkeys(files))
    target = open_target(context, configs, dry_run=dry_run)
    target.run.replay(*once)
    code = run(target, io.StringIO(), recurs=False)
    for file in once:
        if file.exists():
            logger.warning("%s is not done and stays as it is.", file)
        else:
            logger.info("%s is done and now called %s.", file, done(file).name)
    if not any(file.exists() for file in once) and (rest := _rest(target.run.report())):
        logger.info("%s", rest)
    return code


def _rest(report: Report) -> str:
    """Say what is left to do."""
    if not report.received:
        return "There was no record to be sent."
    if not (rejected := report.total("rejected")):
        return ""
    were = "was" if rejected == 1 else "were"
    place = report.rejects_file
    return f"{counted(rejected, 'record')} {were} rejected again, now in {place}."
