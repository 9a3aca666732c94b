"""The values that pass through the sandbox: requests, answers and the record of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_API = "application/vnd.api+json"
PLAIN_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: `path` without the query, `query` as sent, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """Path and query, as in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, without the headers that the server adds to all of them."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = JSON_API


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One finished exchange in the log of the sandbox.

    `status` is None where the connection was dropped without an answer; `started` and `ended` are
    seconds of the monotonic clock, `ended` just before the answer went out. Requests of one `run`
    came while a connection of it was open.
    """

    method: str
    path: str
    query: str
    status: int | None
    started: float
    ended: float
    raw_body: bytes
    run: int = 0

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The decoded parameters of the query."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def body(self) -> Any:  # noqa: ANN401 - whatever JSON the client sent
        """The JSON that was sent, or None where there was none or it was no JSON."""
        try:
            return json.loads(self.raw_body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request for an access token, without its secrets.

    Attributes:
        at: When it was answered, in epoch seconds of the sandbox's clock.
        grant_type: As sent (``refresh_token``, ``authorization_code``, …), or ``s2s``.
        client_id: As sent, or the id of the installation; empty where there was none.
        outcome: ``issued``, ``throttled``, or the error: ``invalid_client``, ``invalid_grant``,
            ``invalid_request``, ``unsupported_grant_type``, ``unauthorized`` (of ``s2s``).
    """

    at: float
    grant_type: str
    client_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with what was answered, for an observer.

    `status` is None, and `headers` and `body` are empty, where the connection was dropped.
    """

    method: str
    url: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: bytes
    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: bytes


def json_answer(status: int, content: object, media_type: str = JSON_API, **headers: str) -> Answer:
    """Answer with a JSON document.

    Args:
        status: HTTP status.
        content: Anything that can be written as JSON.
        media_type: Kind of JSON.
        **headers: Further headers; ``_`` in a name stands for ``-``.
    """
    extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = json.dumps(content, separators=(",", ":")).encode()
    return Answer(status, body, extra, media_type)


def page_answer(status: int, reason: str) -> Answer:
    """Answer with the small HTML page of a gateway in front of the application."""
    page = f"<html><head><title>{status} {reason}</title></head><body>{reason}</body></html>\r\n"
    return Answer(status, page.encode(), media_type="text/html")
