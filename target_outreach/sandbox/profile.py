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
        only_token: The one bearer token that is good, for everything, and there is no page: as
            in a run that has a sandbox of its own. None for what follows.
        tokens: Accepted bearer tokens with their scopes (``prospects.read``, ``prospects.all``,
            …); None accepts every token that was not revoked, for everything, unless `apps` or
            `installations` are listed: then only tokens that the sandbox issued are good (7).
            Issued tokens are good beside these in any case, for their scopes and their time.
        apps: The OAuth clients. Empty means `SANDBOX_APP` (``sandbox-client``,
            ``sandbox-secret``), and a token endpoint that also takes clients, codes and refresh
            tokens that it has never seen, unless they were revoked (7).
        http_redirects: Whether an app that lists no redirect URIs may use the http addresses of
            this machine beside the https ones; Outreach registers only https ones (7).
        installations: The installed server-to-server apps (7).
        strict_rotation: Whether a refresh token is good for one use, as four clients of 2026 say;
            otherwise it lives on until it is too old or too many newer ones exist (7).
        rotation_grace: Whether under `strict_rotation` the used refresh token lives on until the
            tokens that it brought are first used, as with many OAuth servers; no source says so
            of Outreach.
        refresh_token_days: Life of a refresh token from its issue (7).
        refresh_token_cap: How many refresh tokens of an app live at once; the oldest die (7).
        access_token_seconds: Life of an access token, told as `expires_in` (7). Those of
            `installations` live for an hour.
        access_token_calls: For how many requests an access token is good, whatever its life; None
            for no such limit.
        mint_throttle_seconds: For how long after an access token the token endpoint answers 429
            to the same client, at 60 as documented; 0 for no such limit (5).
        mint_throttle_style: Body of that 429: ``errors`` with a ``Retry-After`` in the form of
            `retry_after`, or the plain ``text`` of a throttle in front, without any header (5).
        grant_refusal: Body with which the token endpoint refuses a grant or a client: an error of
            ``oauth``, or ``empty``; the statuses are known (7).
        unauthorized_style: Form of a 401: plain ``text`` (2018), the ``gateway``'s JSON (2026),
            a list of ``errors``, or one error, ``flat``, at the top level (3.3).
        organisation: Id of the organisation, as ``GET /`` tells it; None for one that the file
            made up.
        organisation_name: Its name.
        identity: Where ``GET /`` tells the organisation: in ``data``, with the scopes in `meta`;
            in ``meta``, as an older reading had it; or nowhere, only the ``user`` (1).
        identity_refusal: Status with which ``GET /`` is refused; None where it answers (1).
        governed: What the user may read but not write: ``"accounts"`` or ``"prospects/7"`` (3.3).
        strict_media_type: Whether POST and PATCH insist on JSON:API's media type (1).
        string_relationship_ids: Whether related ids may be numbers in text (3.1).
        bare_refusals: Whether a 400 of which no source gives the id says no more than
            ``Bad Request`` (3.3, 10.1).
        undocumented_attributes: Whether whole prospects show attributes that the specification has
            not, as recorded answers do (2.1).
        edge_links: Whether the first page of a list has a ``prev``, and the last one a ``next``,
            that are ``null``, or ``absent`` (3.1).
        max_url_bytes: Longest path and query; beyond it the answer is a 414 (4.1).
        list_cap: How many values of a list filter are used; the rest is silently ignored (4.1).
        case_sensitive_filters: Whether text filters are case-sensitive (4.1).
        list_lag_seconds: For how long lists do not show what was written, where a single read does:
            a new record is not there, a changed one is found by and shows what it was before.
            Deletions show at once. A new start of the sandbox brings lists up to date.
        oversized_page: What happens to ``page[size]`` over 1,000 (4.2).
        rate_limit: Requests of the user in one window (5).
        rate_window_seconds: Length of the fixed window, aligned with the epoch (5).
        limit_headers: One number in ``X-RateLimit-Remaining``, two, two in all of the headers, or
            no headers at all (5).
        retry_after: Form of ``Retry-After`` on a 429 (5).
        latency_seconds: Time that every answer takes at least.
        error_codes: Whether errors have a member `code` where one is known: ``taken`` and
            ``is_using_excluded_email_address`` (3.4).
        taken_wording: How a taken address is refused: by the ``hash`` (2019 to 2023), by
            ``emails`` (newer), or as a violation of the ``index`` (3.4).
        taken_status: Status of that refusal; a 409 was never seen (10.10).
        repeated_emails: Whether a PATCH that sends the addresses that a prospect has anyway is
            refused as if they were another's: one reading of a refusal met on PATCH (3.4).
        unique_accounts: Attributes of accounts, as `name` and `customId`, that no two accounts may
            share (2.3).
        purposeful_duplicates: Whether several prospects may share an address (3.4).
        excluded_domains: Domains whose addresses are refused, subdomains included (8.13).
        max_name_length: Longest first and last name; None for what the catalogue says (2.1).
        strict_time_zones: Whether a `timeZone` that is no IANA name is refused (8.9).
        null_arrays: Whether a null clears an array or is refused; ``[]`` clears it anyway (8.7).
        custom_answers: Whether custom fields are answered as ``text``, as they are specified, or
            ``typed``: numbers as numbers and several options as an array (8.5).
        soft_delete: Whether a deleted record keeps its addresses, unseen, in the trash (8.8).
        trash_listed: Whether such prospects are seen all the same, with `trashedAt` set (8.8).
        trash_frees_emails: Whether they let go of their addresses (8.8).
        company_account: What links a prospect without an account to one: its creation does, an
            ``unnamed`` account being made for it, which is called like its company or the domain of
            its address; or writing its `company`, which finds the account of that name or makes an
            unnamed one: ``linked``; or nothing: ``none`` (2.1, 2.3, 9a).
        unnamed_parameter: What lists of prospects do about
            ``actionParams[withUnnamedAccount]=false``: they show no link to an unnamed account; the
            parameter is ignored; or it is refused with a 400. Single reads honour it (2.3).
        unnamed_listed: Whether lists of accounts show unnamed ones where no filter asks for them;
            the specification says that they do not (2.3).
        company_from_account: Whether `company` shows the name of the linked account, if that is a
            named one (2.1).
        normalise_phones: Whether telephone numbers are stored as ``+`` and digits, by the country
            of the record's owner, else as American; users have it as `phoneCountryCode` (2.5).
        import_refusal: Status with which ``bulkUpsert`` is refused, as 403, 404 or 501; None where
            it works. No public client uses it (6.2, 6.4).
        import_s2s: Whether tokens of server to server are good for imports (6.1).
        import_record_scopes: Whether ``bulkUpsert`` needs the write scope of what its records are,
            beside ``imports.write``; so it is told of batches (6.1).
        import_shape: Whether a record is ``wrapped`` in a member `data` of its own, or ``flat``, a
            bare resource object; records of the other form are invalid (6.2).
        import_record_limit: Most records in one import; that of batches is known (5, 10.4).
        import_limit_status: Status of the refusal of more (10.4).
        import_max_bytes: Largest body, over which the answer is a 413; None for no limit (10.4).
        import_pending_seconds: For how long an import is pending (6.2).
        import_processing_seconds: Over how long its records are then written, one after the other,
            evenly (6.2).
        import_states: What the states are called: waiting, at work, done, failed (6.2, 10.4).
        import_end: In which state an import stays: ``pending`` without a record written,
            ``processing`` or ``failed`` with half of them, or ``finished`` (10.4).
        import_failed_share: Share of the records, evenly spread, that fail for no reason (10.4).
        import_lost_share: Share of the records that are not written, and yet count as if (10.4).
        import_counts: Whether `failures` counts what failed, is 0 whatever happens (``silent``), or
            counts what was written (``wrong``) (10.4).
        import_late_seconds: How long after an import says so its records are written (10.4).
        import_invalid: What a record with an unknown or invalid attribute does: that ``record``
            fails; only the ``attribute`` is ignored; the ``request`` is refused as a PATCH would
            be; or the ``import`` fails as a whole, with nothing written (10.4).
        import_unknown: What ``overwriteNoCreate`` does with an id that is not there; its name says
            that it does not create (6.2).
        import_new: What the other methods do with what has no id or one that is not there: it is
            ``created`` under an id of Outreach's choice, counts as a ``failure``, or is ``ignored``
            without a word; or a request in which a record has no id is ``refused`` (6.2, 10.4).
        import_twice: Whether each new record is created twice, whoever has its address (10.4).
        import_empty: What an import without records means: ``all`` records, as an empty list of ids
            may for batches; nothing at all; or a 422 (6.1, 10.9).
        import_opts_in: Whether an import can take back an opt-out; one of a file cannot (6.3).
        import_ignored: Attributes and relationships that imports ignore, without an error (10.4).
        enrolled_code: Whether under `error_codes` the refusal of a second enrolment has one, with
            the text ``has already been in this sequence``, beside `detail` (2.6).
        duplicate_enrolment: Whether a prospect may be in a sequence again: never, where it is
            finished there, or always; a ruleset says it (2.6).
        exclusive_sequences: Ids of sequences of which a prospect may be active in one only (2.6).
        opted_out_enrolment: What enrolling a prospect who opted out does: a 422, the same as for
            all others, or a state `opted_out`; transactional sequences do not mind (2.6, 2.7).
        inactive_sequences: Whether a sequence that is not enabled takes prospects (2.6).
        mailbox_required: Whether a sequence state needs a mailbox (2.7).
        disabled_mailbox: What enrolling with a mailbox that cannot send does: the same as with all
            others, a 422, or a state `failed`; no source says.
        owners_only: Whether prospects of other owners are refused: one reading of ``User not the
            owner`` (2.6).
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
