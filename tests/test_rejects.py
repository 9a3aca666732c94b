"""Rejected rows can be fixed and sent again; if everything is refused, the run stops."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import processes
import pytest
from conftest import lines, record, schema, state

from target_outreach.cli import run as run_target
from target_outreach.delivery import rejects
from target_outreach.delivery.breaker import Breaker
from target_outreach.delivery.rejects import RejectsFile
from target_outreach.errors import RecordFault
from target_outreach.instance_id import instance_id
from target_outreach.sandbox import Fault, Sandbox
from target_outreach.settings import Settings
from target_outreach.target import TargetOutreach

BAD = [
    schema("prospects"),
    record("prospects", id=1, emails="nope"),
    record("prospects", id=2, emails="fine@x.test", last_name="x" * 300),
    state({"n": 2}),
]


def rejects_file(run):
    return Path(run.report["rejects_file"])


def fix(path):
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"nope"', '"fixed@x.test"'), encoding="utf-8")


def command(*arguments, config, tmp_path, text=""):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return processes.run([*arguments, "--config", str(path)], text.encode())


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


@pytest.mark.slow
def test_a_fixed_file_is_replayed_and_marked_done(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    fix(path)
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    assert done.returncode == 3, done.stderr.decode()
    assert not path.exists()
    assert path.with_name(path.name + ".done").exists()
    (left,) = (tmp_path / "rejects").glob("*.jsonl")
    still = [json.loads(line) for line in left.read_text(encoding="utf-8").splitlines()]
    assert [line["record"]["id"] for line in still[1:]] == [2]
    assert sandbox.store.count("prospects") == 1


@pytest.mark.slow
def test_a_replay_that_stops_is_not_done(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    fix(path)
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


@pytest.mark.slow
def test_retry_rejects_sends_what_is_left_before_the_input(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    fix(path)
    newer = (
        json.dumps(schema("prospects"))
        + "\n"
        + json.dumps(record("prospects", id=9, emails="fixed@x.test", title="Newer"))
    )
    settings = config | {"retry_rejects": True}
    done = command(config=settings, tmp_path=tmp_path, text=newer)
    assert done.returncode == 3
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Newer"
    assert path.with_name(path.name + ".done").exists()


# What nobody has sent again


def warned(done, words):
    return [line for line in done.stderr.decode().splitlines() if words in line]


@pytest.mark.slow
def test_rejects_of_earlier_runs_are_counted_at_the_start_with_where_and_the_command(
    config, tmp_path
):
    good = lines([schema("prospects"), record("prospects", id=8, emails="a@example.test")])
    assert not warned(command(config=config, tmp_path=tmp_path, text=good), "not resolved")
    command(config=config, tmp_path=tmp_path, text=lines(BAD))
    (file,) = (tmp_path / "rejects").glob("*.jsonl")
    (line,) = warned(command(config=config, tmp_path=tmp_path, text=good), "not resolved")
    assert "2 rejected records of earlier runs, in 1 file, not resolved yet." in line
    assert line.endswith(f"target-outreach replay {file}")
    other = lines([schema("prospects"), record("prospects", id=3, emails="no")])
    command(config=config, tmp_path=tmp_path, text=other)
    done = command(config=config | {"dry_run": True}, tmp_path=tmp_path, text=good)
    (line,) = warned(done, "not resolved")
    assert "3 rejected records of earlier runs, in 2 files, not resolved yet." in line
    assert line.endswith(f"target-outreach replay {tmp_path / 'rejects'}/*.jsonl")
    for one in (tmp_path / "rejects").glob("*.jsonl"):
        one.rename(f"{one}.done")
    assert not warned(command(config=config, tmp_path=tmp_path, text=good), "not resolved")


@pytest.mark.slow
def test_rejects_in_the_users_state_folder_are_counted_without_a_request(
    config, tmp_path, monkeypatch, sandbox
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = config | {"rejects_path": None}
    command(config=config, tmp_path=tmp_path, text=lines(BAD))
    other = tmp_path / "state/target-outreach/rejects/api.other.test-0a1b2c3d"
    other.mkdir()
    (other / "20260101T000000Z-1.jsonl").write_text(lines(BAD[:2]), "utf-8")
    asked = len(sandbox.requests)
    done = command(config=config, tmp_path=tmp_path)
    assert "2 rejected records of earlier runs, in 1 file" in done.stderr.decode()
    assert len(sandbox.requests) == asked


@pytest.mark.slow
def test_the_same_rows_do_not_pile_up_run_by_run(config, tmp_path):
    def rejected(*rows):
        text = lines([schema("prospects"), *rows])
        command(config=config, tmp_path=tmp_path, text=text)
        return sorted((tmp_path / "rejects").glob("*.jsonl"))

    def row(number, **values):
        return record("prospects", id=number, emails="nope", **values)

    (first,) = rejected(row(1), row(2, _sdc_batched_at="2026-03-30"))
    (second,) = rejected(row(1), row(2, _sdc_batched_at="2026-03-31"), row(3))
    assert second != first
    assert first.with_name(first.name + ".done").exists()
    assert len(rejected(row(1), row(2))) == 2  # the third row is in the older file only
    fix(second)
    left = rejected(row(1), row(2), row(3))
    assert len(left) == 2
    assert second in left  # since somebody has fixed it


@pytest.mark.slow
def test_rejects_whose_rows_a_later_run_delivers_are_resolved(config, tmp_path):
    def run(*rows, **settings):
        text = lines([schema("prospects"), *rows])
        return command(config=config | settings, tmp_path=tmp_path, text=text)

    run(record("prospects", id=1, emails="nope"), record("prospects", id=2, emails="no"))
    (file,) = (tmp_path / "rejects").glob("*.jsonl")
    good = record("prospects", id=1, emails="one@x.test")
    assert "2 rejected records of earlier runs" in run(good, dry_run=True).stderr.decode()
    (line,) = warned(run(good), "not resolved")
    assert "1 rejected record of earlier runs, in 1 file, not resolved yet." in line
    assert line.endswith(f"target-outreach replay {file}")
    assert '"id": 2' in file.read_text("utf-8")
    assert '"id": 1' not in file.read_text("utf-8")
    done = file.with_name(f"{file.name}.done")
    assert '"id": 1' in done.read_text("utf-8")
    assert not warned(run(record("prospects", id=2, emails="two@x.test")), "not resolved")
    assert not file.exists()
    assert done.read_text("utf-8").count('"RECORD"') == 2
    assert stat.S_IMODE(done.stat().st_mode) == 0o600


@pytest.mark.slow
def test_the_command_for_rejects_names_no_file_that_is_done(config, tmp_path):
    for _ in range(3):
        done = command(config=config, tmp_path=tmp_path, text=lines(BAD))
        for line in warned(done, "not resolved"):
            assert Path(line.rpartition(" ")[2]).exists(), line


@pytest.mark.slow
def test_a_row_that_says_again_what_was_delivered_resolves_its_reject(config, tmp_path):
    def run(*rows):
        text = lines([schema("prospects"), *rows])
        own = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
        return command(config=config | own, tmp_path=tmp_path, text=text)

    good = [record("prospects", id=one, emails=f"p{one}@x.test") for one in range(1, 40)]
    run(*good)
    run(*good[1:], record("prospects", id=1, emails="nope"))
    assert [*(tmp_path / "rejects").glob("*.jsonl")]
    assert not warned(run(*good[1:], good[0]), "not resolved")
    assert not [*(tmp_path / "rejects").glob("*.jsonl")]


@pytest.mark.slow
def test_rejects_of_another_stream_and_another_place_stay(config, tmp_path):
    text = lines([schema("prospects"), record("prospects", id=1, emails="nope")])
    command(config=config, tmp_path=tmp_path, text=text)
    (file,) = (tmp_path / "rejects").glob("*.jsonl")
    ours = file.name.split("-")[1]
    other = file.rename(file.with_name(file.name.replace(ours, "0" * 8)))
    good = lines([schema("prospects"), record("prospects", id=1, emails="one@x.test")])
    command(config=config, tmp_path=tmp_path, text=good)
    assert other.exists()
    other.rename(file)
    again = {"streams": [{"stream": "leads", "object": "prospects"}]}
    good = lines([schema("leads"), record("leads", id=1, emails="one@x.test")])
    command(config=config | again, tmp_path=tmp_path, text=good)
    assert file.exists()


# Where rejects lie, so that none is sent to another Outreach


@pytest.mark.slow
def test_a_replay_can_be_tried_without_writing(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD))
    fix(path)
    done = command("replay", str(path), "--dry-run", config=config, tmp_path=tmp_path)
    assert "Dry run: nothing will be written." in done.stderr.decode()
    assert f"{path} is not done and stays as it is." in done.stderr.decode()
    assert sandbox.store.count("prospects") == 0


def test_a_bad_line_in_a_rejects_file_is_named_with_its_file(config, tmp_path):
    folder = Path(config["rejects_path"])
    folder.mkdir(parents=True)
    first, second = folder / "20260101T000000Z-1.jsonl", folder / "20260102T000000Z-2.jsonl"
    first.write_text(lines([*BAD[:1], record("prospects", id=3, emails="c@x.test")]), "utf-8")
    second.write_text(lines([*BAD[:1], "{", *BAD[3:]]), "utf-8")
    done = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    assert done.returncode == 1
    assert f"Line 2 of {second} is not JSON" in done.stderr.decode()


@pytest.mark.slow
def test_rejects_of_another_outreach_are_not_sent_to_this_one(sync, sandbox, config, tmp_path):
    path = rejects_file(sync(BAD, rejects_path=None))
    fix(path)
    settings = config | {"rejects_path": None, "retry_rejects": True}
    with Sandbox(tmp_path / "other.db") as other:
        done = command(config=settings | {"api_url": other.api_url}, tmp_path=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        assert other.store.count("prospects") == 0
    assert path.exists()
    assert command(config=settings, tmp_path=tmp_path).returncode == 3
    assert sandbox.store.count("prospects") == 1
    assert path.with_name(path.name + ".done").exists()


APP = {"client_id": "c", "client_secret": "hunter2", "refresh_token": "hunter2"}
SERVER = {"s2s_guid": "g", "s2s_private_key": "hunter2", "s2s_install_id": "i"}
TOKEN = {"access_token": "hunter2"}
HOST = "https://api.outreach.io/api/v2"


def place(access, **settings):
    return instance_id(Settings.read(access | settings))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TOKEN, TOKEN | {"api_url": "https://api.eu.outreach.io/api/v2"}),
        (TOKEN | {"api_url": "http://127.0.0.1:1/x"}, TOKEN | {"api_url": "http://127.0.0.1:2/x"}),
        (TOKEN, APP),
        (APP, APP | {"client_id": "d"}),
        (SERVER, SERVER | {"s2s_install_id": "j"}),
        (SERVER, SERVER | {"s2s_guid": "h"}),
        (SERVER | {"s2s_guid": "gi"}, SERVER | {"s2s_install_id": "ii"}),
        (TOKEN, {"sandbox": "a.db"}),
        ({"sandbox": "a.db"}, {"sandbox": "b.db"}),
        ({"sandbox": "a.db"}, {"sandbox": "folder/a.db"}),
    ],
)
def test_what_is_another_outreach_is_another_place(one, other):
    assert place(one) != place(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (TOKEN, {"access_token": "the next one"}),
        (TOKEN, TOKEN | {"api_url": HOST.replace("api.o", "API.o") + "/"}),
        (TOKEN, TOKEN | {"api_url": HOST.replace(".io", ".io:443")}),
        (APP, APP | {"client_secret": "new", "refresh_token": "new", "redirect_uri": "https://x"}),
        (SERVER, SERVER | {"s2s_private_key": "new"}),
        ({"sandbox": "a.db"}, {"sandbox": "folder/../a.db"}),
        ({"sandbox": "a.db"}, {"sandbox": str(Path.cwd() / "a.db")}),
    ],
)
def test_a_place_stays_the_same_as_long_as_the_outreach_does(one, other):
    assert place(one) == place(other)


def test_a_place_can_be_read_and_holds_no_secret():
    assert re.fullmatch(r"api\.outreach\.io-[0-9a-f]{8}", place(TOKEN))
    assert re.fullmatch(
        r"127\.0\.0\.1-8765-[0-9a-f]{8}", place(TOKEN, api_url="http://127.0.0.1:8765")
    )
    assert re.fullmatch(r"sandbox-m-y-out-[0-9a-f]{8}", place({"sandbox": "M/m y Out.db"}))
    assert len(place({"sandbox": "x" * 250})) < 60


@pytest.fixture
def unplaced(tmp_path):
    """Leave a rejects file where earlier versions put all of them."""
    folder = tmp_path / "state home" / "target-outreach" / "rejects"
    folder.mkdir(parents=True)
    path = folder / "20260331T093000Z-1f2e3d4c.jsonl"
    path.write_text(lines([schema("prospects"), record("prospects", emails="a@x.test")]))
    return path


def test_rejects_that_do_not_say_where_they_belong_are_named_and_left(
    sandbox, config, tmp_path, unplaced
):
    settings = config | {"rejects_path": None, "retry_rejects": True}
    done = command(config=settings, tmp_path=tmp_path)
    assert done.returncode == 0
    assert done.stderr.decode().count(str(unplaced)) == 1
    assert "target-outreach replay" in done.stderr.decode()
    assert unplaced.exists()
    assert sandbox.store.count("prospects") == 0


@pytest.mark.parametrize("way", ["no retry", "a folder of their own"])
def test_rejects_without_a_place_are_named_only_to_whom_they_may_concern(
    config, tmp_path, unplaced, way
):
    settings = {
        "no retry": {"rejects_path": None},
        "a folder of their own": {"retry_rejects": True},
    }
    done = command(config=config | settings[way], tmp_path=tmp_path)
    assert done.returncode == 0
    assert unplaced.name not in done.stderr.decode()


def test_an_address_that_is_none_is_not_called_nothing(sync):
    _, first, _ = sync(BAD).rejects
    words = "emails takes email addresses only, and one of these is not an email address."
    assert first["error"]["message"] == words


# Rejected again, and again


def kept(folder):
    return [
        json.loads(line)["record"]["id"]
        for path in folder.glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
        if '"RECORD"' in line
    ]


@pytest.mark.slow
def test_a_row_that_is_rejected_in_each_run_does_not_pile_up(sync, config, tmp_path):
    sync(BAD)
    for run in range(3):
        again = [message | {"time_extracted": f"2026-04-0{run + 1}T00:00:00Z"} for message in BAD]
        done = command(
            config=config | {"retry_rejects": True}, tmp_path=tmp_path, text=lines(again)
        )
        assert done.returncode == 3
        assert kept(tmp_path / "rejects") == [1, 2]
        assert json.loads(Path(config["report_path"]).read_text())["totals"]["rejected"] == 4


def test_rows_that_differ_in_anything_are_all_kept(sync):
    rows = [
        record("prospects", id=1, emails="nope"),
        record("prospects", id=1, emails="nope", title="1.5"),
        record("prospects", id=1, emails="nope", title=1.5),
        record("prospects", id=1, emails="nope", title=None),
        record("more-prospects", id=1, emails="nope"),
    ]
    run = sync([schema("prospects"), schema("more-prospects"), *rows, rows[0]])
    assert run.counts("prospects")["rejected"] == 5
    assert [row["record"] for row in run.rejects if row["type"] == "RECORD"] == [
        row["record"] for row in rows
    ]


def test_a_row_that_is_there_is_found_on_its_line(tmp_path):
    file, fault = RejectsFile(str(tmp_path)), RecordFault("code", "Message.")
    shown = [json.dumps(record("s", id=n)) for n in (1, 2, 1)]
    assert [file.add("s", "{}", line, fault) for line in shown] == [2, 3, 2]
    file.close()
    assert file.lines == 3


def test_only_so_many_rows_are_distinguished(tmp_path, monkeypatch):
    monkeypatch.setattr(rejects, "MOST_TOLD_APART", 2)
    file, fault = RejectsFile(str(tmp_path)), RecordFault("code", "Message.")
    shown = [json.dumps(record("s", id=n)) for n in (1, 2, 3, 3, 2)]
    assert [file.add("s", "{}", line, fault) for line in shown] == [2, 3, 4, 5, 3]
    file.close()


# What a replay says


def said(done):
    """Return what the log says, without the prefix of each line."""
    return [line.rpartition(" | ")[2] for line in done.stderr.decode().splitlines()]


@pytest.mark.slow
def test_a_replay_ends_with_what_happened_to_the_file(sync, config, tmp_path):
    path = rejects_file(sync(BAD))
    fix(path)
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    (left,) = (tmp_path / "rejects").glob("*.jsonl")
    assert said(done)[-2:] == [
        f"{path} is done and now called {path.name}.done.",
        f"1 record was rejected again, now in {left}.",
    ]
    text = left.read_text(encoding="utf-8").replace("x" * 300, "x")
    left.write_text(text, encoding="utf-8")
    done = command("replay", str(left), config=config, tmp_path=tmp_path)
    assert said(done)[-1] == f"{left} is done and now called {left.name}.done."


def test_an_empty_replay_says_that_there_was_no_row(config, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    assert said(done)[-2:] == [
        f"{path} is done and now called {path.name}.done.",
        "There was no record to be sent.",
    ]


def write_rejects(folder, *titles):
    """Write a rejects file for each title, all of the same row, the oldest first."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"2026033{n}T000000Z-1f2e3d4c.jsonl" for n in range(len(titles))]
    for path, title in zip(paths, titles, strict=True):
        row = record("prospects", id=1, emails="a@x.test", title=title)
        path.write_text(lines([schema("prospects"), row]), encoding="utf-8")
    return paths


@pytest.mark.slow
def test_several_files_are_replayed_in_the_order_given_and_each_is_marked_done(
    sandbox, config, tmp_path
):
    paths = write_rejects(tmp_path / "rejects", "Old", "Newer", "Newest")
    # A file that is named twice is sent once.
    names = map(str, (*paths, paths[0]))
    done = command("replay", *names, config=config, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Newest"
    assert said(done)[-3:] == [f"{path} is done and now called {path.name}.done." for path in paths]
    assert sorted(path.name for path in (tmp_path / "rejects").iterdir()) == [
        f"{path.name}.done" for path in paths
    ]


def test_of_several_files_none_is_done_where_one_cannot_be_read(config, tmp_path):
    first, second = write_rejects(tmp_path / "rejects", "Old", "Newer")
    second.write_text("{\n{}\n", encoding="utf-8")
    done = command("replay", str(first), str(second), config=config, tmp_path=tmp_path)
    assert done.returncode == 1
    stays = [f"{path} is not done and stays as it is." for path in (first, second)]
    assert said(done)[-2:] == stays


def test_a_file_that_is_done_is_not_sent_again_by_mistake(sandbox, config, tmp_path):
    (path,) = write_rejects(tmp_path / "rejects", "Old")
    over = path.rename(path.with_name(f"{path.name}.done"))
    done = command("replay", str(over), config=config, tmp_path=tmp_path)
    assert done.returncode == 2
    words = f"{over} is done already: rename it to {path.name} to send it again."
    assert words in " ".join(done.stderr.decode().split())
    assert sandbox.request_count == 0
    assert over.exists()


@pytest.mark.slow
@pytest.mark.parametrize("why", ["stopped", "dry"])
def test_a_replay_that_leaves_the_file_says_so(sync, sandbox, config, tmp_path, why):
    path = rejects_file(sync(BAD))
    fix(path)
    if why == "stopped":
        sandbox.revoke_all()
    done = command(
        "replay", str(path), config=config | {"dry_run": why == "dry"}, tmp_path=tmp_path
    )
    assert said(done)[-1] == f"{path} is not done and stays as it is."
    assert path.exists()


@pytest.mark.slow
def test_report_path_of_a_replay_says_nothing_of_a_year(sync, config, tmp_path):
    rows = people(100, last_name="x" * 300)
    path = rejects_file(sync([schema("prospects"), *rows]))
    done = command("replay", str(path), config=config, tmp_path=tmp_path)
    assert done.returncode == 3
    assert "a year" not in done.stderr.decode()
    report = json.loads(Path(config["report_path"]).read_text())
    assert report["cost"]["requests_a_year_if_hourly"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "words", "level"),
    [
        (0.5, "less than an hour ago", "INFO"),
        (1.2, "1 hour ago", "INFO"),
        (30, "30 hours ago", "INFO"),
        (72.5, "3 days ago", "WARNING"),
    ],
)
@pytest.mark.parametrize("way", ["retry", "replay"])
def test_rejects_that_are_sent_again_are_named_with_their_age(  # noqa: PLR0917 - a table of cases
    sync, config, tmp_path, way, hours, words, level
):
    path = rejects_file(sync(BAD))
    stamp = datetime.now(UTC) - timedelta(hours=hours)
    path = path.rename(path.with_name(f"{stamp:%Y%m%dT%H%M%SZ}-1f2e3d4c.jsonl"))
    words = f"{path} ({words})"
    if way == "retry":
        done = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    else:
        done = command("replay", str(path), config=config, tmp_path=tmp_path)
    (line,) = [line for line in done.stderr.decode().splitlines() if words in line]
    assert level in line
    assert "overwrite newer values" in line


def test_of_many_rejects_files_the_oldest_is_named_with_its_age(config, tmp_path):
    folder = tmp_path / "rejects"
    folder.mkdir()
    for n in range(3):
        (folder / f"2026033{n}T000000Z-1f2e3d4c.jsonl").write_text("")
    done = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    assert (
        f"{folder / '20260330T000000Z-1f2e3d4c.jsonl'} and 2 later files (" in done.stderr.decode()
    )


def test_without_rejects_nothing_is_said_of_sending_them_again(config, tmp_path):
    done = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    assert "again" not in done.stderr.decode()


@pytest.mark.parametrize("setting", ["report_path", "changes_path"])
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
        environment = os.environ | {
            "PYTHON": sys.executable,
            "CONFIG": str(path),
            # Under `ulimit -f` Python keeps bytecode that is cut short, of which all others die.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
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
@pytest.mark.parametrize("way", ["option", "stdin"])
@pytest.mark.parametrize("setting", ["report_path", "changes_path"])
def test_an_input_that_a_link_makes_an_output_is_refused(config, tmp_path, setting, way, link):
    file, other = tmp_path / "messages.jsonl", tmp_path / "other.json"
    file.write_text(lines(BAD), encoding="utf-8")
    link(file, other)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"dry_run": True, setting: str(other)}), encoding="utf-8")
    typed = ["--config", str(path), *(["--input", str(file)] if way == "option" else [])]
    with file.open("rb") as redirected:
        stdin = redirected if way == "stdin" else subprocess.DEVNULL
        done = processes.run(typed, stdin=stdin, encoding="utf-8")
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_rejects_that_no_new_file_could_take_in_stay_where_they_are(shell, tmp_path):
    bad = [record("prospects", id=n, emails="nope", title="x" * 500) for n in range(3)]
    file = tmp_path / "messages.jsonl"
    file.write_text(lines([schema("prospects"), *bad, state({"n": 3})]), encoding="utf-8")
    assert shell('target < "$1"', file).returncode == 3
    (path,) = (tmp_path / "rejects").glob("*.jsonl")
    done = shell('ulimit -f 1; target < "$1"', file, report_path=None)
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr
    assert "rejected again" not in done.stderr
    assert path.exists()


@pytest.mark.parametrize("way", ["retry", "replay"])
def test_a_line_that_a_crash_has_cut_off_does_not_stop_the_others(config, sync, tmp_path, way):
    path = rejects_file(sync(BAD))
    fix(path)
    path.write_text(path.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    typed = ["replay", str(path)] if way == "replay" else []
    settings = config | {"retry_rejects": way == "retry"}
    done = command(*typed, config=settings, tmp_path=tmp_path)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert re.search(r"\| stream +received +created.*\n.*\| prospects +1 +1 ", said)
    assert "last line" in said
    assert path.with_name(path.name + ".done").exists()


@pytest.mark.slow
def test_a_last_line_without_its_end_is_read_if_it_is_whole(config, sync, tmp_path):
    path = rejects_file(sync(BAD))
    path.write_text(path.read_text(encoding="utf-8").rstrip(), encoding="utf-8")
    done = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    assert re.search(r"\| prospects +2 ", done.stderr.decode())


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


@pytest.mark.parametrize("good", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_of_a_plan_stops_the_dry_run_with_one_sentence(shell, tmp_path, good):
    file, plan = tmp_path / "messages.jsonl", tmp_path / "plan.jsonl"
    rows = people(300, title="x" * 200)
    rows = rows if good else [row | {"record": row["record"] | {"emails": "nope"}} for row in rows]
    file.write_text(lines([schema("prospects"), *rows]), encoding="utf-8")
    done = shell('ulimit -f 24; target < "$1"', file, dry_run=True, changes_path=str(plan))
    assert done.returncode == 1
    (error,) = errors(done)
    assert "The changes cannot be written (File too large): check changes_path" in error


def people(count, **values):
    return [record("prospects", id=n, emails=f"p{n}@x.test", **values) for n in range(count)]


@pytest.mark.slow
def test_runs_of_a_whole_table_leave_one_file_however_its_rows_are_fixed(execute, tmp_path):
    for resolved in range(5):
        bad = [record("prospects", id=n, emails="nope") for n in range(resolved, 6)]
        run = execute([schema("prospects"), *people(resolved), *bad])
        assert run.counts("prospects")["rejected"] == 6 - resolved
        assert "not resolved yet" not in run.log
        (left,) = (tmp_path / "rejects").glob("*.jsonl")
        assert left.read_text(encoding="utf-8").count('"error"') == 6 - resolved


def test_twenty_forbidden_writes_in_a_row_stop_the_run(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, governed=["prospects"])
    run = sync([schema("prospects"), *people(100)])
    assert run.exit_code == 1
    assert "403" in run.log
    assert "The token may write nothing" in run.log
    assert run.log.count("ERROR") == 1
    assert 10 <= run.counts("prospects")["rejected"] < 30


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_records_of_another_team_are_rejects_once_anything_is_accepted(sync, sandbox, again):
    theirs = [sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]}) for n in range(60)]
    sandbox.profile = replace(sandbox.profile, governed=[f"prospects/{one}" for one in theirs])
    own = record("prospects", id=999, emails="own@x.test")
    rows = [schema("prospects"), own, *people(60, title="New")]
    run = sync(rows)
    if again:
        run = sync(rows)  # the first row is unchanged now
    assert run.exit_code == 3
    assert run.counts("prospects")["rejected"] == 60


def test_records_of_another_team_at_the_head_stop_no_run(sync, sandbox):
    theirs = [sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]}) for n in range(60)]
    sandbox.profile = replace(sandbox.profile, governed=[f"prospects/{one}" for one in theirs])
    own = record("prospects", id=999, emails="own@x.test")
    run = sync([schema("prospects"), *people(60, title="New"), own])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 61, "created": 1, "rejected": 60}


def test_any_number_of_forbidden_updates_at_the_head_stops_no_run():
    breaker = Breaker()
    for _ in range(5_000):
        fault = RecordFault("forbidden", "No.", status=403)
        fault.is_of_update = True
        breaker.refused("prospects", fault, {"emails"})
    assert breaker.forbidden == 5_000
    breaker.accepted("prospects")
    assert not breaker.forbidden


def test_a_run_says_so_where_all_of_its_writes_were_forbidden(sync, sandbox):
    theirs = [sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]}) for n in range(30)]
    sandbox.profile = replace(sandbox.profile, governed=[f"prospects/{one}" for one in theirs])
    run = sync([schema("prospects"), *people(30, title="New")])
    assert run.exit_code == 3
    assert "Outreach forbade all 30 writes of the run (403)" in run.log


@pytest.mark.slow
def test_rejects_that_are_sent_again_do_not_stop_a_run(shell, sync, sandbox, tmp_path):
    sandbox.profile = replace(sandbox.profile, governed=["prospects"])
    path = rejects_file(sync([schema("prospects"), *people(19)]))
    file = tmp_path / "messages.jsonl"
    other = record("prospects", id=99, emails="nobody")
    file.write_text(lines([schema("prospects"), other, *people(15)]), encoding="utf-8")
    done = shell('target < "$1"', file, retry_rejects=True)
    assert done.returncode == 3, done.stderr
    assert path.with_name(path.name + ".done").exists()


def test_excluded_addresses_never_stop_a_run(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, excluded_domains=["x.test"])
    run = sync([schema("prospects"), *people(80), record("prospects", id=99, emails="a@y.test")])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 81, "created": 1, "rejected": 80}


def refuse_all(sandbox, pointer):
    source = {"source": {"pointer": f"/data/attributes/{pointer}"}} if pointer else {}
    errors = [{"id": "validationError", "detail": "Not so.", **source}]
    body = json.dumps({"errors": errors})
    sandbox.add_fault(Fault("status", method="POST", status=422, body=body, times=None))


@pytest.mark.parametrize(
    ("pointer", "words"), [("custom7", "the field custom7"), ("", "every row")]
)
def test_fifty_first_writes_refused_for_one_reason_stop_the_run(sync, sandbox, pointer, words):
    refuse_all(sandbox, pointer)
    run = sync([schema("prospects"), *people(200)])
    assert run.exit_code == 1
    assert words in run.log
    assert "first 50 writes of prospects" in run.log
    assert 50 <= run.counts("prospects")["rejected"] < 70


def test_a_token_that_may_only_update_ends_no_run(sync, sandbox):
    for n in range(100, 110):
        sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]})
    sandbox.add_fault(Fault("status", method="POST", status=403, times=None))
    run = sync([schema("prospects"), *people(110, title="New")])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 110, "updated": 10, "rejected": 100}


@pytest.mark.parametrize(
    ("good", "parallel"), [("first", 4), ("between", 4), ("last", 4), ("last", 16)]
)
def test_any_number_of_refused_rows_end_no_run_of_which_others_are_accepted(
    sync, sandbox, good, parallel
):
    sandbox.profile = replace(sandbox.profile, max_name_length=50)
    bad = people(90, first_name="x" * 60)
    fine = [record("prospects", id=n, emails=f"fine{n}@x.test") for n in range(100, 115)]
    place = {"first": 0, "between": 75, "last": 90}[good]
    run = sync(
        [schema("prospects"), *bad[:place], *fine, *bad[place:]], max_parallel_requests=parallel
    )
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 105, "created": 15, "rejected": 90}


@pytest.mark.parametrize(("status", "count"), [(403, 20), (422, 50)])
def test_a_head_of_refused_writes_ends_no_run(sync, sandbox, status, count):
    body = json.dumps({"errors": [{"id": "validationError", "detail": "Not so."}]})
    sandbox.add_fault(Fault("status", method="POST", status=status, body=body, times=count))
    run = sync([schema("prospects"), *people(80)])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 80, "created": 80 - count, "rejected": count}


@pytest.mark.slow
def test_each_run_gets_further_than_the_one_before(execute, sandbox):
    """More rows are refused at the head of a table than one run looks ahead."""
    sandbox.profile = replace(sandbox.profile, max_name_length=50)
    rows = [schema("prospects"), *people(300, first_name="x" * 60)]
    rows.append(record("prospects", id=999, emails="fine@x.test"))
    rejected = []
    for _ in range(6):
        run = execute(rows, batch_size_rows=10)
        rejected.append(run.counts("prospects")["rejected"])
        if run.exit_code == 3:
            break
        assert "ERROR" in run.log
    assert run.exit_code == 3
    assert 2 < len(rejected) < 6
    assert rejected == sorted(set(rejected))
    assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize("cause", ["field", "forbidden"])
def test_a_run_never_ends_for_rejects_where_they_are_ignored(sync, sandbox, cause):
    if cause == "field":
        refuse_all(sandbox, "custom7")
    else:
        sandbox.profile = replace(sandbox.profile, governed=["prospects"])
    run = sync([schema("prospects"), *people(70)], on_reject="ignore")
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 70, "rejected": 70}


def test_one_success_among_the_first_shows_that_it_is_the_records(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, excluded_domains=["x.test"])
    fine = record("prospects", id=999, emails="fine@y.test")
    run = sync([schema("prospects"), *people(20), fine, *people(100)[20:]])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 101, "created": 1, "rejected": 100}


@pytest.mark.slow
def test_retry_rejects_leaves_a_file_alone_that_another_run_still_writes(config, tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "writing.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    writing = processes.Popen(
        ["--config", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        writing.stdin.write(lines(BAD).encode())
        writing.stdin.flush()
        assert b'"n"' in writing.stdout.readline(), "the first rejects are on disk"
        (file,) = Path(config["rejects_path"]).glob("*.jsonl")
        beside = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
        assert beside.returncode == 0, beside.stderr
        assert file.exists()
        later = [record("prospects", id=3, emails="bad too"), state({"n": 3})]
        writing.communicate(lines(later).encode(), timeout=60)
    finally:
        writing.kill()
        writing.wait()
    assert "bad too" in file.read_text(encoding="utf-8")
    after = command(config=config | {"retry_rejects": True}, tmp_path=tmp_path)
    assert b"Sending again" in after.stderr
    assert not file.exists()


@pytest.mark.slow
def test_a_look_at_a_new_file_does_not_keep_its_run_from_locking_it(tmp_path, monkeypatch):
    """Another run asks at that very moment whether the file is in use."""
    fcntl = pytest.importorskip("fcntl")
    genuine = os.open

    def opened(path, *rest):
        descriptor = genuine(path, *rest)
        looking = Path(path).open("rb")  # noqa: SIM115 - closed by the timer
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.3, looking.close).start()
        return descriptor

    file = RejectsFile(str(tmp_path))
    path = Path(file.path)
    monkeypatch.setattr(rejects.os, "open", opened)
    line = '{"type": "RECORD", "stream": "s", "record": {}}'
    file.add("s", '{"type": "SCHEMA"}', line, RecordFault("invalid", "No."))
    time.sleep(0.5)
    assert rejects.in_use(path)
    file.close()
    assert not rejects.in_use(path)


@pytest.mark.slow
def test_two_runs_may_send_the_same_rejects_again_at_once(shell, sync, sandbox, watcher):
    def mark_done(exchange):
        watcher(exchange)
        if exchange.method == "POST" and path.exists():
            path.rename(path.with_name(f"{path.name}.done"))

    path = rejects_file(sync(BAD[:2]))
    fix(path)
    sandbox._observer = mark_done  # as another run does while this one is at work
    done = shell("target < /dev/null", path, retry_rejects=True)
    assert done.returncode == 0, done.stderr
    assert sandbox.store.count("prospects") == 1
    assert [one.name for one in path.parent.glob("*.jsonl*")] == [f"{path.name}.done"]


def test_what_another_run_rejects_meanwhile_is_not_resolved_by_an_older_row(sync, sandbox, watcher):
    def reject(exchange):
        watcher(exchange)
        if exchange.method == "POST":  # as a run does that has begun before this one
            with path.open("a", encoding="utf-8") as file:
                file.write(newer)

    path = rejects_file(sync(BAD[:2]))
    newer = path.read_text(encoding="utf-8").splitlines(keepends=True)[1].replace("nope", "nor so")
    sandbox._observer = reject
    run = sync([schema("prospects"), record("prospects", id=1, emails="older@x.test")])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert "nor so" in path.read_text(encoding="utf-8")


def test_rejects_that_another_run_has_sent_again_by_then_are_no_error(sync, config, caplog):
    path = rejects_file(sync(BAD[:2]))
    target = TargetOutreach(config=config | {"retry_rejects": True})
    target.run.retry_rejects()
    path.rename(path.with_name(f"{path.name}.done"))
    assert run_target(target, io.StringIO("")) == 0
    assert f"{path} is gone and is not sent again; another run may have sent it." in caplog.text
