"""Where the browser comes back to after an authorization: a server at a loopback redirect URI."""

from __future__ import annotations

import errno
import html
import queue
import re
import socket
import socketserver
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from target_outreach.errors import CredentialsError, OutreachError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_outreach.outreach.authorization import Authorization

#: Seconds that one look for a request lasts, so that a signal is heard.
LOOK = 0.25

#: Seconds that a browser may take to say what it wants, or to take its page.
SLOWEST_REQUEST = 5.0

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

    A browser may open connections that it never uses, so each has a thread of its own; what is
    asked is decided in the thread that waits.
    """

    def __init__(self, redirect_uri: str) -> None:
        """Listen at a loopback redirect URI.

        Raises:
            SettingsError: That is not possible there.
        """
        self._visits: queue.SimpleQueue[_Visit] = queue.SimpleQueue()
        parts = urlsplit(redirect_uri)
        with ExitStack() as opened:
            try:
                for host in _hosts(parts.hostname or ""):
                    address = (host, 80 if parts.port is None else parts.port)
                    self._listen(address, parts.path or "/", opened)
            except (OSError, ValueError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or "no such port"
                raise SettingsError(
                    f"redirect_uri cannot be listened on ({reason}): free {_port(parts.netloc)}, "
                    "set another redirect_uri that the app has in Outreach, or use --no-browser."
                ) from None
            self._opened = opened.pop_all()

    def _listen(self, address: tuple[str, int], path: str, opened: ExitStack) -> None:
        server = _Server(address, path, self._visits)
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

        An answer without our state may be of an older login, or of a page that wants to slip us a
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


def _port(netloc: str) -> str:
    """Name the port of an address, whatever stands there."""
    port = re.search(r":(\d+)$", netloc, re.ASCII)
    return f"port {port[1] if port else 80}"


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


class _Server(socketserver.ThreadingTCPServer):
    """Lets browsers in; unlike `HTTPServer` it asks no name server what this machine is called."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], path: str, visits: queue.SimpleQueue[_Visit]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.path = path
        self.visits = visits
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOWEST_REQUEST

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
