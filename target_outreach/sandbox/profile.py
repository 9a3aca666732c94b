"""The switches of the sandbox: which of the contested facts about Outreach hold."""

from __future__ import annotations

# Needed when the program runs, to read a profile from a file.
from collections.abc import Collection, Mapping, Sequence  # noqa: TC003
from dataclasses import dataclass, field
from typing import Literal

from target_outreach.sandbox.apps import App, Installation  # noqa: TC001

TakenWording = Literal["hash", "emails", "index"]
UnauthorizedStyle = Literal["text", "gateway", "errors", "flat"]
GrantRefusal = Literal["oauth", "empty"]
LimitHeaders = Literal["single", "double", "doubled", "none"]
RetryAfter = Literal["delta", "epoch", "iso", "none"]
OversizedPage = Literal["clamp", "error"]
ThrottleStyle = Literal["errors", "text"]
EdgeLinks = Literal["null", "absent"]
RepeatedEmails = Literal["accepted", "refused"]
CompanyAccount = Literal["unnamed", "linked", "none"]
UnnamedParameter = Literal["honoured", "ignored", "refused"]
CustomAnswers = Literal["text", "typed"]
NullArrays = Literal["cleared", "refused"]
ImportShape = Literal["wrapped", "flat", "both"]
ImportEnd = Literal["finished", "failed", "pending", "processing"]
ImportCounts = Literal["honest", "silent", "wrong"]
ImportNew = Literal["created", "failure", "ignored", "refused"]
ImportInvalid = Literal["record", "attribute", "request", "import"]
ImportUnknown = Literal["failure", "skipped", "created"]
ImportEmpty = Literal["all", "refused", "nothing"]
DuplicateEnrolment = Literal["disallow", "only_if_inactive", "allow"]
OptedOutEnrolment = Literal["refused", "accepted", "opted_out"]
IdentityForm = Literal["data", "meta", "user"]
DisabledMailbox = Literal["accepted", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How this Outreach behaves where the public sources disagree or are silent.

    All values can be written as JSON: sequences may be lists, mappings may be dicts, and an `App`
    or an `Installation` is made of such values.
    The numbers in brackets are sections of the API reference.

    Attributes:
        only_token: The only bearer token that is accepted; it may do everything, and the sandbox
            has no page. A run with a sandbox of its own uses this. None if the switches below
            decide.
        tokens: Accepted bearer tokens with their scopes (``prospects.read``, ``prospects.all``, …).
            None accepts every token for everything, unless it was revoked. If `apps` or
            `installations` are listed, None accepts only tokens that the sandbox issued (7). Issued
            tokens are always accepted too, for their scopes, until they expire.
        apps: The OAuth clients. If there are none, the only app is `SANDBOX_APP`
            (``sandbox-client``, ``sandbox-secret``). Then the token endpoint also takes unknown
            clients, codes and refresh tokens, unless they were revoked (7).
        http_redirects: Whether an app that lists no redirect URIs may also use the http addresses
            of this machine. Outreach registers only https ones (7).
        installations: The installed server-to-server apps (7).
        strict_rotation: Whether a refresh token works once only, as four clients of 2026 say.
            Otherwise it works until it expires, or until there are too many newer ones (7).
        rotation_grace: Whether under `strict_rotation` a used refresh token works until the new
            tokens are first used. Many OAuth servers do so; no source says it of Outreach.
        refresh_token_days: Days after which a refresh token expires (7).
        refresh_token_cap: How many refresh tokens an app may have; then the oldest expire (7).
        access_token_seconds: Seconds after which an access token expires; the answer says so as
            `expires_in` (7). Tokens of `installations` expire after an hour.
        access_token_calls: For how many requests an access token may be used; None for no such
            limit.
        mint_throttle_seconds: Seconds in which a client gets only one access token; more requests
            get a 429. Outreach documents 60; 0 for no such limit (5).
        mint_throttle_style: Body of that 429: ``errors`` with a ``Retry-After`` in the form of
            `retry_after`, or plain ``text`` without any header, as from a proxy (5).
        grant_refusal: Body of a refusal of the token endpoint: an error of ``oauth``, or ``empty``.
            The statuses are known (7).
        unauthorized_style: Form of a 401: plain ``text`` (2018), the JSON of the ``gateway``
            (2026), a list of ``errors``, or ``flat``, one error at the top level (3.3).
        organisation: Id of the organisation in the answer of ``GET /``; None for an invented one.
        organisation_name: Its name.
        identity: Where ``GET /`` names the organisation: in ``data``, with the scopes in `meta`; in
            ``meta``, as older clients read it; or nowhere, so that it names only the ``user`` (1).
        identity_refusal: Status with which ``GET /`` is refused; None if it answers (1).
        governed: What the user may read but not write: ``"accounts"`` or ``"prospects/7"`` (3.3).
        strict_media_type: Whether POST and PATCH must have JSON:API's media type (1).
        string_relationship_ids: Whether ids of related records may be text (3.1).
        bare_refusals: Whether a 400 says only ``Bad Request`` where no source gives its `id` (3.3,
            10.1).
        undocumented_attributes: Whether records have attributes that are not in the specification,
            as in recorded answers (2.1).
        edge_links: Whether a list has links ``prev`` on its first page and ``next`` on its last: as
            ``null``, or ``absent`` (3.1).
        max_url_bytes: The most bytes of path and query; a longer request gets a 414 (4.1).
        list_cap: How many values of a list filter are used; the others are ignored silently (4.1).
        case_sensitive_filters: Whether text filters are case-sensitive (4.1).
        list_lag_seconds: Seconds until lists show what was written; single reads show it at once.
            Until then, a new record is missing, and a changed one is found and shown as it was.
            Lists show deletions at once. A restart of the sandbox brings lists up to date.
        oversized_page: What happens to ``page[size]`` over 1,000 (4.2).
        rate_limit: Requests of the user in one window (5).
        rate_window_seconds: Length of the fixed window; windows begin at multiples of it since 1970
            (5).
        limit_headers: Whether ``X-RateLimit-Remaining`` holds one number (``single``) or two
            (``double``), all headers hold two (``doubled``), or there are no headers (``none``)
            (5).
        retry_after: Form of ``Retry-After`` on a 429 (5).
        latency_seconds: Seconds that each answer takes at least.
        error_codes: Whether errors have a member `code`: ``taken`` or
            ``is_using_excluded_email_address`` (3.4).
        taken_wording: Wording of the refusal of a taken address: it names the ``hash`` (2019 to
            2023), the ``emails`` (newer), or the ``index`` of the database (3.4).
        taken_status: Status of that refusal; nobody has seen a 409 (10.10).
        repeated_emails: Whether a PATCH that repeats the prospect's own addresses is refused as if
            they were taken. A refusal of a PATCH could be read so (3.4).
        unique_accounts: Attributes that must be unique among accounts, such as `name` and
            `customId` (2.3).
        purposeful_duplicates: Whether several prospects may share an address (3.4).
        excluded_domains: Domains whose addresses are refused, with their subdomains (8.13).
        max_name_length: The most characters of a first or last name; None for the documented number
            (2.1).
        strict_time_zones: Whether a `timeZone` that is not an IANA name is refused (8.9).
        null_arrays: Whether a null empties a list (``cleared``) or is refused; ``[]`` always
            empties it (8.7).
        custom_answers: Whether answers hold custom fields as ``text``, as specified, or ``typed``:
            numbers as numbers, several options as a list (8.5).
        soft_delete: Whether a deleted record stays in the trash and keeps its addresses (8.8).
        trash_listed: Whether lists and reads show records in the trash, with `trashedAt` set (8.8).
        trash_frees_emails: Whether addresses of records in the trash may be used again (8.8).
        company_account: What links a prospect without an account to one. ``unnamed``: its creation
            makes an unnamed account, with the name of its company or the domain of its address.
            ``linked``: writing `company` finds the account of that name, or makes an unnamed one.
            ``none``: nothing does (2.1, 2.3, 9a).
        unnamed_parameter: What lists of prospects do with
            ``actionParams[withUnnamedAccount]=false``: hide links to unnamed accounts
            (``honoured``), ignore it, or refuse it with a 400. Single reads honour it (2.3).
        unnamed_listed: Whether lists of accounts show unnamed ones without a filter for them. The
            specification says that they do not (2.3).
        company_from_account: Whether `company` shows the name of the linked account, if it is a
            named one (2.1).
        normalise_phones: Whether telephone numbers are stored as ``+`` and digits. The country is
            that of the record's owner (`phoneCountryCode` of the user), else the USA (2.5).
        import_refusal: Status with which ``bulkUpsert`` is refused, such as 403, 404 or 501; None
            if it works. No public client uses it (6.2, 6.4).
        import_s2s: Whether server-to-server tokens may use imports (6.1).
        import_record_scopes: Whether ``bulkUpsert`` needs the write scope of the records beside
            ``imports.write``. Batches are documented to need it (6.1).
        import_shape: Whether each record must be ``wrapped`` in a member `data`, or ``flat``,
            without one. Records of the other form are invalid; ``both`` takes both (6.2).
        import_record_limit: The most records in one import; only the limit of batches is known (5,
            10.4).
        import_limit_status: Status of the refusal of an import with more records (10.4).
        import_max_bytes: The most bytes of a body; a larger one gets a 413. None for no limit
            (10.4).
        import_pending_seconds: Seconds that an import waits before it begins (6.2).
        import_processing_seconds: Seconds in which its records are then written, one after the
            other (6.2).
        import_states: Names of the states: waiting, being written, done, failed (6.2, 10.4).
        import_end: The last state of an import: ``pending`` (no record is written), ``processing``
            or ``failed`` (half of them are), or ``finished`` (10.4).
        import_failed_share: Share of records that fail without a reason, evenly spread (10.4).
        import_lost_share: Share of records that are not written but count as written (10.4).
        import_counts: Whether `failures` is the number of failed records (``honest``), always 0
            (``silent``), or the number of written ones (``wrong``) (10.4).
        import_late_seconds: Seconds between the end that an import reports and the writing of its
            records (10.4).
        import_invalid: What happens if a record has an unknown or invalid attribute: the ``record``
            fails; the ``attribute`` is ignored; the ``request`` is refused, as a PATCH would be; or
            the ``import`` fails, and nothing is written (10.4).
        import_unknown: What ``overwriteNoCreate`` does with an unknown id; its name says that it
            creates nothing (6.2).
        import_new: What the other methods do with a record that has no id or an unknown one: it is
            ``created`` with a new id, counts as a ``failure``, or is ``ignored`` silently. With
            ``refused``, a request with a record without an id is refused (6.2, 10.4).
        import_twice: Whether each new record is created twice, even if its address is taken (10.4).
        import_empty: What an import without records means: ``all`` records, as an empty list of ids
            may mean for batches; ``nothing``; or a 422 (``refused``) (6.1, 10.9).
        import_opts_in: Whether an import can undo an opt-out. An import of a CSV file cannot (6.3).
        import_ignored: Attributes and relationships that imports ignore without an error (10.4).
        enrolled_code: Whether under `error_codes` the refusal of a second enrolment has ``has
            already been in this sequence`` as its `code` too, not only in `detail` (2.6).
        duplicate_enrolment: Whether a prospect may be enrolled in the same sequence again: never
            (``disallow``), if it has finished there (``only_if_inactive``), or always (``allow``).
            The ruleset of a sequence decides this (2.6).
        exclusive_sequences: Ids of sequences that exclude each other: a prospect may be active in
            one of them (2.6).
        opted_out_enrolment: What happens if a prospect that opted out is enrolled: a 422
            (``refused``), the same as for others (``accepted``), or the state ``opted_out``.
            Transactional sequences accept it always (2.6, 2.7).
        inactive_sequences: Whether a sequence that is not enabled accepts prospects (2.6).
        mailbox_required: Whether a sequence state needs a mailbox (2.7).
        disabled_mailbox: What happens if the mailbox cannot send: the same as with others
            (``accepted``), a 422 (``refused``), or the state ``failed``. No source says.
        owners_only: Whether only the owner of a prospect may enrol it. The refusal ``User not the
            owner`` could be read so (2.6).
    """

    only_token: str | None = field(default=None, repr=False)
    tokens: Mapping[str, Collection[str]] | None = None
    apps: Collection[App] = ()
    http_redirects: bool = False
    installations: Collection[Installation] = ()
    strict_rotation: bool = True
    rotation_grace: bool = False
    refresh_token_days: float = 14
    refresh_token_cap: int = 100
    access_token_seconds: int = 7200
    access_token_calls: int | None = None
    mint_throttle_seconds: float = 0
    mint_throttle_style: ThrottleStyle = "errors"
    grant_refusal: GrantRefusal = "oauth"
    unauthorized_style: UnauthorizedStyle = "gateway"
    organisation: int | str | None = None
    organisation_name: str = "Sandbox"
    identity: IdentityForm = "data"
    identity_refusal: Literal[403, 404] | None = None
    governed: Collection[str] = ()
    strict_media_type: bool = True
    string_relationship_ids: bool = False
    bare_refusals: bool = False
    undocumented_attributes: bool = False
    edge_links: EdgeLinks = "null"
    max_url_bytes: int = 8192
    list_cap: int | None = None
    case_sensitive_filters: bool = False
    list_lag_seconds: float = 0.0
    oversized_page: OversizedPage = "clamp"
    rate_limit: int = 10_000
    rate_window_seconds: int = 3600
    limit_headers: LimitHeaders = "single"
    retry_after: RetryAfter = "epoch"
    latency_seconds: float = 0.0
    error_codes: bool = True
    taken_wording: TakenWording = "hash"
    taken_status: int = 422
    repeated_emails: RepeatedEmails = "accepted"
    unique_accounts: Collection[str] = ()
    purposeful_duplicates: bool = False
    excluded_domains: Collection[str] = ("outreach.io",)
    max_name_length: int | None = None
    strict_time_zones: bool = False
    null_arrays: NullArrays = "cleared"
    custom_answers: CustomAnswers = "text"
    soft_delete: bool = False
    trash_listed: bool = False
    trash_frees_emails: bool = False
    company_account: CompanyAccount = "unnamed"
    unnamed_parameter: UnnamedParameter = "honoured"
    unnamed_listed: bool = False
    company_from_account: bool = False
    normalise_phones: bool = True
    import_refusal: int | None = None
    import_s2s: bool = True
    import_record_scopes: bool = True
    import_shape: ImportShape = "wrapped"
    import_record_limit: int = 100_000
    import_limit_status: int = 422
    import_max_bytes: int | None = None
    import_pending_seconds: float = 0.1
    import_processing_seconds: float = 0.2
    import_states: Sequence[str] = ("pending", "processing", "finished", "failed")
    import_end: ImportEnd = "finished"
    import_failed_share: float = 0.0
    import_lost_share: float = 0.0
    import_counts: ImportCounts = "honest"
    import_late_seconds: float = 0.0
    import_invalid: ImportInvalid = "record"
    import_unknown: ImportUnknown = "failure"
    import_new: ImportNew = "created"
    import_twice: bool = False
    import_empty: ImportEmpty = "all"
    import_opts_in: bool = False
    import_ignored: Collection[str] = ()
    enrolled_code: bool = False
    duplicate_enrolment: DuplicateEnrolment = "disallow"
    exclusive_sequences: Collection[int] = ()
    opted_out_enrolment: OptedOutEnrolment = "refused"
    inactive_sequences: bool = False
    mailbox_required: bool = True
    disabled_mailbox: DisabledMailbox = "accepted"
    owners_only: bool = False
