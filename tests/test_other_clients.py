"""What the target writes, others read: tap-outreach as Singer published it, and Airbyte's CDK."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from clients import airbyte_source
from clients.singer_tap import PAGE_SIZE, Tap
from conftest import record, schema
from invention import CATALOG, FEWEST, deliver, invent, links, rows
from sandbox_client import Clock

from target_outreach.sandbox import Profile, Sandbox

pytestmark = pytest.mark.slow  # other people's programs are installed, and read all over again

HOUR = 3600
COUNTS = {"accounts": FEWEST, "prospects": 60}
KEYS = {"accounts": "customId", "prospects": "emails"}
#: Outreach has these since 2023; the tap's schemas are older.
UNKNOWN_TO_THE_TAP = {"annualRevenueRange", "naicsCodes", "sicCodes", "tickerSymbol"}


@pytest.fixture
def clock():
    return Clock(datetime(2026, 3, 31, 9, 30, tzinfo=UTC).timestamp())


@pytest.fixture
def sandbox(tmp_path, clock):
    # What was written is compared word for word with what is read. The tap shows the refresh token
    # that it is configured with in each of its runs.
    profile = Profile(normalise_phones=False, strict_rotation=False)
    with Sandbox(tmp_path / "outreach.db", profile, clock=clock) as running:
        yield running


@pytest.fixture
def read(sandbox, tmp_path):
    return Tap(sandbox.url, tmp_path).read


def records(messages, name):
    return [
        message["record"]
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == name
    ]


def by_key(name, found):
    """Put records by the value that is the record's own, each once."""
    by_value = {str(record[KEYS[name]]): record for record in found}
    assert len(by_value) == len(found)
    return by_value


def as_the_tap_says(name, row):
    """Put a row that was written as the tap shows it: ids of links, and dates as date-times."""
    shown = {}
    for column, value in row.items():
        attribute = CATALOG[name].attributes.get(column)
        if attribute is None:
            shown[column.removeprefix("outreach_").replace("_id", "Id")] = value
        elif attribute.kind in {"date", "date-time"}:
            shown[column] = f"{datetime.fromisoformat(value):%Y-%m-%dT%H:%M:%S.%fZ}"
        elif column not in UNKNOWN_TO_THE_TAP and not is_the_accounts_name(column, row):
            shown[column] = value
    return shown


def as_outreach_says(name, row):
    """Put a row that was written as the API shows it: attributes, and ids of related records."""
    attributes, related = {}, {}
    for column, value in row.items():
        attribute = CATALOG[name].attributes.get(column)
        if attribute is None:
            related[column.removeprefix("outreach_").removesuffix("_id")] = value
        elif attribute.kind == "date-time":
            attributes[column] = f"{datetime.fromisoformat(value):%Y-%m-%dT%H:%M:%S.000Z}"
        elif not is_the_accounts_name(column, row):
            attributes[column] = value
    return attributes, related


def is_the_accounts_name(column, row):
    """Where there is an account, its name is not for a prospect to say."""
    return column == "company" and "outreach_account_id" in row


def write_all(sync, turn):
    for name, count in COUNTS.items():
        deliver(sync, name, rows(name, count, turn), array_fields="replace")


def test_tap_outreach_reads_back_all_that_was_written(sync, read, sandbox):
    write_all(sync, 1)
    write_all(sync, 2)
    messages = read()
    for name, count in COUNTS.items():
        found = by_key(name, records(messages, name))
        written = by_key(name, rows(name, count, 2))
        assert found.keys() == written.keys()
        for key, row in written.items():
            expected = as_the_tap_says(name, row)
            assert {column: found[key].get(column) for column in expected} == expected
            assert ("ownerId" in found[key]) == ("outreach_owner_id" in row)
        ids = {resource["id"] for resource in sandbox.store.all(name)}
        assert {record["id"] for record in found.values()} == ids
    assert len(expected) > 200
    assert {f"{link}Id" for link in links("prospects")} < set().union(*found.values())


def test_tap_outreach_pages_through_what_was_written(sync, read, sandbox):
    deliver(sync, "prospects", [invent("prospects", n, 1) for n in range(60)])
    assert len(records(read(), "prospects")) == 60
    pages = [
        one
        for one in sandbox.requests
        if one.path.endswith("/prospects") and ("sort", "updatedAt") in one.parameters
    ]
    cursors = ["page[after]" in dict(page.parameters) for page in pages]
    assert cursors == [False] + [True] * (60 // PAGE_SIZE - 1)
    # The tap adds its parameters to the link of each next page; no page may add to them.
    assert len({len(page.parameters) for page in pages[1:]}) == 1


def test_tap_outreach_reads_again_only_what_the_target_changed(sync, read, clock):
    before = [invent("prospects", n, 1) for n in range(60)]
    deliver(sync, "prospects", before)
    clock.now += HOUR
    before[0]["title"] = "Clerk"
    deliver(sync, "prospects", before)
    state = [message["value"] for message in read() if message["type"] == "STATE"][-1]
    clock.now += HOUR
    after = [*before[:1], *(row | {"title": "Head"} for row in before[1:8]), *before[8:]]
    deliver(sync, "prospects", after)
    again = by_key("prospects", records(read(state), "prospects"))
    # The tap begins with the moment at which it stopped, which is that of the clerk.
    assert {key: record["title"] for key, record in again.items()} == {
        key: row["title"] for key, row in by_key("prospects", after[:8]).items()
    }


def test_airbyte_reads_back_all_that_was_written(sync, sandbox, tmp_path):
    # Nothing else is linked than what the rows say.
    sandbox.profile = replace(sandbox.profile, company_account="none")
    write_all(sync, 1)
    write_all(sync, 2)
    before = sandbox.request_count
    config = {
        "api_url": sandbox.api_url,
        "access_token": "invented-token-1b9c",
        "page_size": PAGE_SIZE,
    }
    found = airbyte_source.read(tmp_path, config, COUNTS)
    for name, resources in found.items():
        written = by_key(name, rows(name, COUNTS[name], 2))
        shown = {str(one["attributes"][KEYS[name]]): one for one in resources}
        assert shown.keys() == written.keys()
        assert len(resources) == len(written)
        for key, row in written.items():
            attributes, related = as_outreach_says(name, row)
            of_api = shown[key]["attributes"]
            assert {column: of_api[column] for column in attributes} == attributes
            assert related_ids(name, shown[key]) == related
        assert attributes.keys() >= CATALOG[name].writable.keys() - {"company"}
        assert related.keys() == set(links(name))
    asked = list(sandbox.requests)[before:]
    assert {request.status for request in asked} == {200}
    assert len(asked) == sum(COUNTS.values()) // PAGE_SIZE


def related_ids(name, resource):
    return {
        link: resource["relationships"][link]["data"]["id"]
        for link in links(name)
        if resource["relationships"][link]["data"] is not None
    }


def test_the_tap_reads_opportunities_with_their_links(sync, sandbox, tmp_path):
    account = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.example"})
    columns = {name: {"type": "string"} for name in ("name", "account_domain", "owner_email")}
    columns |= {"amount": {"type": "integer"}, "close_date": {"type": "string"}}
    deal = {"name": "Renewal", "account_domain": "acme.example", "amount": 1200}
    deal |= {"owner_email": "grace@example.com", "close_date": "2026-12-24"}
    run = sync(
        [schema("opportunities", columns, keys=()), record("opportunities", **deal)],
        api_url=sandbox.api_url,
    )
    assert run.counts("opportunities") == {"received": 1, "created": 1}
    messages = Tap(sandbox.url, tmp_path, ("opportunities",)).read()
    (found,) = records(messages, "opportunities")
    assert (found["name"], found["amount"]) == ("Renewal", 1200)
    assert (found["accountId"], found["ownerId"]) == (account, 2)
    assert found["closeDate"].startswith("2026-12-24")
