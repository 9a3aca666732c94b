"""A million records through the real target: is the sum right, and does memory stay flat?

Of each thousand rows most are unchanged, and a few are new, changed, invalid, deleted in the source
or repeated at once, so that it is known beforehand how many of each there must be. The target and
the sandbox are processes of their own. Exits 1 where something is not as it must be.

With ``--distinct`` each row has a key of its own. Then memory grows by what is noted of each key,
so that no two of them write to one record.

Usage: python benchmarks/million.py [--rows 1000000] [--distinct]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from people import people_schema

from target_outreach.sandbox import Profile, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

PEOPLE = 50_000
THOUSAND = 1000
SCHEMA = people_schema(_sdc_deleted_at={"type": ["null", "string"]})
EXPECTED = {
    "created": 5,
    "updated": 5,
    "superseded": 1,
    "skipped": 2,
    "rejected": 2,
    "unchanged": 985,
}
MEMORY_GROWTH = 40.0

#: The most bytes that are noted of a key.
CLAIM = 48


def held(number: int) -> dict[str, Any]:
    """Return what Outreach holds of a person at first."""
    return {
        "emails": [f"person{number}@example.test"],
        "firstName": f"First {number}",
        "title": "Engineer",
    }


def row(number: int, people: int) -> dict[str, Any]:
    """Return a row about one of `people`; its outcome follows from its place in its thousand."""
    thousand, place = divmod(number, THOUSAND)
    person = number % people
    values = {
        "id": person,
        "email": f"person{person}@example.test",
        "first_name": f"First {person}",
        "title": "Engineer",
        "_sdc_deleted_at": None,
    }
    if place < 5:
        values |= {"id": people + number, "email": f"new{number}@example.test"}
    elif place < 10:
        values["title"] = f"Engineer {thousand}"
    elif place == 10:
        values |= {"id": person - 1, "email": f"person{person - 1}@example.test"}
        values["first_name"] = f"First {person - 1}"
        values["title"] = f"Engineer {thousand}"
    elif place < 13:
        values["_sdc_deleted_at"] = "2026-01-01T00:00:00Z"
    elif place < 15:
        values |= {"id": people + number, "email": "nobody"}
    return values


def messages(count: int, people: int) -> Iterator[str]:
    """Write the input, with a STATE after each thousand rows."""
    yield json.dumps(SCHEMA)
    for number in range(count):
        yield json.dumps({"type": "RECORD", "stream": "prospects", "record": row(number, people)})
        if number % THOUSAND == THOUSAND - 1:
            yield json.dumps({"type": "STATE", "value": {"rows": number + 1}})


def memory_of(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def feed(process: subprocess.Popen[str], count: int, people: int, memory: list[float]) -> None:
    """Write the input to the target, and look at its memory after each tenth."""
    assert process.stdin is not None
    for number, line in enumerate(messages(count, people)):
        process.stdin.write(line + "\n")
        if number % (count // 10) == 0:
            memory.append(memory_of(process))
    process.stdin.close()


def main() -> None:
    """Run it, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--distinct", action="store_true")
    arguments = parser.parse_args()
    count = arguments.rows // THOUSAND * THOUSAND
    people = count if arguments.distinct else PEOPLE
    wanted = {name: share * count // THOUSAND for name, share in EXPECTED.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Sandbox(folder / "outreach.db", Profile(rate_limit=10**9)) as sandbox:
            sandbox.store.seed_many("prospects", map(held, range(people)))
            problems = _run(folder, sandbox, count, people, wanted)
            there = sandbox.store.count("prospects")
        if there != people + wanted["created"]:
            problems.append(f"Outreach holds {there:,} people")
    print("\n".join(problems) or "all as it must be")
    sys.exit(bool(problems))


def _run(
    folder: Path, sandbox: Sandbox, count: int, people: int, wanted: dict[str, int]
) -> list[str]:
    """Run the target once, and list what is not as it must be."""
    config = {
        "access_token": "invented",
        "api_url": sandbox.api_url,
        "rejects_path": str(folder / "rejects"),
        "report_path": str(folder / "report.json"),
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "target_outreach", "--config", str(folder / "config.json")]
    began, memory = time.monotonic(), []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        feeder = threading.Thread(target=feed, args=(process, count, people, memory))
        feeder.start()
        assert process.stdout is not None
        states = [json.loads(line)["rows"] for line in process.stdout]
        feeder.join()
    seconds = time.monotonic() - began
    report = json.loads((folder / "report.json").read_text("utf-8"))
    (counts,) = report["streams"].values()
    print(
        f"{count:,} rows in {seconds:,.0f} s ({count / seconds:,.0f} a second), "
        f"{report['requests']:,} requests, memory in MB: {', '.join(f'{m:.0f}' for m in memory)}"
    )
    found = {name: counts[name] for name in wanted}
    rejects = Path(report["rejects_file"]).read_text("utf-8").splitlines()
    kinds = Counter(json.loads(line)["type"] for line in rejects)
    checks = {
        f"the counts are {found}, not {wanted}": found == wanted,
        f"{counts['received']:,} were received": counts["received"] == count,
        f"{counts['unsettled']:,} are unsettled": counts["unsettled"] == 0,
        f"the exit code is {process.returncode}": process.returncode == 3,
        "the STATE is not the last, or out of order": states == sorted(states)
        and states[-1] == count,
        f"{kinds['RECORD']:,} rejects are on disk": kinds["RECORD"] == wanted["rejected"],
        f"memory grew from {memory[1]:.0f} to {memory[-1]:.0f} MB": memory[-1]
        < memory[1] + MEMORY_GROWTH + CLAIM * people / 2**20,
    }
    return [problem for problem, is_so in checks.items() if not is_so]


if __name__ == "__main__":
    main()
