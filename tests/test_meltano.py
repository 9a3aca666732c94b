"""A run that ends early under the real Meltano: the tap unharmed, STATE kept, no row lost."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from target_outreach.sandbox import Sandbox

BIN = str(Path(sys.executable).parent)
MELTANO = shutil.which("meltano", path=BIN)
ROWS = 3
REQUESTS = 3
STATE_ID = "test:tap-rows-to-target-outreach"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MELTANO is None, reason="Meltano is not installed"),
]

# Behind the rows come megabytes that no buffer takes; at first they wait until the target, which
# may send no more, has every reason to be gone.
TAP = """import json, pathlib, sys, time

def write(**message):
    sys.stdout.write(json.dumps(message) + "\\n")

def stream(name, **columns):
    schema = {{"type": "object", "properties": columns}}
    write(type="SCHEMA", stream=name, schema=schema, key_properties=["id"])

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
at = json.loads(pathlib.Path(options["--state"]).read_text())["at"] if "--state" in options else 0
stream("prospects", id={{"type": "integer"}}, email={{"type": "string"}})
stream("notes", id={{"type": "integer"}}, text={{"type": "string"}})
for n in range(at + 1, {rows} + 1):
    write(type="RECORD", stream="prospects", record={{"id": n, "email": f"p{{n}}@example.test"}})
    write(type="STATE", value={{"at": n}})
sys.stdout.flush()
for _ in range(3000):
    if at or pathlib.Path("spent").exists():
        break
    time.sleep(0.01)
for n in range(100):
    write(type="RECORD", stream="notes", record={{"id": n, "text": "x" * 30_000}})
sys.stdout.flush()
with open("tap.log", "a") as log:
    print(at, "done", file=log)
"""
LOADER = {
    "max_requests": REQUESTS,
    "max_parallel_requests": 1,
    "batch_size_rows": 2,
    "access_token": "invented",
    "streams": [{"stream": "notes", "object": "none"}],
}


@pytest.fixture
def sandbox(tmp_path, watcher):
    """Start a sandbox that tells the tap by a file when the first run has spent its requests."""

    def observe(exchange):
        watcher(exchange)
        if running.request_count >= REQUESTS:
            (tmp_path / "spent").touch()

    with Sandbox(tmp_path / "outreach.db", observer=observe) as running:
        yield running


@pytest.fixture
def project(tmp_path, sandbox):
    """Make a Meltano project of a tap that is a script and of the target as it is installed."""
    script = tmp_path / "tap.py"
    script.write_text(TAP.format(rows=ROWS), encoding="utf-8")
    tap = tmp_path / "tap.sh"  # a path with a space cannot follow #!
    command = shlex.join(["exec", sys.executable, str(script)])
    tap.write_text(f'#!/bin/sh\n{command} "$@"\n', encoding="utf-8")
    tap.chmod(0o700)
    loader = LOADER | {"api_url": sandbox.api_url, "report_path": str(tmp_path / "report.json")}
    plugins = {
        "extractors": [plugin("tap-rows", "./tap.sh", capabilities=["state"])],
        "loaders": [
            plugin(
                "target-outreach",
                f"{BIN}/target-outreach",
                settings=[{"name": name} for name in loader],
                config=loader,
            )
        ],
    }
    document = {
        "version": 1,
        "default_environment": "test",
        "environments": [{"name": "test"}],
        "send_anonymous_usage_stats": False,
        "cli": {"disable_version_check": True},
        "plugins": plugins,
    }
    # JSON is YAML.
    (tmp_path / "meltano.yml").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


def plugin(name, executable, **more):
    return {"name": name, "namespace": name.replace("-", "_"), "executable": executable} | more


def meltano(project, *arguments):
    """Run Meltano and return how it ended, what it printed, and its log as objects."""
    done = subprocess.run(
        [MELTANO, "--log-format", "json", "--environment", "test", *arguments],
        cwd=project,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )
    entries = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return done.returncode, done.stdout, entries


def block(entries):
    (entry,) = (one for one in entries if one["event"] == "Block run completed")
    return entry


@pytest.mark.timeout(300)
def test_a_run_that_ends_early_under_meltano_is_gone_on_with_until_all_is_delivered(
    project, sandbox
):
    delivered = [0]
    while delivered[-1] < ROWS:
        code, _, entries = meltano(project, "run", "tap-rows", "target-outreach")
        delivered.append(sandbox.store.count("prospects"))
        assert delivered[-1] > delivered[-2]
        assert not [one for one in entries if "broken" in json.dumps(one).lower()]
        assert not [one for one in entries if "environment is not read" in one["event"]]
        report = json.loads((project / "report.json").read_text(encoding="utf-8"))
        if code != 0:
            assert block(entries)["success"] is False
            assert block(entries)["exit_codes"] == {"loaders": 4}
            assert report["exit_code"] == 4
            assert report["requests"] == REQUESTS
    assert len(delivered) > 2
    assert code == 0
    assert report["exit_code"] == 0
    assert block(entries)["success"] is True
    _, kept, _ = meltano(project, "state", "get", STATE_ID)
    assert json.loads(kept)["singer_state"] == {"at": ROWS}
    # Each time the tap began where the STATE that Meltano kept says, and wrote all that it had.
    tap_log = (project / "tap.log").read_text(encoding="utf-8").splitlines()
    assert tap_log == [f"{at} done" for at in delivered[:-1]]
    addresses = [one["attributes"]["emails"] for one in sandbox.store.all("prospects")]
    assert sorted(addresses) == [[f"p{n}@example.test"] for n in range(1, ROWS + 1)]
