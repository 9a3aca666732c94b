"""Reading Outreach's answers: resources, errors of every shape, and how long to wait.

An answer can have any form: a body may be no JSON, an error may lack its ``source``,
spell ``detail`` as ``details``, or be a gateway's ``{"error", "description"}`` (API reference 3.2);
``Retry-After`` may be seconds, an epoch or ISO 8601, and any header may hold two values or be
missing (API reference 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from target_outreach.json_reader import read_json
from target_outreach.records.model import Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALLEST_EPOCH = 10**9
SMALLEST_EPOCH_IN_MILLISECONDS = 10**12

NO_CONTENT = 204

#: No id is larger; SQLite, which the memory keeps them in, takes none that are.
MOST_ID = 2**63 - 1

#: The known values of an error's `code` (API reference 3.4).
TAKEN = "taken"
EXCLUDED = "is_using_excluded_email_address"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of Outreach.

    Attributes:
        status: The HTTP status.
        headers: The headers, found in any case.
        document: The JSON body, or None where it is empty or no JSON.
        text: The beginning of a body that is no JSON.
    """

    status: int
    headers: Mapping[str, str]
    document: Any
    text: str = ""

    @property
    def error(self) -> ErrorWords:
        """What the body says went wrong."""
        return ErrorWords.read(self)

    @property
    def said(self) -> str:
        """The status, with the name of the error behind it."""
        return f"{self.status} {self.error.name}".rstrip()

    @property
    def server_time(self) -> datetime | None:
        """The server's own clock, from the ``Date`` header, in whole seconds."""
        return http_date(self.headers.get("Date", ""))


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """One error of an answer, in Outreach's words; they may repeat values of a record.

    Of several it is the first whose `code` is known, or else the first.
    """

    id: str
    code: str
    title: str
    detail: str
    pointer: str

    @property
    def name(self) -> str:
        """The id where it is a word of Outreach or of OAuth, which holds no value of a record."""
        return self.id if re.fullmatch(r"[\w.]{1,80}", self.id) else ""

    @property
    def words(self) -> str:
        """All that Outreach said, in one line."""
        return ": ".join(part for part in (self.title, self.detail) if part)

    @property
    def field(self) -> str | None:
        """The attribute or relationship at fault, if the pointer names one."""
        start, _, name = self.pointer.rpartition("/")
        return name if start in {"/data/attributes", "/data/relationships"} else None

    @property
    def names_no_relation(self) -> bool:
        """Whether the record that a relationship links to does not exist."""
        is_link = self.pointer.startswith("/data/relationships/")
        return is_link and self.id.endswith("resourceNotFound")

    @classmethod
    def read(cls, answer: Answer) -> ErrorWords:
        """Find the error in a body of any shape."""
        document = answer.document if isinstance(answer.document, dict) else {}
        errors = document.get("errors")
        listed = (
            [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
        )
        known = (one for one in listed if one.get("code") in {TAKEN, EXCLUDED})
        error = next(known, listed[0] if listed else document)
        source = error.get("source")
        return cls(
            id=_text(error.get("id")) or _text(error.get("error")),
            code=_text(error.get("code")),
            title=_text(error.get("title")),
            detail=_text(error.get("detail") or error.get("details") or error.get("description"))
            or answer.text,
            pointer=_text(source.get("pointer")) if isinstance(source, dict) else "",
        )


def _text(value: Any) -> str:  # noqa: ANN401 - whatever is in an error body
    return value if isinstance(value, str) else ""


def misfit(answer: Answer, sent: Any) -> str | None:  # noqa: ANN401 - JSON
    """Say why a successful answer does not fit the request.

    Args:
        answer: What Outreach answered to a POST or PATCH; to a GET, a list or a resource.
        sent: The document that was sent, or None where there was none. A resource that had an id
            must be answered as the same resource, and one that had none as a resource.

    Returns:
        What is wrong with the answer, as the end of a sentence, or None if it fits.
    """
    document = answer.document
    if document is None:  # 204 to an update: it was carried out as it was sent (JSON:API)
        is_done = answer.status == NO_CONTENT and sent is not None and "id" in sent["data"]
        return None if is_done else "without JSON"
    if isinstance(document, dict) and document.get("errors"):
        return "with errors"
    if sent is None:
        return None
    try:
        found = read_resource(document["data"]).id
    except (KeyError, TypeError, ValueError):
        return "without a resource"
    asked = sent["data"]
    if "id" not in asked:
        return None
    is_same = found == asked["id"] and document["data"].get("type", asked["type"]) == asked["type"]
    return None if is_same else "with another record"


def read_body(body: bytes) -> tuple[Any, str]:
    """Read a body as JSON, or return the beginning of its text."""
    try:
        return (read_json(body) if body else None), ""
    except (ValueError, RecursionError):
        return None, body[:500].decode("utf-8", "replace").strip()


def read_resource(document: Any) -> Resource:  # noqa: ANN401 - JSON
    """Read one JSON:API resource object.

    Raises:
        ValueError: It is not one; for a write this means that its outcome is unknown.
    """
    try:
        links = document.get("relationships") or {}
        resource = Resource(
            id=int(document["id"]),
            attributes={**(document.get("attributes") or {})},
            links={name: _linked(link) for name, link in links.items()},
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise ValueError("no JSON:API resource") from None
    if not -MOST_ID <= resource.id <= MOST_ID:
        raise ValueError("no JSON:API resource")
    return resource


def _linked(link: Any) -> int | None:  # noqa: ANN401 - JSON
    """Return the id of a to-one link; to-many links are ignored."""
    data = link.get("data") if isinstance(link, dict) else None
    return int(data["id"]) if isinstance(data, dict) and "id" in data else None


def http_date(text: str) -> datetime | None:
    """Read a date as HTTP writes it."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def first_number(header: str | None) -> int | None:
    """Read the first of the numbers that a rate-limit header may hold."""
    text = (header or "").partition(",")[0].strip()
    return int(text) if re.fullmatch(r"\d{1,15}", text, re.ASCII) else None


def seconds_until(header: str | None, now: datetime) -> float | None:
    """Read ``Retry-After`` or ``X-RateLimit-Reset`` in any known form.

    Args:
        header: Seconds, an epoch in seconds or milliseconds, ISO 8601, or an HTTP date.
        now: The server's time, by which an absolute time is read.

    Returns:
        Seconds from now, never negative, or None where there is no such header.
    """
    text = (header or "").partition(",")[0].strip()
    try:
        number = float(text)
    except ValueError:
        moment = _moment(header or "")
        return max(0.0, (moment - now).total_seconds()) if moment else None
    if not 0 <= number < float("inf"):
        return None
    if number > SMALLEST_EPOCH_IN_MILLISECONDS:
        number /= 1000
    return max(0.0, number - now.timestamp()) if number > SMALLEST_EPOCH else number


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return http_date(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
