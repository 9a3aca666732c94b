"""Which column of a stream goes where: decided once a SCHEMA, said in one line.

The order is: an explicit ``columns`` entry, the attribute's own name, a synonym, the label that the
organisation gave to a custom field; an entry may name its attribute by any of these. What then is
left may fill what no column goes to: by the catalogue's ``fallbacks``, and by its name without a
prefix. Case, ``_``, ``-``, ``.``, ``/``, ``#``, blanks and invisible characters do not matter. An
Outreach id is never guessed: it comes from a column that says ``outreach_…`` or from an explicit
entry, in ``update`` mode also from ``id``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.model import (
    Attribute,
    Desired,
    Dropped,
    ObjectType,
    Reference,
    Value,
)
from target_outreach.records.shared_hosts import is_shared
from target_outreach.records.values import (
    coerce,
    fitting_items,
    is_empty,
    is_plain_text,
    missing_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_outreach.records.rules import OnInvalid, SyncMode


LARGEST_ID = 2**63 - 1
OWN_ID = "the warehouse's own id"
UNKNOWN = "no such attribute"
IGNORED = "ignored"
#: Why a value is not delivered although its record is; `values` has more.
SHARED_HOST = "a host that many companies share"
UNFIT = "does not fit"
#: Columns that an error names.
MOST_NAMED = 10

#: What a column that is left out may be by its plain name, and should then not be lost unseen.
LOOKS_LIKE = {
    "an opt-out": re.compile(
        r"opt(ed|s)?(in|out)|unsubscrib|donot|consent|suppress|bl(ock|ack)list|^dn[ce]$|no(call|mail)"
    ),
    "a deletion mark": re.compile(
        r"deleted(at|on|by|date|time|flag)?$|^(is)?(trashed|removed)(at|on)?$|tombstone|softdelete"
    ),
    "a domain": re.compile(r"domains?\d*$|^domain"),
    "an email address": re.compile(
        r"(?<!voic)(?<!voice)(?<!for)(?<!fore)e?mail(address(es)?|s)?\d*$"
    ),
}

#: Columns that mark a row as deleted in its source, by their plain names; they are not lost.
DELETED = frozenset({"fivetrandeleted", "abcdcdeletedat", "deleted", "isdeleted"})


@dataclass(frozen=True)
class StreamMapping:
    """The columns of one stream and what each is for.

    Attributes:
        object: The object that the stream is for.
        attributes: The columns that go to each attribute.
        relationships: The columns that say each link, by the part of it that they say.
        id_column: The column with the Outreach id.
        unmapped: Columns that are left out, with the reason.
        missing: Columns in `columns` that the stream lacks, with a sentence that names the nearest.
        suggested: Columns that could go elsewhere than they do by default, with the goal.
        on_invalid_value: What becomes of a record with a value that does not fit.
        shared_domains: Hosts that identify nobody, beside those that are known.
    """

    object: ObjectType
    attributes: Mapping[str, tuple[str, ...]]
    relationships: Mapping[str, Mapping[str, str]]
    id_column: str | None
    unmapped: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)
    suggested: Mapping[str, str] = field(default_factory=dict)
    on_invalid_value: OnInvalid = "reject"
    shared_domains: frozenset[str] = frozenset()

    @cached_property
    def _steps(self) -> list[tuple[str, Attribute, bool, str, tuple[str, ...]]]:
        """The attributes in their order: name, attribute, if it is text, first column, others."""
        attributes = self.object.attributes
        return [
            (name, attributes[name], attributes[name].kind == "text", columns[0], columns[1:])
            for name, columns in self.attributes.items()
        ]

    def describe(self) -> str:
        """Say the whole mapping in one line, what is left out included."""
        attributes = self.object.attributes
        pairs = [f"{column} → id" for column in [self.id_column] if column]
        pairs += [
            f"{' + '.join(columns)} → {attributes[name].title}"
            for name, columns in self.attributes.items()
        ]
        pairs += [
            f"{column} → {name}.{part}"
            for name, parts in self.relationships.items()
            for part, column in parts.items()
        ]
        left_out = [f"{column} ({why})" for column, why in self.unmapped.items()]
        return ", ".join(pairs) + (f"; left out: {', '.join(left_out)}" if left_out else "")

    def titles(self) -> dict[str, str]:
        """Return how people are told of columns and of where they go.

        Returns:
            Such as ``lead_score → Lead Score (custom1)``, by goal and by column.
        """
        columns: dict[str, list[str]] = defaultdict(list)
        for column, goal in self.goals().items():
            columns[goal].append(column)
        found: dict[str, str] = {}
        for goal, several in columns.items():
            attribute = self.object.attributes.get(goal)
            label = attribute.label if attribute is not None else None
            shown = f"{label} ({goal})" if label is not None else goal
            title = f"{' + '.join(several)} → {shown}"
            found |= dict.fromkeys(several, title) | {goal: title}
        return found

    def suspicious(self) -> dict[str, list[str]]:
        """Return the columns that are left out by default and look like what should not be lost.

        Returns:
            The columns by what they look like: opt-outs, deletion marks, domains, addresses.
        """
        known = self.object
        kinds = {attribute.kind for attribute in known.attributes.values()}
        parts = {part for link in known.relationships.values() for part in link.linked_by}
        fits = {
            "an email address": "emails" in kinds,
            "a domain": "domain" in kinds or "domain" in parts,
        }
        found: dict[str, list[str]] = {}
        for column, why in self.unmapped.items():
            name = plain(column)
            if why != UNKNOWN or name in DELETED:
                continue
            likely = (
                what
                for what, pattern in LOOKS_LIKE.items()
                if fits.get(what, True) and pattern.search(name)
            )
            if (what := next(likely, None)) is not None:
                found.setdefault(what, []).append(column)
        return found

    def goals(self) -> dict[str, str]:
        """Return where each column goes that is not left out."""
        goals = {self.id_column: "id"} if self.id_column else {}
        goals |= {column: name for name, columns in self.attributes.items() for column in columns}
        return goals | {
            column: f"{name}.{part}"
            for name, parts in self.relationships.items()
            for part, column in parts.items()
        }

    def apply(self, record: Mapping[str, Any]) -> Desired:
        """Read a record by the mapping.

        What stands for no value, such as ``N/A`` as a domain, is left out of it, so that it
        neither overwrites nor empties what Outreach holds.

        Raises:
            RecordFault: A value does not fit its attribute, and `on_invalid_value` is ``reject``;
                or what should be an Outreach id is none.
        """
        dropped: list[Dropped] = []
        try:
            attributes = self._read(record, dropped)
        except RecordFault:
            if self.on_invalid_value == "reject":
                raise
            dropped.clear()
            attributes = self._read_what_fits(record, dropped)
        given = self._judge_domains(record, attributes, dropped) if self._domains else None
        for name, _ in dropped:
            if is_empty(attributes.get(name)):
                attributes.pop(name, None)
        desired = Desired(self._id(record), attributes, given=given, dropped=dropped)
        return self._linked(record, desired, dropped) if self.relationships else desired

    def _read(self, record: Mapping[str, Any], dropped: list[Dropped]) -> dict[str, Value]:
        attributes: dict[str, Value] = {}
        for name, attribute, is_text, column, others in self._steps:
            if others:
                if present := [record[one] for one in (column, *others) if one in record]:
                    attributes[name] = _joined(attribute, present, dropped)
            elif column in record:
                value = record[column]
                if is_text and type(value) is str and is_plain_text(value):
                    attributes[name] = value
                else:
                    attributes[name] = coerce(attribute, value, dropped)
        return attributes

    def _read_what_fits(
        self, record: Mapping[str, Any], dropped: list[Dropped]
    ) -> dict[str, Value]:
        """Read a record without the values that do not fit; of a list the items that do are."""
        attributes: dict[str, Value] = {}
        for name, attribute, _, column, others in self._steps:
            present = [record[one] for one in (column, *others) if one in record]
            read: list[Value] = []
            for value in present:
                try:
                    read.append(coerce(attribute, value, dropped))
                except RecordFault:
                    dropped.append((name, UNFIT))
                    read.append(fitting_items(attribute, value))
            if read:
                attributes[name] = _one_list(attribute, read) if others else read[0]
        return attributes

    @cached_property
    def _domains(self) -> list[tuple[str, str]]:
        """The attributes that are domains, each with its column."""
        attributes = self.object.attributes
        return [
            (name, columns[0])
            for name, columns in self.attributes.items()
            if attributes[name].kind == "domain"
        ]

    def _judge_domains(
        self, record: Mapping[str, Any], attributes: dict[str, Value], dropped: list[Dropped]
    ) -> dict[str, str] | None:
        """Take out hosts that identify nobody, and return how the row spells the others."""
        given: dict[str, str] | None = None
        for name, column in self._domains:
            host = attributes.get(name)
            if not isinstance(host, str):
                continue
            if is_shared(host, self.shared_domains):
                attributes[name] = None
                dropped.append((name, SHARED_HOST))
            elif (text := str(record[column]).strip()) != host:
                given = {**(given or {}), name: text}
        return given

    def _linked(
        self, record: Mapping[str, Any], desired: Desired, dropped: list[Dropped]
    ) -> Desired:
        """Add what a record says of those that it is to be linked to; an id says it all."""
        links: dict[str, int | None] = {}
        references: dict[str, Reference] = {}
        for name, columns in self.relationships.items():
            said = {part: record[column] for part, column in columns.items() if column in record}
            try:
                number = as_id(said.pop("id"), columns["id"]) if "id" in said else None
                values = [
                    (part, text) for part, value in said.items() if (text := _said(value, name))
                ]
            except RecordFault:
                if self.on_invalid_value == "reject":
                    raise
                dropped.append((name, UNFIT))
                continue
            if number is None and values:
                linked_by = self.object.relationships[name].linked_by
                references[name] = Reference(name, tuple(values), linked_by)
            elif number is not None or any(column in record for column in columns.values()):
                links[name] = number
        return replace(desired, relationships=links, references=references)

    @cached_property
    def _limits(self) -> list[tuple[str, int]]:
        """The attributes that have a longest text, with its length in characters."""
        attributes = (self.object.attributes[name] for name in self.attributes)
        return [(one.name, one.max_length) for one in attributes if one.max_length]

    def is_too_long(self, desired: Desired) -> bool:
        """Whether a text is longer than Outreach takes.

        Nothing else can be wrong with what `apply` has made of a record, so that only such a one
        need be held against the curated schema, which says what is wrong.
        """
        attributes = desired.attributes
        for name, limit in self._limits:
            text = attributes.get(name)
            if isinstance(text, str) and len(text) > limit:
                return True
        return False

    def without_too_long(self, desired: Desired) -> Desired:
        """Return the same without the texts that are longer than Outreach takes."""
        too_long = [
            name
            for name, limit in self._limits
            if isinstance(text := desired.attributes.get(name), str) and len(text) > limit
        ]
        return replace(
            desired,
            attributes={
                name: value for name, value in desired.attributes.items() if name not in too_long
            },
            dropped=[*desired.dropped, *((name, UNFIT) for name in too_long)],
        )

    def _id(self, record: Mapping[str, Any]) -> int | None:
        return as_id(record.get(self.id_column), self.id_column) if self.id_column else None


_TEXT = Attribute(name="", kind="text", description="")


def _said(value: Any, relationship: str) -> str | None:  # noqa: ANN401 - whatever JSON holds
    """Read what says which record is linked to, as text.

    Raises:
        RecordFault: It is neither text nor a number.
    """
    try:
        text = coerce(_TEXT, value)
    except RecordFault:
        message = f"What says the {relationship} is no text."
        raise RecordFault("invalid_value", message, field=relationship) from None
    return str(text).strip() if text is not None else None


def _joined(attribute: Attribute, present: Sequence[Any], dropped: list[Dropped]) -> Value:
    """Join the values of several columns into one list; of several booleans, one yes is a yes."""
    if len(present) == 1:
        return coerce(attribute, present[0], dropped)
    values = [coerce(attribute, value, dropped) for value in present]
    if not attribute.is_array:
        said = [value for value in values if value is not None]
        return any(said) if said else None
    return _one_list(attribute, values)


def _one_list(attribute: Attribute, values: Sequence[Value]) -> Value:
    """Join lists of several columns."""
    lists = [value for value in values if isinstance(value, list)]
    joined = [item for values in lists for item in values]
    return missing_from(attribute, [], joined) if lists else None


def as_id(value: Any, column: str) -> int | None:  # noqa: ANN401 - whatever JSON holds
    """Read an Outreach id, which is a positive whole number.

    Raises:
        RecordFault: It is anything else, with the code ``invalid_id``.
    """
    if is_empty(value) or (isinstance(value, str) and not value.strip()):
        return None
    text = str(value).strip() if not isinstance(value, bool) else ""
    if re.fullmatch(r"\d{1,19}(\.0*)?", text, re.ASCII):
        number = int(text.partition(".")[0])
        if 0 < number <= LARGEST_ID:
            return number
    message = f"Column {column} holds no Outreach id, which is a positive whole number."
    raise RecordFault("invalid_id", message, field=column)


@cache
def plain(name: str) -> str:
    """Reduce a name to what counts: lower case, without ``_-./#``, blanks and what is invisible."""
    return re.sub(r"[\s_.\-/#]", "", visible(name)).lower()


@cache
def visible(name: str) -> str:
    """Leave out of a name what nobody sees: byte-order marks and all of Unicode category Cf."""
    return "".join(one for one in name if unicodedata.category(one) != "Cf")


@dataclass(frozen=True, slots=True)
class _Goal:
    """Where a column goes, and by which rule."""

    kind: Literal["id", "attribute", "relationship", "nowhere"]
    name: str
    rule: Literal["explicit", "name", "synonym", "label", "fallback", ""] = ""


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
    short = {column: _without_prefix(column, prefixes) for column in columns}
    chosen, missing = _explicit_goals(object_type, short, explicit or {})
    names, labels = _names(object_type), _labels(object_type)
    goals: dict[str, _Goal] = {}
    for column in columns:
        if column in chosen:
            goals[column] = chosen[column]
        elif any(fnmatchcase(visible(column).lower(), glob.lower()) for glob in ignore):
            goals[column] = _Goal("nowhere", IGNORED)
        else:
            goal = _by_name(object_type, column, mode, names)
            goals[column] = labels.get(plain(column), goal) if goal.name == UNKNOWN else goal
    goals |= _fill_gaps(object_type, goals, short, names | labels)
    if mode == "insert":
        goals = {
            column: _Goal("nowhere", "insert gives new ids") if goal.kind == "id" else goal
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


def _without_prefix(column: str, prefixes: Sequence[str]) -> str:
    """Take the longest of the prefixes off a name, whatever its case."""
    seen = visible(column).strip()
    fitting = [one for one in prefixes if seen.lower().startswith(one.lower())]
    rest = seen[max(map(len, fitting), default=0) :]
    return rest if fitting and plain(rest) else column


@dataclass(frozen=True, slots=True)
class _Offer:
    """A column that could fill a gap; what comes first in order is taken first."""

    beside: Sequence[str]
    rank: int
    position: int
    column: str
    goal: _Goal


def _fill_gaps(
    object_type: ObjectType,
    goals: Mapping[str, _Goal],
    short: Mapping[str, str],
    names: Mapping[str, _Goal],
) -> dict[str, _Goal]:
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
        found = fallbacks.get(plain(column)) or fallbacks.get(plain(short[column]))
        if found is not None:
            rank, name, beside = found
            offer = _Goal("attribute", name, "fallback")
            offers.append(_Offer(beside, rank, position, column, offer))
        elif short[column] != column:
            offer = _by_name(object_type, short[column], "insert", names)
            if offer.kind in {"attribute", "relationship"}:
                offer = replace(offer, rule="fallback")
                offers.append(_Offer((), -1, position, column, offer))
    taken = {goal.name: column for column, goal in goals.items() if goal.kind != "nowhere"}
    filled: dict[str, _Goal] = {}
    for one in sorted(offers, key=lambda one: (bool(one.beside), one.rank, one.position)):
        if one.beside and taken.keys().isdisjoint(one.beside):
            continue
        if one.goal.name in taken and not _takes_several(object_type, one.goal):
            why = f"{taken[one.goal.name]} goes to {one.goal.name} already"
            filled[one.column] = _Goal("nowhere", why)
        else:
            filled[one.column] = one.goal
            taken[one.goal.name] = one.column
    return filled


def _suggestions(
    object_type: ObjectType, goals: Mapping[str, _Goal], short: Mapping[str, str]
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
        if not name or goal.rule in {"explicit", "label"} or goal.name in {name, IGNORED}:
            continue
        if name not in taken or name in lists:
            found[column] = wording
        elif goal.name == UNKNOWN:
            found[column] = f"{wording}, instead of {taken[name]}"
    return found


def _names(object_type: ObjectType) -> dict[str, _Goal]:
    """Index the object's attributes by plain name; an own name wins over a synonym."""
    names: dict[str, _Goal] = {}
    for attribute in object_type.attributes.values():
        for synonym in attribute.synonyms:
            names[plain(synonym)] = _Goal("attribute", attribute.name, "synonym")
    for name in object_type.attributes:
        names[plain(name)] = _Goal("attribute", name, "name")
    return names


def _labels(object_type: ObjectType) -> dict[str, _Goal]:
    """Index the custom fields by their labels in plain; one of several fields leads nowhere."""
    labelled: dict[str, list[str]] = defaultdict(list)
    for attribute in object_type.attributes.values():
        if attribute.label is not None and (label := plain(attribute.label)):
            labelled[label].append(attribute.name)
    return {
        label: _Goal("attribute", names[0], "label")
        if len(names) == 1
        else _Goal("nowhere", f"ambiguous label: {', '.join(names)}")
        for label, names in labelled.items()
    }


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
    if not any(attribute.is_custom for attribute in object_type.attributes.values()):
        return False
    if not object_type.has_custom_fields:
        return False
    if any(may_be_custom(object_type, target) for target in explicit.values()):
        return True
    named = {plain(column) for column in explicit}
    names = _names(object_type)
    for column in columns:
        if plain(column) in named or any(
            fnmatchcase(column.lower(), glob.lower()) for glob in ignore
        ):
            continue
        goal = _by_name(object_type, column, "upsert", names)
        if goal.name == UNKNOWN or _is_custom(object_type, goal):
            return True
    return False


def may_be_custom(object_type: ObjectType, name: str) -> bool:
    """Whether a name in the settings is that of a custom field, or may be a label."""
    if not object_type.has_custom_fields:
        return False
    if is_unknown(object_type, name):
        return True
    try:
        return _is_custom(object_type, explicit_goal(object_type, name))
    except ValueError:
        return False


def is_unknown(object_type: ObjectType, name: str) -> bool:
    """Whether a name in the settings leads nowhere, as far as labels are known."""
    try:
        explicit_goal(object_type, name)
    except NoSuchAttribute:
        return True
    except ValueError:
        return False
    return False


def _is_custom(object_type: ObjectType, goal: _Goal) -> bool:
    return goal.kind == "attribute" and object_type.attributes[goal.name].is_custom


def _by_name(
    object_type: ObjectType,
    column: str,
    mode: SyncMode,
    names: Mapping[str, _Goal],
) -> _Goal:
    """Find the goal of a column that no setting names."""
    name = plain(column)
    if (id_goal := _id_goal(object_type, name)) is not None:
        return id_goal
    if name == "id":
        return _Goal("id", "id", "name") if mode == "update" else _Goal("nowhere", OWN_ID)
    goal = names.get(name)
    if goal is None:
        unknown = "Singer metadata" if column.startswith("_sdc_") else UNKNOWN
        return _relation_goal(object_type, name) or _Goal("nowhere", unknown)
    attribute = object_type.attributes[goal.name]
    if attribute.read_only:
        return _Goal("nowhere", "read-only")
    if attribute.explicit_only:
        return _Goal("nowhere", "only by a columns entry")
    return goal


def _id_goal(object_type: ObjectType, name: str) -> _Goal | None:
    """See an Outreach id in a column that says ``outreach``."""
    if not (name.startswith("outreach") and name.endswith("id")):
        return None
    middle = name.removeprefix("outreach").removesuffix("id")
    if middle in {"", object_type.type}:
        return _Goal("id", "id", "name")
    links = {plain(relationship): relationship for relationship in links_of(object_type)}
    return _Goal("relationship", f"{links[middle]}.id", "name") if middle in links else None


def _relation_goal(object_type: ObjectType, name: str) -> _Goal | None:
    """See in a column what another record is linked to by; its Outreach id is never guessed."""
    for relationship in links_of(object_type):
        for part in object_type.relationships[relationship].linked_by:
            if name == plain(f"{relationship}.{part}"):
                if part == "id":
                    return _Goal("nowhere", OWN_ID)
                return _Goal("relationship", f"{relationship}.{part}", "name")
    return None


def _explicit_goals(
    object_type: ObjectType, short: Mapping[str, str], explicit: Mapping[str, str]
) -> tuple[dict[str, _Goal], dict[str, str]]:
    """Resolve the ``columns`` setting, and say which columns in it the stream does not have."""
    columns = list(short)
    by_plain_name = {plain(short[column]): column for column in reversed(columns)}
    by_plain_name |= {plain(column): column for column in reversed(columns)}
    goals: dict[str, _Goal] = {}
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


class NoSuchAttribute(ValueError):  # noqa: N818 - a reason, worded for the end of a sentence
    """An entry under ``columns`` names nothing that the object has."""


def explicit_goal(object_type: ObjectType, target: str) -> _Goal:
    """Find what a ``columns`` entry points at.

    Raises:
        ValueError: Nothing that can be written; the message ends a sentence.
    """
    name = plain(target)
    if name in {"id", f"outreach{object_type.type}id", "outreachid"}:
        return _Goal("id", "id", "explicit")
    by_name = {plain(attribute): attribute for attribute in object_type.attributes}
    if name in by_name:
        if object_type.attributes[by_name[name]].read_only:
            msg = "which Outreach lets nobody write"
            raise ValueError(msg)
        return _Goal("attribute", by_name[name], "explicit")
    for relationship in links_of(object_type):
        for part in object_type.relationships[relationship].linked_by:
            if name == plain(f"{relationship}.{part}"):
                return _Goal("relationship", f"{relationship}.{part}", "explicit")
    if (synonym := _names(object_type).get(name)) is not None:
        return _Goal("attribute", synonym.name, "explicit")
    if (goal := _labels(object_type).get(name)) is not None:
        if goal.kind == "attribute":
            return _Goal("attribute", goal.name, "explicit")
        msg = f"which is an {goal.name}; name one of them by its number"
        raise ValueError(msg)
    msg = f"which {object_type.name} do not have; {nearest(target, names_of(object_type))}"
    raise NoSuchAttribute(msg)


def names_of(object_type: ObjectType) -> list[str]:
    """List what a setting can call what can be written: attributes, labels, links."""
    writable = object_type.writable
    labels = [one.label for one in writable.values() if one.label is not None]
    links = [
        f"{name}.{part}"
        for name in links_of(object_type)
        for part in object_type.relationships[name].linked_by
    ]
    return [*writable, *labels, *links]


def links_of(object_type: ObjectType) -> list[str]:
    """List the relationships of an object that can be written."""
    return [name for name, link in object_type.relationships.items() if not link.read_only]


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


def _assemble(object_type: ObjectType, goals: Mapping[str, _Goal]) -> StreamMapping:
    """Group the columns by goal and refuse two columns for one value."""
    grouped: dict[_Goal, list[str]] = defaultdict(list)
    for column, goal in goals.items():
        if goal.kind != "nowhere":
            grouped[_Goal(goal.kind, goal.name)].append(column)
    problems = [
        f"columns {' and '.join(columns)} both map to {goal.name}; leave one out by ignore_columns"
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
        id_column=grouped.get(_Goal("id", "id"), [None])[0],
        unmapped={column: goal.name for column, goal in goals.items() if goal.kind == "nowhere"},
    )


def _linked_columns(
    object_type: ObjectType, grouped: Mapping[_Goal, list[str]]
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


def _takes_several(object_type: ObjectType, goal: _Goal) -> bool:
    """Whether several columns may go there: the values of lists are joined, and so are opt-outs."""
    if goal.kind != "attribute":
        return False
    attribute = object_type.attributes[goal.name]
    return attribute.is_array or attribute.kind == "boolean"


def _singular_first(columns: Sequence[str], goals: Mapping[str, _Goal]) -> list[str]:
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
        msg = f"{mode} mode needs a column for the Outreach id or for one of {keys}"
        raise SettingsError(msg)
