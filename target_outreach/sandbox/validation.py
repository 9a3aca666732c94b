"""What Outreach accepts in the body of a POST or PATCH (API reference 3.1, 3.3 and 8)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from target_outreach.sandbox import errors
from target_outreach.sandbox.messages import JSON_API
from target_outreach.sandbox.resources import Change, object_type
from target_outreach.sandbox.values import obeys, read_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.records.model import ObjectType, Relationship
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile


def read_change(
    object_name: str, record_id: int | None, request: Request, profile: Profile, database: Database
) -> Change:
    """Read the body of a write.

    Args:
        object_name: Plural name of the object.
        record_id: Id in the path of a PATCH; None for a POST.
        request: The request.
        profile: The rules that are switchable.
        database: For related records and custom fields.

    Returns:
        The change, with values as they are stored.

    Raises:
        ApiError: 400, 415 or 422, as Outreach would refuse it.
    """
    check_media_type(request, profile)
    kind = object_type(object_name)
    data = _envelope(request.body, kind.type, record_id)
    change = read_members(object_name, data, profile, database, new=record_id is None)
    return replace(change, method=request.method)


def read_members(
    object_name: str, data: Mapping[str, Any], profile: Profile, database: Database, *, new: bool
) -> Change:
    """Read the attributes and relationships of a resource object.

    Args:
        object_name: Plural name of the object.
        data: The resource object.
        profile: The rules that are switchable.
        database: For related records and custom fields.
        new: Whether a record is to be created by it.

    Returns:
        The change, without a method, and with values as they are stored.

    Raises:
        ApiError: 400 or 422, as Outreach would refuse it.
    """
    kind = object_type(object_name)
    attributes = _attributes(kind, members(data, "attributes"), profile)
    if kind.name == "prospects":
        attributes = _contact(attributes, profile)
    _check_rules(kind, new, attributes, database)
    links = members(data, "relationships")
    relationships = {
        name: _related(kind, name, link, profile, database) for name, link in links.items()
    }
    return Change("", attributes, relationships, shared_emails=profile.purposeful_duplicates)


def check_media_type(request: Request, profile: Profile) -> None:
    """Insist on JSON:API's media type where the profile does.

    Raises:
        ApiError: 415.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if profile.strict_media_type and media_type.lower() != JSON_API:
        raise errors.unsupported_media_type()


def read_data(body: bytes) -> dict[str, Any]:
    """Return the member `data` of a body.

    Raises:
        ApiError: 422 where there is none.
    """
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise errors.invalid("The request body is not valid JSON.") from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise errors.invalid("The member 'data' is missing.")
    return data


def _envelope(body: bytes, kind: str, record_id: int | None) -> dict[str, Any]:
    data = read_data(body)
    if data.get("type") != kind:
        raise errors.invalid(f"The type must be '{kind}'.")
    if record_id is None and "id" in data:
        raise errors.invalid("A new resource must not carry an id.")
    if record_id is not None and str(data.get("id")) != str(record_id):
        raise errors.invalid("The id must be that of the request path.")
    return data


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads but JSON does not have.

    Raises:
        ValueError: Always.
    """
    raise ValueError(name)


def members(data: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return the attributes or relationships of a resource object.

    Raises:
        ApiError: 422 where they are no object.
    """
    found = data.get(section, {})
    if not isinstance(found, dict):
        raise errors.invalid(f"The member '{section}' must be an object.", f"/data/{section}")
    return found


def _attributes(kind: ObjectType, sent: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    for name in sent:
        if name not in kind.attributes or kind.attributes[name].read_only:
            raise errors.unknown_attribute("attributes", name)
    limit = profile.max_name_length
    stored = {}
    for name, given in sent.items():
        attribute = kind.attributes[name]
        if given is None and attribute.is_array and profile.null_arrays == "refused":
            raise errors.invalid(f"{name} is invalid.", f"/data/attributes/{name}")
        stored[name] = value = read_value(attribute, given)
        if name == "timeZone" and value and profile.strict_time_zones:
            _check_time_zone(str(value))
        most = limit if limit and name in {"firstName", "lastName"} else attribute.max_length
        if most is not None and isinstance(value, str) and len(value) > most:
            raise errors.too_long()
    return stored


def _check_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise errors.invalid("Time zone is invalid.", "/data/attributes/timeZone")


def _contact(attributes: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """Apply the rules for addresses."""
    emails = attributes.get("emails") or []
    if any(_excluded(address, profile) for address in emails):
        raise errors.excluded_address()
    if not emails:
        return attributes
    return {**attributes, "emails": [address.strip() for address in emails]}


def _excluded(address: str, profile: Profile) -> bool:
    domain = address.strip().rpartition("@")[2].casefold()
    return any(domain == ex or domain.endswith(f".{ex}") for ex in profile.excluded_domains)


def _check_rules(
    kind: ObjectType,
    new: bool,  # noqa: FBT001 - a fact about the request
    attributes: Mapping[str, Any],
    database: Database,
) -> None:
    """Check what a record must have, and the rules of the organisation's custom fields."""
    if kind.name == "accounts" and (new or "name" in attributes) and _missing(attributes, "name"):
        raise errors.invalid("Name can't be blank.", "/data/attributes/name")
    for name, rule in database.custom_fields(kind.name).items():
        pointer = f"/data/attributes/{name}"
        if rule["required"] and (new or name in attributes) and _missing(attributes, name):
            raise errors.invalid(f"{rule['label']} can't be blank.", pointer)
        if not _missing(attributes, name) and not obeys(attributes[name], rule):
            raise errors.invalid(f"{rule['label']} is invalid.", pointer)


def _missing(attributes: Mapping[str, Any], name: str) -> bool:
    return not str(attributes.get(name) or "").strip()


def _related(
    kind: ObjectType, name: str, link: object, profile: Profile, database: Database
) -> int | None:
    """Read one to-one relationship."""
    relationship = kind.relationships.get(name)
    if relationship is None or relationship.read_only:
        raise errors.unknown_attribute("relationships", name)
    if not isinstance(link, dict) or "data" not in link:
        pointer = f"/data/relationships/{name}"
        raise errors.invalid(f"The relationship '{name}' must have 'data'.", pointer)
    if link["data"] is None:
        return None
    related = _identifier(relationship, link["data"], profile)
    if database.find(relationship.object, related) is None:
        raise errors.unknown_relation(name, object_type(relationship.object).type)
    return related


def _identifier(relationship: Relationship, data: object, profile: Profile) -> int:
    kind = object_type(relationship.object).type
    related = data.get("id") if isinstance(data, dict) and data.get("type") == kind else None
    if profile.string_relationship_ids and isinstance(related, str) and related.isdecimal():
        related = int(related)
    if not isinstance(related, int) or isinstance(related, bool):
        detail = f"The relationship '{relationship.name}' must name a '{kind}' by its integer id."
        raise errors.invalid(detail, f"/data/relationships/{relationship.name}")
    return related
