"""Asking for a token until there is an answer: throttled, unavailable, lost on the way.

Outreach issues one token a minute to a user and app; beyond it the answer is a 429, also in plain
text and without any header (API reference 5).
"""

from __future__ import annotations

import itertools
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from target_outreach.errors import OutreachError, Retriable
from target_outreach.outreach.outages import Outages
from target_outreach.outreach.refusals import wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.tokens import Tokens

logger = logging.getLogger("target-outreach")

#: Seconds between two access tokens for one user and app (API reference 5).
MINT_INTERVAL = 60.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
FIRST_THROTTLE = 5.0
TOO_MANY = 429

#: How often an endpoint may say how long to wait before its word is taken to be of no use.
TRUSTED_WAITS = 8

#: Seconds of a wait that a person at the terminal wants to know of.
LONG = 3.0
REPEATED = frozenset({408, 425, TOO_MANY})
SERVER_ERROR = 500


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
        outages: Says how long it is borne that no usable answer comes.

    Raises:
        OutreachError: No answer came that counts.
    """
    outages = outages or Outages()
    began = outages.now()
    for tries in itertools.count(1):
        try:
            return ask()
        except Retriable as error:
            if outages.is_over(tries, began):
                raise OutreachError(
                    f"No access token is to be had: {error} That was the last of {tries} tries."
                ) from None
            is_said = outages.is_said(error, began)
            wait = _wait(error, tries, clock, minted_at)
            if wait >= LONG and not is_said:
                logger.warning("%s Trying again in %.0f seconds.", error, wait)
            else:
                logger.log(logging.DEBUG if is_said else logging.INFO, "%s Trying again.", error)
            rest(wait)
    raise AssertionError  # the count has no end


def check_for_delay(answer: Answer, who: str) -> None:
    """Tell an endpoint that is throttled or unavailable from one that refuses for good.

    Args:
        answer: What it answered.
        who: Names it at the beginning of a sentence.

    Raises:
        Retriable: It is throttled or unavailable.
    """
    status = answer.status
    if status in REPEATED or status >= SERVER_ERROR:
        wait = wait_asked_for(answer, answer.server_time or datetime.now(UTC))
        raise Retriable(f"{who} answered {status}.", wait=wait, status=status)


def _wait(
    error: Retriable, tries: int, clock: Callable[[], float], minted_at: float | None
) -> float:
    """Return how long to wait: as told, else until a minute has passed since the last token."""
    growth = 2.0 ** min(tries - 1, TRUSTED_WAITS)
    if error.wait and tries <= TRUSTED_WAITS:
        return error.wait
    if error.status == TOO_MANY:
        since = clock() - minted_at if minted_at is not None else MINT_INTERVAL
        wait = MINT_INTERVAL - since if 0 <= since < MINT_INTERVAL else 0.0
        return max(wait, min(FIRST_THROTTLE * growth, MINT_INTERVAL), error.wait or 0.0)
    wait = min(FIRST_WAIT * growth, LONGEST_WAIT) * random.random()  # noqa: S311
    return max(wait, error.wait or 0.0)
