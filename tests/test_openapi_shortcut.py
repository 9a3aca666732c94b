"""Requests that are recognised as right without `openapi-core` are those that it accepts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi import ABSENT, MEDIA_TYPE, RequestChecker, load_document, tightened
from openapi_shortcut import Shortcut
from test_specification import EMPTY, EXCERPT, FULL, patch, post, prospect

PREFIX = "/api/v2"
HEADERS = {"Authorization": "Bearer token", "Content-Type": MEDIA_TYPE}


@pytest.fixture(scope="module", params=["excerpt", "Outreach's own"])
def document(request):
    if request.param == "excerpt":
        return EXCERPT
    return load_document() or pytest.skip(ABSENT)


@pytest.fixture(scope="module")
def shortcut(document):
    return Shortcut(tightened(document), PREFIX)


@pytest.fixture(scope="module")
def core(document):
    return RequestChecker(document)


def accepts(shortcut, exchange):
    path = exchange.url.partition("?")[0].removeprefix("http://127.0.0.1:8080")
    return shortcut.accepts(exchange.method, path, HEADERS, exchange.request_body)


@pytest.mark.parametrize("content", [FULL, EMPTY, prospect({"score": 5})])
def test_usual_requests_take_the_shortcut(shortcut, content):
    assert accepts(shortcut, post(content))
    assert accepts(shortcut, patch({"data": content["data"] | {"id": 7}}))
    assert shortcut.accepts("GET", "/api/v2/prospects", HEADERS, b"")
    assert shortcut.accepts("GET", "/api/v2/prospects/7", HEADERS, b"")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/api/v2/prospects", {}, b""),
        ("GET", "/api/v2/prospects", {"Authorization": "Basic token"}, b""),
        ("GET", "/api/v2/prospects", HEADERS, b"{}"),
        ("GET", "/api/v2/prospects/ada", HEADERS, b""),
        ("GET", "/api/v1/prospects", HEADERS, b""),
        ("PUT", "/api/v2/prospects/7", HEADERS, b""),
        ("POST", "/api/v2/prospects", HEADERS, b""),
        ("POST", "/api/v2/prospects", HEADERS, b'{"data": NaN}'),
        ("POST", "/api/v2/prospects", HEADERS, b"\xff"),
        ("POST", "/api/v2/prospects", HEADERS, b"[" * 100_000),
    ],
)
def test_others_do_not(shortcut, method, path, headers, body):
    assert not shortcut.accepts(method, path, headers, body)


def test_a_rule_that_the_shortcut_does_not_know_closes_it():
    document = tightened(EXCERPT)
    document["components"]["schemas"]["prospect"]["properties"]["tags"]["minItems"] = 1
    shortcut = Shortcut(document, PREFIX)
    assert not accepts(shortcut, post(FULL))
    assert shortcut.accepts("GET", "/api/v2/prospects", HEADERS, b"")


TIMES = ["2026-03-31", "2026-02-30", "2026-03-31T09:30:00Z", "2026-03-31T09:30:00.000Z"]
TIMES += ["2026-03-31T09:30:00", "2026-03-31T24:00:00Z", "2026-03-31T09:30:60Z", "20260331"]
TEXTS = st.sampled_from(["", "a", "A" * 256, "a@x.test", "a@b", "@", "a b@x.test", "http://x.test"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(TIMES),
    st.text(max_size=9),
)
NAMES = [
    *("addedAt", "createdAt", "dateOfBirth", "emails", "externalId", "firstName", "optedOut"),
    *("linkedInConnections", "score", "tags", "nickName"),
]
LINKAGE = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["user", "stage", "boss"]), "id": VALUES, "more": VALUES}
)
RELATIONS = st.fixed_dictionaries({}, optional={"data": LINKAGE | VALUES})
DATA = st.fixed_dictionaries(
    {"type": st.sampled_from(["prospect"] * 9 + ["account"])},
    optional={
        "id": VALUES,
        "attributes": st.dictionaries(
            st.sampled_from(NAMES), VALUES | st.lists(VALUES, max_size=2), max_size=3
        ),
        "relationships": st.dictionaries(
            st.sampled_from(["owner", "stage", "creator", "boss"]), RELATIONS, max_size=2
        ),
    },
)


@given(data=DATA, update=st.booleans())
def test_what_takes_the_shortcut_is_accepted_by_openapi_core(shortcut, core, data, update):
    content = {"data": data}
    exchange = patch(content, "/api/v2/prospects/7") if update else post(content)
    if accepts(shortcut, exchange):
        assert core.violations_by_core(exchange) == [], json.dumps(content)
