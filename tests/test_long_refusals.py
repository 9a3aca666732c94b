"""Writes that wait for long: what they rest on is read again before each try."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from conftest import record, schema

from target_outreach.engine import resolver
from target_outreach.sandbox import Fault, Sandbox

WAIT = (("Retry-After", "1"),)
REFUSALS = {
    "429": Fault("status", method="PATCH", status=429, headers=WAIT),
    "503": Fault("status", method="PATCH", status=503, headers=WAIT),
    "no answer": Fault("hang", method="PATCH", seconds=0.8),
}


@pytest.fixture
def outreach(tmp_path, watcher, config):
    """Start a sandbox in which somebody does something once, after the first answer to a method."""
    running = []

    def start(method, act, count=1):
        lock, seen = threading.Lock(), []

        def observe(exchange):
            watcher(exchange)
            with lock:
                if exchange.method == method:
                    seen.append(exchange)
                    if len(seen) == count:
                        act(sandbox.store)

        sandbox = Sandbox(tmp_path / "other.db", observer=observe).start()
        running.append(sandbox)
        config["api_url"] = sandbox.api_url
        return sandbox

    yield start
    for sandbox in running:
        sandbox.stop()


@pytest.fixture(autouse=True)
def short_freshness(monkeypatch):
    monkeypatch.setattr(resolver, "FRESH", 0.5)


def lookups(sandbox):
    return [one for one in sandbox.requests if one.method == "GET"]


@pytest.mark.slow
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_tag_that_a_rep_adds_while_a_change_is_refused_is_kept(sync, outreach, refusal):
    def edit(store):
        store.update("prospects", person, {"tags": ["theirs", "rep"]})

    sandbox = outreach("PATCH", edit)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["theirs"]})
    sandbox.add_fault(REFUSALS[refusal])
    rows = [schema("prospects"), record("prospects", emails="a@x.test", tags=["ours"])]
    run = sync(rows)
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    tags = sandbox.store.get("prospects", person)["attributes"]["tags"]
    assert tags == ["theirs", "rep", "ours"]


@pytest.mark.slow
@pytest.mark.parametrize("refusal", ["429", "503"])
def test_if_empty_does_not_overwrite_what_a_rep_fills_in_meanwhile(sync, outreach, refusal):
    def edit(store):
        store.update("prospects", person, {"title": "Theirs"})

    sandbox = outreach("PATCH", edit)
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.add_fault(REFUSALS[refusal])
    rules = [{"stream": "prospects", "field_rules": {"title": "if_empty"}}]
    rows = [schema("prospects"), record("prospects", emails="a@x.test", title="Ours")]
    run = sync(rows, streams=rules)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert sandbox.store.get("prospects", person)["attributes"]["title"] == "Theirs"


@pytest.mark.slow
@pytest.mark.parametrize("refusal", ["429", "503"])
def test_a_change_follows_the_address_that_a_rep_moves_while_it_is_refused(sync, outreach, refusal):
    def move(store):
        store.update("prospects", first, {"emails": ["b@x.test"]})
        store.update("prospects", second, {"emails": ["a@x.test"]})

    sandbox = outreach("PATCH", move)
    first = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "title": "One"})
    second = sandbox.store.seed("prospects", {"emails": ["c@x.test"], "title": "Two"})
    sandbox.add_fault(REFUSALS[refusal])
    run = sync([schema("prospects"), record("prospects", emails="a@x.test", title="Ours")])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    titles = [one["attributes"]["title"] for one in sandbox.store.all("prospects")]
    assert titles == ["One", "Ours"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_no_second_account_is_made_of_one_that_came_while_a_create_was_refused(
    sync, outreach, status
):
    def create(store):
        store.seed("accounts", {"name": "Acme", "domain": "acme.example"})

    sandbox = outreach("POST", create)
    sandbox.add_fault(Fault("status", method="POST", status=status, headers=WAIT))
    row = record("accounts", name="Acme", domain="acme.example", industry="Tools")
    run = sync([schema("accounts"), row])
    assert run.counts("accounts") == {"received": 1, "updated": 1}
    assert sandbox.store.count("accounts") == 1


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [4, 16])
def test_with_any_max_parallel_requests_what_is_old_is_read_again_many_at_once(
    sync, outreach, parallel, monkeypatch
):
    monkeypatch.setattr(resolver, "FRESH", 2.0)

    def edit_all(store):
        with store.transaction():
            for one in store.all("prospects"):
                tags = [*one["attributes"]["tags"], "rep"]
                store.update("prospects", one["id"], {"tags": tags})

    def edit_soon(store):  # when nothing is in flight any more
        threading.Timer(1, edit_all, (store,)).start()

    sandbox = outreach("PATCH", edit_soon)
    rows = [{"emails": [f"p{n}@x.test"], "tags": ["theirs"]} for n in range(60)]
    sandbox.store.seed_many("prospects", rows)
    sandbox.add_fault(Fault("status", method="PATCH", status=429, headers=(("Retry-After", "3"),)))
    said = [record("prospects", emails=f"p{n}@x.test", tags=["ours"]) for n in range(60)]
    run = sync([schema("prospects"), *said], max_parallel_requests=parallel)
    assert run.counts("prospects") == {"received": 60, "updated": 60}
    tags = [sorted(one["attributes"]["tags"]) for one in sandbox.store.all("prospects")]
    assert tags == [["ours", "rep", "theirs"]] * 60
    assert len(lookups(sandbox)) <= 3  # two, and one more where the machine is slow


@pytest.mark.slow
def test_nobody_is_enrolled_who_opts_out_while_the_enrolment_waits(sync, outreach, monkeypatch):
    monkeypatch.setattr("target_outreach.engine.enrolment.FRESH", 0.5)
    sandbox = outreach("POST", lambda store: store.update("prospects", person, {"optedOut": True}))
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.store.seed("sequences", {"name": "Trial offer", "enabled": True})
    user = sandbox.store.seed("users", {"email": "rep@x.test"})
    sandbox.store.seed("mailboxes", {"email": "rep@x.test"}, {"user": user})
    sandbox.add_fault(Fault("status", method="POST", status=429, headers=WAIT))
    columns = {
        name: {"type": "string"} for name in ("prospect_email", "sequence_name", "mailbox_email")
    }
    row = {
        "prospect_email": "a@x.test",
        "sequence_name": "Trial offer",
        "mailbox_email": "rep@x.test",
    }
    run = sync(
        [schema("enrolments", columns, keys=()), record("enrolments", **row)],
        allow_enrolment=True,
        streams=[{"stream": "enrolments", "object": "sequenceStates"}],
    )
    assert run.counts("enrolments") == {"received": 1, "skipped": 1}


@pytest.mark.slow
def test_who_was_found_late_is_not_rejected_where_lists_are_cut(sync, outreach):
    """What a cut list does not show is found by itself, as often as it has to be read again."""
    sandbox = outreach("POST", lambda _store: None)
    sandbox.profile = replace(sandbox.profile, list_cap=1)
    made = "2020-01-01T00:00:00Z"
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "createdAt": made})
    sandbox.add_fault(Fault("status", method="POST", status=503, headers=WAIT))
    row = record("prospects", emails=["second@x.test", "a@x.test"], tags=["ours"])
    run = sync([schema("prospects"), row])
    assert run.rejects == []
    assert run.counts("prospects") == {"received": 1, "updated": 1}
