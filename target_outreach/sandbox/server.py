"""The HTTP server: a thread per connection, and the faults that happen to connections."""

from __future__ import annotations

import logging
import math
import socket
import socketserver
import struct
import sys
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from target_outreach.sandbox.faults import BEFORE_WORK, HANGS, RESETS
from target_outreach.sandbox.messages import Answer, Exchange, LoggedRequest, Request, page_answer
from target_outreach.sandbox.pages import host_name, is_loopback, is_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.sandbox.faults import Fault, FaultPlan
    from target_outreach.sandbox.profile import Profile

logger = logging.getLogger(__name__)

_LINGER_ZERO = struct.pack("ii", 1, 0)
_DRIPS = 20

#: Bytes of a request; the largest import that Outreach takes is smaller.
LONGEST_BODY = 32 << 20
_JOIN_SECONDS = 10.0

#: Seconds without a connection after which a request belongs to another run.
PAUSE_SECONDS = 2.0


class Service(Protocol):
    """What the server serves."""

    profile: Profile
    faults: FaultPlan
    clock: Callable[[], float]

    @property
    def url(self) -> str:
        """Scheme, host and port."""

    def arrived(self) -> None:
        """Count a request."""

    def work(self, request: Request) -> Answer:
        """Answer a request."""

    def show(self, request: Request, peer: str) -> Answer:
        """Answer a request of the page, which is none of the API."""

    def finished(self, entry: LoggedRequest, answer: bytes) -> None:
        """Take note of a request that is about to be answered or dropped."""

    def observed(self, exchange: Exchange) -> None:
        """Take note of a request whose answer is about to be sent, or dropped."""


class HttpServer(socketserver.ThreadingTCPServer):
    """Listens, and ends every connection and thread when it is closed.

    Args:
        host: Address to listen on.
        port: TCP port; 0 for a free one.
        service: What to serve.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host: str, port: int, service: Service) -> None:
        self.service = service
        self.closing = threading.Event()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._open_lock = threading.Lock()
        self._run = 0
        self._callers: set[threading.Thread] = set()
        self._quiet_since = -math.inf
        super().__init__((host, port), Handler)

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a connection in a thread of its own, and remember both."""
        connection = cast("socket.socket", request)
        thread = threading.Thread(
            target=self._serve, args=(connection, client_address), name="sandbox", daemon=True
        )
        with self._open_lock:
            self._open[thread] = connection
        thread.start()

    def handle_error(self, *_connection: object) -> None:
        """Pass over connections that the client broke off."""
        logger.debug("a connection ended early: %r", sys.exception())

    def server_close(self) -> None:
        """Close the socket and all connections, and wait for their threads."""
        super().server_close()
        self.closing.set()
        with self._open_lock:
            connections = dict(self._open)
        for connection in connections.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(_JOIN_SECONDS)

    def _serve(self, connection: socket.socket, client_address: object) -> None:
        try:
            self.process_request_thread(connection, client_address)
        finally:
            thread = threading.current_thread()
            with self._open_lock:
                self._open.pop(thread, None)
                if thread in self._callers:
                    self._callers.discard(thread)
                    self._quiet_since = time.monotonic()

    def run_of_this_connection(self) -> int:
        """Return the number of the run that calls, counted from 1.

        A run begins when a client calls while no other has a connection, and none just had one:
        some clients open one for each request.
        """
        with self._open_lock:
            is_first = not self._callers and time.monotonic() > self._quiet_since + PAUSE_SECONDS
            self._run += is_first
            self._callers.add(threading.current_thread())
            return self._run


class Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and answers them, faults included."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits some 40 ms for the client's ACK
    server: HttpServer

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Take every method, so that unknown ones are answered by the API too."""
        if name.startswith("do_"):
            return self._exchange
        raise AttributeError(name)

    def log_message(self, *_args: object) -> None:
        """Write no access log: the requests are kept by the sandbox."""

    def _exchange(self) -> None:
        service = self.server.service
        if (refused := self._refusal()) is not None:
            # Its body is not read, so what follows on this connection is no request.
            self.close_connection = True
            with suppress(OSError):
                self._send(refused, self._headers(refused), self._body(refused, None), None)
            return
        if is_page(self.path):
            self._show()
            return
        service.arrived()
        run = self.server.run_of_this_connection()
        started = time.monotonic()
        request = self._read()
        fault = service.faults.strike(request)
        answer = self._answer(request, fault)
        status = None if answer is None else answer.status
        ended = time.monotonic()
        service.finished(
            LoggedRequest(
                request.method,
                request.path,
                request.query,
                status,
                started,
                ended,
                request.body,
                run,
            ),
            b"" if answer is None else answer.body,
        )
        self._deliver(request, answer, fault)

    def _refusal(self) -> Answer | None:
        """Refuse what no client of a sandbox sends, before anything of it is read.

        A page of the web whose name leads to this machine (DNS rebinding) sends its own name.
        """
        if not is_loopback(host_name(self.headers.get("host", ""))):
            return page_answer(403, "The sandbox answers only to names of this machine")
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > LONGEST_BODY:
            return page_answer(413, "Content Too Large")
        return None

    def _show(self) -> None:
        """Answer for the page: not counted, not delayed, and not met by faults."""
        request = self._read()
        peer = str(self.client_address[0])
        answer = self._work(request, lambda asked: self.server.service.show(asked, peer))
        try:
            self._send(answer, self._headers(answer), self._body(answer, None), None)
        except OSError:
            self.close_connection = True

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        body = self.rfile.read(int(length)) if length.isdecimal() else b""
        if "transfer-encoding" in headers:
            # Chunks are not read, so what follows on this connection cannot be trusted.
            self.close_connection = True
        return Request(self.command, parts.path, parts.query, headers, body)

    def _answer(self, request: Request, fault: Fault | None) -> Answer | None:
        """Do the work, unless the fault comes first; None where there will be no answer."""
        service, closing = self.server.service, self.server.closing
        kind = None if fault is None else fault.kind
        closing.wait(service.profile.latency_seconds)
        if fault is not None and kind in {"delay", "hang"}:
            closing.wait(fault.seconds)
        answer = None if kind in BEFORE_WORK else self._work(request, service.work)
        if fault is not None and kind == "hang_after":
            closing.wait(fault.seconds)
        if fault is not None and kind in {"status", "status_after"}:
            return fault.answer()
        if fault is not None and kind == "garbage":
            return fault.garbage()
        return None if kind in HANGS | RESETS else answer

    def _work(self, request: Request, work: Callable[[Request], Answer]) -> Answer:
        try:
            return work(request)
        except Exception:
            # An internal error of the sandbox must look like one, not like a network that hangs.
            logger.exception("the sandbox failed on %s %s", request.method, request.path)
            return page_answer(500, "Internal Server Error")

    def _deliver(self, request: Request, answer: Answer | None, fault: Fault | None) -> None:
        headers = () if answer is None else self._headers(answer)
        body = b"" if answer is None else self._body(answer, fault)
        status = None if answer is None else answer.status
        sent = tuple(self.headers.items())
        url = self.server.service.url + request.target
        self.server.service.observed(
            Exchange(request.method, url, sent, request.body, status, headers, body)
        )
        try:
            if answer is not None:
                self._send(answer, headers, body, fault)
            elif fault is not None and fault.kind in RESETS:
                self._reset()
            self.close_connection |= answer is None
        except OSError:
            self.close_connection = True

    def _body(self, answer: Answer, fault: Fault | None) -> bytes:
        """Return the part of the body that will be sent."""
        if self.command == "HEAD":
            return b""
        if fault is not None and fault.kind == "truncate":
            return answer.body[: len(answer.body) // 2]
        return answer.body

    def _headers(self, answer: Answer) -> tuple[tuple[str, str], ...]:
        date = formatdate(self.server.service.clock(), usegmt=True)
        content: tuple[tuple[str, str], ...] = ()
        if answer.status != HTTPStatus.NO_CONTENT:
            length = str(len(answer.body))
            content = (("Content-Type", answer.media_type), ("Content-Length", length))
        closing = (("Connection", "close"),) if self.close_connection else ()
        return (("Date", date), *content, *answer.headers, *closing)

    def _send(
        self,
        answer: Answer,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        fault: Fault | None,
    ) -> None:
        """Send the answer, at once or slowly."""
        kind = None if fault is None else fault.kind
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.close_connection |= kind == "truncate" or ("Connection", "close") in headers
        if fault is None or kind != "drip":
            self.wfile.write(head + body)
            return
        self.wfile.write(head)
        step = -(-len(body) // _DRIPS) or 1
        for start in range(0, len(body), step):
            self.server.closing.wait(fault.seconds / _DRIPS)
            self.wfile.write(body[start : start + step])

    def _reset(self) -> None:
        """Close the connection so that the client sees a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.rfile.close()  # it holds the socket open
        self.connection.close()
