"""The sandbox's page at ``/``, for people: it looks at everything and changes nothing.

It answers under ``/`` and ``/_sandbox/``, where Outreach has nothing. It asks for no token, so it
answers only this machine, and only browsers that were sent to this machine by its own name: a page
elsewhere whose host was made to point here is refused.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import suppress
from functools import cache
from importlib import resources
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.sandbox.looking import FILTERS, Look, Wanted
from target_outreach.sandbox.messages import PLAIN_JSON, Answer, json_answer, page_answer
from target_outreach.sandbox.request_log import as_page, as_row, of_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from target_outreach.sandbox.limits import Allowance
    from target_outreach.sandbox.messages import LoggedRequest, Request
    from target_outreach.sandbox.store import Store

FOLDER = "/_sandbox/"
MAX_ENTRIES = 200
ENTRIES_A_PAGE = 100
# So many of the last requests are searched for those of one kind.
SEARCHED = 20_000

_FILES = {
    "page.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "parts.js": "text/javascript; charset=utf-8",
    "records.js": "text/javascript; charset=utf-8",
    "requests.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
)
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "; ".join(_POLICY)),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
_LAST_PAGE = 10**9
# Counting takes at most this share of the time: a million records take long to count.
_COUNTING_SHARE = 0.05


class Subject(Protocol):
    """What the page is about."""

    clock: Callable[[], float]

    def look(self) -> AbstractContextManager[Store]:
        """Open the records for reading only."""

    def newest(self, limit: int) -> tuple[int, list[LoggedRequest]]:
        """Return how many requests have finished, and the last of them, the newest first."""

    def answer_of(self, number: int) -> bytes | None:
        """Return the start of the answer to a request, by its number; None if it is not kept."""

    def allowance(self) -> Allowance:
        """Return what the user may still send."""


def is_page(target: str) -> bool:
    """Tell whether the page answers this path, which may have a query behind it."""
    path = target.partition("?")[0]
    return path == "/" or path.startswith(FOLDER)


class Pages:
    """The page, and the JSON that it reads.

    Args:
        subject: The sandbox.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        # A browser that was open all the time shall notice that the sandbox is another one.
        self._instance = secrets.token_hex(8)
        self._counts: tuple[int, dict[str, int]] = (-1, {})
        self._count_after = 0.0

    def answer(self, request: Request, peer: str) -> Answer:
        """Answer a request that `is_page`.

        Args:
            request: The request.
            peer: Address that it came from.
        """
        if not is_loopback(peer):
            answer = page_answer(403, "Open this page on the machine that serves it")
        elif request.method not in {"GET", "HEAD"}:
            refused = page_answer(405, "Method Not Allowed")
            answer = Answer(405, refused.body, (("Allow", "GET, HEAD"),), refused.media_type)
        else:
            answer = self._found(request) or page_answer(404, "Not Found")
        return Answer(answer.status, answer.body, _HEADERS + answer.headers, answer.media_type)

    def _found(self, request: Request) -> Answer | None:
        if request.path == "/":
            return Answer(200, _front(), media_type=_FILES["page.html"])
        name = request.path.removeprefix(FOLDER)
        if name in _FILES:
            return Answer(200, _file(name), media_type=_FILES[name])
        try:
            content = self._content(name.split("/"), parse_qs(request.query))
        except (KeyError, ValueError):
            return None
        except sqlite3.OperationalError:
            return json_answer(503, {"error": "That took too long."}, PLAIN_JSON)
        return None if content is None else json_answer(200, content, PLAIN_JSON)

    def _content(self, path: list[str], query: dict[str, list[str]]) -> dict[str, Any] | None:
        given = {name: values[-1] for name, values in query.items()}
        match path:
            case ["live"]:
                return self._live(given)
            case ["requests", *numbers] if len(numbers) <= 1:
                return self._request(_whole(*numbers)) if numbers else self._requests(given)
            case ["rest"]:
                with self._subject.look() as store:
                    return Look(store).rest()
            case ["records", name] if name in load_catalog():
                linked = (given["link"], _whole(given["id"])) if "link" in given else None
                wanted = Wanted(
                    search=given.get("search", ""),
                    page=_page(given),
                    sort=given.get("sort", ""),
                    linked=linked,
                    filters={one: text for one, text in given.items() if one in FILTERS},
                )
                with self._subject.look() as store:
                    return Look(store).records(name, wanted)
            case ["records", name, text] if name in load_catalog():
                with self._subject.look() as store:
                    return Look(store).record(name, _whole(text))
        return None

    def _live(self, given: dict[str, str]) -> dict[str, Any]:
        """Return what changes from second to second; requests only those after number `after`."""
        finished, newest = self._subject.newest(SEARCHED)
        limit = min(MAX_ENTRIES, _whole(given.get("limit", "0")))
        kind, after = given.get("kind", "all"), _whole(given.get("after", "0"))
        now = time.monotonic()
        numbered = zip(range(finished, after, -1), newest, strict=False)
        entries = [as_row(*one, now) for one in islice(of_kind(numbered, kind), limit)]
        with self._subject.look() as store:
            writes, counts = self._counted(store)
        return {
            "instance": self._instance,
            "now": self._subject.clock(),
            "budget": _budget(self._subject.allowance()),
            "counts": counts,
            "writes": writes,
            "finished": finished,
            "requests": entries,
        }

    def _requests(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the requests of a kind, the newest first, and how many there are."""
        kind, page = given.get("kind", "all"), _page(given)
        finished, newest = self._subject.newest(SEARCHED)
        now = time.monotonic()
        chosen = [*of_kind(zip(range(finished, 0, -1), newest, strict=False), kind)]
        first = (page - 1) * ENTRIES_A_PAGE
        rows = [as_row(*one, now) for one in chosen[first : first + ENTRIES_A_PAGE]]
        return {"requests": rows, "first": first + 1, "count": len(chosen), "finished": finished}

    def _request(self, number: int) -> dict[str, Any] | None:
        finished, newest = self._subject.newest(SEARCHED)
        place = finished - number
        if not 0 <= place < len(newest):
            return None
        return as_page(number, newest[place], time.monotonic(), self._subject.answer_of(number))

    def _counted(self, store: Store) -> tuple[int, dict[str, int]]:
        """Return how many writes there were, and how many records there are or just were."""
        writes = store.last_write()
        started = time.monotonic()
        if writes != self._counts[0] and started >= self._count_after:
            self._counts = (writes, Look(store).counts())
            ended = time.monotonic()
            self._count_after = ended + (ended - started) / _COUNTING_SHARE
        return writes, self._counts[1]


def _budget(allowance: Allowance) -> dict[str, int]:
    return {
        "limit": allowance.limit,
        "used": allowance.limit - allowance.remaining,
        "remaining": allowance.remaining,
        "reset": allowance.reset,
    }


def host_name(header: str) -> str:
    """Return the name by which a client knows this server, without the port.

    Args:
        header: The header ``Host``.
    """
    with suppress(ValueError):
        return urlsplit(f"//{header}").hostname or ""
    return ""


def is_loopback(host: str) -> bool:
    """Tell whether a name or address of a host is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _page(given: Mapping[str, str]) -> int:
    """Read which page is requested, counted from 1."""
    return min(max(1, _whole(given.get("page", "1"))), _LAST_PAGE)


def _whole(text: str) -> int:
    """Read a number that may be an id or a count.

    Raises:
        ValueError: It is none.
    """
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= number < 2**53:
        raise ValueError("a number out of range")
    return number


@cache
def _front() -> bytes:
    """Return the page with the objects of the catalogue, those that streams are for in its menu."""
    links = "\n".join(
        f'<li><a href="#/{name}">{name.capitalize()} '
        f'<span class="count" data-count="{name}"></span></a></li>'
        for name in stream_objects()
    )
    page = _file("page.html").decode()
    page = page.replace("<!-- a link for each object that streams are for -->", links)
    types = " ".join(f"{name}:{one.type}" for name, one in load_catalog().items())
    return page.replace('data-objects=""', f'data-objects="{types}"').encode()


@cache
def _file(name: str) -> bytes:
    folder = resources.files("target_outreach.sandbox")
    return folder.joinpath("page", name).read_bytes()
