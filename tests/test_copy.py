"""One Outreach is copied into another: `tap-outreach | target-outreach`.

The source's ids mean something else at the destination: what has an id at the source is somebody
else's record there. `EXACT` is the configuration for a copy in which each link leads to where it
led; `BY_NAME` that for one in which accounts keep their own `customId`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clients.singer_tap import Tap
from conftest import Run
from invention import CATALOG, invent, links

from target_outreach.sandbox import Sandbox
from target_outreach.sandbox.profile import Profile

pytestmark = pytest.mark.slow  # the tap is a program of its own

#: In a copy there is an end to what is not at the source: empty fields, tags, addresses.
AS_AT_THE_SOURCE = {"on_null": "clear", "array_fields": "replace"}

#: What maps by name only where a setting requests it.
ON_REQUEST = {
    "accounts": {name: name for name in ("named", "externalSource", "sharingTeamId")},
    "prospects": {
        name: name for name in ("dateOfBirth", "gender", "externalSource", "sharingTeamId")
    },
}

#: How both sides name the owner and the stage of a record.
NAMES = {"users": "email", "stages": "name", "personas": "name"}

#: The same in a stream map, from ids of the source, which `stream_map_config` translates. Where a
#: record has no such link, the tap leaves the column out; `record.get` makes a null of it, which
#: unlinks.
STANDING = {
    "owner_email": "config['users'].get(str(record.get('ownerId')))",
    "stage_name": "config['stages'].get(str(record.get('stageId')))",
    "persona_name": "config['personas'].get(str(record.get('personaId')))",
}

#: Each account is known by its id at the source, so that two of one name stay two. What the source
#: had in `customId` goes to a field that is free on both sides.
EXACT = AS_AT_THE_SOURCE | {
    "streams": [
        {
            "stream": "accounts",
            "columns": ON_REQUEST["accounts"] | {"id": "customId", "customId": "custom150"},
            "ignore_columns": ["custom150"],
            "match_on": ["customId"],
        },
        {"stream": "prospects", "columns": ON_REQUEST["prospects"]},
        {"stream": "*", "object": "none"},
    ],
    "stream_maps": {
        "accounts": {"owner_email": STANDING["owner_email"]},
        "prospects": STANDING
        | {
            "account_custom_id": "str(record['accountId']) if record.get('accountId') else None",
        },
    },
}

#: The name of its account is what a prospect shows as its company. Of two accounts of one name
#: nobody can say which is meant; such a prospect gets no link. An account that has neither
#: a domain nor a `customId` is known by its name alone, so two such are one.
BY_NAME = AS_AT_THE_SOURCE | {
    "streams": [
        {"stream": "accounts", "columns": ON_REQUEST["accounts"]},
        {"stream": "prospects", "columns": ON_REQUEST["prospects"], "on_missing_relation": "skip"},
    ],
    "stream_maps": {
        "accounts": {"owner_email": STANDING["owner_email"]},
        "prospects": STANDING
        | {"account_name": "record['company'] if record.get('accountId') else None"},
    },
}

#: Outreach has these since 2023; the tap's schemas are older.
UNKNOWN_TO_THE_TAP = {"annualRevenueRange", "naicsCodes", "sicCodes", "tickerSymbol"}
#: What no record of the source has: `EXACT` needs one of them, and the other is for the trash.
FREE = {"custom150", "trashedAt"}
#: Outreach itself says so of what comes through the API, unless that says something else.
MADE_BY_API = {"externalSource": "outreach-api"}
PHONES = ["+1 (555) 010-0001", "+4930123"]
STRANGERS = 30
# Telephone numbers are seeded as they were typed, and are compared with their copies. The tap shows
# the refresh token that it is configured with in each of its runs.
LIKE_OUTREACH = Profile(company_from_account=True, normalise_phones=False, strict_rotation=False)


class Clock:
    """Each look is a second after the one before, so that records change one after the other."""

    def __init__(self):
        self.now = datetime(2026, 3, 31, 9, 30, tzinfo=UTC).timestamp()

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def source(tmp_path):
    with Sandbox(tmp_path / "source.db", LIKE_OUTREACH, clock=Clock()) as running:
        yield running


@pytest.fixture
def sandbox(tmp_path, watcher):
    """Make the destination, in which all ids of the source are those of other records."""
    with Sandbox(tmp_path / "destination.db", LIKE_OUTREACH, observer=watcher) as running:
        store = running.store
        store.update("users", 1, {"email": "grace@example.com"})
        store.update("users", 2, {"email": "ada@example.com"})
        for number, name in enumerate(("Customer", "New", "Working"), 1):
            store.update("stages", number, {"name": name})
        for number, name in enumerate(("User", "Buyer"), 1):
            store.update("personas", number, {"name": name})
        for number in range(1, STRANGERS + 1):
            store.seed("accounts", {"name": f"Stranger {number}"})
            store.seed("prospects", {"emails": [f"stranger{number}@elsewhere.test"]})
        yield running


@pytest.fixture
def copy(source, start, config, tmp_path):
    """Run `tap-outreach | target-outreach`, both as processes, with a pipe between them."""

    def _copy(state=None, **settings):
        translation = {
            kind: {str(one["id"]): one["attributes"][name] for one in source.store.all(kind)}
            for kind, name in NAMES.items()
        }
        with Tap(source.url, tmp_path).running(state) as tap:
            target = start(stdin=tap.stdout, stream_map_config=translation, **settings)
            out, err = target.communicate(timeout=60)
        report = json.loads(Path(config["report_path"]).read_text(encoding="utf-8"))
        rejects = report["rejects_file"] and Path(report["rejects_file"]).read_text("utf-8")
        messages = [json.loads(line) for line in (rejects or "").splitlines()]
        return Run(target.returncode, out.decode(), report, err.decode(), messages)

    return _copy


def stored(name, number):
    """Invent a value for all that can be written, in the form in which Outreach keeps it."""
    kinds = CATALOG[name].attributes
    return {
        column: f"{value[:19]}.000Z" if kinds[column].kind == "date-time" else value
        for column, value in invent(name, number, 2).items()
        if column not in FREE
    }


def seed_accounts(store):
    """Fill in companies with and without a domain and an id of their own, three of one name."""
    acme = {"name": "Acme", "tags": ["key"], "industry": "Anvils", "numberOfEmployees": 12}
    for attributes, owner in (
        (stored("accounts", 0), 2),
        (acme | {"domain": "acme.example.com", "customId": "CRM-1"}, 1),
        (acme | {"domain": "acme.test", "description": "Another one"}, 2),
        ({"name": "Acme"}, None),
        ({"name": "Söhne & Co., “Bare”"}, None),
    ):
        store.seed("accounts", MADE_BY_API | attributes, {"owner": owner})


def seed_prospects(store):
    """Fill in a person of whom all is known, some at the companies, and some at none."""
    everything = stored("prospects", 0)
    del everything["company"]  # it has an account, whose name it shows
    assert len(everything) > 200
    store.seed("prospects", everything, {"account": 1, "owner": 2, "stage": 3, "persona": 2})
    for number, account in enumerate((2, 3, 4, 5, 2, 3)):
        addresses = [f"P{number}@Acme.example.com", f"p{number}+x@home.test"]
        own = {"emails": addresses, "firstName": "Zoë", "custom7": f"7, “{number}”", "score": 0.5}
        alike = {"title": "Smith", "tags": ["a", "b"], "workPhones": PHONES}
        related = {"account": account, "owner": 1 + number % 2, "stage": 1 + number % 3}
        store.seed("prospects", MADE_BY_API | alike | own, related)
    out = {"optedOut": True, "emailsOptStatus": "opted_out", "callOptedOut": True}
    for attributes, persona in (
        ({"emails": ["free@lance.test"], "company": "Own Ltd"}, 1),
        (out | {"emails": ["out@home.test"], "mobilePhones": ["0171 2345678"]}, None),
        ({"emails": ["only@home.test"]}, None),
    ):
        store.seed("prospects", MADE_BY_API | attributes, {"persona": persona})


@pytest.fixture
def filled(source):
    seed_accounts(source.store)
    seed_prospects(source.store)
    return source


def copies(sandbox, name):
    """Return the records at the destination, without those of strangers."""
    return [one for one in sandbox.store.all(name) if one["id"] > STRANGERS]


def by_address(resources):
    return {one["attributes"]["emails"][0]: one for one in resources}


def accounts_by_source_id(sandbox):
    return {int(one["attributes"]["customId"]): one for one in copies(sandbox, "accounts")}


def shared(name, resource, *, without=()):
    """Return what both sides can say of a record, and the tap between them."""
    names = CATALOG[name].writable.keys() - UNKNOWN_TO_THE_TAP - set(without)
    return {attribute: resource["attributes"][attribute] for attribute in names}


def standing(store, resource):
    """Return the owner and the stage of a record, by names."""
    found = {}
    for link, kind in (("owner", "users"), ("stage", "stages"), ("persona", "personas")):
        related = resource["relationships"].get(link, {}).get("data")
        found[link] = related and store.get(kind, related["id"])["attributes"][NAMES[kind]]
    return found


def account_of(resource):
    related = resource["relationships"]["account"]["data"]
    return related and related["id"]


def named_account_of(sandbox, resource):
    account = account_of(resource)
    is_named = account and sandbox.store.get("accounts", account)["attributes"]["named"]
    return account if is_named else None


def assert_same(source, sandbox):
    """Compare all records of both sides, attribute by attribute and link by link."""
    accounts = accounts_by_source_id(sandbox)
    originals = source.store.all("accounts")
    assert accounts.keys() == {one["id"] for one in originals}
    for original in originals:
        copied = accounts[original["id"]]
        kept = ("customId", "custom150")
        of_both = [shared("accounts", one, without=kept) for one in (original, copied)]
        assert of_both[0] == of_both[1]
        assert copied["attributes"]["custom150"] == original["attributes"]["customId"]
        assert standing(sandbox.store, copied) == standing(source.store, original)
    prospects = by_address(copies(sandbox, "prospects"))
    originals = by_address(source.store.all("prospects"))
    assert prospects.keys() == originals.keys()
    for address, original in originals.items():
        copied = prospects[address]
        assert shared("prospects", copied) == shared("prospects", original)
        assert standing(sandbox.store, copied) == standing(source.store, original)
        linked = account_of(original)
        assert named_account_of(sandbox, copied) == (linked and accounts[linked]["id"])


def assert_strangers_are_untouched(sandbox):
    for name in ("accounts", "prospects"):
        for number in range(1, STRANGERS + 1):
            assert [write.method for write in sandbox.store.writes(name, number)] == ["seed"]


def test_a_copy_holds_all_that_the_source_holds_and_a_second_one_writes_nothing(
    copy, filled, sandbox
):
    first = copy(**EXACT)
    assert first.exit_code == 0, first.log
    assert first.counts("accounts") == {"received": 5, "created": 5}
    assert first.counts("prospects") == {"received": 10, "created": 10}
    assert_same(filled, sandbox)
    assert_strangers_are_untouched(sandbox)
    written = sandbox.store.last_write()
    second = copy(**EXACT)
    assert second.exit_code == 0, second.log
    assert second.counts("accounts") == {"received": 5, "unchanged": 5}
    assert second.counts("prospects") == {"received": 10, "unchanged": 10}
    assert sandbox.store.last_write() == written


def test_after_edits_at_the_source_only_those_records_are_written(copy, filled, sandbox):
    first = copy(**EXACT)
    of_source = by_address(filled.store.all("prospects"))
    edits = {
        "P1@Acme.example.com": ({"title": "Head", "personalNote1": None}, {}),
        "P2@Acme.example.com": ({"tags": [], "workPhones": PHONES[1:]}, {"owner": None}),
        "P3@Acme.example.com": ({}, {"account": 2, "stage": 3}),
        "free@lance.test": ({"emails": ["free@lance.test", "new@lance.test"]}, {}),
    }
    for address, edit in edits.items():
        filled.store.update("prospects", of_source[address]["id"], *edit)
    filled.store.update("accounts", 3, {"description": None, "domain": "acme3.test"})
    second = copy(first.states[-1], **EXACT)
    assert second.exit_code == 0, second.log
    # The tap begins with the moment at which it stopped: the last record of each comes again.
    assert second.counts("accounts") == {"received": 2, "updated": 1, "unchanged": 1}
    assert second.counts("prospects") == {"received": 5, "updated": 4, "unchanged": 1}
    updates = {
        address: (write.attributes.keys(), write.relationships.keys())
        for address, copied in by_address(copies(sandbox, "prospects")).items()
        for write in sandbox.store.writes("prospects", copied["id"])[1:]
    }
    assert updates == {
        "P1@Acme.example.com": ({"title"}, set()),
        "P2@Acme.example.com": ({"tags", "workPhones"}, {"owner"}),
        "P3@Acme.example.com": (set(), {"account", "stage"}),
        "free@lance.test": ({"emails"}, set()),
    }
    assert_same(filled, sandbox)
    assert_strangers_are_untouched(sandbox)


def test_a_copy_by_names_omits_only_links_to_one_of_two_of_the_same_name(copy, source, sandbox):
    acme = {"name": "Acme", "customId": "CRM-1", "domain": "acme.example.com"}
    for account in (acme, acme | {"customId": "CRM-2", "domain": "acme.test"}, {"name": "Söhne"}):
        source.store.seed("accounts", MADE_BY_API | account, {"owner": 1})
    for number, related in enumerate(({"account": 1}, {"account": 3, "stage": 2}, {})):
        one = MADE_BY_API | {"emails": [f"p{number}@home.test"], "company": "Own Ltd"}
        source.store.seed("prospects", one, related)
    first = copy(**BY_NAME)
    assert first.exit_code == 0, first.log
    prospects = by_address(copies(sandbox, "prospects"))
    names = {one["id"]: one["attributes"]["name"] for one in copies(sandbox, "accounts")}
    assert sorted(names.values()) == ["Acme", "Acme", "Söhne"]
    assert {address: names.get(account_of(one)) for address, one in prospects.items()} == {
        "p0@home.test": None,
        "p1@home.test": "Söhne",
        "p2@home.test": None,
    }
    assert first.report["streams"]["prospects"]["links_left_out"] == {"account.name": 1}
    assert prospects["p2@home.test"]["attributes"]["company"] == "Own Ltd"
    written = sandbox.store.last_write()
    second = copy(**BY_NAME)
    assert second.counts("accounts") == {"received": 3, "unchanged": 3}
    assert second.counts("prospects") == {"received": 3, "unchanged": 3}
    assert sandbox.store.last_write() == written


def test_an_opt_in_at_the_source_undoes_no_opt_out_unless_that_is_allowed(copy, filled, sandbox):
    copy(**EXACT)
    original = by_address(filled.store.all("prospects"))["out@home.test"]
    opted_in = {"optedOut": False, "emailsOptStatus": "opted_in", "callOptedOut": False}
    filled.store.update("prospects", original["id"], opted_in)
    kept = copy(**EXACT)
    assert kept.counts("prospects") == {"received": 10, "unchanged": 10}
    assert kept.report["streams"]["prospects"]["held_back"].keys() >= opted_in.keys()
    followed = copy(**EXACT, allow_opt_in=True)
    assert followed.counts("prospects") == {"received": 10, "unchanged": 9, "updated": 1}
    assert_same(filled, sandbox)


@pytest.mark.usefixtures("filled")
def test_without_a_word_about_ids_none_of_the_source_is_taken_for_one(copy, sandbox):
    run = copy()
    assert run.counts("prospects") == {"received": 10, "created": 10}
    # The third company of one name may be either of the first two.
    assert run.counts("accounts") == {"received": 5, "created": 4, "rejected": 1}
    assert run.exit_code == 3
    assert [line["error"]["code"] for line in run.rejects if "error" in line] == ["ambiguous_match"]
    for name in ("accounts", "prospects"):
        for copied in copies(sandbox, name):
            assert not any(
                copied["relationships"][link]["data"] for link in links(name) if link != "account"
            )
    assert not any(named_account_of(sandbox, copied) for copied in copies(sandbox, "prospects"))
    assert_strangers_are_untouched(sandbox)


@pytest.mark.usefixtures("filled")
def test_in_update_mode_the_ids_of_the_source_are_ignored_where_that_is_said(copy, sandbox):
    known = sandbox.store.seed("prospects", {"emails": ["free@lance.test"]})
    run = copy(sync_mode="update", streams=[{"stream": "*", "ignore_columns": ["id"]}])
    assert run.exit_code == 0, run.log
    assert run.counts("prospects") == {"received": 10, "updated": 1, "skipped": 9}
    assert run.counts("accounts") == {"received": 5, "skipped": 5}
    assert sandbox.store.get("prospects", known)["attributes"]["company"] == "Own Ltd"
    assert_strangers_are_untouched(sandbox)


def test_a_prospect_without_an_address_is_rejected_and_the_others_are_copied(copy, filled):
    filled.store.seed("prospects", MADE_BY_API | {"firstName": "Nameless"})
    run = copy(**EXACT)
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 11, "created": 10, "rejected": 1}
    (rejected,) = (line["error"] for line in run.rejects if "error" in line)
    assert (rejected["code"], rejected["field"]) == ("missing_required", "emails")
