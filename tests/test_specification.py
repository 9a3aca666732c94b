"""What the target sends is what Outreach's own OpenAPI document allows."""

from __future__ import annotations

import json

import pytest
from invention import CATALOG, FEWEST, deliver, invent, linked, links, rows
from openapi import ABSENT, MEDIA_TYPE, RequestChecker, Watcher, load_checker, load_document
from openapi_queries import badges, find_resources

from target_outreach.sandbox import Exchange, Sandbox

# The checker


def attribute(*badges, **facts):
    pictures = (f"<img src=https://developers.outreach.io/badges/{name}.svg>" for name in badges)
    return {"description": " ".join(pictures), "nullable": True, **facts}


def linkage(kind, description=""):
    members = {"id": {"type": "integer"}, "type": {"enum": [kind], "type": "string"}}
    data = {"nullable": True, "type": "object", "properties": members}
    return {"description": description, "properties": {"data": data}}


def body(*more):
    members = {
        "attributes": {"$ref": "#/components/schemas/prospect"},
        "relationships": {"$ref": "#/components/schemas/prospectRelationships"},
        "type": {"type": "string"},
        **({"id": {"type": "integer"}} if more else {}),
    }
    data = {"properties": members} | ({"required": ["type", "id"]} if more else {})
    sent = {"type": "object", "properties": {"data": data}}
    return {"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": sent}}}}


def answer(data):
    return {"200": {"content": {MEDIA_TYPE: {"schema": {"properties": {"data": data}}}}}}


#: In the form of Outreach's document, so that the checker is tested where that is not at hand.
EXCERPT = {
    "openapi": "3.0.3",
    "info": {"title": "Excerpt", "version": "1"},
    "servers": [{"url": "https://api.outreach.io/api/v2"}],
    "security": [{"bearerAuth": []}],
    "paths": {
        "/prospects": {
            "get": {
                "responses": answer({"items": {"$ref": "#/components/schemas/prospectResponse"}})
            },
            "post": body() | {"responses": answer({})},
        },
        "/prospects/{id}": {
            method: {
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}}
                ],
                "responses": answer({}),
                **(body("id") if method == "patch" else {}),
            }
            for method in ("get", "patch")
        },
    },
    "components": {
        "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "prospectResponse": {"type": "object"},
            "prospect": {
                "type": "object",
                "properties": {
                    "addedAt": attribute(type="string", format="date-time"),
                    "createdAt": attribute(
                        "readonly", "filterable", "sortable", type="string", format="date-time"
                    ),
                    "dateOfBirth": attribute(type="string", format="date"),
                    "emails": attribute(
                        "filterable", type="array", items={"type": "string", "format": "email"}
                    ),
                    "externalId": attribute(type="string", maxLength=255),
                    "firstName": attribute("filterable", "sortable", type="string", maxLength=255),
                    "linkedInConnections": attribute(type="integer"),
                    "optedOut": attribute(type="boolean"),
                    "score": attribute(type="number", format="float"),
                    "tags": attribute(type="array", items={"type": "string"}),
                },
            },
            "prospectRelationships": {
                "properties": {
                    "creator": linkage("user", attribute("readonly")["description"]),
                    "owner": linkage(
                        "user",
                        "You can use only the attribute id to filter prospects by owner.",
                    ),
                    "stage": linkage(
                        "stage",
                        "You can use attributes id and name to filter prospects by stage.",
                    ),
                }
            },
        },
    },
}


@pytest.fixture(params=["excerpt", "Outreach's own"])
def checker(request):
    if request.param == "excerpt":
        return RequestChecker(EXCERPT)
    return load_checker() or pytest.skip(ABSENT)


def exchange(method, path, content=b"", **headers):
    given = {"Authorization": "Bearer token", "Content-Type": MEDIA_TYPE}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    sent = tuple((name, value) for name, value in given.items() if value is not None)
    url = f"http://127.0.0.1:8080{path}"
    return Exchange(method, url, sent, content, 200, (), b"")


def post(content, **headers):
    return exchange("POST", "/api/v2/prospects", json.dumps(content).encode(), **headers)


def patch(content, path="/api/v2/prospects/7"):
    return exchange("PATCH", path, json.dumps(content).encode())


def get(query="", path="/api/v2/prospects", **headers):
    return exchange("GET", f"{path}?{query}" if query else path, **headers)


def prospect(attributes=None, relationships=None, **members):
    parts = {"attributes": attributes, "relationships": relationships}
    return {"data": {"type": "prospect"} | {k: v for k, v in parts.items() if v} | members}


def owner(linked):
    return prospect(relationships={"owner": {"data": linked}})


FULL = prospect(
    {
        "addedAt": "2026-03-31T09:30:00.000Z",
        "dateOfBirth": "1815-12-10",
        "emails": ["ada@example.test", "a.byron+news@example.test"],
        "firstName": "A" * 255,
        "linkedInConnections": 7,
        "optedOut": True,
        "score": 1.5,
        "tags": [],
    },
    {"owner": {"data": {"type": "user", "id": 3}}, "stage": {"data": None}},
)
EMPTY = prospect(
    dict.fromkeys(("addedAt", "dateOfBirth", "emails", "firstName", "optedOut", "score"))
)


@pytest.mark.parametrize(
    "request_sent",
    [
        post(FULL),
        post(EMPTY),
        post(prospect({"score": 5})),
        patch(prospect({"firstName": "Ada"}, id=7)),
        get(),
        get(path="/api/v2/prospects/7"),
        get("filter[emails]=a@x.test,b@x.test&fields[prospect]=emails,owner&count=false"),
        get("filter%5Bemails%5D=a%2Bb@x.test&page%5Bsize%5D=1000&page[after]=WzFd"),
        get("newFilterSyntax=true&filter[firstName][]=Ada,%20Countess&filter[firstName][]=..."),
        get("newFilterSyntax=true&filter[createdAt][gte]=2026-01-01"),
        get("filter[createdAt]=2026-01-01T00:00:00Z..inf&sort=-createdAt,id&count=true"),
        get("filter[id]=1,2,5..9&page[limit]=10&page[offset]=0"),
        get("filter[owner][id]=1&filter[stage][name]=New&filter[firstName]=__null__"),
        get("include=owner,stage&fields[prospect]=owner"),
        exchange("GET", "/api/v2", Content_Type=None),
        exchange("GET", "/api/v2/types", Content_Type=None),
        exchange("POST", "/oauth/token", b"grant_type=refresh_token", Authorization=None),
    ],
)
def test_requests_as_outreach_requires_them_pass(checker, request_sent):
    assert checker.violations(request_sent) == []


@pytest.mark.parametrize(
    ("request_sent", "complaint"),
    [
        # Attributes
        (post(prospect({"nickName": "Ada"})), "/data/attributes"),
        (post(prospect({"firstname": "Ada"})), "'firstname' was unexpected"),
        (patch(prospect({"customField": "x"}, id=7)), "'customField' was unexpected"),
        (post(prospect({"createdAt": "2026-03-31T09:30:00Z"})), "read-only"),
        (patch(prospect({"createdAt": None}, id=7)), "read-only"),
        (post(prospect({"firstName": 5})), "/data/attributes/firstName"),
        (post(prospect({"firstName": "A" * 256})), "too long"),
        (patch(prospect({"firstName": "A" * 256}, id=7)), "too long"),
        (post(prospect({"score": "5"})), "/data/attributes/score"),
        (post(prospect({"score": True})), "/data/attributes/score"),
        (post(prospect({"linkedInConnections": 1.5})), "/data/attributes/linkedInConnections"),
        (post(prospect({"optedOut": "true"})), "/data/attributes/optedOut"),
        (post(prospect({"dateOfBirth": "1815-12-32"})), "not a 'date'"),
        (post(prospect({"dateOfBirth": "1815-12-10T00:00:00Z"})), "not a 'date'"),
        (post(prospect({"addedAt": "2026-03-31"})), "not a 'date-time'"),
        (post(prospect({"emails": ["nobody"]})), "/data/attributes/emails/0"),
        (post(prospect({"emails": "ada@example.test"})), "/data/attributes/emails"),
        (post(prospect({"tags": [1]})), "/data/attributes/tags/0"),
        (post(prospect({"tags": "a"})), "/data/attributes/tags"),
        # Relationships
        (post(owner({"type": "user", "id": "3"})), "/data/relationships/owner/data/id"),
        (post(owner({"type": "user", "id": True})), "/data/relationships/owner/data/id"),
        (post(owner({"type": "user"})), "'id' is a required property"),
        (post(owner({"type": "user", "id": 3, "name": "Ada"})), "'name' was unexpected"),
        (post(owner({"id": 3})), "'type' is a required property"),
        (post(owner({"type": "account", "id": 3})), "/data/relationships/owner/data/type"),
        (post(owner(3)), "/data/relationships/owner/data"),
        (post(prospect(relationships={"owner": {}})), "'data' is a required property"),
        (post(prospect(relationships={"owner": 3})), "/data/relationships/owner"),
        (post(prospect(relationships={"boss": {"data": None}})), "'boss' was unexpected"),
        (post(prospect(relationships={"creator": {"data": None}})), "read-only"),
        # Envelopes
        (post({}), "'data' is a required property"),
        (post({"data": []}), "/data"),
        (post({"data": {"attributes": {}}}), "'type' is a required property"),
        (post({"data": {"type": "account"}}), "/data/type"),
        (post(prospect(meta={})), "'meta' was unexpected"),
        (post(prospect(id=7)), "'id' was unexpected"),
        (patch(prospect()), "'id' is a required property"),
        (patch(prospect(id="7")), "/data/id"),
        (patch(prospect(id=8)), "/data/id is not that of the path"),
        (exchange("POST", "/api/v2/prospects"), "Missing required request body"),
        (exchange("POST", "/api/v2/prospects", b"{"), ""),
        (exchange("POST", "/api/v2/prospects", b'{"data": NaN}'), ""),
        # Paths, methods and headers
        (get(path="/api/v2/widgets"), "Path not found"),
        (get(path="/api/v1/prospects"), "Server not found"),
        (get(path="/api/v2/prospects/7/account"), "Path not found"),
        (get(path="/api/v2/prospects/ada"), "integer"),
        (exchange("PUT", "/api/v2/prospects"), "Operation put not found"),
        (exchange("DELETE", "/api/v2/prospects"), "Operation delete not found"),
        (post(FULL, Content_Type="application/json"), "application/json"),
        (post(FULL, Content_Type=f"{MEDIA_TYPE}; charset=utf-8"), "Content-Type"),
        (get(Content_Type=None), "Content-Type"),
        (get(Authorization=None), "Security not found"),
        # Queries
        (get("filter[externalId]=a"), "cannot be filtered by externalId"),
        (get("filter[nickName]=a"), "cannot be filtered by nickName"),
        (get("filter[owner]=1"), "cannot be filtered by owner"),
        (get("filter[owner][email]=a@x.test"), "cannot be filtered by owner.email"),
        (get("filter[creator][id]=1"), "cannot be filtered by creator.id"),
        (get("filter[id]=a"), "no such value as 'a'"),
        (get("filter[id]=1,"), "no such value as ''"),
        (get("filter[owner][id]=a..inf"), "no such value"),
        (get("filter[createdAt]=yesterday"), "no such value"),
        (get("newFilterSyntax=true&filter[createdAt][]=2026-01-01..inf"), "no such value"),
        (get("filter[emails][]=a@x.test"), "needs newFilterSyntax"),
        (get("filters[emails]=a@x.test"), "no parameter is called filters[emails]"),
        (get("limit=5"), "no parameter is called limit"),
        (get("page=5"), "no parameter is called page"),
        (get("page[size]=1001"), "page[size]"),
        (get("page[size]=0"), "page[size]"),
        (get("page[offset]=10001"), "page[offset]"),
        (get("page[after]="), "page[after]"),
        (get("page[size]=5&page[offset]=5"), "not by both"),
        (get("count=no"), "count is true or false"),
        (get("count=true&count=false"), "given 2 times"),
        (get("sort=externalId"), "cannot be sorted by 'externalId'"),
        (get("include=boss"), "no such relationship as 'boss'"),
        (get("fields[prospect]=emails,nickName"), "no such field as 'nickName'"),
        (get("fields[prospects]=emails"), "no such type"),
        (get("filter[id]=7", "/api/v2/prospects/7"), "for lists only"),
        (exchange("POST", "/api/v2/prospects?include=owner", b"{}"), "refused on writes"),
        (exchange("POST", "/api/v2/prospects?count=true", b"{}"), "for lists only"),
    ],
)
def test_other_requests_are_complained_about(checker, request_sent, complaint):
    found = checker.violations(request_sent)
    assert found
    assert any(complaint in violation for violation in found), found


def test_requests_whose_sender_was_killed_halfway_are_not_judged():
    watcher = Watcher(RequestChecker(EXCERPT))
    watcher(exchange("POST", "/api/v2/prospects", b'{"data"', Content_Length="500"))
    assert watcher.requests == []
    watcher(exchange("POST", "/api/v2/prospects", b'{"data"', Content_Length="7"))
    assert len(watcher.violations()) == 1


# The target


@pytest.fixture
def watcher():
    """Insist on Outreach's own document, which other tests can do without."""
    return Watcher(load_checker() or pytest.skip(ABSENT))


@pytest.fixture
def sandbox(tmp_path, watcher):
    with Sandbox(tmp_path / "outreach.db", observer=watcher) as running:
        yield running


def sent(watcher, name, members):
    """Collect the names of all attributes or relationships that were sent."""
    writes = (one for one in watcher.requests if one.method in {"POST", "PATCH"})
    bodies = [json.loads(one.request_body)["data"] for one in writes]
    found = [data.get(members, {}) for data in bodies if data["type"] == CATALOG[name].type]
    return set().union(*found)


@pytest.mark.slow
def test_all_that_can_be_written_is_sent_as_the_document_requires_it(sync, watcher):
    for name, count, mode in ("accounts", FEWEST, "insert"), ("prospects", 60, "upsert"):
        new, changed = rows(name, count, 1), rows(name, count, 2)
        outcome = deliver(sync, name, new, sync_mode=mode)
        assert outcome == {"received": count, "created": count}
        outcome = deliver(sync, name, changed, array_fields="replace")
        assert outcome == {"received": count, "updated": count}
    for name in "accounts", "prospects":
        assert sent(watcher, name, "attributes") == set(CATALOG[name].writable)
        assert sent(watcher, name, "relationships") == set(links(name))
    assert {request.method for request in watcher.requests} == {"GET", "POST", "PATCH"}
    assert watcher.violations() == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "required"), [("accounts", "name"), ("prospects", "emails")])
def test_all_that_can_be_cleared_is_cleared_as_the_document_requires_it(
    sync, sandbox, watcher, name, required
):
    sandbox.store.seed_many("accounts", [{"name": "Company"}] * FEWEST)
    row = invent(name, 1, 2) | linked(name, 1, 2)
    deliver(sync, name, [row], sync_mode="insert")
    nulls = dict.fromkeys(row) | {required: row[required]}
    update = deliver(
        sync, name, [nulls], match_on=[required], on_null="clear", array_fields="replace"
    )
    assert update == {"received": 1, "updated": 1}
    patch = [request for request in watcher.requests if request.method == "PATCH"][-1]
    data = json.loads(patch.request_body)["data"]
    assert set(data["attributes"]) > {f"custom{number}" for number in range(1, 151)}
    assert data["relationships"] == {link: {"data": None} for link in links(name)}
    assert watcher.violations() == []


# A truth value identifies nobody, so that nothing is looked up by one.
KEYS = [
    (kind.name, attribute.name)
    for kind in (CATALOG["accounts"], CATALOG["prospects"])
    for attribute in kind.writable.values()
    if attribute.filterable and attribute.kind != "boolean"
]


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_records_are_looked_up_as_the_document_requires_it(sync, sandbox, watcher, name, key):
    known = [invent(name, n, n) for n in (1, 2, 3)]
    for row in known:
        row.pop("named", None)  # unnamed accounts are found by their id only
    sandbox.store.seed_many(name, known)
    changes = [{key: row[key], "tags": ["new"]} for row in known]
    outcome = deliver(sync, name, changes, match_on=[key], sync_mode="update")
    assert outcome == {"received": 3, "updated": 3}
    assert any(f"filter%5B{key}%5D" in one.url for one in watcher.requests)
    assert watcher.violations() == []


@pytest.mark.parametrize("name", ["accounts", "prospects"])
def test_outreach_ids_are_looked_up_as_the_document_requires_it(sync, sandbox, watcher, name):
    known = [invent(name, n, 1) for n in (1, 2, 3)]
    for row in known:
        row.pop("named", None)  # a list does not show unnamed accounts
    ids = sandbox.store.seed_many(name, known)
    outcome = deliver(
        sync, name, [{"outreach_id": n, "tags": ["new"]} for n in ids], sync_mode="update"
    )
    assert outcome == {"received": 3, "updated": 3}
    assert any("filter%5Bid%5D" in one.url for one in watcher.requests)
    assert watcher.violations() == []


# The catalogue


def facts(schema):
    """Put what the document says of an attribute as the catalogue does."""
    shown = badges(schema)
    kind = schema.get("format", "") if schema["type"] == "string" else schema["type"]
    return {
        "kind": {"": "text"}.get(kind, kind),
        "max_length": schema.get("maxLength"),
        "read_only": "readonly" in shown,
        "filterable": "filterable" in shown,
        "sortable": "sortable" in shown,
    }


def known(attribute):
    array = attribute.is_array or attribute.kind == "histogram"
    kind = "array" if array else {"domain": "text"}.get(attribute.kind, attribute.kind)
    flags = ("max_length", "read_only", "filterable", "sortable")
    return {"kind": kind} | {flag: getattr(attribute, flag) for flag in flags}


@pytest.mark.parametrize("name", ["accounts", "prospects"])
def test_the_catalogue_says_of_attributes_what_the_document_says(name):
    document = load_document() or pytest.skip(ABSENT)
    described = find_resources(document)[name]
    assert described.type == CATALOG[name].type
    attributes = CATALOG[name].attributes.values()
    assert {a.name: known(a) for a in attributes} == {
        attribute: facts(schema) for attribute, schema in described.attributes.items()
    }


@pytest.mark.parametrize("name", list(CATALOG))
def test_the_catalogue_has_nothing_that_the_document_has_not(name):
    document = load_document() or pytest.skip(ABSENT)
    described = find_resources(document)[name]
    assert set(CATALOG[name].attributes) <= set(described.attributes)
    for link in CATALOG[name].relationships.values():
        schema = described.relationships[link.name]
        assert link.read_only == ("readonly" in badges(schema))
        members = schema["properties"]["data"]["properties"]
        assert members["type"]["enum"] == [CATALOG[link.object].type]
