"""Reading an object whole, where that is cheaper than to look up what is to come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import record, schema

from target_outreach.sandbox import Fault


def address(number):
    return f"person.number{number:05d}@example.test"


def rows(count, start=0, **values):
    numbers = range(start, start + count)
    people = (record("prospects", id=n, emails=address(n), **values) for n in numbers)
    return [schema("prospects"), *people]


def seed(sandbox, count, **values):
    people = [{"emails": [address(n)], **values} for n in range(count)]
    sandbox.store.seed_many("prospects", people)


def reads(sandbox):
    return [entry for entry in sandbox.requests if entry.method == "GET"]


@pytest.mark.slow
def test_an_object_of_a_few_pages_is_read_whole(sync, sandbox):
    seed(sandbox, 2500, title="T")
    run = sync(rows(2500, title="T"))
    assert run.counts("prospects") == {"received": 2500, "unchanged": 2500}
    assert len(reads(sandbox)) == 3
    assert not any("filter" in entry.query for entry in reads(sandbox))
    assert "Read all prospects in 3 requests" in run.log


@pytest.mark.slow
def test_an_object_of_many_pages_is_looked_up(sync, sandbox):
    seed(sandbox, 20_000, title="T")
    run = sync(rows(2000, title="T"))
    assert run.counts("prospects") == {"received": 2000, "unchanged": 2000}
    assert sum("filter" not in entry.query for entry in reads(sandbox)) == 1
    assert len(reads(sandbox)) <= 20


def test_a_handful_of_rows_is_looked_up_without_a_first_page(sync, sandbox):
    seed(sandbox, 50)
    sync(rows(50))
    assert len(reads(sandbox)) == 1
    assert "filter" in reads(sandbox)[0].query


@pytest.mark.slow
def test_an_object_that_fits_one_page_is_read_with_one_request(sync, sandbox):
    seed(sandbox, 300, title="T")
    run = sync(rows(1000, title="T"))
    assert run.counts("prospects") == {"received": 1000, "created": 700, "unchanged": 300}
    assert len(reads(sandbox)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", ["null", "0"])
def test_a_number_that_outreach_does_not_say_or_gets_wrong_leads_to_lookups(sync, sandbox, count):
    seed(sandbox, 1500, title="T")
    body = '{"data": [], "meta": {"count": %s}, "links": {"next": "%s/prospects?page[after]=x"}}'
    first = Fault("status", path="count=true", status=200, body=body % (count, sandbox.api_url))
    sandbox.add_fault(first)
    run = sync(rows(1500, title="T"))
    assert run.counts("prospects") == {"received": 1500, "unchanged": 1500}


@pytest.mark.slow
def test_what_this_run_writes_is_found_in_what_it_has_read(sync, sandbox):
    seed(sandbox, 400, title="old")
    run = sync([*rows(600, title="A"), *rows(600, title="B")[1:]], batch_size_rows=600)
    assert run.counts("prospects") == {"received": 1200, "created": 200, "updated": 1000}
    assert sandbox.store.count("prospects") == 600
    assert {one["attributes"]["title"] for one in sandbox.store.all("prospects")} == {"B"}
    assert len(reads(sandbox)) == 1


def test_an_account_is_looked_up_again_before_it_is_created(sync, sandbox):
    sandbox.store.seed_many("accounts", [{"name": f"Company {n:05d}"} for n in range(400)])
    companies = [record("accounts", id=n, name=f"Company {n:05d}") for n in range(500)]
    run = sync([schema("accounts"), *companies])
    assert run.counts("accounts") == {"received": 500, "created": 100, "unchanged": 400}
    assert any("filter%5Bname%5D" in entry.query for entry in reads(sandbox))


def test_a_stream_that_asks_for_more_is_looked_up(sync, sandbox):
    seed(sandbox, 600, title="T", nickname="N")
    properties = {"emails": {"type": "string"}, "nickname": {"type": "string"}}
    others = [schema("b-prospects", properties, keys=())]
    others += [record("b-prospects", emails=address(n), nickname="N") for n in range(600)]
    for message in others[1:]:
        del message["record"]["id"]
    run = sync([*rows(600, title="T"), *others])
    assert run.counts("b-prospects") == {"received": 600, "unchanged": 600}


@pytest.mark.slow
def test_a_broken_character_in_what_is_read_stops_nothing(sync, sandbox):
    attributes = r'{"emails": ["\ud800@example.test"], "title": "\ud800"}'
    person = f'{{"type": "prospect", "id": "7", "attributes": {attributes}}}'
    body = f'{{"data": [{person}], "meta": {{"count": 1}}}}'
    sandbox.add_fault(Fault("status", path="count=true", status=200, body=body))
    run = sync(rows(300))
    assert run.counts("prospects") == {"received": 300, "created": 300}


@pytest.mark.slow
def test_an_address_that_is_too_long_for_a_server_is_halved(sync, sandbox):
    seed(sandbox, 20_000, title="T")
    sandbox.profile = replace(sandbox.profile, max_url_bytes=1500)
    run = sync(rows(500, title="T"))
    assert run.counts("prospects") == {"received": 500, "unchanged": 500}
    refused = [entry for entry in reads(sandbox) if entry.status == 414]
    assert 1 <= len(refused) <= 12


def test_names_with_commas_are_halved_too(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, max_url_bytes=1000)
    names = [f"Company {n:05d}, Inc. of the North" for n in range(60)]
    sandbox.store.seed_many("accounts", [{"name": name} for name in names])
    run = sync([schema("accounts"), *(record("accounts", name=name) for name in names)])
    assert run.counts("accounts") == {"received": 60, "unchanged": 60}
