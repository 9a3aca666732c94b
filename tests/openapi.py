"""Checks requests against the OpenAPI document that Outreach publishes.

`openapi-core` does the checking, except of requests that `openapi_shortcut` recognises as right.
Before it does, the document is tightened: what Outreach says only in prose, such as the badges of
read-only attributes, and what JSON:API says for it, such as the members of a body, become rules.
Queries, of which the document says nothing to machines, are read in `openapi_queries`.

The document is not part of this repository. It is looked for beside the checkout and where the
environment variable ``OUTREACH_OPENAPI`` says; Outreach offers it to everybody at
https://api.outreach.io/api/v2/schema/openapi.json.
"""

from __future__ import annotations

import copy
import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from openapi_queries import QueryChecker, badges, find_resources
from openapi_shortcut import Shortcut, read_json
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from target_outreach.sandbox import Exchange

Json = dict[str, Any]

BESIDE = Path(__file__).parents[2] / "shared" / "reference" / "outreach-openapi.json"
ABSENT = (
    "no OpenAPI document of Outreach: set OUTREACH_OPENAPI to a copy of "
    "https://api.outreach.io/api/v2/schema/openapi.json"
)
MEDIA_TYPE = "application/vnd.api+json"

#: What Outreach offers without a word in the paths of its document: whose token it is, and the
#: custom fields (told of in the document's introduction).
UNDOCUMENTED = {("GET", "/api/v2"), ("GET", "/api/v2/"), ("GET", "/api/v2/types")}

#: Where its tokens come from, of which the document does not treat either.
BESIDE_THE_API = ("/oauth/", "/api/app/installs/")

_LONGEST_MESSAGE = 200


def load_document() -> Json | None:
    """Read Outreach's document; None where it is not to be found."""
    path = Path(os.environ.get("OUTREACH_OPENAPI") or BESIDE)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


@cache
def load_checker() -> RequestChecker | None:
    """Make the checker of Outreach's own document; None where there is no document."""
    document = load_document()
    return None if document is None else RequestChecker(document)


class Watcher:
    """Keeps the requests that a sandbox got, to check them when there is time.

    Args:
        checker: None where requests cannot be checked; then nothing is kept.

    Attributes:
        requests: The requests so far, without what was answered.
    """

    def __init__(self, checker: RequestChecker | None) -> None:
        self.requests: list[Exchange] = []
        self._checker = checker

    def __call__(self, exchange: Exchange) -> None:
        """Take note of a request, unless its sender was killed halfway through."""
        length = Headers(list(exchange.request_headers)).get("Content-Length", 0, type=int)
        if self._checker is not None and length == len(exchange.request_body):
            self.requests.append(replace(exchange, headers=(), body=b""))

    def violations(self) -> list[str]:
        """Say what is wrong with the requests so far, each sentence once."""
        if self._checker is None:
            return []
        found = (
            f"{request.method} {urlsplit(request.url).path}: {violation}"
            for request in self.requests
            for violation in self._checker.violations(request)
        )
        return list(dict.fromkeys(found))


class RequestChecker:
    """Compares requests with an OpenAPI document in the form of Outreach's.

    Args:
        document: The document; it is not changed.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        strict = tightened(document)
        server = urlsplit(strict["servers"][0]["url"])
        self._host = f"{server.scheme}://{server.netloc}"
        self._prefix = server.path
        self._resources = find_resources(strict)
        self._shortcut = Shortcut(strict, server.path)
        self._api = OpenAPI.from_dict(
            strict,
            config=Config(
                # Whether Outreach's document is a good one is not the question here.
                spec_validator_cls=None,
                extra_media_type_deserializers={MEDIA_TYPE: read_json},
            ),
        )

    def violations(self, exchange: Exchange) -> list[str]:
        """Say what Outreach's document has against a request, to whatever host it was sent.

        Returns:
            One sentence for each violation.
        """
        parts = urlsplit(exchange.url)
        if (exchange.method, parts.path) in UNDOCUMENTED or parts.path.startswith(BESIDE_THE_API):
            return []
        request = _Request(exchange, self._host)
        found = self._against_the_document(exchange, request)
        if request.content_type != MEDIA_TYPE:
            found.append(f"the Content-Type is {request.content_type!r}, not {MEDIA_TYPE}")
        name, _, number = parts.path.removeprefix(f"{self._prefix}/").partition("/")
        if exchange.method == "PATCH" and _id_in(exchange.request_body) != number:
            found.append("/data/id is not that of the path")
        if name in self._resources:
            checker = QueryChecker(self._resources, name, exchange.method, whole=not number)
            found += checker.violations(parse_qsl(parts.query, keep_blank_values=True))
        return found

    def _against_the_document(self, exchange: Exchange, request: _Request) -> list[str]:
        headers = request.parameters.header
        if request.content_type == MEDIA_TYPE and self._shortcut.accepts(
            exchange.method, request.path, headers, exchange.request_body
        ):
            return []
        return self.violations_by_core(exchange)

    def violations_by_core(self, exchange: Exchange) -> list[str]:
        """Let `openapi-core` compare a request with the document, except for its query."""
        errors = self._api.iter_request_errors(_Request(exchange, self._host))
        return [message for error in errors for message in _messages(error)]


class _Request:
    """One request as `openapi-core` needs it."""

    def __init__(self, exchange: Exchange, host_url: str) -> None:
        headers = Headers(list(exchange.request_headers))
        self.host_url = host_url
        self.path = urlsplit(exchange.url).path
        self.method = exchange.method.lower()
        self.body = exchange.request_body or None
        self.content_type = headers.get("Content-Type", "")
        self.parameters = RequestParameters(header=headers)


def _messages(error: Exception) -> Iterator[str]:
    cause = error.__cause__ or error
    if not isinstance(cause, InvalidSchemaValue):
        yield str(cause)
        return
    for problem in cause.schema_errors:
        pointer = "".join(f"/{step}" for step in problem.absolute_path)
        yield f"{pointer} {problem.message[-_LONGEST_MESSAGE:]}".strip()


def _id_in(body: bytes) -> str | None:
    with suppress(KeyError, TypeError, ValueError):
        return str(json.loads(body)["data"]["id"])
    return None


def tightened(document: Mapping[str, Any]) -> Json:
    """Copy a document, and make rules of what it says in prose and of what JSON:API demands."""
    strict = copy.deepcopy(dict(document))
    for name, schema in strict["components"]["schemas"].items():
        for part in schema.get("properties", {}).values():
            if "readonly" in badges(part):
                part["readOnly"] = True
            if name.endswith("Relationships"):
                _demand_linkage(part)
        schema["additionalProperties"] = False
    for operations in strict["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _demand_envelope(content["schema"])
    return strict


def _demand_linkage(relationship: Json) -> None:
    linkage = relationship.get("properties", {}).get("data")
    if linkage is not None:
        relationship |= _exactly("data")
        linkage.get("items", linkage).update(_exactly("id", "type"))


def _demand_envelope(schema: Json) -> None:
    """Demand that a body has data, and of the type that its attributes are of."""
    data = schema.get("properties", {}).get("data", {})
    reference = data.get("properties", {}).get("attributes", {}).get("$ref")
    if reference is not None:
        schema |= _exactly("data")
        data |= _exactly("type", *(name for name in data["properties"] if name == "id"))
        data["properties"]["type"]["enum"] = [reference.rpartition("/")[2]]


def _exactly(*required: str) -> Json:
    """Demand an object with these members, and with none that the schema does not name."""
    return {"type": "object", "required": [*required], "additionalProperties": False}
