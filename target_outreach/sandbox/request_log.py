"""What the sandbox's page shows of requests: lists without any value, and one as a whole."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from target_outreach.records.catalog import load_catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from target_outreach.sandbox.messages import LoggedRequest

#: Bytes of a body or an answer that are shown.
LONGEST_SHOWN = 32_768

#: Records that a request links to.
MOST_LINKS = 20

_METHODS = {"POST": "create", "PATCH": "update", "DELETE": "delete"}
_INSTALLATION = re.compile(r"(?<=/app/installs/)[^/]+")
_PARAMETER = re.compile(r"\w{1,40}(\[\w{0,40}\]){0,3}", re.ASCII)
_RECORD = re.compile(r"/api/v2/(\w{1,40})/(\d{1,15})", re.ASCII)
_LONGEST_PATH = 200
_MOST_PARAMETERS = 10
_TYPES = {one.type: name for name, one in load_catalog().items()}

Numbered = tuple[int, "LoggedRequest"]


def kind_of(entry: LoggedRequest) -> str:
    """Tell what a request was for, in one word: ``lookup``, ``create``, ``token``."""
    if entry.path.startswith("/oauth/") or _INSTALLATION.search(entry.path):
        return "token"
    if entry.path.startswith("/api/v2/imports"):
        return "import"
    if entry.method == "GET":
        return "lookup" if "filter" in entry.query else "read"
    return _METHODS.get(entry.method, "other")


def of_kind(requests: Iterable[Numbered], kind: str) -> Iterator[Numbered]:
    """Yield the requests of a kind; all for ``all``, and for ``refused`` those that failed."""
    for number, one in requests:
        is_refused = one.status is None or one.status >= 400  # noqa: PLR2004 - HTTP's own
        if is_refused if kind == "refused" else kind in {"all", kind_of(one)}:
            yield number, one


def as_row(number: int, entry: LoggedRequest, now: float) -> dict[str, Any]:
    """Say of a request what a list shows: no value of its query, no body and no answer.

    Args:
        number: Its number, counted from 1.
        entry: The request.
        now: Seconds of the monotonic clock.
    """
    return {
        "number": number,
        "run": entry.run,
        "kind": kind_of(entry),
        "method": entry.method,
        "path": _INSTALLATION.sub("…", entry.path)[:_LONGEST_PATH],
        "parameters": _parameters(entry),
        "status": entry.status,
        "milliseconds": round((entry.ended - entry.started) * 1000, 1),
        "age": max(0.0, now - entry.ended),
    }


def as_page(number: int, entry: LoggedRequest, now: float, answer: bytes | None) -> dict[str, Any]:
    """Say all of a request; of one for tokens nothing that can be secret.

    Args:
        number: Its number, counted from 1.
        entry: The request.
        now: Seconds of the monotonic clock.
        answer: The body of its answer, or None where it is not kept any longer.
    """
    row = as_row(number, entry, now)
    if row["kind"] == "token":
        return row | {"is_secret": True, "query": [], "body": "", "answer": "", "records": []}
    return row | {
        "is_secret": False,
        "query": entry.parameters,
        "body": _pretty(entry.raw_body[:LONGEST_SHOWN]),
        "answer": None if answer is None else _pretty(answer),
        "records": [*islice(_records(entry, answer or b""), MOST_LINKS)],
    }


def _records(entry: LoggedRequest, answer: bytes) -> Iterator[list[Any]]:
    """Name the records that a request is about, as object and id."""
    named = _RECORD.match(entry.path)
    known = [named[1], int(named[2])] if named is not None and named[1] in load_catalog() else None
    if known is not None:
        yield known
    try:
        data = json.loads(answer)["data"]
    except (ValueError, TypeError, KeyError):
        return
    for one in data if isinstance(data, list) else [data]:
        kind, number = (one.get("type"), str(one.get("id"))) if isinstance(one, dict) else ("", "")
        if (
            kind in _TYPES
            and number.isdecimal()
            and (found := [_TYPES[kind], int(number)]) != known
        ):
            yield found


def _pretty(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:  # it is no JSON, or not all of it
        return f"{text}…" if len(body) == LONGEST_SHOWN else text


def _parameters(entry: LoggedRequest) -> list[str]:
    """Name the parameters of a query, and count the values of filters: they are not shown."""
    shown = {}
    for name, text in entry.parameters:
        if _PARAMETER.fullmatch(name):
            values = text.count(",") + 1
            many = name.startswith("filter") and values > 1
            shown[name] = f"{name} ({values} values)" if many else name
    return list(shown.values())[:_MOST_PARAMETERS]
