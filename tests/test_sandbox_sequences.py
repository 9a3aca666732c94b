"""Sequences, mailboxes and sequence states of the sandbox: who may be enrolled, and in what words
it is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sandbox_client import JSON_API, NOON, ApiClient, adjust

from target_outreach.sandbox import Sandbox

STATES = "sequenceStates"


class Client(ApiClient):
    """Enrols, looks up and lists."""

    def send(self, method, path, content=None):
        return self.session.request(method, self.sandbox.api_url + path, json=content, timeout=20)

    def enrol(self, prospect=1, sequence=2, mailbox=3, **members):
        ids = {"prospect": prospect, "sequence": sequence, "mailbox": mailbox}
        links = {
            name: {"data": {"type": name, "id": number}}
            for name, number in ids.items()
            if number is not None
        }
        data = {"type": "sequenceState", "relationships": links, **members}
        return self.send("POST", f"/{STATES}", {"data": data})

    def found(self, query, name=STATES):
        answer = self.send("GET", f"/{name}?{query}")
        assert answer.status_code == 200, answer.text
        return [resource["id"] for resource in answer.json()["data"]]


def fill(sandbox):
    """Seed what `Client.enrol` takes by default: prospect 1, sequence 2 and mailbox 3.

    A fresh file has a sequence 1 and mailboxes 1 and 2 of its own.
    """
    store = sandbox.store
    company = store.seed("accounts", {"name": "Company"})
    ids = (
        store.seed("prospects", {"emails": ["ada@x.test"]}, {"account": company, "owner": 1}),
        store.seed("sequences", {"name": "Trial", "enabled": True}),
        store.seed("mailboxes", {"email": "Sales@x.test"}, {"user": 2}),
    )
    assert ids == (1, 2, 3)


@pytest.fixture
def sandbox():
    with Sandbox(clock=lambda: NOON) as running:
        fill(running)
        yield running


@pytest.fixture
def client(sandbox):
    with Client(sandbox) as client:
        yield client


def error(answer):
    (found,) = answer.json()["errors"]
    return answer.status_code, found["id"], found["detail"]


def states(sandbox):
    return [one["attributes"]["state"] for one in sandbox.store.all(STATES)]


# Sequences and mailboxes


def test_a_fresh_file_has_a_sequence_and_mailboxes_to_try():
    with Sandbox() as sandbox:
        (sequence,) = sandbox.store.all("sequences")
        assert (sequence["attributes"]["name"], sequence["attributes"]["enabled"]) == (
            "Welcome",
            True,
        )
        owners = [one["attributes"]["userId"] for one in sandbox.store.all("mailboxes")]
        assert owners == [1, 2]
        assert sandbox.store.all(STATES) == []


def test_sequences_and_mailboxes_are_found_by_what_people_call_them(client):
    assert client.found("filter[name]=trial", "sequences") == [2]
    assert client.found("filter[name]=Trial,Welcome", "sequences") == [1, 2]
    assert client.found("filter[email]=sales@X.test", "mailboxes") == [3]
    assert client.found("filter[user][id]=2", "mailboxes") == [2, 3]
    assert client.found("filter[userId]=2", "mailboxes") == [2, 3]
    assert client.found("filter[owner][email]=ada@example.com", "sequences") == [1]
    assert client.found("filter[id]=2", "sequences") == [2]


def test_a_sequence_tells_since_when_it_is_enabled_and_is_found_by_that(client, sandbox):
    sandbox.store.update("sequences", 1, {"enabled": False})
    answer = client.send("GET", "/sequences/2").json()["data"]
    attributes = answer["attributes"]
    assert (answer["type"], attributes["enabled"]) == ("sequence", True)
    assert attributes["enabledAt"] == "2024-08-02T09:56:52.000Z"
    assert (attributes["locked"], attributes["lockedAt"], attributes["openCount"]) == (
        False,
        None,
        0,
    )
    assert client.found("filter[enabledAt]=__notnull__", "sequences") == [2]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("sequences", "filter[enabled]=true"),
        ("mailboxes", "filter[sendDisabled]=false"),
        (STATES, "filter[prospect][firstName]=Ada"),
        (STATES, "filter[account][name]=Company"),
        (STATES, "filter[mailbox][sendDisabled]=false"),
        (STATES, "filter[sequence][enabled]=true"),
    ],
)
def test_other_filters_are_refused(client, name, query):
    assert client.send("GET", f"/{name}?{query}").status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sequences"),
        ("PATCH", "/sequences/2"),
        ("DELETE", "/sequences/2"),
        ("POST", "/mailboxes"),
        ("PATCH", "/mailboxes/3"),
        ("PATCH", f"/{STATES}/1"),
    ],
)
def test_what_the_target_has_no_use_for_has_no_route(client, method, path):
    client.enrol()
    assert error(client.send(method, path, {"data": {}}))[:2] == (404, "routeNotFound")


# Enrolment


def test_an_enrolment_is_answered_with_all_that_outreach_adds(client, sandbox):
    answer = client.enrol()
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, JSON_API)
    resource = answer.json()["data"]
    assert (resource["type"], resource["id"]) == ("sequenceState", 1)
    attributes = resource["attributes"]
    assert (attributes["state"], attributes["errorReason"], attributes["openCount"]) == (
        "pending",
        None,
        0,
    )
    assert attributes["createdAt"] == attributes["stateChangedAt"] == "2024-08-02T09:56:52.000Z"
    linked = {name: link["data"] for name, link in resource["relationships"].items()}
    assert linked == {
        "prospect": {"type": "prospect", "id": 1},
        "sequence": {"type": "sequence", "id": 2},
        "mailbox": {"type": "mailbox", "id": 3},
        "account": {"type": "account", "id": 1},
        "user": {"type": "user", "id": 2},
        "creator": {"type": "user", "id": 1},
    }
    assert client.send("GET", f"/{STATES}/1").json()["data"] == resource
    assert sandbox.store.get(STATES, 1)["attributes"] == attributes


def test_sequence_states_are_found_through_what_they_link(client, sandbox):
    other = sandbox.store.seed("prospects", {"emails": ["grace@x.test"]})
    client.enrol()
    client.enrol(other)
    client.enrol(other, sequence=1, mailbox=1)
    sandbox.store.update(STATES, 3, {"state": "finished"})
    for query, expected in {
        f"filter[prospect][id]=1,{other}": [1, 2, 3],
        "filter[prospect][emails]=Grace@x.test": [2, 3],
        "filter[sequence][id]=2": [1, 2],
        "filter[sequence][name]=Welcome": [3],
        "filter[mailbox][email]=sales@x.test": [1, 2],
        "filter[mailbox][id]=1": [3],
        "filter[account][id]=1": [1],
        f"filter[prospect][id]={other}&filter[sequence][id]=2": [2],
        "filter[state]=pending": [1, 2],
    }.items():
        assert client.found(query) == expected, query


def test_outreachs_own_document_allows_these_requests(watcher):
    with Sandbox(observer=watcher) as sandbox, Client(sandbox) as client:
        fill(sandbox)
        assert client.enrol().status_code == 201
        assert client.found("filter[name]=Trial&sort=-lastUsedAt", "sequences") == [2]
        assert client.found("filter[enabledAt]=__notnull__", "sequences") == [1, 2]
        assert client.found("filter[email]=sales@x.test", "mailboxes") == [3]
        assert client.found("filter[userId]=2&filter[user][id]=2", "mailboxes") == [2, 3]
        assert client.found("filter[prospect][id]=1,2&filter[mailbox][id]=3") == [1]
        assert client.found("filter[prospect][emails]=ada@x.test&filter[state]=pending") == [1]
        assert client.found("fields[sequenceState]=state,prospect&page[size]=1000") == [1]
        assert client.send("GET", "/sequences/2").status_code == 200
        assert client.send("DELETE", f"/{STATES}/1").status_code == 204


@pytest.mark.parametrize("missing", ["prospect", "sequence", "mailbox"])
def test_all_three_relationships_are_needed(client, sandbox, missing):
    status, kind, detail = error(client.enrol(**{missing: None}))
    assert (status, kind, detail) == (
        422,
        "validationError",
        f"{missing.title()} can't be blank.",
    )
    assert states(sandbox) == []


def test_whether_a_mailbox_is_needed_is_a_switch(client, sandbox):
    adjust(sandbox, mailbox_required=False)
    resource = client.enrol(mailbox=None).json()["data"]
    assert resource["relationships"]["mailbox"]["data"] is None
    assert resource["relationships"]["user"]["data"] is None


@pytest.mark.parametrize("absent", ["prospect", "sequence", "mailbox"])
def test_related_records_must_be_there(client, sandbox, absent):
    assert error(client.enrol(**{absent: 4711}))[0] == 400
    assert states(sandbox) == []


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"attributes": {"state": "active"}}, 400),
        ({"type": "sequenceStates"}, 422),
        ({"id": 5}, 422),
        ({"relationships": {"account": {"data": {"type": "account", "id": 1}}}}, 400),
    ],
)
def test_other_bodies_are_refused(client, sandbox, members, status):
    assert client.enrol(**members).status_code == status
    assert states(sandbox) == []


# Enrolled already


def test_a_second_enrolment_is_refused_whatever_the_state_of_the_first(client, sandbox):
    client.enrol()
    for state in ("pending", "active", "paused", "failed", "bounced", "disabled", "finished"):
        sandbox.store.update(STATES, 1, {"state": state})
        assert error(client.enrol()) == (
            422,
            "validationError",
            "Prospect has already been in this sequence",
        )
    assert client.enrol(sequence=1).status_code == 201


@pytest.mark.parametrize(
    ("coded", "code"), [(True, "has already been in this sequence"), (False, None)]
)
def test_the_words_may_be_in_a_code_too(client, sandbox, coded, code):
    adjust(sandbox, enrolled_code=coded)
    client.enrol()
    (found,) = client.enrol().json()["errors"]
    assert found.get("code") == code
    assert "has already been in this sequence" in found["detail"]


@pytest.mark.parametrize(
    ("rule", "state", "status"),
    [
        ("only_if_inactive", "pending", 422),
        ("only_if_inactive", "finished", 201),
        ("allow", "pending", 201),
    ],
)
def test_a_ruleset_may_allow_a_second_enrolment(client, sandbox, rule, state, status):
    client.enrol()
    sandbox.store.update(STATES, 1, {"state": state})
    adjust(sandbox, duplicate_enrolment=rule)
    assert client.enrol().status_code == status


def test_of_many_that_enrol_the_same_prospect_at_once_one_succeeds(sandbox):
    def enrol(_number):
        with Client(sandbox) as another:
            return another.enrol().status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(enrol, range(8))) == [201] + [422] * 7
    assert states(sandbox) == ["pending"]


def test_exclusive_sequences_share_no_prospect(client, sandbox):
    adjust(sandbox, exclusive_sequences=[1, 2])
    client.enrol()
    assert error(client.enrol(sequence=1)) == (
        422,
        "validationError",
        "Prospect active in another exclusive sequence",
    )
    sandbox.store.update(STATES, 1, {"state": "finished"})
    assert client.enrol(sequence=1).status_code == 201


def test_a_deleted_state_lets_the_prospect_in_again(client):
    client.enrol()
    assert client.send("DELETE", f"/{STATES}/1").status_code == 204
    assert client.enrol().json()["data"]["id"] == 2


def test_the_states_of_a_deleted_prospect_link_to_nobody(client, sandbox):
    client.enrol()
    assert client.send("DELETE", "/prospects/1").status_code == 204
    assert sandbox.store.get(STATES, 1)["relationships"]["prospect"]["data"] is None


# Who may not be enrolled, and where


OPTED_OUT = [{"optedOut": True}, {"emailOptedOut": True}, {"emailsOptStatus": "opted_out"}]


@pytest.mark.parametrize("attributes", OPTED_OUT)
@pytest.mark.parametrize(
    ("switch", "found"),
    [("refused", []), ("accepted", ["pending"]), ("opted_out", ["opted_out"])],
)
def test_what_happens_to_prospects_who_opted_out_is_a_switch(
    client, sandbox, attributes, switch, found
):
    sandbox.store.update("prospects", 1, attributes)
    adjust(sandbox, opted_out_enrolment=switch)
    assert client.enrol().status_code == (201 if found else 422)
    assert states(sandbox) == found


def test_transactional_sequences_do_not_mind_an_opt_out(client, sandbox):
    sandbox.store.update("prospects", 1, {"optedOut": True})
    sandbox.store.update("sequences", 2, {"transactional": True})
    assert client.enrol().status_code == 201


def test_an_opt_out_of_calls_does_not_count(client, sandbox):
    sandbox.store.update("prospects", 1, {"callOptedOut": True})
    assert client.enrol().status_code == 201


def test_a_sequence_must_be_enabled_unless_the_profile_says_otherwise(client, sandbox):
    sandbox.store.update("sequences", 2, {"enabled": False})
    assert error(client.enrol())[:2] == (422, "validationError")
    adjust(sandbox, inactive_sequences=True)
    assert client.enrol().status_code == 201


def test_a_locked_sequence_takes_nobody(client, sandbox):
    sandbox.store.update("sequences", 2, {"locked": True})
    assert error(client.enrol()) == (422, "validationError", "Sequence is locked.")


@pytest.mark.parametrize(
    ("switch", "status", "found"),
    [("accepted", 201, ["pending"]), ("refused", 422, []), ("failed", 201, ["failed"])],
)
def test_what_happens_to_mailboxes_that_cannot_send_is_a_switch(
    client, sandbox, switch, status, found
):
    sandbox.store.update("mailboxes", 3, {"sendDisabled": True})
    adjust(sandbox, disabled_mailbox=switch)
    assert client.enrol().status_code == status
    assert states(sandbox) == found
    reasons = [one["attributes"]["errorReason"] for one in sandbox.store.all(STATES)]
    assert bool(reasons and reasons[0]) is (switch == "failed")


def test_a_mailbox_of_a_locked_user_is_refused(client, sandbox):
    sandbox.store.update("users", 2, {"locked": True})
    assert error(client.enrol()) == (422, "validationError", "User is locked")


def test_prospects_of_other_owners_may_be_refused(client, sandbox):
    adjust(sandbox, owners_only=True)
    assert error(client.enrol()) == (422, "validationError", "User not the owner")
    assert client.enrol(mailbox=1).status_code == 201


@pytest.mark.parametrize(
    ("scopes", "reads", "enrols"),
    [
        (["sequenceStates.read"], 200, 403),
        (["sequenceStates.write"], 403, 201),
        (["sequenceStates.all"], 200, 201),
        (["prospects.all", "sequences.all", "mailboxes.all"], 403, 403),
    ],
)
def test_sequence_states_need_scopes_of_their_own(client, sandbox, scopes, reads, enrols):
    adjust(sandbox, tokens={"token": scopes})
    assert client.send("GET", f"/{STATES}").status_code == reads
    assert client.enrol().status_code == enrols


@pytest.mark.parametrize("name", ["sequences", "mailboxes"])
def test_sequences_and_mailboxes_need_scopes_of_their_own(client, sandbox, name):
    adjust(sandbox, tokens={"token": [f"{STATES}.all", "prospects.all"]})
    assert f"'{name}.read'" in error(client.send("GET", f"/{name}"))[2]
    adjust(sandbox, tokens={"token": [f"{name}.read"]})
    assert client.send("GET", f"/{name}/2").status_code == 200
