"""What is rejected can be mended and sent again, and what refuses everything stops the run."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import record, schema, state

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
