"""Requests of a probe, one after the other, and what the headers of their answers show.

`Client` turns a refusal into an error, and repeats what fails; to a probe a refusal is an answer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from target_outreach.errors import CredentialsError, EndedEarly, Interrupted, Retriable, RunError
from target_outreach.outreach.answers import SMALLEST_EPOCH, first_number, http_date
from target_outreach.outreach.auth import Authorization, Successor
from target_outreach.outreach.client import MEDIA_TYPE, UNAUTHORIZED
from target_outreach.outreach.refusals import SERVER_ERROR, TOO_MANY, wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.outreach.transport import Transport

#: Headers that are named; those of a proxy could reveal its owner.
HEADERS = re.compile(
    r"x-rate-?limit-(limit|remaining|reset|used)(-(second|minute|hour|day))?|"
    r"ratelimit(-(policy|limit|remaining|reset))?|retry[-_]after|date|content-type|etag|"
    r"x-request-id|x-runtime"
)

T = TypeVar("T")

#: Requests that a probe sends at most.
MOST_REQUESTS = 40

#: Requests in a row without an answer, after which no more are sent.
MOST_SILENCE = 3

#: Seconds before a request is repeated that got no answer, or a server error.
SECOND_TRY = 0.5


class Unknown(Exception):  # noqa: N818 - named for what it means
    """A question has no answer; the text says why, without any value."""


class NoAnswer(Unknown):
    """The connection broke, or nothing came in time."""


class ProbeClient:
    """Sends one request after the other, and returns any answer.

    Args:
        transport: The connection to Outreach.
        api_url: Outreach's base URL.
        credentials: Where the access token comes from.
        pacer: Grants each request.

    Attributes:
        sent: How many requests were sent.
        headers: The headers of each answer, with its status.
    """

    def __init__(
        self, transport: Transport, api_url: str, credentials: Credentials, pacer: Pacer
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self.sent = 0
        self.headers: list[tuple[int, Mapping[str, str]]] = []
        self._transport = transport
        self._credentials = credentials
        self._pacer = pacer
        self._silence = 0
        self._over = ""

    def ask(self, path: str) -> Answer:
        """Read, and repeat once if the server fails, does not answer, or asks to wait.

        Args:
            path: A path below the API's URL with its query.

        Raises:
            NoAnswer: No answer came.
            Unknown: No more requests can be sent, now or for the rest of the probe.
            Interrupted: A signal asks to end.
        """
        try:
            answer = self._asked(path)
        except NoAnswer:
            self._silence += 1
            if self._silence >= MOST_SILENCE:
                self._end("Outreach does not answer")
            raise
        self._silence = 0
        if answer.status == UNAUTHORIZED:
            raise self._end("Outreach refuses the access token")
        if answer.status == TOO_MANY:
            raise self._end("Outreach asks to wait")
        return answer

    def ask_as_nobody(self, path: str) -> Answer:
        """Read with a token that was never issued.

        Raises:
            Unknown: As for `ask`.
        """
        return self._guarded(lambda: self._send(path, "invented"))

    def _asked(self, path: str) -> Answer:
        try:
            answer = self._guarded(lambda: self._authorised(path))
        except NoAnswer:
            self._guarded(lambda: self._pacer.rest(SECOND_TRY))
            return self._guarded(lambda: self._authorised(path))
        if answer.status == TOO_MANY:
            wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
            self._pacer.pause(SECOND_TRY if wait is None else wait)
        elif answer.status >= SERVER_ERROR:
            self._guarded(lambda: self._pacer.rest(SECOND_TRY))
        else:
            return answer
        return self._guarded(lambda: self._authorised(path))

    def _authorised(self, path: str) -> Answer:
        token = self._credentials.token()
        answer = self._send(path, token)
        if answer.status == UNAUTHORIZED:
            if self._credentials.refused(token) is Successor.NONE:
                return answer
            answer = self._send(path, self._credentials.token())
        return answer

    def _guarded(self, action: Callable[[], T]) -> T:
        """Turn an error into the reason of an unknown fact."""
        if self._over:
            raise Unknown(self._over)
        try:
            return action()
        except Interrupted:
            raise
        except Retriable:
            raise NoAnswer("no answer") from None
        except EndedEarly:
            raise self._end("Outreach's limit is reached") from None
        except CredentialsError:
            raise self._end("there is no valid access token") from None
        except RunError:
            raise self._end("Outreach cannot be reached") from None

    def _send(self, path: str, token: str | None) -> Answer:
        if self.sent >= MOST_REQUESTS:
            raise self._end(f"the {MOST_REQUESTS} requests of a probe are sent")
        self._pacer.acquire()
        answer: Answer | None = None
        try:
            self.sent += 1
            url = self.api_url + path
            headers = {"Accept": MEDIA_TYPE}
            authorization = Authorization(token)
            answer = self._transport.send(requests.Request("GET", url, headers, auth=authorization))
        finally:
            headers_seen = None if answer is None else answer.headers
            self._pacer.release(headers_seen, None if answer is None else answer.server_time)
        self.headers.append((answer.status, answer.headers))
        return answer

    def _end(self, reason: str) -> Unknown:
        """Send no more requests."""
        self._over = reason
        return Unknown(reason)


def headers_seen(answers: Sequence[tuple[int, Mapping[str, str]]]) -> dict[str, Any]:
    """List the known headers, their forms, and the statuses of answers without them."""
    forms: dict[str, set[str]] = {}
    others: set[str] = set()
    for _, headers in answers:
        for name, text in headers.items():
            if HEADERS.fullmatch(name.lower()):
                forms.setdefault(name.lower(), set()).add(_form(text))
            else:
                others.add(name.lower())
    known = {
        name: {
            "forms": sorted(seen),
            "absent_from": sorted({status for status, had in answers if name not in had}),
        }
        for name, seen in sorted(forms.items())
    }
    return {"known": known, "others": len(others)}


def _form(text: str) -> str:
    numbers = [part.strip() for part in text.split(",")]
    if all(re.fullmatch(r"\d{1,15}", part, re.ASCII) for part in numbers):
        if len(numbers) > 1:
            return "two numbers" if len(numbers) == 2 else "more numbers"  # noqa: PLR2004
        return "epoch" if int(numbers[0]) > SMALLEST_EPOCH else "one number"
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return "text" if http_date(text) is None else "http date"
    return "iso 8601"


def rate_limit(answers: Iterable[tuple[int, Mapping[str, str]]]) -> dict[str, Any]:
    """Return Outreach's limit, and whether it resets on the hour, by the first answer with one."""
    for _, answer in answers:
        limit = first_number(answer.get("X-RateLimit-Limit"))
        reset = first_number(answer.get("X-RateLimit-Reset"))
        if limit is not None:
            hourly = None if reset is None or reset < SMALLEST_EPOCH else reset % 3600 == 0
            return {"limit": limit, "resets_on_the_hour": hourly}
    return {"unknown": "no answer says it"}
