"""Two source keys that are about one record of Outreach: one of them has it, as a whole."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from conftest import ACCOUNTS, PROSPECTS, record, schema, state

ANA = {"id": 1, "emails": ["info@x.test"], "first_name": "Ana", "title": "Buyer"}
BEN = {"id": 2, "emails": ["info@x.test"], "first_name": "Ben", "title": None}


def people(*rows, stream="prospects"):
    return [schema(stream), *(record(stream, **row) for row in rows), state({"n": len(rows)})]


def companies(*rows):
    return [schema("accounts"), *(record("accounts", **row) for row in rows), state({"n": 1})]


def names(sandbox, kind="prospects"):
    return [one["attributes"].get("firstName") for one in sandbox.store.all(kind)]


def writes(sandbox):
    return [one.method for one in sandbox.requests if one.method in {"POST", "PATCH"}]


@pytest.fixture(params=[1, 500], ids=["batches of 1", "one batch"])
def size(request):
    return {"batch_size_rows": request.param}


def test_the_second_of_two_keys_with_one_address_is_rejected(sync, sandbox, size):
    run = sync(people(ANA, BEN), **size)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.report["streams"]["prospects"]["rejected_by_code"] == {"duplicate_source_row": 1}
    reject = run.rejects[-1]
    assert reject["record"]["id"] == 2
    assert reject["error"]["code"] == "duplicate_source_row"
    assert "line 2 of the input" in reject["error"]["message"]
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ana"
    assert person["attributes"]["title"] == "Buyer"
    assert writes(sandbox) == ["POST"]
    assert run.states[-1] == {"n": 2}
    assert "1 rejected because of duplicate_source_row" in run.log


@pytest.mark.parametrize("held", [True, False])
def test_a_second_address_is_enough(sync, sandbox, size, held):
    if held:
        sandbox.store.seed("prospects", {"emails": ["ana@x.test", "office@x.test"]})
    ana = ANA | {"emails": ["ana@x.test", "office@x.test"]}
    ben = BEN | {"emails": ["ben@x.test", "office@x.test"]}
    run = sync(people(ana, ben), **size)
    assert run.counts("prospects")["rejected"] == 1
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ana"
    assert person["attributes"]["emails"] == ["ana@x.test", "office@x.test"]


def test_two_addresses_of_one_person_in_outreach_are_one_record(sync, sandbox, size):
    sandbox.store.seed("prospects", {"emails": ["ana@x.test", "ben@x.test"], "firstName": "Ana"})
    rows = people(ANA | {"emails": ["ana@x.test"]}, BEN | {"emails": ["ben@x.test"]})
    run = sync(rows, **size)
    assert run.counts("prospects") == {"received": 2, "updated": 1, "rejected": 1}
    assert names(sandbox) == ["Ana"]


def test_a_row_that_changes_nothing_claims_too(sync, sandbox, size):
    same = {"emails": ["ana@x.test", "ben@x.test"], "firstName": "Ana"}
    sandbox.store.seed("prospects", same)
    rows = [{"id": n, "emails": same["emails"], "first_name": "Ana"} for n in (1, 2)]
    run = sync(people(*rows), **size)
    assert run.counts("prospects") == {"received": 2, "unchanged": 1, "rejected": 1}
    assert writes(sandbox) == []


def test_a_record_that_is_named_by_its_id_has_one_row(sync, sandbox, size):
    person = sandbox.store.seed("prospects", {"emails": ["info@x.test"], "firstName": "Ana"})
    properties = PROSPECTS | {"outreach_id": {"type": ["null", "integer"]}}
    rows = [
        schema("prospects", properties),
        record("prospects", id=7, emails=["info@x.test"], title="Buyer", outreach_id=None),
        record("prospects", id=8, outreach_id=person, title="Head"),
        record("prospects", id=7, outreach_id=person, title="Boss"),
    ]
    run = sync(rows, **size)
    assert run.counts("prospects")["rejected"] == 1
    assert sandbox.store.get("prospects", person)["attributes"]["title"] == "Boss"


def test_two_companies_of_one_name_are_not_mixed(sync, sandbox, size):
    rows = companies(
        {"id": 1, "name": "Acme", "industry": "Paper"},
        {"id": 2, "name": "ACME", "industry": "Rockets"},
        {"id": 3, "name": "Acme", "industry": "Soap", "domain": "acme.test"},
    )
    run = sync(rows, **size)
    assert run.counts("accounts")["rejected"] == 2
    (account,) = sandbox.store.all("accounts")
    assert account["attributes"]["industry"] == "Paper"


def test_companies_with_domains_of_their_own_may_have_one_name(sync, size):
    rows = companies(
        {"id": 1, "name": "Acme", "domain": "acme.test"},
        {"id": 2, "name": "Acme", "domain": "acme.example"},
    )
    run = sync(rows, **size)
    assert run.counts("accounts") == {"received": 2, "created": 2}


def test_versions_of_one_key_still_follow_each_other(sync, sandbox, size):
    later = ANA | {"first_name": "Anna", "title": None}
    run = sync(people(ANA, BEN, later), **size)
    assert run.counts("prospects")["rejected"] == 1
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Anna"
    assert person["attributes"]["title"] == "Buyer"


def test_versions_of_one_key_fold(sync):
    run = sync(people(ANA, ANA | {"first_name": "Anna"}))
    assert run.counts("prospects") == {"received": 2, "created": 1, "superseded": 1}


def test_a_stream_without_key_properties_keeps_its_rule(sync, sandbox, size):
    rows = [schema("prospects", keys=()), *people(ANA, BEN)[1:]]
    run = sync(rows, **size)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert (person["attributes"]["firstName"], person["attributes"]["title"]) == ("Ben", "Buyer")


def test_another_stream_may_add_to_the_same_record(sync, sandbox, size):
    rows = [
        *people(ANA),
        *people({"id": 9, "emails": ["info@x.test"], "last_name": "Li"}, stream="b"),
    ]
    run = sync(rows, streams=[{"stream": "b", "object": "prospects"}], **size)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert (person["attributes"]["firstName"], person["attributes"]["lastName"]) == ("Ana", "Li")


def test_the_other_row_is_accepted_once_the_first_is_gone(sync, sandbox):
    sync(people(ANA, BEN))
    run = sync(people(BEN))
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert names(sandbox) == ["Ben"]


def test_a_row_that_outreach_refuses_claims_nothing(sync, sandbox, size):
    bad = ANA | {"emails": ["info@x.test", "nobody"]}
    run = sync(people(bad, BEN), **size)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert names(sandbox) == ["Ben"]


def test_a_duplicate_has_no_account_made_for_it(sync, sandbox, size):
    properties = PROSPECTS | {"account_name": {"type": "string"}}
    rows = [
        schema("prospects", properties),
        record("prospects", **ANA, account_name="First"),
        record("prospects", **BEN, account_name="Second"),
    ]
    columns = {"account_name": "account.name"}
    streams = [{"stream": "prospects", "columns": columns, "on_missing_relation": "create"}]
    run = sync(rows, streams=streams, **size)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert [one["attributes"]["name"] for one in sandbox.store.all("accounts")] == ["First"]


def test_a_dry_run_plans_the_reject(sync, size, tmp_path):
    plan = tmp_path / "plan.jsonl"
    run = sync(people(ANA, BEN), dry_run=True, changes_path=str(plan), **size)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    first, second = map(json.loads, plan.read_text("utf-8").splitlines())
    assert first["action"] == "create"
    assert (second["action"], second["reason"]) == ("reject", "duplicate_source_row")
    assert "line 2 of the input" in second["message"]


# The last row has it


@pytest.mark.parametrize("per_stream", [True, False])
def test_the_last_row_can_have_the_record_as_a_whole(sync, sandbox, size, per_stream):
    last = {"on_duplicate": "last"}
    settings = {"streams": [{"stream": "prospects", **last}]} if per_stream else last
    run = sync(people(ANA, BEN), **settings, **size)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ben"
    assert not person["attributes"].get("title")
    if size["batch_size_rows"] > 1:
        assert run.counts("prospects") == {"received": 2, "created": 1, "superseded": 1}
        assert writes(sandbox) == ["POST"]


def test_the_last_row_takes_over_lists_and_links_too(sync, sandbox, size):
    ana = ANA | {"emails": ["ana@x.test", "office@x.test"], "tags": ["vip"], "phone": "4155550100"}
    ben = BEN | {"emails": ["ben@x.test", "office@x.test"], "tags": None}
    run = sync(people(ana, ben), on_duplicate="last", **size)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["emails"] == ["ben@x.test", "office@x.test"]
    assert not person["attributes"].get("tags")
    assert not person["attributes"].get("workPhones")
    assert not person["attributes"].get("title")


def test_what_others_wrote_stays_when_the_last_row_takes_over(sync, sandbox, size):
    sandbox.store.seed(
        "prospects", {"emails": ["info@x.test", "own@x.test"], "lastName": "Li", "title": "Chief"}
    )
    run = sync(
        people(ANA | {"last_name": None}, BEN | {"last_name": None}), on_duplicate="last", **size
    )
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ben"
    assert person["attributes"]["lastName"] == "Li"
    assert person["attributes"]["emails"] == ["info@x.test", "own@x.test"]
    assert person["attributes"].get("title") != "Buyer"


@pytest.mark.parametrize("is_there", [True, False], ids=["an old record", "a new one"])
def test_what_others_added_stays_when_the_last_row_takes_over(sync, sandbox, is_there):
    if is_there:
        sandbox.store.seed("prospects", {"emails": ["info@x.test"], "tags": ["theirs"]})
    other = {"emails": ["info@x.test", "own@x.test"], "tags": ["theirs"]}
    rows = [
        *people(ANA | {"tags": ["vip"]})[:-1],
        *people({"id": 9, **other}, stream="crm-prospects")[:-1],
        *people(BEN | {"tags": None}),
    ]
    sync(rows, on_duplicate="last", batch_size_rows=1)
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ben"
    assert person["attributes"]["emails"] == ["info@x.test", "own@x.test"]
    assert person["attributes"]["tags"] == ["theirs"]


def test_what_others_filled_in_stays_when_the_last_row_takes_over(sync, sandbox):
    columns = PROSPECTS | {"city": {"type": ["null", "string"]}}
    rows = [
        schema("prospects", columns),
        record("prospects", **ANA),
        *people({"id": 9, "emails": ["info@x.test"], "city": "Bern"}, stream="crm-prospects"),
        record("prospects", **BEN, city="Rome"),
    ]
    rows[2]["schema"]["properties"] |= {"city": columns["city"]}
    entry = {"stream": "prospects", "field_rules": {"addressCity": "if_empty"}}
    sync(rows, streams=[entry], on_duplicate="last", batch_size_rows=1)
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["firstName"] == "Ben"
    assert person["attributes"]["addressCity"] == "Bern"


@pytest.mark.parametrize("rule", ["on_create", "if_empty", "never"])
def test_the_last_row_is_linked_by_the_rules_of_a_new_record(sync, sandbox, size, rule):
    rows = [
        schema("prospects", PROSPECTS | {"account_name": {"type": ["null", "string"]}}),
        record("prospects", **ANA),
        record("prospects", **BEN, tags=["vip"], account_name="Acme"),
    ]
    entry = {"stream": "prospects", "field_rules": {"account": rule}}
    settings = {"streams": [entry], "on_missing_relation": "create"}
    run = sync(rows, on_duplicate="last", **settings, **size)
    assert run.exit_code == 0
    assert names(sandbox) == ["Ben"]
    accounts = [one["attributes"]["name"] for one in sandbox.store.all("accounts")]
    assert accounts == ([] if rule == "never" else ["Acme"])


def test_where_the_last_row_is_refused_the_earlier_one_has_the_record(sync, sandbox, size):
    sandbox.profile = replace(sandbox.profile, max_name_length=50)
    run = sync(people(ANA, BEN | {"last_name": "x" * 60}), on_duplicate="last", **size)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert names(sandbox) == ["Ana"]


@pytest.mark.parametrize("allow_opt_in", [False, True])
def test_an_opt_out_of_the_earlier_row_stays(sync, sandbox, size, allow_opt_in):
    properties = PROSPECTS | {"opted_out": {"type": ["null", "boolean"]}}
    rows = [
        schema("prospects", properties),
        record("prospects", **ANA, opted_out=True),
        record("prospects", **BEN, opted_out=None),
    ]
    sync(rows, on_duplicate="last", allow_opt_in=allow_opt_in, **size)
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["optedOut"] is True


def test_the_last_row_takes_no_name_from_an_account(sync, sandbox, size):
    """An account cannot be without."""
    columns = ACCOUNTS | {"custom_id": {"type": ["null", "string"]}}
    rows = [
        schema("accounts", columns),
        record("accounts", id=1, custom_id="C1", name="Acme", tags=["met"]),
        record("accounts", id=2, custom_id="C1", name=None, domain="acme.test"),
    ]
    entry = {"stream": "accounts", "match_on": ["customId"]}
    run = sync(rows, on_duplicate="last", streams=[entry], **size)
    (account,) = sandbox.store.all("accounts")
    assert account["attributes"]["name"] == "Acme"
    assert account["attributes"]["domain"] == "acme.test"
    assert "rejected" not in run.counts("accounts")


# With a memory


def memory(tmp_path, **more):
    path = str(tmp_path / "memory.db")
    return {"memory_path": path, "change_detection": "source", **more}


@pytest.mark.parametrize("order", [(ANA, BEN), (BEN, ANA)], ids=["as before", "turned round"])
def test_with_a_memory_the_owner_keeps_the_record(sync, sandbox, size, tmp_path, order):
    settings = memory(tmp_path, **size)
    sync(people(ANA, BEN), **settings)
    seen = len(writes(sandbox))
    for _ in range(2):
        run = sync(people(*order), **settings)
        assert run.counts("prospects") == {"received": 2, "unchanged": 1, "rejected": 1}
        assert run.rejects[-1]["record"]["id"] == 2
        assert run.report["streams"]["prospects"]["edited_by_others"] == {}
        assert "changed by others" not in run.log
    assert len(writes(sandbox)) == seen
    assert names(sandbox) == ["Ana"]


def test_with_a_memory_two_companies_of_one_name_write_once(sync, sandbox, size, tmp_path):
    rows = [
        schema(
            "accounts",
            {"id": ACCOUNTS["id"], "name": ACCOUNTS["name"], "industry": ACCOUNTS["industry"]},
        ),
        record("accounts", id=1, name="Acme", industry="Paper"),
        record("accounts", id=2, name="Acme", industry="Rockets"),
    ]
    runs = [sync(rows, **memory(tmp_path, **size)) for _ in range(3)]
    assert writes(sandbox) == ["POST"]
    assert all(run.counts("accounts")["rejected"] == 1 for run in runs)
    assert all("changed by others" not in run.log for run in runs)


def test_with_a_memory_the_last_row_stays(sync, sandbox, tmp_path):
    settings = memory(tmp_path, on_duplicate="last")
    runs = [sync(people(ANA, BEN), **settings) for _ in range(3)]
    assert [run.exit_code for run in runs] == [0, 0, 0]
    assert writes(sandbox) == ["POST"]
    assert names(sandbox) == ["Ben"]
    assert all("changed by others" not in run.log for run in runs)


def test_with_a_memory_a_row_that_moves_on_leaves_its_record_to_who_has_it_now(
    sync, sandbox, size, tmp_path
):
    settings = memory(tmp_path, on_duplicate="last", array_fields="replace", **size)
    sync(people(ANA), **settings)
    moved = ANA | {"emails": ["ana@x.test"]}
    for _ in range(2):
        assert sync(people(BEN, moved), **settings).exit_code == 0
        held = [one["attributes"] for one in sandbox.store.all("prospects")]
        assert [(one["firstName"], *one["emails"]) for one in held] == [
            ("Ben", "info@x.test"),
            ("Ana", "ana@x.test"),
        ]


def test_a_memory_says_nothing_false_where_rows_take_turns(sync, sandbox, tmp_path):
    settings = memory(tmp_path, on_duplicate="last", batch_size_rows=1)
    runs = [sync(people(ANA, BEN), **settings) for _ in range(3)]
    assert names(sandbox) == ["Ben"]
    assert all(run.exit_code == 0 for run in runs)
    assert all("changed by others" not in run.log for run in runs)


def test_a_record_of_two_streams_is_not_said_to_be_changed_by_others(sync, sandbox, size, tmp_path):
    other = people(BEN | {"title": "Head"}, stream="b")
    rows = [*people(ANA), *other]
    streams = [{"stream": "b", "object": "prospects"}]
    runs = [sync(rows, **memory(tmp_path, streams=streams, **size)) for _ in range(3)]
    assert names(sandbox) == ["Ben"]
    assert all(run.exit_code == 0 for run in runs)
    assert all("changed by others" not in run.log for run in runs)


def test_a_memory_counts_under_every_change_detection(sync, sandbox, size, tmp_path):
    settings = memory(tmp_path, **size) | {"change_detection": "outreach"}
    sync(people(ANA, BEN), **settings)
    run = sync(people(BEN, ANA), **settings)
    assert run.counts("prospects") == {"received": 2, "unchanged": 1, "rejected": 1}
    assert names(sandbox) == ["Ana"]


def test_a_run_with_the_last_row_hands_the_record_over(sync, sandbox, tmp_path):
    settings = memory(tmp_path)
    sync(people(ANA, BEN), **settings)
    assert sync(people(BEN), **settings).counts("prospects")["rejected"] == 1
    assert sync(people(BEN), **settings, on_duplicate="last").exit_code == 0
    run = sync(people(ANA, BEN), **settings)
    assert run.rejects[-1]["record"]["id"] == 1
    assert names(sandbox) == ["Ben"]


def test_a_row_that_is_deleted_in_its_source_gives_the_record_free(sync, sandbox, size, tmp_path):
    properties = PROSPECTS | {"_sdc_deleted_at": {"type": ["null", "string"]}}
    settings = memory(tmp_path, **size)
    sync([schema("prospects", properties), record("prospects", **ANA)], **settings)
    gone = record("prospects", **ANA, _sdc_deleted_at="2026-01-01T00:00:00Z")
    run = sync([schema("prospects", properties), gone], **settings)
    assert run.counts("prospects") == {"received": 1, "skipped": 1}
    run = sync(people(BEN), **settings)
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert names(sandbox) == ["Ben"]


def test_a_row_that_comes_and_is_deleted_in_one_run_gives_the_record_free(
    sync, sandbox, size, tmp_path
):
    properties = PROSPECTS | {"_sdc_deleted_at": {"type": ["null", "string"]}}
    settings = memory(tmp_path, **size)
    gone = record("prospects", **ANA, _sdc_deleted_at="2024-01-01T00:00:00Z")
    sync([schema("prospects", properties), record("prospects", **ANA), gone], **settings)
    run = sync([schema("prospects", properties), record("prospects", **BEN)], **settings)
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert names(sandbox) == ["Ben"]


# Rejects that are sent again


def test_a_duplicate_that_is_sent_again_before_the_input_leaves_the_record_to_it(
    sync, sandbox, tmp_path
):
    settings = {"rejects_path": str(tmp_path / "kept"), "retry_rejects": True}
    for _ in range(3):
        run = sync(people(ANA, BEN), **settings)
        assert run.exit_code == 3
        (person,) = sandbox.store.all("prospects")
        assert person["attributes"]["firstName"] == "Ana"
        assert person["attributes"]["title"] == "Buyer"
