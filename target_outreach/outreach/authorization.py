"""OAuth's authorization in the browser: the address to open, and the answer that comes back.

Outreach sends the browser to the app's redirect URI with a code, or with the reason why there is
none (API reference 7). If that URI is on this machine, `Listener` waits there.
"""

from __future__ import annotations

import hmac
import html
import secrets
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from target_outreach.errors import CredentialsError, SettingsError
from target_outreach.outreach.wire import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Seconds that one look for a request lasts, so that a signal is heard.
LOOK = 0.25

#: Seconds that a browser may take to say what it wants.
SLOWEST_REQUEST = 5.0

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem; }}
</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p></main></body>
</html>
"""  # noqa: E501 - HTML


@dataclass(frozen=True, slots=True)
class Authorization:
    """One request for an authorization.

    Attributes:
        authorize_url: The address of Outreach's consent page, without its query.
        client_id: The app's id.
        redirect_uri: Where Outreach sends the browser afterwards.
        scopes: What is asked for.
        state: A secret that must come back, so that nobody can slip us a code of theirs.
    """

    authorize_url: str
    client_id: str
    redirect_uri: str
    scopes: Sequence[str]
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def url(self) -> str:
        """The address to open in the browser."""
        query = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": " ".join(self.scopes),
            "state": self.state,
        }
        return f"{self.authorize_url}?{urlencode(query, quote_via=quote)}"

    @property
    def is_local(self) -> bool:
        """Whether the browser comes back to this machine, in a way that we can listen to."""
        parts = urlsplit(self.redirect_uri)
        return parts.scheme == "http" and parts.hostname in LOOPBACK

    def code(self, redirected_to: str) -> str:
        """Take the code from the address that the browser was sent to.

        Args:
            redirected_to: The whole address, or its path and query.

        Raises:
            CredentialsError: There is no code, or it is not for this request.
        """
        query = parse_qs(urlsplit(redirected_to.strip()).query)
        state, error, code = (query.get(name, [""])[0] for name in ("state", "error", "code"))
        if not hmac.compare_digest(state.encode(), self.state.encode()):
            raise CredentialsError(
                "The browser came back without the state of this login: begin again."
            )
        if error == "access_denied":
            raise CredentialsError("The authorization was denied in the browser.")
        if error or not code:
            reason = error if error.isidentifier() else "no code"
            raise CredentialsError(f"Outreach gave no authorization ({reason}).")
        return code


class Listener:
    """Waits on this machine for the browser to come back; a context manager."""

    def __init__(self, redirect_uri: str) -> None:
        """Listen at a loopback redirect URI.

        Raises:
            SettingsError: That is not possible there.
        """
        parts = urlsplit(redirect_uri)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        try:
            self._server = _Server((host or "", parts.port or 80), parts.path or "/")
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "no such port"
            raise SettingsError(
                f"redirect_uri cannot be listened on ({reason}): free its port, or use "
                "--no-browser."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.server_close()

    def wait(self, answer: Callable[[str], tuple[str, str]], seconds: float) -> None:
        """Wait for the browser, and show it a page.

        Args:
            answer: Takes the path and query that the browser came back with, and returns the
                title and the text of the page; what it raises is raised here.
            seconds: How long to wait.

        Raises:
            CredentialsError: It did not come.
        """
        deadline = time.monotonic() + seconds
        self._server.answer = answer
        while not self._server.has_answered:
            if time.monotonic() > deadline:
                raise CredentialsError(
                    f"The browser did not come back within {seconds / 60:.0f} minutes."
                )
            self._server.handle_request()
        if self._server.failure is not None:
            raise self._server.failure


class _Server(HTTPServer):
    """Serves one answer at one path."""

    timeout = LOOK

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self.path = path
        self.answer: Callable[[str], tuple[str, str]] = lambda _path: ("", "")
        self.has_answered = False
        self.failure: Exception | None = None
        super().__init__(address, _Handler)

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and the page for a request."""
        if self.has_answered or urlsplit(path).path != self.path:
            return 404, _page("Nothing here", "This address is for a login that is over.")
        self.has_answered = True
        try:
            title, text = self.answer(path)
        except CredentialsError as error:
            self.failure = error
            return 400, _page("That did not work", str(error))
        except Exception as error:  # noqa: BLE001 - raised again where somebody can say it
            self.failure = error
            return 500, _page("That did not work", "The terminal says why.")
        return 200, _page(title, text)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOWEST_REQUEST

    def do_GET(self) -> None:
        status, page = self.server.page(self.path)
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the code
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing: the address holds the code."""


def _page(title: str, text: str) -> str:
    return PAGE.format(title=html.escape(title), text=html.escape(text))
