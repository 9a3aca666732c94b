"""Which column of a stream goes where: decided once a SCHEMA.

The order is: an explicit ``columns`` entry, then where the column's name leads (`goals`). What then
is left may fill what no column goes to: by the catalogue's ``fallbacks``, and by its name without a
prefix.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from target_outreach.errors import SettingsError
from target_outreach.records.deletion import is_deletion_column
from target_outreach.records.goals import (
    UNKNOWN,
    Goal,
    explicit_goal,
    goal_by_name,
    label_goals,
    name_goals,
    nearest,
    without_prefix,
)
from target_outreach.records.mapping import StreamMapping
from target_outreach.records.opt_outs import OPT_OUTS
from target_outreach.records.scalars import plain, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from target_outreach.records.model import ObjectType
    from target_outreach.records.rules import Rules, SyncMode


IGNORED = "by ignore_columns"
#: Columns that an error names.
MOST_NAMED = 10

#: Ends the plain name of the first of several numbered columns: ``Phone 1``, ``E-mail 1 - Value``.
FIRST = re.compile(r"(?<!\d)1(value)?$")

ADDRESS = re.compile(
    r"(?<!voic)(?<!voice)(?<!for)(?<!fore)e?mail(address(es)?|s)?\d*(value|address|work|home|other)?$"
)
#: What an ignored column may be by its plain name, and should then not be lost unnoticed.
LOOKS_LIKE = {
    "an opt-out": re.compile(
        r"opt(ed|s)?(in|out)|unsub|donot(?!modify)|consent|suppress|bl(ock|ack)list|dnc$|^dne$"
        r"|no(call|e?mail)|marketing(status|suspended)|email(subscri|marketing)|^(is)?subscribed"
        r"|subscriptionstatus|(as|is)spam|spam(compl|rep)"
    ),
    "a deletion mark": re.compile(
        r"deleted(at|on|by|date|time|flag)?$|^(is)?(trashed|removed)(at|on)?$|tombstone|softdelete"
    ),
    "a domain": re.compile(r"domains?\d*$|^domain"),
    "an email address": ADDRESS,
}


def build_mapping(  # noqa: PLR0913 - each is a setting of its own
    object_type: ObjectType,
    columns: Sequence[str],
    *,
    mode: SyncMode = "upsert",
    explicit: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    prefixes: Sequence[str] = (),
    match_fields: Sequence[str] = (),
) -> StreamMapping:
    """Decide where each column of a stream goes.

    Args:
        object_type: The object that the stream is for.
        columns: The names in the SCHEMA's ``properties``, in their order.
        mode: The sync mode.
        explicit: The ``columns`` setting: incoming column → attribute.
        ignore: The ``ignore_columns`` setting: globs; explicit columns win over it.
        prefixes: The ``column_prefixes`` setting: what a column is also known without.
        match_fields: The attributes that identify a record.

    Raises:
        SettingsError: The settings do not fit the columns, or the mode lacks what it needs.
    """
    short = {column: without_prefix(column, prefixes) for column in columns}
    chosen, missing = _explicit_goals(object_type, short, explicit or {})
    names, labels = name_goals(object_type), label_goals(object_type)
    goals: dict[str, Goal] = {}
    for column in columns:
        if column in chosen:
            goals[column] = chosen[column]
        elif any(fnmatchcase(visible(column).lower(), glob.lower()) for glob in ignore):
            goals[column] = Goal("nowhere", IGNORED)
        else:
            goal = goal_by_name(object_type, column, mode, names)
            goals[column] = labels.get(plain(column), goal) if goal.name == UNKNOWN else goal
    goals |= _fill_gaps(object_type, goals, short, names | labels)
    if mode == "insert":
        goals = {
            column: Goal("nowhere", "insert gives new ids") if goal.kind == "id" else goal
            for column, goal in goals.items()
        }
    mapping = replace(
        _assemble(object_type, goals),
        missing=missing,
        suggested=_suggestions(object_type, goals, short),
    )
    try:
        _require(mapping, mode, match_fields)
    except SettingsError as error:
        raise SettingsError(*error.errors, *missing.values()) from None
    return mapping


@dataclass(frozen=True, slots=True)
class _Offer:
    """A column that could fill a gap; what comes first in order is taken first."""

    beside: Sequence[str]
    rank: int
    position: int
    column: str
    goal: Goal


def _fill_gaps(
    object_type: ObjectType,
    goals: Mapping[str, Goal],
    short: Mapping[str, str],
    names: Mapping[str, Goal],
) -> dict[str, Goal]:
    """Find columns for what no column goes to yet, among those that lead nowhere.

    Args:
        object_type: The object that the stream is for.
        goals: Where each column goes so far.
        short: The columns, with their names without a prefix.
        names: Where names lead, in plain.

    Returns:
        The columns that were offered, with where they go or why they do not.
    """
    fallbacks = {
        plain(name): (rank, attribute.name, attribute.beside.get(name, ()))
        for attribute in object_type.attributes.values()
        for rank, name in enumerate(attribute.fallbacks)
    }
    offers = []
    for position, (column, goal) in enumerate(goals.items()):
        if goal.name != UNKNOWN:
            continue
        first = FIRST.sub("", plain(short[column]))
        known = [one for one in (plain(column), plain(short[column]), first) if one in fallbacks]
        if known:
            rank, name, beside = fallbacks[known[0]]
            offer = Goal("attribute", name, "fallback")
            offers.append(_Offer(beside, rank, position, column, offer))
        elif short[column] != column or (first in names and names[first].rule != "label"):
            offer = goal_by_name(object_type, first, "insert", names)
            if offer.kind in {"attribute", "relationship"}:
                offer = replace(offer, rule="fallback")
                offers.append(_Offer((), -1, position, column, offer))
    taken = {goal.name: column for column, goal in goals.items() if goal.kind != "nowhere"}
    filled: dict[str, Goal] = {}
    for one in sorted(offers, key=lambda one: (bool(one.beside), one.rank, one.position)):
        if one.beside and taken.keys().isdisjoint(one.beside):
            continue
        if one.goal.name in taken and one.goal.name == object_type.unique_by:
            continue  # what is unique takes no further values unasked
        if one.goal.name in taken and not _takes_several(object_type, one.goal):
            why = f"{taken[one.goal.name]} goes to {one.goal.name} already"
            filled[one.column] = Goal("nowhere", why)
        else:
            filled[one.column] = one.goal
            taken[one.goal.name] = one.column
    return filled


def _explicit_goals(
    object_type: ObjectType, short: Mapping[str, str], explicit: Mapping[str, str]
) -> tuple[dict[str, Goal], dict[str, str]]:
    """Resolve the ``columns`` setting, and say which columns in it the stream does not have."""
    columns = list(short)
    by_plain_name = {plain(short[column]): column for column in reversed(columns)}
    by_plain_name |= {plain(column): column for column in reversed(columns)}
    goals: dict[str, Goal] = {}
    problems: list[str] = []
    missing: dict[str, str] = {}
    for wanted, target in explicit.items():
        column = wanted if wanted in columns else by_plain_name.get(plain(wanted))
        if column is None:
            said = f"columns names {wanted!r}, which the stream does not have"
            missing[wanted] = f"{said}; {nearest(wanted, columns)}"
            continue
        try:
            goals[column] = explicit_goal(object_type, target)
        except ValueError as problem:
            problems.append(f"columns maps {wanted!r} to {target!r}, {problem}")
    if problems:
        raise SettingsError(*problems)
    return goals, missing


def _assemble(object_type: ObjectType, goals: Mapping[str, Goal]) -> StreamMapping:
    """Group the columns by goal and refuse two columns for one value."""
    grouped: dict[Goal, list[str]] = defaultdict(list)
    for column, goal in goals.items():
        if goal.kind != "nowhere":
            grouped[Goal(goal.kind, goal.name)].append(column)
    problems = [
        f"columns {' and '.join(columns)} both map to {goal.name}; put all but one under "
        "ignore_columns"
        for goal, columns in grouped.items()
        if len(columns) > 1 and not _takes_several(object_type, goal)
    ]
    if problems:
        raise SettingsError(*problems)
    return StreamMapping(
        object=object_type,
        attributes={
            goal.name: tuple(_singular_first(columns, goals))
            for goal, columns in grouped.items()
            if goal.kind == "attribute"
        },
        relationships=_linked_columns(object_type, grouped),
        id_column=grouped.get(Goal("id", "id"), [None])[0],
        unmapped={column: goal.name for column, goal in goals.items() if goal.kind == "nowhere"},
    )


def _linked_columns(
    object_type: ObjectType, grouped: Mapping[Goal, list[str]]
) -> dict[str, dict[str, str]]:
    """Return the columns that each relationship is said by, those first that say more."""
    columns = {
        goal.name: columns[0] for goal, columns in grouped.items() if goal.kind == "relationship"
    }
    said = {name.partition(".")[0] for name in columns}
    return {
        name: {
            part: columns[f"{name}.{part}"]
            for part in link.linked_by
            if f"{name}.{part}" in columns
        }
        for name, link in object_type.relationships.items()
        if name in said
    }


def _takes_several(object_type: ObjectType, goal: Goal) -> bool:
    """Whether several columns may go there: the values of lists are joined, and so are opt-outs."""
    if goal.kind != "attribute":
        return False
    attribute = object_type.attributes[goal.name]
    return attribute.is_array or attribute.kind == "boolean"


def _singular_first(columns: Sequence[str], goals: Mapping[str, Goal]) -> list[str]:
    """Keep the column order, but move synonyms (``email``) before the plural (``emails``)."""
    own = [position for position, column in enumerate(columns) if goals[column].rule == "name"]

    def place(position: int) -> tuple[int, int, int]:
        behind_own = own and position > own[0] and goals[columns[position]].rule == "synonym"
        return (own[0], 0, position) if behind_own else (position, 1, position)

    return [columns[position] for position in sorted(range(len(columns)), key=place)]


def _listed(mapping: StreamMapping) -> str:
    """Name the columns of a stream of which none goes to an attribute."""
    columns = [*filter(None, [mapping.id_column]), *mapping.unmapped]
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return f"there are {', '.join(columns[:MOST_NAMED])}{more}" if columns else "there is none"


def _require(mapping: StreamMapping, mode: SyncMode, match_fields: Sequence[str]) -> None:
    """Check that the mode has what it needs to find and to create records."""
    object_type = mapping.object
    name = object_type.name
    if not mapping.attributes and not mapping.relationships:
        msg = f"no column maps to an attribute of {name}: {_listed(mapping)}"
        where = "see columns, outreach_object and `target-outreach fields --schema`"
        raise SettingsError(f"{msg}; {where}")
    for link in object_type.required_links:
        if link not in mapping.relationships:
            parts = object_type.relationships[link].linked_by
            ways = " or ".join(f"{link}.{part}" for part in parts)
            raise SettingsError(f"no column maps to {ways}, which {name} need")
    required = object_type.required_attribute
    if mode != "update" and required is not None and required not in mapping.attributes:
        msg = f"no column maps to {required}, which {mode} mode needs for {name}"
        raise SettingsError(f"{msg}; name one under columns")
    if mode != "insert" and not (mapping.id_column or set(match_fields) & set(mapping.attributes)):
        keys = ", ".join(match_fields)
        raise SettingsError(f"{mode} mode needs a column for the Outreach id or for one of {keys}")


def _suggestions(
    object_type: ObjectType, goals: Mapping[str, Goal], short: Mapping[str, str]
) -> dict[str, str]:
    """Say which columns could go elsewhere, if an entry of ``columns`` says so."""
    known = {
        plain(name): (attribute.name, attribute.suggested_as or attribute.name)
        for attribute in object_type.attributes.values()
        for name in attribute.suggested
    }
    known |= {
        plain(name): (f"{link.name}.{part}", f"{link.name}.{part}")
        for link in object_type.relationships.values()
        for part, names in link.suggested.items()
        for name in names
    }
    taken = {goal.name: column for column, goal in goals.items() if goal.kind != "nowhere"}
    lists = {name for name, attribute in object_type.attributes.items() if attribute.is_array}
    found = {}
    for column, goal in goals.items():
        name, wording = known.get(plain(column)) or known.get(plain(short[column])) or ("", "")
        if not name and goal.name == UNKNOWN and "emails" in lists and _is_address(column):
            name = wording = "emails"
        if not name or goal.rule in {"explicit", "label"} or goal.name in {name, IGNORED}:
            continue
        if name not in taken or name in lists:
            found[column] = wording
        elif goal.name == UNKNOWN:
            found[column] = f"{wording}, instead of {taken[name]}"
    return found


def _is_address(column: str) -> bool:
    """Whether a column holds addresses by its name, and not what somebody says of them."""
    name = plain(column)
    return bool(ADDRESS.search(name)) and not LOOKS_LIKE["an opt-out"].search(name)


def suspicious(
    mapping: StreamMapping, deleted_columns: Collection[str] = ()
) -> dict[str, list[str]]:
    """Return the columns that are ignored by default and look like what should not be lost.

    Args:
        mapping: The columns of a stream.
        deleted_columns: Those that mark rows as deleted by the settings.

    Returns:
        The columns by what they look like: opt-outs, deletion marks, domains, addresses.
    """
    known = mapping.object
    kinds = {attribute.kind for attribute in known.attributes.values()}
    parts = {part for link in known.relationships.values() for part in link.linked_by}
    fits = {
        "an email address": "emails" in kinds,
        "a domain": "domain" in kinds or "domain" in parts,
    }
    found: dict[str, list[str]] = {}
    for column, why in mapping.unmapped.items():
        if why != UNKNOWN or is_deletion_column(column, deleted_columns):
            continue
        likely = (
            what
            for what, pattern in LOOKS_LIKE.items()
            if fits.get(what, True) and pattern.search(plain(column))
        )
        if (what := next(likely, None)) is not None:
            found.setdefault(what, []).append(column)
    return found


def asked(mapping: StreamMapping, rules: Rules) -> tuple[str, ...]:
    """List what a lookup must read so that a record can be matched and planned."""
    object_type, links, match_fields = mapping.object, [*mapping.relationships], rules.match_fields
    is_filled = rules.on_missing_relation == "skip" and "account" in links
    filled = ["company"] if is_filled and "company" in object_type.attributes else []
    if "company" in mapping.attributes:
        links.append("account")
    links += [
        object_type.match_within[name] for name in match_fields if name in object_type.match_within
    ]
    consent = (related for name in mapping.attributes for related in OPT_OUTS.get(name, ()))
    return tuple(dict.fromkeys((*match_fields, *mapping.attributes, *filled, *consent, *links)))


def linked_objects(mapping: StreamMapping | None) -> frozenset[str]:
    """Name the objects of which there may be records in this run that records are linked to."""
    links = () if mapping is None else map(mapping.object.relationships.get, mapping.relationships)
    return frozenset(link.object for link in links if link is not None)
