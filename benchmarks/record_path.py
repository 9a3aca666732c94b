"""How much CPU does an unchanged row cost, beside the SDK's own loop that does nothing with it?

The same file of rows goes through a `singer_sdk.Target` whose `RecordSink` does nothing but whose
default validation is on, and through the real target: looked up by lists, read whole, and from a
warm memory. Each run is a process of its own and counts its own CPU seconds, all threads included,
from the first line to the last STATE; start-up is not counted, and the sandbox is another process.
The kinds take turns, since the machine may be busy with other things, and the least of all rounds
counts.

Usage: python benchmarks/record_path.py [--rows 20000] [--rounds 5] [--columns 10 40]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox import Profile, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

THOUSAND = 1000
TEXT = {"type": ["null", "string"]}
TIME = {"type": ["null", "string"], "format": "date-time"}

#: Settings of the real target beside the common ones.
KINDS: dict[str, dict[str, Any]] = {
    "sdk": {},
    "outreach, looked up": {},
    "outreach, read whole": {"batch_size_rows": 10_000},
    "source": {"change_detection": "source"},
}

#: Columns that make up a narrow and a wide row: its JSON Schema, the attribute that it goes to.
NARROW: dict[str, tuple[dict[str, Any], str]] = {
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


def row(number: int, columns: dict[str, tuple[dict[str, Any], str]]) -> dict[str, Any]:
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
        "personal_note_1": "Met at the fair in Zürich, wants to hear of the next release. " * 3,
        "middle_name": None,
        "region": None,
        "custom12": None,
        "custom13": None,
    }
    return {name: values.get(name, f"{name} of {number}") for name in columns}


def held(values: dict[str, Any], columns: dict[str, tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Return what Outreach holds of a row."""
    attributes: dict[str, Any] = {}
    for column, (_, name) in columns.items():
        if name and values[column] is not None:
            is_list = name in {"emails", "workPhones", "mobilePhones"}
            attributes[name] = [values[column]] if is_list else values[column]
    if "addedAt" in attributes:
        attributes["addedAt"] = "2025-11-02T08:15:30.000Z"
    return attributes


def messages(rows: int, columns: dict[str, tuple[dict[str, Any], str]]) -> Iterator[str]:
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


def run_sdk(lines: Path) -> float:
    """Run the SDK's loop in this process, and return the CPU seconds."""
    from singer_sdk import RecordSink, Target  # noqa: PLC0415 - start-up is not counted

    class NoSink(RecordSink):
        def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
            pass

    class NoTarget(Target):
        name = "target-nothing"
        config_jsonschema: dict[str, Any] = {"properties": {}}  # noqa: RUF012 - as the SDK has it
        default_sink_class = NoSink

    target = NoTarget(config={})
    with lines.open(encoding="utf-8") as file:
        began = time.process_time()
        target.listen(file)
        return time.process_time() - began


def run_target(lines: Path, config: dict[str, Any]) -> float:
    """Run the real target in this process, and return the CPU seconds."""
    from target_outreach.running import run  # noqa: PLC0415 - start-up is not counted
    from target_outreach.target import TargetOutreach  # noqa: PLC0415 - idem

    target = TargetOutreach(config=config)
    with lines.open(encoding="utf-8") as file:
        began = time.process_time()
        code = run(target, file)
        seconds = time.process_time() - began
    assert code == 0, code
    return seconds


def measured(kind: str, lines: Path, config: dict[str, Any]) -> float:
    """Run one kind in a process of its own, and return its CPU seconds."""
    command = [sys.executable, __file__, "--run", kind, str(lines), json.dumps(config)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    return float(done.stderr.splitlines()[-1])


def compare(width: int, rows: int, rounds: int, kinds: list[str]) -> None:
    """Measure all kinds in turns, and print what a row costs by each."""
    columns = COLUMNS[width]
    best: dict[str, float] = defaultdict(lambda: float("inf"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "input.singer"
        lines.write_text("\n".join(messages(rows, columns)) + "\n", encoding="utf-8")
        with Sandbox(folder / "outreach.db", Profile(rate_limit=10**9)) as sandbox:
            people = (held(row(number, columns), columns) for number in range(rows))
            sandbox.store.seed_many("prospects", people)
            config = {
                "access_token": "invented",
                "api_url": sandbox.api_url,
                "memory_path": str(folder / "memory.db"),
                "report_path": str(folder / "report.json"),
                "rejects_path": str(folder / "rejects"),
            }
            if "source" in kinds:
                measured("source", lines, config | KINDS["source"])  # to fill the memory
            for _ in range(rounds):
                for kind in kinds:
                    best[kind] = min(best[kind], measured(kind, lines, config | KINDS[kind]))
                    if kind != "sdk":
                        report = json.loads((folder / "report.json").read_text("utf-8"))
                        assert report["streams"]["prospects"]["unchanged"] == rows, report
    print(f"{width} columns, {rows:,} rows, least of {rounds} rounds:")
    for kind, seconds in best.items():
        ratio = f"   {best['sdk'] / seconds:.2f} x the SDK's loop" if "sdk" in best else ""
        each = seconds / rows * 1e6
        print(f"  {kind:22}{each:7.1f} µs a row {rows / seconds:9,.0f} rows/s{ratio}")


def main() -> None:
    """Compare, or run one kind for the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--columns", type=int, nargs="+", default=list(COLUMNS), choices=COLUMNS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is None:
        for width in options.columns:
            compare(width, options.rows, options.rounds, options.kinds)
        return
    kind, lines, config = options.run
    seconds = run_sdk(Path(lines)) if kind == "sdk" else run_target(Path(lines), json.loads(config))
    print(seconds, file=sys.stderr)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
