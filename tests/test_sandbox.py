"""The sandbox over real HTTP: it must be Outreach to any client."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
import requests
from sandbox_client import JSON_API, NOON, ApiClient, Clock, adjust

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import Fault, Sandbox

TYPES = {"prospects": "prospect", "accounts": "account"}


class Client(ApiClient):
    """What a client of Outreach does, in as few words as tests need."""

    def get(self, path: str, **parameters):
        return self.session.get(self.sandbox.api_url + path, **parameters)

    def send(self, method: str, path: str, content, media_type: str = JSON_API):
        body = content if isinstance(content, (bytes, str)) else json.dumps(content)
        headers = {"Content-Type": media_type}
        return self.session.request(
            method, self.sandbox.api_url + path, data=body, headers=headers, timeout=20
        )

    def post(self, name: str, attributes=None, relationships=None, **members):
        data = {"type": TYPES[name], "attributes": attributes or {}, **members}
        data |= {"relationships": relationships} if relationships is not None else {}
        return self.send("POST", f"/{name}", {"data": data})

    def patch(self, name: str, number: int, attributes=None, relationships=None, **members):
        data = {"type": TYPES[name], "id": number, "attributes": attributes or {}, **members}
        data |= {"relationships": relationships} if relationships is not None else {}
        return self.send("PATCH", f"/{name}/{number}", {"data": data})

    def found(self, query: str, name: str = "prospects") -> list[int]:
        answer = self.get(f"/{name}?{query}")
        assert answer.status_code == 200, answer.text
        return [resource["id"] for resource in answer.json()["data"]]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sandbox(clock):
    with Sandbox(clock=clock) as running:
        yield running


@pytest.fixture
def client(sandbox):
    with Client(sandbox) as client:
        yield client


def error(answer):
    (found,) = answer.json()["errors"]
    return answer.status_code, found["id"]


def account_link(number):
    return {"account": {"data": {"type": "account", "id": number}}}


# Shapes


def test_a_created_prospect_is_answered_as_a_full_resource(client, sandbox):
    answer = client.post("prospects", {"firstName": "Ada", "emails": ["ada@example.org"]})
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == JSON_API
    resource = answer.json()["data"]
    assert (resource["type"], resource["id"]) == ("prospect", 1)
    assert resource["links"] == {"self": f"{sandbox.api_url}/prospects/1"}
    attributes = resource["attributes"]
    assert attributes.keys() == load_catalog()["prospects"].attributes.keys()
    assert attributes["createdAt"] == attributes["updatedAt"] == "2024-08-02T09:56:52.000Z"
    assert client.get("/prospects/1").json()["data"] == resource


@pytest.mark.parametrize(
    ("name", "blank"),
    [
        ("title", None),
        ("score", None),
        ("linkedInConnections", None),
        ("tags", []),
        ("workPhones", []),
        ("optedOut", False),
        ("openCount", 0),
        ("engagedScore", 0),
        ("contactHistogram", [[0, 0]] * 12),
        ("externalSource", "outreach-api"),
        ("name", "a@example.org"),
    ],
)
def test_what_was_never_set_looks_as_in_outreach(client, name, blank):
    answer = client.post("prospects", {"emails": ["a@example.org"]})
    assert answer.json()["data"]["attributes"][name] == blank


def test_relationships_are_shown_with_integer_ids_or_null(client, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    links = client.post("prospects", {}, account_link(account)).json()["data"]["relationships"]
    assert links["account"] == {"data": {"type": "account", "id": account}}
    assert links["owner"] == {"data": None}
    assert links["creator"] == {"data": {"type": "user", "id": 1}}


def test_the_name_is_put_together_from_its_parts(client):
    parts = {"firstName": "Ada", "middleName": "King", "lastName": "Byron"}
    created = client.post("prospects", parts).json()["data"]
    assert created["attributes"]["name"] == "Ada King Byron"


def test_the_linkedin_slug_is_taken_from_the_url_and_can_be_looked_up(client):
    client.post("prospects", {"linkedInUrl": "https://www.linkedin.com/in/Ada-B/?x=1"})
    assert client.found("filter[linkedInSlug]=ada-b") == [1]


def test_a_fresh_file_has_users_stages_and_personas(client):
    assert client.found("filter[email]=ada@example.com", "users") == [1]
    names = [s["attributes"]["name"] for s in client.get("/stages").json()["data"]]
    assert names == ["New", "Working", "Customer"]
    assert len(client.get("/personas/").json()["data"]) == 2


def test_the_root_tells_user_and_organisation(client):
    told = client.get("/").json()
    assert told["meta"]["user"]["email"] == "ada@example.com"
    assert told["data"]["attributes"]["name"] == "Sandbox"
    assert told["data"] == client.get("").json()["data"]


def test_the_root_has_another_form_or_none_if_the_profile_says_so(client, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Tier", "string")
    sandbox.profile = replace(sandbox.profile, organisation=42, organisation_name="Acme")
    told = client.get("/").json()
    assert (told["data"]["id"], told["data"]["attributes"]["name"]) == (42, "Acme")
    assert told["data"]["attributes"]["prospectLabel7"] == "Tier"
    assert "prospects.all" in told["meta"]["scopes"]
    sandbox.profile = replace(sandbox.profile, identity="meta")
    told = client.get("/").json()
    assert told["meta"]["org"] == {"guid": 42, "name": "Acme"}
    assert "data" not in told
    sandbox.profile = replace(sandbox.profile, identity="user")
    told = client.get("/").json()
    assert (sorted(told), sorted(told["meta"])) == (["links", "meta"], ["application", "user"])
    for status in (403, 404):
        sandbox.profile = replace(sandbox.profile, identity_refusal=status)
        assert client.get("/").status_code == status


def test_types_tell_labels_and_rules_of_custom_fields(client, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Tier", "inclusion", ["A", "B"])
    entries = {e["type"]: e["meta"]["validations"] for e in client.get("/types").json()["data"]}
    assert entries["account"] == {}
    assert entries["prospect"] == {
        "custom7": {
            "type": "inclusion",
            "required": False,
            "label": "Tier",
            "definition": ["A", "B"],
        }
    }


def test_every_answer_carries_a_date(client, clock):
    sent = parsedate_to_datetime(client.get("/prospects").headers["Date"])
    assert sent.timestamp() == int(clock.now)


# Writes


def test_a_patch_changes_only_what_it_names(client, clock):
    client.post("prospects", {"firstName": "Ada", "title": "CTO", "tags": ["a", "b"]})
    clock.now += 60
    answer = client.patch("prospects", 1, {"title": None, "tags": ["c"]})
    attributes = answer.json()["data"]["attributes"]
    assert answer.status_code == 200
    assert (attributes["firstName"], attributes["title"]) == ("Ada", None)
    assert attributes["tags"] == ["c"]
    assert attributes["updatedAt"] == "2024-08-02T09:57:52.000Z"


def test_a_patch_without_a_difference_leaves_updated_at_alone(client, clock, sandbox):
    client.post("prospects", {"title": "CTO"})
    clock.now += 60
    client.patch("prospects", 1, {"title": "CTO", "tags": None})
    resource = sandbox.store.get("prospects", 1)
    assert resource["attributes"]["updatedAt"] == resource["attributes"]["createdAt"]
    assert [w.changed for w in sandbox.store.writes("prospects", 1)] == [True, False]


def test_a_relationship_is_cleared_by_null(client, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    client.post("prospects", {}, account_link(account))
    answer = client.patch("prospects", 1, None, {"account": {"data": None}})
    assert answer.json()["data"]["relationships"]["account"] == {"data": None}


def test_a_deleted_record_is_gone_and_its_id_is_never_used_again(client):
    client.post("prospects", {"emails": ["a@example.org"]})
    answer = client.send("DELETE", "/prospects/1", "")
    assert (answer.status_code, answer.content) == (204, b"")
    gone = client.get("/prospects/1")
    assert error(gone) == (404, "resourceNotFound")
    assert gone.json()["errors"][0]["detail"] == "Could not find 'prospect' with ID '1'."
    assert client.post("prospects", {"emails": ["a@example.org"]}).json()["data"]["id"] == 2


def test_a_softly_deleted_prospect_is_unseen_but_keeps_its_address(client, sandbox):
    adjust(sandbox, soft_delete=True)
    client.post("prospects", {"emails": ["a@example.org"]})
    client.send("DELETE", "/prospects/1", "")
    assert client.found("filter[emails]=a@example.org") == []
    assert error(client.post("prospects", {"emails": ["a@example.org"]}))[0] == 422


def test_deleting_an_account_unlinks_its_prospects(client, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    client.post("prospects", {}, account_link(account))
    client.send("DELETE", f"/accounts/{account}", "")
    assert sandbox.store.get("prospects", 1)["relationships"]["account"] == {"data": None}


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("prospects", {"nosuch": 1}, (400, "permittedParams.unknownAttribute")),
        ("prospects", {"linkedinUrl": "x"}, (400, "permittedParams.unknownAttribute")),
        ("prospects", {"custom151": "x"}, (400, "permittedParams.unknownAttribute")),
        ("prospects", {"openCount": 1}, (400, "permittedParams.unknownAttribute")),
        ("prospects", {"tags": "one"}, (422, "validationError")),
        ("prospects", {"tags": [1]}, (422, "validationError")),
        ("prospects", {"title": 1}, (422, "validationError")),
        ("prospects", {"title": ["x"]}, (422, "validationError")),
        ("prospects", {"title": "\ud800"}, (422, "validationError")),
        ("prospects", {"optedOut": "true"}, (422, "validationError")),
        ("prospects", {"linkedInConnections": "5"}, (422, "validationError")),
        ("prospects", {"linkedInConnections": True}, (422, "validationError")),
        ("prospects", {"linkedInConnections": 1.5}, (422, "validationError")),
        ("prospects", {"score": "1.5"}, (422, "validationError")),
        ("prospects", {"dateOfBirth": "01/02/2024"}, (422, "validationError")),
        ("prospects", {"dateOfBirth": "2024-02-30"}, (422, "validationError")),
        ("prospects", {"availableAt": "soon"}, (422, "validationError")),
        ("prospects", {"title": "x" * 256}, (422, "validationDataTooLongError")),
        ("prospects", {"emails": ["a@outreach.io"]}, (422, "validationError")),
        ("prospects", {"emails": ["a@b.OUTREACH.io "]}, (422, "validationError")),
        ("accounts", {"domain": "example.org"}, (422, "validationError")),
        ("accounts", {"name": " "}, (422, "validationError")),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused_and_nothing_is_created(
    client, sandbox, name, attributes, expected
):
    assert error(client.post(name, attributes)) == expected
    assert sandbox.store.all(name) == []


@pytest.mark.parametrize(
    ("attributes", "stored"),
    [
        ({"availableAt": "2024-08-02T11:56:52.7+02:00"}, "2024-08-02T09:56:52.000Z"),
        ({"availableAt": "2024-08-02T09:56:52"}, "2024-08-02T09:56:52.000Z"),
        ({"dateOfBirth": "2000-01-31"}, "2000-01-31"),
        ({"score": 1.5}, 1.5),
        ({"score": 2}, 2),
        ({"title": "x" * 255}, "x" * 255),
        ({"optedOut": True}, True),
    ],
)
def test_values_of_the_right_type_are_kept(client, attributes, stored):
    (name,) = attributes
    assert client.post("prospects", attributes).json()["data"]["attributes"][name] == stored


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"data": []}',
        b'{"data": {"attributes": {}}}',
        b'{"data": {"type": "account"}}',
        b'{"data": {"type": "prospect", "id": 5}}',
        b'{"data": {"type": "prospect", "attributes": {"score": NaN}}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_malformed_envelope_is_refused(client, body):
    answer = client.send("POST", "/prospects", body)
    assert error(answer) == (422, "validationError")
    assert answer.json()["errors"][0]["source"] == {"pointer": "/data"}


def test_a_patch_must_repeat_the_id_of_its_path(client):
    client.post("prospects", {})
    assert error(client.patch("prospects", 1, id=2)) == (422, "validationError")


def test_only_json_api_is_accepted_for_writes(client, sandbox):
    content = {"data": {"type": "prospect", "attributes": {}}}
    answer = client.send("POST", "/prospects", content, "application/json")
    assert error(answer) == (415, "unsupportedMediaType")
    assert "application/vnd.api+json" in answer.json()["errors"][0]["details"]
    assert client.send("POST", "/prospects", content, f"{JSON_API}; charset=utf-8").ok
    adjust(sandbox, strict_media_type=False)
    assert client.send("POST", "/prospects", content, "application/json").ok


def test_the_blank_name_of_an_account_is_named(client):
    (found,) = client.post("accounts", {}).json()["errors"]
    assert found == {
        "id": "validationError",
        "title": "Validation Error",
        "detail": "Name can't be blank.",
        "source": {"pointer": "/data/attributes/name"},
    }


def test_names_may_be_limited_to_fifty_letters(client, sandbox):
    adjust(sandbox, max_name_length=50)
    assert error(client.post("prospects", {"lastName": "x" * 51}))[1] == (
        "validationDataTooLongError"
    )
    assert client.post("prospects", {"lastName": "x" * 50}).status_code == 201


@pytest.mark.parametrize(
    ("link", "status"),
    [
        ({"type": "account", "id": 1}, 201),
        ({"type": "account", "id": 99}, 400),
        ({"type": "account", "id": 10**30}, 400),
        ({"type": "account", "id": "1"}, 422),
        ({"type": "account", "id": True}, 422),
        ({"type": "user", "id": 1}, 422),
        ("1", 422),
    ],
)
def test_a_relationship_must_name_a_record_that_is_there(client, sandbox, link, status):
    sandbox.store.seed("accounts", {"name": "Acme"})
    assert client.post("prospects", {}, {"account": {"data": link}}).status_code == status


def test_related_ids_may_be_text_where_the_profile_says_so(client, sandbox):
    adjust(sandbox, string_relationship_ids=True)
    answer = client.post("prospects", {}, {"owner": {"data": {"type": "user", "id": "2"}}})
    assert answer.json()["data"]["relationships"]["owner"]["data"]["id"] == 2


@pytest.mark.parametrize("name", ["creator", "nosuch"])
def test_a_relationship_that_cannot_be_written_is_refused(client, name):
    answer = client.post("prospects", {}, {name: {"data": None}})
    assert error(answer) == (400, "permittedParams.unknownAttribute")


def test_opting_out_is_stamped_and_opting_in_clears_the_stamp(client):
    opted = client.post("prospects", {"optedOut": True}).json()["data"]["attributes"]
    assert opted["optedOutAt"] == "2024-08-02T09:56:52.000Z"
    back = client.patch("prospects", 1, {"optedOut": False}).json()["data"]["attributes"]
    assert (back["optedOut"], back["optedOutAt"]) == (False, None)


def test_the_company_may_be_that_of_the_account(client, sandbox):
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    client.post("prospects", {"company": "ACME Corp."}, account_link(account))
    assert client.get("/prospects/1").json()["data"]["attributes"]["company"] == "ACME Corp."
    adjust(sandbox, company_from_account=True)
    assert client.get("/prospects/1").json()["data"]["attributes"]["company"] == "Acme"


def test_telephone_numbers_may_be_normalised(client, sandbox):
    phones = ["(855) 256-7346", "+49 30 1234", "none", "+44 (0)20 7946 0958", "0044 20 79460958"]
    stored = client.post("prospects", {"workPhones": phones}).json()["data"]["attributes"]
    british = ["+442079460958"] * 2
    assert stored["workPhones"] == ["+18552567346", "+49301234", "none", *british]
    adjust(sandbox, normalise_phones=False)
    stored = client.post("prospects", {"workPhones": phones}).json()["data"]["attributes"]
    assert stored["workPhones"] == phones


@pytest.mark.parametrize(
    ("country", "typed", "kept"),
    [
        ("GB", "020 7946 0958", "+442079460958"),
        ("GB", "44 20 7946 0958", "+442079460958"),
        ("FR", "06 12 34 56 78", "+33612345678"),
        ("IT", "06 1234 5678", "+390612345678"),
        ("US", "1 (212) 555-0100", "+12125550100"),
        (None, "212 555 0100", "+12125550100"),
    ],
)
def test_they_are_by_the_country_of_the_owner(client, sandbox, country, typed, kept):
    sandbox.store.update("users", 2, {"phoneCountryCode": country})
    owner = {"owner": {"data": {"type": "user", "id": 2}}}
    client.post("prospects", {"mobilePhones": [typed]}, owner)
    client.patch("prospects", 1, {"workPhones": [typed]})
    stored = client.get("/prospects/1").json()["data"]["attributes"]
    assert stored["mobilePhones"] == stored["workPhones"] == [kept]


def linked_account(answer):
    return answer.json()["data"]["relationships"]["account"]["data"]


def test_a_new_prospect_without_an_account_gets_an_unnamed_one(client, sandbox):
    first = client.post("prospects", {"company": "Acme", "emails": ["a@x.test"]})
    client.post("prospects", {"emails": ["b@Mail.test"]})
    client.post("prospects", {"firstName": "Ada"})
    account = sandbox.store.seed("accounts", {"name": "Named"})
    client.post("prospects", {"company": "Other"}, account_link(account))
    client.patch("prospects", 1, {"company": "New"})
    made = [one["attributes"]["name"] for one in sandbox.store.unnamed_accounts()]
    assert made == ["Acme", "mail.test"]
    assert linked_account(first) == {"type": "account", "id": 1}
    hidden = "actionParams[withUnnamedAccount]=false"
    assert linked_account(client.get("/prospects/1")) == {"type": "account", "id": 1}
    assert linked_account(client.get(f"/prospects/1?{hidden}")) is None
    assert linked_account(client.get(f"/prospects/4?{hidden}")) == {"type": "account", "id": 3}
    listed = client.get(f"/prospects?{hidden}").json()["data"]
    links = [one["relationships"]["account"]["data"] for one in listed]
    assert links == [None, None, None, {"type": "account", "id": 3}]
    assert client.found("", "accounts") == [3]
    assert client.found("filter[id]=1,2,3", "accounts") == [3]
    assert client.found("filter[named]=false", "accounts") == [1, 2]
    assert client.found("filter[account][named]=true") == [4]
    assert client.get("/accounts/1").json()["data"]["attributes"]["named"] is False


def test_what_lists_do_with_unnamed_accounts_is_a_switch(client, sandbox):
    client.post("prospects", {"company": "Acme"})
    path = "/prospects?actionParams[withUnnamedAccount]=false"
    adjust(sandbox, unnamed_parameter="ignored", unnamed_listed=True)
    (listed,) = client.get(path).json()["data"]
    assert listed["relationships"]["account"]["data"] == {"type": "account", "id": 1}
    assert client.found("", "accounts") == [1]
    adjust(sandbox, unnamed_parameter="refused")
    assert client.get(path).status_code == 400
    adjust(sandbox, company_account="none")
    assert linked_account(client.post("prospects", {"company": "Acme"})) is None


@pytest.mark.parametrize(
    ("kind", "definition", "good", "bad"),
    [
        ("inclusion", ["A", "B"], "A", "C"),
        ("multi_inclusion", ["A", "B"], "A, B", "A, C"),
        ("date", None, "2024-01-31", "31.1.2024"),
        ("date_time", None, "2024-01-31T10:00:00", "noon"),
        ("numerical", None, "0", "many"),
        ("boolean", None, "false", "no"),
        ("url", None, "https://example.org", "example"),
        ("phone_number", None, "555", "none"),
        ("string", None, "x", None),
    ],
)
def test_custom_fields_obey_their_declared_type(client, sandbox, *, kind, definition, good, bad):
    sandbox.store.define_custom_field("prospects", 3, "Extra", kind, definition)
    assert client.post("prospects", {"custom3": good}).status_code == 201
    if bad is not None:
        refused = client.post("prospects", {"custom3": bad})
        assert error(refused) == (422, "validationError")
        assert refused.json()["errors"][0]["source"]["pointer"] == "/data/attributes/custom3"


def test_a_required_custom_field_is_needed_to_create(client, sandbox):
    client.post("prospects", {})
    sandbox.store.define_custom_field("prospects", 3, "Extra", required=True)
    assert error(client.post("prospects", {})) == (422, "validationError")
    assert client.patch("prospects", 1, {"title": "CTO"}).status_code == 200


# One owner per address


@pytest.mark.parametrize(
    ("wording", "expected"),
    [
        ("hash", ("validationError", "Contacts email hash has already been taken.", "/data")),
        ("emails", ("validationError", "Emails has already been taken", "/data")),
        (
            "index",
            ("validationDuplicateValueError", "A Contact with this email_hash already exists.", ""),
        ),
    ],
)
def test_a_taken_address_is_refused_in_outreachs_words(client, sandbox, wording, expected):
    adjust(sandbox, taken_wording=wording)
    client.post("prospects", {"emails": ["first@example.org", "Ada@Example.org"]})
    answer = client.post("prospects", {"emails": ["new@example.org", " ada@example.ORG"]})
    (found,) = answer.json()["errors"]
    assert answer.status_code == 422
    pointer = found.get("source", {}).get("pointer", "")
    assert (found["id"], found["detail"], pointer) == expected
    assert client.found("filter[emails]=new@example.org") == []


@pytest.mark.parametrize("codes", [True, False])
def test_an_error_has_a_code_where_one_is_known_or_none_at_all(client, sandbox, codes):
    adjust(sandbox, error_codes=codes)
    client.post("prospects", {"emails": ["a@example.org"]})
    found = [
        client.post("prospects", {"emails": [address]}).json()["errors"][0].get("code")
        for address in ("a@example.org", "a@outreach.io")
    ]
    assert found == (["taken", "is_using_excluded_email_address"] if codes else [None, None])


def test_a_patch_cannot_take_an_address_but_may_keep_or_free_its_own(client):
    client.post("prospects", {"emails": ["a@example.org"]})
    client.post("prospects", {"emails": ["b@example.org"]})
    assert client.patch("prospects", 2, {"emails": ["a@example.org"]}).status_code == 422
    assert client.patch("prospects", 2, {"emails": ["B@example.org", "c@x.org"]}).ok
    assert client.patch("prospects", 2, {"emails": ["c@x.org"]}).ok
    assert client.post("prospects", {"emails": ["b@example.org"]}).status_code == 201


def test_of_many_clients_that_create_the_same_address_one_wins(client, sandbox):
    def create(_):
        with Client(sandbox) as racer:
            return racer.post("prospects", {"emails": ["one@example.org"]}).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(create, range(32)))
    assert statuses == [201] + [422] * 31
    assert len(client.found("filter[emails]=one@example.org")) == 1


def test_purposeful_duplicates_share_an_address(client, sandbox):
    adjust(sandbox, purposeful_duplicates=True)
    client.post("prospects", {"emails": ["a@example.org"]})
    assert client.post("prospects", {"emails": ["a@example.org"]}).status_code == 201
    assert client.found("filter[emails]=a@example.org") == [1, 2]


# Filters


@pytest.fixture
def people(sandbox):
    """Four prospects, two accounts; Ada and Bea work for the first account."""
    store = sandbox.store
    store.seed("accounts", {"name": "Acme, Inc.", "domain": "acme.example", "customId": "A-1"})
    store.seed("accounts", {"name": "Müller", "buyerIntentScore": 2.5, "named": True})
    ada = {"firstName": "Ada", "lastName": "Byron", "emails": ["ada@x.org", "a+b@X.org"]}
    store.seed("prospects", {**ada, "createdAt": "2024-01-01T00:00:00.000Z"}, {"account": 1})
    bea = {"firstName": "Bea", "emails": ["bea@x.org"], "title": "CTO"}
    store.seed(
        "prospects", {**bea, "createdAt": "2024-02-01T00:00:00.000Z"}, {"account": 1, "owner": 2}
    )
    store.seed("prospects", {"firstName": "Cy", "createdAt": "2024-03-01T12:00:00.000Z"})
    store.seed("prospects", {"firstName": "ada", "stackOverflowId": "7"}, {"stage": 2})
    return store


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter[emails]=ada@x.org", [1]),
        ("filter[emails]=A%2BB@x.ORG", [1]),
        ("filter[emails]=a+b@x.org", []),
        ("filter[emails]=bea@x.org,ada@x.org,no@x.org,", [1, 2]),
        ("filter%5Bemails%5D=bea@x.org%2Cada@x.org", [1, 2]),
        ("filter[emails]=__null__", [3, 4]),
        ("filter[emails]=__notnull__", [1, 2]),
        ("filter[firstName]=ADA", [1, 4]),
        ("filter[firstName]=ada&filter[lastName]=byron", [1]),
        ("filter[firstName]=ada,cy", [1, 3, 4]),
        ("filter[firstName]=", []),
        ("filter[title]=__null__", [1, 3, 4]),
        ("filter[title]=__null__,cto", [1, 2, 3, 4]),
        ("filter[id]=1,3,99", [1, 3]),
        ("filter[id]=2..3", [2, 3]),
        ("filter[id]=3..inf", [3, 4]),
        ("filter[id]=neginf..2", [1, 2]),
        ("filter[createdAt]=2024-02-01..2024-03-01T12:00:00Z", [2, 3]),
        ("filter[createdAt]=2024-01-01T01:00:00%2B01:00", [1]),
        ("filter[account][id]=1", [1, 2]),
        ("filter[account][id]=__null__", [3, 4]),
        ("filter[account][name]=m%C3%9Cller", []),
        ("filter[account][customId]=a-1", [1, 2]),
        ("filter[owner][id]=2", [2]),
        ("filter[stage][name]=working", [4]),
        ("newFilterSyntax=true&filter[firstName][]=Bea&filter[firstName][]=cy", [2, 3]),
        ("newFilterSyntax=true&filter[firstName]=Bea", [2]),
        ("newFilterSyntax=true&filter[firstName]=Bea,Cy", []),
        ("newFilterSyntax=true&filter[id][gte]=2&filter[id][lte]=3", [2, 3]),
        ("newFilterSyntax=true&filter[account][id][]=1", [1, 2]),
    ],
)
@pytest.mark.usefixtures("people")
def test_prospects_are_filtered(client, query, expected):
    assert client.found(query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter[domain]=ACME.example", [1]),
        ("filter[customId]=a-1", [1]),
        ("filter[name]=m%C3%9CLLER", [2]),
        ("filter[name]=Acme, Inc.", []),
        ("newFilterSyntax=true&filter[name][]=acme,+inc.", [1]),
        ("filter[named]=false", []),
        ("filter[named]=true", [1, 2]),
        ("filter[buyerIntentScore]=2..3", [2]),
        ("filter[buyerIntentScore]=__null__", [1]),
    ],
)
@pytest.mark.usefixtures("people")
def test_accounts_are_filtered(client, query, expected):
    assert client.found(query, "accounts") == expected


@pytest.mark.parametrize(
    "query",
    [
        "filter[externalId]=1",
        "filter[custom1]=1",
        "filter[company]=x",
        "filter[nosuch]=1",
        "filter[owner][email]=x",
        "filter[nosuch][id]=1",
        "filter[id]=one",
        "filter[id]=99999999999999999999",
        "filter[engagedScore]=high",
        "filter[createdAt]=yesterday",
        "filter[firstName][]=x",
        "newFilterSyntax=true&filter[createdAt]=2024-01-01..inf",
        "sort=nosuch",
        "sort=externalId",
        "fields[prospect]=nosuch",
        "fields[nosuch]=x",
        "page[size]=0",
        "page[size]=many",
        "page[after]=x",
        "page[after]=W10%3D",
        "page[offset]=10001",
        "page[offset]=-1",
    ],
)
def test_a_query_that_outreach_does_not_know_is_refused(client, query):
    answer = client.get(f"/prospects?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0].keys() == {"id", "title", "detail"}


@pytest.mark.parametrize(
    ("query", "error_id"),
    [
        ("fields[prospect]=nosuch", "fieldsParameter.unknownResourceField"),
        ("filter[createdAt]=x", "filterParameter.invalidDatetimeFormat"),
    ],
)
def test_published_error_ids_are_used(client, query, error_id):
    assert error(client.get(f"/prospects?{query}")) == (400, error_id)


@pytest.mark.usefixtures("people")
def test_filters_may_be_case_sensitive(client, sandbox):
    adjust(sandbox, case_sensitive_filters=True)
    assert client.found("filter[firstName]=ada") == [4]
    assert client.found("filter[emails]=a%2Bb@x.org,ada@x.org") == [1]
    assert client.found("filter[emails]=a%2Bb@x.org") == []


@pytest.mark.usefixtures("people")
def test_lists_may_be_cut_silently(client, sandbox):
    adjust(sandbox, list_cap=2)
    assert client.found("filter[id]=4,3,2,1") == [3, 4]


def test_a_url_beyond_the_limit_is_refused_as_a_page(client, sandbox):
    adjust(sandbox, max_url_bytes=200)
    answer = client.get(f"/prospects?filter[emails]={'x' * 200}")
    assert answer.status_code == 414
    assert answer.headers["Content-Type"] == "text/html"


# Pages


def test_sparse_fields_show_only_what_was_asked_for(client, sandbox):
    sandbox.store.seed("prospects", {"firstName": "Ada"})
    (resource,) = client.get("/prospects?fields[prospect]=firstName,owner").json()["data"]
    assert resource["attributes"] == {"firstName": "Ada"}
    assert resource["relationships"] == {"owner": {"data": None}}


def followed(client, link, path):
    """Return the ids of each page from `path` along one kind of link."""
    pages, url = [], client.sandbox.api_url + path
    while url:
        document = client.session.get(url).json()
        pages.append([resource["id"] for resource in document["data"]])
        url = document.get("links", {}).get(link)
    return pages


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", [[1, 2], [3, 4], [5]]),
        ("&sort=-id", [[5, 4], [3, 2], [1]]),
        ("&sort=lastName", [[5, 1], [3, 2], [4]]),
        ("&sort=-lastName", [[4, 2], [3, 1], [5]]),
        ("&sort=-lastName,firstName", [[2, 4], [1, 3], [5]]),
        ("&sort=createdAt", [[5, 4], [3, 2], [1]]),
        ("&filter[id]=2..5", [[2, 3], [4, 5]]),
    ],
)
@pytest.mark.parametrize("size", ["page[size]=2", "page[limit]=2"])
def test_pages_are_walked_along_their_links(client, sandbox, size, sort, expected):
    for number, last in enumerate(["A", "B", "A", "B", None]):
        stamp = f"2024-01-0{9 - number}T00:00:00.000Z"
        person = {"lastName": last, "firstName": "bacde"[number], "createdAt": stamp}
        sandbox.store.seed("prospects", person)
    pages = followed(client, "next", f"/prospects?{size}{sort}")
    assert [set(page) for page in pages] == [set(page) for page in expected]
    if size.startswith("page[size]"):
        assert pages == expected


def test_cursors_lead_back_as_well(client, sandbox):
    for _ in range(5):
        sandbox.store.seed("prospects", {})
    links = client.get("/prospects?page[size]=2&sort=-updatedAt").json()["links"]
    assert links["prev"] is None
    second = client.session.get(links["next"]).json()["links"]
    third = client.session.get(second["next"]).json()["links"]
    assert third["next"] is None
    back = followed(client, "prev", third["prev"].removeprefix(sandbox.api_url))
    assert back == [[3, 2], [5, 4]]
    assert client.session.get(second["first"]).json()["data"][0]["id"] == 5


def test_a_cursor_is_not_moved_by_what_is_created_meanwhile(client, sandbox):
    for _ in range(3):
        sandbox.store.seed("prospects", {})
    url = client.get("/prospects?page[size]=2&sort=-id").json()["links"]["next"]
    sandbox.store.seed("prospects", {})
    assert [r["id"] for r in client.session.get(url).json()["data"]] == [1]


def test_offset_pages_tell_the_last_one(client, sandbox):
    for _ in range(5):
        sandbox.store.seed("prospects", {})
    links = client.get("/prospects?page[limit]=2&page[offset]=2").json()["links"]
    assert [r["id"] for r in client.session.get(links["last"]).json()["data"]] == [5]
    assert [r["id"] for r in client.session.get(links["prev"]).json()["data"]] == [1, 2]


def test_an_empty_list_has_no_links(client):
    answer = client.get("/prospects?filter[emails]=no@x.org").json()
    assert answer == {"data": [], "meta": {"count": None, "count_truncated": False}}


def test_records_are_counted_only_on_request(client, sandbox):
    for _ in range(3):
        sandbox.store.seed("prospects", {})
    meta = client.get("/prospects?count=true&page[size]=1").json()["meta"]
    assert meta == {"count": 3, "count_truncated": False}


def test_a_page_has_fifty_records_and_at_most_a_thousand(client, sandbox):
    for _ in range(51):
        sandbox.store.seed("stages", {})
    assert len(client.found("", "stages")) == 50
    assert len(client.found("page[size]=5000", "stages")) == 54
    adjust(sandbox, oversized_page="error")
    assert client.get("/stages?page[size]=1001").status_code == 400


# Tokens


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("text", "Invalid access token"),
        ("gateway", '"error":"Invalid JWT token."'),
        ("errors", '"id":"expiredAccessToken"'),
    ],
)
def test_a_request_without_a_good_token_is_refused(client, sandbox, style, text):
    adjust(sandbox, unauthorized_style=style)
    assert client.get("/prospects").status_code == 200
    sandbox.revoke("token")
    answer = client.get("/prospects")
    assert answer.status_code == 401
    assert text in answer.text
    assert requests.get(f"{sandbox.api_url}/prospects", timeout=5).status_code == 401


def test_a_token_does_only_what_its_scopes_cover(client, sandbox):
    adjust(sandbox, tokens={"token": ["prospects.read", "accounts.all"]})
    assert client.get("/prospects").status_code == 200
    assert client.post("accounts", {"name": "Acme"}).status_code == 201
    answer = client.post("prospects", {})
    assert error(answer) == (403, "unauthorizedOauthScope")
    assert answer.json()["errors"][0] == {
        "id": "unauthorizedOauthScope",
        "title": "Unauthorized OAuth Scope",
        "detail": "Your authorization does not include the required scope 'prospects.write'.",
    }
    adjust(sandbox, tokens={"other": ["prospects.all"]})
    assert client.get("/prospects").status_code == 401


@pytest.mark.parametrize("governed", [["prospects"], ["prospects/1"]])
def test_what_is_governed_can_be_read_but_not_written(client, sandbox, governed):
    client.post("prospects", {})
    adjust(sandbox, governed=governed)
    assert client.get("/prospects/1").status_code == 200
    assert error(client.patch("prospects", 1, {})) == (403, "unauthorizedRequest")


@pytest.mark.parametrize("encoding", ["data", "json"])
@pytest.mark.parametrize(
    "grant",
    [
        {"grant_type": "refresh_token", "refresh_token": "r"},
        {"grant_type": "authorization_code", "code": "c"},
    ],
)
def test_the_token_endpoint_issues_tokens_for_two_hours(client, sandbox, clock, encoding, grant):
    sandbox.profile = replace(sandbox.profile, strict_rotation=False)
    answer = requests.post(f"{sandbox.oauth_url}/token", **{encoding: grant}, timeout=5)
    body = answer.json()
    assert (answer.status_code, body["token_type"], body["expires_in"]) == (200, "Bearer", 7200)
    assert body["created_at"] == int(clock.now)
    assert "prospects.all" in body["scope"].split()
    sandbox.revoke_all()
    assert client.get("/").status_code == 401
    fresh = requests.post(f"{sandbox.oauth_url}/token", **{encoding: grant}, timeout=5).json()
    bearer = {"Authorization": f"Bearer {fresh['access_token']}"}
    assert requests.get(sandbox.api_url, headers=bearer, timeout=5).status_code == 200
    clock.now += 7200
    assert requests.get(sandbox.api_url, headers=bearer, timeout=5).status_code == 401


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "revoked"}, "invalid_grant"),
    ],
)
def test_the_token_endpoint_refuses_with_400(sandbox, form, expected):
    sandbox.revoke("revoked")
    answer = requests.post(f"{sandbox.oauth_url}/token", data=form, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (400, expected)


# Limits


def test_the_limit_is_told_and_kept(client, sandbox, clock):
    adjust(sandbox, rate_limit=3, retry_after="delta")
    first = client.get("/prospects").headers
    assert (first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]) == ("3", "2")
    reset = int(first["X-RateLimit-Reset"])
    assert reset == (int(NOON) // 3600 + 1) * 3600
    sandbox.spend(2)
    refused = client.get("/prospects")
    assert error(refused) == (429, "rateLimitExceeded")
    assert "permitted rate limit of 3; please try again at 2024-08-02T10:00:00." in refused.text
    assert abs(int(refused.headers["Retry-After"]) - (reset - NOON)) < 1
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    clock.now = reset
    assert client.get("/prospects").headers["X-RateLimit-Remaining"] == "2"
    assert sandbox.request_count == 3


@pytest.mark.parametrize(
    ("style", "pattern"),
    [
        ("delta", r"\d{1,4}"),
        ("epoch", r"17225\d{5}"),
        ("iso", r"2024-08-02T10:00:00Z"),
        ("none", "None"),
    ],
)
def test_retry_after_comes_in_several_forms(client, sandbox, style, pattern):
    adjust(sandbox, rate_limit=0, retry_after=style)
    assert re.fullmatch(pattern, str(client.get("/").headers.get("Retry-After")))


def test_remaining_may_hold_two_numbers_or_be_absent(client, sandbox):
    adjust(sandbox, limit_headers="double")
    assert client.get("/").headers["X-RateLimit-Remaining"] == "9999, 19999"
    adjust(sandbox, limit_headers="none")
    assert not [name for name in client.get("/").headers if "ratelimit" in name.lower()]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nosuch"),
        ("GET", "/prospects/1/nosuch"),
        ("PUT", "/prospects"),
        ("POST", "/users"),
        ("DELETE", "/prospects"),
        ("POST", "/types"),
    ],
)
def test_unknown_routes_are_named(client, method, path):
    assert error(client.send(method, path, "{}")) == (404, "routeNotFound")


@pytest.mark.parametrize("number", ["99", "x", "9" * 30])
def test_an_unknown_id_is_not_found(client, number):
    assert error(client.get(f"/accounts/{number}")) == (404, "resourceNotFound")


# Faults


def test_a_status_fault_answers_instead_of_working(client, sandbox):
    sandbox.add_fault(Fault("status", method="POST", status=502))
    answer = client.post("prospects", {})
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "text/html"
    assert sandbox.store.all("prospects") == []
    assert client.post("prospects", {}).status_code == 201


def test_a_fault_may_say_what_a_throttle_in_front_says(client, sandbox):
    headers = (("Content-Type", "text/plain"), ("Retry-After", "7"))
    sandbox.add_fault(Fault("status", status=429, body="Retry later", headers=headers))
    answer = client.get("/")
    assert (answer.status_code, answer.text) == (429, "Retry later")
    assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == ("text/plain", "7")
    assert "X-RateLimit-Limit" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "committed"),
    [
        (Fault("reset_before"), 0),
        (Fault("reset_after"), 1),
        (Fault("truncate"), 1),
        (Fault("hang", seconds=0.01), 0),
        (Fault("hang_after", seconds=0.01), 1),
    ],
)
def test_a_broken_connection_shows_after_or_before_the_commit(client, sandbox, fault, committed):
    sandbox.add_fault(fault)
    with pytest.raises(requests.RequestException):
        client.post("prospects", {"title": "CTO"})
    assert len(sandbox.store.all("prospects")) == committed
    assert client.get("/prospects").status_code == 200


def test_a_reset_is_a_reset(sandbox):
    sandbox.add_fault(Fault("reset_before"))
    with socket.create_connection(sandbox.url.removeprefix("http://").split(":")) as connection:
        connection.sendall(b"GET /api/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault("status_after", status=504), 504), (Fault("garbage"), 200)],
)
def test_a_wrong_answer_after_the_commit(client, sandbox, fault, status):
    sandbox.add_fault(fault)
    answer = client.post("prospects", {})
    assert answer.status_code == status
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    assert len(sandbox.store.all("prospects")) == 1


@pytest.mark.parametrize("kind", ["delay", "drip"])
def test_a_slow_answer_is_complete(client, sandbox, kind):
    sandbox.add_fault(Fault(kind, seconds=0.1))
    started = time.monotonic()
    assert client.get("/").json()["meta"]["user"]["id"] == 1
    assert time.monotonic() - started >= 0.1


def test_every_answer_may_take_its_time(client, sandbox):
    adjust(sandbox, latency_seconds=0.1)
    client.get("/")
    assert sandbox.requests[-1].ended - sandbox.requests[-1].started >= 0.1


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        (Fault("status"), [503, 200, 200, 200]),
        (Fault("status", after=1, times=2), [200, 503, 503, 200]),
        (Fault("status", times=None), [503, 503, 503, 503]),
        (Fault("status", path="/prospects"), [200, 200, 200, 200]),
        (Fault("status", path=r"v2/acc\w+\?"), [503, 200, 200, 200]),
        (Fault("status", path="filter[name]=A&"), [503, 200, 200, 200]),
        (Fault("status", method="POST"), [200, 200, 200, 200]),
        (Fault("status", probability=0.0), [200, 200, 200, 200]),
    ],
)
def test_a_fault_strikes_only_where_it_is_planned(client, sandbox, fault, statuses):
    sandbox.add_fault(fault)
    path = "/accounts?filter%5Bname%5D=A&count=true"
    assert [client.get(path).status_code for _ in range(4)] == statuses
    sandbox.clear_faults()
    assert client.get("/accounts").status_code == 200


def test_chance_repeats_itself_from_its_seed(client, sandbox):
    def strikes():
        sandbox.clear_faults()
        sandbox.add_fault(Fault("status", times=None, probability=0.5, seed=3))
        return [client.get("/").status_code for _ in range(20)]

    first = strikes()
    assert set(first) == {200, 503}
    assert strikes() == first


# Looking on


def test_requests_are_kept_with_their_bodies(client, sandbox):
    client.get("/prospects?filter%5Bid%5D=1%2C2")
    client.post("accounts", {"name": "Acme"})
    read, written = sandbox.requests
    assert (read.method, read.path, read.query) == (
        "GET",
        "/api/v2/prospects",
        "filter%5Bid%5D=1%2C2",
    )
    assert read.parameters == [("filter[id]", "1,2")]
    assert (read.status, read.body) == (200, None)
    assert written.body["data"]["attributes"] == {"name": "Acme"}
    assert read.started <= read.ended <= written.started


def test_an_observer_sees_what_went_over_the_wire():
    seen, answered = [], threading.Event()

    def observe(exchange):
        seen.append(exchange)
        answered.set()

    with Sandbox(observer=observe) as sandbox:
        url = f"{sandbox.api_url}/nosuch?x=1"
        answer = requests.get(url, headers={"Authorization": "Bearer t"}, timeout=5)
        assert answered.wait(5)
    (exchange,) = seen
    assert (exchange.method, exchange.url, exchange.status) == ("GET", url, 404)
    assert exchange.body == answer.content
    assert dict(exchange.headers) == dict(answer.headers)
    assert dict(exchange.request_headers)["Authorization"] == "Bearer t"


def test_edits_past_the_api_look_like_those_of_people(client, sandbox, clock):
    number = sandbox.store.seed("prospects", {"firstName": "Ada", "emails": ["a@x.org"]})
    clock.now += 3600
    sandbox.store.update("prospects", number, {"title": "CTO", "emails": ["b@x.org"]})
    attributes = client.get(f"/prospects/{number}").json()["data"]["attributes"]
    assert attributes["updatedAt"] == "2024-08-02T10:56:52.000Z"
    assert client.found("filter[emails]=b@x.org") == [number]
    history = sandbox.store.writes("prospects", number)
    assert [write.method for write in history] == ["seed", "edit"]
    assert history[1].attributes == {"title": "CTO", "emails": ["b@x.org"]}
    sandbox.store.delete("prospects", number)
    assert sandbox.store.all("prospects") == []


def test_seeding_something_unknown_is_a_mistake_of_the_test(sandbox):
    with pytest.raises(ValueError, match="prospects have no nosuch"):
        sandbox.store.seed("prospects", {"nosuch": 1})
    with pytest.raises(ValueError, match="no such object"):
        sandbox.store.seed("tasks", {})
    with pytest.raises(KeyError):
        sandbox.store.get("prospects", 5)


# The file


def test_the_file_is_found_again_as_it_was_left(tmp_path):
    path = tmp_path / "outreach.db"
    with Sandbox(path) as first:
        organisation = first.store.organisation()
        first.store.seed("prospects", {"emails": ["a@x.org"]})
        first.store.delete("prospects", first.store.seed("prospects", {}))
    with Sandbox(str(path)) as second:
        assert second.store.organisation() == organisation
        assert len(second.store.all("users")) == 2
        assert second.store.seed("prospects", {}) == 3


def test_another_process_can_read_the_open_file(tmp_path):
    path = tmp_path / "outreach.db"
    with Sandbox(path) as sandbox:
        sandbox.store.seed("accounts", {"name": "Acme"})
        query = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        query += "print(c.execute('SELECT count(*) FROM accounts').fetchone()[0]); c.close()"
        done = subprocess.run(
            [sys.executable, "-c", query, str(path)], capture_output=True, check=True, text=True
        )
        assert done.stdout.strip() == "1"


SERVED = """
import sys
from target_outreach.sandbox import serve
serve(sys.argv[1], ready=lambda sandbox: print(sandbox.api_url, flush=True))
"""


def test_what_was_answered_survives_a_kill(tmp_path):
    path = tmp_path / "outreach.db"
    command = [sys.executable, "-c", SERVED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        created = {}
        with requests.Session() as session:
            session.headers.update({"Authorization": "Bearer t", "Content-Type": JSON_API})
            for number in range(20):
                email = f"p{number}@x.org"
                data = {"data": {"type": "prospect", "attributes": {"emails": [email]}}}
                answer = session.post(f"{url}/prospects", json=data, timeout=5)
                created[answer.json()["data"]["id"]] = email
        process.kill()
    with Sandbox(path) as sandbox:
        kept = {r["id"]: r["attributes"]["emails"][0] for r in sandbox.store.all("prospects")}
        assert kept == created
        assert sandbox.store.seed("prospects", {}) == 21


@pytest.mark.slow
def test_serving_ends_with_an_interrupt(tmp_path):
    command = [sys.executable, "-c", SERVED, str(tmp_path / "outreach.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert requests.get(url, headers={"Authorization": "Bearer t"}, timeout=5).ok
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_temporary_sandbox_vanishes_and_can_be_started_again():
    sandbox = Sandbox(":memory:")
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url
    sandbox.start().store.seed("accounts", {"name": "Acme"})
    url = sandbox.url
    sandbox.stop()
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    with sandbox:
        assert sandbox.store.all("accounts") == []


def has_ended(connection):
    """Whether the other side has closed a connection, orderly or not."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_stopping_ends_connections_threads_and_hanging_answers():
    before = threading.active_count()
    with Sandbox(faults=[Fault("hang", seconds=60)]) as sandbox:
        host = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection(host) as hanging, socket.create_connection(host) as quiet:
            hanging.sendall(b"GET /api/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not sandbox.request_count:
                time.sleep(0.001)
            started = time.monotonic()
            sandbox.stop()
            assert time.monotonic() - started < 5
            assert has_ended(hanging)
            assert has_ended(quiet)
    assert threading.active_count() == before


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look like one" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Sandbox(path).start()


def test_a_taken_port_is_an_error(sandbox):
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=port).start()


@pytest.mark.slow
def test_a_lookup_of_many_addresses_stays_fast(client, sandbox):
    sandbox.store.seed_many("prospects", ({"emails": [f"p{n}@x.org"]} for n in range(20_000)))
    query = "filter[emails]=" + ",".join(f"p{n}@x.org" for n in range(0, 20_000, 400))
    assert len(client.found(query)) == 50
    started = time.process_time()
    for _ in range(20):
        client.found(query + "&fields[prospect]=emails")
    assert (time.process_time() - started) / 20 < 0.03


def test_timestamps_can_be_read_as_iso_8601(client):
    stamp = client.post("prospects", {}).json()["data"]["attributes"]["createdAt"]
    assert datetime.fromisoformat(stamp).timestamp() == int(NOON)
