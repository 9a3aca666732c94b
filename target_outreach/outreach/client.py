"""Requests to Outreach: one session for all threads, paced, repeated where that is safe.

`Client.request` repeats what may be repeated without harm. A create that may have been carried
out is not: it raises `OutcomeUnknown`, and whoever knows the record's key looks it up first.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from target_outreach.bounds import MOST_ISSUED, MOST_TOKENS
from target_outreach.errors import (
    CredentialsError,
    OutcomeUnknown,
    Outdated,
    OutreachError,
    RecordFault,
    Retriable,
)
from target_outreach.outreach.answers import misfit
from target_outreach.outreach.auth import Authorization, Successor
from target_outreach.outreach.outages import wait_before_next
from target_outreach.outreach.refusals import TOO_MANY, refusal, wait_asked_for
from target_outreach.outreach.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.pacing import Pacer

logger = logging.getLogger("target-outreach")

MEDIA_TYPE = "application/vnd.api+json"
HEADERS = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
UNAUTHORIZED = 401


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
        self._transport = Transport(
            api_url, user_agent=user_agent, parallel=parallel, timeout=timeout
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def get(self, path: str) -> Answer:
        """Read.

        Args:
            path: A path below the API's URL with its query, or a whole URL of the same origin.
        """
        return self.request("GET", path)

    def request(
        self,
        method: str,
        path: str,
        document: Any = None,  # noqa: ANN401 - JSON
        *,
        is_current: Callable[[], bool] | None = None,
        is_last: Callable[[Retriable, int, float], bool] | None = None,
    ) -> Answer:
        """Send a request until it is answered for good.

        Args:
            method: The HTTP method.
            path: A path below the API's URL with its query, or a whole URL of the same origin.
            document: The JSON:API document to send.
            is_current: Says after each wait, right before each try, whether what the document rests
                on is new enough; None where that does not matter.
            is_last: As for `Outages.repeat`.

        Returns:
            A successful answer; that to GET, POST and PATCH holds a JSON document without errors,
            that to POST a resource, and that to PATCH the one that was sent.

        Raises:
            RecordFault: Outreach refuses what was sent.
            OutcomeUnknown: A create was sent and may have been carried out.
            Outdated: It is not sent, or not once more, since it is not current.
            RunError: No request can succeed, or none may be sent any more.
        """

        def wait(error: Retriable, tries: int, is_said: bool) -> None:  # noqa: FBT001 - as called
            level = logging.DEBUG if is_said else logging.WARNING
            address = self.address(path).partition("?")[0]
            retrying = self.pacer.outages.retrying(tries)
            logger.log(level, "%s %s (%s %s).", error, retrying, method, address)
            seconds = wait_before_next(error, tries)
            if seconds == error.wait:
                return  # for which the pacer waits already
            if error.status == TOO_MANY:
                self.pacer.pause(seconds)  # it is for all threads
            else:
                with self.pacer.retry_in(seconds):
                    self.pacer.rest(seconds)

        return self.pacer.outages.repeat(
            lambda: self.request_once(method, path, document, is_current=is_current),
            wait,
            final=(OutcomeUnknown,) if method == "POST" else (),
            is_last=is_last,
        )

    def request_once(
        self,
        method: str,
        path: str,
        document: Any = None,  # noqa: ANN401 - JSON
        *,
        is_current: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send a request with the present token, and with newer ones as long as that may help.

        A token that other processes share may be dead by the time it is used: one from the
        credentials file, or even one that was just issued. But what is refused although it was
        issued for this very request is refused for good, unless tokens have served this run before.

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
        url = self.address(path)
        body = None if document is None else json.dumps(document).encode("ascii")
        issued = 0
        for _ in range(MOST_TOKENS):
            answer, token, sent_at = self._sent(method, url, body, is_current)
            if answer.status != UNAUTHORIZED:
                self._was_let_in = True
                return self._accepted(answer, method, document, sent_at)
            if issued >= (MOST_ISSUED if self._was_let_in else 1):
                break
            successor = self._credentials.refused(token)
            if successor is Successor.NONE:
                break
            issued += successor is Successor.ISSUED
        raise CredentialsError(
            f"Outreach refuses the access token (401): {self._credentials.advice}"
        )

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

    def _accepted(
        self,
        answer: Answer,
        method: str,
        sent: Any,  # noqa: ANN401 - JSON
        sent_at: float,
    ) -> Answer:
        """Return a usable answer, or raise what it means that it is none."""
        wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
        error = refusal(answer, method, wait)
        if error is not None:
            if method != "GET" and isinstance(error, RecordFault):
                self.pacer.outages.served(sent_at)
            if isinstance(error, Retriable) and wait is not None:
                self.pacer.pause(wait)
            raise error
        if (why := misfit(answer, sent)) is not None:
            kind = OutcomeUnknown if method == "POST" else Retriable
            raise kind(f"Outreach answered {answer.status} {why}.", status=answer.status)
        if method != "GET":
            self.pacer.outages.served(sent_at)
        return answer

    def _sent(
        self, method: str, url: str, body: bytes | None, is_current: Callable[[], bool] | None
    ) -> tuple[Answer, str | None, float]:
        """Send one request; return the answer, the token used, and when it was sent.

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
        sent_at = self.pacer.outages.now()
        try:
            authorization = Authorization(token)
            answer = self._transport.send(
                requests.Request(method, url, HEADERS, data=body, auth=authorization)
            )
        finally:
            headers = None if answer is None else answer.headers
            server_time = None if answer is None else answer.server_time
            if server_time is not None:
                self.clock_offset = server_time - datetime.now(UTC)
            self.pacer.release(headers, server_time)
        return answer, token, sent_at
