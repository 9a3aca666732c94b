"""Asking Outreach one question after the other, where a refusal is an answer too.

`Client` turns a refusal into an error, and repeats what fails; a probe wants to see what is said.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import requests

from target_outreach.errors import CredentialsError, EndedEarly, Interrupted, Retriable, RunError
from target_outreach.outreach.auth import Authorization, Successor
from target_outreach.outreach.client import MEDIA_TYPE, TOO_MANY, UNAUTHORIZED
from target_outreach.outreach.refusals import SERVER_ERROR, wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.outreach.wire import Wire

T = TypeVar("T")

#: Requests that a probe sends at most.
MOST_REQUESTS = 40

#: Questions in a row without an answer after which no more are asked.
MOST_SILENCE = 3

#: Seconds before a question is repeated that was not answered, or by an error of the server.
SECOND_TRY = 0.5


class Unknown(Exception):  # noqa: N818 - named for what it means
    """A question has no answer; the text says why, without any value."""


class NoAnswer(Unknown):
    """The connection broke, or nothing came in time."""


class Asker:
    """Sends one question after the other, and gives back whatever is answered.

    Args:
        wire: Leads to Outreach.
        api_url: Outreach's base URL.
        credentials: Where the access token comes from.
        pacer: Grants each request.

    Attributes:
        sent: How many requests were sent.
        headers: Those of each answer, with its status.
    """

    def __init__(self, wire: Wire, api_url: str, credentials: Credentials, pacer: Pacer) -> None:
        self.api_url = api_url.rstrip("/")
        self.sent = 0
        self.headers: list[tuple[int, Mapping[str, str]]] = []
        self._wire = wire
        self._credentials = credentials
        self._pacer = pacer
        self._silence = 0
        self._over = ""

    def ask(self, path: str) -> Answer:
        """Read, and once more where the server fails, is silent, or asks to wait.

        Args:
            path: A path below the API's URL with its query.

        Raises:
            NoAnswer: Nothing came.
            Unknown: Nothing more can be asked, now or for the rest of the probe.
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
        if answer.status == UNAUTHORIZED and self._has_newer(token):
            answer = self._send(path, self._credentials.token())
        return answer

    def _has_newer(self, token: str | None) -> bool:
        return self._credentials.refused(token) is not Successor.NONE

    def _guarded(self, action: Callable[[], T]) -> T:
        """Turn what keeps a question from being answered into the reason of a fact."""
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
            answer = self._wire.send(requests.Request("GET", url, headers, auth=authorization))
        finally:
            headers_seen = None if answer is None else answer.headers
            self._pacer.release(headers_seen, None if answer is None else answer.server_time)
        self.headers.append((answer.status, answer.headers))
        return answer

    def _end(self, reason: str) -> Unknown:
        """Ask nothing more."""
        self._over = reason
        return Unknown(reason)
