"""A dry run plans what the real run then does, and touches nothing."""

from __future__ import annotations

import json
import stat

import pytest
from conftest import PROSPECTS, record, schema, state

ROWS = [
    schema("prospects", PROSPECTS | {"opted_out": {"type": ["null", "boolean"]}}),
    record("prospects", id=1, emails="new@x.test", first_name="New", tags=["a"]),
    record("prospects", id=2, emails=["old@x.test", "second@x.test"], title="Head", tags="b"),
    record("prospects", id=3, emails="same@x.test", title="Same"),
    record("prospects", id=4, emails="out@x.test", opted_out=False),
    record("prospects", id=5, emails="nope"),
    record("prospects", id=6, emails="NEW@x.test", title="Later"),
    record("prospects", id=7, emails=["new@x.test", "third@x.test"], phone="4155550100"),
    state({"n": 7}),
]


def seed(sandbox):
    sandbox.store.seed("prospects", {"emails": ["old@x.test"], "title": "Clerk", "tags": ["c"]})
    sandbox.store.seed("prospects", {"emails": ["same@x.test"], "title": "Same"})
    sandbox.store.seed("prospects", {"emails": ["out@x.test"], "optedOut": True})


@pytest.mark.parametrize("rows_a_batch", [1, 2, 500])
def test_the_planned_changes_are_those_of_the_real_run(sync, sandbox, tmp_path, rows_a_batch):
    seed(sandbox)
    before = sandbox.store.all("prospects")
    path = tmp_path / "plans" / "plan.jsonl"
    dry = sync(ROWS, dry_run=True, changes_path=str(path), batch_size_rows=rows_a_batch)
    assert sandbox.store.all("prospects") == before
    assert {entry.method for entry in sandbox.requests} == {"GET"}
    plan = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    real = sync(ROWS, batch_size_rows=rows_a_batch)

    assert dry.counts("prospects") == real.counts("prospects")
    assert len(plan) == 7
    planned = [
        {name: change["new"] for name, change in entry["changes"].items()}
        for entry in plan
        if entry["action"] in {"create", "update"}
    ]
    written = [
        entry.body["data"]["attributes"]
        for entry in sandbox.requests
        if entry.method in {"POST", "PATCH"}
    ]
    assert sorted(map(json.dumps, planned)) == sorted(map(json.dumps, written))


def test_nobody_who_would_be_created_has_an_opt_out_to_be_written_as_false(sync):
    rows = [
        schema("prospects", PROSPECTS | {"opted_out": {"type": ["null", "boolean"]}}),
        record("prospects", id=1, emails="new@x.test"),
        record("prospects", id=1, emails=["new@x.test", "second@x.test"]),
        record("prospects", id=1, emails="new@x.test", opted_out=False),
    ]
    dry, real = (sync(rows, dry_run=is_dry, batch_size_rows=1) for is_dry in (True, False))
    assert dry.counts("prospects") == real.counts("prospects")
    assert real.counts("prospects")["unchanged"] == 1


def test_a_plan_names_old_and_new_values_and_why_nothing_is_done(sync, sandbox, tmp_path):
    seed(sandbox)
    path = tmp_path / "plan.jsonl"
    sync(ROWS, dry_run=True, changes_path=str(path), on_duplicate="last")
    plan = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_action = {entry["action"]: entry for entry in plan}
    assert by_action["reject"]["reason"] == "invalid_value"
    (old,) = [entry for entry in plan if entry.get("id") == 1]
    assert old == {
        "stream": "prospects",
        "action": "update",
        "line": 3,
        "source_key": {"id": 2},
        "key": {"emails": ["old@x.test", "second@x.test"]},
        "id": 1,
        "changes": {
            "emails": {"old": ["old@x.test"], "new": ["old@x.test", "second@x.test"]},
            "title": {"old": "Clerk", "new": "Head"},
            "tags": {"old": ["c"], "new": ["c", "b"]},
        },
    }
    (held,) = [entry for entry in plan if "held_back" in entry]
    assert (held["action"], held["held_back"]) == ("unchanged", {"optedOut": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def plan_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("rows_a_batch", [1, 500])
def test_each_line_of_a_plan_says_which_row_it_is_about(sync, sandbox, tmp_path, rows_a_batch):
    seed(sandbox)
    path = tmp_path / "plan.jsonl"
    rows = [*ROWS, record("prospects", id=8, emails="gone@x.test", _sdc_deleted_at="2026-01-01")]
    rows += [schema("others"), record("others", id=9, emails="x")]
    streams = [{"stream": "others", "object": "none"}]
    settings = {"batch_size_rows": rows_a_batch, "streams": streams, "validate_records": False}
    settings["on_duplicate"] = "last"
    sync(["", *rows], dry_run=True, changes_path=str(path), **settings)
    plan = plan_of(path)
    where = {entry["source_key"]["id"]: entry["line"] for entry in plan}
    lines = {1: 3, 2: 4, 3: 5, 4: 6, 5: 7, 6: 8, 7: 9, 8: 11, 9: 13}
    assert where == lines
    assert len(plan) == len(lines)
    (rejected,) = [entry for entry in plan if entry["action"] == "reject"]
    assert (rejected["source_key"], rejected["line"]) == ({"id": 5}, 7)


def test_the_source_key_is_that_of_the_row_before_stream_maps(sync, tmp_path):
    path = tmp_path / "plan.jsonl"
    keyed = schema("prospects", PROSPECTS | {"region": {"type": "string"}}, keys=("region", "id"))
    rows = [keyed, record("prospects", id=1, region="\ud800", emails="nope")]
    rows += [schema("prospects", keys=()), record("prospects", emails="a@x.test")]
    maps = {"prospects": {"__alias__": "people", "title": "'Head'"}}
    settings = {"stream_maps": maps, "outreach_object": "prospects", "batch_size_rows": 1}
    sync(rows, dry_run=True, changes_path=str(path), **settings)
    first, second = plan_of(path)
    assert (first["stream"], first["source_key"]) == ("people", {"region": "\ud800", "id": 1})
    assert "source_key" not in second
    assert second["line"] == 4


def test_what_would_be_created_has_the_negative_id_that_links_use(sync, tmp_path):
    path = tmp_path / "plan.jsonl"
    linked = PROSPECTS | {"account_domain": {"type": "string"}}
    rows = [
        schema("accounts"),
        record("accounts", id=1, name="Acme", domain="acme.example.com"),
        schema("prospects", linked),
        record("prospects", id=1, emails="a@x.test", account_domain="acme.example.com"),
        record("prospects", id=2, emails="b@x.test", account_domain="new.example.com"),
        record("prospects", id=3, emails="c@x.test", account_domain="new.example.com"),
        record("prospects", id=1, emails="a@x.test", title="Head"),
    ]
    settings = {"on_missing_relation": "create", "batch_size_rows": 1}
    sync(rows, dry_run=True, changes_path=str(path), **settings)
    plan = plan_of(path)
    created = [entry for entry in plan if entry["action"] == "create"]
    ids = [entry["id"] for entry in created]
    assert len(set(ids)) == len(ids) == 5
    assert max(ids) < 0
    accounts = {
        entry["changes"]["domain"]["new"]: entry["id"]
        for entry in created
        if "domain" in entry["changes"]
    }
    links = [
        entry["changes"]["account"]["new"]
        for entry in plan
        if entry["stream"] == "prospects" and "account" in entry["changes"]
    ]
    domains = ["acme.example.com", "new.example.com", "new.example.com"]
    assert sorted(links) == sorted(accounts[domain] for domain in domains)
    (later,) = [entry for entry in plan if entry["action"] == "update"]
    (earlier,) = [one for one in created if one["key"] == {"emails": ["a@x.test"]}]
    assert later["id"] == earlier["id"]


def test_a_dry_run_emits_no_state_writes_no_rejects_and_says_what_it_would_write(
    sync, sandbox, tmp_path
):
    seed(sandbox)
    run = sync(ROWS, dry_run=True)
    assert run.exit_code == 0
    assert run.stdout == ""
    assert run.report["dry_run"] is True
    assert run.report["rejects_file"] is None
    assert not (tmp_path / "rejects").exists()
    assert "This was a dry run" in run.log
    assert "would be written:" in run.log
    assert "title (" in run.log


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, 0),
        ({"fail_on_rejects": True}, 3),
        ({"fail_on_rejects": True, "on_reject": "ignore"}, 3),
        ({"max_rejects": "0"}, 1),
        ({"on_reject": "abort"}, 1),
    ],
)
def test_a_dry_run_fails_where_a_real_one_would_be_stopped(sync, sandbox, settings, code):
    seed(sandbox)
    run = sync(ROWS, dry_run=True, **settings)
    assert run.exit_code == code
    assert run.report["totals"]["rejected"] > 0
    if code == 3:
        assert "would be rejected: exit code 3 (fail_on_rejects is set)" in run.log
    if code == 0:
        assert run.report["ending"] == "Dry run: done, but some records would be rejected."
