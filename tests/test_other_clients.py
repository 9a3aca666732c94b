"""What the target writes, another client reads: tap-outreach, as Singer published it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from invention import CATALOG, FEWEST, deliver, invent, links, rows

from target_outreach.sandbox import Sandbox

CLIENT = Path(__file__).parent / "tap_outreach_client"
REQUIREMENTS = CLIENT / "requirements.txt"
CACHE = Path(__file__).parents[1] / ".cache"
PROGRAMS = "Scripts" if os.name == "nt" else "bin"
SECONDS_TO_INSTALL = 90

PAGE_SIZE = 5
HOUR = 3600
COUNTS = {"accounts": FEWEST, "prospects": 60}
KEYS = {"accounts": "customId", "prospects": "emails"}
#: Outreach has these since 2023; the tap's schemas are older.
UNKNOWN_TO_THE_TAP = {"annualRevenueRange", "naicsCodes", "sicCodes", "tickerSymbol"}


@pytest.fixture(scope="session")
def tap():
    """Make an environment with the tap in it, once for each version; return its Python."""
    (requirement,) = REQUIREMENTS.read_text(encoding="utf-8").split()
    version = "{}{}".format(*sys.version_info)
    folder = CACHE / f"{requirement.replace('==', '-')}-py{version}"
    python = folder / PROGRAMS / "python"
    complete = folder / "complete"
    if not (complete.exists() and python.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        for command in _installation(folder, python):
            _install(command)
        complete.touch()
    return python


def _installation(folder, python):
    """Say how to make the environment: by uv where it is, else by what Python brings."""
    uv = [shutil.which("uv")]
    if importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    if any(uv):
        return (
            [*uv, "venv", "--python", sys.executable, folder],
            [*uv, "pip", "install", "--python", python, "--requirement", REQUIREMENTS],
        )
    pip = [python, "-m", "pip", "--retries", "1", "install", "--requirement", REQUIREMENTS]
    return [sys.executable, "-m", "venv", folder], pip


def _install(command):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"not within {SECONDS_TO_INSTALL} seconds"
    else:
        if done.returncode == 0:
            return
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        problem = errors[0] if errors else done.stderr.strip()[-300:]
    give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    give_up(f"tap-outreach cannot be installed: {problem}")


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 31, 9, 30, tzinfo=UTC).timestamp()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sandbox(tmp_path, clock):
    with Sandbox(tmp_path / "outreach.db", clock=clock) as running:
        yield running


@pytest.fixture
def read(tap, sandbox, tmp_path):
    """Discover, select both objects and run the tap; return its messages."""
    config = {
        "start_date": "2026-01-01T00:00:00Z",
        "client_id": "invented",
        "client_secret": "invented",
        "redirect_uri": "https://client.example.test/oauth",
        "refresh_token": "invented",
        "page_size": PAGE_SIZE,
    }

    def path(name, content):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    def run(*arguments):
        done = subprocess.run(
            [tap, CLIENT / "run.py", "--config", path("config", config), *arguments],
            env=os.environ | {"OUTREACH_HOST": sandbox.url},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _read(state=None):
        catalog = json.loads(run("--discover"))
        for stream in catalog["streams"]:
            (top,) = (entry for entry in stream["metadata"] if not entry["breadcrumb"])
            top["metadata"]["selected"] = stream["stream"] in COUNTS
        state = path("state", state or {})
        output = run("--catalog", path("catalog", catalog), "--state", state)
        return [json.loads(line) for line in output.splitlines()]

    return _read


def records(messages, name):
    return [
        message["record"]
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == name
    ]


def by_key(name, found):
    """Put records by the value that is the record's own, each once."""
    by_value = {str(record[KEYS[name]]): record for record in found}
    assert len(by_value) == len(found)
    return by_value


def as_the_tap_says(name, row):
    """Put a row that was written as the tap shows it: ids of links, and dates as date-times."""
    shown = {}
    for column, value in row.items():
        attribute = CATALOG[name].attributes.get(column)
        if attribute is None:
            shown[column.removeprefix("outreach_").replace("_id", "Id")] = value
        elif attribute.kind in {"date", "date-time"}:
            shown[column] = f"{datetime.fromisoformat(value):%Y-%m-%dT%H:%M:%S.%fZ}"
        elif column not in UNKNOWN_TO_THE_TAP and not (
            # Where there is an account, its name is not for a prospect to say.
            column == "company" and "outreach_account_id" in row
        ):
            shown[column] = value
    return shown


def write_all(sync, turn):
    for name, count in COUNTS.items():
        deliver(sync, name, rows(name, count, turn), array_fields="replace")


def test_tap_outreach_reads_back_all_that_was_written(sync, read, sandbox):
    write_all(sync, 1)
    write_all(sync, 2)
    messages = read()
    for name, count in COUNTS.items():
        found = by_key(name, records(messages, name))
        written = by_key(name, rows(name, count, 2))
        assert found.keys() == written.keys()
        for key, row in written.items():
            expected = as_the_tap_says(name, row)
            assert {column: found[key].get(column) for column in expected} == expected
            assert ("ownerId" in found[key]) == ("outreach_owner_id" in row)
        ids = {resource["id"] for resource in sandbox.store.all(name)}
        assert {record["id"] for record in found.values()} == ids
    assert len(expected) > 200
    assert {f"{link}Id" for link in links("prospects")} < set().union(*found.values())


def test_tap_outreach_pages_through_what_was_written(sync, read, sandbox):
    deliver(sync, "prospects", [invent("prospects", n, 1) for n in range(60)])
    assert len(records(read(), "prospects")) == 60
    pages = [
        one
        for one in sandbox.requests
        if one.path.endswith("/prospects") and ("sort", "updatedAt") in one.parameters
    ]
    cursors = ["page[after]" in dict(page.parameters) for page in pages]
    assert cursors == [False] + [True] * (60 // PAGE_SIZE - 1)
    # The tap adds its parameters to the link of each next page; no page may add to them.
    assert len({len(page.parameters) for page in pages[1:]}) == 1


def test_tap_outreach_reads_again_only_what_the_target_changed(sync, read, clock):
    before = [invent("prospects", n, 1) for n in range(60)]
    deliver(sync, "prospects", before)
    clock.now += HOUR
    before[0]["title"] = "Clerk"
    deliver(sync, "prospects", before)
    state = [message["value"] for message in read() if message["type"] == "STATE"][-1]
    clock.now += HOUR
    after = [*before[:1], *(row | {"title": "Head"} for row in before[1:8]), *before[8:]]
    deliver(sync, "prospects", after)
    again = by_key("prospects", records(read(state), "prospects"))
    # The tap begins with the moment at which it stopped, which is that of the clerk.
    assert {key: record["title"] for key, record in again.items()} == {
        key: row["title"] for key, row in by_key("prospects", after[:8]).items()
    }
