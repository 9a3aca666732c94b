"""Asking for a token until there is an answer: throttled, unavailable, lost on the way.

Outreach issues one token a minute to a user and app; beyond it the answer is a 429, also in plain
text and without any header (API reference 5).
"""

from __future__ import annotations

import itertools
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import backoff

from target_outreach.errors import OutreachError, Retriable
from target_outreach.outreach.refusals import wait_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.tokens import Tokens

logger = logging.getLogger("target-outreach")

#: Seconds between two access tokens for one user and app (API reference 5).
MINT_INTERVAL = 60.0
TRIES = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
FIRST_THROTTLE = 5.0
TOO_MANY = 429

#: Seconds of a wait that a person at the terminal wants to know of.
LONG = 3.0
REPEATED = frozenset({408, 425, TOO_MANY})
SERVER_ERROR = 500


def ask_patiently(
    ask: Callable[[], Tokens],
    rest: Callable[[float], None],
    clock: Callable[[], float],
    minted_at: float | None,
) -> Tokens:
    """Ask for tokens again while that may help.

    Args:
        ask: Asks once.
        rest: Waits for some seconds, or raises because the run ends.
        clock: Tells the time in seconds since the epoch.
        minted_at: When the last access token was issued, by that clock.

    Raises:
        OutreachError: No answer came that counts.
    """
    repeating = backoff.on_exception(
        lambda: _waits(rest, clock, minted_at),
        Retriable,
        max_tries=TRIES,
        jitter=None,
        on_backoff=_log_retry,
        logger=None,
    )
    try:
        return repeating(ask)()
    except Retriable as error:
        raise OutreachError(
            f"No access token is to be had: {error} That was the last of {TRIES} tries."
        ) from None


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


def _waits(
    rest: Callable[[float], None], clock: Callable[[], float], minted_at: float | None
) -> Generator[float, Retriable, None]:
    """Wait as told; without a word, until a minute has passed since the last token."""
    error = yield 0.0
    for tried in itertools.count():
        if error.wait:
            wait = error.wait
        elif error.status == TOO_MANY:
            since = clock() - minted_at if minted_at is not None else MINT_INTERVAL
            wait = MINT_INTERVAL - since if 0 <= since < MINT_INTERVAL else 0.0
            wait = max(wait, min(FIRST_THROTTLE * 2**tried, MINT_INTERVAL))
        else:
            wait = min(FIRST_WAIT * 2**tried, LONGEST_WAIT) * random.random()  # noqa: S311
        if wait >= LONG:
            logger.warning("%s Trying again in %.0f seconds.", error, wait)
        rest(wait)
        error = yield 0.0


def _log_retry(details: Any) -> None:  # noqa: ANN401 - backoff's
    logger.info("%s Trying again.", details["exception"])
