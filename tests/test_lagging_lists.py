"""Lists that show a record only some seconds after it was made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import record, schema

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


def test_what_was_deleted_meanwhile_is_made_anew(sync, lagging, monkeypatch):
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
