"""From the facts that ``target-outreach check --probe`` found to a sandbox that behaves so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBERS = {"one number": "single", "two numbers": "double"}


def profile_from_facts(facts: Mapping[str, Any], base: Profile | None = None) -> Profile:
    """Set the switches that facts decide; what is unknown stays as it is.

    ==========================  ===================================================================
    switch                      facts
    ==========================  ===================================================================
    `identity`                  ``identity``: where the organisation is told
    `identity_refusal`          ``identity.refused``
    `case_sensitive_filters`    ``case``: whether any of the filters minds it
    `list_cap`                  ``list_length``: the shortest of the longest lists that work, where
                                longer ones leave values out; refused ones are no cap
    `max_url_bytes`             ``url_bytes``: the longest that works
    `oversized_page`            ``page_size``: ``error`` if 1,001 are refused
    `limit_headers`             ``headers``: the form of ``X-RateLimit-Remaining``, ``none`` if no
                                answer has it
    `unauthorized_style`        ``errors.invented_token``: the form of the body of a 401
    `rate_limit`                ``rate_limit.limit``
    ==========================  ===================================================================

    Args:
        facts: The JSON that the probe printed.
        base: The profile to begin with.
    """
    found = (
        _identity(facts)
        | _case(facts)
        | _list_cap(facts)
        | _longest_url(facts)
        | _oversized_page(facts)
        | _limit(facts)
        | _unauthorized(facts)
    )
    return replace(base or Profile(), **found)


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    told = _part(facts, "identity")
    if (status := told.get("refused")) in {403, 404}:
        return {"identity_refusal": status}
    return {"identity": told["organisation"] or "user"} if "organisation" in told else {}


def _case(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = {fact for fact in _part(facts, "case").values() if isinstance(fact, str)}
    return {"case_sensitive_filters": "case-sensitive" in known} if known else {}


def _list_cap(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = [
        fact
        for fact in _part(facts, "list_length").values()
        if isinstance(fact, dict) and fact.get("largest_that_works")
    ]
    caps = [one["largest_that_works"] for one in known if one.get("failure") == "not found"]
    return {"list_cap": min(caps, default=None)} if known else {}


def _longest_url(facts: Mapping[str, Any]) -> dict[str, Any]:
    longest = _part(facts, "url_bytes").get("largest_that_works")
    return {"max_url_bytes": longest} if longest else {}


def _oversized_page(facts: Mapping[str, Any]) -> dict[str, Any]:
    larger = _part(facts, "page_size").get("1001")
    return {"oversized_page": "error" if larger == "refused" else "clamp"} if larger else {}


def _limit(facts: Mapping[str, Any]) -> dict[str, Any]:
    known = _part(facts, "headers").get("known")
    if not known:
        return {}
    forms = _part(known, "x-ratelimit-remaining").get("forms", [])
    style = next((_NUMBERS[form] for form in forms if form in _NUMBERS), "none")
    limit = _part(facts, "rate_limit").get("limit")
    return {"limit_headers": style} | ({"rate_limit": limit} if limit else {})


def _unauthorized(facts: Mapping[str, Any]) -> dict[str, Any]:
    refusal = _part(_part(facts, "errors"), "invented_token")
    usable = refusal.get("status") == 401 and refusal.get("body") in {"text", "gateway", "errors"}  # noqa: PLR2004
    return {"unauthorized_style": refusal["body"]} if usable else {}


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, dict) else {}
