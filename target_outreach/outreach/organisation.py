"""The organisation and user of a token, and the organisation's custom fields.

``GET /`` returns (API reference 1) the organisation as ``data``, the user and the scopes in
``meta``. If ``data`` is missing, the organisation is read from ``meta``. What is missing there is
unknown; no other request is sent for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from target_outreach.errors import OutcomeUnknown, RecordFault, RunError
from target_outreach.records.custom_fields import read_types

if TYPE_CHECKING:
    from target_outreach.outreach.client import Client
    from target_outreach.records.custom_fields import CustomFields

logger = logging.getLogger("target-outreach")

#: Members of ``meta`` that may hold the organisation, and of that, its id and its name.
ORGANISATION = ("org", "organization", "organisation", "instance")
IDS = ("guid", "id", "shortname")
NAMES = ("name", "shortname")

#: Statuses of a refusal to answer; others mean a bad token or a temporary failure.
REFUSALS = frozenset({*range(200, 300), *range(400, 500)}) - {401, 407, 408, 425, 429}

#: Statuses that mean that the custom fields cannot be read.
NO_TYPES = frozenset({403, 404})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it is, as far as Outreach says it.

    Attributes:
        user: The user's address or name.
        organisation: The organisation's name.
        keys: Texts that identify the organisation, or the user if Outreach does not name the
            organisation. What is kept for the organisation is kept under the first one. None
            contains an address.
        scopes: The scopes of the token; None if the answer has none.
        refusal: The status with which Outreach refused to answer, if it did.
    """

    user: str | None = None
    organisation: str | None = None
    keys: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    refusal: int | None = None


def ask_identity(client: Client) -> Identity:
    """Ask whose token it is; it costs a request.

    Returns:
        What Outreach says, which may be empty.

    Raises:
        RunError: As for any request, unless Outreach only refuses to answer.
    """
    try:
        return read_identity(client.get("/").document)
    except (RecordFault, RunError) as error:
        if error.status not in REFUSALS:
            raise
        return Identity(refusal=error.status)


def ask_custom_fields(client: Client) -> CustomFields:
    """Ask for the labels and types of all custom fields (API reference 1.1); it costs a request.

    If Outreach does not say them, a warning says so, and custom fields are known by number only.

    Raises:
        RunError: As for any request.
    """
    fields = None
    why = "its answer is of another form"
    try:
        fields = read_types(client.get("/types").document)
    except (RecordFault, OutcomeUnknown, RunError) as error:
        if error.status not in NO_TYPES:
            raise
        why = str(error.status)
    if fields is None:
        logger.warning(
            "Outreach does not tell what its custom fields are (%s): they are known by their "
            "numbers only, and their values are not checked before they are sent.",
            why,
        )
    return fields or {}


def read_identity(document: Any) -> Identity:  # noqa: ANN401 - JSON
    """Read what the answer says of the user, the organisation and the scopes."""
    data, meta = _part(document, "data"), _part(document, "meta")
    user = _part(meta, "user")
    organisation: dict[str, Any] = {}
    for name in ORGANISATION:
        organisation = organisation or _part(meta, name)
    ids = (_text(data, "id"), *(_text(organisation, name) for name in IDS))
    keys = dict.fromkeys(one for one in ids if one is not None)
    return Identity(
        user=_first(user, ("email", "name")) or _full_name(user),
        organisation=_text(_part(data, "attributes"), "name") or _first(organisation, NAMES),
        keys=tuple(keys) or _user_keys(user),
        scopes=_scopes(meta),
    )


def _user_keys(user: dict[str, Any]) -> tuple[str, ...]:
    """Return a hash that identifies a user, so that the address itself is not kept."""
    known = (_text(user, "id"), _text(user, "email"))
    if known == (None, None):
        return ()
    return (f"user-{sha256(repr(known).encode()).hexdigest()[:32]}",)


def _scopes(meta: dict[str, Any]) -> tuple[str, ...] | None:
    """Read the scopes; names of another form (API reference 7) are not comparable with ours."""
    given = meta.get("scopes")
    names = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    scopes = tuple(name for name in names if isinstance(name, str) and "." in name)
    return scopes or None


def _full_name(user: dict[str, Any]) -> str | None:
    names = (_text(user, "firstName"), _text(user, "lastName"))
    return " ".join(filter(None, names)) or None


def _part(document: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}


def _first(part: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next(filter(None, (_text(part, name) for name in names)), None)


def _text(part: dict[str, Any], name: str) -> str | None:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
