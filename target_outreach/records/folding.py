"""Which records of a batch are written as one, and which must wait for each other.

Records of one key that wait together are folded into one write. Records that share only some keys
(one of two addresses, the name of a company) are written one after the other, in arrival order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct, field

from target_outreach.records.matching import order_keys
from target_outreach.records.opt_outs import with_opt_outs
from target_outreach.records.versions import foldable, lay_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from target_outreach.records.model import Desired, Key, ObjectType
    from target_outreach.records.rules import Rules

T = TypeVar("T")
G = TypeVar("G", bound="Group[Any]")


class Group(Struct, Generic[T], eq=False):
    """Records that one write delivers, the last one's `desired` being what they amount to."""

    desired: Desired
    keys: frozenset[Key]
    members: list[T] = field(default_factory=list)
    waits_for: set[Group[T]] = field(default_factory=set)


def new_group(desired: Desired, keys: frozenset[Key], waits_for: set[Group[Any]]) -> Group[Any]:
    """Return a group that has no record yet."""
    return Group(desired, keys, [], waits_for)


def fold(
    object_type: ObjectType,
    records: Iterable[tuple[Any, Desired]],
    rules: Rules,
    new: Callable[[Desired, frozenset[Key], set[Any]], G] = new_group,  # type: ignore[assignment]
    fields: Sequence[str] = (),
) -> list[G]:
    """Fold records of one key and chain those that share some keys; `insert` only chains.

    Rows with different source keys are not folded. With `on_duplicate` ``last``, the later row
    stands for both, as it is.

    Args:
        object_type: The object that all the records are for.
        records: What each record is, with what it says, in arrival order.
        rules: The settings of their stream.
        new: Makes a group from what it amounts to, its keys and what it waits for.
        fields: What keys are values of, if it is more than the stream's own match fields.

    Returns:
        The groups in arrival order, each with the earlier groups that must be written before it.
    """
    groups: list[G] = []
    newest: dict[Key, G] = {}
    fields = fields or rules.match_fields
    for member, desired in records:
        keys = frozenset(order_keys(object_type, desired, fields))
        before = {newest[key] for key in keys if key in newest}
        group = _same_group(object_type, before, keys, desired, rules) if before else None
        if group is None:
            group = new(desired, keys, before)
            groups.append(group)
        elif group.desired.source_key != desired.source_key:
            group.desired = with_opt_outs(group.desired, desired, rules)
            group.keys |= keys
        else:
            group.desired = lay_over(object_type, group.desired, desired, rules)
        group.members.append(member)
        for key in keys:
            newest[key] = group
    return groups


def _same_group(
    object_type: ObjectType,
    before: set[G],
    keys: frozenset[Key],
    desired: Desired,
    rules: Rules,
) -> G | None:
    """Return the group that the record can be folded into, if there is one.

    All keys must be the same: a key that only one of them has may be the one that finds the record
    in Outreach, or that another record waits for. Where the last of several source keys has the
    record, what they are matched by must be the same.
    """
    if len(before) != 1 or rules.sync_mode == "insert":
        return None
    (group,) = before
    if group.desired.fault is not None or desired.fault is not None:
        return None  # of a rejected row only the opt-out is written
    source_keys = {group.desired.source_key, desired.source_key}
    if rules.on_duplicate == "last" and None not in source_keys:
        same = _match_keys(object_type, group.desired, rules) == _match_keys(
            object_type, desired, rules
        )
    else:
        same = group.keys == keys
    if not same or not _lie_together(object_type, group.desired, desired):
        return None
    is_version = len(source_keys) == 1
    return group if not is_version or foldable(object_type, group.desired, desired, rules) else None


def _match_keys(object_type: ObjectType, desired: Desired, rules: Rules) -> list[Key]:
    """List what a record says of what it is matched by."""
    said = replace(desired, source_key=None, remembered=None)
    return order_keys(object_type, said, rules.match_fields)


def _lie_together(object_type: ObjectType, earlier: Desired, later: Desired) -> bool:
    """Whether two records say the same of where they lie, if a match field needs that."""
    return all(
        earlier.relationships.get(within) == later.relationships.get(within)
        and earlier.references.get(within) == later.references.get(within)
        for within in object_type.match_within.values()
    )
