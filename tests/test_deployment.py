"""One table loaded by several runs of Meltano at once: under engines, with one user's budget."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml
from clients.environment import python_with
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk.mapper import PluginMapper

from target_outreach.records.contacts import email_key
from target_outreach.sandbox import App, Profile, Sandbox

FOLDER = Path(__file__).parent / "deployment"
PROGRAMS = Path(sys.executable).parent
MELTANO = shutil.which("meltano", path=str(PROGRAMS))
STREAM = "marts-prospects"
SHARDS = 4
LOADS = [f"load_shard_{shard}" for shard in range(SHARDS)]
#: Requests that a run may have in flight: the default of `max_parallel_requests`.
PARALLEL = 4
ROWS = 4_000 if os.environ.get("CI") else 2_000
FEW_ROWS = 400
LIMIT, WINDOW_SECONDS = 500, 4
SECONDS_TO_RUN = 400
APP = App("app-1", "secret-of-app-1")

NEEDS_MELTANO = pytest.mark.skipif(MELTANO is None, reason="Meltano is not installed")
UNHURRIED = pytest.mark.timeout(600)


# Shards


def maps():
    document = yaml.safe_load((FOLDER / "meltano.yml").read_text("utf-8"))
    (loader,) = document["plugins"]["loaders"]
    return loader["config"]["stream_maps"]


def mapper(shard):
    """The SDK's mapper as the target has it in the run of one shard."""
    numbers = {"shard": str(shard), "shards": str(SHARDS)}
    config = {"stream_maps": maps(), "stream_map_config": numbers}
    made = PluginMapper(config, logging.getLogger("shards"))
    schema = {"type": "object", "properties": {"email": {"type": ["null", "string"]}}}
    made.register_raw_stream_schema(STREAM, schema, [])
    (stream_map,) = made.stream_maps[STREAM]
    return stream_map


MAPPERS = [mapper(shard) for shard in range(SHARDS)]


def shard_of(email):
    """The one shard that takes rows with this address."""
    (shard,) = (n for n in range(SHARDS) if MAPPERS[n].transform({"email": email}) is not None)
    return shard


@given(st.none() | st.integers() | st.text() | st.emails())
def test_each_key_is_in_exactly_one_shard(key):
    assert shard_of(key) in range(SHARDS)


@given(st.text() | st.emails(), st.sampled_from([str.upper, str.title, str.swapcase]))
def test_what_the_target_takes_for_one_key_is_in_one_shard(key, change):
    other = f"\t{change(key)} \n"
    if email_key(key) == email_key(other):
        assert shard_of(key) == shard_of(other)


def test_a_row_without_the_column_goes_where_nulls_go():
    taken = [stream_map.transform({"id": 1}) is not None for stream_map in MAPPERS]
    assert taken.index(True) == shard_of(None) == shard_of(" ")
    assert sum(taken) == 1


def test_shards_are_of_one_size():
    sizes = Counter(shard_of(f"p{n}@example.test") for n in range(1000))
    assert all(200 < sizes[shard] < 300 for shard in range(SHARDS))


# Runs of Meltano


class Meter:
    """Counts what the sandbox refused in each window, and acts at the nth row of a shard."""

    def __init__(self, watcher):
        self.answered = Counter()
        self.refused = Counter()
        self.created = Counter()
        self.act = None
        self._watcher = watcher
        self._lock = threading.Lock()

    def __call__(self, exchange):
        self._watcher(exchange)
        window = dict(exchange.headers).get("X-RateLimit-Reset")
        if window is not None:
            with self._lock:
                self._count(exchange, window)

    def _count(self, exchange, window):
        self.answered[window] += 1
        self.refused[window] += exchange.status == 429
        if exchange.method == "POST" and exchange.status == 201:
            (email,) = json.loads(exchange.request_body)["data"]["attributes"]["emails"]
            shard = shard_of(email)
            self.created[shard] += 1
            if self.act is not None:
                self.act(shard, self.created[shard])


@pytest.fixture
def meter(watcher):
    return Meter(watcher)


@pytest.fixture
def sandbox(tmp_path, meter):
    """An Outreach with a small limit that issues one token a minute."""
    profile = Profile(
        rate_limit=LIMIT,
        rate_window_seconds=WINDOW_SECONDS,
        apps=[APP],
        mint_throttle_seconds=60,
        strict_rotation=True,
    )
    with Sandbox(tmp_path / "outreach.db", profile, observer=meter) as running:
        yield running


class Project:
    """The deployment as a user copies it, with a table."""

    def __init__(self, folder, sandbox):
        self.folder = folder
        shutil.copytree(FOLDER, folder)
        self._table = folder / "people.db"
        loader = {
            "api_url": sandbox.api_url,
            "oauth_url": sandbox.oauth_url,
            "client_id": APP.client_id,
            "client_secret": APP.client_secret,
            "refresh_token": sandbox.issue_refresh_token(client_id=APP.client_id),
            "batch_size_rows": "50",
        }
        self.environment = os.environ | {
            **{f"TARGET_OUTREACH_{name.upper()}": value for name, value in loader.items()},
            "PATH": os.pathsep.join((str(PROGRAMS), os.environ["PATH"])),
            "MELTANO_PROJECT_ROOT": str(folder),
            "SHARDS": str(SHARDS),
        }

    def fill(self, count):
        """Put rows into the table, some addresses in upper case; return the shards' sizes."""
        emails = [f"{'p' if n % 7 else 'P'}{n}@example.test" for n in range(1, count + 1)]
        with closing(sqlite3.connect(self._table)) as table:
            table.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, email, first_name, title)")
            rows = ((email, "Ada", "Buyer") for email in emails)
            table.executemany("INSERT INTO people VALUES (NULL, ?, ?, ?)", rows)
            table.commit()
        return Counter(map(shard_of, emails))

    def start(self, shard, *options):
        """Start the run of a shard, in a process group of its own."""
        own = {
            "SHARD": str(shard),
            "MELTANO_SYS_DIR_ROOT": str(self._shard(shard) / "meltano"),
        }
        with self._log(shard).open("wb") as log:
            return subprocess.Popen(
                [
                    *(MELTANO, "run", *options, f"--state-id-suffix=shard-{shard}-of-{SHARDS}"),
                    *("tap-people", "target-outreach"),
                ],
                cwd=self.folder,
                env=self.environment | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, shard):
        return self._log(shard).read_text("utf-8")

    def _log(self, shard):
        return self.folder / f"shard-{shard}.log"

    def _shard(self, shard):
        return self.folder / "shards" / f"{shard}-of-{SHARDS}"

    def report(self, shard):
        return json.loads((self._shard(shard) / "report.json").read_text("utf-8"))

    def totals(self):
        """Add up the reports of all shards."""
        reports = [self.report(shard)["totals"] for shard in range(SHARDS)]
        return {name: count for name in reports[0] if (count := sum(one[name] for one in reports))}


@pytest.fixture
def project(tmp_path, sandbox):
    return Project(tmp_path / "project", sandbox)


@pytest.fixture
def start(project):
    """Start runs of shards, and leave none behind."""
    with ExitStack() as started:

        def _start(shard, *options):
            process = started.enter_context(project.start(shard, *options))
            started.callback(kill, process)
            return process

        yield _start


def kill(process):
    """Kill Meltano, the tap and the target."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def keys(sandbox):
    return Counter(
        email_key(email)
        for prospect in sandbox.store.all("prospects")
        for email in prospect["attributes"]["emails"]
    )


def each_once(count):
    return {f"p{n}@example.test": 1 for n in range(1, count + 1)}


@pytest.mark.slow
@NEEDS_MELTANO
@UNHURRIED
def test_shards_that_share_a_user_deliver_each_row_once_and_within_its_limit(
    project, start, sandbox, meter
):
    sizes = project.fill(ROWS)
    runs = [start(shard) for shard in range(SHARDS)]
    codes = [run.wait(SECONDS_TO_RUN) for run in runs]
    assert codes == [0] * SHARDS, project.log(codes.index(max(codes)))
    assert keys(sandbox) == each_once(ROWS)
    received = {shard: project.report(shard)["totals"]["received"] for shard in sizes}
    assert received == sizes
    assert project.totals() == {"received": ROWS, "created": ROWS}
    assert [request.outcome for request in sandbox.token_requests] == ["issued"]
    # None can know what the others have in flight at the moment in which a window runs out; but
    # each learns from the answers how many others there are, and then leaves them enough.
    assert max(meter.answered.values()) >= 0.95 * LIMIT  # windows did run out
    assert max(meter.refused.values()) <= SHARDS * PARALLEL
    assert meter.refused.total() <= SHARDS * len(meter.answered)


@pytest.mark.slow
@NEEDS_MELTANO
@UNHURRIED
def test_a_shard_that_was_killed_goes_on_alone_where_it_was(project, start, sandbox, meter):
    rows, killed = 2_000, 2
    sizes = project.fill(rows)

    def kill_half_way(shard, nth):
        if shard == killed and nth == sizes[killed] // 2:
            kill(runs[killed])

    meter.act = kill_half_way
    runs = [start(shard) for shard in range(SHARDS)]
    codes = [run.wait(SECONDS_TO_RUN) for run in runs]
    assert codes == [-signal.SIGKILL if shard == killed else 0 for shard in range(SHARDS)]
    others = sandbox.request_count
    before = meter.created[killed]
    assert before < sizes[killed]
    # Meltano takes it for alive for five minutes.
    assert start(killed, "--force").wait(SECONDS_TO_RUN) == 0, project.log(killed)
    (behind,) = re.findall(r"Reading from behind row (\d+)", project.log(killed))
    assert 0 < int(behind) < rows
    report = project.report(killed)
    assert report["requests"] == sandbox.request_count - others
    assert report["totals"]["created"] == sizes[killed] - before
    assert keys(sandbox) == each_once(rows)


@pytest.mark.slow
@NEEDS_MELTANO
@UNHURRIED
def test_a_run_that_is_not_told_its_shard_ends_before_it_begins(project, start, sandbox):
    project.fill(FEW_ROWS)
    del project.environment["SHARDS"]
    assert start(0).wait(SECONDS_TO_RUN) == 1
    assert "'SHARDS' referenced but not set" in project.log(0)
    assert sandbox.request_count == 0


# Engines


def run_engine(engine, *command, **environment):
    """Run a program of an engine that has an environment of its own."""
    python = python_with(FOLDER / engine / "requirements.txt")
    done = subprocess.run(
        [python.with_name(command[0]), *command[1:]],
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_TO_RUN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LOOK_BACK = """
import json
from dagster import DagsterEventType, DagsterInstance

with DagsterInstance.get() as instance:
    (run,) = instance.get_runs()
    steps = {step.step_key: step.status.value for step in instance.get_run_step_stats(run.run_id)}
    (sums,) = (
        event.dagster_event.step_output_data.metadata
        for event in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_OUTPUT)
        if event.dagster_event.step_key == "add_up"
    )
print(json.dumps([run.status.value, steps, {name: sums[name].value for name in sums}]))
"""


@pytest.mark.slow  # installs an engine
@NEEDS_MELTANO
@UNHURRIED
def test_a_dagster_job_loads_all_shards_and_adds_up(project, sandbox, tmp_path):
    project.fill(FEW_ROWS)
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(FOLDER / "dagster" / "dagster.yaml", home)
    environment = project.environment | {"DAGSTER_HOME": str(home)}
    job = ("-f", project.folder / "dagster" / "job.py", "-j", "load_prospects")
    run_engine("dagster", "dagster", "job", "execute", *job, **environment)
    assert keys(sandbox) == each_once(FEW_ROWS)
    status, steps, sums = json.loads(
        run_engine("dagster", "python", "-c", LOOK_BACK, **environment).splitlines()[-1]
    )
    assert status == "SUCCESS"
    assert steps == dict.fromkeys([*LOADS, "add_up"], "SUCCESS")
    assert {name: count for name, count in sums.items() if count} == project.totals()
    assert project.totals() == {"received": FEW_ROWS, "created": FEW_ROWS}


PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
tasks = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
shards = {task.task_id: task.env for task in dag.tasks if hasattr(task, "env")}
print(json.dumps([dag.dag_id, tasks, shards]))
"""


@pytest.mark.slow  # installs an engine
@UNHURRIED
def test_airflow_parses_the_dag_with_a_task_for_each_shard_and_one_behind_them(tmp_path):
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "MELTANO_PROJECT_ROOT": "/srv/project",
    }
    out = run_engine("airflow", "python", "-c", PARSE, FOLDER / "airflow", **environment)
    (line,) = (line for line in out.splitlines() if line.startswith('["'))
    name, tasks, shards = json.loads(line)
    assert name == "load_prospects"
    assert tasks == {**{load: ["add_up"] for load in LOADS}, "add_up": []}
    assert [shards[load]["SHARD"] for load in LOADS] == ["0", "1", "2", "3"]
    assert {shards[load]["SHARDS"] for load in LOADS} == {str(SHARDS)}
    assert len({shards[load]["MELTANO_SYS_DIR_ROOT"] for load in LOADS}) == SHARDS
