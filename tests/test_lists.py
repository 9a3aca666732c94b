"""Lists without an end, in circles, or on another host: what a lookup reads of them."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from conftest import record, schema, state

from target_outreach.outreach import pages
from target_outreach.sandbox import Sandbox, paging

PERSON = [schema("prospects"), record("prospects", emails="a@x.test", title="T"), state({"n": 1})]


@pytest.fixture
def relink(monkeypatch):
    """Let a function change each list that the sandbox answers; it gets its request, too."""

    def start(change):
        genuine = Sandbox.work

        def work(self, request):
            answer = genuine(self, request)
            document = json.loads(answer.body or b"null")
            if request.method == "GET" and isinstance(document["data"], list):
                change(document, request)
                return replace(answer, body=json.dumps(document).encode())
            return answer

        monkeypatch.setattr(Sandbox, "work", work)

    return start


def cursor(number):
    """The cursor of what comes after a record, as the sandbox writes it."""
    return base64.urlsafe_b64encode(json.dumps([number]).encode()).decode()


def linked(request, number):
    """The path of the page after a record."""
    query = dict(parse_qsl(request.query)) | {"page[after]": cursor(number)}
    return f"{request.path}?{urlencode(query)}"


def gets(sandbox):
    return [one for one in sandbox.requests if one.method == "GET"]


LINKS = {
    "a path": lambda url: f"{url.path}?{url.query}",
    "a query": lambda url: f"?{url.query}",
    "a last part": lambda url: f"prospects?{url.query}",
    "an object": lambda url: {"href": url.geturl()},
    "an object with a path": lambda url: {"href": f"{url.path}?{url.query}", "meta": {}},
}


@pytest.mark.parametrize("form", LINKS)
def test_a_next_page_is_followed_however_json_api_lets_it_be_written(
    sync, sandbox, relink, monkeypatch, form
):
    def change(document, _request):
        links = document.get("links") or {}
        if links.get("next"):
            links["next"] = LINKS[form](urlsplit(links["next"]))

    monkeypatch.setattr(paging, "MAX_SIZE", 2)
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(7)])
    relink(change)
    rows = [record("prospects", emails=f"p{n}@x.test") for n in range(7)]
    run = sync([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 7, "unchanged": 7}
    assert len(gets(sandbox)) == 4


@pytest.mark.parametrize(
    "link",
    [
        "//127.0.0.2:9/api/v2/prospects",
        "http://127.0.0.2:9/api/v2/prospects",
        "https://127.0.0.1:9/api/v2/prospects",
        "http://127.0.0.1:9@127.0.0.2/",
        "http://127.0.0.1:1\\@127.0.0.2/",
        {"href": "//127.0.0.2:9/"},
    ],
)
def test_a_next_page_elsewhere_is_refused_however_it_is_written(sync, sandbox, relink, link):
    relink(lambda document, _request: document.update(links={"next": link}))
    run = sync(PERSON)
    assert (run.exit_code, run.states) == (1, [])
    assert "on another host" in run.log
    assert len(gets(sandbox)) == 1


def circle(length):
    """Link pages in a circle of so many."""
    numbers = itertools.count(1)

    def change(document, request):
        document["links"] = {"next": linked(request, 10**6 + next(numbers) % length)}

    return change


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("there", [0, 1])
def test_pages_that_lead_in_a_circle_end_the_run_in_a_sentence(
    sync, sandbox, relink, length, there
):
    if there:
        sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    relink(circle(length))
    run = sync(PERSON)
    assert (run.exit_code, run.states) == (1, [])
    assert "The pages of a list in Outreach do not end" in run.log
    assert run.log.count("ERROR") == 1
    assert len(gets(sandbox)) <= 3 * length + 3
    assert sandbox.store.count("prospects") == there


def test_empty_pages_for_ever_end_the_run_in_a_sentence(sync, sandbox, relink):
    relink(circle(10**9))
    run = sync(PERSON)
    assert run.exit_code == 1
    assert "do not end" in run.log
    assert len(gets(sandbox)) == pages.MOST_EMPTY


def test_a_few_empty_pages_are_read_over(sync, sandbox, relink):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    first = itertools.count()

    def change(document, request):
        if (number := next(first)) < 3:
            document |= {"data": [], "links": {"next": linked(request, number - 10)}}

    relink(change)
    assert sync(PERSON).counts("prospects") == {"received": 1, "updated": 1}


def stuffed(document, request):
    """Answer each list with records that were not requested, and one more page."""
    after = dict(parse_qsl(request.query)).get("page[after]", cursor(10**6))
    (start,) = json.loads(base64.urlsafe_b64decode(after))
    kind = request.path.rpartition("/")[2].removesuffix("s")
    document["data"] += [{"type": kind, "id": start + n, "attributes": {}} for n in range(1, 1001)]
    document["links"] = {"next": linked(request, start + 1000)}


@pytest.mark.slow
def test_a_lookup_reads_no_more_than_it_can_have_asked_for(sync, sandbox, relink):
    """A server that ignores filters has a page for each number; the run ends, and says so once."""
    sandbox.store.seed_many("prospects", [{"emails": [f"p{n}@x.test"]} for n in range(40)])
    relink(stuffed)
    rows = [record("prospects", emails=f"p{n}@x.test", title="T") for n in range(40)]
    run = sync([schema("prospects"), *rows])
    assert run.counts("prospects") == {"received": 40, "updated": 40}
    assert run.log.count("Outreach has more prospects for one value of filter[emails]") == 1
    assert len(gets(sandbox)) < 100


def test_what_records_are_linked_to_is_not_read_in_part(sync, sandbox, relink, monkeypatch):
    """All stages are read to find one; a list of them that has no end is not believed."""
    monkeypatch.setattr(pages, "MOST_PAGES", 20)

    def change(document, request):
        if request.path.endswith("/stages"):
            stuffed(document, request)

    relink(change)
    columns = {"emails": {"type": "string"}, "stage_name": {"type": "string"}}
    row = record("prospects", emails="a@x.test", stage_name="Open")
    run = sync([schema("prospects", columns), row])
    assert run.exit_code == 1
    assert "do not end" in run.log
    assert len(gets(sandbox)) <= 25
    assert sandbox.store.count("prospects") == 0
