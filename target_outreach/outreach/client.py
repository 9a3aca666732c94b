"""Requests to Outreach: one session for all threads, paced, repeated where that is safe.

`Client.request` repeats what may be repeated without harm. A create that may have been carried
out is not: it raises `OutcomeUnknown`, and whoever knows the record's key looks it up first.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import backoff
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout, RequestException
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

from target_outreach.errors import CredentialsError, OutcomeUnknown, OutreachError, Retriable
from target_outreach.outreach.answers import Answer, read_body
from target_outreach.outreach.auth import Authorization
from target_outreach.outreach.refusals import refusal, wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Generator

    from requests import PreparedRequest, Response

    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.pacing import Pacer

logger = logging.getLogger("target-outreach")

MEDIA_TYPE = "application/vnd.api+json"
CONNECT_TIMEOUT = 10.0
READ_BYTES = 1 << 16
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
TRIES = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
LONGEST_THROTTLE = 60.0
UNAUTHORIZED = 401
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
        mute_urllib3()
        self.api_url = api_url.rstrip("/")
        self.pacer = pacer
        #: How far the server's clock is ahead of ours, as its last answer showed it.
        self.clock_offset = timedelta()
        self._credentials = credentials
        self._timeout = (CONNECT_TIMEOUT, timeout)
        self._session = requests.Session()
        self._session.headers.update(
            {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, "User-Agent": user_agent}
        )
        adapter = HTTPAdapter(pool_maxsize=parallel, pool_block=True, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # Proxies and certificates of the environment, read once and not for every request.
        self._environment: Any = self._session.merge_environment_settings(
            self.api_url, {}, stream=True, verify=None, cert=None
        )
        if urlsplit(self.api_url).hostname in LOOPBACK:
            self._environment["proxies"] = {}

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str) -> Answer:
        """Read.

        Args:
            path: A path below the API's URL with its query, or a whole URL of the same origin.
        """
        return self.request("GET", path)

    def request(self, method: str, path: str, document: Any = None) -> Answer:  # noqa: ANN401
        """Send a request until it is answered for good.

        Args:
            method: The HTTP method.
            path: A path below the API's URL with its query, or a whole URL of the same origin.
            document: The JSON:API document to send.

        Returns:
            A successful answer; that to GET, POST and PATCH holds a JSON document.

        Raises:
            RecordFault: Outreach refuses what was sent.
            OutcomeUnknown: A create was sent and may have been carried out.
            RunError: No request can succeed, or none may be sent any more.
        """
        url = self._url(path)
        body = None if document is None else json.dumps(document).encode("ascii")
        try:
            return self._repeated(method, url, body)
        except Retriable as error:
            if method == "POST" and isinstance(error, OutcomeUnknown):
                raise
            raise OutreachError(
                f"{error} That was the last of {TRIES} tries; the next run goes on from STATE."
            ) from None

    def _url(self, path: str) -> str:
        """Complete a path, and let no answer lead us to another host."""
        if path.startswith("/"):
            return self.api_url + path
        if urlsplit(path)[:2] != urlsplit(self.api_url)[:2]:
            raise OutreachError("Outreach's next page is on another host, which is not followed.")
        return path

    def _repeated(self, method: str, url: str, body: bytes | None) -> Answer:
        """Send until an answer comes that counts; a create is repeated only if it never arrived."""

        def is_final(error: Exception) -> bool:
            return method == "POST" and isinstance(error, OutcomeUnknown)

        retrying = backoff.on_exception(
            lambda: _waits(self.pacer),
            Retriable,
            max_tries=TRIES,
            jitter=None,
            giveup=is_final,
            on_backoff=lambda details: self._log_retry(method, url, details),
            logger=None,
        )
        return retrying(self._authorised)(method, url, body)

    def _log_retry(self, method: str, url: str, details: Any) -> None:  # noqa: ANN401 - backoff's
        error = details["exception"]
        logger.info("%s %s: %s Trying again.", method, urlsplit(url).path, error)

    def _authorised(self, method: str, url: str, body: bytes | None) -> Answer:
        """Send with the present token, and once more with a newer one if it is refused."""
        token = self._credentials.token()
        answer = self._sent(method, url, body, token)
        if answer.status == UNAUTHORIZED and self._credentials.refused(token):
            answer = self._sent(method, url, body, self._credentials.token())
        if answer.status == UNAUTHORIZED:
            raise CredentialsError(
                "Outreach refuses the access token (401): it has expired or was revoked; "
                "set a new access_token."
            )
        return self._accepted(answer, method)

    def _accepted(self, answer: Answer, method: str) -> Answer:
        """Return a usable answer, or raise what it means that it is none."""
        wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
        error = refusal(answer, method, wait)
        if error is not None:
            if isinstance(error, Retriable) and wait is not None:
                self.pacer.pause(wait)
            raise error
        if answer.document is None and method != "DELETE":
            kind = OutcomeUnknown if method == "POST" else Retriable
            raise kind(f"Outreach answered {answer.status} without JSON.", status=answer.status)
        return answer

    def _sent(self, method: str, url: str, body: bytes | None, token: str | None) -> Answer:
        """Send one request over the wire."""
        self.pacer.acquire()
        answer: Answer | None = None
        try:
            request = requests.Request(method, url, data=body, auth=Authorization(token))
            answer = self._answer(self._session.prepare_request(request), method)
        finally:
            headers = None if answer is None else answer.headers
            self.pacer.release(headers, None if answer is None else answer.server_time)
        return answer

    def _answer(self, request: PreparedRequest, method: str) -> Answer:
        try:
            response: Response = self._session.send(
                request, timeout=self._timeout, allow_redirects=False, **self._environment
            )
            body = _read_in_time(response, self._timeout[1])
        except (RequestException, HTTPError, OSError) as error:
            raise _lost(error, method) from None  # the chain would log the URL's query
        document, text = read_body(body)
        answer = Answer(response.status_code, response.headers, document, text)
        if (server_time := answer.server_time) is not None:
            self.clock_offset = server_time - datetime.now(UTC)
        return answer


def _read_in_time(response: Response, seconds: float) -> bytes:
    """Read a body that may come in drips, but not for longer than a whole answer may take.

    Raises:
        Timeout: It took too long.
        HTTPError: It broke off.
    """
    deadline = time.monotonic() + seconds
    pieces: list[bytes] = []
    with response:
        while piece := response.raw.read1(READ_BYTES, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise requests.exceptions.Timeout
    return b"".join(pieces)


def _lost(error: Exception, method: str) -> Exception:
    """Say what a broken connection means; the words hold neither URL nor body."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    never_sent = isinstance(error, ConnectTimeout) or isinstance(
        reason, NewConnectionError | NameResolutionError | ProxyError
    )
    if isinstance(error, requests.exceptions.SSLError):
        return OutreachError("The TLS certificate of api_url cannot be verified.")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return OutreachError("api_url is no address that a request can be sent to.")
    timed_out = isinstance(error, requests.exceptions.Timeout | ReadTimeoutError)
    what = "time-out" if timed_out else "broken connection"
    if never_sent:
        return Retriable(f"Outreach cannot be reached ({what}).")
    if method == "POST":
        return OutcomeUnknown(f"No answer from Outreach ({what}).")
    return Retriable(f"No answer from Outreach ({what}).")


def _waits(pacer: Pacer) -> Generator[float, Retriable, None]:
    """Wait exponentially with jitter where Outreach did not say how long.

    What it did ask for, the pacer waits. A 429 without any header comes from a layer in front of
    the application (API reference 5); it is for all threads, so they all wait, and longer.
    """
    error = yield 0.0
    for tried in itertools.count():
        if error.wait is not None:
            error = yield 0.0
        elif error.status == TOO_MANY:
            pacer.pause(min(2.0**tried, LONGEST_THROTTLE) * random.uniform(0.5, 1))  # noqa: S311
            error = yield 0.0
        else:
            error = yield min(FIRST_WAIT * 2**tried, LONGEST_WAIT) * random.random()  # noqa: S311


def mute_urllib3() -> None:
    """Keep urllib3 from logging URLs, whose queries hold addresses and names, at any level."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "urllib3":
            logging.getLogger(name).addFilter(_nothing)  # the same filter is added once


def _nothing(_entry: logging.LogRecord) -> bool:
    return False
