"""Bulk updates of the sandbox: taken on at once, written later, and seldom as one would wish."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import requests
from sandbox_client import JSON_API, ApiClient, Clock, adjust

from target_outreach.sandbox import Fault, Sandbox
from target_outreach.sandbox.issued import Grant, IssuedTokens
from target_outreach.sandbox.profile import Profile

PATH = "/imports/actions/bulkUpsert"


class Client(ApiClient):
    """Sends imports, looks at them, and lets time pass."""

    def post(self, records, method="overwriteNoCreate", path=PATH, **attributes):
        attributes = {"dupeMethod": method, "records": records, **attributes}
        body = {"data": {"attributes": attributes}}
        return self.session.post(self.sandbox.api_url + path, json=body, timeout=20)

    def get(self, number):
        return self.session.get(f"{self.sandbox.api_url}/imports/{number}", timeout=20)

    def shown(self, number=1):
        answer = self.get(number)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["attributes"]

    def counts(self, number=1):
        shown = self.shown(number)
        return tuple(shown[name] for name in ("state", "total", "dupes", "failures"))

    def run(self, records, method="overwriteNoCreate"):
        """Send an import and wait until it has ended."""
        answer = self.post(records, method)
        assert answer.status_code == 200, answer.text
        self.sandbox.clock.now += 60
        (*_, last) = self.sandbox.store.imports()
        return last


@pytest.fixture
def sandbox():
    with Sandbox(clock=Clock()) as running:
        yield running


@pytest.fixture
def client(sandbox):
    with Client(sandbox) as client:
        yield client


def flat(number, kind="prospect", relationships=None, **attributes):
    record = {"type": kind, "id": number, "attributes": attributes}
    if number is None:
        del record["id"]
    return record if relationships is None else {**record, "relationships": relationships}


def wrapped(number, kind="prospect", relationships=None, **attributes):
    return {"data": flat(number, kind, relationships, **attributes)}


def people(sandbox, count, **attributes):
    rows = [{"emails": [f"p{n}@x.test"], "title": "old", **attributes} for n in range(count)]
    return sandbox.store.seed_many("prospects", rows)


def titles(sandbox):
    return [one["attributes"]["title"] for one in sandbox.store.all("prospects")]


def error(answer):
    (found,) = answer.json()["errors"]
    return answer.status_code, found["id"], found.get("source", {}).get("pointer")


# What it is for


def test_records_of_both_objects_get_each_their_own_values(client, sandbox):
    ada, grace = people(sandbox, 2)
    company = sandbox.store.seed("accounts", {"name": "Company"})
    link = {"account": {"data": {"type": "account", "id": company}}}
    run = client.run(
        [
            wrapped(ada, title="CTO", tags=["new"]),
            wrapped(grace, relationships=link),
            wrapped(company, "account", industry="Mining"),
        ]
    )
    assert run.outcomes == {"updated": 3}
    assert client.counts() == ("finished", 3, 3, 0)
    first, second = sandbox.store.all("prospects")
    assert (first["attributes"]["title"], first["attributes"]["tags"]) == ("CTO", ["new"])
    assert first["attributes"]["emails"] == ["p0@x.test"]
    assert second["relationships"]["account"]["data"] == {"type": "account", "id": company}
    assert sandbox.store.get("accounts", company)["attributes"]["industry"] == "Mining"


def test_these_requests_are_such_as_outreachs_own_document_requires(watcher):
    with Sandbox(clock=Clock(), observer=watcher) as sandbox, Client(sandbox) as client:
        first, second = people(sandbox, 2)
        adjust(sandbox, import_shape="both")
        run = client.run([wrapped(first, title="new"), flat(second, title="new")], "missing")
        assert (run.state, client.counts()) == ("finished", ("finished", 2, 2, 0))


def test_an_import_is_one_request(client, sandbox):
    client.post([wrapped(number, title="new") for number in people(sandbox, 50)])
    assert sandbox.request_count == 1
    answer = client.get(1)
    assert int(answer.headers["X-RateLimit-Remaining"]) == 10_000 - 2


def test_the_answer_is_a_full_resource_with_no_work_done_yet(client, sandbox):
    (number,) = people(sandbox, 1)
    answer = client.post([wrapped(number, title="new")], fileName="run-1.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON_API)
    resource = answer.json()["data"]
    assert (resource["type"], resource["id"]) == ("import", 1)
    assert resource["links"] == {"self": f"{sandbox.api_url}/imports/1"}
    told = {name: value for name, value in resource["attributes"].items() if value is not None}
    assert told == {
        "createdAt": "2024-08-02T09:56:52.000Z",
        "updatedAt": "2024-08-02T09:56:52.000Z",
        "stateChangedAt": "2024-08-02T09:56:52.000Z",
        "dupeMethod": "overwriteNoCreate",
        "fileName": "run-1.json",
        "loadFromPlugin": False,
        "recurring": False,
        "state": "pending",
        "total": 1,
        "dupes": 0,
        "failures": 0,
    }
    assert titles(sandbox) == ["old"]


def test_the_sandbox_works_with_a_clock_of_its_own_too(tmp_path):
    with Sandbox(tmp_path / "outreach.db") as sandbox, Client(sandbox) as client:
        (number,) = people(sandbox, 1)
        client.post([wrapped(number, title="new")])
        states = [client.shown()["state"]]
        while states[-1] != "finished":
            states.append(client.shown()["state"])
        assert list(dict.fromkeys(states)) == ["pending", "processing", "finished"]
        assert titles(sandbox) == ["new"]


# Time


def test_records_are_written_one_after_the_other_by_the_clock(client, sandbox):
    adjust(sandbox, import_pending_seconds=10, import_processing_seconds=40)
    client.post([wrapped(number, title="new") for number in people(sandbox, 4)])
    seen = []
    for _ in range(6):
        seen.append((client.shown()["state"], titles(sandbox).count("new")))
        sandbox.clock.now += 10
    assert seen == [
        ("pending", 0),
        ("processing", 0),
        ("processing", 1),
        ("processing", 2),
        ("processing", 3),
        ("finished", 4),
    ]
    stamps = [one["attributes"]["updatedAt"][14:19] for one in sandbox.store.all("prospects")]
    assert stamps == ["57:12", "57:22", "57:32", "57:42"]
    assert client.shown()["stateChangedAt"] == "2024-08-02T09:57:42.000Z"


def test_a_look_at_a_record_sees_what_was_due_before_it(client, sandbox):
    (number,) = people(sandbox, 1)
    client.post([wrapped(number, title="imported")])
    sandbox.clock.now += 60
    url = f"{sandbox.api_url}/prospects/{number}"
    body = {"data": {"type": "prospect", "id": number, "attributes": {"title": "typed"}}}
    client.session.patch(url, json=body, timeout=20)
    assert titles(sandbox) == ["typed"]
    assert [one.method for one in sandbox.store.writes("prospects", number)] == [
        "seed",
        "import",
        "PATCH",
    ]


@pytest.mark.parametrize(
    ("end", "state", "written"), [("pending", "pending", 0), ("processing", "processing", 2)]
)
def test_an_import_may_never_finish(client, sandbox, end, state, written):
    adjust(sandbox, import_end=end)
    client.post([wrapped(number, title="new") for number in people(sandbox, 4)])
    sandbox.clock.now += 100_000
    assert client.shown()["state"] == state
    assert titles(sandbox).count("new") == written
    adjust(sandbox, import_end="finished")
    assert client.counts() == ("finished", 4, 4, 0)
    assert titles(sandbox).count("new") == 4


def test_an_import_may_fail_halfway(client, sandbox):
    adjust(sandbox, import_end="failed")
    run = client.run([wrapped(number, title="new") for number in people(sandbox, 4)])
    assert (run.state, run.error, run.outcomes) == ("failed", "The import failed.", {"updated": 2})
    shown = client.shown()
    assert (shown["state"], shown["errorReason"]) == ("failed", "The import failed.")
    assert titles(sandbox) == ["new", "new", "old", "old"]


def test_states_are_called_what_the_profile_calls_them(client, sandbox):
    adjust(sandbox, import_states=["created", "running", "done", "error"])
    client.run([])
    assert client.shown()["state"] == "done"


def test_imports_of_server_to_server_are_a_switch(sandbox, client):
    adjust(sandbox, import_s2s=False)
    assert client.post([]).status_code == 200
    # Tokens of users are all that the OpenAPI document names for imports.
    issued = IssuedTokens(sandbox.store, sandbox.clock)
    issued.add("token of an app", "s2s", Grant("9", "imports.all"), 3600)
    client.session.headers["Authorization"] = "Bearer token of an app"
    assert error(client.post([]))[:2] == (403, "unauthorizedRequest")
    assert error(client.get(1))[:2] == (403, "unauthorizedRequest")
    adjust(sandbox, import_s2s=True)
    assert client.get(1).status_code == 200


def test_imports_go_on_after_a_restart(tmp_path):
    clock, path = Clock(), tmp_path / "outreach.db"
    with Sandbox(path, clock=clock) as sandbox, Client(sandbox) as client:
        client.post([wrapped(*people(sandbox, 1), title="new")])
    clock.now += 60
    with Sandbox(path, clock=clock) as sandbox:
        assert titles(sandbox) == ["new"]


def test_files_from_before_imports_and_sequences_get_them(tmp_path):
    path = tmp_path / "outreach.db"
    with Sandbox(path) as sandbox:
        people(sandbox, 1)
    with closing(sqlite3.connect(path)) as old, old:
        for table in "sequences", "mailboxes", "sequenceStates", "imports", "import_records":
            old.execute(f"DROP TABLE {table}")
        old.execute("PRAGMA user_version = 1")
    with Sandbox(path) as sandbox:
        assert titles(sandbox) == ["old"]
        assert sandbox.store.imports() == []
        assert sandbox.store.seed("sequences", {"name": "Welcome"}) == 1
        assert len(sandbox.store.all("users")) == 2


# What it does to records that are there, and to others


@pytest.mark.parametrize(
    ("method", "title", "nickname"),
    [
        ("overwriteNoCreate", "new", "Ace"),
        ("overwrite", "new", "Ace"),
        ("missing", "old", "Ace"),
        ("skip", "old", None),
    ],
)
def test_the_dupe_method_says_what_happens_to_records_that_are_there(
    client, sandbox, method, title, nickname
):
    (number,) = people(sandbox, 1)
    client.run([wrapped(number, title="new", nickname="Ace")], method)
    attributes = sandbox.store.get("prospects", number)["attributes"]
    assert (attributes["title"], attributes["nickname"]) == (title, nickname)
    assert client.counts() == ("finished", 1, 1, 0)


@pytest.mark.parametrize(
    ("method", "switches", "outcome"),
    [
        ("overwriteNoCreate", {}, "failed"),
        ("overwriteNoCreate", {"import_unknown": "skipped"}, "skipped"),
        ("overwriteNoCreate", {"import_unknown": "created"}, "created"),
        ("overwrite", {}, "created"),
        ("skip", {}, "created"),
        ("missing", {}, "created"),
        ("overwrite", {"import_new": "failure"}, "failed"),
        ("overwrite", {"import_new": "ignored"}, "lost"),
    ],
)
def test_what_happens_to_missing_records_is_a_switch(client, sandbox, method, switches, outcome):
    adjust(sandbox, **switches)
    sent = [wrapped(4711, emails=["a@x.test"]), wrapped(None, emails=["b@x.test"])]
    assert client.run(sent, method).outcomes == {outcome: 2}
    assert client.counts() == ("finished", 2, 0, 2 if outcome == "failed" else 0)
    assert len(sandbox.store.all("prospects")) == (2 if outcome == "created" else 0)


def test_a_request_with_records_without_id_may_be_refused(client, sandbox):
    adjust(sandbox, import_new="refused")
    sent = [wrapped(None, emails=["b@x.test"])]
    assert error(client.post(sent, "skip"))[0] == 422
    assert client.run(sent).outcomes == {"failed": 1}  # the method that creates nothing
    assert sandbox.store.all("prospects") == []


def test_records_may_be_created_long_after_the_import_says_it_has_ended(client, sandbox):
    adjust(sandbox, import_late_seconds=90)
    client.run([wrapped(None, emails=[f"b{n}@x.test"]) for n in range(4)], "skip")
    assert client.counts()[0] == "finished"
    assert sandbox.store.all("prospects") == []
    sandbox.clock.now += 60
    assert len(sandbox.store.all("prospects")) == 4
    assert sandbox.store.imports()[0].outcomes == {"created": 4}


def test_records_that_are_created_late_are_so_after_a_restart_too(tmp_path):
    clock = Clock()
    late = Profile(import_late_seconds=90)
    with Sandbox(tmp_path / "file", clock=clock, profile=late) as first, Client(first) as client:
        client.run([wrapped(None, emails=["b@x.test"])], "skip")
    clock.now += 60
    with Sandbox(tmp_path / "file", clock=clock, profile=late) as second:
        assert len(second.store.all("prospects")) == 1


def test_new_records_may_be_created_twice(client, sandbox):
    adjust(sandbox, import_twice=True)
    client.run([wrapped(None, emails=["b@x.test"])], "skip")
    assert [one["attributes"]["emails"] for one in sandbox.store.all("prospects")] == [
        ["b@x.test"]
    ] * 2


def test_an_import_does_not_take_back_an_opt_out_unless_the_profile_says_so(client, sandbox):
    number = sandbox.store.seed("prospects", {"optedOut": True})
    client.run([wrapped(number, optedOut=False, title="new")])
    attributes = sandbox.store.get("prospects", number)["attributes"]
    assert (attributes["optedOut"], attributes["title"]) == (True, "new")
    adjust(sandbox, import_opts_in=True)
    client.run([wrapped(number, optedOut=False)])
    assert sandbox.store.get("prospects", number)["attributes"]["optedOut"] is False


@pytest.mark.parametrize("sent", [{"records": []}, {"records": None}])
def test_an_import_without_records_means_all_of_them_and_is_marked(client, sandbox, sent):
    people(sandbox, 3)
    sandbox.store.seed("accounts", {"name": "Company"})
    assert client.post(**sent).json()["data"]["attributes"]["total"] == 4
    (run,) = sandbox.store.imports()
    assert (run.everything, run.total) == (True, 4)


def test_what_an_import_without_records_means_is_a_switch(client, sandbox):
    people(sandbox, 3)
    adjust(sandbox, import_empty="refused")
    assert error(client.post([])) == (422, "validationError", "/data/attributes/records")
    adjust(sandbox, import_empty="nothing")
    run = client.run([])
    assert (run.everything, run.total, run.state) == (False, 0, "finished")


def test_an_import_with_records_is_not_marked(client):
    assert client.run([wrapped(1, title="new")]).everything is False


# Records that fail


@pytest.mark.parametrize(
    ("shape", "outcomes"),
    [
        ("wrapped", ["updated", "failed"]),
        ("flat", ["failed", "updated"]),
        ("both", ["updated", "updated"]),
    ],
)
def test_a_record_has_one_of_two_forms(client, sandbox, shape, outcomes):
    adjust(sandbox, import_shape=shape)
    first, second = people(sandbox, 2)
    run = client.run([wrapped(first, title="new"), flat(second, title="new")])
    assert [one.outcome for one in sandbox.store.import_records(run.id)] == outcomes
    assert client.counts()[3] == outcomes.count("failed")


BAD = [
    wrapped(1, nickName="x"),
    wrapped(1, createdAt="2024-01-01T00:00:00Z"),
    wrapped(1, title=5),
    wrapped(1, title="x" * 256),
    wrapped(1, emails=["p1@x.test"]),
    wrapped(1, emails=["ada@outreach.io"]),
    wrapped(1, relationships={"account": {"data": {"type": "account", "id": 99}}}),
    wrapped(1, "user", title="x"),
    wrapped("1", title="x"),
    {"data": {"type": "prospect", "id": 1, "attributes": []}},
    {"data": "text"},
    {"data": {"type": ["prospect"]}},
    {},
    "text",
    7,
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_record_fails_alone_by_the_rules_of_a_patch(client, sandbox, bad):
    people(sandbox, 2)
    before = sandbox.store.get("prospects", 1)
    run = client.run([bad, wrapped(2, title="new")])
    assert run.outcomes == {"failed": 1, "updated": 1}
    assert sandbox.store.get("prospects", 1) == before
    assert client.counts()[3] == 1
    failed, updated = sandbox.store.import_records(run.id)
    assert (failed.sent, updated.reason) == (bad, None)
    assert failed.reason


def test_an_invalid_attribute_alone_may_be_ignored(client, sandbox):
    adjust(sandbox, import_invalid="attribute")
    (number,) = people(sandbox, 1)
    link = {"account": {"data": {"type": "account", "id": 99}}}
    sent = wrapped(number, relationships=link, title="new", nickName="x", score="y")
    assert client.run([sent]).outcomes == {"updated": 1}
    assert titles(sandbox) == ["new"]


def test_an_invalid_attribute_may_refuse_the_request(client, sandbox):
    adjust(sandbox, import_invalid="request")
    (number,) = people(sandbox, 1)
    answer = client.post([wrapped(number, title="new"), wrapped(number, nickName="x")])
    assert error(answer) == (400, "permittedParams.unknownAttribute", "/data/attributes/nickName")
    assert sandbox.store.imports() == []


def test_an_invalid_attribute_may_fail_the_whole_import(client, sandbox):
    adjust(sandbox, import_invalid="import")
    (number,) = people(sandbox, 1)
    run = client.run([wrapped(number, title="new"), wrapped(number, nickName="x")])
    assert (run.state, run.outcomes) == ("failed", {})
    assert "nickName" in client.shown()["errorReason"]
    assert titles(sandbox) == ["old"]


def test_records_that_others_govern_fail(client, sandbox):
    first, second = people(sandbox, 2)
    adjust(sandbox, governed=[f"prospects/{first}"])
    client.run([wrapped(first, title="new"), wrapped(second, title="new")])
    assert titles(sandbox) == ["old", "new"]


def test_a_share_of_the_records_may_get_lost_without_a_word(client, sandbox):
    adjust(sandbox, import_lost_share=0.3)
    run = client.run([wrapped(number, title="new") for number in people(sandbox, 10)])
    assert run.outcomes == {"updated": 7, "lost": 3}
    assert client.counts() == ("finished", 10, 10, 0)
    assert titles(sandbox).count("new") == 7


@pytest.mark.parametrize(("counts", "failures"), [("honest", 2), ("silent", 0), ("wrong", 8)])
def test_a_share_of_the_records_may_fail_and_the_counts_may_lie(client, sandbox, counts, failures):
    adjust(sandbox, import_failed_share=0.2, import_lost_share=0.2, import_counts=counts)
    run = client.run([wrapped(number, title="new") for number in people(sandbox, 10)])
    assert run.outcomes == {"updated": 6, "lost": 2, "failed": 2}
    assert client.counts() == ("finished", 10, 10, failures)


def test_members_may_be_ignored_silently(client, sandbox):
    adjust(sandbox, import_ignored=["tags", "account"])
    (number,) = people(sandbox, 1)
    company = sandbox.store.seed("accounts", {"name": "Company"})
    link = {"account": {"data": {"type": "account", "id": company}}}
    run = client.run([wrapped(number, relationships=link, title="new", tags=["a"])])
    assert run.outcomes == {"updated": 1}
    resource = sandbox.store.get("prospects", number)
    assert (resource["attributes"]["title"], resource["attributes"]["tags"]) == ("new", [])
    assert resource["relationships"]["account"]["data"] is None


# Refusals


@pytest.mark.parametrize("status", [403, 404, 501])
def test_the_endpoint_may_be_refused(client, sandbox, status):
    adjust(sandbox, import_refusal=status)
    assert client.post([wrapped(1, title="new")]).status_code == status
    assert sandbox.store.imports() == []


@pytest.mark.parametrize("status", [400, 413, 422])
def test_more_records_than_the_limit_are_refused(client, sandbox, status):
    adjust(sandbox, import_record_limit=2, import_limit_status=status)
    people(sandbox, 3)
    assert client.post([wrapped(n, title="new") for n in (1, 2, 3)]).status_code == status
    assert client.post([wrapped(n, title="new") for n in (1, 2)]).status_code == 200


def test_larger_bodies_than_the_limit_are_refused(client, sandbox):
    adjust(sandbox, import_max_bytes=200)
    assert client.post([wrapped(1, title="x" * 200)]).status_code == 413
    assert client.post([wrapped(1, title="x")]).status_code == 200


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"method": "create"}, "/data/attributes/dupeMethod"),
        ({"method": None}, "/data/attributes/dupeMethod"),
        ({"records": {"a": 1}}, "/data/attributes/records"),
        ({"fileName": 5}, "/data/attributes/fileName"),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(attributes, pointer):
    with Sandbox() as sandbox, Client(sandbox) as client:
        answer = client.post(**({"records": []} | attributes))
        assert error(answer) == (422, "validationError", pointer)


def test_an_unknown_attribute_of_the_import_is_refused(client):
    assert error(client.post([], ids=[]))[:2] == (400, "permittedParams.unknownAttribute")


def test_a_body_of_another_media_type_is_refused():
    with Sandbox() as sandbox, Client(sandbox) as client:
        client.session.headers["Content-Type"] = "text/plain"
        assert client.post([]).status_code == 415
        assert sandbox.store.imports() == []


def test_imports_cannot_be_listed_and_unknown_ones_are_not_found(client):
    assert error(client.get(4711))[:2] == (404, "resourceNotFound")
    assert client.get("ada").status_code == 404
    assert client.get("").status_code == 404


@pytest.mark.parametrize(
    ("scopes", "switches", "missing"),
    [
        (["imports.write", "prospects.write"], {}, None),
        (["imports.all", "prospects.all"], {}, None),
        (["prospects.write"], {}, "imports.write"),
        (["imports.read", "prospects.write"], {}, "imports.write"),
        (["imports.write"], {}, "prospects.write"),
        (["imports.write"], {"import_record_scopes": False}, None),
    ],
)
def test_imports_need_scopes(client, sandbox, scopes, switches, missing):
    adjust(sandbox, tokens={"token": scopes}, **switches)
    answer = client.post([wrapped(1, title="new"), "text"])
    if missing is None:
        assert answer.status_code == 200
    else:
        assert error(answer)[:2] == (403, "unauthorizedOauthScope")
        assert f"'{missing}'" in answer.json()["errors"][0]["detail"]


def test_a_look_at_an_import_needs_another_scope(client, sandbox):
    client.post([])
    adjust(sandbox, tokens={"token": ["imports.write"]})
    assert error(client.get(1))[:2] == (403, "unauthorizedOauthScope")


def test_a_refresh_token_covers_imports_where_it_covers_all(sandbox, client):
    token = sandbox.issue_refresh_token()
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "client_id": "sandbox-client",
        "client_secret": "sandbox-secret",
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.session.post(f"{sandbox.oauth_url}/token", form, headers=headers, timeout=20)
    assert "imports.all" in answer.json()["scope"].split()


def test_an_import_whose_answer_was_lost_is_written_all_the_same(client, sandbox):
    (number,) = people(sandbox, 1)
    sandbox.add_fault(Fault("reset_after", method="POST", path="bulkUpsert"))
    with pytest.raises(requests.ConnectionError):
        client.post([wrapped(number, title="new")])
    sandbox.clock.now += 60
    assert titles(sandbox) == ["new"]
