"""The report as one page that stands by itself: no script, and nothing to be fetched."""

from __future__ import annotations

from html import escape
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.tally import OUTCOMES
from target_outreach.report import chart
from target_outreach.report.closing import duration, held_back, in_round_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Figures = dict[str, Any]

PARTS = (*OUTCOMES, "unsettled")

#: What is said of a stream besides its counts: the name in the report, and the words for it.
REMARKS = {
    "skipped_by_reason": "Skipped because of",
    "kept_differently": "Kept differently by Outreach",
    "edited_by_others": "Changed by others since we wrote",
    "related_created": "Created to be linked to",
    "links_left_out": "Delivered without a link by",
    "values_dropped": "Values not delivered",
}

KEY = '<p class="soft"><span class="key waiting"></span>waiting for the limit of requests</p>\n'

#: From here on, the digits behind the point say nothing.
TELLING = 100

#: Nothing may be fetched, whatever a name in the page tries.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(figures: Figures) -> str:
    """Return the page.

    Args:
        figures: The report as JSON.

    Returns:
        An HTML document.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    sections = (_head(figures), _streams(figures), _timeline(figures), _rejects(figures))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>target-outreach: {_e(figures['ending'])}</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(sections)}{_foot()}</main>\n</body>\n</html>\n"
    )


def _e(text: object) -> str:
    """Escape a text, and show what no page can show as a replacement character."""
    shown = (letter if letter.isprintable() else "\ufffd" for letter in str(text))
    return escape("".join(shown))


# The parts of the page


def _head(figures: Figures) -> str:
    code, totals = figures["exit_code"], figures["totals"]
    parts = [f"<h1>{_e(figures['ending'])}</h1>\n"]
    took = duration(figures["seconds"], figures["seconds_waited"])
    parts.append(
        f'<p class="soft">target-outreach began at '
        f'<time datetime="{_e(figures["started_at"])}">{_e(_moment(figures["started_at"]))}</time> '
        f"and took {took}. Exit code {code}.</p>\n"
    )
    if figures["dry_run"]:
        parts.append(
            '<p class="note">This was a dry run: nothing was written. The counts say what a real '
            "run would do.</p>\n"
        )
    parts += [f'<p class="problem">{_e(problem)}</p>\n' for problem in figures["problems"]]
    names = ("received", "created", "updated", "unchanged", "rejected")
    tiles = {name.capitalize(): f"{totals[name]:,}" for name in names}
    return "".join((*parts, _tiles(tiles | _cost(figures["cost"]))))


def _moment(iso: str) -> str:
    return f"{iso[:10]} {iso[11:19]} UTC"


def _cost(cost: Mapping[str, int | None]) -> dict[str, str]:
    tiles = {"Requests": f"{cost['requests']:,}"}
    if cost["requests_a_year_if_hourly"] is not None:
        yearly = in_round_numbers(cost["requests_a_year_if_hourly"])
        tiles["Requests a year, if hourly"] = yearly
    if cost["requests_saved"]:
        tiles["Requests saved against two a record"] = f"{cost['requests_saved']:,}"
    if cost["writes_left_out"] is not None:
        tiles["Records that a real run would write"] = f"{cost['writes_left_out']:,}"
    return tiles


def _tiles(tiles: Mapping[str, str]) -> str:
    shown = (f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in tiles.items())
    return f'<dl class="tiles">{"".join(shown)}</dl>\n'


def _streams(figures: Figures) -> str:
    streams: Mapping[str, Figures] = figures["streams"]
    cards = [_stream(name, counts, figures) for name, counts in streams.items()]
    if len(cards) > 1:
        cards.insert(0, _card("All streams", figures["totals"]))
    if not cards:
        return "<h2>Streams</h2>\n<p>No record was received.</p>\n"
    return f'<h2>Streams</h2>\n<div class="cards">\n{"".join(cards)}</div>\n'


def _stream(name: str, counts: Figures, figures: Figures) -> str:
    remarks = {words: counts[key] for key, words in REMARKS.items()}
    remarks |= {
        f"{what[0].upper()}{what[1:]}".rstrip(":"): of
        for what, of in held_back(counts["held_back"]).items()
    }
    if figures["dry_run"]:
        remarks = {"Would be written": counts["written"]} | remarks
    return _card(name, counts, "".join(_remark(words, of) for words, of in remarks.items() if of))


def _card(name: str, counts: Figures, more: str = "") -> str:
    parts = {part: counts[part] for part in PARTS}
    words = ", ".join(f"{count:,} {part}" for part, count in parts.items() if count)
    rows = [("Received", counts["received"], "")]
    rows += [
        (part.capitalize(), count, f'<span class="key {part}"></span>')
        for part, count in parts.items()
        if count or part in {"created", "updated", "unchanged", "rejected"}
    ]
    body = "".join(
        f'<tr><th scope="row">{key}{title}</th><td class="number">{count:,}</td></tr>'
        for title, count, key in rows
    )
    drawn = chart.bar(parts, f"Of {counts['received']:,} records: {words or 'none'}")
    return (
        f'<section class="card"><h3>{_e(name)}</h3>{drawn}<table>'
        f'<thead><tr><th scope="col">What became of them</th>'
        f'<th scope="col" class="number">Records</th></tr></thead><tbody>{body}</tbody></table>'
        f"{more}</section>\n"
    )


def _remark(words: str, counts: Mapping[str, int]) -> str:
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return _table("", (words, "Records"), [(_e(name), f"{count:,}") for name, count in listed])


def _timeline(figures: Figures) -> str:
    points: Sequence[Figures] = figures["timeline"]
    if not points or not points[-1]["seconds"]:
        return ""
    lines = "".join(
        _figure(points, name, f"{what} a second")
        for name, what in (("settled", "Records settled"), ("requests", "Requests"))
    )
    rows = [[_number(point[name]) for name in points[0]] for point in points]
    titles = [name.replace("_", " ").capitalize() for name in points[0]]
    whole = _table("How far the run was at each moment", titles, rows)
    return (
        f"<h2>Time line</h2>\n{lines}{KEY if chart.waits(points) else ''}"
        "<details><summary>The time line as a table</summary>"
        '<div class="scroll" role="region" tabindex="0" aria-label="The time line as a table">'
        f"{whole}</div></details>\n"
    )


def _figure(points: Sequence[Figures], name: str, what: str) -> str:
    end, top = points[-1]["seconds"], chart.highest(points, name)
    mean = points[-1][name] / end
    label = f"{what}: {_rate(mean)} on average, {_rate(top)} at most"
    drawn = chart.line(points, name, label)
    ends = f'<p class="soft ends"><span>0 s</span><span>{end:,.1f} s</span></p>'
    return f"<figure><figcaption>{_e(label)}</figcaption>{drawn}{ends}</figure>\n"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= TELLING else f"{value:,.1f}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _rejects(figures: Figures) -> str:
    is_kept = not figures["dry_run"]
    titles = ["Reason", "Field", "Records", *(["First line of that file"] if is_kept else [])]
    tables = [
        _table(name, titles, [row[: len(titles)] for row in _reasons(counts)])
        for name, counts in figures["streams"].items()
        if counts["reject_reasons"]
    ]
    if not tables:
        return ""
    where = ""
    if not is_kept:
        where = "<p>A real run would keep them, each with its reason.</p>\n"
    elif figures["rejects_file"]:
        where = (
            "<p>They stand, each with its reason, in "
            f"<code>{_e(figures['rejects_file'])}</code>.</p>\n"
        )
    return f"<h2>Rejected records</h2>\n{where}{''.join(tables)}"


def _reasons(counts: Figures) -> list[tuple[str, str, str, str]]:
    return [
        (
            _e(reason["code"]).replace("_", "_<wbr>"),
            _e(reason["field"] or "-"),
            f"{reason['count']:,}",
            f"{reason['first_line']:,}" if reason["first_line"] else "-",
        )
        for reason in counts["reject_reasons"]
    ]


def _table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out cells that are escaped; what looks like a number stands at the right."""
    named = f"<caption>{_e(caption)}</caption>" if caption else ""
    shown = list(rows)
    numeric = [all(_is_number(cell) for cell in column) for column in zip(*shown, strict=True)]
    style = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col"{css}>{_e(title)}</th>' for title, css in zip(titles, style, strict=True)
    )
    body = []
    for first, *cells in shown:
        row = "".join(f"<td{css}>{cell}</td>" for cell, css in zip(cells, style[1:], strict=True))
        body.append(f'<tr><th scope="row"{style[0]}>{first}</th>{row}</tr>')
    return f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>\n"


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").isdecimal() or cell == "-"


def _foot() -> str:
    return f'<p class="soft foot">target-outreach {_e(metadata.version("target-outreach"))}</p>\n'
