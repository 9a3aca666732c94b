"""Lists that show a record only some seconds after it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import record, schema, state

from target_outreach import bounds
from target_outreach.sandbox import Fault


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(bounds, "LATER_LOOKS", (0.3, 0.9, 2.7))


COMPANY = {name: {"type": ["null", "string"]} for name in ("name", "domain", "custom_id")}
PERSON = {name: {"type": ["null", "string"]} for name in ("email", "title", "account_domain")}


@pytest.fixture
def lagging(sandbox):
    sandbox.profile = replace(sandbox.profile, list_lag_seconds=30)
    return sandbox


def company(stream, n, **values):
    said = {"name": f"C{n}", "domain": f"c{n}.example"} | values
    return {"type": "RECORD", "stream": stream, "record": said}


@pytest.mark.parametrize("size", [5, 500])
def test_no_company_is_made_twice_by_one_run(sync, lagging, size):
    columns = COMPANY | {"industry": {"type": "string"}}
    rows = [schema("accounts", columns, keys=())]
    rows += [company("accounts", n) for n in range(20)]
    rows += [company("accounts", n, industry="Tools") for n in range(20)]
    run = sync(rows, batch_size_rows=size)
    assert run.exit_code == 0
    accounts = lagging.store.all("accounts")
    assert [one["attributes"]["industry"] for one in accounts] == ["Tools"] * 20


def test_no_company_is_made_twice_by_two_streams_that_match_by_different_keys(sync, lagging):
    streams = [
        {"stream": "one", "object": "accounts", "match_on": ["domain"]},
        {"stream": "two", "object": "accounts", "match_on": ["customId"]},
    ]
    rows = [schema("one", COMPANY, keys=()), schema("two", COMPANY, keys=())]
    rows += [company("one", n, custom_id=f"n{n}") for n in range(10)]
    rows += [company("two", n, custom_id=f"n{n}", domain=f"new{n}.example") for n in range(10)]
    run = sync(rows, streams=streams, batch_size_rows=2)
    assert run.counts("two") == {"received": 10, "updated": 10}
    assert lagging.store.count("accounts") == 10


def test_a_company_that_was_made_for_a_link_is_not_made_again_when_it_is_received(sync, lagging):
    rows = [schema("prospects", PERSON, keys=()), schema("accounts", COMPANY, keys=())]
    for n in range(10):
        said = {"email": f"p{n}@x.test", "account_domain": f"c{n}.example"}
        rows.append({"type": "RECORD", "stream": "prospects", "record": said})
    rows += [company("accounts", n) for n in range(10)]
    entry = {"stream": "prospects", "columns": {"account_domain": "account.domain"}}
    run = sync(rows, streams=[entry], on_missing_relation="create", batch_size_rows=2)
    assert run.exit_code == 0
    assert lagging.store.count("accounts") == 10


def test_people_that_the_run_made_are_found_again(sync, lagging):
    rows = [schema("prospects")]
    rows += [record("prospects", emails=f"p{n}@x.test") for n in range(10)]
    rows += [record("prospects", emails=f"p{n}@x.test", title="T") for n in range(10)]
    run = sync(rows, batch_size_rows=2)
    assert run.counts("prospects") == {"received": 20, "created": 10, "updated": 10}
    assert lagging.store.count("prospects") == 10


def test_what_was_deleted_meanwhile_is_made_again(sync, lagging, monkeypatch):
    rows = [schema("prospects")]
    rows += [record("prospects", emails="a@x.test"), record("prospects", emails="b@x.test")]
    rows += [record("prospects", emails="a@x.test", title="T")]
    genuine, seen = lagging.store.create, []

    def create(name, change):
        made = genuine(name, change)
        seen.append(made.id)
        if len(seen) == 2:
            lagging.store.delete("prospects", seen[0])
        return made

    monkeypatch.setattr(lagging.store, "create", create)
    run = sync(rows, batch_size_rows=1, max_parallel_requests=1)
    assert run.exit_code == 0
    titles = {one["attributes"]["title"] for one in lagging.store.all("prospects")}
    assert titles == {None, "T"}


PEOPLE = {name: {"type": ["null", "string", "array"]} for name in ("emails", "title", "tags")}


@pytest.mark.parametrize("size", [2, 500])
def test_what_the_run_has_changed_itself_is_not_taken_back(sync, lagging, size):
    """A later batch, or another stream, is shown what the record was before."""
    people = [
        {"emails": [f"p{n}@x.test"], "tags": ["theirs"], "createdAt": "2020-01-01T00:00:00Z"}
        for n in range(6)
    ]
    lagging.store.seed_many("prospects", people)
    rows = [schema("prospects", PEOPLE, keys=()), schema("more-prospects", PEOPLE, keys=())]
    rules = {"title": "if_empty"}
    streams = [{"stream": name, "field_rules": rules} for name in ("prospects", "more-prospects")]
    for stream, tag, title in (
        ("prospects", "one", "First"),
        ("prospects", "two", "Second"),
        ("more-prospects", "three", "Third"),
    ):
        for n in range(6):
            values = {"emails": [f"p{n}@x.test"], "tags": [tag], "title": title}
            rows.append({"type": "RECORD", "stream": stream, "record": values})
    run = sync(rows, streams=streams, batch_size_rows=size)
    assert run.exit_code == 0
    held = [one["attributes"] for one in lagging.store.all("prospects")]
    assert [one["tags"] for one in held] == [["theirs", "one", "two", "three"]] * 6
    assert [one["title"] for one in held] == ["First"] * 6


def test_a_person_is_found_by_the_address_that_the_run_gave_and_not_by_the_one_it_took(
    sync, lagging
):
    made = "2020-01-01T00:00:00Z"
    lagging.store.seed("prospects", {"emails": ["a@x.test"], "createdAt": made})
    columns = PEOPLE | {"id": {"type": ["null", "integer"]}}
    rows = [schema("prospects", columns, keys=())]
    rows += [record("prospects", id=1, emails=["b@x.test"])]
    rows += [record("prospects", emails=["b@x.test"], title="Theirs")]
    rows += [record("prospects", emails=["a@x.test"], title="New")]
    streams = [{"stream": "prospects", "columns": {"id": "id"}, "array_fields": "replace"}]
    run = sync(rows, streams=streams, batch_size_rows=1, max_parallel_requests=1)
    assert run.exit_code == 0
    held = [one["attributes"] for one in lagging.store.all("prospects")]
    assert [(one["emails"], one["title"]) for one in held] == [
        (["b@x.test"], "Theirs"),
        (["a@x.test"], "New"),
    ]


def test_what_others_change_after_the_run_is_read_where_a_list_differs(sync, lagging, monkeypatch):
    """A list that shows something else than the run wrote is older, or newer: a read tells."""
    made = "2020-01-01T00:00:00Z"
    lagging.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["x"], "createdAt": made})
    genuine = lagging.store.modify

    def modify(name, number, change):
        after = genuine(name, number, change)
        if change.method == "PATCH" and "two" not in after.attributes["tags"]:
            lagging.store.update(name, number, {"tags": [*after.attributes["tags"], "rep"]})
        return after

    monkeypatch.setattr(lagging.store, "modify", modify)
    rows = [schema("prospects", PEOPLE, keys=())]
    rows += [record("prospects", emails=["a@x.test"], tags=["one"])]
    rows += [record("prospects", emails=[f"p{n}@x.test"]) for n in range(3)]
    rows += [record("prospects", emails=["a@x.test"], tags=["two"])]
    run = sync(rows, batch_size_rows=1, max_parallel_requests=1)
    assert run.exit_code == 0
    person = lagging.store.get("prospects", 1)
    assert person["attributes"]["tags"] == ["x", "one", "rep", "two"]


@pytest.mark.slow
def test_a_person_whom_an_earlier_run_has_just_made_is_found_and_not_rejected(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, list_lag_seconds=1.2)
    sync([schema("prospects"), record("prospects", emails="a@x.test")])
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="T")])
    assert run.counts("prospects") == {"received": 1, "updated": 1}


LOST = [
    Fault("reset_after", method="POST"),
    Fault("status_after", method="POST", status=503),
    Fault("status_after", method="POST", status=408),
    Fault("truncate", method="POST"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["upsert", "insert"])
@pytest.mark.parametrize(
    "values",
    [{"emails": "a@x.test"}, {"name": "Acme"}, {"github_username": "7", "emails": "a@x.test"}],
)
@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault.kind}_{fault.status}")
def test_a_create_whose_answer_is_lost_is_there_once_where_lists_lag(
    sync, sandbox, fault, values, mode
):
    """It is looked for longer than lists are behind, before it is sent again."""
    sandbox.profile = replace(sandbox.profile, list_lag_seconds=1.2)
    sandbox.add_fault(fault)
    name = "accounts" if "name" in values else "prospects"
    columns = {column: {"type": ["null", "string"]} for column in values}
    settings = {"match_on": ["githubUsername"]} if "github_username" in values else {}
    run = sync(
        [schema(name, columns, keys=()), record(name, **values), state({"n": 1})],
        streams=[{"stream": name, "sync_mode": mode, **settings}],
    )
    assert run.exit_code == 0
    assert run.counts(name) == {"received": 1, "created": 1}
    assert run.states == [{"n": 1}]
    assert sandbox.store.count(name) == 1


def test_lists_may_be_behind_by_half_a_minute(monkeypatch):
    monkeypatch.undo()
    assert 30 <= sum(bounds.LATER_LOOKS) <= 60
