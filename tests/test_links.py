"""Records that are linked to others by what the source knows of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from conftest import PROSPECTS, record, schema, state

from target_outreach.sandbox import Fault

TEXT = {"type": ["null", "string"]}
PEOPLE = {
    "email": TEXT,
    "title": TEXT,
    "company": TEXT,
    "account_domain": TEXT,
    "account_name": TEXT,
    "account_custom_id": TEXT,
    "owner_email": TEXT,
    "stage_name": TEXT,
    "persona_name": TEXT,
}
COMPANIES = {"name": TEXT, "domain": TEXT, "owner_email": TEXT}


def people(rows, *columns):
    """Messages of prospects with these columns only."""
    properties = {name: PEOPLE[name] for name in ("email", *columns)}
    return [
        schema("prospects", properties),
        *(record("prospects", email=f"p{n}@x.test", **row) for n, row in enumerate(rows)),
        state({"n": len(rows)}),
    ]


def links(sandbox, name="account"):
    """The id that each prospect is linked to, by address; unnamed accounts do not count."""
    unnamed = {one["id"] for one in sandbox.store.unnamed_accounts() if name == "account"}
    found = {
        one["attributes"]["emails"][0]: (one["relationships"][name]["data"] or {}).get("id")
        for one in sandbox.store.all("prospects")
    }
    return {email: None if link in unnamed else link for email, link in found.items()}


def sent(sandbox, since=0):
    return [(one.method, one.path) for one in list(sandbox.requests)[since:]]


def test_a_company_is_found_by_its_domain(sync, sandbox):
    acme = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    beta = sandbox.store.seed("accounts", {"name": "Beta", "domain": "www.beta.example"})
    rows = [
        {"account_domain": "https://www.ACME.example/about"},
        {"account_domain": "beta.example"},
        {"account_domain": None},
    ]
    run = sync(people(rows, "account_domain"))
    assert run.counts("prospects") == {"received": 3, "created": 3}
    assert links(sandbox) == {"p0@x.test": acme, "p1@x.test": beta, "p2@x.test": None}
    before = len(sandbox.requests)
    assert sync(people(rows, "account_domain")).counts("prospects") == {
        "received": 3,
        "unchanged": 3,
    }
    assert Counter(method for method, _ in sent(sandbox, before)) == {"GET": 2}
    assert all(write.method == "seed" for write in sandbox.store.writes("accounts", acme))


@pytest.mark.parametrize(
    ("relation", "linked", "column", "value"),
    [
        ("owner", {"email": "Rep@Sales.test"}, "owner_email", " rep@sales.TEST "),
        ("stage", {"name": "Cold  Outbound"}, "stage_name", "cold outbound"),
        ("persona", {"name": "Champion"}, "persona_name", "Champion"),
        ("account", {"name": "Acme Corp"}, "account_name", "acme corp"),
        ("account", {"name": "A", "customId": "00x"}, "account_custom_id", "00x"),
    ],
)
def test_each_relation_is_found_by_what_people_call_it(  # noqa: PLR0917 - a table of cases
    sync, sandbox, relation, linked, column, value
):
    object_name = {"owner": "users"}.get(relation, f"{relation}s")
    known = sandbox.store.seed(object_name, linked)
    run = sync(people([{column: value}] * 3, column))
    assert run.counts("prospects") == {"received": 3, "created": 3}
    assert set(links(sandbox, relation).values()) == {known}
    reads = [path for method, path in sent(sandbox) if path.endswith(f"/{object_name}")]
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("held", "is_it"),
    [
        ({"name": "Acme"}, True),
        ({"name": "Acme", "customId": "other"}, False),
        ({"name": "Acme", "domain": "acme.example"}, True),
    ],
)
def test_an_account_that_would_be_named_by_the_company_is_looked_for_by_that_name(
    sync, sandbox, held, is_it
):
    there = sandbox.store.seed("accounts", held)
    rows = [{"company": "Acme", "account_custom_id": "C2"}] * 2
    run = sync(people(rows, "company", "account_custom_id"), on_missing_relation="create")
    assert run.exit_code == 0
    assert sandbox.store.count("accounts") == (1 if is_it else 2)
    assert ({*links(sandbox).values()} == {there}) is is_it
    attributes = sandbox.store.get("accounts", there)["attributes"]
    assert attributes["customId"] == held.get("customId")


def test_an_unknown_owner_rejects_that_record_alone(sync, sandbox):
    sandbox.store.seed("users", {"email": "rep@sales.test"})
    rows = [{"owner_email": "rep@sales.test"}, {"owner_email": "ghost@sales.test"}]
    run = sync(people(rows, "owner_email"))
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    reject = run.rejects[-1]
    assert reject["error"]["code"] == "relation_not_found"
    assert reject["error"]["field"] == "owner.email"
    assert "ghost" not in reject["error"]["message"]
    assert run.states == [{"n": 2}]


def test_an_unknown_owner_is_skipped_and_counted(sync, sandbox):
    sandbox.store.seed("users", {"email": "rep@sales.test"})
    rows = [{"owner_email": "rep@sales.test"}, {"owner_email": "ghost@sales.test"}]
    run = sync(people(rows, "owner_email"), on_missing_relation="skip")
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 2, "created": 2}
    assert run.report["streams"]["prospects"]["links_left_out"] == {"owner.email": 1}
    assert links(sandbox, "owner")["p1@x.test"] is None


def test_several_that_fit_are_no_link(sync, sandbox):
    ids = [sandbox.store.seed("accounts", {"name": n, "domain": "acme.example"}) for n in "AB"]
    rows = [{"account_domain": "acme.example"}]
    run = sync(people(rows, "account_domain"))
    reject = run.rejects[-1]
    assert reject["error"]["code"] == "relation_ambiguous"
    assert all(str(one) in reject["error"]["message"] for one in ids)
    for policy, outcome in (("create", "rejected"), ("skip", "created")):
        run = sync(people(rows, "account_domain"), on_missing_relation=policy)
        assert run.counts("prospects") == {"received": 1, outcome: 1}
    assert sandbox.store.count("accounts") == 2


@pytest.mark.slow
def test_sixty_prospects_of_three_missing_companies_make_three_accounts(sync, sandbox):
    rows = [{"account_domain": f"c{n % 3}.example", "company": f"C{n % 3} Inc"} for n in range(60)]
    settings = {"on_missing_relation": "create", "max_parallel_requests": 8}
    messages = people(rows, "account_domain", "company")
    run = sync(messages, **settings, batch_size_rows=10)
    assert run.counts("prospects") == {"received": 60, "created": 60}
    assert run.report["streams"]["prospects"]["related_created"] == {"account": 3}
    made = {one["id"]: one["attributes"] for one in sandbox.store.all("accounts")}
    assert sorted(one["name"] for one in made.values()) == ["C0 Inc", "C1 Inc", "C2 Inc"]
    assert Counter(Counter(links(sandbox).values()).values()) == {20: 3}
    assert set(links(sandbox).values()) == set(made)
    assert len(sandbox.requests) <= 75
    before = len(sandbox.requests)
    run = sync(messages, **settings)
    assert run.counts("prospects") == {"received": 60, "unchanged": 60}
    assert len(sandbox.requests) - before <= 3


def test_no_account_is_made_for_a_free_mail_domain(sync, sandbox):
    rows = [{"account_domain": "www.Gmail.com"}, {"account_domain": "yahoo.co.uk"}, {}]
    run = sync(people(rows, "account_domain"), on_missing_relation="create")
    assert run.counts("prospects") == {"received": 3, "created": 3}
    assert sandbox.store.count("accounts") == 0
    sandbox.store.seed("accounts", {"name": "Gmail", "domain": "gmail.com"})
    sync(people(rows, "account_domain"), on_missing_relation="create")
    assert set(links(sandbox).values()) == {None}


def test_the_name_of_a_new_account_is_the_best_one_there_is(sync, sandbox):
    rows = [
        {"account_domain": "a.example", "account_name": "A Ltd", "company": "a"},
        {"account_domain": "b.example", "company": "B Ltd"},
        {"account_domain": "c.example"},
        {"account_name": "D Ltd"},
    ]
    columns = ("account_domain", "account_name", "company")
    sync(people(rows, *columns), on_missing_relation="create")
    accounts = [one["attributes"] for one in sandbox.store.all("accounts")]
    assert sorted((one["name"], one["domain"]) for one in accounts) == [
        ("A Ltd", "a.example"),
        ("B Ltd", "b.example"),
        ("D Ltd", None),
        ("c.example", "c.example"),
    ]


@pytest.mark.parametrize("order", ["accounts first", "prospects first", "mixed"])
@pytest.mark.parametrize("policy", ["reject", "skip"])
def test_accounts_of_the_same_run_are_found(sync, sandbox, order, policy):
    people_rows = people(
        [{"account_domain": f"c{n % 4}.example"} for n in range(20)], "account_domain"
    )
    companies = [
        schema("accounts", COMPANIES),
        *(record("accounts", name=f"C{n}", domain=f"c{n}.example") for n in range(4)),
    ]
    messages = {
        "accounts first": [*companies, *people_rows],
        "prospects first": [*people_rows[:-1], *companies, people_rows[-1]],
        "mixed": [people_rows[0], *people_rows[1:8], *companies, *people_rows[8:]],
    }[order]
    run = sync(messages, on_missing_relation=policy, batch_size_rows=5)
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 20, "created": 20}
    assert run.counts("accounts") == {"received": 4, "created": 4}
    by_id = {one["id"]: one["attributes"]["domain"] for one in sandbox.store.all("accounts")}
    assert {one: by_id[link] for one, link in links(sandbox).items()} == {
        f"p{n}@x.test": f"c{n % 4}.example" for n in range(20)
    }
    assert run.states == [{"n": 20}]


def test_what_waits_for_the_end_keeps_its_order_and_holds_state(sync, sandbox):
    rows = [
        schema("prospects", {name: PEOPLE[name] for name in ("email", "title", "account_domain")}),
        record("prospects", email="a@x.test", title="1", account_domain="late.example"),
        state({"n": 1}),
        record("prospects", email="a@x.test", title="2", account_domain=None),
        record("prospects", email="b@x.test", title="3", account_domain=None),
        state({"n": 3}),
        schema("accounts", COMPANIES),
        record("accounts", name="Late", domain="late.example"),
        state({"n": 4}),
    ]
    run = sync(rows, batch_size_rows=1)
    assert run.counts("prospects") == {"received": 3, "created": 2, "superseded": 1}
    titles = {one["attributes"]["title"] for one in sandbox.store.all("prospects")}
    assert titles == {"2", "3"}
    assert links(sandbox)["a@x.test"] is not None
    assert run.states[-1] == {"n": 4}
    assert {"n": 1} not in run.states


def test_a_null_unlinks_only_where_nulls_clear(sync, sandbox):
    acme = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    sandbox.store.seed("prospects", {"emails": ["p0@x.test"]}, {"account": acme})
    rows = people([{"account_domain": None}], "account_domain")
    assert sync(rows).counts("prospects") == {"received": 1, "unchanged": 1}
    assert sync(rows, on_null="clear").counts("prospects") == {"received": 1, "updated": 1}
    assert links(sandbox) == {"p0@x.test": None}


@pytest.mark.parametrize("rule", ["always", "on_create"])
def test_a_row_that_removes_a_link_may_say_the_company(sync, sandbox, tmp_path, rule):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    sandbox.store.seed("prospects", {"emails": ["ann@x.test"]}, {"account": account})
    columns = PROSPECTS | {
        name: {"type": ["null", "string"]} for name in ("company", "account_name")
    }
    row = {"id": 1, "emails": ["ann@x.test"], "company": "Bolt", "account_name": None}
    memory = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
    entry = {"stream": "prospects", "on_null": "clear", "field_rules": {"account": rule}}
    run = sync(
        [schema("prospects", columns), record("prospects", **row)], streams=[entry], **memory
    )
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    is_removed = rule == "always"
    assert (person["relationships"]["account"]["data"] is None) == is_removed
    assert (person["attributes"]["company"] == "Bolt") == is_removed


def test_nothing_is_made_for_a_prospect_that_is_not_there(sync, sandbox):
    rows = people([{"account_domain": "new.example"}], "account_domain")
    run = sync(rows, sync_mode="update", on_missing_relation="create")
    assert run.counts("prospects") == {"received": 1, "skipped": 1}
    assert sandbox.store.count("accounts") == 0


@pytest.mark.slow
def test_an_account_whose_creation_is_in_doubt_is_not_made_twice(sync, sandbox):
    sandbox.add_fault(Fault("reset_after", method="POST", path="/accounts"))
    rows = people([{"account_domain": "new.example"}] * 9, "account_domain")
    run = sync(rows, on_missing_relation="create")
    assert run.exit_code == 0
    assert sandbox.store.count("accounts") == 1
    assert len(set(links(sandbox).values())) == 1


def test_an_account_that_outreach_refuses_rejects_those_that_want_it(sync, sandbox):
    body = json.dumps({"errors": [{"id": "validationError", "detail": "no more accounts"}]})
    fault = Fault("status", method="POST", path="/accounts", status=422, body=body, times=None)
    sandbox.add_fault(fault)
    rows = [{"account_domain": "new.example"}, {"account_domain": "new.example"}, {}]
    run = sync(people(rows, "account_domain"), on_missing_relation="create")
    assert run.counts("prospects") == {"received": 3, "created": 1, "rejected": 2}


def test_a_dry_run_links_to_what_it_would_create(sync, sandbox, tmp_path):
    rows = people([{"account_domain": "new.example"}] * 3, "account_domain")
    plan = tmp_path / "plan.jsonl"
    run = sync(rows, on_missing_relation="create", dry_run=True, changes_path=str(plan))
    first, *others = map(json.loads, plan.read_text(encoding="utf-8").splitlines())
    assert (first["action"], first["relationship"]) == ("create", "account")
    assert first["changes"]["domain"] == {"old": None, "new": "new.example"}
    assert {one["changes"]["account"]["new"] for one in others} == {first["key"]["id"]}
    assert run.counts("prospects") == {"received": 3, "created": 3}
    assert run.report["streams"]["prospects"]["related_created"] == {"account": 1}
    assert sandbox.store.count("accounts") == 0


def test_what_is_remembered_needs_no_link_to_be_found(sync, sandbox, tmp_path):
    memory = {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}
    sandbox.store.seed("users", {"email": "rep@sales.test"})
    row = {"account_domain": "acme.example", "owner_email": "rep@sales.test"}
    messages = people([row] * 20, "account_domain", "owner_email")
    sync(messages, **memory, on_missing_relation="create")
    before = len(sandbox.requests)
    run = sync(messages, **memory, on_missing_relation="create")
    assert run.counts("prospects") == {"received": 20, "unchanged": 20}
    assert len(sandbox.requests) - before <= 2
    beta = sandbox.store.seed("accounts", {"name": "Beta", "domain": "beta.example"})
    row = row | {"account_domain": "beta.example"}
    run = sync(people([row] * 20, "account_domain", "owner_email"), **memory)
    assert run.counts("prospects") == {"received": 20, "updated": 20}
    assert set(links(sandbox).values()) == {beta}


@pytest.mark.slow
@pytest.mark.parametrize("column", ["custom9", "industry"])
def test_an_account_that_is_just_being_created_is_not_created_by_a_link_too(sync, sandbox, column):
    sandbox.profile = replace(sandbox.profile, latency_seconds=0.1)
    messages = [
        schema("accounts", COMPANIES | {column: TEXT}),
        schema("prospects", {"email": TEXT, "account_domain": TEXT}),
        record("accounts", name="Acme", domain="acme.example", **{column: "x"}),
        record("prospects", email="a@acme.example", account_domain="acme.example"),
    ]
    run = sync(messages, on_missing_relation="create", batch_size_rows=1)
    assert run.exit_code == 0
    assert sandbox.store.count("accounts") == 1
    assert run.report["streams"]["prospects"]["related_created"] == {}


@pytest.mark.parametrize("rule", ["on_create", "if_empty", "never"])
@pytest.mark.parametrize("by_id", [True, False])
def test_a_rule_may_leave_the_links_of_what_is_there_alone(sync, sandbox, rule, by_id):
    ada, grace = (one["id"] for one in sandbox.store.all("users")[:2])
    for n, owner in enumerate((grace, None)):
        sandbox.store.seed("prospects", {"emails": [f"p{n}@x.test"]}, {"owner": owner})
    email = sandbox.store.get("users", ada)["attributes"]["email"]
    column = "outreach_owner_id" if by_id else "owner_email"
    properties = {"email": TEXT, column: {"type": ["integer", "string"]}}
    messages = [
        schema("prospects", properties),
        *(
            record("prospects", email=f"p{n}@x.test", **{column: ada if by_id else email})
            for n in range(3)
        ),
    ]
    entry = {"stream": "prospects", "field_rules": {"OWNER": rule}}
    run = sync(messages, streams=[entry])
    assert run.exit_code == 0
    assert run.counts("prospects")["created"] == 1
    assert links(sandbox, "owner") == {
        "p0@x.test": grace,
        "p1@x.test": ada if rule == "if_empty" else None,
        "p2@x.test": None if rule == "never" else ada,
    }


def test_what_a_rule_leaves_alone_is_not_looked_for(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["p0@x.test"]})
    entry = {"stream": "prospects", "field_rules": {"owner": "on_create", "account": "never"}}
    row = {"owner_email": "ghost@sales.test", "account_domain": "no.example", "title": "T"}
    run = sync(people([row], "owner_email", "account_domain", "title"), streams=[entry])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    assert [method for method, _ in sent(sandbox)] == ["GET", "PATCH"]


@pytest.mark.parametrize("text", ["n/a", "unknown", "-", "mail.gmail.com", "aol.de"])
def test_what_is_no_companys_domain_makes_no_account(sync, sandbox, text):
    rows = [{"account_domain": text, "company": f"C{n}"} for n in range(3)]
    run = sync(people(rows, "account_domain", "company"), on_missing_relation="create")
    assert run.counts("prospects") == {"received": 3, "created": 3}
    assert sandbox.store.count("accounts") == 0


@pytest.mark.parametrize("size", [1, 500])
def test_a_new_account_is_found_again_however_its_domain_is_spelt(sync, sandbox, size):
    spelt = [
        "https://www.Acme.example/about",
        "acme.example",
        "WWW.ACME.EXAMPLE.",
        "acme.example:443",
    ]
    messages = people([{"account_domain": one} for one in spelt], "account_domain")
    run = sync(messages, on_missing_relation="create", batch_size_rows=size)
    assert run.counts("prospects") == {"received": 4, "created": 4}
    (account,) = sandbox.store.all("accounts")
    assert account["attributes"]["domain"] == account["attributes"]["name"] == "acme.example"


def test_no_account_is_made_for_a_row_that_is_rejected(sync, sandbox):
    row = {"owner_email": "ghost@sales.test", "account_domain": "b.example"}
    run = sync(people([row], "owner_email", "account_domain"), on_missing_relation="create")
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    assert sandbox.store.count("accounts") == 0
    assert run.report["streams"]["prospects"]["related_created"] == {}


def test_one_refused_account_is_no_reason_to_stop(sync, sandbox):
    body = json.dumps({"errors": [{"id": "unauthorizedRequest", "detail": "whisper-4711"}]})
    fault = Fault("status", method="POST", path="/accounts", status=403, body=body, times=None)
    sandbox.add_fault(fault)
    rows = people([{"account_domain": "new.example"}] * 12 + [{}], "account_domain")
    run = sync(rows, on_missing_relation="create")
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 13, "created": 1, "rejected": 12}
    error = run.rejects[-1]["error"]
    assert error["code"] == "relation_refused"
    assert error["field"] == "account.domain"
    assert "account that it is to be linked to" in error["message"]
    assert "whisper" not in run.log


def test_an_account_that_would_not_fit_is_not_sent(sync, sandbox):
    row = {"account_domain": "new.example", "account_name": "x" * 300}
    rows = people([row], "account_domain", "account_name")
    run = sync(rows, on_missing_relation="create")
    assert run.rejects[-1]["error"]["code"] == "invalid_value"
    assert not [one for one in sandbox.requests if one.method == "POST"]


def test_a_newer_row_about_the_same_person_waits_for_the_one_that_is_deferred(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test", "b@x.test"]})
    properties = {name: PEOPLE[name] for name in ("email", "title", "account_domain")}
    messages = [
        schema("prospects", properties),
        record("prospects", email="a@x.test", title="older", account_domain="late.example"),
        record("prospects", email="b@x.test", title="newer", account_domain=None),
        schema("accounts", COMPANIES),
        record("accounts", name="Late", domain="late.example"),
    ]
    run = sync(messages, batch_size_rows=1)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "newer"


@pytest.mark.parametrize("title", ["T2", "T0"])
def test_it_does_so_too_where_a_memory_knows_what_the_newer_row_says(
    sync, sandbox, tmp_path, title
):
    text = {"type": ["null", "string"]}
    people = schema("prospects", dict.fromkeys(("id", "email", "title", "account_domain"), text))
    companies = schema("accounts", dict.fromkeys(("id", "name", "domain"), text))

    def row(said, domain):
        return record("prospects", id="1", email="a@x.test", title=said, account_domain=domain)

    settings = {
        "streams": [{"stream": "prospects", "columns": {"account_domain": "account.domain"}}],
        "batch_size_rows": 1,
        "memory_path": str(tmp_path / "memory.db"),
        "change_detection": "source",
    }
    old = record("accounts", id="1", name="Old", domain="old.example")
    new = record("accounts", id="2", name="New", domain="new.example")
    sync([companies, old, people, row("T0", "old.example")], **settings)
    newer = row(title, "old.example")
    run = sync([companies, people, row("T1", "new.example"), newer, new], **settings)
    assert run.exit_code == 0
    (held,) = sandbox.store.all("prospects")
    assert held["attributes"]["title"] == title
    assert held["relationships"]["account"]["data"]["id"] == 1


@pytest.mark.parametrize("size", [1, 500])
def test_abort_stops_at_the_first_row_that_cannot_be_linked(sync, sandbox, size):
    rows = [{}, {"account_domain": "ghost.example"}, {}, {}]
    run = sync(people(rows, "account_domain"), on_reject="abort", batch_size_rows=size)
    assert run.exit_code == 1
    assert run.counts("prospects")["rejected"] == 1
    if size == 1:
        assert sandbox.store.count("prospects") < 3


@pytest.mark.slow
def test_a_list_that_is_cut_in_silence_rejects_nobody(sync, sandbox):
    sandbox.profile = replace(sandbox.profile, list_cap=5)
    held = [{"name": f"C{n}", "domain": f"c{n}.example"} for n in range(1200)]
    sandbox.store.seed_many("accounts", held)
    rows = people([{"account_domain": f"c{n}.example"} for n in range(40)], "account_domain")
    run = sync(rows)
    assert run.counts("prospects") == {"received": 40, "created": 40}
    assert None not in links(sandbox).values()


def test_an_outreach_id_that_does_not_exist_can_be_skipped(sync):
    messages = [
        schema("prospects", {"email": TEXT, "outreach_account_id": {"type": "integer"}}),
        record("prospects", email="a@x.test", outreach_account_id=99_999),
    ]
    run = sync(messages)
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    run = sync(messages, on_missing_relation="skip")
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert run.report["streams"]["prospects"]["links_left_out"] == {"account.id": 1}


@pytest.mark.parametrize("accounts_first", [True, False])
@pytest.mark.parametrize("detection", ["outreach", "source"])
def test_an_account_of_the_run_is_found_whatever_form_its_domain_has_in_outreach(
    sync, tmp_path, accounts_first, detection
):
    memory = {"change_detection": detection, "memory_path": str(tmp_path / "m.db")}
    companies = [
        schema("accounts", COMPANIES),
        record("accounts", name="Acme", domain="https://WWW.Acme.example:443/about-us"),
    ]
    rows = people([{"account_domain": "acme.example"}] * 3, "account_domain")
    messages = [*companies, *rows] if accounts_first else [*rows, *companies]
    for outcome in ("created", "unchanged"):
        run = sync(messages, **memory)
        assert run.counts("prospects") == {"received": 3, outcome: 3}
        assert run.counts("accounts") == {"received": 1, outcome: 1}


def test_a_run_that_ends_early_rejects_what_waits_so_that_the_next_gets_on(sync, sandbox):
    messages = people([{"account_domain": "gone.example"}], "account_domain")
    for n in range(30):
        messages += [record("prospects", email=f"z{n}@x.test"), state({"n": n + 2})]
    run = sync(messages, batch_size_rows=2, max_requests=15)
    assert run.exit_code == 4
    assert run.counts("prospects")["rejected"] == 1
    assert run.states[-1]["n"] > 2
    assert run.rejects[-1]["error"]["code"] == "relation_not_found"
    assert sandbox.request_count == 15


@pytest.mark.parametrize("stream", ["prospects", "accounts"])
def test_names_that_look_the_same_are_one_account(sync, sandbox, stream):
    names = ["B\u00fccher AG", "Bu\u0308cher AG", "B\u00fccher AG\u200b", " B\u00fccher AG"]
    if stream == "accounts":
        rows = [schema("accounts", {"name": TEXT}), *(record("accounts", name=n) for n in names)]
    else:
        rows = people([{"account_name": name} for name in names], "account_name")
    run = sync(rows, on_missing_relation="create")
    assert run.exit_code == 0
    held = [one["attributes"]["name"] for one in sandbox.store.all("accounts")]
    assert [name for name in held if name] == ["B\u00fccher AG"]
