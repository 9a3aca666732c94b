"""What the process owes its surroundings: no value in a log, files that only their owner may read,
memory that stays flat, and an end that nobody has to wait for."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import processes
import pytest
from conftest import lines, record, schema, state

from target_outreach.engine.batches import Batches
from target_outreach.sandbox import Fault, Sandbox

SLOW = bool(os.environ.get("CI"))
SECRET = "whisper-4711"


def people(count, **values):
    return [record("prospects", id=n, emails=f"p{n}@x.test", **values) for n in range(count)]


@pytest.fixture
def hasty(config, tmp_path):
    """Start the target as a process in which a constant has another value."""
    with ExitStack() as started:

        def _start(constant, **settings):
            path = tmp_path / "hasty.json"
            path.write_text(json.dumps(config | settings), encoding="utf-8")
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            command, before = ["--config", str(path)], HASTY.format(constant)
            process = started.enter_context(processes.Popen(command, before=before, **pipes))
            started.callback(process.kill)
            return process

        yield _start


HASTY = """
from target_outreach.engine import loop
from target_outreach.outreach import outages
assert (loop.GRACE, outages.FIRST_WAIT) == (20, 0.5)
{}
"""


def with_states(rows):
    """Put a STATE behind each row that says how many rows came before it."""
    messages = [schema("prospects")]
    for n, row in enumerate(rows, 1):
        messages += [row, state({"n": n})]
    return messages


# Logs

QUOTED = json.dumps({"errors": [{"id": "x", "title": "T", "detail": f"{SECRET} is no good."}]})
ELSEWHERE = f"http://127.0.0.2:9/{SECRET}@x.test"
PASSING = [
    Fault("reset_before", method="GET"),
    Fault("truncate", method="GET"),
    Fault("garbage", method="GET", body=SECRET),
    Fault("hang", method="GET", seconds=2),
    Fault("status", method="GET", status=500, body=QUOTED),
    Fault("reset_after", method="POST"),
    Fault("status_after", method="POST", status=502, body=SECRET),
    Fault("status", method="POST", status=422, body=QUOTED),
    Fault("truncate", method="PATCH"),
    Fault("status", method="PATCH", status=400, body=QUOTED),
]
FATAL = [
    Fault("status", method="GET", status=302, headers=(("Location", ELSEWHERE),)),
    Fault(
        "status",
        method="GET",
        status=200,
        body=json.dumps({"data": [], "links": {"next": ELSEWHERE}}),
    ),
    Fault("status", method="GET", status=200, body=json.dumps({"data": [SECRET]})),
    Fault("status", method="GET", status=403, body=QUOTED),
    Fault("status", method="POST", status=415, body=QUOTED),
    Fault("status", status=401, body=QUOTED),
]


def about_a_secret():
    """Send rows that are created, updated, rejected and refused, all with the same word in them."""
    rows = [
        record("prospects", id=1, emails=f"{SECRET}@x.test", title=SECRET),
        record("prospects", id=2, emails=f"{SECRET}+known@x.test", title=SECRET),
        record("prospects", id=3, emails=SECRET),
        record("prospects", id=4, emails=f"{SECRET}@outreach.io", last_name=f"O'{SECRET}"),
        record("prospects", id=5, emails=f"{SECRET}+2@x.test", phone=SECRET, tags=[SECRET]),
    ]
    return [schema("prospects"), *rows]


def assert_silent(seen, config):
    """Look for a value, a query, the token and a traceback in what may be seen."""
    for word in (SECRET, "filter", "Authorization", config["access_token"], "Traceback"):
        assert word not in seen


@pytest.fixture
def debug(monkeypatch):
    """Let the process, and all libraries in it, log what they can."""
    monkeypatch.setenv("TARGET_OUTREACH_LOGLEVEL", "DEBUG")
    monkeypatch.setenv("LOGLEVEL", "DEBUG")


@pytest.mark.slow
@pytest.mark.usefixtures("debug")
def test_no_log_of_a_process_holds_a_value_whether_its_requests_succeed_or_fail(
    hasty, sandbox, config
):
    sandbox.store.seed("prospects", {"emails": [f"{SECRET}+known@x.test"], "title": "Old"})
    for fault in PASSING:
        sandbox.add_fault(fault)
    settings = {"request_timeout_seconds": 1, "max_parallel_requests": 1}
    process = hasty("outages.FIRST_WAIT = 0.01", **settings)
    _, err = process.communicate(lines(about_a_secret()).encode(), timeout=60)
    assert process.returncode == 3
    assert b"DEBUG" in err
    report = json.loads(Path(config["report_path"]).read_text(encoding="utf-8"))
    assert_silent(err.decode() + json.dumps(report), config)
    assert SECRET in Path(report["rejects_file"]).read_text(encoding="utf-8")
    assert {entry.status for entry in sandbox.requests} >= {None, 200, 201, 400, 422, 500, 502}


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("fault", FATAL, ids=lambda fault: f"{fault.method} {fault.status}")
def test_no_sentence_that_ends_a_run_holds_a_value(execute, sandbox, config, fault):
    sandbox.add_fault(replace(fault, times=None))
    run = execute(about_a_secret())
    assert run.exit_code == 1
    assert run.log.count("ERROR") == 1
    assert_silent(run.log + json.dumps(run.report), config)


def test_no_sentence_about_an_address_that_cannot_be_reached_holds_a_value(
    sync, config, monkeypatch
):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    run = sync(about_a_secret(), api_url="http://127.0.0.1:9/api/v2")
    assert run.exit_code == 1
    assert "Connection refused" in run.log
    assert_silent(run.log + json.dumps(run.report), config)


def test_an_internal_error_is_told_by_all_its_frames_and_not_by_its_words(
    sync, config, monkeypatch
):
    def fail(*_arguments):
        raise ValueError(SECRET)

    monkeypatch.setattr(Batches, "deliver_batch", fail)
    run = sync(about_a_secret())
    assert run.exit_code == 1
    (told,) = [line for line in run.log.splitlines() if "Internal error (ValueError)" in line]
    frames = re.findall(r"(\S+\.py):\d+ (\w+)", told.partition("this line: ")[2])
    assert frames[0] == ("target_outreach/running.py", "run")
    assert ("singer_sdk/plugin_base.py", "listen") in frames
    assert frames[-1] == ("tests/test_hygiene.py", "fail")
    assert_silent(run.log + json.dumps(run.report), config)


# Files


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("folder", ["given", "default"])
def test_rejects_are_for_their_owner_only_whatever_the_umask(sync, tmp_path, folder):
    path = {"given": str(tmp_path / "new" / "rejects"), "default": None}[folder]
    run = sync([schema("prospects"), record("prospects", emails="nope")], rejects_path=path)
    file = Path(run.report["rejects_file"])
    assert mode(file) == 0o600
    assert mode(file.parent) == 0o700
    assert (tmp_path / "state home" in file.parents) == (folder == "default")


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("is_there", [False, True])
def test_a_plan_is_for_its_owner_only_even_where_an_older_one_was_not(sync, tmp_path, is_there):
    plan = tmp_path / "plan.jsonl"
    if is_there:
        plan.write_text("older\n")
        plan.chmod(0o644)
    sync([schema("prospects"), *people(1)], dry_run=True, changes_path=str(plan))
    assert mode(plan) == 0o600
    assert json.loads(plan.read_text())["action"] == "create"


# Streams that are closed


@pytest.mark.parametrize("mode", ["<&-", "< /dev/null"])
def test_a_closed_standard_input_is_an_error_and_an_empty_one_is_not(mode, config, tmp_path):
    done = in_shell(f'"$@" {mode}', config, tmp_path)
    assert done.returncode == (1 if mode == "<&-" else 0)
    assert ("Standard input is closed." in done.stderr) == (mode == "<&-")
    assert "Traceback" not in done.stderr


def test_a_standard_output_that_is_closed_from_the_start_is_said_in_one_sentence(
    config, tmp_path, sandbox
):
    done = in_shell('"$@" >&-', config, tmp_path, with_states(people(1)))
    assert done.returncode == 1
    assert done.stderr.count("ERROR") == 1
    assert "STATE cannot be written to standard output, which is closed" in done.stderr
    assert sandbox.store.count("prospects") == 1


def test_a_closed_standard_error_changes_nothing_else(config, tmp_path, sandbox):
    done = in_shell('"$@" 2>&-', config, tmp_path, with_states(people(2)))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == '{"n":2}'
    assert sandbox.store.count("prospects") == 2


def in_shell(line, config, tmp_path, messages=()):
    """Run a line of shell in which `$@` is the target."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    target = [sys.executable, "-m", "target_outreach", "--config", str(path)]
    return subprocess.run(
        ["sh", "-c", line, "sh", *target],
        input=lines(messages),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=60,
    )


# The end

TAP = """
import sys
for line in open(sys.argv[1], encoding="utf-8"):
    sys.stdout.write(line)
for number in range(200_000):
    sys.stdout.write('{"type":"STATE","value":{"late":%d}}\\n' % number)
sys.stdout.flush()
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["max_requests", "max_wait_minutes"])
def test_a_run_that_ends_early_reads_its_input_to_the_end(start, sandbox, tmp_path, limit):
    sandbox.profile = replace(sandbox.profile, rate_window_seconds=10**9)
    if limit == "max_wait_minutes":
        sandbox.profile = replace(sandbox.profile, rate_limit=10)
    rows = tmp_path / "rows.singer"
    rows.write_text(lines(with_states(people(40))), encoding="utf-8")
    tap = subprocess.Popen([sys.executable, "-c", TAP, str(rows)], stdout=subprocess.PIPE)
    process = start(stdin=tap.stdout, batch_size_rows=2, **{limit: 10 * (limit == "max_requests")})
    tap.stdout.close()
    out, err = process.communicate(timeout=60)
    assert tap.wait(timeout=10) == 0
    assert process.returncode == 4
    assert limit in err.decode()
    states = [json.loads(line) for line in out.splitlines()]
    delivered = sandbox.store.count("prospects")
    assert 0 < states[-1]["n"] <= delivered < 40
    assert sandbox.request_count == 10


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_wait_for_a_limit_ends_it_at_once(start, sandbox, number, code):
    sandbox.profile = replace(sandbox.profile, rate_limit=10, rate_window_seconds=10**9)
    process = start(batch_size_rows=2, max_wait_minutes=10**9)
    process.stdin.write(lines(with_states(people(40))).encode())
    process.stdin.close()
    wait_for_log(process, b"Waiting until")
    began = time.monotonic()
    process.send_signal(number)
    process.stdin = None
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - began < 5
    assert b"Traceback" not in err
    delivered = sandbox.store.count("prospects")
    assert json.loads(out.splitlines()[-1])["n"] <= delivered < 10
    assert sandbox.request_count == 10


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_it_is_asked_whose_the_rejects_are_ends_the_run_soon(
    start, sandbox, number, code
):
    sandbox.add_fault(Fault("status", times=None))
    process = start(max_outage_minutes=5)
    rows = [schema("prospects"), record("prospects", emails="nope")]
    process.stdin.write(lines(rows).encode())
    process.stdin.close()
    wait_for_log(process, b"Retrying")
    time.sleep(4)  # by then the waits between two tries are long
    began = time.monotonic()
    process.send_signal(number)
    process.stdin = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_scopes_are_asked_for_a_second_object_ends_the_run_by_its_number(
    start, sandbox, number, code
):
    sandbox.add_fault(Fault("status", path="/api/v2/", times=None))
    process = start(batch_size_rows=1)
    rows = [
        schema("prospects"),
        record("prospects", emails="a@x.test"),
        schema("accounts"),
        record("accounts", name="Acme"),
    ]
    process.stdin.write(lines(rows).encode())
    process.stdin.close()
    wait_for_log(process, b"Retrying")
    process.send_signal(number)
    process.stdin = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"The run ends." not in err


AT_THE_START = """
import os, sys
NUMBER = int(sys.argv.pop())
from target_outreach.cli import main
from target_outreach.messages import MessageReader
from target_outreach.target import TargetOutreach

class Signalled(MessageReader):
    def __init__(self):
        os.kill(os.getpid(), NUMBER)
        super().__init__()

TargetOutreach.message_reader_class = Signalled
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_run_has_begun_ends_it_by_its_number(tmp_path, number):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"sandbox": str(tmp_path / "outreach.db")}), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", AT_THE_START, "--config", str(path), str(int(number))],
        input=b"",
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 128 + number
    assert b"Internal error" not in run.stderr
    assert b"Ended by" in run.stderr


@pytest.mark.slow
def test_state_covers_nearly_all_that_was_delivered_before_a_signal(start, sandbox):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.01)
    for _ in range(8 if SLOW else 2):
        before = sandbox.store.count("prospects")
        asked = sandbox.request_count
        process = start(batch_size_rows=100)
        rows = [record("prospects", id=n, emails=f"p{n}.{asked}@x.test") for n in range(400)]
        process.stdin.write(lines(with_states(rows)).encode())
        process.stdin.flush()
        while sandbox.store.count("prospects") < before + 30:
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 143
        delivered = sandbox.store.count("prospects") - before
        assert delivered - json.loads(out.splitlines()[-1])["n"] <= 20


def wait_for_log(process, words):
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"the target never said {words!r}")


GRACE = 20 if SLOW else 2


@pytest.mark.slow
def test_a_signal_waits_for_a_hanging_request_no_longer_than_its_grace(hasty, sandbox):
    sandbox.add_fault(Fault("hang", method="POST", after=2, times=None, seconds=50))
    process = hasty(f"loop.GRACE = {GRACE}", batch_size_rows=1)
    process.stdin.write(lines(with_states(people(4))).encode())
    process.stdin.flush()
    while sandbox.request_count < 8:  # four lookups, two creates, and two that hang
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 143
    assert GRACE - 1 < time.monotonic() - began < GRACE + 5
    said = f"Waiting for the writes in flight, for {GRACE} seconds at most. A second signal ends"
    assert said.encode() in err
    assert json.loads(out.splitlines()[-1]) == {"n": 2}
    assert b"Traceback" not in err
    assert sandbox.store.count("prospects") == 2


# Memory

#: `benchmarks/million.py` sends a million, and looks at the memory too.
ROWS = 200_000 if SLOW else 40_000
GROWTH = 8192  # kB


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the memory in use")
def test_memory_stays_flat_however_many_records_come(start, tmp_path):
    with Sandbox(tmp_path / "large.db", request_log=10) as sandbox:
        sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(1000)])
        process = start(api_url=sandbox.api_url, sync_mode="update", stdin=subprocess.PIPE)
        columns = {"emails": {"type": "string"}, "title": {"type": "string"}}
        process.stdin.write(lines([schema("prospects", columns)]).encode())
        measured = [resident(process, upto) for upto in feed(process)]
        process.stdin.close()
        process.stdin = None
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert max(measured[1:]) - measured[0] < GROWTH


def feed(process):
    """Send rows, mostly of strangers; yield the number sent each time a quarter is settled."""
    for n in range(1, ROWS + 1):
        row = {"emails": f"p{n}@x.test", "title": "Head of things"}
        message = {"type": "RECORD", "stream": "prospects", "record": row}
        process.stdin.write(json.dumps(message).encode() + b"\n")
        if n % (ROWS // 4) == 0:
            process.stdin.write(lines([state({"n": n})]).encode())
            process.stdin.flush()
            yield n


def resident(process, upto):
    """Return the kilobytes of memory that a process uses once it has emitted a STATE."""
    assert json.loads(process.stdout.readline()) == {"n": upto}
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0])
