"""Updates many at a time, by an endpoint of which nobody knows how it behaves."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import lines, record, schema, state
from sandbox_client import adjust

from target_outreach import bounds
from target_outreach.engine import resolver
from target_outreach.engine.bulk import BulkWrites
from target_outreach.engine.import_sizing import FIRST_SIZE, MOST, ImportSizing
from target_outreach.outreach import imports
from target_outreach.outreach.imports import Ending, Imports
from target_outreach.outreach.lookup import Lookup
from target_outreach.outreach.pacing import Pacer
from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import Fault
from target_outreach.sandbox.profile import Profile

KILLS = 8 if os.environ.get("CI") else 3
START = "/api/v2/imports/actions/bulkUpsert"
WARNING = "bulk_writes is switched off for the rest of this run"

pytestmark = pytest.mark.usefixtures("quick_imports")


@pytest.fixture
def bulk_sync(sync):
    """Run the target with bulk updates."""

    def _sync(messages, **settings):
        return sync(messages, **({"bulk_writes": "updates"} | settings))

    return _sync


def seed(sandbox, count, **attributes):
    """Put people into Outreach whose title is old."""
    rows = [{"emails": [f"p{n}@x.test"], "title": "old", **attributes} for n in range(count)]
    return sandbox.store.seed_many("prospects", rows)


def people(count, start=0, **values):
    """The same people with another title, and a STATE after each."""
    messages = [schema("prospects")]
    for n in range(start, start + count):
        row = {"emails": [f"p{n}@x.test"], "title": "new", **values}
        messages += [record("prospects", id=n, **row), state({"n": n + 1})]
    return messages


def titles(sandbox):
    return Counter(one["attributes"]["title"] for one in sandbox.store.all("prospects"))


def sent(sandbox, method, path=""):
    return [one for one in sandbox.requests if one.method == method and path in one.path]


def sizes(sandbox):
    return [one.total for one in sandbox.store.imports()]


def test_changed_records_are_imported_and_no_other_write_is_sent(bulk_sync, sandbox):
    seed(sandbox, 70)
    run = bulk_sync(people(70))
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 70, "updated": 70}
    assert run.states[-1] == {"n": 70}
    assert titles(sandbox) == {"new": 70}
    assert sizes(sandbox) == [10, 20, 40]
    assert {one.path for one in sandbox.requests if one.method != "GET"} == {START}
    assert {one.dupe_method for one in sandbox.store.imports()} == {"overwriteNoCreate"}
    assert WARNING not in run.log


def test_only_what_differs_is_sent_with_whole_ids(bulk_sync, sandbox):
    ids = seed(sandbox, 4, firstName="Same")
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    columns = {"outreach_account_id": {"type": ["null", "integer"]}}
    rows = people(4, first_name="Same", outreach_account_id=account)
    rows[0]["schema"]["properties"] |= columns
    bulk_sync(rows)
    (start,) = sent(sandbox, "POST")
    link = {"account": {"data": {"type": "account", "id": account}}}
    assert [one["data"] for one in start.body["data"]["attributes"]["records"]] == [
        {"type": "prospect", "id": n, "attributes": {"title": "new"}, "relationships": link}
        for n in ids
    ]


def test_it_is_off_unless_it_is_switched_on(sync, sandbox):
    seed(sandbox, 20)
    assert sync(people(20)).counts("prospects") == {"received": 20, "updated": 20}
    assert sizes(sandbox) == []
    assert len(sent(sandbox, "PATCH")) == 20


def test_a_dry_run_imports_nothing(bulk_sync, sandbox):
    seed(sandbox, 20)
    run = bulk_sync(people(20), dry_run=True)
    assert run.counts("prospects") == {"received": 20, "updated": 20}
    assert {one.method for one in sandbox.requests} == {"GET"}


def test_records_that_are_not_there_are_created_one_at_a_time(bulk_sync, sandbox):
    seed(sandbox, 30)
    run = bulk_sync(people(60))
    assert run.counts("prospects") == {"received": 60, "created": 30, "updated": 30}
    assert titles(sandbox) == {"new": 60}
    assert sizes(sandbox) == [10, 20]
    assert len(sent(sandbox, "POST", "/prospects")) == 30
    assert sent(sandbox, "PATCH") == []


def test_a_few_records_cost_less_one_at_a_time(bulk_sync, sandbox):
    seed(sandbox, 3)
    run = bulk_sync(people(3))
    assert run.counts("prospects") == {"received": 3, "updated": 3}
    assert sizes(sandbox) == []
    assert len(sent(sandbox, "PATCH")) == 3


def test_accounts_and_prospects_go_into_imports_of_their_own(bulk_sync, sandbox):
    seed(sandbox, 10)
    sandbox.store.seed_many("accounts", [{"name": f"Company {n}"} for n in range(10)])
    rows = [record("accounts", name=f"Company {n}", industry="Mining") for n in range(10)]
    run = bulk_sync([schema("accounts"), *rows, *people(10)])
    assert run.counts("accounts") == {"received": 10, "updated": 10}
    assert run.counts("prospects") == {"received": 10, "updated": 10}
    assert sorted(sizes(sandbox)) == [10, 10]
    assert sent(sandbox, "PATCH") == []


# Refusals


@pytest.mark.parametrize(
    ("status", "tries"),
    [
        *((status, 2) for status in (400, 413, 422)),
        *((status, 1) for status in (403, 404, 405, 409, 415, 500, 501, 502, 503, 504)),
    ],
)
def test_a_refusal_leads_back_to_single_writes_with_one_line(bulk_sync, sandbox, status, tries):
    seed(sandbox, 30)
    adjust(sandbox, import_refusal=status)
    run = bulk_sync(people(30), batch_size_rows=15)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert titles(sandbox) == {"new": 30}
    assert len(sent(sandbox, "POST")) == tries
    assert len(sent(sandbox, "PATCH")) == 30
    assert run.log.count(WARNING) == 1
    assert f"{status}" in next(line for line in run.log.splitlines() if WARNING in line)


def test_a_missing_scope_is_named_and_all_is_delivered(bulk_sync, sandbox, config):
    seed(sandbox, 12)
    adjust(sandbox, tokens={config["access_token"]: ["prospects.all"]})
    run = bulk_sync(people(12))
    assert run.counts("prospects") == {"received": 12, "updated": 12}
    assert "imports.write" in next(line for line in run.log.splitlines() if WARNING in line)


def test_imports_whose_state_cannot_be_read_are_judged_by_their_records(bulk_sync, sandbox, config):
    seed(sandbox, 30)
    adjust(sandbox, tokens={config["access_token"]: ["prospects.all", "imports.write"]})
    run = bulk_sync(people(30))
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert sizes(sandbox) == [10, 20]
    assert sent(sandbox, "PATCH") == []


def test_a_token_that_is_refused_is_one_sentence(bulk_sync, sandbox):
    seed(sandbox, 12)
    sandbox.add_fault(Fault("status", method="POST", path="imports", status=401))
    sandbox.add_fault(Fault("status", method="GET", path="filter[id]", status=401, times=None))
    run = bulk_sync(people(12))
    assert run.exit_code == 1
    assert WARNING not in run.log
    assert run.log.count("Outreach refuses the access token (401)") == 1
    assert run.counts("prospects") == {"received": 12, "unsettled": 12}


def test_an_endpoint_that_alone_refuses_the_token_is_not_used(bulk_sync, sandbox):
    seed(sandbox, 12)
    sandbox.add_fault(Fault("status", method="POST", path="imports", status=401, times=None))
    run = bulk_sync(people(12))
    assert run.counts("prospects") == {"received": 12, "updated": 12}
    assert run.log.count(WARNING) == 1


# Form, size, states


@pytest.mark.parametrize("invalid", ["record", "attribute", "request", "import"])
def test_the_other_form_of_a_record_is_tried_once(bulk_sync, sandbox, invalid):
    seed(sandbox, 70)
    adjust(sandbox, import_shape="flat", import_invalid=invalid)
    run = bulk_sync(people(70))
    assert run.counts("prospects") == {"received": 70, "updated": 70}
    assert titles(sandbox) == {"new": 70}
    wrapped = [
        "data" in one.body["data"]["attributes"]["records"][0] for one in sent(sandbox, "POST")
    ]
    assert wrapped == [True, False, False, False]
    assert sent(sandbox, "PATCH") == []
    assert WARNING not in run.log


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_limit_to_the_number_of_records_is_found(bulk_sync, sandbox, status):
    seed(sandbox, 500)
    adjust(sandbox, import_record_limit=100, import_limit_status=status)
    run = bulk_sync(people(500))
    assert run.counts("prospects") == {"received": 500, "updated": 500}
    assert sizes(sandbox)[:5] == [10, 20, 40, 80, 80]
    assert len(sent(sandbox, "POST")) == len(sizes(sandbox)) + 1
    assert sent(sandbox, "PATCH") == []
    assert WARNING not in run.log


def test_a_limit_to_the_size_of_a_request_is_found(bulk_sync, sandbox):
    seed(sandbox, 200)
    adjust(sandbox, import_max_bytes=5000)
    run = bulk_sync(people(200))
    assert run.counts("prospects") == {"received": 200, "updated": 200}
    assert max(sizes(sandbox)) >= 20
    assert sent(sandbox, "PATCH") == []


@pytest.mark.slow
@pytest.mark.parametrize("invalid", ["request", "import"])
def test_a_record_that_fails_its_import_costs_few_single_writes(bulk_sync, sandbox, invalid):
    seed(sandbox, 300)
    adjust(sandbox, import_invalid=invalid, max_name_length=10)
    rows = people(300)
    rows[1 + 2 * 200]["record"]["first_name"] = "Maximiliana"
    run = bulk_sync(rows)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 300, "updated": 299, "rejected": 1}
    assert titles(sandbox) == {"new": 299, "old": 1}
    assert len(sent(sandbox, "PATCH")) <= FIRST_SIZE
    assert WARNING not in run.log


@pytest.mark.parametrize("names", ["ABCD", ["Queued", "RUNNING", "Complete", "Error"]])
def test_states_of_other_names_are_understood_by_what_was_written(bulk_sync, sandbox, names):
    seed(sandbox, 70)
    adjust(sandbox, import_states=names, import_pending_seconds=0.02)
    run = bulk_sync(people(70))
    assert run.counts("prospects") == {"received": 70, "updated": 70}
    assert sizes(sandbox) == [10, 20, 40]
    assert sent(sandbox, "PATCH") == []
    assert WARNING not in run.log


# What is not written


@pytest.mark.slow
@pytest.mark.parametrize("counts", ["honest", "silent"])
@pytest.mark.parametrize("share", ["import_lost_share", "import_failed_share"])
def test_what_an_import_ignores_is_written_whatever_it_counts(bulk_sync, sandbox, share, counts):
    seed(sandbox, 150)
    adjust(sandbox, import_counts=counts, **{share: 0.1})
    run = bulk_sync(people(150))
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 150, "updated": 150}
    assert titles(sandbox) == {"new": 150}
    assert 10 <= len(sent(sandbox, "PATCH")) <= 20
    assert WARNING not in run.log


def test_imports_that_ignore_too_much_end(bulk_sync, sandbox):
    seed(sandbox, 50)
    adjust(sandbox, import_lost_share=0.6)
    run = bulk_sync(people(50))
    assert run.counts("prospects") == {"received": 50, "updated": 50}
    assert titles(sandbox) == {"new": 50}
    assert sizes(sandbox) == [10]
    assert run.log.count(WARNING) == 1


def test_an_attribute_that_imports_ignore_is_written_with_its_record(bulk_sync, sandbox):
    seed(sandbox, 100)
    adjust(sandbox, import_ignored=["tags"])
    rows = people(100)
    for row in rows[1:200:20]:
        row["record"]["tags"] = ["vip"]
    run = bulk_sync(rows)
    assert run.counts("prospects") == {"received": 100, "updated": 100}
    assert titles(sandbox) == {"new": 100}
    tagged = [one for one in sandbox.store.all("prospects") if one["attributes"]["tags"]]
    assert len(tagged) == 10
    writes = sent(sandbox, "PATCH")
    assert [one.body["data"]["attributes"] for one in writes] == [{"tags": ["vip"]}] * 10


def test_an_attribute_that_all_imports_ignore_ends_them(bulk_sync, sandbox):
    seed(sandbox, 40)
    adjust(sandbox, import_ignored=["title"])
    run = bulk_sync(people(40, first_name="Ada"))
    assert run.counts("prospects") == {"received": 40, "updated": 40}
    assert titles(sandbox) == {"new": 40}
    assert len(sent(sandbox, "PATCH")) == 40
    assert run.log.count(WARNING) == 1


def test_a_record_that_outreach_refuses_is_rejected_in_its_words(bulk_sync, sandbox):
    seed(sandbox, 30)
    adjust(sandbox, max_name_length=10, import_counts="silent")
    rows = people(30)
    rows[1 + 2 * 7]["record"]["first_name"] = "Maximiliana"
    run = bulk_sync(rows)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 30, "updated": 29, "rejected": 1}
    assert run.rejects[-1]["error"]["status"] == 422
    assert run.rejects[-1]["record"]["id"] == 7
    assert run.states[-1] == {"n": 30}


def test_what_outreach_keeps_in_a_form_of_its_own_is_not_written_twice(bulk_sync, sandbox):
    seed(sandbox, 12, company="Old Ltd")
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    adjust(sandbox, company_from_account=True)
    rows = people(12, company="Acme GmbH", outreach_account_id=account)
    rows[0]["schema"]["properties"] |= {
        "company": {"type": "string"},
        "outreach_account_id": {"type": "integer"},
    }
    run = bulk_sync(rows, streams=[{"stream": "*", "field_rules": {"company": "always"}}])
    assert run.counts("prospects") == {"received": 12, "updated": 12}
    assert run.report["streams"]["prospects"]["kept_differently"] == {"company": 12}
    assert sizes(sandbox) == [10]
    assert len(sent(sandbox, "PATCH")) == 2  # of those that were too few for an import


def test_an_import_that_fails_halfway_is_made_up_for(bulk_sync, sandbox):
    seed(sandbox, 40)
    adjust(sandbox, import_end="failed")
    run = bulk_sync(people(40))
    assert run.counts("prospects") == {"received": 40, "updated": 40}
    assert titles(sandbox) == {"new": 40}


@pytest.mark.parametrize("unknown", ["failure", "skipped", "created"])
@pytest.mark.parametrize("mode", ["upsert", "update"])
def test_a_record_deleted_meanwhile_is_treated_as_ever(
    bulk_sync, sandbox, monkeypatch, mode, unknown
):
    ids = seed(sandbox, 12)
    adjust(sandbox, import_unknown=unknown)
    run_import = Imports.run

    def delete_and_run(self, *arguments):
        if not sandbox.store.imports():
            sandbox.store.delete("prospects", ids[3])
        return run_import(self, *arguments)

    monkeypatch.setattr(Imports, "run", delete_and_run)
    by_address = [{"stream": "*", "ignore_columns": ["id"]}]
    run = bulk_sync(people(12), sync_mode=mode, streams=by_address)
    addresses = Counter(
        address for one in sandbox.store.all("prospects") for address in one["attributes"]["emails"]
    )
    assert max(addresses.values()) == 1
    if mode == "upsert":
        assert run.exit_code == 0
        assert sorted(addresses) == sorted(f"p{n}@x.test" for n in range(12))
    else:
        assert run.counts("prospects") == {"received": 12, "updated": 11, "rejected": 1}
        assert run.rejects[-1]["error"]["code"] == "record_not_found"


def test_a_list_of_ids_that_is_cut_is_noticed(bulk_sync, sandbox):
    seed(sandbox, 70)
    adjust(sandbox, list_cap=15)
    run = bulk_sync(people(70), batch_size_rows=15)
    assert run.counts("prospects") == {"received": 70, "updated": 70}
    assert sent(sandbox, "PATCH") == []


def test_lists_that_show_a_write_late_are_looked_at_again(bulk_sync, sandbox, monkeypatch):
    seed(sandbox, 10)
    shown = itertools.count()

    def read_late(self, changes, asked):
        found = read(self, changes, asked)
        if next(shown) == 0:
            for change in changes:
                found.put(change.job.decided.resource)
        return found

    read = BulkWrites._read
    monkeypatch.setattr(BulkWrites, "_read", read_late)
    run = bulk_sync(people(10))
    assert run.counts("prospects") == {"received": 10, "updated": 10}
    assert sent(sandbox, "PATCH") == []


# What cannot be known


@pytest.mark.parametrize("end", ["pending", "processing"])
def test_an_import_that_does_not_end_is_given_up(bulk_sync, sandbox, monkeypatch, end):
    monkeypatch.setattr(imports, "LONGEST_IMPORT", 0.1)
    seed(sandbox, 40)
    adjust(sandbox, import_end=end)
    run = bulk_sync(people(40))
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 40, "updated": 40}
    assert titles(sandbox) == {"new": 40}
    assert sizes(sandbox) == [10]
    assert len(sent(sandbox, "PATCH")) == (40 if end == "pending" else 35)
    assert run.log.count(WARNING) == 1


def test_a_newer_row_is_not_overtaken_by_an_import_that_does_not_end(
    bulk_sync, sandbox, monkeypatch
):
    monkeypatch.setattr(imports, "LONGEST_IMPORT", 0.1)
    ids = seed(sandbox, 20)
    adjust(sandbox, import_end="pending")
    newest = people(1, start=3, title="newest")
    run = bulk_sync([*people(20), *newest[1:]], batch_size_rows=20)
    assert run.exit_code == 4
    assert run.states[-1] == {"n": 20}
    assert run.counts("prospects") == {"received": 21, "updated": 20, "unsettled": 1}
    assert titles(sandbox) == {"new": 20}
    adjust(sandbox, import_end="finished")  # the old import is carried out after all
    assert titles(sandbox) == {"new": 20}
    bulk_sync(newest)
    assert sandbox.store.get("prospects", ids[3])["attributes"]["title"] == "newest"


@pytest.mark.parametrize("kind", ["reset_after", "truncate", "garbage", "status_after"])
def test_an_import_whose_answer_is_lost_is_looked_for_in_the_records(bulk_sync, sandbox, kind):
    seed(sandbox, 30)
    sandbox.add_fault(Fault(kind, method="POST", path="imports", status=502))
    run = bulk_sync(people(30))
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert sizes(sandbox) == [10, 20]
    assert sent(sandbox, "PATCH") == []
    assert WARNING not in run.log


def test_an_import_with_an_impossible_id_is_looked_for_in_the_records(bulk_sync, sandbox):
    seed(sandbox, 30)
    body = '{"data": {"type": "import", "id": 1e400}}'
    sandbox.add_fault(Fault("garbage", method="POST", path="imports", body=body))
    run = bulk_sync(people(30))
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert sent(sandbox, "PATCH") == []


def test_an_import_that_never_arrived_is_made_up_for_and_others_follow(bulk_sync, sandbox):
    seed(sandbox, 100)
    sandbox.add_fault(Fault("reset_before", method="POST", path="imports", after=1))
    run = bulk_sync(people(100))
    assert run.counts("prospects") == {"received": 100, "updated": 100}
    assert titles(sandbox) == {"new": 100}
    assert sizes(sandbox) == [10, 10, 20, 40]
    assert len(sent(sandbox, "PATCH")) == 20
    assert WARNING not in run.log


def test_a_newer_row_waits_for_the_next_run_where_an_answer_was_lost(bulk_sync, sandbox):
    seed(sandbox, 12)
    sandbox.add_fault(Fault("reset_before", method="POST", path="imports"))
    newest = people(1, start=3, title="newest")
    run = bulk_sync([*people(12), *newest[1:]], batch_size_rows=12)
    assert run.exit_code == 4
    assert run.states[-1] == {"n": 12}
    assert titles(sandbox) == {"new": 12}
    assert bulk_sync(newest).exit_code == 0
    assert titles(sandbox) == {"new": 11, "newest": 1}


@pytest.mark.slow
def test_a_newer_row_is_not_overtaken_by_an_import_that_has_ended_and_works_late(
    bulk_sync, sandbox, monkeypatch
):
    monkeypatch.setattr(bounds, "LATER_LOOKS", (3.0,))
    seed(sandbox, 12)
    adjust(sandbox, import_late_seconds=2.5)
    newest = people(1, start=3, title="newest")
    run = bulk_sync([*people(12), *newest[1:]], batch_size_rows=12)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 13, "updated": 13}
    time.sleep(2.5)
    assert titles(sandbox) == {"new": 11, "newest": 1}


@pytest.mark.parametrize("status", [403, 404, 400])
def test_a_look_at_an_import_that_is_refused_changes_nothing(bulk_sync, sandbox, status):
    seed(sandbox, 30)
    sandbox.add_fault(Fault("status", method="GET", path="/imports/", status=status, times=None))
    run = bulk_sync(people(30))
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert sizes(sandbox) == [10, 20]
    assert sent(sandbox, "PATCH") == []


# Order


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 20, 500])
def test_the_last_row_of_one_key_wins(bulk_sync, sandbox, size):
    seed(sandbox, 40)
    adjust(sandbox, import_pending_seconds=0.02, import_processing_seconds=0.02)
    rows = [*people(40, title="first"), *people(40)[1:], *people(20, title="last")[1:]]
    run = bulk_sync(rows, batch_size_rows=size)
    assert run.exit_code == 0
    assert titles(sandbox) == {"new": 20, "last": 20}


@pytest.mark.parametrize("size", [4, 10, 500])
def test_rows_without_a_common_key_about_one_person_keep_their_order(bulk_sync, sandbox, size):
    rows = [{"emails": [f"p{n}@x.test", f"other{n}@x.test"], "title": "old"} for n in range(12)]
    sandbox.store.seed_many("prospects", rows)
    adjust(sandbox, import_pending_seconds=0.02)
    later = [record("prospects", emails=[f"other{n}@x.test"], title="last") for n in range(12)]
    run = bulk_sync([*people(12), *later], batch_size_rows=size)
    assert run.counts("prospects") == {"received": 24, "updated": 24}
    assert titles(sandbox) == {"last": 12}


def test_two_streams_with_different_columns_do_not_blind_each_other(bulk_sync, sandbox):
    seed(sandbox, 24, firstName="Old", tags=["theirs"])
    adjust(sandbox, import_pending_seconds=0.05)
    properties = {"emails": {"type": "array"}, "tags": {"type": "array"}}
    messages = people(24)
    messages.append(schema("a-prospects", properties, keys=()))
    for n in range(24):
        messages.append(
            {
                "type": "RECORD",
                "stream": "a-prospects",
                "record": {"emails": [f"p{n}@x.test"], "tags": ["ours"]},
            }
        )
    run = bulk_sync(messages, batch_size_rows=12)
    assert run.exit_code == 0
    assert titles(sandbox) == {"new": 24}
    assert {tuple(one["attributes"]["tags"]) for one in sandbox.store.all("prospects")} == {
        ("theirs", "ours")
    }


@pytest.mark.slow
def test_a_list_is_laid_over_what_is_held_when_the_import_starts(bulk_sync, sandbox, monkeypatch):
    ids = seed(sandbox, 30, tags=["a"])
    monkeypatch.setattr(resolver, "FRESH", 0.5)
    run_import = Imports.run
    count = itertools.count()

    def edit_and_run(self, *arguments):
        if next(count) == 0:
            sandbox.store.update("prospects", ids[29], {"tags": ["a", "theirs"]})
            time.sleep(0.6)  # what was read for those that wait is old by then
        return run_import(self, *arguments)

    monkeypatch.setattr(Imports, "run", edit_and_run)
    run = bulk_sync(people(30, tags=["b"]))
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    last = sandbox.store.get("prospects", ids[29])["attributes"]
    assert last["tags"] == ["a", "theirs", "b"]


def test_what_an_opt_out_may_forbid_is_not_left_to_a_late_import(bulk_sync, sandbox, monkeypatch):
    ids = seed(sandbox, 12)
    run_import = Imports.run

    def unsubscribe_and_run(self, *arguments):
        for one in ids:
            sandbox.store.update("prospects", one, {"emailsOptStatus": "opted_out"})
        return run_import(self, *arguments)

    monkeypatch.setattr(Imports, "run", unsubscribe_and_run)
    adjust(sandbox, import_opts_in=True)
    columns = {"emails_opt_status": {"type": ["null", "string"]}}
    messages = people(6, emails_opt_status="opted_in") + people(6, start=6)
    messages[0]["schema"]["properties"] |= columns
    run = bulk_sync([one for one in messages if one is messages[0] or one["type"] != "SCHEMA"])
    assert run.counts("prospects") == {"received": 12, "updated": 12}
    assert titles(sandbox) == {"new": 12}
    (imported,) = sandbox.store.imports()
    records = sandbox.store.import_records(imported.id)
    assert ["emailsOptStatus" in one.sent["data"]["attributes"] for one in records] == [False] * 6


@pytest.mark.parametrize(("policy", "code", "at"), [("abort", 1, 5), ("hold", 3, 5)])
def test_a_reject_means_what_on_reject_says(bulk_sync, sandbox, policy, code, at):
    seed(sandbox, 12)
    adjust(sandbox, max_name_length=10)
    rows = people(12)
    rows[1 + 2 * 5]["record"]["first_name"] = "Maximiliana"
    run = bulk_sync(rows, on_reject=policy)
    assert run.exit_code == code
    assert run.states[-1] == {"n": at}
    assert titles(sandbox)["new"] >= 9


def test_an_early_reject_that_aborts_leaves_what_waits_for_an_import_alone(bulk_sync, sandbox):
    seed(sandbox, 40)
    rows = people(40)
    rows[1 + 2 * 5]["record"]["emails"] = ["nope"]
    run = bulk_sync(rows, on_reject="abort")
    assert run.exit_code == 1
    assert run.states[-1] == {"n": 5}
    assert titles(sandbox) == {"new": 5, "old": 35}


# Memory


def test_what_was_imported_is_remembered_and_changed_without_a_lookup(bulk_sync, sandbox, tmp_path):
    seed(sandbox, 30)
    memory = {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}
    assert bulk_sync(people(30), **memory).counts("prospects") == {"received": 30, "updated": 30}
    before = len(sandbox.requests)
    assert bulk_sync(people(30), **memory).counts("prospects") == {"received": 30, "unchanged": 30}
    assert {one.path for one in list(sandbox.requests)[before:]} <= {"/api/v2/"}
    adjust(sandbox, import_lost_share=0.1)
    run = bulk_sync(people(30, title="newer"), **memory)
    assert run.counts("prospects") == {"received": 30, "updated": 30}
    assert titles(sandbox) == {"newer": 30}
    lookups = [one for one in list(sandbox.requests)[before:] if "filter[emails]" in one.query]
    assert lookups == []
    assert bulk_sync(people(30, title="newer"), **memory).counts("prospects") == {
        "received": 30,
        "unchanged": 30,
    }


def test_a_remembered_record_that_is_gone_is_made_again(bulk_sync, sandbox, tmp_path):
    memory = {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}
    ids = seed(sandbox, 12)
    bulk_sync(people(12), **memory)
    sandbox.store.delete("prospects", ids[4])
    run = bulk_sync(people(12, title="newer"), **memory)
    assert run.counts("prospects") == {"received": 12, "created": 1, "updated": 11}
    assert titles(sandbox) == {"newer": 12}


# The end of a run


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_middle_of_an_import_leaves_its_records_unsettled(
    start, sandbox, config, number, code
):
    seed(sandbox, 40)
    process = start(bulk_writes="updates", batch_size_rows=10)
    process.stdin.write(lines(people(10)).encode())
    process.stdin.flush()
    while not titles(sandbox)["new"]:
        time.sleep(0.01)
    adjust(sandbox, import_pending_seconds=60)
    process.stdin.write(lines(people(30, start=10)).encode())
    process.stdin.flush()
    while len(sizes(sandbox)) < 2:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=25)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert json.loads(out.splitlines()[-1]) == {"n": 10}
    report = json.loads(Path(config["report_path"]).read_text(encoding="utf-8"))
    counts = report["streams"]["prospects"]
    assert counts["updated"] == 10
    assert counts["received"] == 10 + counts["unsettled"]


def kill_after(process, sandbox, count):
    while sandbox.request_count < count and process.poll() is None:
        time.sleep(0.001)
    process.kill()


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_each_record_is_as_its_last_row_says(start, sandbox):
    chance = random.Random(11)  # noqa: S311 - seeded, to be repeatable
    seed(sandbox, 60)
    adjust(sandbox, import_pending_seconds=0.02, import_processing_seconds=0.05)
    at = 0
    for _ in range(KILLS):
        process = start(bulk_writes="updates", batch_size_rows=chance.choice([10, 20, 60]))
        seen = sandbox.request_count + chance.randint(1, 12)
        killer = threading.Thread(target=kill_after, args=(process, sandbox, seen))
        killer.start()
        out, _ = process.communicate(lines(people(60 - at, start=at)).encode(), timeout=60)
        killer.join()
        states = [json.loads(line) for line in out.splitlines() if line.endswith(b"}")]
        at = states[-1]["n"] if states else at
        written = {
            one["attributes"]["emails"][0]
            for one in sandbox.store.all("prospects")
            if one["attributes"]["title"] == "new"
        }
        assert {f"p{n}@x.test" for n in range(at)} <= written
    process = start(bulk_writes="updates")
    process.communicate(lines(people(60 - at, start=at)).encode(), timeout=60)
    assert process.returncode == 0
    assert titles(sandbox) == {"new": 60}


@pytest.mark.slow
def test_max_requests_in_the_middle_of_an_import_ends_the_run_resumably(bulk_sync, sandbox):
    seed(sandbox, 40)
    adjust(sandbox, import_pending_seconds=0.2)
    run = bulk_sync(people(40), max_requests=4)
    assert run.exit_code == 4
    assert sandbox.request_count == 4
    counts = run.counts("prospects")
    assert counts["received"] == counts.get("updated", 0) + counts["unsettled"]
    assert bulk_sync(people(40)).exit_code == 0
    assert titles(sandbox) == {"new": 40}


# What it costs


@pytest.mark.slow
def test_a_changed_row_costs_at_most_0_03_requests(bulk_sync, sandbox, monkeypatch):
    monkeypatch.undo()
    usual = Profile()
    adjust(
        sandbox,
        import_pending_seconds=usual.import_pending_seconds,
        import_processing_seconds=usual.import_processing_seconds,
    )
    addresses = [f"person.number{n:05d}@example.test" for n in range(5000)]
    rows = [{"emails": [address], "title": "old"} for address in addresses]
    sandbox.store.seed_many("prospects", rows)
    rows = [record("prospects", emails=address, title="new") for address in addresses]
    run = bulk_sync([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 5000, "updated": 5000}
    assert titles(sandbox) == {"new": 5000}
    assert run.report["requests"] == sandbox.request_count
    assert run.report["requests"] <= 0.03 * 5000


# The parts


class NoClient:
    """Sends nothing."""

    api_url = "https://api.example.test"

    def request(self, *_arguments):
        raise AssertionError

    get = request


def test_an_import_or_a_list_without_records_cannot_be_sent():
    sends_nothing = Imports(NoClient(), Pacer())
    for shape in ("wrapped", "flat"):
        with pytest.raises(ValueError, match="all records"):
            sends_nothing.run([], "skip", shape, lambda: True)
    people_type = load_catalog()["prospects"]
    assert Lookup(NoClient()).paths(people_type, "id", [], ["title"]) == []


def fed(*endings):
    trust = ImportSizing()
    for count, kept, kind in endings:
        trust.learn(count, kept, Ending(kind, "why"))
    return trust


def test_imports_double_while_they_work_up_to_the_largest():
    trust = ImportSizing()
    seen = []
    for _ in range(10):
        seen.append(trust.size)
        trust.learn(trust.size, trust.size, Ending("ended"))
    assert seen == [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]
    assert max(seen) == MOST


@pytest.mark.parametrize(
    ("endings", "is_lost", "size"),
    [
        ([(4, 4, "ended")], False, 10),
        ([(10, 9, "ended")], False, 20),
        ([(10, 10, "ended"), (20, 17, "ended")], False, 10),
        ([(10, 10, "ended"), (20, 0, "refused")], True, 20),
        ([(10, 10, "ended"), (20, 20, "unfinished")], True, 20),
        ([(10, 0, "lost")], True, 10),
        ([(10, 10, "lost")], False, 20),
        ([(10, 10, "ended"), (20, 0, "lost")], False, 10),
        ([(10, 10, "ended"), *[(10, 0, "lost")] * 3], True, 10),
        ([(10, 10, "ended"), *[(10, 0, "lost")] * 2, (10, 10, "ended")], False, 20),
        ([(10, 10, "ended"), (20, 0, "unfit"), (10, 10, "ended")], False, 10),
        ([(10, 10, "ended"), (20, 0, "unfit"), (10, 0, "unfit"), (9, 9, "ended")], False, 10),
        ([(10, 0, "ended"), (10, 0, "ended")], True, 10),
        ([(10, 0, "unfit"), (10, 10, "ended")], False, 20),
        ([(10, 4, "ended")], True, 10),
    ],
)
def test_trust_goes_by_what_was_kept(endings, is_lost, size):
    trust = fed(*endings)
    assert (trust.is_lost, trust.size) == (is_lost, size)


@pytest.mark.slow
def test_a_record_that_an_import_ignored_and_somebody_edited_is_sent_by_itself(sync, sandbox):
    ids = seed(sandbox, 20)
    adjust(sandbox, import_lost_share=1.0, import_pending_seconds=0.5)
    edited = threading.Event()

    def edit():
        while not any("bulkUpsert" in one.path for one in sandbox.requests):
            time.sleep(0.01)
        for one in ids:
            sandbox.store.update("prospects", one, {"title": "theirs"})
        edited.set()

    threading.Thread(target=edit, daemon=True).start()
    run = sync(people(20), bulk_writes="updates")
    assert edited.is_set()
    assert run.counts("prospects") == {"received": 20, "updated": 20}
    assert {one["attributes"]["title"] for one in sandbox.store.all("prospects")} == {"new"}
