"""What a run says of itself while it goes on, and at its end."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from conftest import lines, record, schema, state
from hypothesis import given
from hypothesis import strategies as st

from target_outreach.delivery.progress import Moment, line_of, live_words
from target_outreach.delivery.tally import OUTCOMES, Count
from target_outreach.delivery.terminal import printable, width
from target_outreach.delivery.timeline import MOST_POINTS, Point, Timeline
from target_outreach.outreach.pacing import Budget, Pacer

HASTY = """
import sys
from target_outreach.cli import main
from target_outreach.delivery import progress
assert (progress.INTERVAL, progress.HEARTBEAT) == (10, 60)
progress.INTERVAL, progress.HEARTBEAT = {interval}, {heartbeat}
main()
"""


def people(count, start=0):
    rows = range(start, start + count)
    return [record("prospects", id=n, emails=f"p{n}@example.test") for n in rows]


@pytest.fixture
def hasty(config, tmp_path):
    """Start the target as a process that speaks more often."""
    started = []

    def _start(interval=0.1, heartbeat=60, stderr=subprocess.PIPE, **settings):
        path = tmp_path / "hasty.json"
        path.write_text(json.dumps(config | settings), encoding="utf-8")
        code = HASTY.format(interval=interval, heartbeat=heartbeat)
        process = subprocess.Popen(
            [sys.executable, "-c", code, "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
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
    return out.decode(), (err or b"").decode()


def read_until(file, words):
    """Read lines until one has these words, and return them all."""
    seen = []
    for line in file:
        seen.append(line.decode())
        if words in seen[-1]:
            return seen
    pytest.fail(f"{words!r} is not in {seen}")


# The log


def test_a_long_run_says_now_and_then_how_far_it_is(hasty):
    process = hasty(batch_size_rows=5)
    say(process, schema("prospects"), *people(5), record("prospects", id=9, emails="nope"))
    read_until(process.stderr, "prospects: 6 received, 5 created")
    out, err = end(process)
    assert process.returncode == 3
    assert out == ""
    assert "created_count" in err


def test_a_line_tells_what_is_left_of_the_limit(hasty):
    process = hasty(batch_size_rows=1)
    say(process, schema("prospects"), *people(2))
    line = read_until(process.stderr, "2 received, 2 created")[-1]
    assert re.search(
        r"; 4 requests, 9,99\d of 10,000 left until \d\d:\d\d:\d\d (UTC|[+-]\d\d:\d\d)$",
        line.strip(),
    )
    end(process)


def test_a_short_run_says_nothing_on_its_way(execute):
    run = execute([schema("prospects"), *people(20), state({"n": 20})])
    assert run.exit_code == 0
    assert not re.search(r"\d received", run.log)
    assert run.stdout == '{"n":20}\n'


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


def test_time_that_was_waited_is_a_metric_too(sync, sandbox):
    sandbox.profile = type(sandbox.profile)(rate_limit=10, rate_window_seconds=1)
    run = sync([schema("prospects"), *people(35)])  # more than two windows that touch can take
    waited = metrics(run.log)["timer", "rate_limit_wait_duration", None]
    assert waited == run.report["seconds_waited"]
    assert 0 < waited < run.report["seconds"]


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


class Screen:
    """What a terminal shows after what was written to it: rows of letters, and a cursor."""

    def __init__(self, columns):
        self.columns = columns
        self.rows = [[]]
        self.at = 0

    def write(self, text):
        for letter in text:
            if letter == "\r":
                self.at = 0
            elif letter == "\n":
                self.rows.append([])
                self.at = 0
            else:
                if self.at >= self.columns:
                    self.rows.append([])
                    self.at = 0
                row = self.rows[-1]
                row.extend(" " * (self.at + 1 - len(row)))
                row[self.at] = letter
                self.at += 1

    @property
    def text(self):
        return ["".join(row).rstrip() for row in self.rows]


@pytest.fixture
def terminal(hasty):
    """Run the target at a terminal of its own; hear what it writes there, piece by piece."""
    pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))
    opened = []

    def _open(columns, **settings):
        parent, child = pty.openpty()
        opened.append(parent)
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = hasty(stderr=child, **settings)
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


def test_a_terminal_shows_one_live_line_which_is_gone_at_the_end(terminal):
    process, descriptor = terminal(1000, batch_size_rows=2)
    say(process, schema("prospects"), *people(2))
    seen = hear(descriptor, b"2 received, 2 created")
    say(process, schema("accounts"), record("accounts", name="Acme"))
    process.stdin.close()
    process.stdin = None
    seen += hear(descriptor)
    out, _ = end(process)
    assert out == ""
    screen = Screen(1000)
    screen.write(seen)
    assert not [row for row in screen.text if re.search(r"\d received", row)]
    # Each log line begins at the left, above the live one.
    logged = [row for row in screen.text if row]
    assert all(re.match(r"\d{4}-\d\d-\d\d ", row) for row in logged)
    assert [row for row in logged if "accounts → accounts" in row]
    assert "\x1b" not in seen


@pytest.mark.parametrize("columns", [10, 30, 50, 80, 140])
def test_the_live_line_keeps_to_the_width_of_the_terminal(terminal, columns):
    process, descriptor = terminal(columns, batch_size_rows=2, heartbeat=1)
    say(process, schema("prospects"), *people(2))
    seen = hear(descriptor, b"2 received"[: columns - 1])
    process.stdin.close()
    process.stdin = None
    seen += hear(descriptor)
    end(process)
    pieces = re.split(r"[\r\n]", seen)
    live = [piece for piece in pieces if re.match(r"(prospects: )?\d+ rec", piece)]
    assert live
    assert max(map(len, live)) < columns


@given(st.text(max_size=60), st.integers(2, 50))
def test_no_name_of_a_stream_moves_the_cursor_or_is_too_wide(name, columns):
    shown = printable(name, columns)
    assert shown.isprintable()
    assert width(shown) <= columns


def test_a_live_line_has_shorter_wordings_for_narrow_terminals():
    widths = [width(words) for words in live_words(moment(budget=budget(5)))]
    assert widths == sorted(widths, reverse=True)


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
