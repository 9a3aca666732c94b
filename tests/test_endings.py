"""What a run says when it ends, and what it says of an input or a setting that it cannot use."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import lines, record, schema, state

from target_outreach.commands.check import check
from target_outreach.errors import Interrupted, SettingsError
from target_outreach.outreach.pacing import clock_time
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping
from target_outreach.sandbox import Fault

LOADER = "meltano run calls this a failed loader."


@pytest.fixture
def meltano(monkeypatch):
    monkeypatch.setenv("MELTANO_LOADER_NAME", "target-outreach")


def rows(*emails):
    return [schema("prospects"), *(record("prospects", emails=one) for one in emails)]


def last_line(run):
    return run.log.splitlines()[-1]


@pytest.mark.usefixtures("meltano")
def test_rejects_are_the_last_thing_said_with_what_to_do_and_what_meltano_makes_of_it(sync):
    run = sync([*rows("a@x.test", "none", "nor this"), state({"n": 3})])
    assert run.exit_code == 3
    assert run.states == [{"n": 3}]
    assert last_line(run).endswith(
        "2 records were rejected, all others are delivered: exit code 3 (on_reject is fail). "
        f"{LOADER} Fix them in the rejects file, then send them again by: meltano invoke "
        f"target-outreach:replay {shlex.quote(run.report['rejects_file'])}"
    )


def test_of_a_single_reject_the_last_line_speaks_in_the_singular_and_not_of_meltano(sync):
    run = sync([*rows("a@x.test", "none"), state({"n": 2})], on_reject="hold")
    assert run.exit_code == 3
    assert last_line(run).endswith(
        "1 record was rejected, all others are delivered: exit code 3 (on_reject is hold). Fix it "
        "in the rejects file, then send it again by: target-outreach replay "
        f"{shlex.quote(run.report['rejects_file'])} --config config.json"
    )


def test_fail_on_rejects_makes_a_dry_run_end_with_3(sync):
    run = sync(rows("none"), dry_run=True, fail_on_rejects=True)
    assert run.exit_code == 3
    assert last_line(run).endswith(
        "1 record would be rejected: exit code 3 (fail_on_rejects is set)."
    )


def test_ignored_rejects_are_no_ending_of_their_own(sync):
    run = sync([*rows("none"), state({"n": 1})], on_reject="ignore")
    assert run.exit_code == 0
    assert "exit code" not in run.log


@pytest.mark.usefixtures("meltano")
def test_an_early_end_is_the_last_thing_said(sync, sandbox):
    del sandbox
    batches = [[record("prospects", emails=f"p{n}@x.test"), state({"n": n})] for n in range(20)]
    messages = [schema("prospects"), *(message for batch in batches for message in batch)]
    run = sync(messages, max_requests=10, batch_size_rows=1)
    assert run.exit_code == 4
    assert run.states
    assert last_line(run).endswith(
        f"The run has ended early, exit code 4: the next one goes on from the last STATE. {LOADER}"
    )


def test_an_early_end_without_a_state_says_where_the_next_run_begins(sync):
    run = sync([*rows("a@x.test"), state({"n": 1})], max_requests=1)
    assert run.exit_code == 4
    assert not run.states
    assert last_line(run).endswith("exit code 4: the next one begins where this one did.")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_an_interrupted_run_says_by_what_and_that_the_next_one_continues(number, name):
    assert str(Interrupted(number)) == (
        f"Ended by {name}, after the requests in flight. Run again: the next run continues from "
        "the last STATE."
    )


@pytest.mark.parametrize(
    ("zone", "shown"), [("EST5", "-05:00"), ("IST-5:30", "+05:30"), ("UTC0", "UTC")]
)
def test_a_time_is_said_with_its_offset(monkeypatch, zone, shown):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        said = clock_time(timedelta(seconds=1))
    time.tzset()
    clock, offset = said.split()
    time.strptime(clock, "%H:%M:%S")
    assert offset == shown


@pytest.mark.slow
def test_a_wait_for_the_limit_is_said_with_its_zone(execute, sandbox, monkeypatch):
    monkeypatch.setenv("TZ", "IST-5:30")
    sandbox.profile = replace(sandbox.profile, rate_limit=5, rate_window_seconds=3)
    run = execute(rows(*(f"p{n}@x.test" for n in range(9))), batch_size_rows=3)
    assert run.exit_code == 0
    assert re.search(r"Waiting until \S+ \+05:30 for Outreach's limit", run.log)


# Where rejects go


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_rejects_path_that_cannot_be_written_stops_the_run_before_it_begins(
    sync, sandbox, tmp_path, form
):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    run = sync(rows("a@x.test"), rejects_path=form.format(tmp_path / "a file" / "rejects"))
    assert run.exit_code == 1
    assert "rejects_path cannot be used (Not a directory): " in run.log
    assert sandbox.request_count == 0


def test_a_dry_run_needs_no_place_for_rejects(sync, tmp_path):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    run = sync(rows("a@x.test"), rejects_path=str(tmp_path / "a file"), dry_run=True)
    assert run.exit_code == 0


def test_a_rejects_path_that_is_tried_is_left_as_it_was(sync, tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "not" / "yet"):
        assert sync([*rows("a@x.test"), state({})], rejects_path=str(folder)).exit_code == 0
    assert not list((tmp_path / "there").iterdir())
    assert not (tmp_path / "not").exists()


# What a tap does not send

NO_STATE = "The tap sent no STATE: the next run begins where this one did."
NO_RECORDS = "The tap sent no records."
NOTHING = "Nothing arrived, not even a SCHEMA: did the tap fail?"


@pytest.mark.parametrize(
    ("messages", "settings", "said"),
    [
        (rows("a@x.test"), {}, {NO_STATE}),
        ([*rows("a@x.test"), state({})], {}, set()),
        (rows("a@x.test"), {"dry_run": True}, set()),
        ([], {}, {NOTHING}),
        ([schema("prospects"), state({})], {}, {NO_RECORDS}),
        (
            [*rows("a@x.test"), state({})],
            {"stream_maps": {"prospects": {"__filter__": "False"}}},
            set(),
        ),
    ],
)
def test_what_a_tap_did_not_send_is_said(sync, messages, settings, said):
    run = sync(messages, **settings)
    assert run.exit_code == 0
    assert {one for one in (NO_STATE, NO_RECORDS, NOTHING) if one in run.log} == said


def test_of_rejects_that_are_sent_again_no_state_is_expected(sync, execute):
    assert sync([*rows("none"), state({})]).exit_code == 3
    again = execute([], retry_rejects=True)
    assert again.exit_code == 3
    assert NO_STATE not in again.log
    assert NO_RECORDS not in again.log


# Lines that are no messages

GUESS = "; is it the output of a Singer tap, and does the tap log to stderr?"
DIED = "; the tap may have died."


def bad_line(run):
    assert run.exit_code == 1
    (line,) = [line for line in run.log.splitlines() if "of the input is not" in line]
    return line


@pytest.mark.parametrize(
    ("first", "guess"),
    [
        (b"id,email\n", "it looks like CSV, which a tap must read first, such as tap-csv."),
        (b"Traceback (most recent call last):\n", "which the tap must write to standard error."),
        (b"Hello\n", GUESS),
        (b"\xff\n", "or convert the file, as with iconv -f latin1 -t utf-8."),
    ],
)
def test_a_first_line_that_is_no_json_makes_one_ask_for_the_tap(execute, first, guess):
    line = bad_line(execute(first + b"1,a@x.test\n"))
    assert "Line 1 of the input" in line
    assert line.endswith(guess)


def test_a_last_line_that_is_cut_off_makes_one_think_of_a_dead_tap(execute, sandbox):
    whole = lines([*rows("a@x.test", "b@x.test"), state({"n": 2})])
    run = execute(whole.encode()[:-9])
    line = bad_line(run)
    assert "Line 4 of the input" in line
    assert line.endswith(DIED)
    assert sandbox.store.count("prospects") == 2


@pytest.mark.parametrize("behind", ["", "not this\n", "nor this"])
def test_a_bad_line_in_the_middle_comes_without_a_guess(execute, behind):
    given = f"{lines(rows('a@x.test'))}not this\n{behind}"
    line = bad_line(execute(given.encode()))
    assert line.endswith("Line 3 of the input is not valid JSON, or too large or deep to read.")


# Settings


def test_where_no_column_is_of_use_the_columns_are_named():
    columns = [f"column_{number}" for number in range(12)]
    with pytest.raises(SettingsError) as caught:
        build_mapping(load_catalog()["prospects"], columns)
    assert str(caught.value) == (
        f"no column maps to an attribute of prospects: there are {', '.join(columns[:10])} and 2 "
        "more; see columns, outreach_object and `target-outreach fields --schema`"
    )


def test_where_there_is_no_column_that_is_said():
    with pytest.raises(SettingsError, match="of accounts: there is none; see columns"):
        build_mapping(load_catalog()["accounts"], [])


def test_a_memory_that_cannot_be_used_is_said_in_words(sync, tmp_path):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    run = sync(rows("a@x.test"), memory_path=str(tmp_path / "a file" / "memory.db"))
    assert run.exit_code == 1
    assert re.search(
        r"memory_path cannot be used \((Not a directory|File exists)\): .*Name a file", run.log
    )
    assert "Errno" not in run.log


# Outreach


@pytest.mark.slow
def test_an_object_that_is_read_whole_by_one_request_is_said_to_be(sync, sandbox):
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(3)])
    run = sync([*rows(*(f"p{n}@x.test" for n in range(900))), state({})], batch_size_rows=900)
    assert "Read all prospects in 1 request, which" in run.log


NOWHERE = Fault("status", status=404, times=None, method="GET", path="/prospects")


def test_a_wrong_api_url_is_what_a_run_blames(sync, sandbox):
    sandbox.add_fault(NOWHERE)
    run = sync(rows("a@x.test"))
    assert run.exit_code == 1
    said = "Outreach knows no such address (404): check api_url. It normally ends in /api/v2."
    assert said in run.log
    assert "refuses the record" not in run.log


def test_a_wrong_api_url_is_what_a_check_blames(config, sandbox, tmp_path):
    sandbox.add_fault(NOWHERE)
    found = checked(config, tmp_path)
    assert "prospects cannot be read: Outreach knows no such address (404): check api_url." in found


def test_a_check_speaks_of_no_next_run_and_a_run_does(config, sync, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    sandbox.add_fault(Fault("status", status=502, times=None, method="GET"))
    run = sync(rows("a@x.test"))
    assert "That was the last of 8 tries.\n" in run.log
    assert last_line(run).endswith("The next run goes on from STATE.")
    found = checked(config, tmp_path)
    assert "That was the last of 8 tries.\n" in found
    assert "next run" not in found


def checked(config, tmp_path):
    path = Path(tmp_path / "config.json")
    path.write_text(json.dumps(config), encoding="utf-8")
    outcome = CliRunner().invoke(check, ["--config", str(path)])
    assert outcome.exit_code == 1
    return outcome.output
