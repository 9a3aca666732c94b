"""Faults on purpose: what networks and gateways do to requests and answers."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from target_outreach.sandbox.messages import Answer, page_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.sandbox.messages import Request

FaultKind = Literal[
    "status",
    "status_after",
    "reset_before",
    "reset_after",
    "truncate",
    "garbage",
    "delay",
    "hang",
    "hang_after",
    "drip",
]

BEFORE_WORK = frozenset({"status", "reset_before", "hang"})
HANGS = frozenset({"hang", "hang_after"})
RESETS = frozenset({"reset_before", "reset_after"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault.

    Kinds: ``status`` answers `status` and does nothing; ``status_after`` does the work and then
    answers `status`; ``reset_before`` and ``reset_after`` reset the connection before or after the
    work; ``truncate`` does the work and sends half of the body; ``garbage`` does the work and
    answers 200 with something that is no JSON; ``delay`` waits `seconds` and then goes on as usual;
    ``hang`` and ``hang_after`` say nothing for `seconds`, before or after the work, and then
    close; ``drip`` does the work and spreads the body over `seconds`.

    Attributes:
        kind: What happens.
        method: Only requests of this method; None for all.
        path: Only requests whose decoded path and query contain this text, or in which this regular
            expression is found.
        after: How many matching requests are let through first.
        times: How often the fault strikes; None for ever.
        probability: Chance that it strikes a matching request, by a random sequence from `seed`.
        seed: Start of the random sequence.
        status: HTTP status of ``status`` and ``status_after``.
        seconds: Time of ``delay``, ``hang``, ``hang_after`` and ``drip``.
        body: Body of ``status``, ``status_after`` and ``garbage``; None for a gateway's HTML page.
        headers: Headers of that answer; a ``Content-Type`` among them replaces ``text/html``.
    """

    kind: FaultKind
    method: str | None = None
    path: str | None = None
    after: int = 0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    status: int = 503
    seconds: float = 0.0
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def concerns(self, request: Request) -> bool:
        """Tell whether the request is of the kind that this fault is for."""
        if self.method is not None and self.method != request.method:
            return False
        target = unquote(request.target)
        return self.path is None or self.path in target or bool(re.search(self.path, target))

    def answer(self) -> Answer:
        """Return the answer of ``status`` and ``status_after``."""
        return self._disguised(self.status)

    def garbage(self) -> Answer:
        """Return the answer of ``garbage``."""
        return self._disguised(200)

    def _disguised(self, status: int) -> Answer:
        page = page_answer(status, responses.get(status, "Error"))
        body = page.body if self.body is None else self.body.encode()
        headers = tuple(pair for pair in self.headers if pair[0].lower() != "content-type")
        named = {name.lower(): value for name, value in self.headers}
        return Answer(status, body, headers, named.get("content-type", page.media_type))


class FaultPlan:
    """The faults that wait for their requests; the first that strikes decides.

    Args:
        faults: The faults to begin with.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._planned = [_Planned(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Add a fault after those that are there."""
        with self._lock:
            self._planned.append(_Planned(fault))

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._planned.clear()

    def strike(self, request: Request) -> Fault | None:
        """Return the fault that happens to the request, or None."""
        with self._lock:
            for planned in self._planned:
                if planned.strikes(request):
                    return planned.fault
        return None


class _Planned:
    """A fault with the count of what it has seen and done."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen = 0
        self._struck = 0
        self._random = random.Random(fault.seed)  # noqa: S311 - repeatable chance, no secret

    def strikes(self, request: Request) -> bool:
        fault = self.fault
        if fault.times is not None and self._struck >= fault.times:
            return False
        if not fault.concerns(request):
            return False
        self._seen += 1
        if self._seen <= fault.after or self._random.random() >= fault.probability:
            return False
        self._struck += 1
        return True
