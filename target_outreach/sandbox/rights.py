"""What a request may do with an object: methods, scopes of its token, permissions of its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.sandbox import errors
from target_outreach.sandbox.resources import object_type

if TYPE_CHECKING:
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Permit

_SCOPES = {"GET": "read", "POST": "write", "PATCH": "write", "DELETE": "delete"}


def check_method(name: str, method: str, *allowed: str) -> None:
    """Insist on a method that the path has, for an object that can be written so.

    Args:
        name: Plural name of the object.
        method: The HTTP method.
        *allowed: The methods that the path has.

    Raises:
        ApiError: 404.
    """
    if method not in allowed or (method != "GET" and method not in object_type(name).methods):
        raise errors.route_not_found()


def check_scope(name: str, method: str, permit: Permit) -> None:
    """Insist on the scope that a method needs.

    Raises:
        ApiError: 403.
    """
    scope = f"{name}.{_SCOPES[method]}"
    if not permit.covers(scope):
        raise errors.missing_scope(scope)


def check_governance(name: str, record_id: int | None, profile: Profile) -> None:
    """Insist on a record that the user may write; None stands for one that is not there yet.

    Raises:
        ApiError: 403.
    """
    if name in profile.governed or f"{name}/{record_id}" in profile.governed:
        raise errors.governed()
