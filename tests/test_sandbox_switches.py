"""Switches of the sandbox about single facts: what an answer is like on the other side."""

from __future__ import annotations

import pytest
import requests
from sandbox_client import JSON_API, adjust

from target_outreach.sandbox import Sandbox

TYPES = {"prospects": "prospect", "accounts": "account"}


@pytest.fixture
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def client():
    with requests.Session() as session:
        session.headers.update({"Authorization": "Bearer token", "Content-Type": JSON_API})
        yield session


@pytest.fixture
def write(sandbox, client):
    """Create a record, or change the one with an id; returns the answer."""

    def _write(name, number=None, /, **attributes):
        data = {"type": TYPES[name], "attributes": attributes}
        if number is None:
            return client.post(f"{sandbox.api_url}/{name}", json={"data": data}, timeout=20)
        url = f"{sandbox.api_url}/{name}/{number}"
        return client.patch(url, json={"data": data | {"id": number}}, timeout=20)

    return _write


@pytest.fixture
def found(sandbox, client):
    """List prospects or others by a query; returns the resources."""

    def _found(query, name="prospects"):
        return client.get(f"{sandbox.api_url}/{name}?{query}", timeout=20).json()["data"]

    return _found


def refusal(answer):
    (error,) = answer.json()["errors"]
    return answer.status_code, error["id"], error["detail"]


@pytest.mark.parametrize("name", ["name", "customId"])
def test_what_accounts_may_not_share_is_a_switch(sandbox, write, name):
    first = {"name": "One", "customId": "1"}
    twin = {"name": "Two", "customId": "2"} | {name: first[name].upper()}
    write("accounts", **first)
    adjust(sandbox, unique_accounts=(name,))
    detail = f"{name[0].upper()}{name[1:]} has already been taken."
    assert refusal(write("accounts", **twin)) == (422, "validationError", detail)
    assert write("accounts", 1, **first, industry="X").status_code == 200
    adjust(sandbox, unique_accounts=())
    assert write("accounts", **twin).status_code == 201


def test_the_name_of_a_company_may_make_its_account_and_find_it_again(sandbox, write):
    adjust(sandbox, company_account="linked")
    write("prospects", emails=["a@x.test"], company="Acme")
    write("prospects", emails=["b@x.test"], company="ACME")
    write("prospects", emails=["c@x.test"])
    write("prospects", 3, company="acme")
    (account,) = sandbox.store.unnamed_accounts()
    assert (account["attributes"]["name"], account["attributes"]["named"]) == ("Acme", False)
    assert [one.method for one in sandbox.store.writes("accounts", account["id"])] == ["company"]
    links = [
        one["relationships"]["account"]["data"]["id"] for one in sandbox.store.all("prospects")
    ]
    assert links == [account["id"]] * 3
    write("prospects", 3, company="Other")
    assert len(sandbox.store.unnamed_accounts()) == 1


def test_what_is_in_the_trash_may_be_listed(sandbox, client, found, write):
    adjust(sandbox, soft_delete=True, trash_listed=True)
    write("prospects", emails=["a@x.test"])
    assert client.delete(f"{sandbox.api_url}/prospects/1", timeout=20).status_code == 204
    (person,) = found("filter[emails]=a@x.test")
    assert person["attributes"]["trashedAt"]
    assert write("prospects", emails=["a@x.test"]).status_code == 422


@pytest.mark.parametrize("listed", [True, False])
def test_what_is_in_the_trash_may_let_go_of_its_addresses(sandbox, client, found, write, listed):
    adjust(sandbox, soft_delete=True, trash_listed=listed, trash_frees_emails=True)
    write("prospects", emails=["a@x.test"])
    client.delete(f"{sandbox.api_url}/prospects/1", timeout=20)
    assert write("prospects", emails=["a@x.test"]).status_code == 201
    ids = [one["id"] for one in found("filter[emails]=a@x.test")]
    assert ids == ([1, 2] if listed else [2])
    assert write("prospects", emails=["a@x.test"]).status_code == 422


def test_a_patch_with_the_same_addresses_may_be_refused(sandbox, write):
    write("prospects", emails=["a@x.test"])
    assert write("prospects", 1, emails=["a@x.test"]).status_code == 200
    adjust(sandbox, repeated_emails="refused", taken_status=409)
    answer = write("prospects", 1, emails=["a@x.test"])
    assert refusal(answer)[:2] == (409, "validationDuplicateValueError")
    assert write("prospects", 1, emails=["a@x.test", "b@x.test"]).status_code == 200


@pytest.mark.parametrize("wording", ["hash", "emails", "index"])
@pytest.mark.parametrize("status", [409, 422])
def test_the_status_of_a_taken_address_is_a_switch(sandbox, write, wording, status):
    adjust(sandbox, taken_wording=wording, taken_status=status)
    write("prospects", emails=["a@x.test"])
    assert refusal(write("prospects", emails=["a@x.test"]))[0] == status


def test_links_at_the_edge_of_a_list_may_be_absent(sandbox, client):
    sandbox.store.seed_many("accounts", [{"name": str(n)} for n in range(3)])
    url = f"{sandbox.api_url}/accounts?page[size]=2"
    assert client.get(url, timeout=20).json()["links"]["prev"] is None
    adjust(sandbox, edge_links="absent")
    first = client.get(url, timeout=20).json()["links"]
    assert set(first) == {"first", "next"}
    assert set(client.get(first["next"], timeout=20).json()["links"]) == {"first", "prev"}


def test_a_400_may_say_nothing_unless_its_id_is_published(sandbox, client, write):
    adjust(sandbox, bare_refusals=True)
    answer = client.get(f"{sandbox.api_url}/prospects?filter[externalId]=1", timeout=20)
    assert answer.json() == {
        "errors": [{"id": "badRequest", "title": "Bad Request", "detail": "Bad Request"}]
    }
    assert refusal(write("prospects", nickName="A"))[1] == "permittedParams.unknownAttribute"
    assert refusal(write("accounts"))[2] == "Name can't be blank."


def test_whole_prospects_may_show_what_is_not_specified(sandbox, found, write):
    adjust(sandbox, undocumented_attributes=True)
    shown = write("prospects", emails=["a@x.test"]).json()["data"]["attributes"]
    assert {"accountName", "emailContacts"} <= set(shown)
    (person,) = found("fields[prospect]=emails")
    assert set(person["attributes"]) == {"emails"}


def test_custom_fields_may_be_answered_by_their_types(sandbox, found, write):
    rules = {1: "numerical", 2: "percentage", 3: "boolean", 4: "multi_inclusion", 5: "string"}
    for number, kind in rules.items():
        sandbox.store.define_custom_field("prospects", number, f"L{number}", kind)
    texts = {"custom1": "12", "custom2": "1.5", "custom3": "true", "custom4": "a;b", "custom5": "1"}
    write("prospects", **texts)
    fields = f"fields[prospect]={','.join(texts)},custom6"
    assert found(fields)[0]["attributes"] == texts | {"custom6": None}
    adjust(sandbox, custom_answers="typed")
    typed = {"custom1": 12, "custom2": 1.5, "custom3": True, "custom4": ["a", "b"]}
    assert found(fields)[0]["attributes"] == texts | typed | {"custom6": None}


@pytest.mark.parametrize(
    ("switches", "attributes"),
    [
        ({"null_arrays": "refused"}, {"tags": None}),
        ({"strict_time_zones": True}, {"timeZone": "X"}),
    ],
)
def test_a_value_that_may_be_refused_is_a_switch(sandbox, write, switches, attributes):
    assert write("prospects", **attributes).status_code == 201
    adjust(sandbox, **switches)
    assert refusal(write("prospects", **attributes))[:2] == (422, "validationError")
    allowed = {"tags": [], "timeZone": "Europe/Paris", "title": None}
    assert write("prospects", **allowed).status_code == 201


def test_a_401_may_be_one_error_at_the_top(sandbox, client):
    adjust(sandbox, unauthorized_style="flat", tokens={})
    answer = client.get(f"{sandbox.api_url}/", timeout=20)
    assert (answer.status_code, answer.json()["id"]) == (401, "expiredAccessToken")


def test_all_headers_of_the_limit_may_hold_two_numbers(sandbox, client):
    adjust(sandbox, limit_headers="doubled")
    headers = client.get(f"{sandbox.api_url}/", timeout=20).headers
    named = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    assert all(len(headers[name].split(", ")) == 2 for name in named)
    assert headers["X-RateLimit-Limit"].startswith("10000, ")


def test_the_token_endpoint_may_refuse_without_a_word(sandbox, client):
    adjust(sandbox, strict_rotation=True, grant_refusal="empty")
    token = sandbox.issue_refresh_token()
    sandbox.revoke(token)
    form = {
        "client_id": "sandbox-client",
        "client_secret": "sandbox-secret",
        "grant_type": "refresh_token",
        "refresh_token": token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for changes, status in ({}, 400), ({"client_secret": "wrong"}, 401):
        url = f"{sandbox.oauth_url}/token"
        answer = client.post(url, data=form | changes, headers=headers, timeout=20)
        assert (answer.status_code, answer.content) == (status, b"")


def test_times_of_seeds_are_kept_as_outreach_writes_times(sandbox):
    sandbox.store.seed(
        "prospects", {"addedAt": "2026-01-02", "createdAt": "2026-01-02T03:04:05+01:00"}
    )
    sandbox.store.update("prospects", 1, {"touchedAt": "2026-01-02T03:04:05.678Z"})
    shown = sandbox.store.get("prospects", 1)["attributes"]
    assert shown["addedAt"] == "2026-01-02T00:00:00.000Z"
    assert shown["createdAt"] == "2026-01-02T02:04:05.000Z"
    assert shown["touchedAt"] == "2026-01-02T03:04:05.000Z"
    with pytest.raises(ValueError, match="Invalid isoformat"):
        sandbox.store.seed("prospects", {"addedAt": "yesterday"})


def test_lists_may_lag_behind_all_writes_where_single_reads_do_not(sandbox, client, write, found):
    now = [1_800_000_000.0]
    sandbox.stop()
    sandbox.clock = lambda: now[0]
    sandbox.start()
    adjust(sandbox, list_lag_seconds=2.5)
    write("prospects", emails=["a@x.test"], title="Old")
    assert found("filter[emails]=a@x.test") == []
    now[0] += 2.5
    write("prospects", 1, emails=["b@x.test"], title="New")
    write("prospects", 1, title="Newest")
    (shown,) = found("filter[emails]=a@x.test")
    assert (shown["attributes"]["title"], shown["attributes"]["emails"]) == ("Old", ["a@x.test"])
    assert found("filter[emails]=b@x.test") == []
    single = client.get(f"{sandbox.api_url}/prospects/1", timeout=20).json()["data"]
    assert single["attributes"]["title"] == "Newest"
    assert sandbox.store.get("prospects", 1)["attributes"]["emails"] == ["b@x.test"]
    now[0] += 2.5
    assert found("filter[emails]=a@x.test") == []
    (shown,) = found("filter[emails]=b@x.test")
    assert shown["attributes"]["title"] == "Newest"


def test_a_lagging_list_of_prospects_shows_one_whose_number_an_account_has(sandbox, write, found):
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"], "createdAt": "2026-01-01"})
    company = sandbox.store.seed("accounts", {"name": "Acme", "createdAt": "2026-01-01"})
    assert person == company
    adjust(sandbox, list_lag_seconds=60)
    write("accounts", company, name="Acme Inc")
    (shown,) = found("filter[emails]=a@x.test")
    assert shown["id"] == person
