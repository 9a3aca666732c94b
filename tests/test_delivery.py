"""Records reach Outreach as they should, seen from outside."""

from __future__ import annotations

from conftest import PROSPECTS, record, schema, state


def prospects(count: int, **values):
    return [
        record("marts-prospects", id=n, emails=[f"person{n}@example.test"], first_name=f"P{n}")
        | values
        for n in range(count)
    ]


def test_new_rows_are_created_and_a_second_run_writes_nothing(sync, sandbox):
    messages = [schema("marts-prospects"), *prospects(30), state({"at": 30})]
    first = sync(messages)
    assert first.exit_code == 0
    assert first.counts("marts-prospects") == {"received": 30, "created": 30}
    assert first.states[-1] == {"at": 30}
    second = sync(messages)
    assert second.counts("marts-prospects") == {"received": 30, "unchanged": 30}
    assert [entry.method for entry in list(sandbox.requests)[-second.report["requests"] :]] == [
        "GET"
    ] * second.report["requests"]


def test_a_changed_row_sends_only_what_differs(sync, sandbox):
    person = sandbox.store.seed(
        "prospects", {"emails": ["ann@example.test"], "firstName": "Ann", "title": "Clerk"}
    )
    run = sync(
        [
            schema("prospects"),
            record("prospects", emails="ANN@example.test", first_name="Ann", title="Head"),
        ]
    )
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    (patch,) = [entry for entry in sandbox.requests if entry.method == "PATCH"]
    assert patch.body["data"] == {
        "type": "prospect",
        "id": person,
        "attributes": {"title": "Head"},
    }


def test_the_modes_create_change_or_do_both(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["old@example.test"]})
    messages = [
        schema("prospects"),
        record("prospects", emails=["old@example.test"], title="A"),
        record("prospects", emails=["new@example.test"], title="B"),
    ]
    update = sync(messages, sync_mode="update")
    assert update.counts("prospects") == {"received": 2, "updated": 1, "skipped": 1}
    assert update.report["streams"]["prospects"]["skipped_by_reason"] == {"no_match": 1}
    insert = sync(messages, sync_mode="insert")
    assert insert.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert insert.rejects[-1]["error"]["status"] == 422
    assert insert.exit_code == 3
    upsert = sync(messages)
    assert upsert.counts("prospects") == {"received": 2, "unchanged": 2}


def test_an_unknown_outreach_id_is_rejected_and_never_created(sync, sandbox):
    run = sync(
        [
            schema("prospects", PROSPECTS | {"outreach_id": {"type": "integer"}}),
            record("prospects", emails=["a@example.test"], outreach_id=4711),
        ]
    )
    assert run.rejects[-1]["error"]["code"] == "record_not_found"
    assert sandbox.store.count("prospects") == 0
