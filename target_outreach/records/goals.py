"""Where a name leads: a column's own, or one that a setting says.

The order is: the attribute's own name, a synonym, the label that the organisation gave to a custom
field. Case, blanks, invisible characters and ``_-./#:?`` do not matter. An Outreach id is never
guessed: it comes from a column that says ``outreach_…`` or from an explicit entry, in ``update``
mode also from ``id``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from target_outreach.records.deletion import is_deletion_column
from target_outreach.records.scalars import plain, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_outreach.records.model import ObjectType
    from target_outreach.records.rules import SyncMode


OWN_ID = "the warehouse's own id"
UNKNOWN = "no such attribute"
DELETION = "marks rows as deleted"


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a column goes, and by which rule."""

    kind: Literal["id", "attribute", "relationship", "nowhere"]
    name: str
    rule: Literal["explicit", "name", "synonym", "label", "fallback", ""] = ""


def goal_by_name(
    object_type: ObjectType,
    column: str,
    mode: SyncMode,
    names: Mapping[str, Goal],
) -> Goal:
    """Find the goal of a column that no setting names."""
    name = plain(column)
    if (id_goal := _id_goal(object_type, name)) is not None:
        return id_goal
    if name == "id":
        return Goal("id", "id", "name") if mode == "update" else Goal("nowhere", OWN_ID)
    goal = names.get(name)
    if goal is None:
        unknown = "Singer metadata" if column.startswith("_sdc_") else UNKNOWN
        if is_deletion_column(column, ()):
            unknown = DELETION
        return _relation_goal(object_type, name) or Goal("nowhere", unknown)
    attribute = object_type.attributes[goal.name]
    if attribute.read_only:
        return Goal("nowhere", "read-only")
    if attribute.explicit_only:
        return Goal("nowhere", "only by a columns entry")
    return goal


def _id_goal(object_type: ObjectType, name: str) -> Goal | None:
    """See an Outreach id in a column that says ``outreach``."""
    if not (name.startswith("outreach") and name.endswith("id")):
        return None
    middle = name.removeprefix("outreach").removesuffix("id")
    if middle in {"", object_type.type}:
        return Goal("id", "id", "name")
    links = {plain(relationship): relationship for relationship in links_of(object_type)}
    return Goal("relationship", f"{links[middle]}.id", "name") if middle in links else None


def _relation_goal(object_type: ObjectType, name: str) -> Goal | None:
    """See in a column what another record is linked to by; its Outreach id is never guessed."""
    for link in link_names(object_type):
        if name == plain(link):
            is_id = link.endswith(".id")
            return Goal("nowhere", OWN_ID) if is_id else Goal("relationship", link, "name")
    return None


def name_goals(object_type: ObjectType) -> dict[str, Goal]:
    """Index the object's attributes by plain name; an own name wins over a synonym."""
    names: dict[str, Goal] = {}
    for attribute in object_type.attributes.values():
        for synonym in attribute.synonyms:
            names[plain(synonym)] = Goal("attribute", attribute.name, "synonym")
    for name in object_type.attributes:
        names[plain(name)] = Goal("attribute", name, "name")
    return names


def label_goals(object_type: ObjectType) -> dict[str, Goal]:
    """Index the custom fields by their labels in plain; one of several fields leads nowhere."""
    labelled: dict[str, list[str]] = defaultdict(list)
    for attribute in object_type.attributes.values():
        if attribute.label is not None and (label := plain(attribute.label)):
            labelled[label].append(attribute.name)
    return {
        label: Goal("attribute", names[0], "label")
        if len(names) == 1
        else Goal("nowhere", f"ambiguous label: {', '.join(names)}")
        for label, names in labelled.items()
    }


class NoSuchAttribute(ValueError):  # noqa: N818 - a reason, worded for the end of a sentence
    """An entry under ``columns`` names nothing that the object has."""


def explicit_goal(object_type: ObjectType, target: str) -> Goal:
    """Find what a ``columns`` entry points at.

    Raises:
        ValueError: Nothing that can be written; the message ends a sentence.
    """
    name = plain(target)
    if name in {"id", f"outreach{object_type.type}id", "outreachid"}:
        return Goal("id", "id", "explicit")
    by_name = {plain(attribute): attribute for attribute in object_type.attributes}
    if name in by_name:
        if object_type.attributes[by_name[name]].read_only:
            raise ValueError("which Outreach lets nobody write")
        return Goal("attribute", by_name[name], "explicit")
    for link in link_names(object_type):
        if name == plain(link):
            return Goal("relationship", link, "explicit")
    if (synonym := name_goals(object_type).get(name)) is not None:
        return Goal("attribute", synonym.name, "explicit")
    if (goal := label_goals(object_type).get(name)) is not None:
        if goal.kind == "attribute":
            return Goal("attribute", goal.name, "explicit")
        raise ValueError(f"which is an {goal.name}; name one of them by its number")
    raise NoSuchAttribute(
        f"which {object_type.name} do not have; {nearest(target, names_of(object_type))}"
    )


def is_unknown(object_type: ObjectType, name: str) -> bool:
    """Whether a name in the settings leads nowhere, as far as labels are known."""
    try:
        explicit_goal(object_type, name)
    except ValueError as problem:
        return isinstance(problem, NoSuchAttribute)
    return False


def may_be_custom(object_type: ObjectType, name: str) -> bool:
    """Whether a name in the settings is that of a custom field, or may be a label."""
    if not object_type.has_custom_fields:
        return False
    try:
        return _is_custom(object_type, explicit_goal(object_type, name))
    except ValueError as problem:
        return isinstance(problem, NoSuchAttribute)


def could_use_custom_fields(
    object_type: ObjectType,
    columns: Sequence[str],
    *,
    explicit: Mapping[str, str],
    ignore: Sequence[str] = (),
) -> bool:
    """Whether it matters to a mapping what the organisation says of its custom fields.

    It does where a column goes to one of them, or where a column or an entry under ``columns``
    names what may be a label.
    """
    if not object_type.has_custom_fields:
        return False
    if any(may_be_custom(object_type, target) for target in explicit.values()):
        return True
    named = {plain(column) for column in explicit}
    names = name_goals(object_type)
    for column in columns:
        if plain(column) in named or any(
            fnmatchcase(column.lower(), glob.lower()) for glob in ignore
        ):
            continue
        goal = goal_by_name(object_type, column, "upsert", names)
        if goal.name == UNKNOWN or _is_custom(object_type, goal):
            return True
    return False


def _is_custom(object_type: ObjectType, goal: Goal) -> bool:
    return goal.kind == "attribute" and object_type.attributes[goal.name].is_custom


def names_of(object_type: ObjectType) -> list[str]:
    """List what a setting can call what can be written: attributes, labels, links."""
    writable = object_type.writable
    labels = [one.label for one in writable.values() if one.label is not None]
    return [*writable, *labels, *link_names(object_type)]


def link_names(object_type: ObjectType) -> list[str]:
    """List by what a record can be linked to others, as ``account.domain``."""
    return [
        f"{name}.{part}"
        for name in links_of(object_type)
        for part in object_type.relationships[name].linked_by
    ]


def links_of(object_type: ObjectType) -> list[str]:
    """List the relationships of an object that can be written."""
    return [name for name, link in object_type.relationships.items() if not link.read_only]


def without_prefix(column: str, prefixes: Sequence[str]) -> str:
    """Take the longest of the prefixes off a name, whatever its case."""
    seen = visible(column).strip()
    fitting = [one for one in prefixes if seen.lower().startswith(one.lower())]
    rest = seen[max(map(len, fitting), default=0) :]
    return rest if fitting and plain(rest) else column


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Name the known names that come nearest to a wrong one."""
    close = near(wrong, known, most=3, likeness=0.5)
    return f"nearest: {', '.join(close)}" if close else "none is near"


def near(wrong: str, known: Iterable[str], *, most: int = 1, likeness: float = 0.7) -> list[str]:
    """List the known names that are like a wrong one, the nearest first.

    Args:
        wrong: The name that is not known.
        known: The names that are.
        most: How many to list at most.
        likeness: How like it they must be, from 0 to 1.
    """
    import difflib  # noqa: PLC0415 - only to word a mistake

    by_plain_name = {plain(name): name for name in known}
    close = difflib.get_close_matches(plain(wrong), by_plain_name, n=most, cutoff=likeness)
    return [by_plain_name[name] for name in close]
