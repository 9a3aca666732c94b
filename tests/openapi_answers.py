"""Checks the sandbox's answers against the OpenAPI document that Outreach publishes.

The schemas of its answers are tightened first: JSON:API's members, and what the API reference says
beyond the document, become rules. Without a copy of the document, `summarised` makes one of the
same form from the package's own catalogue of attributes, so that shapes, names and types are
checked anyway. The numbers in brackets are sections of the API reference.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

import fastjsonschema
from openapi import MEDIA_TYPE, load_document

from target_outreach.records.catalog import load_catalog
from target_outreach.records.model import CUSTOM_NAME, Attribute, Kind
from target_outreach.sandbox import Profile
from target_outreach.sandbox.resources import UNDOCUMENTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_outreach.sandbox.messages import Answer, Request

Json = dict[str, Any]

#: Statuses that are right although the document does not declare them: why, and the media types.
UNDECLARED: Mapping[int, tuple[str, set[str]]] = {
    400: ("unknown attributes, filters and relations are answered so (3.3, 8.6, 8.12)", set()),
    401: ("not by the application: text, or a gateway's JSON (3.3)", {"text/plain", "json"}),
    403: ("scopes and governance (3.3)", set()),
    404: (
        "declared for GET of one resource, and so are other methods and paths (3.3)",
        set(),
    ),
    409: ("a taken address, if Outreach has a 409 at all (10.10)", set()),
    413: ("a gateway's page; no source tells of it (10.4)", {"text/html"}),
    414: ("a gateway's page; no source tells of it (4.1)", {"text/html"}),
    415: ("the media type of a write (1)", set()),
    422: ("declared for lists and writes, but a single GET can be invalid too (3.3)", set()),
    429: ("the rate limit (5)", set()),
    501: ("a gateway's page where imports are closed (6.2)", {"text/html"}),
}

#: What may be refused with any status, and the page of a gateway: an endpoint that no public client
#: is known to use (6.4).
UNPROVEN = ("POST", "/imports/actions/bulkUpsert")

#: What answers have though the schemas of the document have no such member.
UNMENTIONED: Mapping[str, str] = {
    "links of a resource": "its own URL, in all recorded answers (3.1)",
    "links of a list": "first, prev, next; absent where a list is empty (3.1, 4.2)",
    "meta of a list": "count and count_truncated (3.1)",
    "source of an error": "the pointer, in most recorded errors (3.2)",
    "details of an error": "for `detail`, in the documented 415 (3.2)",
    "code of an error": "one client looks for it where a prospect is enrolled twice (2.6)",
}

#: What the document has and answers do not.
LEFT_OUT: Mapping[str, str] = {
    "to-many relationships": "Outreach shows links and counts; the target reads to-one links only",
    "relationships to other objects": "the sandbox has only what the target links records to",
    "attributes of side resources": "the sandbox has only what the target looks at (2.6, 2.7)",
}

#: The types of which the sandbox must show every attribute of the document.
COMPLETE = frozenset({"account", "import", "prospect"})

#: Attributes of which the document says no more than that they are arrays of something.
SILENT: Mapping[str, Json] = {
    # Twelve months of [inbound, outbound] (2.1).
    "contactHistogram": {
        "type": "array",
        "minItems": 12,
        "maxItems": 12,
        "items": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "integer"},
        },
    },
}

#: What the document says nothing of to machines at all: whose token it is, and the custom fields.
BESIDE_THE_DOCUMENT: Mapping[tuple[str, str], Json] = {
    # The members are not known (1).
    ("GET", "/api/v2"): {"type": "object", "required": ["meta"]},
    # As the introduction of the document shows it (1.1).
    ("GET", "/api/v2/types"): {
        "type": "object",
        "required": ["data"],
        "additionalProperties": False,
        "properties": {
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "meta"],
                    "additionalProperties": False,
                    "properties": {
                        "type": {"enum": ["account", "opportunity", "prospect"]},
                        "meta": {
                            "type": "object",
                            "required": ["validations"],
                            "properties": {
                                "validations": {
                                    "type": "object",
                                    "additionalProperties": {
                                        "type": "object",
                                        "required": ["type", "required", "label", "definition"],
                                    },
                                }
                            },
                        },
                    },
                },
            }
        },
    },
}

ERRORS: Json = {
    "type": "object",
    "required": ["errors"],
    "additionalProperties": False,
    "properties": {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "title"],
                "anyOf": [{"required": ["detail"]}, {"required": ["details"]}],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "pattern": r"^[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)?\Z"},
                    "title": {"type": "string", "minLength": 1},
                    "detail": {"type": "string", "minLength": 1},
                    "details": {"type": "string", "minLength": 1},
                    "code": {"type": "string"},
                    "source": {
                        "type": "object",
                        "required": ["pointer"],
                        "additionalProperties": False,
                        "properties": {"pointer": {"type": "string", "pattern": "^/data(/|$)"}},
                    },
                },
            },
        }
    },
}

#: The attributes of an import, by the kinds of the catalogue, which has no imports (6.2).
IMPORT_ATTRIBUTES: Mapping[str, str] = {
    "date-time": "createdAt scheduledAt stateChangedAt syncedUntil updatedAt",
    "integer": "dupes failures fileSize pluginId prospectOwnerId stageId total",
    "boolean": "loadFromPlugin recurring",
    "object": "mappings",
    "text": "dupeMethod errorReason externalId externalName externalType fileName frequency "
    "importType reportInstanceId source state timeZone",
}

META: Json = {
    "type": "object",
    "required": ["count", "count_truncated"],
    "additionalProperties": False,
    "properties": {
        "count": {"type": ["integer", "null"]},
        "count_truncated": {"type": "boolean"},
    },
}

FORMATS = {
    # Always UTC, always with milliseconds, which are always zero (1).
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z\Z",
    "date": r"\d{4}-\d\d-\d\d\Z",
    "email": r"[^@\s]+@[^@\s]+\Z",
    "uri": r"https?://[^\s/]+/\S*\Z",
    "float": r"",
}

_FIELDS = re.compile(r"fields\[(\w+)\]")
_PLURALS = {kind.type: name for name, kind in load_catalog().items()} | {"import": "imports"}


@cache
def load_answer_checker() -> AnswerChecker:
    """Make the checker of Outreach's own document, or of the catalogue where there is none."""
    return AnswerChecker(load_document() or summarised())


class AnswerChecker:
    """Compares answers with an OpenAPI document in the form of Outreach's.

    Args:
        document: The document; it is not changed.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]
        self._prefix = urlsplit(document["servers"][0]["url"]).path
        self._operations: dict[tuple[str, str], Json] = {
            (method.upper(), path): operation
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        self._validate: dict[tuple[str, str, int], Callable[[Any], Any]] = {}

    def violations(
        self, request: Request, answer: Answer, profile: Profile | None = None
    ) -> Iterator[str]:
        """Say what the document has against an answer.

        Args:
            request: What was asked.
            answer: What was answered, without faults.
            profile: The switches of the sandbox, two of which are about what the document has not.

        Yields:
            One sentence for each violation that was found; the first of a body hides others.
        """
        if not request.path.startswith(f"{self._prefix}/") and request.path != self._prefix:
            return
        path = request.path.rstrip("/")
        for found in self._judged(request, path, answer, profile or Profile()):
            yield f"{request.method} {path} was answered {answer.status}: {found}"

    def _judged(
        self, request: Request, path: str, answer: Answer, profile: Profile
    ) -> Iterator[str]:
        beside = BESIDE_THE_DOCUMENT.get((request.method, path))
        template = re.sub(r"/\d+(?=/|$)", "/{id}", path.removeprefix(self._prefix))
        operation = self._operations.get((request.method, template), {})
        declared = operation.get("responses", {}).get(str(answer.status))
        if answer.status == 200 and beside is not None:
            declared = {"content": {MEDIA_TYPE: {"schema": beside}}}
        if (request.method, template) == UNPROVEN and answer.media_type == "text/html":
            yield from [] if answer.status >= 400 else ["a page"]
        elif declared is None and answer.status not in UNDECLARED:
            yield "no such status is declared"
        elif answer.status == 204:
            yield from ["a body"] if answer.body else []
        elif answer.media_type != MEDIA_TYPE:
            _, media_types = UNDECLARED.get(answer.status, ("", set()))
            if answer.media_type.removeprefix("application/") not in media_types:
                yield f"the Content-Type is {answer.media_type}"
        elif answer.status == 401:  # the one error that may be at the top level (3.3)
            yield from [] if b"expiredAccessToken" in answer.body else ["no word of the token"]
        else:
            document = json.loads(answer.body)
            against = profile.undocumented_attributes or profile.custom_answers == "typed"
            if against and answer.status < 400 and beside is None:
                document = _as_documented(document, profile)
            yield from self._body(request, template, answer.status, document, beside)

    def _body(
        self, request: Request, template: str, status: int, document: Json, beside: Json | None
    ) -> Iterator[str]:
        place = (request.method, template, status)
        if place not in self._validate:
            self._validate[place] = _compiled(self._schema_of(place, beside))
        try:
            self._validate[place](document)
        except fastjsonschema.JsonSchemaValueException as error:
            yield error.message
            return
        if status < 400 and beside is None:
            yield from self._resources(request, template, document)

    def _schema_of(self, place: tuple[str, str, int], beside: Json | None) -> Json:
        method, template, status = place
        if status >= 400:
            return ERRORS
        if beside is not None:
            return beside
        content = self._operations[method, template]["responses"][str(status)]["content"]
        return tightened_answer(content[MEDIA_TYPE]["schema"], self._schemas)

    def _resources(self, request: Request, template: str, document: Json) -> Iterator[str]:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        data = document["data"]
        for resource in data if isinstance(data, list) else [data]:
            yield from self._names(resource, pairs)
            wanted = f"{self._prefix}/{_PLURALS[resource['type']]}/{resource['id']}"
            if urlsplit(resource["links"]["self"]).path != wanted:
                yield f"links.self is not that of {resource['type']} {resource['id']}"
        if isinstance(data, list):
            yield from self._list(request, dict(pairs), document)
        elif template.endswith("/{id}") and str(data["id"]) != request.path.split("/")[4]:
            yield f"the id is {data['id']}"

    def _names(self, resource: Json, pairs: list[tuple[str, str]]) -> Iterator[str]:
        """Compare the attributes that are shown with those requested, or with all."""
        kind = load_catalog().get(_PLURALS[resource["type"]])
        known = set(self._schemas[resource["type"]]["properties"])
        links = set() if kind is None else set(kind.relationships)
        if kind is not None and kind.type not in COMPLETE:
            known = set(kind.attributes)
        asked = [text for name, text in pairs if name == f"fields[{resource['type']}]"]
        if asked:
            fields = set(asked[-1].split(","))
            known, links = known & fields, links & fields
        shown = set(resource["attributes"])
        if shown != known:
            yield f"attributes that are missing or too many: {sorted(shown ^ known)}"
        if kind is not None and set(resource["relationships"]) != links:
            yield f"relationships that are missing or too many: {sorted(links)}"

    def _list(self, request: Request, parameters: Json, document: Json) -> Iterator[str]:
        if (document["meta"]["count"] is not None) != (parameters.get("count") == "true"):
            yield "meta.count, though it was not asked for, or no count though it was"
        if ("links" in document) == (not document["data"]):
            yield "links of an empty list, or none of one that is not"
        by_offset = parameters.keys() & {"page[limit]", "page[offset]"}
        links = document.get("links", {})
        if links and not links.keys() >= {"first", *(["last"] if by_offset else [])}:
            yield f"links are {sorted(links)}"
        for link in filter(None, links.values()):
            if urlsplit(link).path != request.path.rstrip("/"):
                yield f"the link {link}"


def _as_documented(document: Json, profile: Profile) -> Json:
    """Take from an answer what two switches put into it against the document (2.1, 8.5)."""
    data = document["data"]
    for resource in data if isinstance(data, list) else [data]:
        attributes = resource["attributes"]
        if profile.undocumented_attributes and resource["type"] == "prospect":
            for name in UNDOCUMENTED.keys() & attributes.keys():
                del attributes[name]
        if profile.custom_answers == "typed":
            custom = {name for name in attributes if CUSTOM_NAME.fullmatch(name)}
            attributes |= {name: attributes[name] and str(attributes[name]) for name in custom}
    return document


def tightened_answer(schema: Json, schemas: Mapping[str, Json]) -> Json:
    """Make JSON Schema of an answer's schema, and rules of what the API reference adds to it.

    Args:
        schema: Of the whole body of an answer of success.
        schemas: What its references point to, by name.
    """
    data = schema["properties"]["data"]
    several = "items" in data
    resource = _resource(data["items"] if several else data, schemas)
    whole = {"data": {"type": "array", "items": resource} if several else resource}
    required = ["data"]
    if several:
        link = {"type": ["string", "null"], "format": "uri"}
        named = dict.fromkeys(("first", "prev", "next", "last"), link)
        whole |= {"meta": META, "links": _object(named)}
        required.append("meta")
    return _object(whole, *required)


def _resource(schema: Json, schemas: Mapping[str, Json]) -> Json:
    """Demand a whole resource, of the type that its attributes are of."""
    members = _resolved(schema, schemas)["properties"]
    kind = members["attributes"]["$ref"].rpartition("/")[2]
    attributes = schemas[kind]["properties"]
    links = _resolved(members["relationships"], schemas)["properties"]
    return _object(
        {
            "type": {"enum": [kind]},
            "id": {"type": "integer", "minimum": 1},
            "attributes": _object({name: _attribute(name, a) for name, a in attributes.items()}),
            "relationships": _object({name: _relationship(link) for name, link in links.items()}),
            "links": _object({"self": {"type": "string", "format": "uri"}}, "self"),
        },
        *("type", "id", "attributes", "relationships", "links"),
    )


def _attribute(name: str, schema: Json) -> Json:
    """Let texts, numbers and times be null, which arrays and booleans never are (1)."""
    if name in SILENT:
        return SILENT[name]
    rule = {key: schema[key] for key in ("format", "items", "maxLength", "type") if key in schema}
    if schema["type"] not in {"array", "boolean"}:
        rule["type"] = [schema["type"], "null"]
    return rule


def _relationship(schema: Json) -> Json:
    """Demand what a relationship is linked to: nothing, or a type and an id."""
    data = schema["properties"].get("data")
    if data is None or "items" in data:
        return {"type": "object", "required": ["links"]}
    linkage = _object(dict(data["properties"]), "id", "type") | {"type": ["object", "null"]}
    return _object({"data": linkage, "links": schema["properties"].get("links", {})}, "data")


def _object(properties: Json, *required: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }


def _resolved(schema: Json, schemas: Mapping[str, Json]) -> Json:
    reference = schema.get("$ref")
    return schema if reference is None else schemas[reference.rpartition("/")[2]]


def _compiled(schema: Json) -> Callable[[Any], Any]:
    return _compiled_text(json.dumps(schema))


@cache  # of the many operations of an object, few have schemas of their own
def _compiled_text(schema: str) -> Callable[[Any], Any]:
    formats = {name: f"^{pattern}" for name, pattern in FORMATS.items()}
    return fastjsonschema.compile(json.loads(schema), formats=formats, use_default=False)


def summarised() -> Json:
    """Put what the catalogue knows into a document of the form of Outreach's."""
    schemas: Json = {}
    paths: Json = {}
    for name, kind in load_catalog().items():
        one = {"$ref": f"#/components/schemas/{kind.type}Response"}
        attributes = {a.name: _shape(a) for a in kind.attributes.values()}
        links = {
            link.name: _linkage(load_catalog()[link.object].type)
            for link in kind.relationships.values()
        }
        schemas |= _described(kind.type, attributes, links)
        paths[f"/{name}"] = {
            "get": _responses(200, {"items": one}),
            "post": _responses(201, one),
        }
        paths[f"/{name}/{{id}}"] = {
            "get": _responses(200, one),
            "patch": _responses(200, one),
            "delete": {"responses": {"204": {}}},
        }
    attributes = {
        name: _shape(Attribute(name, cast("Kind", kind), ""))
        for kind, names in IMPORT_ATTRIBUTES.items()
        for name in names.split()
    }
    schemas |= _described("import", attributes, {"creator": _linkage("user")})
    shown = _responses(200, {"$ref": "#/components/schemas/importResponse"})
    paths |= {"/imports/actions/bulkUpsert": {"post": shown}, "/imports/{id}": {"get": shown}}
    server = {"url": "https://api.outreach.io/api/v2"}
    return {"servers": [server], "paths": paths, "components": {"schemas": schemas}}


def _described(kind: str, attributes: Json, links: Json) -> Json:
    schemas = "#/components/schemas"
    parts = {
        "attributes": {"$ref": f"{schemas}/{kind}"},
        "relationships": {"$ref": f"{schemas}/{kind}Relationships"},
    }
    return {
        kind: {"properties": attributes},
        f"{kind}Relationships": {"properties": links},
        f"{kind}Response": {"properties": parts},
    }


def _shape(attribute: Attribute) -> Json:
    if attribute.is_array or attribute.kind == "histogram":
        item = {"type": "string", "format": "email"} if attribute.kind == "emails" else {}
        return {"type": "array", "items": item or {"type": "string"}}
    texts = {"text": {}, "domain": {}, "date": {"format": "date"}}
    texts["date-time"] = {"format": "date-time"}
    if attribute.kind not in texts:
        return {"type": attribute.kind}
    length = {} if attribute.max_length is None else {"maxLength": attribute.max_length}
    return {"type": "string"} | texts[attribute.kind] | length


def _linkage(kind: str) -> Json:
    members = {"id": {"type": "integer"}, "type": {"enum": [kind]}}
    return {"properties": {"data": {"properties": members}}}


def _responses(status: int, data: Json) -> Json:
    schema = {"properties": {"data": data}}
    return {"responses": {str(status): {"content": {MEDIA_TYPE: {"schema": schema}}}}}
