"""What a run says of itself while it goes on, and at its end."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import struct
import subprocess
import threading
import time
from datetime import timedelta
from itertools import pairwise

import processes
import pyte
import pytest
from conftest import lines, record, schema, state
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from target_outreach.delivery.display import Display
from target_outreach.delivery.progress import Moment, line_of
from target_outreach.delivery.status import MOST_POINTS, Point, Timeline
from target_outreach.delivery.tally import OUTCOMES, Count
from target_outreach.outreach.pacing import Budget, Pacer
from target_outreach.plain_text import printable, width
from target_outreach.sandbox import Fault

HASTY = """
from target_outreach.delivery import progress
assert (progress.INTERVAL, progress.HEARTBEAT) == (10, 60)
progress.INTERVAL, progress.HEARTBEAT = {interval}, {heartbeat}
"""


def people(count, start=0):
    rows = range(start, start + count)
    return [record("prospects", id=n, emails=f"p{n}@example.test") for n in rows]


@pytest.fixture
def hasty(config, tmp_path):
    """Start the target as a process that speaks more often."""
    started = []

    def _start(
        interval=0.1, heartbeat=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings
    ):
        path = tmp_path / "hasty.json"
        path.write_text(json.dumps(config | settings), encoding="utf-8")
        code = HASTY.format(interval=interval, heartbeat=heartbeat)
        process = processes.Popen(
            ["--config", str(path)],
            before=code,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            # The readline of a process that started this one has set the width of another terminal.
            env={name: text for name, text in os.environ.items() if name != "COLUMNS"},
        )
        started.append(process)
        return process

    yield _start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def say(process, *messages):
    process.stdin.write(lines(messages).encode())
    process.stdin.flush()


def end(process):
    """Close the input, and return what came out of the process."""
    out, err = process.communicate(timeout=60)
    return (out or b"").decode(), (err or b"").decode()


def read_until(file, words):
    """Read lines until one has these words, and return them all."""
    seen = []
    for line in file:
        seen.append(line.decode())
        if words in seen[-1]:
            return seen
    pytest.fail(f"{words!r} is not in {seen}")


# The log


@pytest.mark.slow
def test_a_long_run_says_now_and_then_how_far_it_is(hasty):
    process = hasty(batch_size_rows=5)
    say(process, schema("prospects"), *people(5), record("prospects", id=9, emails="nope"))
    read_until(process.stderr, "prospects: 6 received, 5 created")
    out, err = end(process)
    assert process.returncode == 3
    assert out == ""
    assert "created_count" in err


@pytest.mark.slow
def test_a_line_tells_what_is_left_of_the_limit(hasty):
    process = hasty(batch_size_rows=1)
    say(process, schema("prospects"), *people(2))
    line = read_until(process.stderr, "2 received, 2 created")[-1]
    assert re.search(
        r"; 4 requests, 9,99\d of 10,000 left until \d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d)$",
        line.strip(),
    )
    end(process)


@pytest.mark.slow
def test_a_short_run_says_nothing_on_its_way(execute):
    run = execute([schema("prospects"), *people(20), state({"n": 20})])
    assert run.exit_code == 0
    assert not re.search(r"\d received", run.log)
    assert run.stdout == '{"n":20}\n'


@pytest.mark.slow
def test_nothing_new_is_told_only_now_and_then(hasty):
    process = hasty(batch_size_rows=1, heartbeat=0.5)
    say(process, schema("prospects"), *people(1))
    read_until(process.stderr, "1 received, 1 created")
    began = time.monotonic()
    (line,) = read_until(process.stderr, "requests")
    assert time.monotonic() - began >= 0.4
    assert "received" not in line
    end(process)


def test_one_is_not_spoken_of_as_many():
    names = [f"stream{n}" for n in range(5)]
    counts = dict.fromkeys(names, Count(1, dict.fromkeys(OUTCOMES, 0)))
    one = Moment(Point(requests=1), counts)
    assert line_of(one, names).endswith("; 1 more stream; 1 request")


def moment(*, budget=None, ended=True, waited=0.0, resumes_in=None):
    counts = Count(1000, dict.fromkeys(OUTCOMES, 0) | {"created": 800})
    point = Point(seconds=100 + waited, received=1000, settled=800, requests=1600, waited=waited)
    return Moment(point, {"prospects": counts}, budget, resumes_in, input_ended=ended)


def budget(spendable, limit=10_000, minutes=30):
    return Budget(limit, spendable, timedelta(minutes=minutes), spendable)


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (moment(), 25),
        (moment(ended=False), None),
        (moment(budget=budget(400)), 25),
        (moment(budget=budget(399)), 30 * 60 + 25),
        (moment(budget=budget(0, limit=399)), None),
        (moment(waited=1000), 25),
        (moment(waited=1000, resumes_in=timedelta(seconds=50)), 75),
        (moment(budget=budget(0, minutes=0)), 25),
    ],
    ids=[
        "by its pace",
        "while the tap sends",
        "within the limit",
        "after the reset",
        "after two resets",
        "waiting is no work",
        "after a pause",
        "a window that is over",
    ],
)
def test_the_end_is_foretold_only_where_it_can_be_known(now, seconds):
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert now.ends_in == expected
    assert ("the last 200 by about" in line_of(now, ["prospects"])) == (seconds is not None)


def test_a_wait_is_told_with_its_end():
    now = moment(ended=False, resumes_in=timedelta(minutes=5))
    assert re.search(r"waiting until \d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d)$", line_of(now, []))


def test_many_streams_make_no_long_line():
    zero = Count(0, dict.fromkeys(OUTCOMES, 0))
    streams = {f"stream{n}": zero for n in range(9)}
    line = line_of(Moment(streams=streams), list(streams))
    assert "stream3" in line
    assert "stream4" not in line
    assert "5 more streams" in line


# Metrics


def metrics(log):
    points = re.findall(r"METRIC: (\{.*\})", log)
    found = {}
    for point in map(json.loads, points):
        key = (point["type"], point["metric"], point["tags"].get("stream"))
        found[key] = found.get(key, 0) + point["value"]
        assert isinstance(point["tags"]["pid"], int)
    return found


def test_metrics_add_up_to_the_report(execute, sandbox):
    sandbox.store.seed("prospects", {"emails": ["p1@example.test"]})
    deleted = record("prospects", id=7, emails="d@example.test", _sdc_deleted_at="2026-01-01")
    run = execute([schema("prospects"), *people(3), record("prospects", emails="nope"), deleted])
    found = metrics(run.log)
    counts = run.report["streams"]["prospects"]
    assert counts["created"] == 2
    for outcome in OUTCOMES:
        assert found.get(("counter", f"{outcome}_count", "prospects"), 0) == counts[outcome]
    assert found["counter", "http_request_count", None] == run.report["requests"]
    assert ("timer", "rate_limit_wait_duration", None) not in found


STRUCTURED = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "singer_sdk.logging.StructuredFormatter"}},
    "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "INFO", "handlers": ["json"]},
}


def test_metrics_reach_meltano_as_those_of_the_sdk_do(execute, monkeypatch, tmp_path):
    path = tmp_path / "logging.yml"
    path.write_text(json.dumps(STRUCTURED), encoding="utf-8")  # JSON is YAML
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(path))
    run = execute([schema("prospects"), *people(3)])
    entries = [json.loads(line) for line in run.log.splitlines() if line.startswith("{")]
    points = [entry["metric_info"] for entry in entries if "metric_info" in entry]
    (created,) = (point for point in points if point["metric"] == "created_count")
    assert (created["type"], created["value"]) == ("counter", 3)
    assert created["tags"]["stream"] == "prospects"
    assert "record_count" in {point["metric"] for point in points}  # the SDK's own


@pytest.mark.slow
def test_time_that_was_waited_is_a_metric_too(sync, sandbox):
    sandbox.profile = type(sandbox.profile)(rate_limit=10, rate_window_seconds=1)
    run = sync([schema("prospects"), *people(35)])  # more than two windows that touch can take
    waited = metrics(run.log)["timer", "rate_limit_wait_duration", None]
    assert waited == run.report["seconds_waited"]
    assert 0 < waited < run.report["seconds"]


@pytest.mark.slow
def test_threads_that_wait_together_wait_once():
    pacer = Pacer()
    pacer.pause(0.3)
    threads = [threading.Thread(target=pacer.acquire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.2 < pacer.waited < 2  # eight threads in a row would be 4 seconds
    assert pacer.resumes_in is None


# The terminal


@pytest.fixture
def terminal(hasty):
    """Run the target at a terminal of its own, and hear what it writes there."""
    pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))
    opened = []

    def _open(columns, *, stdout_too=False, **settings):
        parent, child = pty.openpty()
        opened.append(parent)
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        stdout = child if stdout_too else subprocess.PIPE
        process = hasty(stderr=child, stdout=stdout, **settings)
        os.close(child)
        return process, parent

    yield _open
    for descriptor in opened:
        os.close(descriptor)


def hear(descriptor, words=None):
    """Read from a terminal until it shows these words, or to the end of what is written there."""
    text = b""
    while words is None or words not in text:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:  # how Linux says that nobody has the other side open
            piece = b""
        if not piece:
            if words is not None:
                pytest.fail(f"{words!r} is not in {text!r}")
            break
        text += piece
    return text.decode()


def close_input(process):
    process.stdin.close()
    process.stdin = None


def rows(text, columns):
    """Return the rows of a terminal after all of this was written to it."""
    screen = pyte.HistoryScreen(columns, 200)
    pyte.Stream(screen).feed(text)
    return [row for row in (row.rstrip() for row in screen.display) if row]


@pytest.mark.slow
def test_a_terminal_shows_how_far_a_run_is_and_at_the_end_no_more(terminal):
    process, descriptor = terminal(100, batch_size_rows=2)
    say(process, schema("prospects"), *people(2))
    seen = hear(descriptor, b"2 records")
    assert re.match(
        r"2 records · [\d,]+/s · [\d.]+ s · 0 rejected · \d requests · 9,99\d of 10,000 left$",
        rows(seen, 100)[-1],
    )
    say(process, schema("accounts"), record("accounts", name="Acme"), state({"n": 1}))
    close_input(process)
    seen += hear(descriptor)
    out, _ = end(process)
    assert out == '{"n":1}\n'
    shown = rows(seen, 100)
    assert not [row for row in shown if "records ·" in row]
    assert not [row for row in shown if "METRIC" in row or re.match(r"\d{4}-\d\d-\d\d ", row)]
    assert [row for row in shown if row.startswith("accounts → accounts")]
    assert re.match(r"Done in [\d.]+ s: 3 created\.$", shown[-1])


@pytest.mark.slow
def test_state_on_the_same_terminal_has_lines_of_its_own(terminal):
    process, descriptor = terminal(80, stdout_too=True, batch_size_rows=2)
    say(process, schema("prospects"), *people(2))
    seen = hear(descriptor, b"2 records")
    say(process, *people(2, 2), state({"n": 4}))
    seen += hear(descriptor, b"4 records")
    close_input(process)
    seen += hear(descriptor)
    end(process)
    shown = rows(seen, 80)
    assert '{"n":4}' in shown
    assert not [row for row in shown if "records ·" in row]


def test_state_stays_where_the_display_has_several_lines(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", terminal)
    display = Display(Console(file=terminal, force_terminal=True, width=80, legacy_windows=False))
    display.start()
    for number in range(3):
        display.show(moment(resumes_in=timedelta(seconds=50)))
        with display.cleared():
            terminal.write(f'{{"n":{number}}}\r\n')
    display.show(moment())
    display.close()
    assert rows(terminal.getvalue().replace("\r\n", "\n").replace("\n", "\r\n"), 80) == [
        '{"n":0}',
        '{"n":1}',
        '{"n":2}',
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_what_one_line_cannot_hold_goes_on_in_the_next(columns):
    terminal = io.StringIO()
    display = Display(
        Console(file=terminal, force_terminal=True, width=columns, legacy_windows=False)
    )
    budget = Budget(10_000, 7_990, 7_990, timedelta(minutes=20))
    point = Point(seconds=160, received=3_000, settled=2_055, requests=2_002)
    display.start()
    display.show(Moment(point, budget=budget, dry_run=True))
    shown = rows(terminal.getvalue().replace("\n", "\r\n"), columns)
    display.close()
    assert max(map(len, shown)) <= columns
    assert " · ".join(shown) == (
        "2,055 records · 13/s · 2:40 min · 0 rejected · 2,002 requests · 7,990 of 10,000 left"
        " · dry run"
    )


@pytest.mark.slow
def test_the_end_of_the_input_brings_a_bar_and_a_wait_a_countdown(terminal, sandbox):
    sandbox.profile = type(sandbox.profile)(rate_limit=12, rate_window_seconds=3)
    process, descriptor = terminal(80, batch_size_rows=20)
    say(process, schema("prospects"), *people(20))
    close_input(process)
    seen = hear(descriptor, b"Waiting for Outreach: ")
    seen += hear(descriptor, b" %")  # the end of the input may be read after the wait has begun
    seen += hear(descriptor, b"Waiting for Outreach: ")
    seen += hear(descriptor, b" s")
    shown = rows(seen, 80)
    assert re.search(r"\d+ %", shown[-2])
    assert "━" in shown[-2]
    assert re.match(r"Waiting for Outreach: [\d.]+ s$", shown[-1])
    hear(descriptor)
    end(process)


@pytest.mark.slow
def test_an_outage_brings_a_countdown_to_the_next_try(terminal, sandbox):
    sandbox.add_fault(Fault("status", times=None))
    process, descriptor = terminal(80, max_outage_minutes=5)
    say(process, schema("prospects"), *people(2))
    close_input(process)
    seen = hear(descriptor, b"Next try: ")
    seen += hear(descriptor, b" s")
    assert re.match(r"Next try: \d\.?\d* s$", rows(seen, 80)[-1])
    process.terminate()
    hear(descriptor)
    end(process)


def test_of_several_retries_the_first_one_is_counted_down():
    now = [10.0]
    pacer = Pacer(clock=lambda: now[0])
    assert pacer.retries_in is None
    with pacer.retry_in(8), pacer.retry_in(5):
        now[0] = 11.0
        assert pacer.retries_in == timedelta(seconds=4)
        now[0] = 17.0
        assert pacer.retries_in == timedelta(0)
    assert pacer.retries_in is None


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 40, 80, 100, 120])
def test_nothing_on_a_terminal_is_wider_than_it(terminal, columns):
    process, descriptor = terminal(columns, batch_size_rows=2)
    many = [record("prospects", id=9, emails="nope"), record("prospects", id=9, emails="x@y.test")]
    say(process, schema("prospects"), *people(2), *many)
    seen = hear(descriptor, "records ·".encode())
    say(process, schema("accounts"), record("accounts", name="Acme"))
    close_input(process)
    seen += hear(descriptor)
    end(process)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    # What cannot be broken, since it is to be copied, may be longer.
    table = [line for line in re.split(r"[\r\n]", plain) if "/" not in line or " · " in line]
    assert max(map(width, table)) <= columns
    lines_of_streams = "\n".join(table)
    assert re.search(r"prospects:? ", lines_of_streams)
    assert re.search(r"accounts:? ", lines_of_streams)


@pytest.mark.parametrize(
    ("messages", "ending"),
    [
        ([schema("prospects"), *people(1)], r"Done in [\d.]+ s: 1 created\.$"),
        ([], r"Done in [\d.]+ s: no records\.$"),
        (
            [schema("prospects"), *people(1), record("prospects", emails="nope")],
            r"Done in [\d.]+ s \(exit 3\): 1 created, 1 rejected\.$",
        ),
        ([schema("rockets")], r"Failed \(exit 1\): .*rockets"),
    ],
    ids=["done", "nothing", "rejects", "failed"],
)
def test_the_last_line_on_a_terminal_says_how_the_run_ended(terminal, messages, ending):
    process, descriptor = terminal(500)
    say(process, *messages)
    close_input(process)
    shown = rows(hear(descriptor), 500)
    end(process)
    assert re.match(ending, shown[-1])


def test_the_command_to_type_next_is_whole_and_the_sdks_count_is_not_shown(terminal, tmp_path):
    folder = tmp_path / "a folder of rejects"
    process, descriptor = terminal(80, rejects_path=str(folder))
    say(process, schema("prospects"), *people(1), record("prospects", emails="nope"))
    close_input(process)
    seen = hear(descriptor)
    end(process)
    (file,) = folder.rglob("*.jsonl")
    config = tmp_path / "hasty.json"
    command = f"target-outreach replay {shlex.quote(str(file))} --config {shlex.quote(str(config))}"
    assert f"\n  {command}" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "")
    assert "completed processing" not in seen


def test_a_log_that_was_configured_stays_as_it_is_on_a_terminal(terminal, monkeypatch, tmp_path):
    path = tmp_path / "logging.yml"
    path.write_text(json.dumps(STRUCTURED), encoding="utf-8")  # JSON is YAML
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(path))
    process, descriptor = terminal(2000)
    say(process, schema("prospects"), *people(1))
    close_input(process)
    shown = hear(descriptor).splitlines()
    end(process)
    assert [line for line in shown if '"metric_info"' in line]
    assert not [line for line in shown if line.startswith("Done in")]


@given(st.text(max_size=60), st.integers(2, 50))
def test_no_name_of_a_stream_moves_the_cursor_or_is_too_wide(name, columns):
    shown = printable(name, columns)
    assert shown.isprintable()
    assert width(shown) <= columns


# The time line


@given(st.lists(st.floats(0.001, 500), max_size=900))
def test_a_time_line_is_bounded_and_in_order_however_long_the_run(steps):
    timeline, seconds = Timeline(), 0.0
    for number, step in enumerate(steps):
        seconds += step
        timeline.add(Point(seconds, settled=number))
    end_of_run = Point(seconds + 1, settled=len(steps))
    points = timeline.up_to(end_of_run)
    assert len(points) <= MOST_POINTS
    assert points[0] == Point()
    assert points[-1] == end_of_run
    moments = [point.seconds for point in points]
    assert moments == sorted(set(moments))


def test_points_of_a_day_are_evenly_spaced():
    timeline = Timeline()
    for second in range(86_400):
        timeline.add(Point(float(second)))
    points = timeline.up_to(Point(86_400.0))
    assert MOST_POINTS / 3 < len(points) <= MOST_POINTS
    gaps = [later.seconds - earlier.seconds for earlier, later in pairwise(points)]
    assert max(gaps) < 3 * min(gaps[:-1])
