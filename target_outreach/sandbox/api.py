"""The routes of the sandbox: from one request to one answer."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import errors, paging
from target_outreach.sandbox.accounts import NAMED, check_uniqueness, unnamed_among
from target_outreach.sandbox.database import EmailTakenError
from target_outreach.sandbox.discovery import USER_ID, answer_identity, answer_types
from target_outreach.sandbox.enrolment import complete
from target_outreach.sandbox.filters import conditions
from target_outreach.sandbox.importing import Importer
from target_outreach.sandbox.imports import Imports
from target_outreach.sandbox.limits import limit_headers, retry_after
from target_outreach.sandbox.messages import Answer, json_answer, page_answer
from target_outreach.sandbox.prospects import completed
from target_outreach.sandbox.resources import (
    UNDOCUMENTED,
    Record,
    object_type,
    render,
)
from target_outreach.sandbox.rights import check_governance, check_method, check_scope
from target_outreach.sandbox.validation import read_change
from target_outreach.sandbox.values import show_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_outreach.sandbox.access import Access
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.limits import RateLimit
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Change
    from target_outreach.sandbox.tokens import Permit

PREFIX = "/api/v2"
_FIELDS = re.compile(r"fields\[(\w+)\]$")

Parameters = list[tuple[str, str]]


class Api:
    """Outreach's API over the records of one file.

    Args:
        database: The records.
        limit: The rate limit of the user.
        access: The tokens.
        clock: Returns epoch seconds.
        url: Start of all links, as ``http://127.0.0.1:8080/api/v2``.
    """

    def __init__(
        self,
        database: Database,
        limit: RateLimit,
        access: Access,
        clock: Callable[[], float],
        url: str,
    ) -> None:
        self._database = database
        self._limit = limit
        self._access = access
        self._clock = clock
        self._url = url
        self._importer = Importer(database, clock)
        self._imports = Imports(database, self._importer, url)

    def answer(self, request: Request, profile: Profile) -> Answer:
        """Do what the request asks for and answer it; refusals are answers too."""
        if len(request.target) > profile.max_url_bytes:
            return page_answer(414, "Request-URI Too Large")
        given = self._access.answer(request, profile)
        if given is not None:
            return given
        permit = self._access.permit(request, profile)
        if permit is None:
            answer = errors.unauthorized(profile.unauthorized_style)
            allowance = self._limit.look(profile)
        else:
            allowance = self._limit.take(profile)
            if allowance.granted:
                answer = self._granted(request, profile, permit)
            else:
                wait = retry_after(allowance, profile, self._clock())
                answer = errors.rate_limited(allowance.limit, allowance.reset).answer(**wait)
        headers = answer.headers + limit_headers(allowance, profile)
        return Answer(answer.status, answer.body, headers, answer.media_type)

    def settle(self, profile: Profile) -> None:
        """Write what imports should have written by now."""
        self._importer.settle(profile)

    def _granted(self, request: Request, profile: Profile, permit: Permit) -> Answer:
        self.settle(profile)
        try:
            return self._route(request, profile, permit)
        except errors.ApiError as error:
            shown = errors.bared(error) if profile.bare_refusals else error
            return (shown if profile.error_codes else errors.uncoded(shown)).answer()

    def _route(self, request: Request, profile: Profile, permit: Permit) -> Answer:
        path = request.path.rstrip("/")
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            match request.method, path.removeprefix(PREFIX).split("/")[1:]:
                case "GET", []:
                    return answer_identity(self._database, permit, profile, self._url)
                case "GET", ["types"]:
                    return answer_types(self._database)
                case "POST", ["imports", "actions", "bulkUpsert"]:
                    return self._imports.start(request, profile, permit)
                case "GET", ["imports", text]:
                    return self._imports.show(text, profile, permit)
                case _, [name] if name in load_catalog():
                    check_method(name, request.method, "GET", "POST")
                    check_scope(name, request.method, permit)
                    return self._collection(name, request, profile)
                case _, [name, record_id] if name in load_catalog():
                    check_method(name, request.method, "GET", "PATCH", "DELETE")
                    check_scope(name, request.method, permit)
                    return self._resource(name, record_id, request, profile)
        raise errors.route_not_found()

    def _collection(self, name: str, request: Request, profile: Profile) -> Answer:
        if request.method == "POST":
            return self._create(name, request, profile)
        return self._list(name, request, profile)

    def _resource(self, name: str, text: str, request: Request, profile: Profile) -> Answer:
        record = self._database.find(name, int(text)) if text.isdecimal() else None
        if record is None:
            raise errors.not_found(object_type(name).type, text)
        if request.method == "GET":
            return self._shown(200, name, record, request, profile)
        check_governance(name, record.id, profile)
        try:
            if request.method == "DELETE":
                return self._delete(name, record, profile)
            return self._update(name, record, request, profile)
        except KeyError:
            # Somebody else deleted it between the look and the write.
            raise errors.not_found(object_type(name).type, text) from None

    def _list(self, name: str, request: Request, profile: Profile) -> Answer:
        pairs = _parameters(request)
        parameters = dict(pairs)
        fields = _fields(name, pairs)
        where = conditions(name, pairs, profile)
        hides_links = name == "prospects" and _hides_unnamed(parameters)
        if hides_links and profile.unnamed_parameter == "refused":
            raise errors.invalid_parameter("actionParams")
        if (
            name == "accounts"
            and not profile.unnamed_listed
            and not any(key.startswith("filter[named]") for key in parameters)
        ):
            where = [*where, NAMED]
        counted = parameters.get("count") == "true"
        by_offset = {"page[limit]", "page[offset]"} & parameters.keys()
        read = paging.by_offset if by_offset else paging.by_cursor
        shown_until = self._clock() - profile.list_lag_seconds
        with self._database.as_of(shown_until) if profile.list_lag_seconds else nullcontext():
            page = read(self._database, name, where, parameters, profile)
            count = self._database.count(name, where) if counted else None
        records = page.records
        if hides_links and profile.unnamed_parameter == "honoured":
            records = self._without_unnamed(records)
        document: dict[str, Any] = {
            "data": self._rendered(name, records, fields, profile),
            "meta": {"count": count, "count_truncated": False},
        }
        links = paging.link_urls(page, f"{self._url}/{name}", pairs, profile)
        return json_answer(200, document if links is None else {**document, "links": links})

    def _create(self, name: str, request: Request, profile: Profile) -> Answer:
        check_governance(name, None, profile)
        change = self._change(name, None, request, profile)
        if "externalSource" in object_type(name).attributes:
            # What real answers show where the client names no source (2.1).
            sourced = {"externalSource": "outreach-api", **change.attributes}
            change = replace(change, attributes=sourced)
        try:
            with self._database.transaction():
                change = self._completed(name, change, None, profile)
                record = self._database.create(name, change)
        except EmailTakenError:
            raise errors.taken(profile.taken_wording, profile.taken_status) from None
        return self._shown(201, name, record, request, profile)

    def _update(self, name: str, record: Record, request: Request, profile: Profile) -> Answer:
        change = self._change(name, record.id, request, profile)
        if profile.repeated_emails == "refused" and _repeats_emails(change, record):
            raise errors.taken("index", profile.taken_status)
        try:
            with self._database.transaction():
                change = self._completed(name, change, record, profile)
                after = self._database.modify(name, record.id, change)
        except EmailTakenError:
            raise errors.taken(profile.taken_wording, profile.taken_status) from None
        return self._shown(200, name, after, request, profile)

    def _completed(
        self, name: str, change: Change, before: Record | None, profile: Profile
    ) -> Change:
        """Check a write against other records and add what follows from it, in a transaction."""
        match name:
            case "accounts":
                account = None if before is None else before.id
                check_uniqueness(change, account, self._database, profile)
            case "prospects":
                return completed(change, before, self._database, profile)
            case "sequenceStates":
                return complete(change, self._database, profile)
        return change

    def _delete(self, name: str, record: Record, profile: Profile) -> Answer:
        if profile.soft_delete:
            self._database.trash(
                name,
                record.id,
                listed=profile.trash_listed,
                frees_emails=profile.trash_frees_emails,
            )
        else:
            self._database.delete(name, record.id)
        return Answer(204)

    def _change(
        self, name: str, record_id: int | None, request: Request, profile: Profile
    ) -> Change:
        if any(key == "include" for key, _ in _parameters(request)):
            # Refused on writes since 2023 (1).
            raise errors.invalid_parameter("include")
        change = read_change(name, record_id, request, profile, self._database)
        return replace(change, author=USER_ID)

    def _shown(
        self, status: int, name: str, record: Record, request: Request, profile: Profile
    ) -> Answer:
        parameters = _parameters(request)
        fields = _fields(name, parameters)
        records = [record]
        if name == "prospects" and _hides_unnamed(dict(parameters)):
            records = self._without_unnamed(records)
        (resource,) = self._rendered(name, records, fields, profile)
        return json_answer(status, {"data": resource})

    def _rendered(
        self, name: str, records: Sequence[Record], fields: set[str] | None, profile: Profile
    ) -> list[dict[str, Any]]:
        if profile.company_from_account and name == "prospects":
            records = [self._with_company(record) for record in records]
        shown = [render(name, record, self._url, fields) for record in records]
        if profile.custom_answers == "typed":
            show_types(shown, self._database.custom_fields(name))
        if profile.undocumented_attributes and name == "prospects" and fields is None:
            for resource in shown:
                resource["attributes"] |= UNDOCUMENTED
        return shown

    def _without_unnamed(self, records: Sequence[Record]) -> list[Record]:
        """Take from prospects the links to unnamed accounts."""
        linked = {one.relationships["account"] for one in records if "account" in one.relationships}
        unnamed = unnamed_among(linked, self._database)
        return [
            replace(
                one,
                relationships={
                    link: related
                    for link, related in one.relationships.items()
                    if link != "account" or related not in unnamed
                },
            )
            for one in records
        ]

    def _with_company(self, record: Record) -> Record:
        account = record.relationships.get("account")
        found = None if account is None else self._database.find("accounts", account)
        if found is None or found.attributes.get("named") is False:
            return record
        attributes = {**record.attributes, "company": found.attributes.get("name")}
        return Record(record.id, attributes, record.relationships)


def _hides_unnamed(parameters: Mapping[str, str]) -> bool:
    return parameters.get("actionParams[withUnnamedAccount]") == "false"


def _repeats_emails(change: Change, record: Record) -> bool:
    sent = change.attributes.get("emails")
    return bool(sent) and sent == record.attributes.get("emails")


def _parameters(request: Request) -> Parameters:
    return parse_qsl(request.query, keep_blank_values=True)


def _fields(name: str, parameters: Parameters) -> set[str] | None:
    """Read ``fields[type]=a,b``; None where all fields are wanted (4.2)."""
    wanted = None
    by_type = {kind.type: kind for kind in load_catalog().values()}
    for key, text in parameters:
        match = _FIELDS.match(key)
        if match is None:
            continue
        kind = by_type.get(match[1])
        fields = {field for field in text.split(",") if field}
        for field in sorted(fields):
            if kind is None or not (field in kind.attributes or field in kind.relationships):
                raise errors.unknown_field(field)
        if kind is object_type(name):
            wanted = fields
    return wanted
