"""A process that `processes` forks is like one that is started."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import processes
import pytest
from conftest import lines, record, schema, state

LOOK = """
import json, os, signal, sys
files = [sys.stdin, sys.stdout, sys.stderr]
print(json.dumps([
    [[one.name, one.encoding, one.errors, one.line_buffering, one.mode] for one in files],
    [signal.getsignal(one) == signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGCHLD)],
    [signal.getsignal(signal.SIGINT) == signal.default_int_handler],
    os.getcwd(), dict(os.environ), sorted(os.listdir("/proc/self/fd"), key=int)[:3],
]))
"""


def without_times(text):
    """A log without times and numbers of processes."""
    return re.sub(r"\d{4}-\d\d-\d\d [\d:,]+|[\d.]+ seconds|\"pid\":\d+", "…", text)


def test_it_has_the_files_signals_folder_and_environment_of_its_own(tmp_path):
    env = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TARGET_OUTREACH_X": "1"}
    options = {"cwd": tmp_path, "env": env, "stdin": subprocess.DEVNULL}
    started = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, check=True, **options
    )
    forked = processes.run(["--version"], before=LOOK, **options)
    looked, version = forked.stdout.splitlines()
    assert json.loads(looked) == json.loads(started.stdout)
    assert version.startswith(b"target-outreach v")
    assert forked.returncode == 0


@pytest.mark.parametrize("given", ["", "no JSON\n"])
def test_it_prints_logs_and_ends_as_one_that_is_started(config, sync, tmp_path, given):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    messages = [schema("prospects"), record("prospects", emails="a@x.test"), state(1)]
    sync(messages)  # so that both change nothing
    text = lines(messages) + given
    words = ["--config", str(path)]
    forked = processes.run(words, text, encoding="utf-8")
    command = [sys.executable, "-m", "target_outreach", *words]
    started = subprocess.run(
        command, input=text, capture_output=True, check=False, encoding="utf-8"
    )
    assert forked.returncode == started.returncode == (1 if given else 0)
    assert forked.stdout == started.stdout == "1\n"
    assert without_times(forked.stderr) == without_times(started.stderr)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_it_takes_signals(start, number, code):
    process = start()
    process.stdin.write(lines([schema("prospects")]).encode())
    process.stdin.flush()
    assert b"prospects" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert process.poll() == process.returncode == code


def test_a_process_that_does_not_end_is_said_after_the_timeout(start):
    process = start()
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    assert time.monotonic() - began < 5
