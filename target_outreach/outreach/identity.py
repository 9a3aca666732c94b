"""Whose token it is: the organisation and the user behind it.

``GET /`` tells (API reference 1), but what its answer looks like is not published. So whatever is
missing is left out, and what cannot be told is asked of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from target_outreach.errors import OutcomeUnknown, RecordFault

if TYPE_CHECKING:
    from target_outreach.outreach.client import Client

ORGANISATION = ("org", "organization", "organisation", "instance")
IDS = ("guid", "id", "shortname", "name")
NAMES = ("name", "shortname")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for, as far as Outreach says it.

    Attributes:
        user: The user's address or name.
        organisation: The organisation's name.
        organisation_id: What tells it from all others.
    """

    user: str | None = None
    organisation: str | None = None
    organisation_id: str | None = None


def ask_identity(client: Client) -> Identity | None:
    """Ask whose token it is.

    Returns:
        What Outreach says, or None where it refuses to say it.

    Raises:
        RunError: As for any request.
    """
    try:
        document = client.get("/").document
    except (RecordFault, OutcomeUnknown):
        return None
    return read_identity(document)


def read_identity(document: Any) -> Identity:  # noqa: ANN401 - JSON
    """Read what the answer says of the user and the organisation."""
    meta = _part(document, "meta")
    user = _part(meta, "user")
    organisation: dict[str, Any] = {}
    for name in ORGANISATION:
        organisation = organisation or _part(meta, name)
    return Identity(
        _text(user, ("email", "name")), _text(organisation, NAMES), _text(organisation, IDS)
    )


def _part(document: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}


def _text(part: dict[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        if isinstance(value := part.get(name), str | int) and str(value).strip():
            return str(value).strip()
    return None
