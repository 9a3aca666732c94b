"""What is rejected can be mended and sent again, and what refuses everything stops the run."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import lines, record, schema, state

BAD = [
    schema("prospects"),
    record("prospects", id=1, emails="nope"),
    record("prospects", id=2, emails="fine@x.test", last_name="x" * 300),
    state({"n": 2}),
]


def rejects_file(run):
    return Path(run.report["rejects_file"])


def mend(path):
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"nope"', '"mended@x.test"'), encoding="utf-8")


def command(*arguments, config, tmp_path, text=""):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "target_outreach", *arguments, "--config", str(path)],
        input=text.encode(),
        capture_output=True,
        check=False,
    )


def test_a_rejects_file_holds_singer_messages_that_only_its_owner_may_read(sync):
    run = sync(BAD)
    path = rejects_file(run)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    header, first, second = run.rejects
    assert header == BAD[0]
    assert {key: first[key] for key in ("type", "stream", "record")} == BAD[1]
    assert set(first["error"]) == {"code", "message", "field", "status", "attempts", "at"}
    assert second["record"]["id"] == 2


def test_a_run_without_rejects_leaves_no_file(sync, tmp_path):
    run = sync([schema("prospects"), record("prospects", emails="a@x.test")])
    assert run.report["rejects_file"] is None
    assert not (tmp_path / "rejects").exists()


def test_a_mended_file_is_replayed_and_marked_done(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    mend(path)
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    assert done.returncode == 3, done.stderr.decode()
    assert not path.exists()
    assert path.with_name(path.name + ".done").exists()
    (left,) = (tmp_path / "rejects").glob("*.jsonl")
    still = [json.loads(line) for line in left.read_text(encoding="utf-8").splitlines()]
    assert [line["record"]["id"] for line in still[1:]] == [2]
    assert sandbox.store.count("prospects") == 1


def test_a_replay_that_stops_is_not_done(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    mend(path)
    sandbox.revoke_all()
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    assert done.returncode == 1
    assert path.exists()


def test_a_file_that_is_piped_back_never_loops(sync):
    text = rejects_file(sync(BAD)).read_text(encoding="utf-8")
    again = sync(text.splitlines())
    assert again.counts("prospects") == {"received": 2, "rejected": 2}
    assert len(again.rejects) == 3
    assert [set(line) for line in again.rejects[1:]] == [{"type", "stream", "record", "error"}] * 2


def test_retry_rejects_sends_what_is_left_before_the_input(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    mend(path)
    newer = (
        json.dumps(schema("prospects"))
        + "\n"
        + json.dumps(record("prospects", id=9, emails="mended@x.test", title="Newer"))
    )
    settings = config | {"retry_rejects": True}
    done = command(config=settings, tmp_path=tmp_path, text=newer)
    assert done.returncode == 3
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Newer"
    assert path.with_name(path.name + ".done").exists()


@pytest.mark.parametrize("setting", ["report_path", "plan_path"])
def test_an_input_that_is_also_an_output_is_refused(config, tmp_path, setting):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(schema("prospects")) + "\n", encoding="utf-8")
    settings = config | {setting: str(path), "dry_run": True}
    done = command("--input", str(path), config=settings, tmp_path=tmp_path)
    assert done.returncode == 1
    assert f"{setting} is the file that is being read" in done.stderr.decode()
    assert json.loads(path.read_text(encoding="utf-8"))["type"] == "SCHEMA"


@pytest.fixture
def shell(config, tmp_path):
    """Run a line of shell in which `target` is the target and `$1` a file, as a user would."""

    def _shell(line, file, **settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config | settings), encoding="utf-8")
        target = 'target() { exec "$PYTHON" -m target_outreach --config "$CONFIG" "$@"; }; '
        environment = os.environ | {"PYTHON": sys.executable, "CONFIG": str(path)}
        return subprocess.run(
            ["sh", "-c", target + line, "sh", str(file)],
            env=environment,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=60,
        )

    return _shell


def errors(done):
    return [line for line in done.stderr.splitlines() if "ERROR" in line]


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("way", ['target --input "$1"', 'target < "$1"'], ids=["option", "stdin"])
@pytest.mark.parametrize("setting", ["report_path", "plan_path"])
def test_an_input_that_a_link_makes_an_output_is_refused(shell, tmp_path, setting, way, link):
    file, other = tmp_path / "messages.jsonl", tmp_path / "other.json"
    file.write_text(lines(BAD), encoding="utf-8")
    link(file, other)
    done = shell(way, file, dry_run=True, **{setting: str(other)})
    assert done.returncode == 1
    assert f"{setting} is the file that is being read" in done.stderr
    assert file.read_text(encoding="utf-8") == lines(BAD)


def test_state_that_would_be_written_behind_the_input_is_refused(shell, tmp_path):
    file = tmp_path / "messages.jsonl"
    file.write_text(lines(BAD), encoding="utf-8")
    done = shell('target < "$1" >> "$1"', file)
    assert done.returncode == 1
    assert "Standard output is the file that is being read" in done.stderr
    assert file.read_text(encoding="utf-8") == lines(BAD)


def test_a_rejects_file_on_standard_input_is_read_once_and_not_written(shell, sync):
    path = rejects_file(sync(BAD))
    before = path.read_text(encoding="utf-8")
    done = shell('target < "$1"', path)
    assert done.returncode == 3
    assert path.read_text(encoding="utf-8") == before
    newer = [file for file in path.parent.iterdir() if file != path]
    assert [file.read_text(encoding="utf-8").count("\n") for file in newer] == [3]


# A disk that is full: the limit of a file's size stands in for that of a disk.

FINE = [schema("prospects"), record("prospects", id=1, emails="fine@x.test"), state({"n": 1})]


@pytest.mark.parametrize("letters", [10, 10_000], ids=["when saved", "when noted"])
def test_a_disk_that_is_full_of_rejects_stops_the_run_before_state_passes_them(
    shell, sandbox, tmp_path, letters
):
    bad = [record("prospects", id=n, emails="nope", title="x" * letters) for n in (2, 3)]
    file = tmp_path / "messages.jsonl"
    file.write_text(lines([*FINE, *bad, state({"n": 3})]), encoding="utf-8")
    done = shell('ulimit -f 1; target < "$1"', file, report_path=None)
    assert done.returncode == 1
    (error,) = errors(done)
    assert "cannot be written (File too large): check rejects_path" in error
    # What was noted and cannot be saved does not hold back what was delivered before it.
    assert done.stdout == ('{"n":1}\n' if letters == 10 else "")
    again = shell('target < "$1"', file)
    assert again.returncode == 3
    assert again.stdout == '{"n":3}\n'
    assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize("way", ["retry", "replay"])
def test_a_line_that_a_crash_has_cut_off_does_not_stop_the_others(shell, sync, way):
    path = rejects_file(sync(BAD))
    mend(path)
    path.write_text(path.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    if way == "retry":
        done = shell("target < /dev/null", path, retry_rejects=True)
    else:
        done = shell('exec "$PYTHON" -m target_outreach replay "$1" --config "$CONFIG"', path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| stream +received +created.*\n.*\| prospects +1 +1 ", done.stderr)
    assert "last line" in done.stderr
    assert path.with_name(path.name + ".done").exists()


def test_a_last_line_without_its_end_is_read_if_it_is_whole(shell, sync):
    path = rejects_file(sync(BAD))
    path.write_text(path.read_text(encoding="utf-8").rstrip(), encoding="utf-8")
    done = shell("target < /dev/null", path, retry_rejects=True)
    assert re.search(r"\| prospects +2 ", done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a full disk on Linux")
def test_a_report_on_a_full_disk_fails_the_run_after_its_work_is_done(shell, sandbox, tmp_path):
    file, full = tmp_path / "messages.jsonl", tmp_path / "full.json"
    file.write_text(lines(FINE), encoding="utf-8")
    full.symlink_to("/dev/full")
    done = shell('target < "$1"', file, report_path=str(full))
    assert done.returncode == 1
    assert done.stdout == '{"n":1}\n'
    assert sandbox.store.count("prospects") == 1
    (error,) = errors(done)
    assert "The report cannot be written (No space left on device)" in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a full disk on Linux")
def test_a_full_disk_behind_standard_output_stops_the_run_with_one_sentence(shell, tmp_path):
    file = tmp_path / "messages.jsonl"
    file.write_text(lines(FINE), encoding="utf-8")
    done = shell('target < "$1" > /dev/full', file)
    assert done.returncode == 1
    (error,) = errors(done)
    assert "STATE cannot be written to standard output, which is closed or full" in error


@pytest.mark.parametrize("good", [True, False])
def test_a_disk_that_is_full_of_a_plan_stops_the_dry_run_with_one_sentence(shell, tmp_path, good):
    file, plan = tmp_path / "messages.jsonl", tmp_path / "plan.jsonl"
    rows = people(300, title="x" * 200)
    rows = rows if good else [row | {"record": row["record"] | {"emails": "nope"}} for row in rows]
    file.write_text(lines([schema("prospects"), *rows]), encoding="utf-8")
    done = shell('ulimit -f 24; target < "$1"', file, dry_run=True, plan_path=str(plan))
    assert done.returncode == 1
    (error,) = errors(done)
    assert "The plan cannot be written (File too large): check plan_path" in error


def people(count, **values):
    return [record("prospects", id=n, emails=f"p{n}@x.test", **values) for n in range(count)]


def test_ten_forbidden_writes_in_a_row_stop_the_run(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, governed=["prospects"])
    run = sync([schema("prospects"), *people(100)])
    assert run.exit_code == 1
    assert "403" in run.log
    assert run.log.count("ERROR") == 1
    assert 10 <= run.counts("prospects")["rejected"] < 30


def test_fifty_first_writes_refused_for_one_reason_stop_the_run(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, excluded_domains=["x.test"])
    run = sync([schema("prospects"), *people(200)])
    assert run.exit_code == 1
    assert "first 50 writes of prospects" in run.log
    assert 50 <= run.counts("prospects")["rejected"] < 70


def test_one_success_among_the_first_shows_that_it_is_the_records(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, excluded_domains=["x.test"])
    fine = record("prospects", id=999, emails="fine@y.test")
    run = sync([schema("prospects"), *people(20), fine, *people(100)[20:]])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 101, "created": 1, "rejected": 100}
