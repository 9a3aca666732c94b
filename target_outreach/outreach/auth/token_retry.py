"""Asking for a token until there is an answer: throttled, unavailable, lost on the way.

Outreach issues one token a minute to a user and app; beyond it the answer is a 429, also in plain
text and without any header (API reference 5).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from target_outreach.errors import OutreachError, Retriable, Unanswered
from target_outreach.outreach.outages import Outages, growth, wait_before_next
from target_outreach.outreach.refusals import TOO_MANY, passes, wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth.tokens import Tokens

logger = logging.getLogger("target-outreach")

#: Seconds between two access tokens for one user and app (API reference 5).
MINT_INTERVAL = 60.0
FIRST_THROTTLE = 5.0

#: Seconds of a wait that a person at the terminal should be told of.
LONG = 3.0


def ask_patiently(
    ask: Callable[[], Tokens],
    rest: Callable[[float], None],
    clock: Callable[[], float],
    minted_at: float | None,
    outages: Outages | None = None,
) -> Tokens:
    """Ask for tokens again while that may help.

    Args:
        ask: Asks once.
        rest: Waits for some seconds, or raises because the run ends.
        clock: Tells the time in seconds since the epoch.
        minted_at: When the last access token was issued, by that clock.
        outages: Decides how long a run waits while no usable answer comes.

    Raises:
        OutreachError: No answer came that counts.
    """

    def wait(error: Retriable, tries: int, is_said: bool) -> None:  # noqa: FBT001 - as it is called
        seconds = wait_before_next(error, tries)
        if error.status == TOO_MANY and not error.wait:
            since = clock() - minted_at if minted_at is not None else MINT_INTERVAL
            left = MINT_INTERVAL - since if 0 <= since < MINT_INTERVAL else 0.0
            seconds = max(left, min(FIRST_THROTTLE * growth(tries), MINT_INTERVAL))
        level = logging.DEBUG if is_said else logging.WARNING
        then = f" in {seconds:.0f} seconds" if seconds >= LONG else ""
        logger.log(level, "%s %s%s.", error, policy.retrying(tries), then)
        rest(seconds)

    policy = outages or Outages()
    try:
        return policy.repeat(ask, wait)
    except Unanswered as error:
        raise OutreachError(f"No access token is available: {error}") from None


def check_for_delay(answer: Answer, who: str) -> None:
    """Tell an endpoint that is throttled or unavailable from one that refuses for good.

    Raises:
        Retriable: It is throttled or unavailable.
    """
    if passes(answer.status):
        wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
        raise Retriable(f"{who} answered {answer.status}.", wait=wait, status=answer.status)
