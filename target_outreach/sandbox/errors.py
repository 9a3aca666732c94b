"""The errors that Outreach answers with, one function each (API reference 3.2 and 3.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox.messages import PLAIN_JSON, Answer, json_answer

if TYPE_CHECKING:
    from target_outreach.sandbox.profile import TakenWording, UnauthorizedStyle

_PUBLISHED = {"permittedParams.unknownAttribute", "fieldsParameter.unknownResourceField"}


class ApiError(Exception):
    """A refusal, to be answered as Outreach's error envelope.

    Args:
        status: HTTP status.
        error_id: Stable id in camel case; the title is made from it.
        detail: One sentence.
        pointer: JSON pointer to the fault in the request, or None.
        detail_member: Name of the member that holds the detail.
    """

    def __init__(
        self,
        status: int,
        error_id: str,
        detail: str,
        pointer: str | None = None,
        detail_member: str = "detail",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.error_id = error_id
        self.error: dict[str, Any] = {"id": error_id, "title": _title(error_id)}
        self.error[detail_member] = detail
        if pointer is not None:
            self.error["source"] = {"pointer": pointer}

    def answer(self, **headers: str) -> Answer:
        """Return the HTTP answer."""
        return json_answer(self.status, {"errors": [self.error]}, **headers)


def bared(error: ApiError) -> ApiError:
    """Take all from a 400 that no source tells of (3.3); two of the ids are published."""
    if error.status != HTTPStatus.BAD_REQUEST or error.error_id in _PUBLISHED:
        return error
    return ApiError(error.status, "badRequest", "Bad Request")


def coded(code: str, error: ApiError) -> ApiError:
    """Add the `code` of the rule that was broken, where it is known (3.4)."""
    error.error["code"] = code
    return error


def uncoded(error: ApiError) -> ApiError:
    """Take the `code` from an error, which those that were recorded until 2023 did not have."""
    error.error.pop("code", None)
    return error


def _title(error_id: str) -> str:
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", error_id.rpartition(".")[2])
    return words[:1].upper() + words[1:].replace("Oauth", "OAuth")


def unknown_attribute(section: str, name: str) -> ApiError:
    """Refuse a member of the body that is unknown, wrongly cased or read-only (8.6).

    The id is documented, the sentence is not.
    """
    detail = f"'{name}' is not a permitted member of {section}."
    pointer = f"/data/{section}/{name}"
    return ApiError(400, "permittedParams.unknownAttribute", detail, pointer)


def unknown_relation(name: str, object_type: str) -> ApiError:
    """Refuse a link to a record that is not there (8.12): the status is known, the id is not."""
    detail = f"The related '{object_type}' of '{name}' does not exist."
    return ApiError(400, "relationship.resourceNotFound", detail, f"/data/relationships/{name}")


def unknown_field(name: str) -> ApiError:
    """Refuse a name in ``fields[type]`` (3.3)."""
    return ApiError(400, "fieldsParameter.unknownResourceField", f"'{name}' is not a known field.")


def unfilterable(name: str) -> ApiError:
    """Refuse a filter (4.1): the status is known; the id follows its published neighbours."""
    detail = f"'{name}' is not a filterable attribute."
    return ApiError(400, "filterParameter.unfilterableAttribute", detail)


def invalid_filter_value(name: str, kind: str) -> ApiError:
    """Refuse the value of a filter; the id is published for date-times only (3.3)."""
    suffix = "Datetime" if kind == "date-time" else kind.title()
    detail = f"The value of the filter on '{name}' is no valid {kind}."
    return ApiError(400, f"filterParameter.invalid{suffix}Format", detail)


def invalid_parameter(name: str) -> ApiError:
    """Refuse a query parameter; neither id nor sentence is known."""
    return ApiError(400, f"{name}Parameter.invalidValue", f"The parameter '{name}' is not valid.")


def unauthorized(style: UnauthorizedStyle) -> Answer:
    """Answer 401 in one of the forms that were recorded, or that clients look for (3.3)."""
    if style == "text":
        closing = (("Connection", "close"),)
        return Answer(401, b"Invalid access token", closing, media_type="text/plain")
    expired = ApiError(401, "expiredAccessToken", "The access token has expired.")
    if style == "flat":
        return json_answer(401, expired.error)
    if style == "gateway":
        error = "Invalid JWT token."
        content = {"error": error, "description": "The JWT token could not be decoded."}
        return json_answer(401, content, PLAIN_JSON)
    return expired.answer()


def missing_scope(scope: str) -> ApiError:
    """Refuse a token that lacks a scope (3.3)."""
    detail = f"Your authorization does not include the required scope '{scope}'."
    return ApiError(403, "unauthorizedOauthScope", detail)


def governed() -> ApiError:
    """Refuse what the user's permissions do not cover (3.3)."""
    detail = "You are not authorized to perform that request."
    return ApiError(403, "unauthorizedRequest", detail)


def not_found(object_type: str, record_id: str) -> ApiError:
    """Say that there is no such record (3.3)."""
    detail = f"Could not find '{object_type}' with ID '{record_id}'."
    return ApiError(404, "resourceNotFound", detail)


def route_not_found() -> ApiError:
    """Say that there is no such path or method (3.3)."""
    detail = "The request path does not match any known resource endpoints."
    return ApiError(404, "routeNotFound", detail)


def unsupported_media_type() -> ApiError:
    """Refuse a body that is not declared as JSON:API; this one spells `details` (3.2)."""
    detail = "Expected Content-Type header to be 'application/vnd.api+json'."
    return ApiError(415, "unsupportedMediaType", detail, detail_member="details")


def invalid(detail: str, pointer: str = "/data") -> ApiError:
    """Refuse a body or a value by a rule of the record (3.3)."""
    return ApiError(422, "validationError", detail, pointer)


def too_long() -> ApiError:
    """Refuse a text over its limit, without saying which (3.3)."""
    return ApiError(422, "validationDataTooLongError", "Data provided is too long.")


def excluded_address() -> ApiError:
    """Refuse an address of an excluded domain (3.4)."""
    detail = "Contacts contact is using an excluded email address."
    return coded("is_using_excluded_email_address", invalid(detail))


def taken(wording: TakenWording, status: int) -> ApiError:
    """Refuse an address that another prospect has, in one of three wordings (3.4).

    That of the index is the database's own, and no validation's: no code of it is known.
    """
    if wording == "index":
        detail = "A Contact with this email_hash already exists."
        return ApiError(status, "validationDuplicateValueError", detail)
    detail = "Contacts email hash has already been taken."
    if wording == "emails":
        detail = "Emails has already been taken"
    return coded("taken", ApiError(status, "validationError", detail, "/data"))


def taken_by_account(attribute: str) -> ApiError:
    """Refuse what another account has (2.3); the sentence is that of other records."""
    detail = f"{attribute[:1].upper()}{attribute[1:]} has already been taken."
    return coded("taken", invalid(detail, f"/data/attributes/{attribute}"))


def already_enrolled(*, with_code: bool) -> ApiError:
    """Refuse a second enrolment; a client looks for the words in `code` (2.6)."""
    words = "has already been in this sequence"
    error = invalid(f"Prospect {words}")
    return coded(words, error) if with_code else error


def too_many_records(status: int, limit: int) -> ApiError:
    """Refuse an import of too many records; nothing of it is known (10.4)."""
    detail = f"An import takes {limit:,} records at most."
    return ApiError(status, "validationError", detail, "/data/attributes/records")


def rate_limited(limit: int, reset: int) -> ApiError:
    """Refuse a request over the limit until `reset`, in epoch seconds (3.3, 5)."""
    until = datetime.fromtimestamp(reset, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    detail = (
        f"You have exceeded your permitted rate limit of {limit:,}; please try again at {until}."
    )
    return ApiError(429, "rateLimitExceeded", detail)
