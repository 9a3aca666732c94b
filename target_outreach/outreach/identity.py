"""Whose token it is: the organisation and the user behind it, and what the token may do.

``GET /`` tells (API reference 1): the organisation as ``data``, the user and the scopes in
``meta``. Where ``data`` is missing, the organisation is looked for in ``meta`` too. What cannot be
told is left out, and asked of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from target_outreach.errors import RecordFault, RunError

if TYPE_CHECKING:
    from target_outreach.outreach.client import Client

#: Where ``meta`` may have the organisation, and what may be its id and its name there.
ORGANISATION = ("org", "organization", "organisation", "instance")
IDS = ("guid", "id", "shortname")
NAMES = ("name", "shortname")

#: Statuses that mean that Outreach does not tell; others are a matter of the token or of the time.
REFUSALS = frozenset({*range(200, 300), *range(400, 500)}) - {401, 407, 408, 425, 429}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for, as far as Outreach says it.

    Attributes:
        user: The user's address or name.
        organisation: The organisation's name.
        keys: Texts that each stand for the organisation, or, where Outreach does not say which it
            is, for the user. Anything kept for the organisation is kept under the first one. None
            of them holds an address.
        scopes: What the token may do; None where the answer does not say it.
        refusal: The status with which Outreach refused to tell, if it did.
    """

    user: str | None = None
    organisation: str | None = None
    keys: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    refusal: int | None = None

    @property
    def key(self) -> str | None:
        """The text under which things are kept for this organisation or user, if one is known."""
        return self.keys[0] if self.keys else None


def ask_identity(client: Client) -> Identity:
    """Ask whose token it is; it costs a request.

    Returns:
        What Outreach says, which may be nothing.

    Raises:
        RunError: As for any request, except where Outreach only refuses to tell.
    """
    try:
        return read_identity(client.get("/").document)
    except (RecordFault, RunError) as error:
        if error.status not in REFUSALS:
            raise
        return Identity(refusal=error.status)


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
    """Return what stands for a user; the address itself is nobody else's business."""
    known = (_text(user, "id"), _text(user, "email"))
    if known == (None, None):
        return ()
    return (f"user-{sha256(repr(known).encode()).hexdigest()[:32]}",)


def _scopes(meta: dict[str, Any]) -> tuple[str, ...] | None:
    """Read the scopes; names of another form (API reference 7) say nothing of ours."""
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
