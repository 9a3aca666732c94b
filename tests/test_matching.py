"""Whom a record is about, seen from outside: no stranger overwritten, no second Acme."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from conftest import ACCOUNTS, PROSPECTS, record, schema, state

from target_outreach.engine import resolver


def names(sandbox):
    return sorted(one["attributes"]["name"] for one in sandbox.store.all("accounts"))


def test_a_table_with_its_own_id_never_touches_the_prospect_of_that_id(sync, sandbox):
    stranger = sandbox.store.seed("prospects", {"emails": ["s@x.test"], "firstName": "Stranger"})
    run = sync(
        [
            schema("prospects"),
            record("prospects", id=stranger, emails="me@x.test", first_name="Me"),
        ]
    )
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert sandbox.store.get("prospects", stranger)["attributes"]["firstName"] == "Stranger"


def test_two_acmes_with_different_domains_stay_two(sync, sandbox):
    sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    messages = [
        schema("accounts"),
        record("accounts", name="Acme", domain="acme.test"),
        record("accounts", name="Acme", domain="acme.example", industry="Tools"),
    ]
    run = sync(messages)
    assert run.counts("accounts") == {"received": 2, "created": 1, "updated": 1}
    assert names(sandbox) == ["Acme", "Acme"]
    assert sync(messages).counts("accounts") == {"received": 2, "unchanged": 2}


@pytest.mark.parametrize("held", ["www.globex.test", "globex.test", "https://globex.test/"])
def test_a_domain_is_found_in_each_of_its_spellings(sync, sandbox, held):
    sandbox.store.seed("accounts", {"name": "Globex", "domain": held})
    run = sync(
        [
            schema("accounts"),
            record("accounts", name="Globex Corporation", domain="https://globex.test/"),
        ]
    )
    assert run.counts("accounts") == {"received": 1, "updated": 1}
    assert names(sandbox) == ["Globex Corporation"]


def test_a_prospect_is_found_by_any_of_its_addresses(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["old@x.test", "Work@X.test"]})
    run = sync([schema("prospects"), record("prospects", emails=["new@x.test", "work@x.test"])])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["emails"] == ["old@x.test", "Work@X.test", "new@x.test"]


def test_a_record_that_fits_two_is_rejected_with_their_ids(sync, sandbox):
    first = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    second = sandbox.store.seed("prospects", {"emails": ["b@x.test"]})
    rows = [schema("prospects"), record("prospects", emails=["a@x.test", "b@x.test"])]
    error = sync(rows).rejects[-1]["error"]
    assert error["code"] == "ambiguous_match"
    assert f"{first}, {second}" in error["message"]


@pytest.mark.parametrize(("policy", "chosen"), [("oldest", 0), ("newest", 1)])
def test_the_oldest_or_newest_of_several_is_taken_on_request(sync, sandbox, policy, chosen):
    ids = [sandbox.store.seed("accounts", {"name": "Acme"}) for _ in range(2)]
    run = sync(
        [schema("accounts"), record("accounts", name="Acme", industry="X")], on_ambiguous=policy
    )
    assert run.counts("accounts") == {"received": 1, "updated": 1}
    assert sandbox.store.get("accounts", ids[chosen])["attributes"]["industry"] == "X"


def test_a_row_whose_first_match_goes_to_another_row_is_found_by_a_later_field(sync, sandbox):
    """Its company is looked up by one field only, as long as that finds one."""
    names = ({"name": f"Company {n}", "domain": f"d{n}.test"} for n in range(1_500))
    sandbox.store.seed_many("accounts", names)  # too many to be read whole
    acme = {"name": "Acme", "customId": "C1", "domain": "acme.test"}
    first = sandbox.store.seed("accounts", acme)
    second = sandbox.store.seed("accounts", {"name": "Beta", "domain": "beta.test"})
    text = {"type": ["null", "string"]}
    columns = ACCOUNTS | {"outreach_id": {"type": ["null", "integer"]}, "custom_id": text}
    run = sync(
        [
            schema("accounts", columns),
            record("accounts", id=1, outreach_id=first, custom_id="C9"),
            record("accounts", id=2, custom_id="C1", domain="beta.test", tags=["met"]),
        ]
    )
    assert run.counts("accounts") == {"received": 2, "updated": 2}
    assert sandbox.store.get("accounts", first)["attributes"]["customId"] == "C9"
    beta = sandbox.store.get("accounts", second)["attributes"]
    assert (beta["customId"], beta["tags"]) == ("C1", ["met"])


def test_match_on_replaces_the_match_fields(sync, sandbox):
    sandbox.store.seed("accounts", {"name": "Acme", "customId": "A-1"})
    rows = [schema("accounts"), record("accounts", name="Acme", custom_id="A-2")]
    by_name = [{"stream": "accounts", "match_on": ["name"]}]
    assert sync(rows, streams=by_name).counts("accounts") == {"received": 1, "updated": 1}


def accounts(count):
    return [
        record("accounts", id=n, name=f"Company {n}", domain=f"company{n}.example")
        for n in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("cap", [1, 3, 25])
@pytest.mark.parametrize("rows_a_batch", [500, 100])
def test_lists_that_are_cut_silently_make_no_second_account(sync, sandbox, cap, rows_a_batch):
    total, existing = (500, 300) if cap == 25 else (60, 40)
    sandbox.store.seed_many(
        "accounts",
        [{"name": f"Company {n}", "domain": f"www.company{n}.example"} for n in range(existing)],
    )
    sandbox.profile = replace(sandbox.profile, list_cap=cap)
    run = sync([schema("accounts"), *accounts(total)], batch_size_rows=rows_a_batch)
    assert run.counts("accounts")["created"] == total - existing
    assert sandbox.store.count("accounts") == total
    assert "ignores some values" in run.log


@pytest.mark.slow
def test_lists_that_are_cut_cost_a_prospect_nothing_but_requests(sync, sandbox):
    people = [{"emails": [f"p{n}@x.test"], "title": "Old"} for n in range(100)]
    sandbox.store.seed_many("prospects", people)
    sandbox.profile = replace(sandbox.profile, list_cap=25)
    rows = [record("prospects", emails=f"p{n}@x.test", title="New") for n in range(120)]
    time.sleep(2.1)  # Outreach tells times in seconds; what is as new as the run may be a race
    run = sync([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 120, "created": 20, "updated": 100}
    assert run.report["requests"] < 200


def test_case_sensitive_filters_stop_the_creation_of_accounts_with_a_message(sync, sandbox):
    sandbox.store.seed("accounts", {"name": "Known", "domain": "Known.example"})
    sandbox.profile = replace(sandbox.profile, case_sensitive_filters=True)
    run = sync([schema("accounts"), *accounts(3), record("accounts", name="Known", industry="X")])
    assert run.counts("accounts") == {"received": 4, "updated": 1, "rejected": 3}
    assert {line["error"]["code"] for line in run.rejects[1:]} == {"lookup_untrusted"}
    assert run.log.count("Account creation is disabled") == 1
    assert sandbox.store.count("accounts") == 1


@pytest.mark.slow
def test_case_sensitive_filters_make_no_second_prospect(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["Ann@X.test"]})
    sandbox.profile = replace(sandbox.profile, case_sensitive_filters=True)
    run = sync([schema("prospects"), record("prospects", emails="ann@x.test", title="T")])
    assert run.rejects[-1]["error"]["code"] == "owner_not_visible"
    assert sandbox.store.count("prospects") == 1


@pytest.mark.slow
def test_an_array_is_read_again_before_it_is_replaced_when_the_reading_is_old(
    sync, sandbox, monkeypatch
):
    monkeypatch.setattr(resolver, "FRESH", 0.3)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["theirs"]})
    sandbox.profile = replace(sandbox.profile, rate_limit=2, rate_window_seconds=2)

    def edit_by_hand():
        while sandbox.request_count < 1:
            time.sleep(0.01)
        sandbox.store.update("prospects", person, {"tags": ["theirs", "human"]})

    while time.time() % 2 > 0.5:  # so that the wait for the next window is long
        time.sleep(0.01)
    threading.Thread(target=edit_by_hand, daemon=True).start()
    sandbox.spend(1)
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", tags=["ours"])])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    tags = sandbox.store.get("prospects", person)["attributes"]["tags"]
    assert tags == ["theirs", "human", "ours"]


def test_rows_of_one_key_become_one_write_that_keeps_both(sync, sandbox):
    run = sync(
        [
            schema("prospects"),
            record("prospects", emails="k@x.test", title="Head"),
            record("prospects", emails="K@x.test", title=None, phone="4155550100"),
            state({"n": 2}),
        ]
    )
    assert run.counts("prospects") == {"received": 2, "created": 1, "superseded": 1}
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Head"
    assert person["attributes"]["workPhones"] == ["+14155550100"]
    assert [write.method for write in sandbox.store.writes("prospects", person["id"])] == ["POST"]


def test_a_folded_write_that_is_refused_is_taken_apart(sync, sandbox):
    run = sync(
        [
            schema("prospects"),
            record("prospects", id=1, emails=["k@x.test"], title="Good"),
            record("prospects", id=1, emails=["k@x.test"], title="Bad", last_name="x" * 60),
        ],
    )
    assert run.counts("prospects") == {"received": 2, "created": 1, "superseded": 1}
    sandbox.profile = replace(sandbox.profile, max_name_length=50)
    run = sync(
        [
            schema("prospects"),
            record("prospects", id=1, emails=["m@x.test"], title="Good"),
            record("prospects", id=1, emails=["m@x.test"], title="Bad", last_name="x" * 60),
        ],
    )
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["record"]["title"] == "Bad"


def test_a_phone_that_outreach_writes_its_own_way_is_written_once(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, normalise_phones=True)
    rows = [schema("prospects"), record("prospects", emails="a@x.test", phone="(415) 555-0100")]
    outcomes = [sync(rows).counts("prospects") for _ in range(3)]
    assert outcomes == [{"received": 1, "created": 1}] + [{"received": 1, "unchanged": 1}] * 2
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["workPhones"] == ["+14155550100"]


def test_what_outreach_keeps_differently_is_counted_and_does_not_repeat(sync, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    sandbox.profile = replace(sandbox.profile, company_from_account=True)
    properties = PROSPECTS | {
        "company": {"type": "string"},
        "outreach_account_id": {"type": "integer"},
    }
    rows = [
        schema("prospects", properties),
        record("prospects", emails="a@x.test", company="ACME Inc", outreach_account_id=account),
    ]
    always = [{"stream": "prospects", "field_rules": {"company": "always"}}]
    first = sync(rows, streams=always)
    assert first.report["streams"]["prospects"]["kept_differently"] == {"company": 1}
    assert "kept differently by Outreach: company (1)" in first.log
    outcomes = [sync(rows).counts("prospects") for _ in range(2)]
    assert outcomes == [{"received": 1, "unchanged": 1}] * 2


def test_select_star_of_a_table_sends_nothing_that_maps_by_accident(sync, sandbox):
    dangerous = {name: {"type": "string"} for name in ("gender", "date_of_birth", "trashed_at")}
    properties = PROSPECTS | dangerous
    run = sync(
        [
            schema("prospects", properties),
            record(
                "prospects",
                emails="a@x.test",
                gender="x",
                date_of_birth="2000-01-01",
                trashed_at="2026-01-01",
            ),
        ]
    )
    assert run.counts("prospects") == {"received": 1, "created": 1}
    (post,) = [entry for entry in sandbox.requests if entry.method == "POST"]
    assert post.body["data"]["attributes"] == {"emails": ["a@x.test"]}


def test_accounts_need_no_domain(sync):
    rows = [
        schema("accounts", {"name": ACCOUNTS["name"]}, keys=()),
        record("accounts", name="Acme"),
        record("accounts", name="ACME "),
    ]
    assert sync(rows).counts("accounts") == {"received": 2, "created": 1, "superseded": 1}
