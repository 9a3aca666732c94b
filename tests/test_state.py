"""STATE never runs ahead, whatever happens to the run."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from conftest import lines, record, schema, state

from target_outreach.delivery.ledger import Ledger
from target_outreach.running import run
from target_outreach.sandbox import Fault
from target_outreach.target import TargetOutreach

KILLS = 6 if os.environ.get("CI") else 3


def rows(count, start=0):
    """Prospects with a STATE after each."""
    messages = [schema("prospects")]
    for n in range(start, count):
        messages += [record("prospects", id=n, emails=[f"p{n}@example.test"]), state({"at": n})]
    return messages


def addresses(sandbox):
    return sorted(
        address
        for prospect in sandbox.store.all("prospects")
        for address in prospect["attributes"]["emails"]
    )


def expected(count):
    return sorted(f"p{n}@example.test" for n in range(count))


def test_state_waits_for_the_slowest_record():
    ledger = Ledger()
    first, second, third = (ledger.receive("s") for _ in range(3))
    ledger.checkpoint({"at": 3})
    ledger.settle("s", [second, third])
    assert ledger.release() is None
    assert ledger.unsettled("s") == 1
    ledger.settle("s", [first])
    assert ledger.release() == {"at": 3}
    assert ledger.release() is None


def test_the_newest_state_that_is_covered_is_emitted_and_none_behind_a_held_record():
    ledger = Ledger()
    for n in range(4):
        number = ledger.receive("s")
        ledger.checkpoint({"at": n})
        ledger.settle("s", [number])
    ledger.hold(2)
    assert ledger.release() == {"at": 1}


def test_a_state_before_any_record_is_emitted_at_once(sync):
    assert sync([state({"fresh": True})]).states == [{"fresh": True}]


def test_state_keeps_every_digit_it_came_with(sync):
    run = sync(['{"type": "STATE", "value": {"at": 12345678901234567.125}}'])
    assert run.stdout.strip() == '{"at":12345678901234567.125}'


def test_nothing_but_state_is_printed(execute):
    run = execute([schema("prospects"), record("prospects", emails="a@x.test"), state({"n": 1})])
    assert run.stdout == '{"n":1}\n'


def test_a_rejected_record_is_on_disk_before_state_passes_it(sync):
    run = sync([schema("prospects"), record("prospects", emails="nope"), state({"n": 1})])
    assert run.exit_code == 3
    assert run.states == [{"n": 1}]
    assert [line["type"] for line in run.rejects] == ["SCHEMA", "RECORD"]
    assert run.rejects[1]["error"]["field"] == "emails"


@pytest.mark.parametrize(
    ("policy", "code", "last_state", "created"),
    [("fail", 3, 3, 2), ("ignore", 0, 3, 2), ("hold", 3, 1, 2), ("abort", 1, 1, 1)],
)
@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_a_reject_means_what_on_reject_says(  # noqa: PLR0917 - a case of a table
    sync, sandbox, policy, code, last_state, created, rows_a_batch
):
    messages = [
        schema("prospects"),
        record("prospects", emails="a@x.test"),
        state({"n": 1}),
        record("prospects", emails="nope"),
        state({"n": 2}),
        record("prospects", emails="c@x.test"),
        state({"n": 3}),
    ]
    run = sync(messages, on_reject=policy, batch_size_rows=rows_a_batch)
    assert run.exit_code == code
    assert run.states[-1] == {"n": last_state}
    assert sandbox.store.count("prospects") == created


@pytest.mark.slow
def test_a_revoked_token_ends_the_run_with_one_sentence_and_the_state_of_what_was_delivered(
    execute, sandbox
):
    def revoke_after_a_while():
        while sandbox.store.count("prospects") < 30:
            time.sleep(0.005)
        sandbox.revoke_all()

    threading.Thread(target=revoke_after_a_while, daemon=True).start()
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.005)
    run = execute(rows(200), batch_size_rows=10)
    assert run.exit_code == 1
    errors = [line for line in run.log.splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert "access token" in errors[0]
    assert "Traceback" not in run.log
    delivered = sandbox.store.count("prospects")
    assert 0 < run.states[-1]["at"] + 1 <= delivered < 200
    counts = run.counts("prospects")
    assert counts["created"] == delivered
    assert counts["received"] == counts["created"] + counts["unsettled"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_settles_what_is_in_flight_and_exits_by_its_number(start, sandbox, number, code):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.03)
    process = start(batch_size_rows=5)
    process.stdin.write(lines(rows(100)).encode())
    process.stdin.flush()
    while sandbox.store.count("prospects") < 8:
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=25)
    assert process.returncode == code
    assert b"Traceback" not in err
    states = [json.loads(line) for line in out.splitlines()]
    delivered = {one["attributes"]["emails"][0] for one in sandbox.store.all("prospects")}
    covered = states[-1]["at"] + 1 if states else 0
    assert {f"p{n}@example.test" for n in range(covered)} <= delivered
    assert len(delivered) < 100


@pytest.mark.slow
def test_a_signal_while_the_tap_is_silent_ends_the_run_at_once(start):
    process = start()
    process.stdin.write(lines([schema("prospects"), state({"n": 0})]).encode())
    process.stdin.flush()
    assert process.stdout.readline() == b'{"n":0}\n'
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("first", [[], [state({"n": 0})]], ids=["at once", "after a STATE"])
def test_a_batch_that_is_old_enough_is_delivered_while_the_tap_is_silent(
    config, sandbox, monkeypatch, first
):
    monkeypatch.setattr("target_outreach.collecting.LONGEST_BATCH_AGE", 0.05)
    monkeypatch.setattr("target_outreach.inbox.TICK_SECONDS", 0.02)
    reading, writing = os.pipe()
    seen = []

    def feed():
        with os.fdopen(writing, "w", encoding="utf-8") as tap:
            tap.write(lines([*first, *rows(1)[:2]]))
            tap.flush()
            until = time.monotonic() + 5
            while not sandbox.store.count("prospects") and time.monotonic() < until:
                time.sleep(0.01)
            seen.append(sandbox.store.count("prospects"))

    tap = threading.Thread(target=feed)
    tap.start()
    with os.fdopen(reading, encoding="utf-8") as file_input, redirect_stdout(io.StringIO()):
        code = run(TargetOutreach(config=config), file_input)
    tap.join()
    assert code == 0
    assert seen == [1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_program_is_still_loading_leaves_no_traceback(number, code):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "target_outreach"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while b" click" not in process.stderr.readline():
        pass
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert b"Traceback" not in err


@pytest.mark.slow
def test_a_second_signal_exits_at_once(start, sandbox):
    sandbox.add_fault(Fault("hang", method="POST", times=None, seconds=30))
    process = start()
    process.stdin.write(lines(rows(3)).encode())
    process.stdin.close()
    while sandbox.request_count < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143
    assert time.monotonic() - began < 3
    process.stdin = None


@pytest.mark.slow
def test_both_signals_of_one_keystroke_under_meltano_are_one(start, sandbox):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.5)
    process = start()
    process.stdin.write(lines(rows(3)).encode())
    process.stdin.close()
    while sandbox.request_count < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) in {130, 143}
    assert json.loads(process.stdout.readlines()[-1]) == {"at": 2}
    process.stdin = None


@pytest.mark.slow
def test_a_batch_closes_by_age_while_no_input_comes(start):
    process = start()
    process.stdin.write(lines(rows(2)).encode())
    process.stdin.flush()
    began = time.monotonic()
    assert json.loads(process.stdout.readline()) == {"at": 1}
    assert 8 < time.monotonic() - began < 14
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdin = None


@pytest.mark.slow
def test_a_closed_stdout_stops_the_run_with_one_sentence(start):
    process = start(batch_size_rows=1)
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(lines(rows(5)).encode(), timeout=30)
    assert process.returncode == 1
    assert err.decode().count("ERROR") == 1
    assert "standard output" in err.decode()


def test_newer_records_are_written_after_older_ones_when_the_schema_changes(sync, sandbox):
    wider = {"nickname": {"type": "string"}}
    first = schema("prospects")
    second = schema("prospects", first["schema"]["properties"] | wider)
    sync(
        [
            first,
            record("prospects", emails="a@x.test", title="old"),
            second,
            record("prospects", emails="a@x.test", title="new", nickname="N"),
        ]
    )
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "new"
    assert person["attributes"]["nickname"] == "N"


@pytest.mark.parametrize("rows_a_batch", [1, 3, 500])
def test_the_last_of_one_key_wins_across_batches_and_streams(sync, sandbox, rows_a_batch):
    messages = [schema("a-prospects"), schema("b-prospects")]
    for n, stream in zip(range(20), itertools.cycle("ab"), strict=False):
        messages.append(record(f"{stream}-prospects", emails=["k@x.test"], title=str(n)))
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.005)
    run = sync(messages, batch_size_rows=rows_a_batch)
    (person,) = sandbox.store.all("prospects")
    totals = [run.counts(f"{stream}-prospects") for stream in "ab"]
    assert sum(count.get("created", 0) for count in totals) == 1
    if rows_a_batch < 20:
        assert person["attributes"]["title"] == "19"


def kill_after(process, sandbox, count, number):
    while sandbox.store.count("prospects") < count and process.poll() is None:
        time.sleep(0.001)
    if process.poll() is None:
        process.send_signal(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_at_any_moment_and_run_again_from_the_last_state_each_record_is_there_once(
    start, sandbox, number
):
    chance = random.Random(number)  # noqa: S311 - seeded, to be repeatable
    total, at = 60, 0
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.004)
    for _ in range(KILLS):
        process = start(batch_size_rows=chance.choice([1, 4, 20]), max_parallel_requests=3)
        there = sandbox.store.count("prospects")
        threading.Thread(
            target=kill_after,
            args=(process, sandbox, chance.randint(there, min(there + 4, total)), number),
            daemon=True,
        ).start()
        out, _ = process.communicate(lines(rows(total, at)).encode(), timeout=60)
        states = [json.loads(line) for line in out.splitlines() if line.endswith(b"}")]
        at = states[-1]["at"] + 1 if states else at
        assert set(expected(at)) <= set(addresses(sandbox))
        if process.returncode == 0:
            break
    process = start()
    process.communicate(lines(rows(total, at)).encode(), timeout=60)
    assert process.returncode == 0
    assert addresses(sandbox) == expected(total)
