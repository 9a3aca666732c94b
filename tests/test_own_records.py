"""What others do to a record that the run has written itself, before a later row is about it."""

from __future__ import annotations

import pytest
from conftest import record, schema

TEXT = {"type": ["null", "string"]}
PERSON = {"emails": TEXT, "title": TEXT, "tags": {"type": ["null", "array"]}, "account_name": TEXT}
COMPANY = {"name": TEXT, "domain": TEXT, "industry": TEXT}


@pytest.fixture
def change(sandbox):
    """Change the oldest record of an address or a name, as a rep would."""

    def _change(object_name, key, **attributes):
        found = (
            one["id"]
            for one in sandbox.store.all(object_name)
            if key in (one["attributes"].get("emails") or [one["attributes"].get("name")])
        )
        sandbox.store.update(object_name, min(found), attributes)

    return _change


@pytest.fixture
def meanwhile(sandbox, monkeypatch):
    """Have others act while the run makes the record that comes second."""
    genuine = sandbox.store.create

    def arrange(act):
        made = []

        def create(name, change):
            answer = genuine(name, change)
            made.append(name)
            if len(made) == 2:
                act()
            return answer

        monkeypatch.setattr(sandbox.store, "create", create)

    return arrange


def people(first, last):
    """Rows of one person, and of others between them."""
    others = [record("prospects", emails=f"p{n}@x.test") for n in range(4)]
    return [schema("prospects", PERSON, keys=()), first, *others, last]


ONE_BY_ONE = {"batch_size_rows": 1, "max_parallel_requests": 1}
FIRST = record("prospects", emails="a@x.test", title="T", tags=["t1"])
LAST = record("prospects", emails="a@x.test", title="T2", tags=["t2"])


def test_a_person_whom_a_rep_gave_another_address_is_left_alone(sync, sandbox, meanwhile, change):
    meanwhile(lambda: change("prospects", "a@x.test", emails=["new@x.test"], tags=["t1", "rep"]))
    run = sync(people(FIRST, LAST), **ONE_BY_ONE)
    assert run.counts("prospects") == {"received": 6, "created": 6}
    held = {one["emails"][0]: one for one in attributes(sandbox, "prospects")}
    assert held["new@x.test"]["tags"] == ["t1", "rep"]
    assert held["new@x.test"]["title"] == "T"
    assert held["a@x.test"]["tags"] == ["t2"]


def test_a_tag_of_a_rep_is_kept_who_also_added_an_address(sync, sandbox, meanwhile, change):
    emails = ["new@x.test", "a@x.test"]
    meanwhile(lambda: change("prospects", "a@x.test", emails=emails, tags=["t1", "rep"]))
    run = sync(people(FIRST, LAST), **ONE_BY_ONE)
    assert run.exit_code == 0
    held = {one["emails"][0]: one for one in attributes(sandbox, "prospects")}
    assert held["new@x.test"]["tags"] == ["t1", "rep", "t2"]


def test_what_a_rep_typed_is_no_empty_value(sync, sandbox, meanwhile, change):
    meanwhile(lambda: change("prospects", "a@x.test", emails=["new@x.test"], title="typed"))
    first = record("prospects", emails="a@x.test", tags=["t1"])
    entry = {"stream": "prospects", "field_rules": {"title": "if_empty"}}
    run = sync(people(first, LAST), streams=[entry], **ONE_BY_ONE)
    assert run.exit_code == 0
    held = {one["emails"][0]: one for one in attributes(sandbox, "prospects")}
    assert held["new@x.test"]["title"] == "typed"


@pytest.mark.parametrize("on_ambiguous", ["reject", "oldest", "newest"])
def test_an_address_that_moved_to_somebody_else_finds_only_them(
    sync, sandbox, meanwhile, change, on_ambiguous
):
    def move():
        change("prospects", "a@x.test", emails=["gone@x.test"])
        sandbox.store.seed("prospects", {"emails": ["a@x.test"], "tags": ["theirs"]})

    meanwhile(move)
    run = sync(people(FIRST, LAST), on_ambiguous=on_ambiguous, **ONE_BY_ONE)
    assert run.exit_code == 0
    held = {one["emails"][0]: one for one in attributes(sandbox, "prospects")}
    assert held["gone@x.test"]["tags"] == ["t1"]
    assert held["a@x.test"]["tags"] == ["theirs", "t2"]


def test_a_company_that_was_renamed_is_no_other_companys_name(sync, sandbox, meanwhile, change):
    said = {"name": "Acme Holding", "domain": "holding.example", "industry": "theirs"}
    meanwhile(lambda: change("accounts", "Acme", **said))
    rows = [schema("accounts", COMPANY, keys=()), record("accounts", name="Acme")]
    rows += [record("accounts", name=f"C{n}") for n in range(4)]
    rows += [record("accounts", name="Acme", domain="acme-two.example", industry="X")]
    run = sync(rows, **ONE_BY_ONE)
    assert run.counts("accounts") == {"received": 6, "created": 6}
    held = {one["name"]: one for one in attributes(sandbox, "accounts")}
    assert held["Acme Holding"]["industry"] == "theirs"
    assert held["Acme"]["domain"] == "acme-two.example"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_person_is_linked_to_who_has_the_name_now(sync, sandbox, meanwhile, change, is_there):
    def rename():
        change("accounts", "Acme", name="Globex", domain="globex.example")
        sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})

    if is_there:
        sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    meanwhile(rename)
    rows = [schema("accounts", COMPANY, keys=()), schema("prospects", PERSON, keys=())]
    rows += [record("accounts", name="Acme", domain="acme.example")]
    rows += [record("accounts", name=f"C{n}") for n in range(6)]
    rows += [record("prospects", emails="a@x.test", account_name="Acme")]
    run = sync(rows, **ONE_BY_ONE)
    assert run.exit_code == 0
    (person,) = sandbox.store.all("prospects")
    linked = person["relationships"]["account"]["data"]["id"]
    assert sandbox.store.get("accounts", linked)["attributes"]["name"] == "Acme"


def attributes(sandbox, name):
    return [one["attributes"] for one in sandbox.store.all(name)]
