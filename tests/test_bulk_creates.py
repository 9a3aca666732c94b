"""New prospects many at a time: each is there once, as it was sent, whatever an import does."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections import Counter

import pytest
from conftest import lines, record, schema, state
from sandbox_client import adjust

from target_outreach.engine.import_sizing import CreateSizing
from target_outreach.engine.imported import is_importable
from target_outreach.outreach import imports
from target_outreach.outreach.imports import Ending
from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import Create, Resource, Update
from target_outreach.records.rules import Rules
from target_outreach.sandbox import Fault, Sandbox

KILLS = 50 if os.environ.get("CI") else 8
START = "imports/actions/bulkUpsert"
WARNING = "bulk_writes is switched off for the rest of this run, and records are created one at a"

pytestmark = pytest.mark.usefixtures("quick_imports")


@pytest.fixture
def load(sync):
    """Run the target with imports of new records."""

    def _load(messages, **settings):
        return sync(messages, **({"bulk_writes": "all"} | settings))

    return _load


def people(count, start=0, **values):
    """So many people, with a STATE after each."""
    messages = [schema("prospects")]
    for n in range(start, start + count):
        row = {"emails": [f"p{n}@x.test"], "title": "new", "first_name": f"N{n}", **values}
        messages += [record("prospects", id=n, **row), state({"n": n + 1})]
    return messages


def held(sandbox):
    """How often each address is in Outreach."""
    return Counter(
        email for one in sandbox.store.all("prospects") for email in one["attributes"]["emails"]
    )


def once(count):
    return {f"p{n}@x.test": 1 for n in range(count)}


def sent(sandbox, method, path=""):
    return [one for one in sandbox.requests if one.method == method and path in one.path]


def posts(sandbox):
    return sent(sandbox, "POST", "/prospects")


def sizes(sandbox):
    return [one.total for one in sandbox.store.imports()]


# What it is for


def test_bulk_writes_all_creates_prospects_by_imports_that_double(load, sandbox):
    run = load(people(70))
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 70, "created": 70}
    assert run.states[-1] == {"n": 70}
    assert held(sandbox) == once(70)
    assert sizes(sandbox) == [10, 20, 40]
    assert {one.dupe_method for one in sandbox.store.imports()} == {"skip"}
    assert posts(sandbox) == []
    assert sent(sandbox, "PATCH") == []
    assert WARNING not in run.log
    assert run.report["streams"]["prospects"]["imported"] == {"created": 70}
    assert "written by imports: created (70)" in run.log


@pytest.mark.parametrize("writes", ["off", "updates"])
def test_bulk_writes_off_and_updates_create_one_at_a_time(load, sandbox, writes):
    run = load(people(20), bulk_writes=writes)
    assert run.counts("prospects") == {"received": 20, "created": 20}
    assert sizes(sandbox) == []
    assert len(posts(sandbox)) == 20


def test_creates_and_updates_go_into_imports_of_their_own(load, sandbox):
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(30)])
    run = load(people(60))
    assert run.counts("prospects") == {"received": 60, "created": 30, "updated": 30}
    assert held(sandbox) == once(60)
    assert Counter(one.dupe_method for one in sandbox.store.imports()) == {
        "skip": 2,
        "overwriteNoCreate": 2,
    }
    assert [one for one in sandbox.requests if one.method == "PATCH"] == posts(sandbox) == []
    assert run.report["streams"]["prospects"]["imported"] == {"created": 30, "updated": 30}


def test_accounts_are_never_created_by_an_import(load, sandbox):
    rows = [record("accounts", name=f"Company {n}") for n in range(20)]
    run = load([schema("accounts"), *rows])
    assert run.counts("accounts") == {"received": 20, "created": 20}
    assert sizes(sandbox) == []


def test_a_row_without_an_address_is_rejected_as_ever_and_the_others_are_imported(load, sandbox):
    rows = people(12)
    for row in rows[1::2][:4]:
        row["record"]["emails"] = []
    by_name = [{"stream": "*", "match_on": ["emails", "firstName"]}]
    run = load(rows, streams=by_name)
    assert run.counts("prospects") == {"received": 12, "created": 8, "rejected": 4}
    assert sizes(sandbox) == [8]
    assert posts(sandbox) == []


@pytest.mark.parametrize(("mode", "match_on"), [("insert", ["emails"]), ("upsert", ["firstName"])])
def test_rows_that_are_not_looked_up_by_addresses_are_created_one_at_a_time(
    load, sandbox, mode, match_on
):
    streams = [{"stream": "*", "match_on": match_on}]
    run = load(people(12), sync_mode=mode, streams=streams)
    assert run.counts("prospects") == {"received": 12, "created": 12}
    assert sizes(sandbox) == []


def test_rows_whose_link_is_not_found_yet_wait_and_have_it_when_they_are_imported(load, sandbox):
    columns = {"emails": {"type": "array"}, "company_domain": {"type": "string"}}
    rows = [schema("prospects", columns, keys=())]
    rows += [
        {
            "type": "RECORD",
            "stream": "prospects",
            "record": {"emails": [f"p{n}@x.test"], "company_domain": "acme.test"},
        }
        for n in range(12)
    ]
    rows += [schema("accounts"), record("accounts", name="Acme", domain="acme.test")]
    entry = {"stream": "prospects", "columns": {"company_domain": "account.domain"}}
    run = load(rows, streams=[entry])
    assert run.counts("prospects") == {"received": 12, "created": 12}
    (acme,) = (
        one["id"]
        for one in sandbox.store.all("accounts")
        if one["attributes"]["domain"] == "acme.test"
    )
    links = {
        one["relationships"]["account"]["data"]["id"] for one in sandbox.store.all("prospects")
    }
    assert links == {acme}
    assert held(sandbox) == once(12)


# The plan


def test_a_dry_run_imports_nothing_and_its_plan_says_what_would_be(load, sandbox, tmp_path):
    path = tmp_path / "plan.jsonl"
    sandbox.store.seed("prospects", {"emails": ["p0@x.test"], "title": "old"})
    rows = [*people(6), schema("accounts"), record("accounts", name="Acme")]
    run = load(rows, dry_run=True, changes_path=str(path))
    plan = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted((one["line"], one["action"], one.get("by")) for one in plan) == [
        (2, "update", "import"),
        *((line, "create", "import") for line in (4, 6, 8, 10, 12)),
        (15, "create", None),
    ]
    assert {one.method for one in sandbox.requests} == {"GET"}
    assert "to be written by imports: created (5), updated (1)" in run.log


# What goes wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switches", "count"),
    [
        ({"import_new": "failure"}, 1),
        ({"import_new": "ignored"}, 1),
        ({"import_new": "refused"}, 0),
        ({"import_refusal": 403}, 0),
        ({"import_lost_share": 0.1}, 1),
        ({"import_failed_share": 0.1, "import_counts": "silent"}, 1),
        ({"import_end": "failed"}, 1),
        ({"import_shape": "flat", "import_invalid": "import"}, 1),
        ({"import_record_scopes": True, "import_record_limit": 3}, 0),
    ],
    ids=str,
)
def test_after_an_import_that_creates_too_little_records_are_created_one_at_a_time(
    load, sandbox, switches, count
):
    adjust(sandbox, **switches)
    run = load(people(40))
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 40, "created": 40}
    assert held(sandbox) == once(40)
    assert len(sizes(sandbox)) == count
    assert run.log.count(WARNING) == 1


@pytest.mark.parametrize("counts", ["silent", "wrong"])
def test_what_an_import_counts_does_not_matter(load, sandbox, counts):
    adjust(sandbox, import_counts=counts)
    assert load(people(30)).counts("prospects") == {"received": 30, "created": 30}
    assert held(sandbox) == once(30)
    assert sizes(sandbox) == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["pending", "processing"])
def test_after_an_import_that_does_not_end_records_are_created_one_at_a_time(
    load, sandbox, monkeypatch, end
):
    monkeypatch.setattr(imports, "LONGEST_IMPORT", 0.1)
    adjust(sandbox, import_end=end)
    run = load(people(40))
    assert run.counts("prospects") == {"received": 40, "created": 40}
    assert sizes(sandbox) == [10]
    assert run.log.count(WARNING) == 1
    adjust(sandbox, import_end="finished")  # the import goes on after all
    assert held(sandbox) == once(40)
    assert sandbox.store.imports()[0].outcomes.get("created", 0) == (0 if end == "pending" else 5)


@pytest.mark.slow
def test_what_an_import_creates_late_is_not_created_twice(load, sandbox):
    adjust(sandbox, import_late_seconds=1.5)
    run = load(people(200))
    assert run.exit_code == 0
    counts = run.counts("prospects")
    assert counts["received"] == counts["created"] + counts.get("updated", 0) == 200
    time.sleep(1.6)
    assert held(sandbox) == once(200)
    assert sizes(sandbox) == [10]
    assert {one["attributes"]["title"] for one in sandbox.store.all("prospects")} == {"new"}


@pytest.mark.slow
def test_an_import_that_creates_twice_is_the_last_one(load, sandbox):
    adjust(sandbox, import_twice=True)
    run = load(people(40))
    assert run.exit_code == 3
    assert sizes(sandbox) == [10]
    assert run.counts("prospects") == {"received": 40, "created": 30, "rejected": 10}
    assert {one["error"]["code"] for one in run.rejects if "error" in one} == {"ambiguous_match"}
    assert set(held(sandbox)) == set(once(40))
    assert run.log.count(WARNING) == 1


@pytest.mark.parametrize("kind", ["reset_after", "truncate", "garbage", "status_after"])
def test_an_import_whose_answer_is_lost_is_looked_for_in_the_records(load, sandbox, kind):
    sandbox.add_fault(Fault(kind, method="POST", path="imports", status=502))
    assert load(people(30)).counts("prospects") == {"received": 30, "created": 30}
    assert held(sandbox) == once(30)
    assert sizes(sandbox) == [10, 20]
    assert posts(sandbox) == []


@pytest.mark.slow
def test_an_import_that_never_arrived_is_made_up_for(load, sandbox):
    sandbox.add_fault(Fault("reset_before", method="POST", path="imports", after=1))
    run = load(people(60))
    assert run.counts("prospects") == {"received": 60, "created": 60}
    assert held(sandbox) == once(60)
    assert sizes(sandbox) == [10]
    assert run.log.count(WARNING) == 1


@pytest.mark.slow
def test_lists_that_lag_behind_imports_are_waited_for(load, sandbox):
    adjust(sandbox, list_lag_seconds=0.3)
    run = load(people(70))
    assert run.counts("prospects") == {"received": 70, "created": 70}
    assert held(sandbox) == once(70)
    assert posts(sandbox) == []


def test_lists_that_are_cut_are_noticed(load, sandbox):
    adjust(sandbox, list_cap=5)
    run = load(people(70))
    assert run.counts("prospects") == {"received": 70, "created": 70}
    assert held(sandbox) == once(70)
    assert posts(sandbox) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [20, 500])
def test_one_record_that_outreach_refuses_is_rejected_in_its_words(load, sandbox, size):
    adjust(sandbox, max_name_length=10)
    rows = people(30)
    rows[1 + 2 * 3]["record"]["first_name"] = "Maximiliana"
    run = load(rows, batch_size_rows=size)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 30, "created": 29, "rejected": 1}
    assert run.rejects[-1]["error"]["status"] == 422
    assert run.rejects[-1]["record"]["id"] == 3
    assert run.states[-1] == {"n": 30}


@pytest.mark.slow
def test_what_an_import_ignores_of_a_record_is_written_and_imports_end(load, sandbox):
    adjust(sandbox, import_ignored=["tags"])
    never_again = [{"stream": "*", "field_rules": {"tags": "on_create"}}]
    run = load(people(30, tags=["vip"]), streams=never_again)
    assert run.counts("prospects") == {"received": 30, "created": 30}
    assert {tuple(one["attributes"]["tags"]) for one in sandbox.store.all("prospects")} == {
        ("vip",)
    }
    assert held(sandbox) == once(30)
    assert sizes(sandbox) == [10]
    assert len(sent(sandbox, "PATCH")) == 10
    assert len(posts(sandbox)) == 20


@pytest.mark.slow
def test_somebody_who_is_faster_is_updated_by_the_rules(load, sandbox, monkeypatch):
    run_import = imports.Imports.run
    count = itertools.count()

    def create_and_run(self, *arguments):
        if next(count) == 0:
            theirs = {"emails": ["p3@x.test"], "title": "theirs", "firstName": "Theirs"}
            sandbox.store.seed("prospects", theirs)
        return run_import(self, *arguments)

    monkeypatch.setattr(imports.Imports, "run", create_and_run)
    rules = [{"stream": "*", "field_rules": {"title": "on_create"}}]
    run = load(people(12), streams=rules)
    assert run.counts("prospects") == {"received": 12, "created": 11, "updated": 1}
    assert held(sandbox) == once(12)
    (one,) = (
        one["attributes"]
        for one in sandbox.store.all("prospects")
        if one["attributes"]["emails"] == ["p3@x.test"]
    )
    assert (one["title"], one["firstName"]) == ("theirs", "N3")


@pytest.mark.slow
def test_a_record_that_was_hidden_from_the_lookup_is_not_taken_for_a_new_one(
    load, sandbox, monkeypatch
):
    old = {"emails": ["p3@x.test"], "createdAt": "2020-01-01T00:00:00.000Z"}
    run_import = imports.Imports.run
    count = itertools.count()

    def show_and_run(self, *arguments):
        if next(count) == 0:
            sandbox.store.seed("prospects", old)
        return run_import(self, *arguments)

    monkeypatch.setattr(imports.Imports, "run", show_and_run)
    run = load(people(12))
    assert run.counts("prospects") == {"received": 12, "created": 11, "updated": 1}
    assert held(sandbox) == once(12)


# Several rows about one person


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 20, 500])
def test_the_last_row_of_one_key_wins(load, sandbox, size):
    rows = [*people(40, title="first"), *people(40)[1:], *people(20, title="last")[1:]]
    run = load(rows, batch_size_rows=size)
    assert run.exit_code == 0
    assert held(sandbox) == once(40)
    titles = Counter(one["attributes"]["title"] for one in sandbox.store.all("prospects"))
    assert titles == {"new": 20, "last": 20}


@pytest.mark.parametrize("size", [5, 500])
def test_an_address_that_two_rows_have_belongs_to_the_first(load, sandbox, size):
    twins = [record("prospects", id=100 + n, emails=[f"P{n}@x.test"]) for n in range(10)]
    run = load([*people(30), *twins], batch_size_rows=size)
    assert run.counts("prospects") == {"received": 40, "created": 30, "rejected": 10}
    assert {one["error"]["code"] for one in run.rejects if "error" in one} == {
        "duplicate_source_row"
    }
    assert held(sandbox) == once(30)


def test_rows_that_share_a_second_address_are_never_in_one_import(load, sandbox):
    rows = [
        schema("prospects", {"emails": {"type": "array"}, "title": {"type": "string"}}, keys=()),
        *(
            {
                "type": "RECORD",
                "stream": "prospects",
                "record": {"emails": [f"p{n}@x.test", f"p{n + 1}@x.test"], "title": f"{n}"},
            }
            for n in range(0, 40, 2)
        ),
        *(
            {
                "type": "RECORD",
                "stream": "prospects",
                "record": {"emails": [f"p{n}@x.test"], "title": "last"},
            }
            for n in range(1, 40, 2)
        ),
    ]
    run = load(rows)
    assert run.exit_code == 0
    assert held(sandbox) == once(40)
    titles = {one["attributes"]["title"] for one in sandbox.store.all("prospects")}
    assert titles == {"last"}


def test_where_addresses_may_be_shared_nothing_is_created_twice_by_an_import_that_ends(
    load, sandbox
):
    adjust(sandbox, purposeful_duplicates=True)
    assert load(people(70)).counts("prospects") == {"received": 70, "created": 70}
    assert held(sandbox) == once(70)


# The same as by single creates


def rich_people():
    """People with lists, opt-outs, custom fields, telephone numbers, and links."""
    columns = {
        "emails": {"type": "array"},
        "phone": {"type": ["string", "null"]},
        "tags": {"type": "array"},
        "company": {"type": ["string", "null"]},
        "do_not_email": {"type": "boolean"},
        "opted_out": {"type": "boolean"},
        "custom_3": {"type": ["string", "null"]},
        "custom_7": {"type": ["string", "null"]},
        "outreach_account_id": {"type": ["integer", "null"]},
        "score": {"type": ["number", "null"]},
        "birthday": {"type": ["string", "null"]},
    }
    chance = random.Random(23)  # noqa: S311 - seeded, to be repeatable
    yield schema("prospects", columns, keys=())
    for n in range(150):
        row = {
            "emails": [f"p{n}@x.test", f"Also.P{n}@y.test"][: chance.randint(1, 2)],
            "phone": chance.choice([None, f"(415) 555-{n:04}", f"+49 30 55{n:04}"]),
            "tags": chance.sample(["a", "b", "vip", "ünï"], chance.randint(0, 3)),
            "company": chance.choice([None, "Acme", "Ünïcode & Söhne"]),
            "do_not_email": chance.random() < 0.3,
            "opted_out": chance.random() < 0.3,
            "custom_3": chance.choice([None, "x", "line\nbreak", "0"]),
            "custom_7": chance.choice([None, "2026-01-01"]),
            "outreach_account_id": chance.choice([None, 1, 2]),
            "score": chance.choice([None, 1.5, 7]),
            "birthday": chance.choice([None, "1999-12-31"]),
        }
        yield {"type": "RECORD", "stream": "prospects", "record": row}


COLUMNS = {
    "do_not_email": "emailOptedOut",
    "opted_out": "optedOut",
    "custom_3": "custom3",
    "custom_7": "custom7",
    "birthday": "dateOfBirth",
    "score": "score",
    "tags": "tags",
}


@pytest.mark.slow
@pytest.mark.parametrize("company_account", ["unnamed", "linked", "none"])
def test_imports_leave_what_single_creates_leave(sync, tmp_path, company_account):
    outcomes = []
    for writes in ("off", "all"):
        with Sandbox(tmp_path / f"{writes}.db") as sandbox:
            adjust(
                sandbox,
                company_account=company_account,
                import_pending_seconds=0,
                import_processing_seconds=0,
            )
            sandbox.store.seed_many("accounts", [{"name": "One"}, {"name": "Two"}])
            run = sync(
                rich_people(),
                bulk_writes=writes,
                api_url=sandbox.api_url,
                streams=[{"stream": "prospects", "columns": COLUMNS}],
            )
            assert run.exit_code == 0, run.log
            assert sizes(sandbox) == ([] if writes == "off" else [10, 20, 40, 80])
            counts = run.counts("prospects")
            names = {one["id"]: one["attributes"]["name"] for one in sandbox.store.all("accounts")}
            outcomes.append((counts, [left(one, names) for one in in_order(sandbox)]))
    assert outcomes[0][0] == outcomes[1][0]
    for alone, imported in zip(outcomes[0][1], outcomes[1][1], strict=True):
        assert differing(alone, imported) == {}
    assert any(one["optedOut"] for one in outcomes[1][1])


def in_order(sandbox):
    return sorted(sandbox.store.all("prospects"), key=lambda one: one["attributes"]["emails"])


def differing(one, other):
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def left(resource, names):
    """What a prospect holds but for its id, times, and how Outreach itself marks where it is from.

    An account is told by its name.
    """
    attributes = {
        name: value
        for name, value in resource["attributes"].items()
        if not name.endswith("At") and name != "externalSource"
    }
    account = (resource["relationships"]["account"]["data"] or {}).get("id")
    return attributes | {"account": names.get(account)}


def test_what_was_created_by_imports_is_unchanged_in_the_next_run(load, sandbox, tmp_path):
    memory = {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}
    assert load(people(30), **memory).counts("prospects") == {"received": 30, "created": 30}
    before = len(sandbox.requests)
    assert load(people(30), **memory).counts("prospects") == {"received": 30, "unchanged": 30}
    assert {one.path for one in list(sandbox.requests)[before:]} <= {"/api/v2/"}
    assert load(people(30)).counts("prospects") == {"received": 30, "unchanged": 30}


# The end of a run


def test_an_early_reject_that_aborts_leaves_what_waits_for_an_import_alone(load, sandbox):
    rows = people(40)
    rows[1 + 2 * 5]["record"]["emails"] = ["nope"]
    run = load(rows, on_reject="abort")
    assert run.exit_code == 1
    assert run.states[-1] == {"n": 5}
    assert held(sandbox) == once(5)


@pytest.mark.slow
def test_max_requests_in_the_middle_of_an_import_ends_the_run_resumably(load, sandbox):
    adjust(sandbox, import_pending_seconds=0.2)
    run = load(people(40), max_requests=4)
    assert run.exit_code == 4
    assert sandbox.request_count == 4
    assert load(people(40)).exit_code == 0
    assert held(sandbox) == once(40)


def kill_after(process, sandbox, count):
    while sandbox.request_count < count and process.poll() is None:
        time.sleep(0.001)
    process.kill()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_and_run_again_everybody_is_there_once(start, sandbox):
    chance = random.Random(23)  # noqa: S311 - seeded, to be repeatable
    adjust(sandbox, import_pending_seconds=0.02, import_processing_seconds=0.05)
    at, total = 0, 0
    for number in range(KILLS):
        total += 40
        adjust(sandbox, import_late_seconds=0.3 if number % 3 == 2 else 0)
        process = start(bulk_writes="all", batch_size_rows=chance.choice([10, 20, 60]))
        seen = sandbox.request_count + chance.randint(1, 14)
        killer = threading.Thread(target=kill_after, args=(process, sandbox, seen))
        killer.start()
        out, _ = process.communicate(lines(people(total - at, start=at)).encode(), timeout=120)
        killer.join()
        states = [json.loads(line) for line in out.splitlines() if line.endswith(b"}")]
        at = states[-1]["n"] if states else at
        there = held(sandbox)
        assert set(once(at)) <= set(there)
        assert set(there.values()) <= {1}
    adjust(sandbox, import_late_seconds=0)
    process = start(bulk_writes="all")
    process.communicate(lines(people(total - at, start=at)).encode(), timeout=120)
    assert process.returncode == 0
    assert held(sandbox) == once(total)


# What it costs


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bulk_writes_all_takes_at_most_0_05_requests_for_each_of_20_000_new_rows(
    load, sandbox, monkeypatch
):
    monkeypatch.undo()
    adjust(sandbox, import_pending_seconds=0.1, import_processing_seconds=0.2)
    rows = [
        record("prospects", id=n, emails=f"person.number{n:05d}@example.test", title="new")
        for n in range(20_000)
    ]
    run = load([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 20_000, "created": 20_000}
    assert run.report["requests"] == sandbox.request_count
    assert sandbox.request_count <= 0.05 * 20_000
    assert set(held(sandbox).values()) == {1}
    assert sandbox.store.count("prospects") == 20_000


# The parts


NEW = Create({"emails": ["a@x.test"], "title": "new"}, {}, {})
KNOWN = Update(Resource(7, {}, {}), {"title": "new"}, {}, {})


@pytest.mark.parametrize(
    ("mode", "name", "decided", "rules", "expected"),
    [
        ("all", "prospects", NEW, {}, True),
        ("updates", "prospects", NEW, {}, False),
        ("off", "prospects", NEW, {}, False),
        ("off", "prospects", KNOWN, {}, False),
        ("updates", "prospects", KNOWN, {}, True),
        ("all", "accounts", KNOWN, {}, True),
        ("all", "accounts", NEW, {}, False),
        ("all", "opportunities", KNOWN, {}, False),
        ("all", "prospects", NEW, {"sync_mode": "insert"}, False),
        ("all", "prospects", NEW, {"match_fields": ("firstName",)}, False),
        ("all", "prospects", NEW, {"match_fields": ("firstName", "emails")}, True),
        ("all", "prospects", Create({"emails": []}, {}, {}), {}, False),
        ("all", "prospects", Create({"title": "new"}, {}, {}), {}, False),
    ],
)
def test_only_what_is_unique_and_can_be_looked_up_is_created_by_imports(
    mode, name, decided, rules, expected
):
    rules = Rules(**({"sync_mode": "upsert", "match_fields": ("emails",)} | rules))
    assert is_importable(mode, load_catalog()[name], decided, rules) is expected


@pytest.mark.parametrize(
    ("endings", "is_lost", "size"),
    [
        ([(10, 10, "ended")], False, 20),
        ([(10, 10, "lost")], False, 20),
        ([(4, 4, "ended")], False, 10),
        ([(10, 9, "ended")], True, None),
        ([(10, 9, "lost")], True, None),
        ([(10, 10, "unfinished")], True, None),
        ([(10, 0, "refused")], True, None),
        ([(10, 0, "unfit")], False, 10),
        ([(10, 0, "unfit"), (10, 10, "ended")], False, 20),
        ([(10, 0, "unfit"), (10, 0, "unfit")], True, None),
        ([(10, 10, "ended"), (20, 0, "unfit")], True, None),
        ([(10, 10, "ended"), (20, 19, "ended")], True, None),
    ],
)
def test_imports_of_new_records_grow_only_while_each_record_is_there(endings, is_lost, size):
    sizing = CreateSizing()
    for count, kept, kind in endings:
        sizing.learn(count, kept, Ending(kind, "why"))
    assert sizing.is_lost is is_lost
    assert size in {None, sizing.size}
