"""The rate limit: a fixed window of requests per user (API reference 5)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.sandbox.profile import Profile


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the user may still send; `reset` in epoch seconds."""

    limit: int
    remaining: int
    reset: int
    granted: bool


class RateLimit:
    """Counts the requests of the sandbox's one user, whichever token they carry.

    Args:
        clock: Returns epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._window: tuple[int, int] | None = None
        self._used = 0

    def take(self, profile: Profile, count: int = 1) -> Allowance:
        """Spend `count` requests; grants them if the first of them was still free."""
        seconds = profile.rate_window_seconds
        with self._lock:
            window = (int(self._clock() // seconds), seconds)
            if window != self._window:
                self._window, self._used = window, 0
            granted = self._used < profile.rate_limit or count == 0
            self._used = min(profile.rate_limit, self._used + count)
            remaining = profile.rate_limit - self._used
        return Allowance(profile.rate_limit, remaining, (window[0] + 1) * seconds, granted)

    def look(self, profile: Profile) -> Allowance:
        """Return the allowance without spending anything."""
        return self.take(profile, count=0)


def limit_headers(allowance: Allowance, profile: Profile) -> tuple[tuple[str, str], ...]:
    """Return the headers that tell the allowance.

    Since 2023 `Remaining` may hold two numbers; what the second counts is not known, here it
    belongs to a limit of twice the size.
    """
    if profile.limit_headers == "none":
        return ()
    limit, remaining, reset = map(str, (allowance.limit, allowance.remaining, allowance.reset))
    if profile.limit_headers in {"double", "doubled"}:
        remaining += f", {allowance.remaining + allowance.limit}"
    if profile.limit_headers == "doubled":
        limit, reset = f"{limit}, {2 * allowance.limit}", f"{reset}, {reset}"
    return (
        ("X-RateLimit-Limit", limit),
        ("X-RateLimit-Remaining", remaining),
        ("X-RateLimit-Reset", reset),
    )


def retry_after(allowance: Allowance, profile: Profile, now: float) -> dict[str, str]:
    """Return the ``Retry-After`` header of a 429 in the form that the profile asks for."""
    reset = datetime.fromtimestamp(allowance.reset, UTC)
    forms = {
        "delta": str(max(1, round(allowance.reset - now))),
        "epoch": str(allowance.reset),
        "iso": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    form = forms.get(profile.retry_after)
    return {} if form is None else {"Retry_After": form}
