"""A stream's columns and what each is for, and what a record says by that."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from target_outreach.errors import RecordFault
from target_outreach.records.contacts import NO_HOST, domain_key
from target_outreach.records.model import (
    Attribute,
    Desired,
    Dropped,
    ObjectType,
    Reference,
    Value,
)
from target_outreach.records.opt_outs import only_opt_out
from target_outreach.records.scalars import as_name
from target_outreach.records.shared_hosts import is_shared
from target_outreach.records.values import (
    Coercion,
    coercion,
    fitting_items,
    is_empty,
    missing_from,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.records.rules import OnInvalid, Rules


LARGEST_ID = 2**63 - 1
#: Why a value is not delivered although its record is; `values` has more.
SHARED_HOST = "a host that many companies share"
UNFIT = "does not fit"

#: Characters of names, addresses and ids by which records are found (API reference 2.1).
LONGEST_NAME = 255


@dataclass(frozen=True)
class StreamMapping:
    """The columns of one stream and what each is for.

    Attributes:
        object: The object that the stream is for.
        attributes: The columns that go to each attribute.
        relationships: The columns that say each link, by the part of it that they say.
        id_column: The column with the Outreach id.
        unmapped: Columns that are ignored, with the reason.
        missing: Columns in `columns` that the stream lacks, with a sentence that names the nearest.
        suggested: Columns that could go elsewhere than they do by default, with the goal.
        on_invalid_value: What happens to a record with a value that does not fit.
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
    def steps(self) -> list[tuple[Attribute, str, str, int, int, Coercion, tuple[str, ...]]]:
        """The attributes in their order, each with its name, its column, and how it is read.

        The first number is how many characters a plain text may have that is taken as it is,
        0 where none is; the second how many any text may have. The columns are all that go to it,
        where it has several.
        """
        attributes = self.object.attributes
        return [
            (
                attribute,
                name,
                columns[0],
                longest if attribute.kind == "text" and name != "name" else 0,
                longest,
                coercion(attribute),
                columns if len(columns) > 1 else (),
            )
            for name, columns in self.attributes.items()
            for attribute in [attributes[name]]
            for longest in [attribute.max_length or sys.maxsize]
        ]

    def describe(self) -> str:
        """Say the whole mapping in one line, with the ignored columns."""
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
        return ", ".join(pairs) + (f"; ignored: {', '.join(left_out)}" if left_out else "")

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

    def goals(self) -> dict[str, str]:
        """Return where each column goes that is not ignored."""
        goals = {self.id_column: "id"} if self.id_column else {}
        goals |= {column: name for name, columns in self.attributes.items() for column in columns}
        return goals | {
            column: f"{name}.{part}"
            for name, parts in self.relationships.items()
            for part, column in parts.items()
        }

    def columns_of(self, goal: str) -> list[str]:
        """Return the columns that go to an attribute, to a link, or to a part of one."""
        places = {goal, *(f"{goal}.{part}" for part in self.relationships.get(goal, ()))}
        return [column for column, place in self.goals().items() if place in places]

    def apply(self, record: Mapping[str, Any]) -> Desired:
        """Read a record by the mapping.

        What means no value, such as ``N/A`` as a domain, is removed, so that it
        neither overwrites nor empties what Outreach holds.

        Raises:
            RecordFault: A value does not fit its attribute, and `on_invalid_value` is ``reject``;
                or what should be an Outreach id is none.
        """
        dropped: list[Dropped] = []
        try:
            attributes, too_long = self._read(record, dropped)
        except RecordFault:
            if self.on_invalid_value == "reject":
                raise
            dropped.clear()
            attributes, too_long = self._read_what_fits(record, dropped)
        return self.complete(record, attributes, dropped, too_long)

    def complete(
        self,
        record: Mapping[str, Any],
        attributes: dict[str, Value],
        dropped: list[Dropped],
        too_long: list[str],
    ) -> Desired:
        """Return what a record says, its attributes having been read."""
        given = self._judge_domains(record, attributes, dropped) if self._domains else None
        for name, _ in dropped:
            if is_empty(attributes.get(name)):
                attributes.pop(name, None)
        number = self._id(record) if self.id_column else None
        desired = Desired(number, attributes, given=given, dropped=dropped, too_long=too_long)
        return self._linked(record, desired, dropped) if self.relationships else desired

    def _read(
        self, record: Mapping[str, Any], dropped: list[Dropped]
    ) -> tuple[dict[str, Value], list[str]]:
        """Read each attribute, and list those whose text is longer than Outreach takes."""
        attributes: dict[str, Value] = {}
        too_long: list[str] = []
        for attribute, name, column, plain, longest, coerce, several in self.steps:
            value = record.get(column, UNSET)
            if (
                type(value) is str
                and 0 < len(value) <= plain
                and value.isascii()
                and not value.isspace()
            ):
                attributes[name] = value
            elif several:
                if present := [record[one] for one in several if one in record]:
                    found = [coerce(one, dropped) for one in present]
                    attributes[name] = found[0] if len(found) == 1 else _one(attribute, found)
            elif value is None:
                attributes[name] = None
            elif value is not UNSET:
                attributes[name] = read = coerce(value, dropped)
                if type(read) is str and len(read) > longest:
                    too_long.append(name)
        return attributes, too_long

    def _read_what_fits(
        self, record: Mapping[str, Any], dropped: list[Dropped]
    ) -> tuple[dict[str, Value], list[str]]:
        """Do as `_read` without what does not fit; of a list the items that do are read."""
        attributes: dict[str, Value] = {}
        too_long: list[str] = []
        for attribute, name, column, _, longest, coerce, several in self.steps:
            found: list[Value] = []
            for value in [record[one] for one in several or (column,) if one in record]:
                try:
                    found.append(coerce(value, dropped))
                except RecordFault:
                    dropped.append((name, UNFIT))
                    found.append(fitting_items(attribute, value))
            if found:
                attributes[name] = read = _one(attribute, found) if several else found[0]
                if type(read) is str and len(read) > longest:
                    too_long.append(name)
        return attributes, too_long

    def opt_out(
        self, record: Mapping[str, Any], rules: Rules, fault: RecordFault
    ) -> Desired | None:
        """Read of a rejected record what is still to be delivered, as `only_opt_out` says.

        Args:
            record: The record, which may break its own SCHEMA.
            rules: The settings of its stream.
            fault: Why it is rejected.
        """
        attributes, _ = self._read_what_fits(record, [])
        self._judge_domains(record, attributes, [])
        try:
            number = self._id(record)
        except RecordFault:
            number = None
        return only_opt_out(self.object, Desired(number, attributes), rules, fault)

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
            if (why := self._why_no_domain(host)) is not None:
                attributes[name] = None
                dropped.append((name, why))
            elif (text := str(record[column]).strip()) != host:
                given = {**(given or {}), name: text}
        return given

    def _why_no_domain(self, text: str) -> str | None:
        """Say why a text identifies no company by its domain; None where it does."""
        if not (host := domain_key(text)):
            return NO_HOST
        return SHARED_HOST if is_shared(host, self.shared_domains) else None

    def _linked(
        self, record: Mapping[str, Any], desired: Desired, dropped: list[Dropped]
    ) -> Desired:
        """Add what a record says of those that it is to be linked to; an id says it all."""
        links: dict[str, int | None] = {}
        references: dict[str, Reference] = {}
        for name, columns in self.relationships.items():
            said = {part: record[column] for part, column in columns.items() if column in record}
            linked_by = self.object.relationships[name].linked_by
            try:
                number = as_id(said.pop("id"), columns["id"]) if "id" in said else None
                values = {
                    part: text for part, value in said.items() if (text := _said(value, name, part))
                }
            except RecordFault:
                if self.on_invalid_value == "reject":
                    raise
                dropped.append((name, UNFIT))
                continue
            is_said = bool(values)
            for part in [part for part in values if linked_by[part] == "domain"]:
                if (why := self._why_no_domain(values[part])) is not None:
                    dropped.append((f"{name}.{part}", why))
                    del values[part]
            if number is None and is_said:
                if values:
                    references[name] = Reference(name, tuple(values.items()), linked_by)
            elif number is not None or any(column in record for column in columns.values()):
                links[name] = number
        return replace(desired, relationships=links, references=references)

    def without_too_long(self, desired: Desired) -> Desired:
        """Return the same without the texts that are longer than Outreach takes."""
        too_long = desired.too_long
        return replace(
            desired,
            attributes={
                name: value for name, value in desired.attributes.items() if name not in too_long
            },
            dropped=[*desired.dropped, *((name, UNFIT) for name in too_long)],
            too_long=(),
        )

    def _id(self, record: Mapping[str, Any]) -> int | None:
        return as_id(record.get(self.id_column), self.id_column) if self.id_column else None


_as_text = coercion(Attribute(name="", kind="text", description=""))


def _said(value: Any, relationship: str, part: str) -> str | None:  # noqa: ANN401 - whatever JSON holds
    """Read what says which record is linked to, as text.

    Raises:
        RecordFault: It is neither text nor a number, or longer than any name in Outreach.
    """
    try:
        text = _as_text(value, [])
    except RecordFault:
        message = f"What says the {relationship} is no text."
        raise RecordFault("invalid_value", message, field=relationship) from None
    said = str(text).strip() if text is not None else None
    if said is not None and part == "name":
        said = as_name(said) or None
    if said is not None and len(said) > LONGEST_NAME and part != "domain":  # that may be a URL
        message = f"What says the {relationship} has more than {LONGEST_NAME} characters."
        raise RecordFault("invalid_value", message, field=relationship)
    return said


def _one(attribute: Attribute, values: Sequence[Value]) -> Value:
    """Join what several columns say: lists into one; of several booleans, one yes is a yes."""
    if not attribute.is_array:
        said = [value for value in values if value is not None]
        return any(said) if said else None
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
