"""The headers of Outreach's answers: their forms, and the rate limit that they show."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from target_outreach.outreach.answers import SMALLEST_EPOCH, first_number, http_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Headers that are named; those of a proxy could reveal its owner.
HEADERS = re.compile(
    r"x-rate-?limit-(limit|remaining|reset|used)(-(second|minute|hour|day))?|"
    r"ratelimit(-(policy|limit|remaining|reset))?|retry[-_]after|date|content-type|etag|"
    r"x-request-id|x-runtime"
)


def headers_seen(answers: Sequence[tuple[int, Mapping[str, str]]]) -> dict[str, Any]:
    """List the known headers, their forms, and the statuses of answers without them."""
    forms: dict[str, set[str]] = {}
    others: set[str] = set()
    for _, headers in answers:
        for name, text in headers.items():
            if HEADERS.fullmatch(name.lower()):
                forms.setdefault(name.lower(), set()).add(_form(text))
            else:
                others.add(name.lower())
    known = {
        name: {
            "forms": sorted(seen),
            "absent_from": sorted({status for status, had in answers if name not in had}),
        }
        for name, seen in sorted(forms.items())
    }
    return {"known": known, "others": len(others)}


def _form(text: str) -> str:
    numbers = [part.strip() for part in text.split(",")]
    if all(re.fullmatch(r"\d{1,15}", part, re.ASCII) for part in numbers):
        if len(numbers) > 1:
            return "two numbers" if len(numbers) == 2 else "more numbers"  # noqa: PLR2004
        return "epoch" if int(numbers[0]) > SMALLEST_EPOCH else "one number"
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return "text" if http_date(text) is None else "http date"
    return "iso 8601"


def rate_limit(answers: Iterable[tuple[int, Mapping[str, str]]]) -> dict[str, Any]:
    """Return Outreach's limit, and whether it resets on the hour, by the first answer with one."""
    for _, answer in answers:
        limit = first_number(answer.get("X-RateLimit-Limit"))
        reset = first_number(answer.get("X-RateLimit-Reset"))
        if limit is not None:
            hourly = None if reset is None or reset < SMALLEST_EPOCH else reset % 3600 == 0
            return {"limit": limit, "resets_on_the_hour": hourly}
    return {"unknown": "no answer says it"}
