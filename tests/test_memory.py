"""What is remembered of earlier runs: rows that cost nothing, and edits that are still seen."""

from __future__ import annotations

import sqlite3
import stat
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from conftest import PROSPECTS, lines, record, schema, state

from target_outreach.sandbox import Fault, Sandbox
from target_outreach.sandbox.resources import Change


@pytest.fixture
def memory(tmp_path):
    """The settings of a memory."""
    return {"change_detection": "source", "memory_path": str(tmp_path / "a memory" / "m.db")}


def people(count, **values):
    rows = (record("prospects", id=n, emails=[f"p{n}@x.test"], **values) for n in range(count))
    return [schema("prospects"), *rows, state({"n": count})]


def spent(sandbox, run):
    """Run, and return what came out with the requests that it took but for who we are."""
    before = len(sandbox.requests)
    outcome = run()
    sent = [(one.method, one.path) for one in list(sandbox.requests)[before:]]
    return outcome, [one for one in sent if one != ("GET", "/api/v2/")]


def titles(sandbox):
    return {one["attributes"]["title"] for one in sandbox.store.all("prospects")}


@pytest.mark.slow
@pytest.mark.parametrize("detection", ["source", "drift"])
def test_a_row_that_memory_path_knows_as_delivered_costs_no_request(
    sync, sandbox, memory, detection
):
    memory["change_detection"] = detection
    sync(people(700, title="T"), **memory)
    run, requests = spent(sandbox, lambda: sync(people(700, title="T"), **memory))
    assert run.counts("prospects") == {"received": 700, "unchanged": 700}
    assert run.states == [{"n": 700}]
    assert len(requests) == (0 if detection == "source" else 1)
    assert stat.S_IMODE(Path(memory["memory_path"]).stat().st_mode) == 0o600


def test_a_changed_row_is_patched_without_a_lookup(sync, sandbox, memory):
    sync(people(3, title="old"), **memory)
    run, requests = spent(sandbox, lambda: sync(people(3, title="new"), **memory))
    assert run.counts("prospects") == {"received": 3, "updated": 3}
    assert [method for method, _ in requests] == ["PATCH"] * 3
    assert titles(sandbox) == {"new"}
    writes = [one.body for one in sandbox.requests if one.method == "PATCH"]
    assert {tuple(one["data"]["attributes"]) for one in writes} == {("title",)}


def test_a_changed_list_is_laid_over_what_outreach_holds(sync, sandbox, memory):
    sync([schema("prospects"), record("prospects", id=1, emails="a@x.test", tags=["a"])], **memory)
    (person,) = sandbox.store.all("prospects")
    sandbox.store.update("prospects", person["id"], {"tags": ["a", "theirs"]})
    rows = [schema("prospects"), record("prospects", id=1, emails="a@x.test", tags=["a", "b"])]
    run, requests = spent(sandbox, lambda: sync(rows, **memory))
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert [method for method, _ in requests] == ["GET", "PATCH"]
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["tags"] == ["a", "theirs", "b"]


def test_a_changed_address_is_an_update_of_the_same_person(sync, sandbox, memory):
    sync([schema("prospects"), record("prospects", id=1, emails="old@x.test")], **memory)
    rows = [schema("prospects"), record("prospects", id=1, emails="new@x.test", title="T")]
    run = sync(rows, **memory, array_fields="replace")
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["emails"] == ["new@x.test"]


@pytest.mark.parametrize("detection", ["source", "drift"])
def test_a_version_finds_the_person_that_this_run_has_created_and_another_stream_edited(
    sync, sandbox, memory, detection
):
    taken = sandbox.store.seed("prospects", {"emails": ["taken@x.test"]})
    rows = [
        schema("a-prospects"),
        schema("b-prospects"),
        record("a-prospects", id=1, emails="old@x.test"),
        record("b-prospects", id=7, emails="old@x.test", title="Theirs"),
        record("a-prospects", id=1, emails="taken@x.test"),
        record("a-prospects", id=1, emails="new@x.test"),
    ]
    run = sync(rows, **memory | {"change_detection": detection})
    assert run.counts("a-prospects") == {"received": 3, "created": 1, "updated": 1, "rejected": 1}
    (person,) = [one for one in sandbox.store.all("prospects") if one["id"] != taken]
    assert person["attributes"]["emails"] == ["old@x.test", "new@x.test"]


def test_what_is_gone_in_outreach_is_looked_up_and_created_again(sync, sandbox, memory):
    sync(people(2, title="old"), **memory)
    first, _ = sandbox.store.all("prospects")
    sandbox.store.delete("prospects", first["id"])
    run = sync(people(2, title="new"), **memory)
    assert run.counts("prospects") == {"received": 2, "created": 1, "updated": 1}
    run, requests = spent(sandbox, lambda: sync(people(2, title="new"), **memory))
    assert run.counts("prospects") == {"received": 2, "unchanged": 2}
    assert requests == []


def test_what_was_gone_is_found_by_its_address_before_another_is_made(sync, sandbox, memory):
    rows = people(1, title="old")
    sync(rows, **memory)
    (person,) = sandbox.store.all("prospects")
    sandbox.store.delete("prospects", person["id"])
    twin = sandbox.store.seed("prospects", {"emails": ["p0@x.test"]})
    run = sync(people(1, title="new"), **memory)
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert sandbox.store.get("prospects", twin)["attributes"]["title"] == "new"
    assert sandbox.store.count("prospects") == 1


def test_a_b_a_within_a_run_ends_with_a(sync, sandbox, memory):
    sync(people(1, title="A"), **memory)
    rows = [*people(1, title="B")[:2], *people(1, title="A")[1:]]
    for size in (1, 500):
        run = sync(rows, **memory, batch_size_rows=size)
        assert titles(sandbox) == {"A"}
        assert run.exit_code == 0


def test_a_setting_that_shapes_what_is_written_makes_rows_look_changed(sync, sandbox, memory):
    sync(people(1, title="T"), **memory)
    (person,) = sandbox.store.all("prospects")
    sandbox.store.update("prospects", person["id"], {"title": "theirs"})
    rules = [{"stream": "prospects", "field_rules": {"title": "if_empty"}}]
    run, requests = spent(sandbox, lambda: sync(people(1, title="T"), **memory, streams=rules))
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert run.report["streams"]["prospects"]["held_back"] == {"title": 1}
    assert [method for method, _ in requests] == ["GET"]


def test_nulls_that_are_ignored_are_no_change(sync, sandbox, memory):
    sync(people(1, title="T"), **memory)
    for title in (None, "T"):
        run, requests = spent(sandbox, lambda title=title: sync(people(1, title=title), **memory))
        assert run.counts("prospects") == {"received": 1, "unchanged": 1}
        assert requests == []
    run = sync(people(1, title=None), **memory, on_null="clear")
    assert titles(sandbox) == {None}


def test_an_opt_out_in_outreach_is_seen_before_it_is_undone(sync, sandbox, memory):
    properties = PROSPECTS | {"opted_out": {"type": ["null", "boolean"]}}
    rows = [schema("prospects", properties), record("prospects", id=1, emails="a@x.test")]
    sync([*rows[:1], record("prospects", id=1, emails="a@x.test", opted_out=True)], **memory)
    run = sync([*rows[:1], record("prospects", id=1, emails="a@x.test", opted_out=False)], **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["optedOut"] is True


def test_what_outreach_keeps_differently_is_not_written_again(sync, sandbox, memory):
    sandbox.profile = replace(sandbox.profile, normalise_phones=True)
    rows = [schema("prospects"), record("prospects", id=1, emails="a@x.test", phone="(020) 1-2")]
    sync(rows, **memory)
    _, requests = spent(sandbox, lambda: sync(rows, **memory))
    assert requests == []


def test_insert_writes_what_is_new_and_nothing_twice(sync, memory):
    run = sync(people(2, title="T"), **memory, sync_mode="insert")
    assert run.counts("prospects") == {"received": 2, "created": 2}
    run = sync(people(3, title="T"), **memory, sync_mode="insert")
    assert run.counts("prospects") == {"received": 3, "created": 1, "unchanged": 2}


def test_without_key_properties_the_match_fields_are_the_key(sync, sandbox, memory):
    rows = [schema("prospects", keys=()), record("prospects", emails="a@x.test", title="T")]
    sync(rows, **memory)
    _, requests = spent(sandbox, lambda: sync(rows, **memory))
    assert requests == []


def test_streams_and_organisations_remember_for_themselves(sync, sandbox, memory, tmp_path):
    sync(people(1, title="T"), **memory)
    rows = [schema("b-prospects"), record("b-prospects", id=0, emails="p0@x.test", title="T")]
    _, requests = spent(sandbox, lambda: sync(rows, **memory))
    assert [method for method, _ in requests] == ["GET"]
    with Sandbox(tmp_path / "other.db") as other:
        run = sync(people(1, title="T"), **memory, api_url=other.api_url)
        assert run.counts("prospects") == {"received": 1, "created": 1}
    run = sync(people(1, title="T"), **memory)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}


def test_the_sandbox_setting_has_a_memory_of_its_own(sync, config, memory, tmp_path):
    del config["access_token"], config["api_url"]
    for outcome in ("created", "unchanged"):
        run = sync(people(1, title="T"), **memory, sandbox=str(tmp_path / "local.db"))
        assert run.counts("prospects") == {"received": 1, outcome: 1}


def test_the_memory_holds_no_value_of_a_record(sync, memory):
    sync(people(5, title="whisper-4711"), **memory)
    content = b"".join(path.read_bytes() for path in Path(memory["memory_path"]).parent.iterdir())
    assert b"whisper" not in content
    assert b"x.test" not in content


def test_a_dry_run_knows_the_memory_and_leaves_it_alone(sync, sandbox, memory):
    sync(people(1, title="A"), **memory)
    run, requests = spent(sandbox, lambda: sync(people(2, title="A"), **memory, dry_run=True))
    assert run.counts("prospects") == {"received": 2, "created": 1, "unchanged": 1}
    assert [method for method, _ in requests] == ["GET"]
    run = sync(people(2, title="A"), **memory)
    assert run.counts("prospects") == {"received": 2, "created": 1, "unchanged": 1}


def test_a_rejected_row_is_tried_again(sync, sandbox, memory):
    sync(people(1, title="A"), **memory)
    sandbox.add_fault(Fault("status", method="PATCH", status=422, body="no"))
    run = sync(people(1, title="B"), **memory)
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    run = sync(people(1, title="B"), **memory)
    assert run.counts("prospects") == {"received": 1, "updated": 1}


@pytest.mark.slow
def test_memory_never_knows_more_than_outreach_holds(start, sandbox, memory):
    """Killed at any moment, the next run writes what is missing."""
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.003)
    for kill_at in (3, 12, 31, 47):
        process = start(batch_size_rows=5, **memory)
        process.stdin.write(lines(people(60, title="T")).encode())
        process.stdin.flush()
        while sandbox.store.count("prospects") < kill_at and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
    process = start(**memory)
    process.communicate(lines(people(60, title="T")).encode(), timeout=60)
    assert process.returncode == 0
    assert sandbox.store.count("prospects") == 60
    assert titles(sandbox) == {"T"}


@pytest.mark.parametrize("content", [b"not a database, but precious" * 100, None])
def test_another_database_is_left_alone(execute, tmp_path, content):
    path = tmp_path / "other.db"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE precious (x)")
            connection.commit()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    run = execute(people(1), change_detection="source", memory_path=str(path))
    assert run.exit_code == 1
    assert "memory_path cannot be used" in run.log
    assert path.read_bytes() == content


@pytest.mark.slow
def test_source_and_drift_need_a_memory(execute):
    for settings in (
        {"change_detection": "drift"},
        {"streams": [{"stream": "x", "change_detection": "source"}]},
    ):
        run = execute(people(1), **settings)
        assert run.exit_code == 1
        assert "needs memory_path" in run.log


# What others edit


def drift(memory):
    return memory | {"change_detection": "drift"}


@pytest.mark.parametrize("damage", ["since = x'80'", "attributes = x'80'", "until = x'80'"])
def test_a_damaged_question_of_a_memory_is_said_in_a_sentence(sync, memory, damage):
    rows = [schema("prospects"), record("prospects", id=1, emails="ann@x.test")]
    sync(rows, **drift(memory))
    with closing(sqlite3.connect(memory["memory_path"])) as connection, connection:
        changed = connection.execute("UPDATE questions SET " + damage).rowcount  # noqa: S608 - ours
    assert changed
    run = sync(rows, **drift(memory))
    assert run.exit_code
    assert "is damaged: move it away" in run.log
    assert "internal error" not in run.log.lower()


@pytest.mark.parametrize("damage", ["id = 3 - id", "edited = 1 - edited", "hashes = x'00'"])
def test_a_damaged_row_of_a_memory_writes_to_no_other_record(sync, sandbox, memory, damage):
    sync(people(2, title="old"), **memory)
    with closing(sqlite3.connect(memory["memory_path"])) as connection, connection:
        changed = connection.execute("UPDATE delivered SET " + damage).rowcount  # noqa: S608 - ours
    assert changed == 2
    rows = [
        schema("prospects"),
        *(record("prospects", id=n, emails=[f"p{n}@x.test"], title=f"T{n}") for n in range(2)),
    ]
    assert sync(rows, **memory).counts("prospects") == {"received": 2, "updated": 2}
    held = {
        one["attributes"]["emails"][0]: one["attributes"]["title"]
        for one in sandbox.store.all("prospects")
    }
    assert held == {"p0@x.test": "T0", "p1@x.test": "T1"}


@pytest.mark.slow
def test_an_edit_in_outreach_is_overwritten_under_drift_only(sync, sandbox, memory):
    sync(people(20, title="T"), **drift(memory))
    person = sandbox.store.all("prospects")[7]
    time.sleep(1.1)
    sandbox.store.update("prospects", person["id"], {"title": "edited"})
    run = sync(people(20, title="T"), **memory)
    assert run.counts("prospects") == {"received": 20, "unchanged": 20}
    run, requests = spent(sandbox, lambda: sync(people(20, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 20, "unchanged": 19, "updated": 1}
    assert run.report["streams"]["prospects"]["edited_by_others"] == {"title": 1}
    assert "changed by others since we wrote: title (1)" in run.log
    assert [method for method, _ in requests] == ["GET", "PATCH"]
    assert titles(sandbox) == {"T"}
    run, requests = spent(sandbox, lambda: sync(people(20, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 20, "unchanged": 20}
    assert len(requests) == 1


@pytest.mark.slow
def test_an_edit_that_a_rule_protects_is_reported_and_kept(sync, sandbox, memory):
    rules = [{"stream": "prospects", "field_rules": {"title": "on_create"}}]
    sync(people(2, title="T"), **drift(memory), streams=rules)
    person, _ = sandbox.store.all("prospects")
    time.sleep(1.1)
    sandbox.store.update("prospects", person["id"], {"title": "edited"})
    run = sync(people(2, title="T"), **drift(memory), streams=rules)
    assert run.counts("prospects") == {"received": 2, "unchanged": 2}
    assert run.report["streams"]["prospects"]["edited_by_others"] == {"title": 1}
    assert titles(sandbox) == {"T", "edited"}


@pytest.mark.slow
def test_an_edit_is_remembered_until_its_row_comes(sync, sandbox, memory):
    sync(people(3, title="T"), **drift(memory))
    by_address = {one["attributes"]["emails"][0]: one for one in sandbox.store.all("prospects")}
    last = by_address["p2@x.test"]
    time.sleep(1.1)
    sandbox.store.update("prospects", last["id"], {"title": "edited"})
    sync(people(2, title="T"), **drift(memory))
    sync(people(1, title="T"), **drift(memory))
    run = sync(people(3, title="T"), **drift(memory))
    assert run.counts("prospects") == {"received": 3, "unchanged": 2, "updated": 1}
    assert titles(sandbox) == {"T"}


@pytest.mark.slow
def test_an_edit_of_what_is_not_ours_is_none(sync, sandbox, memory):
    sync(people(2, title="T"), **drift(memory))
    person, _ = sandbox.store.all("prospects")
    time.sleep(1.1)
    sandbox.store.update("prospects", person["id"], {"nickname": "theirs"})
    run, requests = spent(sandbox, lambda: sync(people(2, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 2, "unchanged": 2}
    assert len(requests) == 1
    assert run.report["streams"]["prospects"]["edited_by_others"] == {}


@pytest.mark.slow
def test_many_edits_cost_a_page_for_each_thousand(sync, sandbox, memory):
    sync(people(2500, title="T"), **drift(memory))
    time.sleep(1.1)
    for person in sandbox.store.all("prospects")[:2100]:
        sandbox.store.update("prospects", person["id"], {"nickname": "theirs"})
    run, requests = spent(sandbox, lambda: sync(people(2500, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 2500, "unchanged": 2500}
    assert len(requests) == 3


def test_none_writes_every_row(sync, sandbox):
    sync(people(3, title="T"))
    run = sync(people(3, title="T"), change_detection="none")
    assert run.counts("prospects") == {"received": 3, "updated": 3}
    assert sandbox.store.count("prospects") == 3


@pytest.mark.slow
def test_an_edit_during_a_large_run_of_another_record_is_news(sync, sandbox, memory):
    other = sandbox.store.seed("prospects", {"emails": ["p2199@x.test"], "title": "T"})
    sync(people(2200, title="T"), **drift(memory))
    assert sandbox.store.get("prospects", other)["attributes"]["title"] == "T"
    sandbox.store.update("prospects", other, {"title": "edited"})
    run = sync(people(2200, title="T"), **drift(memory))
    assert run.counts("prospects") == {"received": 2200, "unchanged": 2199, "updated": 1}


@pytest.mark.slow
@pytest.mark.parametrize("detection", ["source", "drift"])
def test_changed_rows_of_several_batches_are_written_without_a_lookup(
    sync, sandbox, memory, detection
):
    """While a batch is written the next one waits, of which memory must not lose what it knows."""
    memory["change_detection"] = detection
    sync(people(700, title="A"), **memory)
    sync(people(700, title="A"), **memory)
    rows = people(700, title="B")
    run, requests = spent(sandbox, lambda: sync(rows, **memory, batch_size_rows=50))
    assert run.counts("prospects") == {"received": 700, "updated": 700}
    assert sorted({method for method, _ in requests}) == ["GET", "PATCH"][detection == "source" :]
    assert len(requests) == 700 + (detection == "drift")


@pytest.mark.slow
def test_drift_after_a_run_that_wrote_everything_reads_next_to_nothing(sync, sandbox, memory):
    sync(people(3000, title="T"), **drift(memory), max_parallel_requests=8)
    theirs = sandbox.store.all("prospects")
    for person in (theirs[0], theirs[1500], theirs[2999]):
        sandbox.store.update("prospects", person["id"], {"title": "theirs"})
    rows = people(3000, title="T")
    run, requests = spent(sandbox, lambda: sync(rows, **drift(memory)))
    assert run.counts("prospects") == {"received": 3000, "updated": 3, "unchanged": 2997}
    assert run.report["streams"]["prospects"]["edited_by_others"] == {"title": 3}
    assert [method for method, _ in requests].count("GET") <= 2
    run, requests = spent(sandbox, lambda: sync(rows, **drift(memory)))
    assert run.counts("prospects") == {"received": 3000, "unchanged": 3000}
    assert len(requests) <= 2


@pytest.mark.slow
def test_drift_reads_on_where_more_has_changed_than_is_known(sync, sandbox, memory):
    """An edit whose time is before the last request for changes, in which it was missing."""
    long_ago = Change("seed", {"emails": ["p0@x.test"], "title": "T"}, {}, at=time.time() - 9999)
    old = sandbox.store.create("prospects", long_ago).id
    sync(people(2101, title="T"), **drift(memory), max_parallel_requests=8)
    first = datetime.fromisoformat(sandbox.store.all("prospects")[1]["attributes"]["updatedAt"])
    edit = Change("edit", {"title": "theirs"}, {}, at=first.timestamp())
    sandbox.store.modify("prospects", old, edit)
    run, requests = spent(sandbox, lambda: sync(people(2101, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 2101, "updated": 1, "unchanged": 2100}
    assert [method for method, _ in requests] == ["GET", "GET", "GET", "PATCH"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["no budget", "no answer"])
def test_the_question_at_the_end_costs_no_wait_and_no_failure(sync, sandbox, memory, fault):
    rows = people(1100, title="T")
    if fault == "no budget":
        sandbox.profile = replace(sandbox.profile, rate_limit=1106, rate_window_seconds=3600)
    else:
        sandbox.add_fault(Fault("status", method="GET", status=500, times=50, after=7, body=""))
    run = sync(rows, **drift(memory), max_parallel_requests=8)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 1100, "created": 1100}


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def before_the_first(sandbox, method, act):
    """Let something happen in Outreach just before the first request of a kind is carried out."""
    work, waiting = sandbox.work, [act]

    def acting(request):
        if request.method == method and waiting:
            waiting.pop()()
        return work(request)

    sandbox.work = acting


def test_an_edit_between_our_look_and_our_write_is_seen_by_the_next_run(sync, sandbox, memory):
    def rows(*tags):
        said = {"id": 1, "emails": "a@x.test", "title": "T", "tags": list(tags)}
        return [schema("prospects"), record("prospects", **said)]

    sync(rows("a"), **drift(memory))
    sync(rows("a"), **drift(memory))
    (person,) = sandbox.store.all("prospects")

    def edit():
        sandbox.store.update("prospects", person["id"], {"title": "theirs"})

    before_the_first(sandbox, "PATCH", edit)
    assert sync(rows("a", "b"), **drift(memory)).counts("prospects")["updated"] == 1
    run = sync(rows("a", "b"), **drift(memory))
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert titles(sandbox) == {"T"}


@pytest.mark.slow
def test_another_stream_is_not_answered_from_an_index_older_than_its_question(
    sync, sandbox, memory
):
    def rows(stream, column):
        said = (record(stream, id=n, emails=[f"p{n}@x.test"], **{column: "T"}) for n in range(700))
        return [schema(stream), *said]

    both = [*rows("a-prospects", "title"), *rows("b-prospects", "first_name")]
    sync(both, **drift(memory))
    person = sandbox.store.all("prospects")[5]
    run = sync(rows("a-prospects", "title"), **drift(memory))
    sandbox.store.update("prospects", person["id"], {"firstName": "theirs"})
    run = sync(both, **drift(memory))
    assert run.exit_code == 0
    held = sandbox.store.get("prospects", person["id"])["attributes"]
    assert (held["title"], held["firstName"]) == ("T", "T")


@pytest.mark.slow
@pytest.mark.parametrize("other_is_known", [True, False])
def test_what_another_key_says_is_compared_after_a_kill(
    sync, start, sandbox, memory, other_is_known
):
    """Killed between a write and the memory of it; two keys are about one person."""

    def row(stream, title):
        return record(stream, id=1, emails="a@x.test", title=title)

    schemas = [schema("a-prospects"), schema("b-prospects")]
    known = [row("a-prospects", "B")] if other_is_known else []
    sync([*schemas, *known, row("b-prospects", "B")], **memory)
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.3)
    process = start(**memory, max_parallel_requests=1, batch_size_rows=1)
    messages = [*schemas, row("a-prospects", "A"), row("b-prospects", "B")]
    process.stdin.write(lines(messages).encode())
    process.stdin.flush()
    wait_for(lambda: any(one.method == "PATCH" for one in list(sandbox.requests)))
    process.kill()
    process.wait()
    sandbox.profile = replace(sandbox.profile, latency_seconds=0)
    wait_for(lambda: titles(sandbox) == {"A"})
    sync(messages, **memory)
    assert titles(sandbox) == {"B"}


@pytest.mark.slow
def test_what_a_killed_run_has_written_is_compared_also_after_a_reject(
    sync, start, sandbox, memory
):
    sync(people(1, title="A"), **memory)
    sandbox.add_fault(Fault("hang_after", method="PATCH", seconds=60))
    process = start(**memory, batch_size_rows=1)
    process.stdin.write(lines(people(1, title="B")).encode())
    process.stdin.flush()
    wait_for(lambda: titles(sandbox) == {"B"})
    process.kill()
    process.wait()
    sandbox.clear_faults()
    sandbox.add_fault(Fault("status", method="PATCH", status=422, body="no"))
    rows = [*people(1, title="C"), *people(1, title="A")]
    run = sync(rows, **memory, batch_size_rows=1)
    assert run.counts("prospects") == {"received": 2, "updated": 1, "rejected": 1}
    assert titles(sandbox) == {"A"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", method="GET", times=None, status=429, headers=(("Retry-After", "25"),)),
        Fault("status", method="GET", times=None, status=503),
    ],
)
def test_the_question_at_the_end_is_not_repeated(sync, sandbox, memory, monkeypatch, fault):
    monkeypatch.setattr("target_outreach.engine.remote_changes.PAGE_SIZE", 2)
    sync(people(5, title="A"), **drift(memory))
    before_the_first(sandbox, "PATCH", lambda: sandbox.add_fault(fault))
    before = len(sandbox.requests)
    run = sync(people(5, title="B"), **drift(memory))
    assert run.counts("prospects") == {"received": 5, "updated": 5}
    assert run.report["seconds"] < 5
    assert [one.status for one in list(sandbox.requests)[before:] if one.status >= 400] == [
        fault.status
    ]


@pytest.mark.slow
def test_many_edits_are_found_by_lookups_where_that_is_cheaper(sync, sandbox, memory, monkeypatch):
    for name in ("PAGE_SIZE", "ROWS_A_LOOKUP"):
        monkeypatch.setattr(f"target_outreach.engine.remote_changes.{name}", 10)
    monkeypatch.setattr("target_outreach.outreach.lookup.PAGE_SIZE", 10)
    sync(people(20, title="T"), **drift(memory))
    others = [{"emails": [f"other{n}@x.test"]} for n in range(200)]
    sandbox.store.seed_many("prospects", others)
    ours = sandbox.store.all("prospects")[3]
    sandbox.store.update("prospects", ours["id"], {"title": "theirs"})
    run, requests = spent(sandbox, lambda: sync(people(20, title="T"), **drift(memory)))
    assert run.counts("prospects") == {"received": 20, "updated": 1, "unchanged": 19}
    assert len(requests) < 10 + 21  # pages of 10 are read for the rows, too


def test_a_column_that_comes_back_is_compared_once(sync, sandbox, memory):
    columns = {"id": {"type": "integer"}, "emails": {"type": "string"}}
    titled = columns | {"title": {"type": "string"}}
    row = {"id": 1, "emails": "a@x.test"}
    whole = [schema("prospects", titled), record("prospects", **row, title="T")]
    sync(whole, **drift(memory))
    sync(whole, **drift(memory))
    (person,) = sandbox.store.all("prospects")
    sandbox.store.update("prospects", person["id"], {"title": "theirs"})
    sync([schema("prospects", columns), record("prospects", **row)], **drift(memory))
    sync(whole, **drift(memory))
    assert titles(sandbox) == {"T"}


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, False])
def test_what_two_runs_write_at_once_is_compared_by_the_next_one(  # noqa: PLR0917 - fixtures
    sync, start, sandbox, config, watcher, memory, is_known
):
    """A run with an older row begins later, and is done before the first one remembers."""

    def row(title, *more):
        rows = (record("prospects", id=0, emails=["p0@x.test"], title=title), *more)
        return [schema("prospects"), *rows, state({"title": title})]

    def run_beside(exchange):
        watcher(exchange)
        if exchange.method == "POST" and b"beside" in exchange.body:
            others.append(start(**memory, report_path=f"{config['report_path']}.json"))
            _, err = others[0].communicate(lines(row("old")).encode(), timeout=60)
            assert others[0].returncode == 0, err

    others = []
    if is_known:
        sync(people(1, title="older"), **memory)
    sandbox._observer = run_beside  # beside the first run, before it has its last answer
    beside = record("prospects", id=1, emails=["p1@x.test"], title="beside")
    sync(row("new", beside), **memory, max_parallel_requests=1)
    assert len(others) == 1
    assert titles(sandbox) == {"old", "beside"}
    sync(row("new"), **memory)
    assert titles(sandbox) == {"new", "beside"}
    run, requests = spent(sandbox, lambda: sync(row("new"), **memory))
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert requests == []
