"""The sandbox as a whole: start it, look at what it was asked, make it misbehave, stop it."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from target_outreach.sandbox.api import PREFIX, Api
from target_outreach.sandbox.faults import Fault, FaultPlan
from target_outreach.sandbox.limits import RateLimit
from target_outreach.sandbox.profile import Profile
from target_outreach.sandbox.server import HttpServer
from target_outreach.sandbox.store import Store
from target_outreach.sandbox.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.sandbox.messages import Answer, Exchange, LoggedRequest, Request

REQUEST_LOG = 200_000


class Sandbox:
    """A local Outreach behind a real HTTP server on a port of this machine.

    Args:
        path: SQLite file, created where missing; None or ``":memory:"`` for a temporary file that
            vanishes at the end.
        profile: How it behaves where facts are contested; may be replaced at any time.
        host: Address to listen on.
        port: TCP port; 0 for a free one.
        faults: Faults to begin with.
        observer: Called with each exchange before it is answered or dropped, in the thread of its
            connection.
        clock: Returns epoch seconds, for timestamps and the rate limit.
        request_log: How many requests `requests` keeps.

    Attributes:
        profile: The profile at work.
        requests: The last finished requests, the oldest first; a request is there before its
            client has the answer.
        request_count: Requests that arrived, refused ones included.
        faults: The faults that are planned.
        clock: The clock.
    """

    def __init__(  # noqa: PLR0913 - each can be left out
        self,
        path: str | Path | None = None,
        profile: Profile | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        faults: Iterable[Fault] = (),
        observer: Callable[[Exchange], None] | None = None,
        clock: Callable[[], float] = time.time,
        request_log: int = REQUEST_LOG,
    ) -> None:
        self.profile = profile or Profile()
        self.faults = FaultPlan(faults)
        self.requests: deque[LoggedRequest] = deque(maxlen=request_log)
        self.request_count = 0
        self.clock = clock
        self._path = path
        self._address = (host, port)
        self._observer = observer
        self._count_lock = threading.Lock()
        self._limit = RateLimit(clock)
        self._tokens = Tokens(clock)
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Open the file and listen.

        Returns:
            The sandbox.

        Raises:
            OSError: The port is taken.
            sqlite3.Error: The file is no database, or locked.
        """
        if self._running is None:
            self._running = _Running(self, self._path, self._address)
            self._api = Api(self.store, self._limit, self._tokens, self.clock, self.api_url)
            self._running.thread.start()
        return self

    def stop(self) -> None:
        """Close all connections, threads and the file; a second call does nothing."""
        running, self._running = self._running, None
        if running is not None:
            running.close()

    @property
    def url(self) -> str:
        """Scheme, host and port, as ``http://127.0.0.1:8080``."""
        host, port = self._started.server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def api_url(self) -> str:
        """Start of the API's URLs, for the setting `api_url`."""
        return self.url + PREFIX

    @property
    def oauth_url(self) -> str:
        """Start of the OAuth URLs, for the setting `oauth_url`."""
        return f"{self.url}/oauth"

    @property
    def store(self) -> Store:
        """The records, past the API."""
        return self._started.store

    def add_fault(self, fault: Fault) -> None:
        """Plan one more fault."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Forget all planned faults."""
        self.faults.clear()

    def revoke(self, token: str) -> None:
        """Answer 401 to this access token, and refuse it as a refresh token, from now on."""
        self._tokens.revoke(token)

    def revoke_all(self) -> None:
        """Answer 401 to all access tokens but those that are issued from now on."""
        self._tokens.revoke_all()

    def spend(self, count: int) -> None:
        """Spend `count` requests of the window, as another client of the same user would."""
        self._limit.take(self.profile, count)

    @property
    def _started(self) -> _Running:
        if self._running is None:
            message = "the sandbox is not running: use `with` or start()"
            raise RuntimeError(message)
        return self._running

    # For the server

    def arrived(self) -> None:
        """Count a request."""
        with self._count_lock:
            self.request_count += 1

    def work(self, request: Request) -> Answer:
        """Answer a request."""
        return self._api.answer(request, self.profile)

    def finished(self, entry: LoggedRequest) -> None:
        """Take note of a request that is about to be answered or dropped."""
        self.requests.append(entry)

    def observed(self, exchange: Exchange) -> None:
        """Pass an exchange to the observer."""
        if self._observer is not None:
            self._observer(exchange)


class _Running:
    """What exists only while the sandbox runs: the file, the socket and the thread that listens."""

    def __init__(self, sandbox: Sandbox, path: str | Path | None, address: tuple[str, int]) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if path is None or str(path) == ":memory:":
            self._folder = tempfile.TemporaryDirectory(prefix="outreach-sandbox-")
            path = Path(self._folder.name, "outreach.db")
        try:
            self.server = HttpServer(*address, sandbox)
        except OSError:
            self._clean()
            raise
        try:
            self.store = Store(Path(path), sandbox.clock)
        except BaseException:
            self.server.server_close()
            self._clean()
            raise
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.02,), name="sandbox-listener", daemon=True
        )

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.store.close()
        self._clean()

    def _clean(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def serve(
    path: str | Path | None,
    host: str = "127.0.0.1",
    port: int = 0,
    profile: Profile | None = None,
    ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Run a sandbox until KeyboardInterrupt.

    Args:
        path: SQLite file, created where missing; None for a temporary one.
        host: Address to listen on.
        port: TCP port; 0 for a free one.
        profile: How it behaves where facts are contested.
        ready: Called once with the sandbox when it listens.

    Raises:
        OSError: The port is taken.
        sqlite3.Error: The file is no database, or locked.
    """
    with Sandbox(path, profile, host, port) as sandbox, suppress(KeyboardInterrupt):
        if ready is not None:
            ready(sandbox)
        threading.Event().wait()
