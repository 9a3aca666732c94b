"""A dry run plans what the real run then does, and touches nothing."""

from __future__ import annotations

import json
import stat

import pytest
from conftest import PROSPECTS, record, schema, state

from target_outreach.errors import SettingsError
from target_outreach.target import TargetOutreach

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
    dry = sync(ROWS, dry_run=True, plan_path=str(path), batch_size_rows=rows_a_batch)
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


def test_a_plan_names_old_and_new_values_and_why_nothing_is_done(sync, sandbox, tmp_path):
    seed(sandbox)
    path = tmp_path / "plan.jsonl"
    sync(ROWS, dry_run=True, plan_path=str(path))
    plan = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_action = {entry["action"]: entry for entry in plan}
    assert by_action["reject"]["reason"] == "invalid_value"
    (old,) = [entry for entry in plan if entry.get("id") == 1]
    assert old == {
        "stream": "prospects",
        "action": "update",
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


def test_a_dry_run_emits_no_state_writes_no_rejects_and_says_what_it_would_write(
    sync, sandbox, tmp_path
):
    seed(sandbox)
    run = sync(ROWS, dry_run=True)
    assert run.exit_code == 3
    assert run.stdout == ""
    assert run.report["dry_run"] is True
    assert run.report["rejects_file"] is None
    assert not (tmp_path / "rejects").exists()
    assert "This was a dry run" in run.log
    assert "would be written:" in run.log
    assert "title (" in run.log


def test_a_plan_without_a_dry_run_is_a_setting_to_mend(config):
    with pytest.raises(SettingsError, match="set dry_run too"):
        TargetOutreach(config=config | {"plan_path": "plan.jsonl"})
