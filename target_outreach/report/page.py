"""The report as one self-contained page: no script, and nothing to be fetched."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from target_outreach.delivery.reasons import in_words
from target_outreach.delivery.tally import OUTCOMES, counted
from target_outreach.report import chart
from target_outreach.report.closing import (
    ALWAYS,
    COMMONEST,
    PENDING,
    REMARKS,
    duration,
    not_changed,
    yearly,
)
from target_outreach.report.resend import replay_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

Figures = dict[str, Any]

#: From here on, the digits behind the point say nothing.
TELLING = 100

#: Seconds from which on it can be seen how fast a run was at which time.
SHORTEST_TIMELINE = 5

#: Nothing may be fetched, whatever a name in the page tries.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(figures: Figures) -> str:
    """Return the page, a document of HTML, of a report as JSON."""
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    cost = figures["cost"]
    return _template().render(
        run={"destination": None, "configuration": {}} | figures,
        policy=POLICY,
        style=Markup(style),  # noqa: S704 - a file of this package
        width=chart.WIDTH,
        height=chart.HEIGHT,
        began=_moment(figures["started_at"]),
        took=duration(figures["seconds"], figures["seconds_waited"]),
        destination=_destination(figures.get("destination") or {}),
        tiles=_tiles(figures["totals"], cost),
        yearly=yearly(a_year) if (a_year := cost["requests_a_year_if_hourly"]) else None,
        is_pending=bool(figures["totals"]["unsettled"]),
        streams=[_stream(name, counts, figures) for name, counts in figures["streams"].items()],
        timeline=_timeline(figures["timeline"]),
        rejects=[
            _rejects(name, counts)
            for name, counts in figures["streams"].items()
            if counts["reject_reasons"]
        ],
        file=_file(figures["rejects_file"]) if figures["rejects_file"] else None,
        version=metadata.version("target-outreach"),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("target_outreach.report", ""),
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html")


def _printable(value: object) -> object:
    """Show what no page can show as a replacement character; the engine escapes the rest."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in value)


def _moment(iso: str) -> str:
    """Write a time in UTC, and in the time zone of this machine where that is another one."""
    moment = datetime.fromisoformat(iso)
    utc, local = moment.astimezone(UTC), moment.astimezone()
    said = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return f"{local:%Y-%m-%d %H:%M:%S %Z} ({said})" if local.utcoffset() != timedelta(0) else said


def _destination(of: Mapping[str, str | None]) -> str:
    """Say where records went, and who wrote them there, as far as that is known."""
    where = f"Records went to {of.get('organisation') or 'Outreach'} ({of.get('address')})"
    return f"{where}, written by {of['user']}." if of.get("user") else f"{where}."


def _parts(counts: Mapping[str, int]) -> dict[str, int]:
    """Count the records by outcome, and those that have none yet."""
    return {name: counts[name] for name in OUTCOMES} | {PENDING: counts["unsettled"]}


def _tiles(totals: Mapping[str, int], cost: Mapping[str, int | None]) -> dict[str, int]:
    parts = {"received": totals["received"]} | _parts(totals)
    tiles = {
        name.capitalize(): count for name, count in parts.items() if count or name == "received"
    }
    others = {
        "Requests": cost["requests"],
        "Requests saved": cost["requests_saved"],
        "Records that a real run would write": cost["writes_left_out"],
    }
    return tiles | {name: count for name, count in others.items() if count}


def _stream(name: str, counts: Figures, figures: Figures) -> Figures:
    parts = _parts(counts)
    words = ", ".join(f"{count:,} {part}" for part, count in parts.items() if count)
    skipped = {in_words(reason): count for reason, count in counts["skipped_by_reason"].items()}
    remarks = {"would be written": counts["written"]} if figures["dry_run"] else {}
    remarks |= {"skipped because": skipped}
    remarks |= {words: counts[key] for key, words in REMARKS.items()}
    remarks |= not_changed(counts["held_back"])
    return {
        "name": name,
        "label": f"Of {counts['received']:,} records: {words or 'none'}",
        "bar": chart.bar(parts),
        "counts": {"received": counts["received"]}
        | {part: count for part, count in parts.items() if count or part in ALWAYS},
        "remarks": {f"{it[0].upper()}{it[1:]}": _listed(of) for it, of in remarks.items() if of},
    }


def _listed(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(name, f"{count:,}") for name, count in listed]


def _timeline(points: Sequence[Figures]) -> Figures | None:
    if not points or points[-1]["seconds"] < SHORTEST_TIMELINE:
        return None
    end = points[-1]["seconds"]
    lines = [
        chart.line(points, name)
        | {
            "label": f"{what} a second: {_rate(points[-1][name] / end)} on average, "
            f"{_rate(chart.highest(points, name))} at most"
        }
        for name, what in (("settled", "Records done"), ("requests", "Requests"))
    ]
    return {
        "lines": lines,
        "end": f"{end:,.1f}",
        "has_waits": bool(chart.waits(points)),
        "titles": [name.replace("_", " ").capitalize() for name in points[0]],
        "rows": [[_number(point[name]) for name in points[0]] for point in points],
    }


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= TELLING else f"{value:,.1f}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _rejects(name: str, counts: Figures) -> Figures:
    """Say why records of a stream were rejected: the commonest reasons, and how many others."""
    named, rest = counts["reject_reasons"][:COMMONEST], counts["reject_reasons"][COMMONEST:]
    reasons = [
        {
            "words": in_words(one["code"]),
            "rule": one["about"] or one["field"],
            "column": one.get("column"),
            "count": one["count"],
            "first_line": one["first_line"],
        }
        for one in named
    ]
    others = sum(reason["count"] for reason in rest)
    said = f"{counted(others, 'record')} for {counted(len(rest), 'other reason')}." if rest else ""
    return {"stream": name, "reasons": reasons, "others": said}


def _file(name: str) -> dict[str, str | None]:
    """Say where rejected records are, and how they are sent again."""
    link = None
    if "://" not in name and "\0" not in name:
        with suppress(ValueError):  # half a surrogate pair, which is in the name of no file
            link = Path(name).absolute().as_uri()
    return {"name": name, "link": link, "command": replay_command(name)}
