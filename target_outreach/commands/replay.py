"""``target-outreach replay``: send the records of rejects files again."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, dry_run_option, explained, open_target
from target_outreach.delivery.earlier_rejects import DONE, find
from target_outreach.delivery.tally import counted
from target_outreach.object_store import local_path, public_name
from target_outreach.running import run

if TYPE_CHECKING:
    from target_outreach.report import Report

logger = logging.getLogger("target-outreach")


#: A path of this machine, as it is checked; a URL is looked for when settings are known.
PATH = click.Path(exists=True, dir_okay=False)


def _checked(
    context: click.Context, parameter: click.Parameter, places: tuple[str, ...]
) -> tuple[str, ...]:
    """Insist on files, unless they are elsewhere."""
    for place in places:
        if local_path(place) is not None:
            PATH.convert(place, parameter, context)
    return places


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="FILE...", callback=_checked)
@config_option
@dry_run_option
@click.pass_context
@explained
def replay(
    context: click.Context, places: tuple[str, ...], configs: tuple[str, ...], *, dry_run: bool
) -> int:
    """Send the records of rejects files again; files that are done are renamed to .done.

    Several files are one run, in the order given: name the oldest first, as rejects/*.jsonl does.
    Of rows with the same key the last one counts.

    The values of the files are written as if they came now: they overwrite newer values of the same
    rows that were delivered since. What is rejected again goes to a new file.

    A FILE may be a URL below rejects_path, also with a * in it: s3://bucket/rejects/*.jsonl.

    Example: target-outreach replay rejects/20260331T093000Z-1f2e3d4c.jsonl --config config.json
    """
    for place in places:
        if place.endswith(DONE):
            stem = Path(place).stem
            raise click.UsageError(
                f"{public_name(place)} is done already: rename it to {stem} to send it again."
            )
    target = open_target(context, configs, dry_run=dry_run)
    found = {place: find(place, lambda: target.run.parts.copies) for place in places}
    for place, files in found.items():
        if not files:
            raise click.UsageError(f"{public_name(place)} does not exist.")
    once = list({str(file): file for files in found.values() for file in files}.values())
    target.run.replay(*once)
    code = run(target, io.StringIO(), recurs=False)
    done = [file.is_done() for file in once]
    for file, is_done in zip(once, done, strict=True):
        if is_done:
            logger.info("%s is done and now called %s.", file, file.done_name)
        else:
            logger.warning("%s is not done and stays as it is.", file)
    if all(done) and (rest := _rest(target.run.report())):
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
