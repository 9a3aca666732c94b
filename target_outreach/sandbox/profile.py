"""The switches of the sandbox: which of the contested facts about Outreach hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from target_outreach.sandbox.apps import App, Installation

TakenWording = Literal["hash", "emails", "index"]
UnauthorizedStyle = Literal["text", "gateway", "errors"]
LimitHeaders = Literal["single", "double", "none"]
RetryAfter = Literal["delta", "epoch", "iso", "none"]
OversizedPage = Literal["clamp", "error"]
ThrottleStyle = Literal["errors", "text"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How this Outreach behaves where the public sources disagree or are silent.

    All values can be written as JSON: sequences may be lists, mappings may be dicts, and an `App`
    or an `Installation` is made of such values.
    The numbers in brackets are sections of the API reference.

    Attributes:
        anonymous: Whether requests need no bearer token.
        tokens: Accepted bearer tokens with their scopes (``prospects.read``, ``prospects.all``,
            …); None accepts every token that was not revoked, for everything, unless `apps` or
            `installations` are listed: then only tokens that the sandbox issued are good (7).
            Issued tokens are good beside these in any case, for their scopes and their time.
        apps: The OAuth clients. Empty means `SANDBOX_APP` (``sandbox-client``,
            ``sandbox-secret``), and a token endpoint that also takes clients, codes and refresh
            tokens that it has never seen, unless they were revoked (7).
        installations: The installed server-to-server apps (7).
        strict_rotation: Whether a refresh token dies as soon as it has been used; otherwise it
            lives on until it is too old or too many newer ones exist (7).
        rotation_grace: Whether under `strict_rotation` the used refresh token lives on until the
            tokens that it brought are first used, as with many OAuth servers; no source says so
            of Outreach.
        refresh_token_days: Life of a refresh token from its issue (7).
        refresh_token_cap: How many refresh tokens of an app live at once; the oldest die (7).
        access_token_seconds: Life of an access token, told as `expires_in` (7). Those of
            `installations` live for an hour.
        mint_throttle_seconds: For how long after an access token the token endpoint answers 429
            to the same client, at 60 as documented; 0 for no such limit (5).
        mint_throttle_style: Body of that 429: ``errors`` with a ``Retry-After`` in the form of
            `retry_after`, or the plain ``text`` of a throttle in front, without any header (5).
        unauthorized_style: Form of a 401: plain ``text`` (2018), the ``gateway``'s JSON (2026),
            or a list of ``errors`` (3.3).
        governed: What the user may read but not write: ``"accounts"`` or ``"prospects/7"`` (3.3).
        strict_media_type: Whether POST and PATCH insist on JSON:API's media type (1).
        string_relationship_ids: Whether related ids may be numbers in text (3.1).
        max_url_bytes: Longest path and query; beyond it the answer is a 414 (4.1).
        list_cap: How many values of a list filter are used; the rest is silently left out (4.1).
        case_sensitive_filters: Whether text filters tell upper from lower case (4.1).
        oversized_page: What happens to ``page[size]`` over 1,000 (4.2).
        rate_limit: Requests of the user in one window (5).
        rate_window_seconds: Length of the fixed window, aligned with the epoch (5).
        limit_headers: One number in ``X-RateLimit-Remaining``, two, or no headers at all (5).
        retry_after: Form of ``Retry-After`` on a 429 (5).
        latency_seconds: Time that every answer takes at least.
        taken_wording: How a taken address is refused: by the ``hash`` (2019 to 2023), by
            ``emails`` (newer), or as a violation of the ``index`` (3.4).
        purposeful_duplicates: Whether several prospects may share an address (3.4).
        excluded_domains: Domains whose addresses are refused, subdomains included (8.13).
        max_name_length: Longest first and last name; None for what the catalogue says (2.1).
        soft_delete: Whether a deleted record keeps its addresses, unseen, in the trash (8.8).
        company_from_account: Whether `company` shows the name of the linked account (2.1).
        normalise_phones: Whether telephone numbers are stored as ``+`` and digits (2.5).
    """

    anonymous: bool = False
    tokens: Mapping[str, Collection[str]] | None = None
    apps: Collection[App] = ()
    installations: Collection[Installation] = ()
    strict_rotation: bool = False
    rotation_grace: bool = False
    refresh_token_days: float = 14
    refresh_token_cap: int = 100
    access_token_seconds: int = 7200
    mint_throttle_seconds: float = 0
    mint_throttle_style: ThrottleStyle = "errors"
    unauthorized_style: UnauthorizedStyle = "gateway"
    governed: Collection[str] = ()
    strict_media_type: bool = True
    string_relationship_ids: bool = False
    max_url_bytes: int = 8192
    list_cap: int | None = None
    case_sensitive_filters: bool = False
    oversized_page: OversizedPage = "clamp"
    rate_limit: int = 10_000
    rate_window_seconds: int = 3600
    limit_headers: LimitHeaders = "single"
    retry_after: RetryAfter = "epoch"
    latency_seconds: float = 0.0
    taken_wording: TakenWording = "hash"
    purposeful_duplicates: bool = False
    excluded_domains: Collection[str] = ("outreach.io",)
    max_name_length: int | None = None
    soft_delete: bool = False
    company_from_account: bool = False
    normalise_phones: bool = False
