"""The sandbox's page: what people see in a real browser, and what its JSON gives away over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sqlite3
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager
from importlib import resources
from urllib.parse import quote, urlsplit

import logins
import processes
import pytest
import requests
from accessibility import SCREENS, check, watched_page
from conftest import lines, record, schema

from target_outreach.sandbox import App, Fault, Profile, Sandbox, server, store
from target_outreach.sandbox.messages import Request

LOOPBACK = {"127.0.0.1", "localhost"}
SECRET = "whisper-4711"
TOKEN = {"Authorization": f"Bearer {SECRET}"}
MEDIA_TYPE = {"Content-Type": "application/vnd.api+json"}
HOSTILE = "<script>window.struck = 1</script><img src=x onerror='window.struck = 2'>"
NOON = 1_722_592_612.0  # 2024-08-02T09:56:52Z


@pytest.fixture
def hold():
    """Answers are delayed until this is set; by default none are."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


@pytest.fixture
def sandbox(tmp_path, hold):
    def observe(exchange):
        if exchange.method == "POST":
            hold.wait(60)

    with Sandbox(tmp_path / "outreach.db", observer=observe) as running:
        yield running


@pytest.fixture
def person(sandbox):
    """A prospect of an account, with values that would do harm as HTML."""
    account = sandbox.store.seed("accounts", {"name": "Acme", "domain": "acme.test"})
    return sandbox.store.seed(
        "prospects",
        {
            "emails": ["ada@acme.test"],
            "firstName": "Ada",
            "lastName": HOSTILE,
            "tags": ["<b>x</b>"],
        },
        {"account": account, "owner": 1},
    )


@pytest.fixture
def look(sandbox):
    """Ask for the JSON of the page, without a token."""
    with requests.Session() as session:

        def _look(path, status=200):
            answer = session.get(f"{sandbox.url}/_sandbox/{path}", timeout=20)
            assert answer.status_code == status
            return answer.json() if status == 200 else answer.text

        yield _look


@pytest.fixture
def found(look):
    """Search, and return the ids that are found."""
    return lambda name, search: [
        row["id"] for row in look(f"records/{name}?search={quote(search)}")["rows"]
    ]


@pytest.fixture
def open_page(browser, sandbox):
    """Open the page; no request of it leaves this machine, and nothing complains."""

    @contextmanager
    def _open(view="", expected=(), **options):
        with watched_page(browser, **options) as seen:
            seen.page.goto(f"{sandbox.url}/{view}")
            seen.page.get_by_text("10,000").first.wait_for()  # the limit has been read
            yield seen.page
        assert seen.hosts <= LOOPBACK
        complaints = (text for text in seen.complaints if not any(one in text for one in expected))
        assert list(complaints) == []

    return _open


def send(sandbox, method, path, **options):
    headers = TOKEN | MEDIA_TYPE if "json" in options else TOKEN
    return requests.request(method, sandbox.api_url + path, headers=headers, timeout=20, **options)


# The JSON: open to this machine only, and without a trace


def test_looking_is_no_request_of_the_api_and_costs_nothing(sandbox, look, person):
    sandbox.add_fault(Fault("reset_before"))
    for path in ("live", "rest", "records/prospects", f"records/prospects/{person}", "page.js"):
        answer = requests.get(f"{sandbox.url}/_sandbox/{path}", timeout=20)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if "ratelimit" in name.lower()]
    assert sandbox.request_count == 0
    assert list(sandbox.requests) == []
    budget = look("live")["budget"]
    assert (budget["limit"], budget["used"], budget["remaining"]) == (10_000, 0, 10_000)
    with pytest.raises(requests.ConnectionError):
        send(sandbox, "GET", "/prospects")


@pytest.mark.parametrize(
    "profile",
    [Profile(apps=[App("one", "secret")]), Profile(rate_limit=0)],
    ids=["tokens of apps", "nothing left"],
)
def test_the_page_needs_no_token_and_no_budget(sandbox, look, person, profile):
    sandbox.profile = profile
    assert requests.get(sandbox.url, timeout=20).text.startswith("<!DOCTYPE html>")
    assert look(f"records/prospects/{person}")["id"] == person


@pytest.mark.parametrize("host", ["localhost:8765", "LocalHost", "127.0.0.1", "[::1]:8765"])
def test_this_machine_may_be_called_by_any_of_its_own_names(sandbox, host):
    answer = requests.get(sandbox.url, headers={"Host": host}, timeout=20)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost.evil.test:8765",
        "127.0.0.1.evil.test",
        "127.0.0.1@evil.test",
        "192.0.2.7",
        "10.0.0.1",
        "[::1",
        "",
    ],
)
def test_a_name_that_somebody_pointed_here_is_refused(sandbox, person, host):
    for path in ("/", "/_sandbox/live", f"/_sandbox/records/prospects/{person}"):
        answer = requests.get(sandbox.url + path, headers={"Host": host}, timeout=20)
        assert answer.status_code == 403
        assert "acme" not in answer.text


def test_a_request_that_names_no_host_is_refused(sandbox):
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(b"GET /_sandbox/live HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 403 ")


def test_other_machines_are_refused_whatever_they_call_this_one(sandbox):
    request = Request("GET", "/_sandbox/live", "", {"host": "localhost"}, b"")
    assert sandbox.show(request, "192.0.2.7").status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_page_can_only_be_read(sandbox, person, method):
    before = sandbox.store.get("prospects", person)
    url = f"{sandbox.url}/_sandbox/records/prospects/{person}"
    answer = requests.request(method, url, data=b"{}", timeout=20)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert sandbox.store.get("prospects", person) == before


def test_what_looks_cannot_write(sandbox):
    with sandbox.look() as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.seed("accounts", {"name": "Acme"})
    assert sandbox.store.all("accounts") == []


def test_a_long_look_keeps_nobody_from_writing(sandbox):
    with sandbox.look() as reader:
        reader._connection.execute("BEGIN")
        assert reader.count("prospects") == 0
        content = {"data": {"type": "prospect", "attributes": {"emails": ["a@x.test"]}}}
        assert send(sandbox, "POST", "/prospects", json=content).status_code == 201
        assert reader.count("prospects") == 0


def test_a_look_that_takes_too_long_is_given_up(sandbox, look, monkeypatch):
    sandbox.store.seed("prospects", {"firstName": "Ada"})
    monkeypatch.setattr(store, "LOOK_SECONDS", -1)
    monkeypatch.setattr(store, "_LOOK_STEPS", 1)
    assert json.loads(look("records/prospects", 503)) == {"error": "That took too long."}


def test_all_files_of_the_page_are_served_and_none_else(sandbox):
    folder = resources.files("target_outreach.sandbox").joinpath("page")
    for file in folder.iterdir():
        answer = requests.get(f"{sandbox.url}/_sandbox/{file.name}", timeout=20)
        assert answer.content == file.read_bytes()
    address = urlsplit(sandbox.url)
    for path in ("", "../store.py", "page/page.js", "..%2fstore.py", "records", "records/x/1/2"):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        connection.request("GET", f"/_sandbox/{path}")
        assert connection.getresponse().status == 404
        connection.close()


def test_nothing_in_the_page_runs_but_its_own_files(sandbox):
    answer = requests.get(sandbox.url, timeout=20)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert (
        re.findall(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=\"/)", answer.text)
        == []
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert requests.head(sandbox.url, timeout=20).headers["Content-Length"] == str(
        len(answer.content)
    )


# The JSON: records


def test_a_list_begins_with_what_was_changed_last_and_comes_in_pages():
    moments = iter(range(int(NOON), int(NOON) + 10_000))
    with Sandbox(clock=lambda: next(moments)) as sandbox:
        sandbox.store.seed_many("accounts", ({"name": f"Company {n}"} for n in range(1, 61)))
        sandbox.store.update("accounts", 7, {"industry": "Tea"})
        url = f"{sandbox.url}/_sandbox/records/accounts"
        first, second, beyond = (
            requests.get(f"{url}?page={number}", timeout=20).json() for number in (1, 2, 3)
        )
    assert [row["id"] for row in first["rows"]] == [7, *range(60, 11, -1)]
    assert [row["id"] for row in second["rows"]] == [*range(11, 7, -1), *range(6, 0, -1)]
    assert [page["count"] for page in (first, second, beyond)] == [60, 60, 60]
    assert [page["first"] for page in (first, second)] == [1, 51]
    assert beyond["rows"] == []
    cells = dict(zip(first["columns"], first["rows"][0]["cells"], strict=True))
    assert cells["name"] == "Company 7"
    assert cells["industry"] == "Tea"
    assert cells["domain"] is None


@pytest.mark.parametrize(
    ("search", "ids"),
    [
        ("", [4, 3, 2, 1]),
        ("ada", [1]),
        ("BYRON ada", [1]),
        ("ada hopper", []),
        ("grace@navy.test", [2]),
        ("other.test", [1]),
        ("ÖZIL", [3]),
        ("tea", [3]),
        ("3", [3, 2]),
        ("100%", [4]),
        ("0_0", [4]),
        ('"quoted"', [4]),
        ("back\\slash", [4]),
        ("firstName", []),
        ("true", []),
        ("9" * 30, []),
        ("\x00", []),
        ("'; DROP TABLE prospects; --", []),
    ],
)
def test_search_finds_what_holds_all_words(sandbox, found, search, ids):
    people = [
        {"emails": ["ada@acme.test", "ada@other.test"], "firstName": "Ada", "lastName": "Byron"},
        {"emails": ["grace@navy.test"], "firstName": "Grace", "score": 3},
        {"firstName": "Mesut", "lastName": "Özil", "tags": ["coffee", "Tea"]},
        {"title": 'is "quoted" 100% 0_0 back\\slash', "optedOut": True},
    ]
    sandbox.store.seed_many("prospects", people)
    assert found("prospects", search) == ids


def test_a_list_can_hold_only_what_is_linked_to_a_record(look, sandbox, person):
    sandbox.store.seed("prospects", {"firstName": "Grace"})
    page = look("records/prospects?link=account&id=1")
    assert [row["id"] for row in page["rows"]] == [person]
    assert page["linked"] == {"object": "accounts", "id": 1, "title": "Acme"}
    assert look("records/accounts/1")["linked_from"] == [
        {"object": "prospects", "link": "account", "count": 1}
    ]


@pytest.mark.parametrize(
    "path",
    [
        "records/prospects?page=x",
        "records/prospects?page=-1",
        "records/prospects?link=boss&id=1",
        "records/prospects?link=account",
        "records/prospects/0",
        "records/prospects/x",
        f"records/prospects/{'9' * 40}",
        "records/writes",
        "live?limit=many",
    ],
)
def test_what_makes_no_sense_is_not_found(look, path):
    look(path, 404)


@pytest.mark.usefixtures("person")
def test_a_page_that_is_far_away_is_empty(look):
    page = look(f"records/prospects?page={2**53 - 1}")
    assert (page["rows"], page["count"]) == ([], 1)


def test_values_come_as_they_are_however_large(look, sandbox, person):
    sandbox.store.define_custom_field("prospects", 7, "Lead Score", "numerical")
    sandbox.store.update(
        "prospects", person, {"score": 2**53 + 1, "custom7": "12", "optedOut": True}
    )
    found = {one["name"]: one for one in look(f"records/prospects/{person}")["attributes"]}
    assert found["score"]["value"] == "9007199254740993"
    assert found["custom7"] == {
        "name": "custom7",
        "label": "Lead Score",
        "value": "12",
        "blank": False,
    }
    assert found["optedOut"]["value"] == "true"
    assert found["emails"]["value"] == ["ada@acme.test"]
    assert (found["title"]["value"], found["title"]["blank"]) == (None, True)


def test_a_deleted_record_keeps_its_history(look, sandbox, person):
    assert send(sandbox, "DELETE", f"/prospects/{person}").status_code == 204
    shown = look(f"records/prospects/{person}")
    assert shown["deleted"]
    assert [write["method"] for write in shown["history"]] == ["DELETE", "seed"]


def test_imports_are_shown_as_far_as_they_have_come_by_now():
    now = [NOON]
    with Sandbox(clock=lambda: now[0]) as sandbox:
        number = sandbox.store.seed("prospects", {"emails": ["ada@acme.test"]})
        one = {"data": {"type": "prospect", "id": number, "attributes": {"title": "Countess"}}}
        content = {"data": {"attributes": {"dupeMethod": "overwriteNoCreate", "records": [one]}}}
        answer = send(sandbox, "POST", "/imports/actions/bulkUpsert", json=content)
        assert answer.status_code == 200
        now[0] += 60
        (run,) = requests.get(f"{sandbox.url}/_sandbox/rest", timeout=20).json()["imports"]
        page = requests.get(f"{sandbox.url}/_sandbox/records/prospects/{number}", timeout=20)
    assert (run["state"], run["total"], run["outcomes"]) == ("finished", 1, {"updated": 1})
    assert page.json()["history"][0]["method"] == "import"


# The JSON: requests


def ask_for_each_kind(sandbox):
    """Send a request of each kind, with a value wherever one can be."""
    send(sandbox, "GET", f"/prospects?filter[emails]={SECRET},b@x.test&page[size]=5")
    send(sandbox, "GET", f"/prospects?{SECRET}=1&sort=name")
    send(sandbox, "GET", "/prospects/1")
    send(sandbox, "POST", "/prospects", data=SECRET)
    send(sandbox, "PATCH", "/prospects/1", data=SECRET)
    send(sandbox, "DELETE", "/prospects/1")
    send(sandbox, "GET", "/imports/1")
    form = {"client_id": "x", "client_secret": SECRET, "refresh_token": SECRET, "code": SECRET}
    requests.post(f"{sandbox.oauth_url}/token", data=form, timeout=20)
    requests.get(f"{sandbox.oauth_url}/authorize?code={SECRET}&state={SECRET}", timeout=20)
    requests.post(
        f"{sandbox.url}/api/app/installs/{SECRET}/actions/accessToken", headers=TOKEN, timeout=20
    )


def test_the_log_of_requests_tells_no_values_and_no_secrets(look, sandbox, caplog):
    with caplog.at_level("DEBUG"):
        ask_for_each_kind(sandbox)
        news = look("live?limit=200")
        look(f"records/prospects?search={SECRET}")
    assert SECRET not in json.dumps(news)
    own = [one.getMessage() for one in caplog.records if not one.name.startswith("urllib3")]
    assert SECRET not in " ".join(own)
    assert news["finished"] == 10
    oldest = news["requests"][-1]
    assert {oldest[key] for key in ("method", "path", "status")} == {
        "GET",
        "/api/v2/prospects",
        200,
    }
    assert oldest["parameters"] == ["filter[emails] (2 values)", "page[size]"]
    assert 0 <= oldest["milliseconds"] < 20_000
    assert 0 <= oldest["age"] < 20
    assert [one["number"] for one in news["requests"]] == list(range(10, 0, -1))


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("all", 10),
        ("lookup", 1),
        ("read", 2),
        ("create", 1),
        ("update", 1),
        ("delete", 1),
        ("import", 1),
        ("token", 3),
        ("refused", 9),
    ],
)
def test_the_log_can_be_read_by_kind(look, sandbox, kind, count):
    ask_for_each_kind(sandbox)
    entries = look(f"live?limit=200&kind={kind}")["requests"]
    assert len(entries) == count
    assert {one["kind"] for one in entries} == {kind} or kind in {"all", "refused"}


def test_only_what_is_new_is_told_again(look, sandbox):
    for _ in range(3):
        send(sandbox, "GET", "/stages")
    news = look("live?limit=2")
    assert [one["number"] for one in news["requests"]] == [3, 2]
    assert look(f"live?limit=200&after={news['finished']}")["requests"] == []
    send(sandbox, "GET", "/users")
    (new,) = look(f"live?limit=200&after={news['finished']}")["requests"]
    assert (new["number"], new["path"]) == (4, "/api/v2/users")


def test_the_number_of_a_request_is_its_own_however_short_the_log_is():
    with Sandbox(request_log=2) as sandbox:
        for _ in range(5):
            send(sandbox, "GET", "/stages")
        news = requests.get(f"{sandbox.url}/_sandbox/live?limit=200", timeout=20).json()
    assert [one["number"] for one in news["requests"]] == [5, 4]


def fill(sandbox):
    """Four people of three accounts, of two owners."""
    for name in ("beta", "Alpha", "gamma"):
        sandbox.store.seed("accounts", {"name": name, "domain": f"{name}.test".lower()})
    people = [("Ada", 1, 1), ("Ben", 3, 2), ("Cleo", 2, 2), ("Dora", None, 1)]
    for name, account, owner in people:
        values = {"firstName": name, "tags": [name[0]], "optedOut": name == "Ben"}
        sandbox.store.seed("prospects", values, {"account": account, "owner": owner})


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sort=name", ["Ada", "Ben", "Cleo", "Dora"]),
        ("sort=-name", ["Dora", "Cleo", "Ben", "Ada"]),
        ("sort=account", ["Cleo", "Ada", "Ben", "Dora"]),
        ("sort=-id", ["Dora", "Cleo", "Ben", "Ada"]),
        ("account=ALPH", ["Cleo"]),
        ("account=gamma.test", ["Ben"]),
        ("owner=2&sort=name", ["Ben", "Cleo"]),
        ("tags=a", ["Ada"]),
        ("optedOut=yes", ["Ben"]),
        ("optedOut=no&sort=name", ["Ada", "Cleo", "Dora"]),
        ("owner=2&optedOut=no", ["Cleo"]),
        ("tags=') OR 1=1 --", []),
    ],
)
def test_a_list_is_sorted_and_filtered(sandbox, look, query, names):
    fill(sandbox)
    page = look(f"records/prospects?{quote(query, safe='=&')}")
    assert [row["title"] for row in page["rows"]] == names
    assert page["count"] == len(names)
    assert page["filters"]["owner"] == [["1", "Ada Byron"], ["2", "Grace Hopper"]]


def test_only_columns_can_be_sorted_by(look):
    look("records/prospects?sort=tags", 404)
    look("records/prospects?sort=name;", 404)
    look("records/prospects?owner=nobody", 404)
    assert look("records/stages")["filters"] == {}


def test_a_request_is_shown_as_a_whole(look, sandbox):
    content = {"data": {"type": "prospect", "attributes": {"emails": ["a@x.test"]}}}
    send(sandbox, "POST", "/prospects?sort=x", json=content)
    shown = look("requests/1")
    assert json.loads(shown["body"]) == content
    assert json.loads(shown["answer"])["data"]["id"] == 1
    assert (shown["query"], shown["records"]) == ([["sort", "x"]], [["prospects", 1]])
    look("requests/2", 404)
    look("requests/0", 404)
    look("requests/1/1", 404)


def test_no_secret_is_shown_of_a_request_for_tokens(look, sandbox):
    ask_for_each_kind(sandbox)
    for number in (8, 9, 10):
        shown = look(f"requests/{number}")
        assert shown["is_secret"]
        assert SECRET not in json.dumps(shown)
    assert SECRET in look("requests/4")["body"]


def test_requests_come_in_pages_and_old_answers_are_not_kept(look, sandbox):
    sandbox._answers = deque(maxlen=2)
    for _ in range(3):
        send(sandbox, "GET", "/stages")
    send(sandbox, "GET", "/users?filter[email]=x")
    page = look("requests")
    assert (page["count"], page["first"]) == (4, 1)
    assert [one["number"] for one in page["requests"]] == [4, 3, 2, 1]
    assert {one["run"] for one in page["requests"]} == {1}
    assert look("requests?kind=lookup")["count"] == 1
    assert look("requests?page=2")["requests"] == []
    assert look("requests/2")["answer"] is None
    assert json.loads(look("requests/4")["answer"])["data"] == []


# The page


@pytest.mark.slow
def test_the_command_says_where_the_page_is(tmp_path):
    with logins.free_port() as port:
        command = ["sandbox", "--path", str(tmp_path / "outreach.db"), "--port", str(port)]
        with processes.Popen(command, stderr=subprocess.PIPE, encoding="utf-8") as process:
            said = [process.stderr.readline() for _ in range(2)]
            url = f"http://127.0.0.1:{port}/"
            answer = requests.get(url, timeout=20)
            process.terminate()
    assert said[1] == f"To look at it, open {url} in a browser\n"
    assert "<h1>Outreach sandbox</h1>" in answer.text


@pytest.mark.usefixtures("person")
def test_people_find_a_record_by_words(open_page, sandbox):
    sandbox.store.seed_many("prospects", ({"firstName": f"Person {n}"} for n in range(120)))
    with open_page() as page:
        page.get_by_text("1 to 50 of 121").wait_for()
        page.get_by_role("link", name="Next page").click()
        page.get_by_text("51 to 100 of 121").wait_for()
        page.get_by_label("Search").fill("acme.test ada")
        page.get_by_text("1 to 1 of 1").wait_for()
        assert page.url.endswith("#/prospects?search=acme.test+ada")
        page.get_by_label("Search").fill("nobody")
        page.get_by_text("No record fits these filters.").wait_for()
        page.go_back()
        page.get_by_text("1 to 50 of 121").wait_for()


def test_a_record_shows_its_fields_its_links_and_what_runs_have_written(open_page, sync, sandbox):
    rows = schema("accounts"), record("accounts", name="Acme", domain="acme.test", custom_id="A-1")
    assert sync(rows).exit_code == 0
    changed = record("accounts", custom_id="A-1", name="Acme", industry="Tea")
    assert sync([schema("accounts"), changed]).exit_code == 0
    sandbox.store.seed("prospects", {"firstName": "Ada"}, {"account": 1})
    with open_page("#/accounts") as page:
        page.get_by_role("link", name="Acme").click()
        page.get_by_role("heading", name="History (2)").wait_for()
        fields = page.locator(".fields").first.inner_text()
        assert re.search(r"customId\s+A-1", fields)
        assert re.search(r"industry\s+Tea", fields)
        newest, oldest = page.locator(".history > li").all_inner_texts()
        assert newest.startswith("Sent by PATCH 20")
        assert re.search(r"changed industry\s+industry\s+Tea$", newest)
        assert page.locator(".history > li").evaluate_all("all => all.map(e => e.className)") == [
            "updated",
            "created",
        ]
        assert oldest.startswith("Created by POST 20")
        assert "changed" not in oldest
        assert "acme.test" in oldest
        page.get_by_role("link", name="prospects (1)").click()
        page.get_by_text("Only with the account Acme.").wait_for()
        page.get_by_role("link", name="Ada").click()
        page.get_by_role("heading", name="Ada").wait_for()


def test_the_history_says_what_each_write_changed(open_page, sandbox):
    sandbox.store.seed("accounts", {"name": "Acme"})
    for sent in ({"name": "Acme", "tags": ["a"]}, {"tags": ["b"], "name": "Acme Ltd"}, {}):
        document = {"data": {"type": "account", "id": 1, "attributes": sent}}
        assert send(sandbox, "PATCH", "/accounts/1", json=document).status_code == 200
    assert send(sandbox, "DELETE", "/accounts/1").status_code == 204
    with open_page("#/accounts/1") as page:
        page.get_by_role("heading", name="History (5)").wait_for()
        firsts = [text.splitlines()[0] for text in page.locator(".history > li").all_inner_texts()]
    words = [first.partition(" UTC")[2] for first in firsts]
    assert words == ["", ", changed nothing", ", changed tags, name", ", changed tags", ""]


def test_a_list_says_that_it_has_become_old_and_is_read_again_on_demand(open_page, sandbox):
    with open_page("#/accounts") as page:
        page.get_by_text("There are none yet.").wait_for()
        sandbox.store.seed("accounts", {"name": "Acme"})
        page.get_by_text("Writes since this was read: 1").wait_for()
        page.get_by_role("button", name="Read again").click()
        page.get_by_role("link", name="Acme").wait_for()
        assert page.get_by_role("button", name="Read again").count() == 0


def wait_for_rows(page, count):
    page.locator(".log .request").nth(count - 1).wait_for()
    assert page.locator(".log .request").count() == count


def test_the_log_grows_while_a_run_is_under_way(open_page, start, sandbox, hold, tmp_path):
    given = tmp_path / "people.singer"
    people = [record("prospects", id=n, emails=f"p{n}@x.test") for n in range(5)]
    given.write_text(lines([schema("prospects"), *people]), encoding="utf-8")
    with open_page("#/requests") as page, given.open("rb") as stdin:
        page.get_by_text("None yet.").wait_for()
        hold.clear()
        process = start(stdin.fileno(), max_parallel_requests=1)
        rows = page.locator(".log .request")
        rows.filter(has_text="POST").wait_for()
        assert process.poll() is None
        assert rows.first.locator("td").nth(1).inner_text() == "POST"
        assert "filter[emails] (5 values)" in page.locator(".log").inner_text()
        before = rows.count()
        hold.set()
        assert process.wait(60) == 0
        wait_for_rows(page, sandbox.request_count)
        assert rows.count() == before + 4
        page.get_by_label("Show").select_option("create")
        wait_for_rows(page, 5)
        assert all("POST" in text for text in rows.all_inner_texts())


def test_a_paused_log_does_not_change_and_then_catches_up(open_page, sandbox):
    with open_page("#/requests") as page:
        page.get_by_text("None yet.").wait_for()
        page.get_by_role("button", name="Pause").click()
        send(sandbox, "GET", "/stages")
        page.locator("[data-count=requests]").get_by_text("1").wait_for()
        assert page.locator(".log .request").count() == 0
        page.get_by_role("button", name="Pause").click()
        page.locator(".log .request").wait_for()


def test_the_gauge_follows_the_budget(open_page, sandbox):
    with open_page() as page:
        sandbox.spend(9_600)
        page.get_by_text("9,600", exact=True).wait_for()
        allowance = sandbox.allowance()
        assert page.locator("#remaining").inner_text() == "400" == str(allowance.remaining)
        assert re.fullmatch(r"in \d+ (s|min)|in 1 h 0 min", page.locator("#reset").inner_text())
        gauge = page.get_by_role("meter", name="Used")
        assert gauge.evaluate("g => [g.value, g.high, g.max]") == [9600, 9000, 10000]


def test_everything_else_is_shown_in_brief(open_page, sandbox):
    sandbox.store.define_custom_field("accounts", 3, HOSTILE, "inclusion", ["Gold", "Tin"])
    with open_page("#/rest") as page:
        row = page.get_by_role("row").filter(has_text="custom3")
        row.wait_for()
        assert HOSTILE in row.inner_text()
        assert "Gold" in row.inner_text()
        page.get_by_role("link", name="Mailboxes").click()
        page.get_by_role("link", name="ada@example.com").wait_for()


def test_values_are_text_whatever_they_look_like(open_page, sandbox, person):
    send(sandbox, "GET", f"/{quote('<img src=x>')}?filter[<b>]=x")
    for view in ("", f"#/prospects/{person}", "#/requests", f"#/prospects?search={quote(HOSTILE)}"):
        with open_page(view) as page:
            page.locator(".history, .log, .cards").first.wait_for()
            assert page.evaluate("window.struck") is None
            assert page.locator("main :is(script, img, b, iframe)").count() == 0
            assert HOSTILE in page.locator("main").inner_text() or view == "#/requests"


VIEWS = (
    *("#/prospects", "#/prospects/1", "#/accounts/1", "#/prospects/99999", "#/requests"),
    *("#/requests/1", "#/requests/99999", "#/rest", "#/nothing"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SCREENS)
def test_all_can_be_used_by_everybody_on_every_screen(open_page, sandbox, person, *, scheme, width):
    unbroken = "W" * 200
    sandbox.store.update("prospects", person, {"title": unbroken, "tags": [unbroken]})
    sandbox.store.update("prospects", person, {"title": "Countess", "tags": ["a", "b"]})
    sandbox.store.define_custom_field("prospects", 1, unbroken)
    send(sandbox, "GET", f"/prospects/{unbroken}?filter[emails]=a")
    size = {"width": width, "height": 700}
    missing = "Failed to load resource: the server responded with a status of 404"
    with open_page(color_scheme=scheme, viewport=size, expected=[missing]) as page:
        for view in VIEWS:
            page.evaluate("view => { location.hash = view }", view)
            page.locator(
                ".history, .log .request, .cards, main h3, main p:text('There is no'), "
                "main p:text('no such page')"
            ).first.wait_for()
            check(page)
            smallest = "all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize)))"
            assert page.locator("body *").evaluate_all(smallest) >= 13


def test_a_row_is_one_line_on_a_telephone(open_page, sandbox):
    address = f"{'a' * 40}@example.com"
    sandbox.store.seed("prospects", {"firstName": "Ada " * 20, "emails": [address]})
    with open_page(viewport={"width": 375, "height": 700}) as page:
        page.get_by_text("1 to 1 of 1").wait_for()
        assert page.locator(".list tbody tr").bounding_box()["height"] < 45
        assert page.get_by_role("link", name="Emails").is_visible()


@pytest.mark.parametrize("width", SCREENS)
def test_fields_and_columns_are_aligned_and_addresses_are_whole(open_page, sandbox, width):
    addresses = "karen@larkspur{}.example.com"
    sandbox.store.seed_many(
        "prospects",
        (
            {"emails": [addresses.format(n)], "title": "Head of Buying and Selling, and more"}
            for n in range(3_000)
        ),
    )
    sandbox.store.seed_many("accounts", ({"name": f"Firm {n}"} for n in range(1_200)))
    with open_page(viewport={"width": width, "height": 700}) as page:
        page.get_by_text("1 to 50 of 3,000").wait_for()
        left = "all => [...new Set(all.map(one => Math.round(one.getBoundingClientRect().left)))]"
        is_narrow = width < 1280
        search = page.locator("#search, #filter-account" + ", .filters select" * is_narrow)
        assert len(search.evaluate_all(left)) == 1
        for column in ("Name", "Emails"):
            head = page.get_by_role("columnheader", name=column).bounding_box()
            place = ".list tbody th" if column == "Name" else f".list td[data-name={column}]"
            assert page.locator(place).first.bounding_box()["x"] == pytest.approx(head["x"], abs=1)
        if is_narrow:
            return
        tops = page.locator("header nav a").evaluate_all("all => all.map(a => a.offsetTop)")
        assert len(set(tops)) == 1
        parts = page.locator(".list td[data-name=Emails] li").first.evaluate("""one =>
            [...one.childNodes].filter(node => node.data).map(node => {
                const range = document.createRange();
                range.selectNodeContents(node);
                return range.getClientRects().length;
            })""")
        assert parts == [1, 1]
        assert page.locator(".list td[data-name=Emails]").first.inner_text().endswith(".com")


def test_people_sort_and_filter_a_list(open_page, sandbox):
    fill(sandbox)
    with open_page() as page:
        page.get_by_text("1 to 4 of 4").wait_for()
        page.get_by_role("link", name="Account", exact=True).click()
        page.get_by_role("columnheader", name="Account").and_(
            page.locator("[aria-sort=ascending]")
        ).wait_for()
        assert first_names(page) == ["Cleo", "Ada", "Ben", "Dora"]
        page.locator("th[aria-sort] a").click()
        page.locator("[aria-sort=descending]").wait_for()
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"
        page.get_by_label("Owner").select_option(label="Grace Hopper")
        page.get_by_text("1 to 2 of 2").wait_for()
        page.get_by_label("Opted out").select_option("yes")
        page.get_by_text("1 to 1 of 1").wait_for()
        assert first_names(page) == ["Ben"]
        page.get_by_label("Tag").fill("nowhere")
        page.get_by_text("No record fits these filters.").wait_for()


def first_names(page):
    return page.locator(".list tbody th").all_inner_texts()


def test_a_long_list_has_a_first_and_a_last_page(open_page, sandbox):
    sandbox.store.seed_many("prospects", ({"firstName": f"Person {n}"} for n in range(160)))
    with open_page() as page:
        page.get_by_role("link", name="Last page").click()
        page.get_by_text("151 to 160 of 160").wait_for()
        assert page.get_by_role("link", name="Next page").count() == 0
        page.get_by_role("link", name="First page").click()
        page.get_by_text("1 to 50 of 160").wait_for()


def test_a_history_says_what_was_there_before(open_page, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Lead Score", "numerical")
    seeded = {"emails": ["a@x.test"], "title": "Clerk", "tags": ["a"], "custom7": "1"}
    sandbox.store.seed("prospects", seeded)
    sandbox.store.update("prospects", 1, {"title": "Head", "tags": ["b"], "custom7": "2"})
    with open_page("#/prospects/1") as page:
        newest = page.locator(".history > li").first
        newest.wait_for()
        assert newest.locator("del").all_inner_texts() == ["Clerk", "a", "1"]
        assert newest.locator("ins").all_inner_texts() == ["Head", "b", "2"]
        assert "custom7 (Lead Score)" in newest.inner_text()
        assert "custom7 (Lead Score)" in page.locator(".fields").first.inner_text()
        assert page.locator(".fields .chips li").all_inner_texts() == ["b"]
        times = page.locator("main time").all_inner_texts()
        assert len(times) >= 4
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", one) for one in times)


def test_what_is_not_there_has_a_way_back(open_page):
    with open_page("#/prospects/99999", expected=["404"]) as page:
        page.get_by_text("There is no prospect 99999.").wait_for()
        page.get_by_role("link", name="Back to all prospects").click()
        page.get_by_text("There are none yet.").wait_for()


def test_a_request_is_opened_and_leads_to_its_record(open_page, sync):
    assert (
        sync([schema("accounts"), record("accounts", name="Acme", industry="Tea")]).exit_code == 0
    )
    with open_page("#/requests") as page:
        rows = page.locator(".log .request")
        rows.filter(has_text="POST").get_by_role("link").click()
        body = page.get_by_role("region", name="Body")
        body.wait_for()
        assert json.loads(body.inner_text())["data"]["attributes"]["industry"] == "Tea"
        assert '"id": 1' in page.get_by_role("region", name="Answer").inner_text()
        page.get_by_role("link", name="account 1").click()
        page.get_by_role("heading", name="History (1)").wait_for()


def test_requests_are_grouped_by_run_and_paged(open_page, sandbox):
    for _ in range(60):
        send(sandbox, "GET", "/stages")
    time.sleep(server.PAUSE_SECONDS + 0.3)
    for _ in range(60):
        send(sandbox, "GET", "/users")
    with open_page("#/requests") as page:
        page.locator(".log .request").nth(99).wait_for()
        groups = page.locator(".log .run").all_inner_texts()
        assert groups == ["Run 2: 60 requests here", "Run 1: 40 requests here"]
        page.get_by_role("link", name="Last page").click()
        page.get_by_text("Run 1: 20 requests here").wait_for()


@pytest.mark.usefixtures("person")
def test_the_keyboard_is_enough(open_page):
    with open_page() as page:
        page.get_by_text("1 to 1 of 1").wait_for()
        seen = []
        while not any(text.startswith("Ada ") for text in seen):
            page.keyboard.press("Tab")
            seen.append(page.locator(":focus").evaluate("e => e.id || e.innerText"))
        assert seen[:2] == ["Skip to the content", "Prospects 1"]
        assert "search" in seen
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="History (1)").wait_for()
        assert page.evaluate("document.activeElement.id") == "main"


def test_nothing_is_asked_while_nobody_looks(open_page):
    hide = "on => { Object.defineProperty(document, 'hidden', { value: on, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')) }"
    with open_page() as page:
        page.get_by_text("There are none yet.").wait_for()
        page.clock.install()
        page.evaluate(hide, True)  # noqa: FBT003 - what the page sees
        page.clock.run_for(5_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.run_for(60_000)
        page.evaluate("0")
        assert asked == []
        with page.expect_request("**/_sandbox/live?*"):
            page.evaluate(hide, False)  # noqa: FBT003 - idem


def test_the_page_says_when_the_sandbox_has_gone_and_goes_on_with_the_next(browser):
    context = browser.new_context()
    page = context.new_page()
    with logins.free_port() as port:
        with Sandbox(port=port) as first:
            page.goto(first.url)
            page.get_by_text("There are none yet.").wait_for()
        page.get_by_role("alert").get_by_text("The sandbox does not answer").wait_for()
        with Sandbox(port=port) as second:
            second.store.seed("prospects", {"firstName": "Grace"})
            page.get_by_role("link", name="Grace").wait_for()
            assert page.get_by_role("alert").inner_text() == ""
            context.close()
