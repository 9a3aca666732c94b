"""One HTTP request: connections, proxies, certificates, time-outs, and what a broken one means.

All that talks to Outreach does it through a `Transport`, which follows no redirect, sends no token
that it was not given, and puts neither URL nor body into any word of an error.
"""

from __future__ import annotations

import logging
import re
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

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
from target_outreach.outreach.deadlines import TimelyAdapter

if TYPE_CHECKING:
    from requests import Response

CONNECT_TIMEOUT = 10.0
READ_BYTES = 1 << 16

#: Bytes, unpacked; a page of a thousand records with all their attributes has some ten million.
LONGEST_BODY = 32 << 20

#: Paths to which nothing is ever sent: an action there whose filter is lost or misread changes all
#: records of the organisation (API reference 6.1, docs/adr/0005).
FORBIDDEN = re.compile(r"/\s*batches(?![a-z])", re.IGNORECASE)

#: A query in which nothing is left to encode, as we write all our own.
ENCODED = re.compile(r"[\w.~!$&'()*+,;=:@/?-]*(?:%[\dA-F]{2}[\w.~!$&'()*+,;=:@/?-]*)*", re.ASCII)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Transport:
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
        adapter = TimelyAdapter(pool_maxsize=parallel, pool_block=True, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        # Proxies and certificates of the environment, read once and not for every request.
        self._environment: Any = self._session.merge_environment_settings(
            url, {}, stream=True, verify=None, cert=None
        )
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # without a user
        self._is_local = parts.hostname in LOOPBACK
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
            OutreachError: No request can get there, or none may.
        """
        method = request.method or ""
        path, mark, query = (request.url or "").partition("?")
        if FORBIDDEN.search(unquote(unquote(urlsplit(path).path))):
            raise OutreachError("Nothing is ever sent to Outreach's batches (docs/adr/0005).")
        is_encoded = ENCODED.fullmatch(query) is not None
        try:
            if is_encoded:  # `requests` would go through it letter by letter
                request.url = path
            prepared = self._session.prepare_request(request)
            if is_encoded:
                prepared.url = f"{prepared.url}{mark}{query}"
            response: Response = self._session.send(
                prepared,
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
        """Say what a broken connection means, and what to check, without path, query or body."""
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(error, requests.exceptions.SSLError):
            return self._no_tls(reason)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return OutreachError(f"{self._setting} is no address that a request can be sent to.")
        if isinstance(error, ConnectTimeout) or isinstance(
            reason, NewConnectionError | NameResolutionError | ProxyError
        ):
            return self._never_sent(reason)
        kind = OutcomeUnknown if method == "POST" else Retriable
        if isinstance(error, requests.exceptions.Timeout | ReadTimeoutError):
            seconds = f"{self._timeout.total:g} seconds (request_timeout_seconds)"
            return kind(f"No answer from Outreach (time-out). {self._origin} had {seconds}.")
        return kind(f"No answer from Outreach (the connection to {self._origin} broke).")

    def _never_sent(self, reason: Exception | None) -> Exception:
        """Say why there is no connection."""
        where, setting = self._origin, self._setting
        cause = None if reason is None else reason.__cause__
        if isinstance(reason, ProxyError):
            if "407" in str(reason):
                return OutreachError("The proxy requires credentials (407): check HTTPS_PROXY.")
            what = "the proxy does not answer): check HTTPS_PROXY, and NO_PROXY"
        elif isinstance(reason, NameResolutionError):
            what = f"unknown host name): check {setting}, and the network"
        elif isinstance(cause, ConnectionRefusedError) and self._is_local:
            return Retriable(f"Connection refused at {where}; is the sandbox running?")
        elif isinstance(cause, ConnectionRefusedError):
            what = f"connection refused): check {setting}, and whether a firewall is between"
        elif isinstance(reason, NewConnectionError):
            what = f"{getattr(cause, 'strerror', None) or 'no connection'}): check the network"
        else:
            what = f"no connection in {CONNECT_TIMEOUT:g} seconds): check {setting}, the network"
            what += ", and whether a proxy is needed (HTTPS_PROXY)"
        return Retriable(f"Outreach cannot be reached at {where} ({what}.")

    def _no_tls(self, reason: Exception | None) -> OutreachError:
        """Say why a connection is not safe."""
        why = reason.args[0] if reason is not None and reason.args else None
        if isinstance(why, ssl.SSLError) and not isinstance(why, ssl.SSLCertVerificationError):
            said = f"{self._origin} does not speak TLS ({why.reason}): check {self._setting}."
            return OutreachError(said)
        found = f" ({why.verify_message})" if isinstance(why, ssl.SSLCertVerificationError) else ""
        return OutreachError(
            f"The TLS certificate of {self._origin} cannot be verified{found}: check "
            f"{self._setting}. Where a proxy has certificates of its own, name their file in "
            "REQUESTS_CA_BUNDLE."
        )


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


def mute_urllib3() -> None:
    """Keep urllib3 from logging URLs, whose queries hold addresses and names, at any level."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "urllib3":
            logging.getLogger(name).addFilter(_nothing)  # the same filter is added once


def _nothing(_entry: logging.LogRecord) -> bool:
    return False
