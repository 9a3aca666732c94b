"""`target-outreach cost`: how many requests a sync will take, before it is set up.

The lists that a run would ask for are written by the very code of a run, and counted. What cannot
be known before is not counted: rejected rows, races, retries, and what `GET /types` may cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from target_outreach.commands import (
    Number,
    Whole,
    config_option,
    explained,
    merge_config,
    speak_alone,
)
from target_outreach.errors import ExitCode
from target_outreach.outreach.lookup import PAGE_SIZE, Lookup
from target_outreach.plain_text import say
from target_outreach.records.catalog import load_catalog
from target_outreach.records.rules import ChangeDetection
from target_outreach.settings import Settings

if TYPE_CHECKING:
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.imports import BulkMode

#: Requests that Outreach grants a user in an hour (API reference 5).
HOURLY = 10_000

HOURS_A_DAY = 24

#: Requests for a record that is updated, or created, by an import and read back, as measured with
#: 5,000 rows.
UPDATED_IN_BULK = 0.02
CREATED_IN_BULK = 0.01

#: Rows that are looked up together, unless the settings say otherwise.
BATCH = Settings.batch_size_rows

#: What the lookups of the estimate read: what most tables of people have.
ASKED = ("emails", "firstName", "lastName", "title", "company", "workPhones", "tags")

DETECTIONS: tuple[ChangeDetection, ...] = get_args(ChangeDetection)


@dataclass(frozen=True, slots=True)
class Sync:
    """What is to be synced.

    Attributes:
        rows: Rows that the tap sends in a run.
        written: How many of them are new or changed.
        new: How many of those are new.
        edited: Records that others change in Outreach between two runs.
        known: Records that Outreach holds of the object.
        address: Characters of an average address.
        batch: Rows that are looked up together.
        bulk: What goes many at a time.
    """

    rows: int
    written: int
    edited: int
    known: int
    address: int = 24
    batch: int = BATCH
    new: int = 0
    bulk: BulkMode = "off"


def requests_of(sync: Sync, detection: ChangeDetection) -> int:
    """Estimate the requests of one run."""
    written = sync.rows if detection == "none" else sync.written
    if detection in {"outreach", "drift"}:
        written += sync.edited  # which is written over
    creates, updates = sync.new, written - sync.new
    writes = math.ceil(updates * UPDATED_IN_BULK) if sync.bulk != "off" else updates
    writes += math.ceil(creates * CREATED_IN_BULK) if sync.bulk == "all" else creates
    if detection in {"source", "drift"}:
        requests = 1 + writes  # whose organisation it is
        requests += _lookups(replace(sync, rows=creates)) if creates else 0
        if detection == "drift":
            # What a run has written is read once it is settled, so that the next need not.
            own = 1 + -(-written // PAGE_SIZE) if written >= PAGE_SIZE else 0
            requests += max(1, -(-sync.edited // PAGE_SIZE)) + own
        return requests
    return _lookups(sync) + writes


def _lookups(sync: Sync) -> int:
    """Count the requests that find the rows, by lists or by reading all there is."""
    whole, rest = divmod(sync.rows, sync.batch)
    each = _lists(sync, min(sync.batch, sync.rows))
    pages = max(1, -(-sync.known // PAGE_SIZE))
    if each > 1 and pages - 1 <= each:
        return pages
    tried = 1 if each > 1 else 0  # the first page, which tells how many there are
    return tried + whole * each + (_lists(sync, rest) if rest else 0)


def _lists(sync: Sync, rows: int) -> int:
    """Count the lists that so many addresses fill."""
    client = cast("Client", SimpleNamespace(api_url=Settings.api_url))
    addresses = [f"{number:0{max(1, sync.address - 4)}}@x.y" for number in range(rows)]
    return len(Lookup(client).paths(load_catalog()["prospects"], "emails", addresses, ASKED))


class Percent(Number):
    """A share in percent, with or without its sign."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        """Read it, without the sign."""
        if isinstance(value, str):
            value = value.strip().removesuffix("%")
        return super().convert(value, param, ctx)


@click.command()
@click.option("--rows", type=Whole(1), required=True, help="Rows that a run sends.")
@click.option(
    "--changed",
    type=Percent(0, 100),
    default=1.0,
    show_default=True,
    help="Percent of them that are new or changed since the run before.",
)
@click.option(
    "--new",
    type=Percent(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of those that are new in Outreach: 100 for a first load.",
)
@click.option("--runs", type=Number(0, 1440), default=24.0, show_default=True, help="Runs a day.")
@click.option(
    "--edited",
    type=Whole(0),
    default=0,
    show_default=True,
    help="Records that others change in Outreach between two runs.",
)
@click.option("--records", type=Whole(0), help="Records in Outreach; by default as many as rows.")
@click.option(
    "--allowance",
    type=Whole(1),
    default=1_000_000,
    show_default=True,
    help="Requests a year that your plan includes.",
)
@click.option(
    "--address-length",
    type=Whole(6, 200),
    default=24,
    show_default=True,
    help="Characters of an average address.",
)
@config_option
@click.pass_context
@explained
def cost(  # noqa: PLR0913 - each is an option
    context: click.Context,
    configs: tuple[str, ...],
    *,
    rows: int,
    changed: float,
    new: float,
    runs: float,
    edited: int,
    records: int | None,
    allowance: int,
    address_length: int,
) -> int:
    """Estimate how many requests a sync takes, for each change_detection; none is sent.

    Of the configuration, if there is one, batch_size_rows and bulk_writes matter.

    Example: target-outreach cost --rows 50000 --changed 1 --runs 24 --allowance 1000000
    """
    speak_alone()
    settings = merge_config(context, configs) if configs else {}
    sync = Sync(
        rows=rows,
        written=round(rows * changed / 100),
        new=round(rows * changed * new / 10_000),
        edited=edited,
        known=rows if records is None else records,
        address=address_length,
        batch=settings.get("batch_size_rows") or BATCH,
        bulk=settings.get("bulk_writes") or "off",
    )
    for titles in (
        ("", "requests", "requests", "hours, at", "requests", f"of {allowance:,}"),
        ("change_detection", "a run", "a row", f"{HOURLY:,} each", "a year", "a year"),
    ):
        say("{:<17}{:>12}{:>10}{:>12}{:>15}{:>13}".format(*titles).rstrip())
    too_much = []
    for detection in DETECTIONS:
        requests = requests_of(sync, detection)
        yearly = round(requests * runs * 365)
        say(
            f"{detection:<17}{requests:>12,}{requests / rows:>10.4f}"
            f"{requests / HOURLY:>12.2f}{yearly:>15,}{yearly / allowance:>13.1%}"
        )
        if requests * runs > HOURLY * HOURS_A_DAY:
            too_much.append(detection)
    if too_much:
        say(
            f"{', '.join(too_much)}: {runs:g} runs a day need more than the limit of {HOURLY:,} "
            "requests an hour allows."
        )
    source = context.get_parameter_source("allowance")
    if source is click.core.ParameterSource.DEFAULT:
        say(f"{allowance:,} requests a year are assumed; --allowance says what you have.")
    return ExitCode.DONE
