"""The outcome of a record that is in Outreach as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from target_outreach.records.model import Create, Resource, Unchanged, Update


class Delivered(Struct, frozen=True):
    """The outcome of a record that is in Outreach as it should be.

    Attributes:
        outcome: What was done.
        resource: The record as Outreach holds it now.
        decided: The plan that was carried out last.
        kept_differently: Attributes of which Outreach kept something else than was sent.
        is_imported: Whether it was written with others by an import, or would be.
    """

    outcome: Literal["created", "updated", "unchanged"]
    resource: Resource
    decided: Create | Update | Unchanged
    kept_differently: tuple[str, ...] = ()
    is_imported: bool = False
