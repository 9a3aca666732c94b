"""What a run of the demo did: its report, what is now in Outreach, what was rejected and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

COUNTS = ("received", "created", "updated", "unchanged", "superseded", "skipped", "rejected")
WIDEST = 44  # characters of a cell
ACCOUNT_COLUMNS = ("name", "domain", "industry", "numberOfEmployees", "tags")
PROSPECT_COLUMNS = ("emails", "firstName", "lastName", "title", "company", "workPhones")
# What happened to the dirtiest rows of seed.sql, between clean ones.
ACCOUNTS = ("Ac", "Am", "Grü", "Velvet", "Wren")
PROSPECTS = ("amir", "blank", "front", "mei.n", "odd", "r.vance", "sol", "zoe")


def show(demo: Path) -> None:
    """Print what the last run did, from the files that it left in `demo`."""
    sys.stdout.reconfigure(errors="replace")
    report = json.loads((demo / "report.json").read_text(encoding="utf-8"))
    show_report(report)
    show_outreach(demo / "outreach.db")
    if report["rejects_file"]:
        show_rejects(Path(report["rejects_file"]))
    show_moral(report)


def show_report(report: dict[str, Any]) -> None:
    heading(f"What the run did, with {report['requests']:,} requests to Outreach")
    streams = report["streams"].items()
    table(["stream", *COUNTS], ({"stream": name} | counts for name, counts in streams))


def show_outreach(path: Path) -> None:
    from target_outreach.sandbox import Sandbox  # noqa: PLC0415

    with Sandbox(path) as outreach:
        accounts = [one["attributes"] for one in outreach.store.all("accounts")]
        prospects = [one["attributes"] for one in outreach.store.all("prospects")]
    heading(f"Now in Outreach: {len(accounts)} accounts, such as")
    table(ACCOUNT_COLUMNS, (one for one in accounts if one["name"].startswith(ACCOUNTS)))
    heading(f"Now in Outreach: {len(prospects)} prospects, such as")
    table(PROSPECT_COLUMNS, (one for one in prospects if one["emails"][0].startswith(PROSPECTS)))


def show_rejects(file: Path) -> None:
    rows = list(rejected(file))
    heading(f"Rejected: {len(rows)} records")
    for number, stream, key, error in rows:
        field = f", {error['field']}" if error.get("field") else ""
        print(f"line {number}: {stream} {key}: {error['code']}{field}\n    {error['message']}")
    print(f"\nAs received, with these errors, in\n    {file}")


def show_moral(report: dict[str, Any]) -> None:
    total = {key: sum(one.get(key, 0) for one in report["streams"].values()) for key in COUNTS}
    print()
    if total["rejected"]:
        print("By default a run that rejects records ends with exit code 3; this demo sets")
        print("`on_reject: ignore` to end well. All other records were delivered either way.")
    if total["created"] + total["updated"]:
        print("Run it again: every row is read once more, and nothing is written twice.\n")
    else:
        print(f"All {total['received']} rows were read again, and nothing was written twice.\n")


def rejected(file: Path) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Yield line number, stream, key and error of each record in a reject file."""
    keys: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        message = json.loads(line)
        if message["type"] == "SCHEMA":
            keys[message["stream"]] = message["key_properties"]
        elif message["type"] == "RECORD":
            stream, record = message["stream"], message["record"]
            key = ", ".join(f"{name} {record.get(name)}" for name in keys.get(stream, []))
            yield number, stream, key, message["error"]


def heading(text: str) -> None:
    print(f"\n{text}\n")


def table(names: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Print the named values of each row in columns, sorted; numbers are aligned to the right."""
    lines = sorted([shown(row.get(name)) for name in names] for row in rows)
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    for line in [names, ["-" * width for width in widths], *lines]:
        print("  ".join(map(aligned, line, widths)).rstrip())


def aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell.isdigit() else cell.ljust(width)


def shown(cell: Any) -> str:
    parts = cell if isinstance(cell, list) else ["" if cell is None else cell]
    text = ", ".join(map(str, parts))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
