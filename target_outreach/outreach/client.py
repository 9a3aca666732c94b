"""Requests to Outreach: one session for all threads, paced, repeated where that is safe.

`Client.request` repeats what may be repeated without harm. A create that may have been carried
out is not: it raises `OutcomeUnknown`, and whoever knows the record's key looks it up first.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from target_outreach.errors import (
    CredentialsError,
    OutcomeUnknown,
    Outdated,
    OutreachError,
    Retriable,
    Unanswered,
)
from target_outreach.outreach.answers import misfit
from target_outreach.outreach.auth import Authorization, Successor
from target_outreach.outreach.refusals import refusal, wait_asked_for
from target_outreach.outreach.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.pacing import Pacer

logger = logging.getLogger("target-outreach")

MEDIA_TYPE = "application/vnd.api+json"
HEADERS = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
LONGEST_THROTTLE = 60.0

#: How often a server may say how long to wait before its word is taken to be of no use.
TRUSTED_WAITS = 8
UNAUTHORIZED = 401

#: Tokens that one request is sent with at most, and how many of them may be issued for it.
MOST_TOKENS = 50
MOST_ISSUED = 4
TOO_MANY = 429


class Client:
    """Sends requests to one Outreach organisation, from any number of threads."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        api_url: str,
        credentials: Credentials,
        pacer: Pacer,
        *,
        user_agent: str,
        parallel: int = 4,
        timeout: float = 60.0,
    ) -> None:
        """Open no connection yet.

        Args:
            api_url: Outreach's base URL, without a trailing slash.
            credentials: Where the access token comes from.
            pacer: Grants each request.
            user_agent: The ``User-Agent`` header.
            parallel: The most requests in flight, and so connections in the pool.
            timeout: Seconds to wait for an answer.
        """
        self.api_url = api_url.rstrip("/")
        self.pacer = pacer
        #: How far the server's clock is ahead of ours, as its last answer showed it.
        self.clock_offset = timedelta()
        self._credentials = credentials
        self._was_let_in = False
        self._wire = Wire(api_url, user_agent=user_agent, parallel=parallel, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def get(self, path: str) -> Answer:
        """Read.

        Args:
            path: A path below the API's URL with its query, or a whole URL of the same origin.
        """
        return self.request("GET", path)

    def request_once(
        self,
        method: str,
        path: str,
        document: Any = None,  # noqa: ANN401 - JSON
        *,
        is_current: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send one request, which is not repeated.

        Args:
            method: The HTTP method.
            path: As for `request`.
            document: The JSON:API document to send.
            is_current: As for `request`.

        Raises:
            Outdated: As for `request`.
            Retriable: Another try might succeed; `OutcomeUnknown` where it may have been carried
                out.
            RecordFault: Outreach refuses what was sent.
            RunError: No request can succeed, or none may be sent any more.
        """
        return self._authorised(method, self.address(path), document, is_current)

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,  # noqa: ANN401 - JSON
        *,
        is_current: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send a request until it is answered for good.

        Args:
            method: The HTTP method.
            path: A path below the API's URL with its query, or a whole URL of the same origin.
            document: The JSON:API document to send.
            is_current: Says after each wait, right before each try, whether what the document rests
                on is new enough; None where that does not matter.

        Returns:
            A successful answer; that to GET, POST and PATCH holds a JSON document without errors,
            that to POST a resource, and that to PATCH the one that was sent.

        Raises:
            RecordFault: Outreach refuses what was sent.
            OutcomeUnknown: A create was sent and may have been carried out.
            Outdated: It is not sent, or not once more, since it is not current.
            RunError: No request can succeed, or none may be sent any more.
        """
        url, outages = self.address(path), self.pacer.outages
        began = outages.now()
        for tries in itertools.count(1):
            try:
                return self._authorised(method, url, document, is_current)
            except Retriable as error:
                if method == "POST" and isinstance(error, OutcomeUnknown):
                    raise
                if outages.is_over(tries, began):
                    unanswered = Unanswered(f"{error} That was the last of {tries} tries.")
                    unanswered.status = error.status
                    raise unanswered from None
                level = logging.DEBUG if outages.is_said(error, began) else logging.INFO
                logger.log(level, "%s %s: %s Trying again.", method, urlsplit(url).path, error)
                self._wait(error, tries)
        raise AssertionError  # the count has no end

    def _wait(self, error: Retriable, tries: int) -> None:
        """Wait exponentially with jitter where Outreach did not say how long, or said so in vain.

        What it did ask for, the pacer waits. A 429 without any header comes from a layer in front
        of the application (API reference 5); it is for all threads, so they all wait, and longer.

        Raises:
            EndedEarly: The run ends.
        """
        growth = 2.0 ** min(tries - 1, TRUSTED_WAITS)
        if error.wait is not None and tries <= TRUSTED_WAITS:
            return
        if error.status == TOO_MANY:
            wait = min(growth, LONGEST_THROTTLE) * random.uniform(0.5, 1)  # noqa: S311
            self.pacer.pause(wait)
        else:
            self.pacer.rest(min(FIRST_WAIT * growth, LONGEST_WAIT) * random.random())  # noqa: S311

    def address(self, path: str) -> str:
        """Return the whole address of a path, and let no answer lead us to another host.

        Args:
            path: A path below the API's URL with its query, or a whole URL of the same origin.

        Raises:
            OutreachError: It is the address of another host.
        """
        if path.startswith("/"):
            return self.api_url + path
        if urlsplit(path)[:2] != urlsplit(self.api_url)[:2]:
            raise OutreachError("Outreach's next page is on another host, which is not followed.")
        return path

    def _authorised(
        self,
        method: str,
        url: str,
        document: Any,  # noqa: ANN401 - JSON
        is_current: Callable[[], bool] | None,
    ) -> Answer:
        """Send with the present token, and with newer ones as long as that may help.

        A token that other processes share may be dead by the time it is used: one from the
        credentials file, or even one that was just issued. But what is refused although it was
        issued for this very request is refused for good, unless tokens have served this run before.
        """
        body = None if document is None else json.dumps(document).encode("ascii")
        issued = 0
        for _ in range(MOST_TOKENS):
            answer, token = self._sent(method, url, body, is_current)
            if answer.status != UNAUTHORIZED:
                self._was_let_in = True
                return self._accepted(answer, method, document)
            if issued >= (MOST_ISSUED if self._was_let_in else 1):
                break
            successor = self._credentials.refused(token)
            if successor is Successor.NONE:
                break
            issued += successor is Successor.ISSUED
        raise CredentialsError(
            f"Outreach refuses the access token (401): {self._credentials.advice}"
        )

    def _accepted(self, answer: Answer, method: str, sent: Any) -> Answer:  # noqa: ANN401 - JSON
        """Return a usable answer, or raise what it means that it is none."""
        wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
        error = refusal(answer, method, wait)
        if error is not None:
            if isinstance(error, Retriable) and wait is not None:
                self.pacer.pause(wait)
            raise error
        if method != "DELETE" and (why := misfit(answer, sent)) is not None:
            kind = OutcomeUnknown if method == "POST" else Retriable
            raise kind(f"Outreach answered {answer.status} {why}.", status=answer.status)
        return answer

    def _sent(
        self, method: str, url: str, body: bytes | None, is_current: Callable[[], bool] | None
    ) -> tuple[Answer, str | None]:
        """Send one request over the wire; return the answer, and the token that was used.

        The token is taken last: the wait for a permission may be longer than a token lives.

        Raises:
            Outdated: It is not current, now that nothing is to be waited for any more.
        """
        self.pacer.acquire()
        try:
            token = self._credentials.token()
        except BaseException:
            self.pacer.give_back()
            raise
        if is_current is not None and not is_current():
            self.pacer.give_back()
            raise Outdated
        answer: Answer | None = None
        try:
            authorization = Authorization(token)
            answer = self._wire.send(
                requests.Request(method, url, HEADERS, data=body, auth=authorization)
            )
        finally:
            headers = None if answer is None else answer.headers
            server_time = None if answer is None else answer.server_time
            if server_time is not None:
                self.clock_offset = server_time - datetime.now(UTC)
            self.pacer.release(headers, server_time)
        return answer, token
