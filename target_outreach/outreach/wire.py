"""One request over the wire: connections, proxies, certificates, time-outs, and what a break means.

All that talks to Outreach does it through a `Wire`, which follows no redirect, sends no token that
it was not given, and puts neither URL nor body into any word of an error.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.exceptions import ConnectTimeout, RequestException
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.util import Timeout

from target_outreach.errors import OutcomeUnknown, OutreachError, Retriable
from target_outreach.outreach.answers import Answer, read_body
from target_outreach.outreach.queries import QueryAdapter, put_aside

if TYPE_CHECKING:
    from requests import Response

CONNECT_TIMEOUT = 10.0
READ_BYTES = 1 << 16

#: Bytes, unpacked; a page of a thousand records with all their attributes has some ten million.
LONGEST_BODY = 32 << 20

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Wire:
    """A session with one server, for any number of threads."""

    def __init__(
        self,
        url: str,
        *,
        user_agent: str,
        setting: str = "api_url",
        parallel: int = 4,
        timeout: float = 60.0,
    ) -> None:
        """Open no connection yet.

        Args:
            url: An address on the server, which says what proxies and certificates are for it.
            user_agent: The ``User-Agent`` header.
            setting: The setting that the address comes from, for errors.
            parallel: The most requests in flight, and so connections in the pool.
            timeout: Seconds to wait for a whole answer, from the connection to the last byte.
        """
        mute_urllib3()
        # Requests takes this as well, but its types do not say so.
        self._timeout: Any = Timeout(connect=CONNECT_TIMEOUT, read=timeout, total=timeout)
        self._setting = setting
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent
        adapter = QueryAdapter(pool_maxsize=parallel, pool_block=True, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # Proxies and certificates of the environment, read once and not for every request.
        self._environment: Any = self._session.merge_environment_settings(
            url, {}, stream=True, verify=None, cert=None
        )
        self._origin = _origin(url)
        self._is_local = urlsplit(url).hostname in LOOPBACK
        if self._is_local:
            self._environment["proxies"] = {}

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, request: requests.Request) -> Answer:
        """Send one request and read its answer, whatever its status.

        Raises:
            OutcomeUnknown: A POST was sent, and its answer did not come, broke off or is too long.
            Retriable: No usable answer came, or it never got there.
            OutreachError: No request can get there.
        """
        method = request.method or ""
        if not self._environment["proxies"]:
            put_aside(request)
        try:
            response: Response = self._session.send(
                self._session.prepare_request(request),
                timeout=self._timeout,
                allow_redirects=False,
                **self._environment,
            )
            body = _read_whole(response)
        except (RequestException, HTTPError, OSError) as error:
            raise self._lost(error, method) from None  # the chain would log the URL's query
        if body is None:
            said = f"Outreach answered {response.status_code} with more than 32 MiB."
            kind = OutcomeUnknown if method == "POST" else Retriable
            raise kind(said, status=response.status_code)
        document, text = read_body(body)
        return Answer(response.status_code, response.headers, document, text)

    def _lost(self, error: Exception, method: str) -> Exception:
        """Say what a broken connection means; the words hold neither path, query nor body."""
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        never_sent = isinstance(error, ConnectTimeout) or isinstance(
            reason, NewConnectionError | NameResolutionError | ProxyError
        )
        if isinstance(error, requests.exceptions.SSLError):
            return OutreachError(f"The TLS certificate of {self._setting} cannot be verified.")
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return OutreachError(f"{self._setting} is no address that a request can be sent to.")
        timed_out = isinstance(error, requests.exceptions.Timeout | ReadTimeoutError)
        what = "time-out" if timed_out else "broken connection"
        if never_sent and self._is_local:
            where = f"Is the sandbox running at {self._origin}?"
            return Retriable(f"Outreach cannot be reached ({what}). {where}")
        if never_sent:
            return Retriable(f"Outreach cannot be reached at {self._origin} ({what}).")
        if method == "POST":
            return OutcomeUnknown(f"No answer from Outreach ({what}).")
        return Retriable(f"No answer from Outreach ({what}).")


def _read_whole(response: Response) -> bytes | None:
    """Read and unpack a body, or return None where it is longer than any answer may be.

    Raises:
        HTTPError: It broke off, or took too long.
    """
    pieces: list[bytes] = []
    length = 0
    with response:
        while piece := response.raw.read1(READ_BYTES, decode_content=True):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST_BODY:
                return None
    return b"".join(pieces)


def _origin(url: str) -> str:
    """Name the server of an address, without user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def mute_urllib3() -> None:
    """Keep urllib3 from logging URLs, whose queries hold addresses and names, at any level."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "urllib3":
            logging.getLogger(name).addFilter(_nothing)  # the same filter is added once


def _nothing(_entry: logging.LogRecord) -> bool:
    return False
