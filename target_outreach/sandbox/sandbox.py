"""The sandbox as a whole: start it, look at what it was asked, make it misbehave, stop it."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Self

from target_outreach.sandbox.api import PREFIX, Api
from target_outreach.sandbox.faults import Fault, FaultPlan
from target_outreach.sandbox.limits import RateLimit
from target_outreach.sandbox.messages import page_answer
from target_outreach.sandbox.pages import Pages
from target_outreach.sandbox.profile import Profile
from target_outreach.sandbox.request_log import LONGEST_SHOWN
from target_outreach.sandbox.running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from target_outreach.sandbox.limits import Allowance
    from target_outreach.sandbox.messages import (
        Answer,
        Exchange,
        LoggedRequest,
        Request,
        TokenRequest,
    )
    from target_outreach.sandbox.store import Store

REQUEST_LOG = 200_000

#: The last answers whose bodies are kept for the page, the first bytes of each.
KEPT_ANSWERS = 500


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

    def __init__(  # noqa: PLR0913 - each is optional
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
        self._finished = 0
        self._answers: deque[bytes] = deque(maxlen=KEPT_ANSWERS)
        self._limit = RateLimit(clock)
        self._pages = Pages(self)
        self._running: Running | None = None

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
            self._running = Running(self, self._path, self._address)
            access = self._running.access
            store = self._running.store
            self._api = Api(store, self._limit, access, self.clock, self.api_url)
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
        """The records, past the API; what imports should have written by now is written first."""
        store = self._started.store
        self._api.settle(self.profile)
        return store

    def add_fault(self, fault: Fault) -> None:
        """Plan one more fault."""
        self.faults.add(fault)

    def clear_faults(self) -> None:
        """Forget all planned faults."""
        self.faults.clear()

    def revoke(self, token: str) -> None:
        """Answer 401 to this access token, and refuse it as a refresh token, from now on."""
        self._started.access.revoke(token)

    def revoke_all(self) -> None:
        """Answer 401 to all access tokens but those that are issued from now on."""
        self._started.access.revoke_all()

    def issue_refresh_token(
        self, scopes: Iterable[str] | None = None, client_id: str | None = None
    ) -> str:
        """Issue a refresh token, as if a user had authorized the app.

        It is no token request: neither `token_requests` nor the throttle knows of it.

        Args:
            scopes: What it covers, as ``prospects.read``; None for ``X.all`` of every object.
            client_id: The app; by default the first of the profile, else `SANDBOX_APP`.

        Returns:
            The refresh token, to configure a client with.
        """
        return self._started.access.issue_refresh_token(scopes, client_id, self.profile)

    @property
    def live_refresh_tokens(self) -> int:
        """How many issued refresh tokens are good at this moment, of all apps."""
        return self._started.access.count_refresh_tokens()

    @property
    def token_requests(self) -> list[TokenRequest]:
        """The requests for access tokens that were answered or whose answer was lost, in order.

        They are in the file, so those of an earlier sandbox on the same file come first. What a
        fault kept from being worked on is not among them.
        """
        return self._started.access.token_requests()

    def spend(self, count: int) -> None:
        """Spend `count` requests of the window, as another client of the same user would."""
        self._limit.take(self.profile, count)

    @property
    def _started(self) -> Running:
        if self._running is None:
            message = "the sandbox is not running: use `with` or start()"
            raise RuntimeError(message)
        return self._running

    # For the page

    @contextmanager
    def look(self) -> Iterator[Store]:
        """Open the records for reading only; what imports should have written is written first."""
        with self.store.look() as store:
            yield store

    def newest(self, limit: int) -> tuple[int, list[LoggedRequest]]:
        """Return how many requests have finished, and the last of them, the newest first."""
        with self._count_lock:
            return self._finished, list(islice(reversed(self.requests), limit))

    def answer_of(self, number: int) -> bytes | None:
        """Return the start of the answer to a request, by its number; None if it is not kept."""
        with self._count_lock:
            place = self._finished - number
            return self._answers[-1 - place] if 0 <= place < len(self._answers) else None

    def allowance(self) -> Allowance:
        """Return what the user may still send."""
        return self._limit.look(self.profile)

    # For the server

    def arrived(self) -> None:
        """Count a request."""
        with self._count_lock:
            self.request_count += 1

    def work(self, request: Request) -> Answer:
        """Answer a request."""
        return self._api.answer(request, self.profile)

    def show(self, request: Request, peer: str) -> Answer:
        """Answer a request of the page, where there is one."""
        if self.profile.only_token is not None:
            return page_answer(404, "Not Found")
        return self._pages.answer(request, peer)

    def finished(self, entry: LoggedRequest, answer: bytes) -> None:
        """Take note of a request that is about to be answered or dropped."""
        with self._count_lock:
            self._finished += 1
            self._answers.append(answer[:LONGEST_SHOWN])
            self.requests.append(entry)

    def observed(self, exchange: Exchange) -> None:
        """Pass an exchange to the observer."""
        if self._observer is not None:
            self._observer(exchange)


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
