"""The last lines of a run: one table, what is worth a second look, and what it cost."""

from __future__ import annotations

import logging
from textwrap import wrap
from typing import TYPE_CHECKING

from target_outreach.delivery.tally import OUTCOMES, counted
from target_outreach.errors import ExitCode
from target_outreach.plain_text import clock, printable, width
from target_outreach.records.opt_outs import OPT_OUTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from target_outreach.delivery.tally import Tally
    from target_outreach.report.figures import Cost, Report

logger = logging.getLogger("target-outreach")

#: Reasons of rejects that are named.
COMMONEST = 15

#: Columns of the screen that a line about one of them takes at most.
LONGEST_ABOUT = 200

#: Outcomes that have a column although no record had them.
ALWAYS = frozenset({"created", "updated", "unchanged", "rejected"})

#: What records are called to a person that were received and have no outcome yet.
PENDING = "pending"

MILLION = 1_000_000

#: Requests of a year from which on they are said in millions.
LARGE = MILLION // 10

#: What is said of the requests that Outreach's plans include in a year (API reference 5).
PLANS = "plans include 0.25 M to 1 M"

#: What can keep an attribute from being changed, if not only `field_rules`.
HOLDERS = {
    "company": "a linked account, whose name Outreach shows, or field_rules",
    **dict.fromkeys(OPT_OUTS, "an opt-out, without allow_opt_in, or field_rules"),
}

#: What is said of a stream besides its counts: the name of the counter, and the words for it.
REMARKS = {
    "kept_differently": "kept differently by Outreach",
    "edited_by_others": "changed by others since we wrote",
    "related_created": "created to be linked to",
    "links_left_out": "delivered without a link by",
    "values_dropped": "values not delivered",
    "opt_outs_of_rejects": "opt-outs of rejected records",
}

#: Seconds below which waiting is not worth a word.
SHORTEST_WAIT = 0.1


def log_report(report: Report, columns: int | None = None) -> None:
    """Say what happened; `columns` is the width of the terminal, None where it is none."""
    if report.dry_run and report.streams:
        logger.info("This was a dry run: nothing was written, and no STATE is emitted.")
    for line in table(report, columns):
        logger.info("%s", line)
    for name, tally in report.streams.items():
        for line in remarks(tally, dry_run=report.dry_run):
            logger.info("%s: %s", printable(name), line)
    for line in pending(report) if any(report.unsettled.values()) else ():
        logger.info("%s", line)
    for line in rejects(report):
        logger.warning("%s", line)
    for line in cost(report):
        logger.info("%s", line)


def last_line(report: Report, code: ExitCode, reasons: Sequence[str]) -> str:
    """Say in one line how the run ended, and by which sentences if something stopped it."""
    counts = _counts(report, list(report.streams))
    figures = ", ".join(f"{counts[one]:,} {one}" for one in (*OUTCOMES, PENDING) if counts[one])
    time = clock(report.seconds)
    if code in {ExitCode.DONE, ExitCode.REJECTS}:
        exit_code = f" (exit {code:d})" if code else ""
        done = "Dry run done" if report.dry_run else "Done"
        return f"{done} in {time}{exit_code}: {figures or 'no records'}."
    word = "Failed" if code == ExitCode.FAILED else "Ended early"
    return f"{word} (exit {code:d}): {' '.join(reasons) or figures or 'no records'}"


def table(report: Report, columns: int | None = None) -> list[str]:
    """Lay the counts out as aligned lines, with a line for the total of several streams.

    Where that is wider than so many columns, each stream has lines of words.
    """
    counts = [(printable(name), _counts(report, [name])) for name in report.streams]
    if len(counts) > 1:
        counts.append(("total", _counts(report, list(report.streams))))
    if not counts:
        return []
    named = [
        name
        for name in ("received", *OUTCOMES, PENDING)
        if name in {"received", *ALWAYS} or any(count[name] for _, count in counts)
    ]
    rows = [["stream", *named]]
    rows += [[name, *(f"{count[column]:,}" for column in named)] for name, count in counts]
    lines = _aligned(rows)
    if columns is None or width(lines[0]) < columns:
        return lines
    return [
        line
        for name, count in counts
        for line in wrap(
            f"{name}: {', '.join(f'{count[one]:,} {one}' for one in named)}",
            width=max(columns - 1, 20),
            subsequent_indent="  ",
        )
    ]


def _counts(report: Report, names: Sequence[str]) -> dict[str, int]:
    tallies = [report.streams[name] for name in names]
    counts: dict[str, int] = {"received": sum(tally.received for tally in tallies)}
    for outcome in OUTCOMES:
        counts[outcome] = sum(tally.outcomes[outcome] for tally in tallies)
    return counts | {PENDING: sum(report.unsettled[name] for name in names)}


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = [name + " " * (widths[0] - width(name))]
        padded += [cell.rjust(room) for cell, room in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join(padded))
    return lines


def remarks(tally: Tally, *, dry_run: bool) -> Iterator[str]:
    """Say what else is worth knowing of a stream."""
    found: dict[str, Mapping[str, int]] = {
        "skipped because of": tally.skipped,
        "would be written:": tally.written if dry_run else {},
        **{f"{words}:": counts for words, counts in not_changed(tally.held_back).items()},
        **{f"{words}:": getattr(tally, name) for name, words in REMARKS.items()},
        f"{'to be written' if dry_run else 'written'} by imports:": tally.imported,
    }
    for what, counts in found.items():
        if counts:
            listed = (f"{printable(name)} ({count:,})" for name, count in sorted(counts.items()))
            yield f"{what} {', '.join(listed)}"


def pending(report: Report) -> Iterator[str]:
    """Say what it means that records have no outcome yet."""
    count = sum(report.unsettled.values())
    are, them = ("is", "it") if count == 1 else ("are", "them")
    yield (
        f"{counted(count, 'record')} {are} pending: received, but not delivered before the run "
        f"ended. STATE does not cover {them}; the next run delivers {them}."
    )


def not_changed(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Sort records, counted by what was not written, by its possible reasons in words."""
    found: dict[str, dict[str, int]] = {}
    for name, count in counts.items():
        reasons = HOLDERS.get(name, "field_rules")
        found.setdefault(f"not changed because of {reasons}", {})[name] = count
    return found


def rejects(report: Report) -> Iterator[str]:
    """Say why records were rejected, and where they are; a dry run keeps none."""
    reasons = [
        (name, reason)
        for name, tally in report.streams.items()
        for reason in tally.commonest_reasons()
    ]
    if not reasons:
        return
    reasons.sort(key=lambda pair: -pair[1].count)
    if report.rejects_file:
        yield f"Rejected records and the reasons are in {report.rejects_file}"
    elif report.dry_run:
        yield "A real run would keep the rejected records, with the reasons:"
    several = len(report.streams) > 1
    for name, reason in reasons[:COMMONEST]:
        field = f" ({printable(reason.field)})" if reason.field else ""
        stream = f" in {printable(name)}" if several else ""
        place = f", first on line {reason.first_line:,} of that file" if reason.first_line else ""
        yield f"  {reason.count:,} rejected because of {reason.code}{field}{stream}{place}"
        if reason.about is not None:
            yield f"    {printable(reason.about, LONGEST_ABOUT)}"
    if rest := reasons[COMMONEST:]:
        records = sum(reason.count for _, reason in rest)
        yield f"  {records:,} rejected for {counted(len(rest), 'other reason')}"


def cost(report: Report) -> Iterator[str]:
    """Say what the run took, and what it would in a year."""
    spent = report.cost
    requests = counted(spent.requests, "request")
    yield f"{requests} in {duration(report.seconds, report.waited)}."
    if spent.a_year:
        yield yearly(spent.a_year)
    if (saved := saving(spent)) is not None:
        yield saved


def duration(seconds: float, waited: float) -> str:
    """Say how long a run took, and how much of that it waited."""
    if waited < SHORTEST_WAIT:
        return f"{seconds:,.1f} seconds"
    return f"{seconds:,.1f} seconds ({waited:,.1f} of them waiting for Outreach's limit)"


def saving(spent: Cost) -> str | None:
    """Compare with the plainest of syncs, where that says anything."""
    if spent.to_come is not None:
        writes = f"A real run would also send the writes of {counted(spent.to_come, 'record')}."
        return writes if spent.to_come else None
    if not spent.saved:
        return None
    saved = f"{spent.saved:,} {'was' if spent.saved == 1 else 'were'} saved"
    return f"Two requests a record would be {spent.plainly:,}: {saved}."


def yearly(requests: int) -> str:
    """Say how many requests a year of such runs needs, beside what plans include."""
    said = in_round_numbers(requests)
    return f"At this size, hourly runs need about {said} requests a year ({PLANS})."


def in_round_numbers(number: int) -> str:
    """Write a number as people say it."""
    return f"{number / MILLION:,.1f} M" if number >= LARGE else f"{round(number, -3) or number:,}"
