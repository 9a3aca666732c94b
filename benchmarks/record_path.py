"""How much CPU does an unchanged row cost, beside the SDK's own loop that does nothing with it?

The same file of rows goes through `noop.py`, a target of the SDK with its default validation around
a sink that does nothing, and through the real one: looked up by lists, read whole, and from a warm
memory. Each runs as a command of its own, of which the CPU seconds count that the operating system
has booked, those of all threads and of the kernel included; what the same command costs with one
row is taken off, so that start-up does not count. The sandbox is another process. The kinds take
turns, since the machine may be busy with other things, and the least of all rounds counts.

Usage: python benchmarks/record_path.py [--rows 20000] [--rounds 5] [--columns 10 40]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox import Profile, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

Columns = dict[str, tuple[dict[str, Any], str]]

HERE = Path(__file__).parent
THOUSAND = 1000
TEXT = {"type": ["null", "string"]}
TIME = {"type": ["null", "string"], "format": "date-time"}

#: Settings of the real target beside the common ones.
KINDS: dict[str, dict[str, Any]] = {
    "outreach, looked up": {},
    "outreach, read whole": {"batch_size_rows": 10_000},
    "source": {"change_detection": "source"},
}

#: Columns that make up a narrow and a wide row: its JSON Schema, the attribute that it goes to.
NARROW: Columns = {
    "id": ({"type": "integer"}, ""),
    "email": (TEXT, "emails"),
    "first_name": (TEXT, "firstName"),
    "last_name": (TEXT, "lastName"),
    "title": (TEXT, "title"),
    "company": (TEXT, "company"),
    "work_phone": (TEXT, "workPhones"),
    "address_city": (TEXT, "addressCity"),
    "score": ({"type": ["null", "number"]}, "score"),
    "updated_at": (TIME, ""),
}
WIDE = NARROW | {
    "tags": ({"type": ["null", "array"], "items": {"type": "string"}}, "tags"),
    "mobile_phone": (TEXT, "mobilePhones"),
    "added_at": (TIME, "addedAt"),
    "job_start_date": ({**TEXT, "format": "date"}, "jobStartDate"),
    "linked_in_connections": ({"type": ["null", "integer"]}, "linkedInConnections"),
    "email_opted_out": ({"type": ["null", "boolean"]}, "emailOptedOut"),
    "address_street": (TEXT, "addressStreet"),
    "address_zip": (TEXT, "addressZip"),
    "address_state": (TEXT, "addressState"),
    "address_country": (TEXT, "addressCountry"),
    "linked_in_url": (TEXT, "linkedInUrl"),
    "website_url_1": (TEXT, "websiteUrl1"),
    "personal_note_1": (TEXT, "personalNote1"),
    "time_zone": (TEXT, "timeZone"),
    "external_id": (TEXT, "externalId"),
    "region": (TEXT, "region"),
    "middle_name": (TEXT, "middleName"),
    **{f"custom{number}": (TEXT, f"custom{number}") for number in range(1, 14)},
}
COLUMNS = {len(columns): columns for columns in (NARROW, WIDE)}


def row(number: int, columns: Columns) -> dict[str, Any]:
    """Return a person as a warehouse has one; some columns are empty."""
    values = {
        "id": number,
        "email": f"first{number}.last@company{number % 997}.example.test",
        "first_name": f"First {number}",
        "work_phone": f"+1 555 {number:07}",
        "score": number % 100 + 0.25,
        "updated_at": "2026-03-31T09:30:00.123456+00:00",
        "tags": ["customer", f"group {number % 7}"],
        "mobile_phone": None,
        "added_at": "2025-11-02T08:15:30+00:00",
        "job_start_date": "2021-04-01",
        "linked_in_connections": number % 500,
        "email_opted_out": False,
        "personal_note_1": "Met at the fair in Zürich, hopes to hear of the next release. " * 3,
        "middle_name": None,
        "region": None,
        "custom12": None,
        "custom13": None,
    }
    return {name: values.get(name, f"{name} of {number}") for name in columns}


def held(values: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return what Outreach holds of a row."""
    attributes: dict[str, Any] = {}
    for column, (_, name) in columns.items():
        if name and values[column] is not None:
            is_list = name in {"emails", "workPhones", "mobilePhones"}
            attributes[name] = [values[column]] if is_list else values[column]
    if "addedAt" in attributes:
        attributes["addedAt"] = "2025-11-02T08:15:30.000Z"
    return attributes


def messages(rows: int, columns: Columns) -> Iterator[str]:
    """Write the input, with a STATE after each thousand rows."""
    properties = {name: schema for name, (schema, _) in columns.items()}
    schema = {"type": "object", "properties": properties}
    message = {"type": "SCHEMA", "stream": "prospects", "schema": schema, "key_properties": ["id"]}
    yield json.dumps(message)
    extracted = "2026-04-01T00:00:00.000000+00:00"
    for number in range(rows):
        values = row(number, columns)
        message = {"type": "RECORD", "stream": "prospects", "record": values}
        yield json.dumps(message | {"time_extracted": extracted})
        if number % THOUSAND == THOUSAND - 1:
            yield json.dumps({"type": "STATE", "value": {"rows": number + 1}})


def cpu_of(command: list[str], lines: Path) -> float:
    """Run a command on a file of rows, and return the CPU seconds that it took."""
    with lines.open("rb") as file:
        process = subprocess.Popen(
            command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (command, process.returncode)
    return usage.ru_utime + usage.ru_stime


class Comparison:
    """Rows of one width in a sandbox and in files, and the commands that they go through."""

    def __init__(self, folder: Path, api_url: str, width: int, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self.lines = {
            "few": self._write("few", 1, COLUMNS[width]),
            "all": self._write("all", rows, COLUMNS[width]),
        }
        self.commands = {"sdk": [sys.executable, str(HERE / "noop.py")]}
        for kind, settings in KINDS.items():
            config = folder / f"{len(self.commands)}.json"
            common = {
                "access_token": "invented",
                "api_url": api_url,
                "report_path": str(folder / "report.json"),
                "rejects_path": str(folder / "rejects"),
            }
            if "change_detection" in settings:
                common["memory_path"] = str(folder / "memory.db")
            config.write_text(json.dumps(common | settings), encoding="utf-8")
            start = [sys.executable, "-m", "target_outreach"]
            self.commands[kind] = [*start, "--config", str(config)]

    def _write(self, name: str, rows: int, columns: Columns) -> Path:
        path = self.folder / f"{name}.singer"
        path.write_text("\n".join(messages(rows, columns)) + "\n", encoding="utf-8")
        return path

    def cost(self, kind: str, which: str) -> float:
        """Run one kind, see that it did what it should, and return its CPU seconds."""
        seconds = cpu_of(self.commands[kind], self.lines[which])
        if kind != "sdk":
            report = json.loads((self.folder / "report.json").read_text("utf-8"))
            expected = self.rows if which == "all" else 1
            assert report["streams"]["prospects"]["unchanged"] == expected, report
        return seconds


def compare(width: int, rows: int, rounds: int, kinds: list[str]) -> None:
    """Measure all kinds in turns, and print what a row costs by each."""
    least: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))
    with tempfile.TemporaryDirectory() as name, Sandbox(None, Profile(rate_limit=10**9)) as sandbox:
        people = (held(row(number, COLUMNS[width]), COLUMNS[width]) for number in range(rows))
        sandbox.store.seed_many("prospects", people)
        comparison = Comparison(Path(name), sandbox.api_url, width, rows)
        if "source" in kinds:
            comparison.cost("source", "all")  # to fill the memory
        for _ in range(rounds):
            for kind in kinds:
                for which in ("few", "all"):
                    seconds = comparison.cost(kind, which)
                    least[kind, which] = min(least[kind, which], seconds)
    print(f"{width} columns, {rows:,} rows, least of {rounds} rounds:")
    costs = {kind: (least[kind, "all"] - least[kind, "few"]) / (rows - 1) for kind in kinds}
    for kind, cost in costs.items():
        ratio = f"   {costs['sdk'] / cost:.2f} x the SDK's loop" if "sdk" in costs else ""
        start = least[kind, "few"]
        rate = f"{cost * 1e6:7.1f} µs a row {1 / cost:9,.0f} rows/s"
        print(f"  {kind:22}{rate}{ratio:28}   start-up {start:.2f} s")


def main() -> None:
    """Compare what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = ["sdk", *KINDS]
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--columns", type=int, nargs="+", default=list(COLUMNS), choices=COLUMNS)
    parser.add_argument("--kinds", nargs="+", default=every, choices=every)
    options = parser.parse_args()
    for width in options.columns:
        compare(width, options.rows, options.rounds, options.kinds)


if __name__ == "__main__":
    main()
