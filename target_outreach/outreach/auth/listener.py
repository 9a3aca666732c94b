"""Where the browser comes back to after an authorization: a server at a loopback redirect URI."""

from __future__ import annotations

import errno
import html
import io
import os
import queue
import socket
import socketserver
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from target_outreach.errors import CredentialsError, OutreachError, SettingsError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from target_outreach.outreach.auth.authorization import Authorization

#: Seconds that one look for a request lasts, so that a signal is heard.
LOOK = 0.25

#: Seconds that a browser may take for the TLS handshake and its request together, and then again
#: to take its page.
SLOWEST_REQUEST = 5.0

#: Bytes that a request may have.
LONGEST_REQUEST = 1 << 15

#: Connections that are open at once. Whoever opens more pushes out the oldest of those that have
#: asked for nothing yet. Some systems give a process 256 files.
MOST_CONNECTIONS = 100

#: Connections that wait to be accepted. The system refuses more, and a browser would try again
#: after seconds only.
BACKLOG = 1024

#: A machine without IPv6 says one of these.
NO_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem; }}
  p {{ overflow-wrap: anywhere; }}
</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p></main></body>
</html>
"""  # noqa: E501 - HTML


@dataclass(frozen=True, slots=True)
class Page:
    """What the browser is shown at the end."""

    title: str
    text: str
    status: int = 200


NOT_HERE = Page("Nothing here", "A login waits at another address of this server.", 404)
NOT_THIS_LOGIN = Page(
    "Not this login",
    "This answer belongs to another login, so nothing was done with it. Go on in the page that the "
    "latest login opened, or log in again.",
    400,
)


class Listener:
    """Waits on this machine for the browser to come back; a context manager.

    A browser may open connections that it never uses, so each has a thread of its own, in which
    TLS begins too; what is asked is decided in the thread that waits.
    """

    def __init__(self, redirect_uri: str) -> None:
        """Listen at a loopback redirect URI; over https with a certificate made for this login.

        Raises:
            SettingsError: That is not possible there.
        """
        self._visits: queue.SimpleQueue[_Visit] = queue.SimpleQueue()
        self._connections = _Connections()
        parts = urlsplit(redirect_uri)
        usual, context = (443, _make_context()) if parts.scheme == "https" else (80, None)
        with ExitStack() as opened:
            try:
                port = usual if parts.port is None else parts.port
                for host in _hosts(parts.hostname or ""):
                    self._listen((host, port), parts.path or "/", context, opened)
            except (OSError, ValueError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or "no such port"
                written = parts.netloc.rpartition(":")[2]
                port_name = written if written.isascii() and written.isdigit() else usual
                raise SettingsError(
                    f"redirect_uri cannot be listened on ({reason}): free port {port_name}, "
                    "set another redirect_uri that the app has in Outreach, or use --no-browser."
                ) from None
            self._opened = opened.pop_all()

    def _listen(
        self,
        address: tuple[str, int],
        path: str,
        context: ssl.SSLContext | None,
        opened: ExitStack,
    ) -> None:
        server = _Server(address, path, self._visits, self._connections, context)
        opened.callback(server.server_close)
        thread = threading.Thread(target=server.serve_forever, args=(LOOK / 10,), daemon=True)
        thread.start()
        opened.callback(thread.join)
        opened.callback(server.shutdown)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._opened.close()

    def wait(
        self,
        authorization: Authorization,
        answer: Callable[[str], Page],
        on_stranger: Callable[[], None],
        seconds: float,
    ) -> None:
        """Wait for the browser, and show it a page.

        An answer without our state may be of an older login, or of a page that tries to slip us a
        code of its own: it is told so, and the right one is still waited for.

        Args:
            authorization: What the browser is to bring an answer to.
            answer: Takes the path and query that the browser came back with, and returns the
                page; what it raises is raised here.
            on_stranger: Hears of an answer to something else.
            seconds: How long to wait.

        Raises:
            CredentialsError: It did not come.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                visit = self._visits.get(timeout=LOOK)
            except queue.Empty:
                continue
            if authorization.is_answered_by(visit.path):
                visit.answer(answer)
                return
            visit.show(NOT_THIS_LOGIN)
            on_stranger()
        raise CredentialsError(
            f"The browser did not come back within {seconds / 60:.0f} minutes: log in again, or "
            "use --no-browser if it runs on another machine."
        )


def _make_context() -> ssl.SSLContext:
    from target_outreach.outreach.auth.certificate import make_server_context  # noqa: PLC0415 - https

    return make_server_context()


def _hosts(name: str) -> Sequence[str]:
    """List the addresses on which a browser may look for a loopback host."""
    if name != "localhost":
        return (name,)
    return ("127.0.0.1", "::1") if _has_ipv6() else ("127.0.0.1",)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        if error.errno in NO_ADDRESS:
            return False
        raise
    return True


class _Visit:
    """A browser at the redirect URI, which waits for its page."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pages: queue.SimpleQueue[Page] = queue.SimpleQueue()
        self.is_over = threading.Event()

    def answer(self, answer: Callable[[str], Page]) -> None:
        """Show the page that fits what comes of it."""
        page = Page("Not logged in", "The terminal says why.", 500)
        try:
            page = answer(self.path)
        except (CredentialsError, OutreachError) as error:
            page = Page("Not logged in", str(error), 400)
            raise
        finally:
            self.show(page)

    def show(self, page: Page) -> None:
        """Have a page sent, and wait until it is."""
        self.pages.put(page)
        self.is_over.wait(SLOWEST_REQUEST)


class _Connections:
    """The open connections of a listener, which are never too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent: dict[socket.socket, None] = {}
        self._asking: dict[socket.socket, None] = {}

    def add(self, connection: socket.socket) -> bool:
        """Take in a connection, and say whether there is room for it.

        Where there are too many, the oldest of those that have asked for nothing is hung up on.
        """
        with self._lock:
            if len(self._silent) + len(self._asking) >= MOST_CONNECTIONS:
                oldest = next(iter(self._silent), None)
                if oldest is None:
                    return False
                del self._silent[oldest]
                with suppress(OSError):  # it may be closed already
                    # Not TLS's own method, which would disturb the thread that is reading.
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)
            self._silent[connection] = None
            return True

    def keep(self, connection: socket.socket) -> None:
        """Note that a connection has asked for something."""
        with self._lock:
            if connection in self._silent:
                del self._silent[connection]
                self._asking[connection] = None

    def remove(self, connection: socket.socket) -> None:
        """Forget a connection that is being closed."""
        with self._lock:
            self._silent.pop(connection, None)
            self._asking.pop(connection, None)


class _Server(socketserver.ThreadingTCPServer):
    """Lets browsers in; unlike `HTTPServer` it asks no name server what this machine is called."""

    allow_reuse_address = os.name != "nt"  # there it would let others listen at the same port
    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        visits: queue.SimpleQueue[_Visit],
        connections: _Connections,
        context: ssl.SSLContext | None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.path = path
        self.visits = visits
        self.connections = connections
        self._context = context
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS begins in the thread of its own."""
        connection, address = super().get_request()
        connection.settimeout(SLOWEST_REQUEST)
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: object) -> bool:  # noqa: ANN401, ARG002 - the library's
        """Say whether there is room for a connection."""
        return self.connections.add(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the library's
        """Close a connection."""
        self.connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away, or that does not know the certificate."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Read the whole request before a deadline, and answer it."""
        deadline = time.monotonic() + SLOWEST_REQUEST
        if (handshake := getattr(self.connection, "do_handshake", None)) is not None:
            handshake()  # the time-out of a socket bounds all of it
        self.rfile.close()
        self.rfile = io.BytesIO(_read_request(self.connection, deadline))
        self.server.connections.keep(self.connection)
        self.connection.settimeout(SLOWEST_REQUEST)
        super().handle()

    def do_GET(self) -> None:
        if urlsplit(self.path).path != self.server.path:
            self._send(NOT_HERE)
            return
        visit = _Visit(self.path)
        self.server.visits.put(visit)
        try:
            self._send(visit.pages.get())
        finally:
            visit.is_over.set()

    def _send(self, page: Page) -> None:
        text = HTML.format(title=html.escape(page.title), text=html.escape(page.text)).encode()
        self.send_response(page.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the code
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing: the address holds the code."""


def _read_request(connection: socket.socket, deadline: float) -> bytes:
    """Read a request up to the blank line behind its headers, by a deadline of the monotonic clock.

    Raises:
        OSError: It is too slow, too long or not whole.
    """
    request = bytearray()
    while True:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(LONGEST_REQUEST)
        request += received
        if request.find(b"\r\n\r\n", max(0, len(request) - len(received) - 3)) >= 0:
            return bytes(request)
        is_late = time.monotonic() >= deadline
        if not received or is_late or len(request) > LONGEST_REQUEST:
            raise ConnectionAbortedError
