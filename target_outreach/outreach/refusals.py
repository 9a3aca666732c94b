"""The consequence of a refusal: wait, repeat, look up again, reject the record, or stop.

This is the one place where a status becomes an error (API reference 3.3 and 5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from target_outreach.errors import (
    AddressTaken,
    CredentialsError,
    OutcomeUnknown,
    OutreachError,
    RecordFault,
    Retriable,
    RunError,
    UriTooLong,
)
from target_outreach.outreach.answers import EXCLUDED, TAKEN, seconds_until

if TYPE_CHECKING:
    from datetime import datetime

    from target_outreach.outreach.answers import Answer, ErrorWords

SCOPE = re.compile(r"'([a-z_]+\.[a-z]+)'", re.IGNORECASE)
TAKEN_WORDS = ("already been taken", "already exists")
EXCLUDED_WORDS = ("excluded email address",)
UNPROCESSABLE = frozenset({409, 422})
TOO_MANY = 429
RETRIED = frozenset({408, 425, TOO_MANY})
NOT_FOUND = 404
ERROR = 400
REQUEST_TIMEOUT = 408
SERVER_ERROR = 500
CODES = {
    400: "bad_request",
    403: "not_authorized",
    404: "record_not_found",
    409: "conflict",
    422: "validation_error",
}


def refusal(answer: Answer, method: str, wait: float | None) -> Exception | None:
    """Turn an answer to a request of some method into the error that it means.

    The client handles 401 itself, since it may have a newer token. The answer may ask to wait for
    some seconds.

    Returns:
        The error to raise, or None where the request was carried out.
    """
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - the successes of HTTP
        return None
    said = answer.said
    if passes(status):
        was_worked_on = status >= SERVER_ERROR or status == REQUEST_TIMEOUT
        kind = OutcomeUnknown if method == "POST" and was_worked_on else Retriable
        return kind(f"Outreach answered {said}.", wait=wait, status=status)
    if status < ERROR:
        return OutreachError(
            f"Outreach answered {said}, a redirect, which is not followed; check api_url."
        )
    if (fatal := _fatal(answer, method, said)) is not None:
        fatal.status = status
        return fatal
    return _fault(answer, said)


def passes(status: int) -> bool:
    """Whether another try may succeed after this status."""
    return status in RETRIED or status >= SERVER_ERROR


def _fatal(answer: Answer, method: str, said: str) -> RunError | None:
    """Return the error if any other record would be refused too."""
    if (found := _misconfigured(answer, said)) is not None or method != "GET":
        return found
    if answer.status == 414:  # noqa: PLR2004
        return UriTooLong(f"Outreach refuses an address as too long ({said}).")
    if answer.status == 403:  # noqa: PLR2004
        return CredentialsError(f"The token may not read this ({said}).")
    return None if answer.status == 404 else OutreachError(f"Outreach refuses to read ({said}).")  # noqa: PLR2004


def _misconfigured(answer: Answer, said: str) -> RunError | None:
    error = answer.error
    if error.id == "unauthorizedOauthScope":
        scope = SCOPE.search(error.detail)
        name = f"the scope {scope[1]}" if scope else "a scope"
        option = f" --scope {scope[1]}" if scope else ""
        return CredentialsError(
            f"The token lacks {name} ({said}): give it to the app in Outreach, then log in with "
            f"`target-outreach login{option}`, or set a token that has it."
        )
    if answer.status == 415:  # noqa: PLR2004
        return OutreachError(
            f"Outreach answered {said}, although the media type was right: a proxy or middleware "
            "on the way probably changes the Content-Type header."
        )
    if answer.status == 407:  # noqa: PLR2004
        return OutreachError("The proxy requires credentials (407): check the proxy settings.")
    if error.id == "routeNotFound":
        return OutreachError(no_such_address(said))
    return None


def no_such_address(said: object) -> str:
    """Say that nothing exists at an address, with the status and Outreach's code if it gave one."""
    return f"Outreach knows no such address ({said}): check api_url. It normally ends in /api/v2."


def _fault(answer: Answer, said: str) -> RecordFault:
    """Make the refusal an error of the record, with Outreach's words for the rejects file."""
    error = answer.error
    if _is_about(answer.status, error, TAKEN, TAKEN_WORDS):
        return AddressTaken(
            "already_taken",
            f"Another record already has what should be unique ({said}).",
            field=error.field,
            status=answer.status,
            detail=error.words,
        )
    if _is_about(answer.status, error, EXCLUDED, EXCLUDED_WORDS):
        return RecordFault(
            "excluded_address",
            "An address of the record is on the exclusion list of your Outreach organisation, "
            f"which also covers the organisation's own domain ({said}).",
            field=error.field,
            status=answer.status,
            detail=error.words,
        )
    code = "relation_not_found" if error.names_no_relation else CODES.get(answer.status, "refused")
    return RecordFault(
        code,
        f"Outreach refuses the record ({said}).",
        field=error.field,
        status=answer.status,
        detail=error.words,
    )


def _is_about(status: int, error: ErrorWords, code: str, words: tuple[str, ...]) -> bool:
    """Compare the code of an error, or its words if the code is unknown (API reference 3.4).

    Words are matched loosely: three wordings of a taken address are known, none of them certain.
    """
    if error.code in {TAKEN, EXCLUDED}:
        return error.code == code
    if status not in UNPROCESSABLE:
        return False
    is_duplicate = code == TAKEN and error.id == "validationDuplicateValueError"
    return is_duplicate or any(part in error.detail.lower() for part in words)


def not_visible(taken: AddressTaken) -> RecordFault:
    """Say that an address is taken by a record that no lookup shows (API reference 3.4 and 8.8)."""
    return RecordFault(
        "owner_not_visible",
        "Another record owns an address of this one, but a lookup does not show it: it is in the "
        "trash, for 15 days at most, or the governance profile hides it from the token's user.",
        field=taken.field,
        status=taken.status,
        detail=taken.detail,
    )


def wait_asked_for(answer: Answer, now: datetime) -> float | None:
    """Return the seconds that an answer asks to wait; None if it asks for none."""
    asked = seconds_until(answer.headers.get("Retry-After"), now)
    if not asked and answer.status == TOO_MANY:
        asked = seconds_until(answer.headers.get("X-RateLimit-Reset"), now)
    return asked or None
