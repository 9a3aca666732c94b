"""Taps that others wrote, through the real Meltano: what a table holds arrives exactly, once."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from taps import crm, sources

from target_outreach.sandbox import Sandbox

psutil = pytest.importorskip("psutil", reason="Meltano, which brings it, is not installed")

ROOT = Path(__file__).parents[1]
PROJECT = Path(__file__).parent / "taps" / "meltano.yml"
CACHE = ROOT / ".cache"
MELTANO = shutil.which("meltano", path=str(Path(sys.executable).parent))
SECONDS_TO_INSTALL = 300
SECONDS_TO_RUN = 150

POSTGRES, REST_API, SNOWFLAKE = "tap-postgres", "tap-rest-api-msdk", "tap-snowflake"
TAPS = (POSTGRES, REST_API, SNOWFLAKE)
OBJECTS = {"companies": "accounts", "contacts": "prospects"}
#: What Outreach says of itself, and what this module does not write.
OUTREACHS_OWN = {
    *("callOptedOut", "clickCount", "contactHistogram", "createdAt", "emailOptedOut"),
    *("engagedScore", "externalSource", "named", "openCount", "optedOutAt", "replyCount"),
    "updatedAt",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MELTANO is None, reason="Meltano is not installed"),
    pytest.mark.timeout(600),
]
#: Requests of a run that are too few for all rows.
REQUESTS = 30
EACH_TAP = pytest.mark.parametrize("project", TAPS, indirect=True)


# Projects


def surroundings(**more):
    quiet = {"CHECKOUT": str(ROOT), "DO_NOT_TRACK": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return os.environ | quiet | more


def install(plugin):
    """Let Meltano install a plugin, once for each version of all that matters; return where."""
    texts = (
        PROJECT.read_text("utf-8"),
        (ROOT / "pyproject.toml").read_text("utf-8"),
        sys.version,
        str(ROOT),
    )
    stamp = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    project = CACHE / f"taps-{stamp[:12]}"
    project.mkdir(parents=True, exist_ok=True)
    done = project / f"{plugin} is installed"
    with FileLock(project / "lock"):
        if not done.exists():
            shutil.copy(PROJECT, project)
            _install(project, plugin)
            done.touch()
    return project


def _install(project, plugin):
    try:
        done = subprocess.run(
            [MELTANO, "install", plugin],
            cwd=project,
            env=surroundings(),
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_TO_INSTALL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"not within {SECONDS_TO_INSTALL} seconds"
    else:
        if done.returncode == 0:
            return
        problem = done.stderr.strip()[-1000:]
    give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    give_up(f"{plugin} cannot be installed: {problem}")


@dataclass
class Project:
    """A Meltano project of a test: its own STATE and files, and the plugins of all."""

    folder: Path
    sandbox: Sandbox
    source: Any = None

    def start(self, environment, *options, **settings):
        """Start `meltano run`, in a process group of its own."""
        loader = {f"TARGET_OUTREACH_{name.upper()}": str(value) for name, value in settings.items()}
        (self.folder / "report.json").unlink(missing_ok=True)
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [MELTANO, "--environment", environment, "run", *options, *self.pipeline],
                cwd=self.folder,
                env=surroundings(
                    **self.source.environment,
                    **loader,
                    TARGET_OUTREACH_ACCESS_TOKEN="invented",
                    TARGET_OUTREACH_API_URL=self.sandbox.api_url,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, environment, *options, **settings):
        """Run the pipeline to its end; return the exit code and the target's report."""
        with self.start(environment, *options, **settings) as process:
            try:
                code = process.wait(timeout=SECONDS_TO_RUN)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        path = self.folder / "report.json"
        assert path.exists(), (self.folder / "log").read_text(encoding="utf-8")
        return code, json.loads(path.read_text(encoding="utf-8"))

    @property
    def pipeline(self):
        return self.source.tap, "target-outreach"

    def bookmarks(self, environment):
        """Ask Meltano for the STATE that it keeps: how far each table was read."""
        name = f"{environment}:{self.source.tap}-to-target-outreach"
        done = subprocess.run(
            [MELTANO, "state", "get", name],
            cwd=self.folder,
            env=surroundings(),
            capture_output=True,
            check=True,
        )
        bookmarks = json.loads(done.stdout)["singer_state"]["bookmarks"]
        return {
            name.removeprefix(self.source.prefix): moment(mark["replication_key_value"])
            for name, mark in bookmarks.items()
            if "replication_key_value" in mark
        }

    def counts(self, report):
        """The outcomes in a report that are not zero, by table."""
        return {
            name.removeprefix(self.source.prefix): {
                outcome: n for outcome, n in stream.items() if isinstance(n, int) and n
            }
            for name, stream in report["streams"].items()
        }


def moment(text):
    """Read a time; one without a zone is in UTC."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Killer:
    """Kills processes in the moment in which the nth prospect is made, before the target hears."""

    def __init__(self):
        self._made = itertools.count(1)
        self._nth = self._kill = None

    def at(self, nth, kill):
        self._nth, self._kill = nth, kill

    def __call__(self, exchange):
        is_create = exchange.method == "POST" and exchange.url.endswith("/prospects")
        if is_create and next(self._made) == self._nth:
            self._kill()


def kill_all(process):
    """Kill Meltano, the tap and the target."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_target(process):
    """Kill the target alone."""
    (target,) = (
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any(part.endswith("/bin/target-outreach") for part in child.cmdline())
    )
    target.kill()


@pytest.fixture
def killer():
    return Killer()


@pytest.fixture
def sandbox(tmp_path, watcher, killer):
    def observe(exchange):
        watcher(exchange)
        killer(exchange)

    with Sandbox(tmp_path / "outreach.db", observer=observe) as running:
        for name, fields in crm.CUSTOM_FIELDS.items():
            for number, (label, kind) in enumerate(fields, 1):
                running.store.define_custom_field(name, number, label, kind)
        yield running


@pytest.fixture(scope="module")
def server():
    programs = sources.find_postgres()
    if programs is None:
        (pytest.fail if os.environ.get("NEEDS_POSTGRES") else pytest.skip)("no PostgreSQL here")
    with sources.postgres(programs) as running:
        yield running


@pytest.fixture
def project(request, tmp_path, sandbox):
    """Make a project for a tap, with an invented CRM to read."""
    tap = request.param
    server = request.getfixturevalue("server") if tap == POSTGRES else None
    folder = tmp_path / "a project"
    for kind, name in (("extractors", tap), ("loaders", "target-outreach")):
        plugins = folder / ".meltano" / kind
        plugins.mkdir(parents=True)
        (plugins / name).symlink_to(install(name) / ".meltano" / kind / name)
    shutil.copy(PROJECT, folder)
    with source_of(tap, folder, server) as source:
        source.write(companies=crm.companies(), contacts=crm.contacts())
        yield Project(folder, sandbox, source)


def source_of(tap, folder, server):
    if tap == REST_API:
        return sources.RestApi()
    if tap == SNOWFLAKE:
        return nullcontext(sources.Warehouse(folder))
    return nullcontext(sources.Postgres(server, f"crm_{os.urandom(6).hex()}"))


# What Outreach holds


def held(sandbox, table):
    """What Outreach holds of a table, by the key of each row, without empty values."""
    found = {}
    for one in sandbox.store.all(OBJECTS[table]):
        values = {
            name: value for name, value in one["attributes"].items() if value not in (None, [])
        }
        key = values["customId"] if table == "companies" else values["emails"][0]
        assert key not in found, "two records of one row"
        found[key] = {name: values[name] for name in values.keys() - OUTREACHS_OWN}
        link = one["relationships"].get("account", {}).get("data")
        account = sandbox.store.get("accounts", link["id"])["attributes"] if link else {}
        if account.get("named"):
            found[key]["account"] = account["name"]
    return found


def writes(sandbox, table):
    """How each record of a table was written, one after the other."""
    name = OBJECTS[table]
    return [
        tuple(write.method for write in sandbox.store.writes(name, one["id"]))
        for one in sandbox.store.all(name)
    ]


def assert_each_row_was_written_once(sandbox, companies=(), contacts=()):
    """Each row is there, by one POST and nothing else."""
    expected = {
        "companies": {row["id"] for row in [*crm.companies(), *companies]},
        "contacts": {row["email"] for row in [*crm.contacts(), *contacts]},
    }
    for table, keys in expected.items():
        assert held(sandbox, table).keys() == keys
        assert set(writes(sandbox, table)) == {("POST",)}


EXACT = {
    "companies": {
        crm.key(1): {
            "customId": crm.key(1),
            "name": 'Kestrel & Söhne "Optik"',
            "domain": "kestrel.example",
            "industry": "Manufacturing",
            "numberOfEmployees": 140,
            "foundedAt": "1987-06-05T00:00:00.000Z",
            "buyerIntentScore": 71.25,
            "custom1": "12345678901234.56",
            "custom2": "true",
            "custom3": "2026-11-30T21:30:00",
            "naicsCodes": ["332710", "333517"],
            "tags": ["enterprise", "renewal, soon"],
        },
        crm.key(2): {"customId": crm.key(2), "name": "Nothing Known"},
        crm.key(3): {
            "customId": crm.key(3),
            "name": "O'Dd \\ 奇数 🦉",
            "domain": "odd.example",
            "numberOfEmployees": 0,
            "foundedAt": "0999-12-31T00:00:00.000Z",
            "buyerIntentScore": 0,
            "custom1": "-0.1",
            "custom2": "false",
            "custom3": "2026-03-29T00:59:59",
        },
        crm.key(4): {
            "customId": crm.key(4),
            "name": "Company 4",
            "domain": "company4.example.test",
        },
    },
    "contacts": {
        "Ada.Varga@kestrel.example": {
            "emails": ["Ada.Varga@kestrel.example", "ada@varga.example", "a+b@varga.example"],
            "firstName": "Ada",
            "lastName": "Várga",
            "name": "Ada Várga",
            "title": "Head of Optics, EMEA",
            "workPhones": ["+4315550100"],
            "tags": ["vip", "speaks, German"],
            "score": 87.5,
            "custom1": "123456789012.12345678",
            "optedOut": True,
            "custom2": "2026-02-03T04:05:06",
            "jobStartDate": "2020-02-29",
            "addedAt": "2019-06-30T18:30:00.000Z",
            "linkedInConnections": 500,
            "account": 'Kestrel & Söhne "Optik"',
        },
        "nothing@example.test": {
            "emails": ["nothing@example.test"],
            "name": "nothing@example.test",
            "optedOut": False,
        },
        "odd@odd.example": {
            "emails": ["odd@odd.example"],
            "firstName": "\t 奇\n数 ",
            "lastName": "'; --",
            "name": "\t 奇\n数  '; --",
            "score": -1e-7,
            "custom1": "0.00000001",
            "optedOut": False,
            "custom2": "1969-12-31T23:59:59",
            "jobStartDate": "9999-12-31",
            "addedAt": "2026-10-25T00:30:00.000Z",
            "linkedInConnections": 32767,
            "account": "O'Dd \\ 奇数 🦉",
        },
        "p4@example.test": {
            "emails": ["p4@example.test"],
            "firstName": "First 4",
            "lastName": "Last 4",
            "name": "First 4 Last 4",
            "optedOut": False,
            "account": "Company 5",
        },
    },
}


@EACH_TAP
def test_a_full_table_arrives_as_it_is_and_costs_nothing_the_second_time(project, sandbox):
    code, report = project.run("full_table")
    assert code == 0
    assert project.counts(report) == {
        "companies": {"received": crm.COMPANIES, "created": crm.COMPANIES},
        "contacts": {"received": crm.CONTACTS, "created": crm.CONTACTS},
    }
    for table, expected in EXACT.items():
        found = held(sandbox, table)
        assert {key: found[key] for key in expected} == expected
    code, report = project.run("full_table")
    assert code == 0
    assert project.counts(report) == {
        "companies": {"received": crm.COMPANIES, "unchanged": crm.COMPANIES},
        "contacts": {"received": crm.CONTACTS, "unchanged": crm.CONTACTS},
    }
    assert_each_row_was_written_once(sandbox)


@EACH_TAP
def test_the_next_run_begins_where_the_state_that_meltano_kept_says(project, sandbox):
    code, _ = project.run("incremental")
    assert code == 0
    new = crm.CONTACTS + 1
    promoted = crm.contacts()[3] | {"job_title": "Chief", "updated_at": crm.at(new + 1)}
    moved = crm.contacts()[4] | {"company_id": crm.key(1), "updated_at": crm.at(new + 2)}
    renamed = crm.companies()[4] | {"name": "Renamed", "updated_at": crm.at(new)}
    project.source.write(companies=[renamed], contacts=[crm.contact(new), promoted, moved])
    code, report = project.run("incremental")
    assert code == 0
    # The row at which the run before stopped comes again; taps begin with it, not behind it.
    assert project.counts(report) == {
        "companies": {"received": 2, "updated": 1, "unchanged": 1},
        "contacts": {"received": 4, "created": 1, "updated": 2, "unchanged": 1},
    }
    assert project.bookmarks("incremental") == {
        "companies": moment(crm.at(new)),
        "contacts": moment(crm.at(new + 2)),
    }
    assert held(sandbox, "companies")[crm.key(5)]["name"] == "Renamed"
    contacts = held(sandbox, "contacts")
    assert contacts["p4@example.test"]["title"] == "Chief"
    assert contacts["p5@example.test"]["account"] == 'Kestrel & Söhne "Optik"'
    assert sorted(writes(sandbox, "companies")) == [
        *[("POST",)] * (crm.COMPANIES - 1),
        ("POST", "PATCH"),
    ]
    assert sorted(writes(sandbox, "contacts")) == [
        *[("POST",)] * (crm.CONTACTS - 1),
        *[("POST", "PATCH")] * 2,
    ]


HALF = crm.CONTACTS // 2


@pytest.mark.parametrize(
    ("project", "kill"),
    [(POSTGRES, kill_all), (REST_API, kill_all), (SNOWFLAKE, kill_all), (POSTGRES, kill_target)],
    indirect=["project"],
)
def test_a_run_that_is_killed_half_way_is_gone_on_with_by_the_next(project, sandbox, killer, kill):
    with project.start("incremental", batch_size_rows=8, max_parallel_requests=1) as process:
        killer.at(HALF, lambda: kill(process))
        code = process.wait(timeout=SECONDS_TO_RUN)
    assert code == (1 if kill is kill_target else -signal.SIGKILL)
    assert sandbox.store.count("prospects") == HALF
    # A killed Meltano cannot report that: for some minutes the next one takes it for running.
    code, report = project.run("incremental", "--force", batch_size_rows=8)
    assert code == 0
    counts = project.counts(report)
    assert counts["contacts"] == {
        "received": crm.CONTACTS,
        "created": crm.CONTACTS - HALF,
        "unchanged": HALF,
    }
    assert counts["companies"]["unchanged"] == counts["companies"]["received"]
    if kill is kill_target:  # then Meltano has kept what the target had said before
        assert counts["companies"]["received"] == 1
    assert_each_row_was_written_once(sandbox)


@EACH_TAP
def test_runs_of_few_requests_deliver_a_table_together(project, sandbox):
    delivered = [0]
    code = None
    while code != 0:
        code, report = project.run("incremental", max_requests=REQUESTS, max_parallel_requests=1)
        delivered.append(sum(map(sandbox.store.count, OBJECTS.values())))
        assert delivered[-1] > delivered[-2]
        if code:
            assert (code, report["exit_code"], report["requests"]) == (1, 4, REQUESTS)
    assert len(delivered) > 3
    assert report["exit_code"] == 0
    assert_each_row_was_written_once(sandbox)


# Taps of the SDK say how far they are every 10,000 rows.
MANY = 10_000


@pytest.mark.parametrize("project", [POSTGRES], indirect=True)
def test_a_long_table_is_gone_on_with_in_its_middle(project, sandbox, killer):
    first = crm.CONTACTS + 1
    more = [crm.contact(n, company_id=None) for n in range(first, first + MANY)]
    project.source.write(contacts=more)
    sandbox.store.seed_many("prospects", map(as_outreach_has_it, more[: -crm.CONTACTS]))
    with project.start("incremental", max_parallel_requests=1) as process:
        killer.at(crm.CONTACTS + HALF, lambda: kill_target(process))
        assert process.wait(timeout=SECONDS_TO_RUN) == 1
    assert project.bookmarks("incremental")["contacts"] == moment(crm.at(MANY))
    code, report = project.run("incremental")
    assert code == 0
    assert project.counts(report)["contacts"] == {
        "received": crm.CONTACTS + 1,
        "created": crm.CONTACTS - HALF,
        "unchanged": HALF + 1,
    }
    assert sandbox.store.count("prospects") == MANY + crm.CONTACTS


def as_outreach_has_it(row):
    return {
        "emails": [row["email"]],
        "firstName": row["first_name"],
        "lastName": row["last_name"],
    }
