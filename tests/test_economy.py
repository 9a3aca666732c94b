"""What a run costs: requests a record, and really parallel writes."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from conftest import record, schema, state


def people(count, **values):
    return [
        record("prospects", id=n, emails=f"person.number{n:05d}@example.test", **values)
        for n in range(count)
    ]


@pytest.mark.slow
def test_a_thousand_rows_of_which_300_exist_need_at_most_1_02_requests_a_row(sync, sandbox):
    rows = people(1000, title="New")
    sandbox.store.seed_many(
        "prospects",
        [{"emails": [row["record"]["emails"]], "title": "Old"} for row in rows[:300]],
    )
    run = sync([schema("prospects"), *rows, state({"at": 1000})])
    assert run.counts("prospects") == {"received": 1000, "created": 700, "updated": 300}
    assert run.report["requests"] <= 1020
    assert run.report["requests"] == sandbox.request_count
    assert sandbox.store.count("prospects") == 1000
    assert {one["attributes"]["title"] for one in sandbox.store.all("prospects")} == {"New"}


def test_unchanged_rows_need_at_most_one_request_in_a_hundred(sync, sandbox):
    rows = people(1000, title="Same")
    sandbox.store.seed_many(
        "prospects",
        [{"emails": [row["record"]["emails"]], "title": "Same"} for row in rows],
    )
    run = sync([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 1000, "unchanged": 1000}
    assert run.report["requests"] <= 10


@pytest.mark.slow
def test_lookups_stay_below_6_kb_and_ask_for_the_mapped_attributes_only(sync, sandbox):
    sync([schema("prospects"), *people(170)])
    lookups = [entry for entry in sandbox.requests if "filter" in entry.query]
    assert len(lookups) == 1
    for entry in lookups:
        assert len(sandbox.url) + len(entry.path) + 1 + len(entry.query) <= 6000
        asked = dict(entry.parameters)
        assert asked["count"] == "false"
        assert set(asked["fields[prospect]"].split(",")) == {
            *("emails", "firstName", "lastName", "title", "workPhones", "tags", "createdAt")
        }


@pytest.mark.parametrize("name", ["Acme, Inc.", "A..Z", "Plus+ & Co=?#%", "Bücher GmbH"])
def test_any_name_is_found_again(sync, name):
    messages = [schema("accounts"), record("accounts", name=name)]
    assert sync(messages).counts("accounts") == {"received": 1, "created": 1}
    assert sync(messages).counts("accounts") == {"received": 1, "unchanged": 1}


@pytest.mark.parametrize("address", ["a+b@example.test", "O'Hara@example.test", "ü@example.test"])
def test_any_address_is_found_again(sync, address):
    messages = [schema("prospects"), record("prospects", emails=[address])]
    assert sync(messages).counts("prospects") == {"received": 1, "created": 1}
    assert sync(messages).counts("prospects") == {"received": 1, "unchanged": 1}


@pytest.mark.slow
def test_writes_are_in_flight_together(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.05)
    began = time.monotonic()
    sync([schema("prospects"), *people(80)], max_parallel_requests=8)
    assert time.monotonic() - began < 80 * 0.05 * 0.6  # one after the other would take 4 seconds
    writes = [entry for entry in sandbox.requests if entry.method == "POST"]
    moments = [(entry.started, 1) for entry in writes] + [(entry.ended, -1) for entry in writes]
    in_flight = most = 0
    for _, step in sorted(moments):
        in_flight += step
        most = max(most, in_flight)
    assert 4 <= most <= 8


@pytest.mark.slow
def test_a_small_limit_is_waited_out_without_a_refusal_that_could_be_foreseen(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, rate_limit=40, rate_window_seconds=2)
    run = sync([schema("prospects"), *people(100)])
    assert run.counts("prospects") == {"received": 100, "created": 100}
    assert sum(entry.status == 429 for entry in sandbox.requests) <= 2
    assert "Waiting until" in run.log


@pytest.mark.slow
@pytest.mark.parametrize("style", ["delta", "epoch", "iso", "none"])
@pytest.mark.parametrize("headers", ["single", "double", "none"])
def test_a_refusal_for_the_limit_is_waited_out_in_whatever_form_it_comes(
    sync, sandbox, style, headers
):
    sandbox.profile = replace(
        sandbox.profile,
        rate_limit=15,
        rate_window_seconds=1,
        retry_after=style,
        limit_headers=headers,
    )
    run = sync([schema("prospects"), *people(20)])
    assert run.counts("prospects") == {"received": 20, "created": 20}
    assert run.exit_code == 0


def test_request_budget_percent_leaves_half_the_limit_to_others(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, rate_limit=100, rate_window_seconds=3600)
    run = sync([schema("prospects"), *people(90)], request_budget_percent=50, max_wait_minutes=0)
    assert run.exit_code == 4
    assert 45 <= sandbox.request_count <= 51
    assert "max_wait_minutes" in run.log


def test_max_requests_ends_the_run_so_that_the_next_one_goes_on(sync, sandbox):
    rows = people(50)
    messages = [schema("prospects")]
    for row in rows:
        messages += [row, state({"at": row["record"]["id"]})]
    first = sync(messages, max_requests=21, batch_size_rows=10)
    assert first.exit_code == 4
    assert sandbox.request_count == 21
    done = first.states[-1]["at"] + 1 if first.states else 0
    assert done <= sandbox.store.count("prospects") < 50
    second = sync([schema("prospects"), *rows[done:]])
    assert second.exit_code == 0
    assert sandbox.store.count("prospects") == 50


@pytest.mark.parametrize("sends_state", [True, False])
def test_an_early_end_without_state_says_that_the_next_run_starts_over(sync, sends_state):
    messages = [schema("prospects"), *people(150)]
    if sends_state:
        messages.insert(11, state({"at": 10}))
    run = sync(messages, max_requests=40, batch_size_rows=10)  # two batches are under way at once
    assert run.exit_code == 4
    assert run.report["cost"]["requests_a_year_if_hourly"] is None
    assert ("No STATE could be passed on" in run.log) is not sends_state


@pytest.mark.slow
def test_the_next_batch_is_looked_up_while_this_one_is_written(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.02)
    known = [{"emails": [f"held{n}@example.test"]} for n in range(3000)]
    sandbox.store.seed_many("prospects", known)  # too many to be read whole
    run = sync([schema("prospects"), *people(150)], batch_size_rows=50)
    assert run.counts("prospects") == {"received": 150, "created": 150}
    methods = [one.method for one in sandbox.requests]
    lookups = [at for at, method in enumerate(methods) if method == "GET"]
    assert len(lookups) == 3
    written_before = [methods[:at].count("POST") for at in lookups]
    assert written_before[0] == 0
    assert written_before[1] < 50
    assert 50 <= written_before[2] < 100
