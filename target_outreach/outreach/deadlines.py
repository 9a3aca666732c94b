"""Answers that must be complete within one time-out, even if they arrive slowly.

The time-out of a socket starts over with each byte that arrives. A server that sends a header every
few seconds, or one ``100 Continue`` after the other, could block a request forever. Here each read
from the socket may only take the time that is left for the whole answer.
"""

from __future__ import annotations

import io
import sys
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer


class TimelyResponse(HTTPResponse):
    """An answer that must be complete within the time-out that its socket has at the start."""

    def __init__(
        self,
        sock: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        """Read nothing yet; takes what `http.client.HTTPResponse` takes."""
        super().__init__(sock, debuglevel, method, url)
        if (seconds := sock.gettimeout()) is not None:
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_TimelyReader(sock, raw, time.monotonic() + seconds))


class _TimelyReader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: float) -> None:
        self._socket = sock
        self._raw = raw
        self._deadline = deadline

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Read what is there; raises `TimeoutError` when the deadline has passed."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        before = self._socket.gettimeout()
        self._socket.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._socket.settimeout(before)  # the next request on the connection has its full time

    @override
    def close(self) -> None:
        super().close()
        self._raw.close()


class _Connection(HTTPConnection):
    response_class = TimelyResponse


class _TlsConnection(HTTPSConnection):
    response_class = TimelyResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class TimelyAdapter(HTTPAdapter):
    """Sends requests of `requests` over connections whose answers have one time-out."""

    @override
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
