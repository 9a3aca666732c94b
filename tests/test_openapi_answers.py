"""What the sandbox answers is what Outreach's own OpenAPI document says; the checker of that."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from openapi import ABSENT, load_document
from openapi_answers import AnswerChecker, load_answer_checker, summarised

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import Profile, Sandbox
from target_outreach.sandbox.messages import JSON_API, Answer, Request, json_answer

TOKEN = {"authorization": "Bearer token", "content-type": JSON_API}


@pytest.fixture(params=["catalogue", "Outreach's own"])
def checker(request):
    if request.param == "catalogue":
        return AnswerChecker(summarised())
    document = load_document() or pytest.skip(ABSENT)
    return AnswerChecker(document)


@pytest.fixture
def sandbox():
    with Sandbox() as running:
        running.store.seed("accounts", {"name": "Acme", "domain": "acme.test"})
        person = {"emails": ["a@x.test"], "addedAt": "2026-01-02", "tags": ["new"]}
        running.store.seed("prospects", person, {"account": 1})
        yield running


def get(path, query="", method="GET"):
    return Request(method, f"/api/v2{path}", query, TOKEN, b"")


def shown(sandbox, request):
    return json.loads(sandbox.work(request).body)


def theirs_of(document, kind):
    return document["components"]["schemas"][kind]["properties"]


def complaints(checker, request, document, status=200, media_type=JSON_API):
    answer = json_answer(status, document, media_type)
    return list(checker.violations(request, answer))


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", ""),
        ("/types", ""),
        ("/prospects", "count=true"),
        ("/prospects", "page[limit]=1&page[offset]=0&sort=-createdAt"),
        ("/prospects", "filter[emails]=nobody@x.test"),
        ("/prospects", "fields[prospect]=emails,account&fields[account]=name"),
        ("/prospects", "filter[title][bad]=a"),
        ("/prospects/1", ""),
        ("/prospects/99", ""),
        ("/accounts/1/", ""),
        ("/sequences", ""),
        ("/widgets", ""),
    ],
)
def test_what_the_sandbox_answers_passes(checker, sandbox, path, query):
    request = get(path, query)
    assert list(checker.violations(request, sandbox.work(request))) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": "1"}, "id must be integer"),
        ({"id": 2}, "links.self"),
        ({"type": "person"}, "type must be one of"),
        ({"meta": {}}, "must not contain"),
        ({"links": {}}, "links must contain"),
        ({"links": {"self": "/api/v2/prospects/1"}}, "links.self must be uri"),
        ({"attributes": {}}, "missing or too many"),
        ({"relationships": {}}, "missing or too many"),
        ({"relationships": {"account": None}}, "account must be object"),
        ({"relationships": {"account": {"data": {"id": 1}}}}, "data must contain"),
        ({"relationships": {"account": {"data": {"id": "1", "type": "account"}}}}, "integer"),
        ({"relationships": {"account": {"data": {"id": 1, "type": "user"}}}}, "one of"),
        ({"relationships": {"boss": {"data": None}}}, "must not contain"),
    ],
)
def test_another_resource_is_complained_about(checker, sandbox, change, complaint):
    request = get("/prospects/1")
    document = shown(sandbox, request)
    (found,) = complaints(checker, request, {"data": document["data"] | change})[:1]
    assert complaint in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("firstName", 5),
        ("firstName", "A" * 256),
        ("optedOut", None),
        ("optedOut", "false"),
        ("tags", None),
        ("tags", [1]),
        ("emails", ["nobody"]),
        ("openCount", 1.5),
        ("openCount", True),
        ("score", "5"),
        ("createdAt", "2026-01-02T00:00:00Z"),
        ("createdAt", "2026-01-02"),
        ("dateOfBirth", "02/01/2026"),
        ("nickName", "Ada"),
    ],
)
def test_another_value_is_complained_about(checker, sandbox, name, value):
    request = get("/prospects/1")
    document = shown(sandbox, request)
    document["data"]["attributes"][name] = value
    (found,) = complaints(checker, request, document)
    assert name in found or "must not contain" in found


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"meta": {}}, "meta must contain"),
        ({"meta": {"count": "1", "count_truncated": False}}, "count must be"),
        ({"meta": {"count": 1, "count_truncated": False}}, "meta.count"),
        ({"links": {"first": "/api/v2/prospects"}}, "must be uri"),
        ({"links": {"next": None}}, "links are"),
        ({"links": {"first": "http://x.test/api/v2/accounts"}}, "the link"),
        ({"data": []}, "links of an empty list"),
        ({"data": None}, "data must be array"),
        ({"jsonapi": {}}, "must not contain"),
    ],
)
def test_another_list_is_complained_about(checker, sandbox, change, complaint):
    request = get("/prospects")
    (found,) = complaints(checker, request, shown(sandbox, request) | change)
    assert complaint in found


ERROR = {"id": "validationError", "title": "Validation Error", "detail": "No."}


@pytest.mark.parametrize(
    ("request_sent", "status", "document", "complaint"),
    [
        (get("/prospects/1"), 201, {"data": {}}, "no such status"),
        (get("/prospects/1"), 418, {"errors": [ERROR]}, "no such status"),
        (get("/prospects/1"), 404, {"errors": []}, "at least 1"),
        (get("/prospects/1"), 404, {"errors": [ERROR | {"status": "404"}]}, "must not contain"),
        (get("/prospects/1"), 404, {"errors": [ERROR | {"id": "No Such"}]}, "pattern"),
        (get("/prospects/1"), 404, {"errors": [{"id": "a", "title": "A"}]}, "by any definition"),
        (get("/prospects"), 422, {"errors": [ERROR], "data": None}, "must not contain"),
        (get("/prospects"), 400, {"error": "x"}, "must contain"),
        (get("/prospects"), 401, {"errors": [ERROR]}, "no word of the token"),
        (get("/types"), 200, {"data": [{"type": "user", "meta": {}}]}, "one of"),
        (get("/widgets"), 200, {"data": []}, "no such status"),
    ],
)
def test_another_error_or_status_is_complained_about(
    checker, request_sent, status, document, complaint
):
    (found,) = complaints(checker, request_sent, document, status)
    assert complaint in found


def test_another_media_type_is_complained_about(checker, sandbox):
    request = get("/prospects/1")
    document = shown(sandbox, request)
    (found,) = complaints(checker, request, document, media_type="application/json")
    assert "Content-Type" in found
    page = Answer(503, b"<html>", media_type="text/html")
    assert list(checker.violations(request, page))
    assert list(checker.violations(get("/prospects/1", method="DELETE"), Answer(204, b"{}")))


def test_what_two_switches_add_against_the_document_passes_with_them_only(checker, sandbox):
    sandbox.store.define_custom_field("prospects", 1, "Seats", "numerical")
    sandbox.store.update("prospects", 1, {"custom1": "12"})
    sandbox.profile = Profile(undocumented_attributes=True, custom_answers="typed")
    request = get("/prospects/1")
    answer = sandbox.work(request)
    assert list(checker.violations(request, answer, sandbox.profile)) == []
    for missing in {"undocumented_attributes": False}, {"custom_answers": "text"}:
        assert list(checker.violations(request, answer, replace(sandbox.profile, **missing)))


def test_the_answers_of_all_tests_are_compared_with_outreachs_own_document():
    """Without it they are compared with the catalogue, which is said here to who reads why."""
    document = load_document() or pytest.skip(f"answers are compared with the catalogue: {ABSENT}")
    schemas = load_answer_checker()._schemas
    assert schemas == document["components"]["schemas"]


def test_the_catalogue_makes_the_same_rules_as_far_as_it_goes():
    document = load_document() or pytest.skip(ABSENT)
    schemas = summarised()["components"]["schemas"]
    for kind in ("import", *(kind.type for kind in load_catalog().values())):
        theirs = theirs_of(document, kind)
        for name, shape in schemas[kind]["properties"].items():
            assert shape["type"] == theirs[name]["type"], (kind, name)
            assert shape.get("format") in {None, theirs[name].get("format")}, (kind, name)
    assert set(schemas["import"]["properties"]) == set(theirs_of(document, "import"))
