"""What a sync costs, side by side: a naive target, the SDK's loop that does nothing, and this one.

Each target runs as a process of its own on the same rows, against a sandbox in this process, in one
run, since figures of different hours are not to be compared. Requests are exact; seconds are those
of this machine, which runs the sandbox too.

Usage: python benchmarks/compare.py [--rows 5000] [--slow-rows 400] [--many 100000 1000000]
           [--first-load 20000] [--json results.json] [--snapshot requests.svg]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from people import people_schema

from target_outreach.sandbox import Profile, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SCHEMA = people_schema()
TARGETS = {
    "naive": [str(HERE / "naive.py")],
    "noop": [str(HERE / "noop.py")],
    "target-outreach": ["-m", "target_outreach"],
}
#: What Outreach holds at first, in how many of a hundred rows it differs, and with which settings.
SCENARIOS: dict[str, tuple[bool, int, dict[str, Any]]] = {
    "all new": (False, 100, {}),
    "all changed": (True, 100, {}),
    "1 % changed": (True, 1, {}),
    "nothing changed": (True, 0, {}),
    "unchanged, source": (True, 0, {"change_detection": "source"}),
    "unchanged, drift": (True, 0, {"change_detection": "drift"}),
    "changed, bulk": (True, 100, {"bulk_writes": "updates"}),
    "all new, bulk": (False, 100, {"bulk_writes": "all"}),
}
#: The naive target knows no difference between these, and the first ones show all it does.
NAIVE = ("all new", "all changed", "1 % changed", "nothing changed")


@dataclass(frozen=True)
class Figure:
    """What one run cost.

    Attributes:
        target: Which target.
        scenario: What it had to do.
        rows: How many rows.
        latency: Seconds that each answer of the sandbox took at least.
        requests: How many requests were sent.
        seconds: How long it took, start-up included.
        memory: The most resident memory, in MB.
    """

    target: str
    scenario: str
    rows: int
    latency: float
    requests: int
    seconds: float
    memory: float


def address(number: int) -> str:
    """Return an address of 30 characters."""
    return f"person.no.{number:07d}@example.test"


def messages(rows: int, changed: int) -> Iterator[bytes]:
    """Write the input; of each hundred rows some say something new."""
    yield json.dumps(SCHEMA).encode() + b"\n"
    for number in range(rows):
        title = "new" if number % 100 < changed else "old"
        values = {"id": number, "email": address(number), "first_name": "F", "title": title}
        message = {"type": "RECORD", "stream": "prospects", "record": values}
        yield json.dumps(message).encode() + b"\n"


def run(command: list[str], config: dict[str, Any], lines: Iterator[bytes], folder: Path) -> Any:  # noqa: ANN401
    """Run a target as a process, and return its seconds and its most memory in MB."""
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    arguments = [sys.executable, *command, "--config", str(path)]
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
        )
        assert process.stdin is not None
        feeder = threading.Thread(target=_feed, args=(process, lines))
        feeder.start()
        most = 0.0
        while process.poll() is None:
            most = max(most, _most_memory(process.pid))
            time.sleep(0.05)
        seconds = time.monotonic() - began
        feeder.join()
    assert process.returncode == 0, (folder / "log").read_text("utf-8")[-2000:]
    return seconds, most


def _most_memory(pid: int) -> float:
    """Return the most resident memory of a process so far, in MB; 0 once it has ended.

    What the system says when a process ends counts the memory that it was forked with, too.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0]) / 1024 if sizes else 0.0


def _feed(process: subprocess.Popen[bytes], lines: Iterator[bytes]) -> None:
    assert process.stdin is not None
    for line in lines:
        process.stdin.write(line)
    process.stdin.close()


def measure(target: str, scenario: str, rows: int, latency: float) -> Figure:
    """Measure one target in one scenario; what is remembered is delivered in a run before."""
    seeded, changed, settings = SCENARIOS[scenario]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profile = Profile(latency_seconds=latency, rate_limit=10**9)
        with Sandbox(folder / "outreach.db", profile) as sandbox:
            if seeded:
                held = (
                    {"emails": [address(n)], "firstName": "F", "title": "old"} for n in range(rows)
                )
                sandbox.store.seed_many("prospects", held)
            config = {"access_token": "invented", "api_url": sandbox.api_url}
            if target == "noop":
                config = {}
            if target == "target-outreach":
                config |= {"rejects_path": str(folder / "rejects"), **settings}
                if "change_detection" in settings:
                    config["memory_path"] = str(folder / "memory.db")
                    run(TARGETS[target], config, messages(rows, changed), folder)
            before = sandbox.request_count
            seconds, memory = run(TARGETS[target], config, messages(rows, changed), folder)
            requests = sandbox.request_count - before
    return Figure(target, scenario, rows, latency, requests, round(seconds, 2), round(memory, 1))


def show(figure: Figure) -> None:
    """Print a line of the table."""
    each, speed = figure.requests / figure.rows, figure.rows / figure.seconds
    columns = (
        f"{figure.target:16}{figure.scenario:18}{figure.rows:>10,}{figure.latency * 1000:>6.0f} ms",
        f"{figure.requests:>10,}{each:>10.4f}",
        f"{figure.seconds:>8.1f} s{speed:>10,.0f}/s{figure.memory:>7.0f} MB",
    )
    print("".join(columns), flush=True)


def snapshot(figures: list[Figure]) -> str:
    """Draw requests a record, the naive target beside this one, as SVG."""
    rows = [figure for figure in figures if figure.latency == 0 and figure.target != "noop"]
    names = list(dict.fromkeys(figure.scenario for figure in rows))
    # The first of each: those with many rows come last, and are there for the memory.
    found = {(f.target, f.scenario): f.requests / f.rows for f in reversed(rows)}
    parts = []
    for at, name in enumerate(names):
        top = 64 + at * 46
        parts.append(f'<text x="150" y="{top + 18}" text-anchor="end">{name}</text>')
        for shift, target in enumerate(("naive", "target-outreach")):
            if (value := found.get((target, name))) is None:
                continue
            y = top + shift * 17
            width = max(1.5, value * 200)
            parts.append(
                f'<rect class="{target}" x="160" y="{y}" width="{width:.1f}" height="14" rx="2"/>'
                f'<text class="n" x="{166 + width:.1f}" y="{y + 11}">{value:.3g}</text>'
            )
    height = 70 + len(names) * 46
    return SVG.format(height=height, parts="\n".join(parts))


SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" role="img"
 aria-label="Requests a record: a naive target needs two for each; this one needs one for a changed
 record and next to none for an unchanged one">
<style>
text {{ font: 14px system-ui, sans-serif; fill: #222; }}
.n {{ font-size: 12px; }}
.naive {{ fill: #b0b7c3; }}
.target-outreach {{ fill: #5951ff; }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e8e8e8; }} .naive {{ fill: #6b7280; }} .target-outreach {{ fill: #8d87ff; }}
}}
</style>
<text x="160" y="24" style="font-weight:600">Requests for each record</text>
<rect class="naive" x="160" y="36" width="12" height="12" rx="2"/>
<text class="n" x="178" y="47">a GET and a write for each</text>
<rect class="target-outreach" x="360" y="36" width="12" height="12" rx="2"/>
<text class="n" x="378" y="47">target-outreach</text>
{parts}
</svg>
"""


def main() -> None:
    """Measure all, print the table, and write JSON and the snapshot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--slow-rows", type=int, default=400, help="rows at 50 ms latency")
    parser.add_argument("--many", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--first-load", type=int, default=20_000, help="rows that are all new")
    parser.add_argument("--json", type=Path, default=HERE / "results.json")
    parser.add_argument("--snapshot", type=Path, default=HERE.parent / "docs/images/requests.svg")
    options = parser.parse_args()
    titles = ("target", "scenario", "rows", "latency", "requests", "a record", "time", "speed")
    print("{:16}{:18}{:>10}{:>9}{:>10}{:>10}{:>10}{:>12}    memory".format(*titles))
    figures: list[Figure] = []

    def take(target: str, scenario: str, rows: int, latency: float) -> None:
        figures.append(measure(target, scenario, rows, latency))
        show(figures[-1])

    for rows, latency in ((options.rows, 0.0), (options.slow_rows, 0.05)):
        take("noop", "nothing changed", rows, latency)
        for scenario in SCENARIOS:
            if scenario in NAIVE:
                take("naive", scenario, rows, latency)
            take("target-outreach", scenario, rows, latency)
    take("target-outreach", "all new, bulk", options.first_load, 0.0)
    for rows in options.many:
        for target, scenario in (
            ("noop", "nothing changed"),
            ("target-outreach", "nothing changed"),
            ("target-outreach", "unchanged, source"),
        ):
            take(target, scenario, rows, 0.0)
    options.json.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n", "utf-8")
    options.snapshot.write_text(snapshot(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
