"""Plain values: objects, records, links and plans. It imports no other module of `records`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct

from target_outreach.errors import RecordFault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Value = str | int | float | bool | list[str] | None

#: A value of a row that is not delivered: its attribute or column of a link, and why.
Dropped = tuple[str, str]

Kind = Literal[
    "text",
    "texts",
    "emails",
    "phones",
    "domain",
    "integer",
    "number",
    "boolean",
    "date",
    "date-time",
    "histogram",
    "custom",  # a custom field of which the organisation says more than that it is text
]

FieldType = Literal[
    "boolean",
    "currency",
    "date",
    "date_time",
    "inclusion",
    "multi_inclusion",
    "numerical",
    "percentage",
    "phone_number",
    "string",
    "url",
]

ARRAY_KINDS = frozenset({"texts", "emails", "phones"})

CUSTOM_NAME = re.compile(r"custom\d+", re.ASCII)


class DeclaredField(Protocol):
    """What an organisation says of one of its custom fields."""

    @property
    def label(self) -> str | None:
        """What people call it."""

    @property
    def type(self) -> FieldType:
        """What its text must be."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The options of a pick list; none where any value goes."""

    def coerce(self, value: Any) -> str | None:  # noqa: ANN401 - whatever JSON holds
        """Turn an incoming value into the text that Outreach keeps."""

    def is_same(self, ours: str, held: Any) -> bool:  # noqa: ANN401 - Outreach's JSON
        """Whether Outreach holds what a coerced value of ours means, in whatever form."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an object, as Outreach declares it.

    `custom` is what the organisation says of a custom field, where that has been asked.

    Columns with one of the names in `synonyms` go to it. Those with one of `fallbacks`, the first
    of which counts most, do where no other column does, and under `beside` stands for some of them
    to which of the attributes another column must go. Those with one of `suggested` are only
    mentioned as columns that could go to it, or to what `suggested_as` says instead. `opt_outs` are
    the attributes in which a refusal to be contacted forbids to undo it; others have none.
    """

    name: str
    kind: Kind
    description: str
    max_length: int | None = None
    read_only: bool = False
    filterable: bool = False
    sortable: bool = False
    curated: bool = False
    explicit_only: bool = False
    synonyms: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = field(default=(), repr=False)
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)
    suggested: tuple[str, ...] = field(default=(), repr=False)
    suggested_as: str = field(default="", repr=False)
    opt_outs: tuple[str, ...] = field(default=(), repr=False)
    custom: DeclaredField | None = None

    @property
    def is_array(self) -> bool:
        """Whether the value is a list of texts."""
        return self.kind in ARRAY_KINDS

    @property
    def is_custom(self) -> bool:
        """Whether it is one of the numbered fields to which organisations give a meaning."""
        return CUSTOM_NAME.fullmatch(self.name) is not None

    @property
    def label(self) -> str | None:
        """What the organisation calls it, if that is known."""
        return self.custom.label if self.custom is not None else None

    @property
    def title(self) -> str:
        """The name, with the label behind it where there is one."""
        return self.name if self.label is None else f"{self.name} ({self.label})"


@dataclass(frozen=True, slots=True)
class Relationship:
    """A to-one link from one object to another.

    Attributes:
        name: What it is called.
        object: The plural name of the linked object.
        read_only: Whether Outreach lets nobody write it.
        filterable_by: The attributes of the linked record, besides its id, that a list can be
            filtered by (API reference 2.2, 2.6).
        linked_by: The `linked_by` of that object.
        suggested: Names of columns that are only mentioned as ones that could say the link, by the
            part of `linked_by` that they would say.
    """

    name: str
    object: str
    read_only: bool = False
    filterable_by: tuple[str, ...] = field(default=(), repr=False)
    linked_by: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    suggested: Mapping[str, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object of Outreach, with all that is particular to it.

    Attributes:
        name: The plural, as in paths.
        type: The singular, as in bodies.
        attributes: Its attributes by name.
        relationships: Its to-one links by name.
        required: The custom fields without which the organisation lets nobody create a record.
        match_fields: The attributes by which a record is found where the settings name none.
        match_within: For a match field whose value may come again elsewhere, the relationship that
            tells within which other record it identifies one.
        required_attribute: The attribute without which no record is created; None where no such
            attribute is published.
        required_links: The links without which a record makes no sense.
        stream: Whether streams can be for it: by their names, only by an entry of `streams` that
            names it, or not at all.
        sold_apart: Whether organisations must buy it apart, so that a sync is not expected to have
            it unless its settings say so.
        unique_by: The attribute of which Outreach refuses a second record with the same value (API
            reference 3.4); None where it takes a second one.
        unnamed_link: The relationship that Outreach fills with a record that its pages do not show,
            where nothing else is linked (API reference 2.3).
        is_large: Whether there are too many records to read them all.
        created_for_links: Whether one can be created because another record names it.
        linked_by: How a column may say which record another one is linked to: the part of the
            column's name behind the point, and the attribute that it stands for; what identifies
            best comes first.
        importable: Whether Outreach's imports take it (API reference 6).
        is_enrolment: Whether to create one puts a person into a sequence.
        methods: The HTTP methods, besides GET, that Outreach has for it.
        columns: What a list for people shows of it.
    """

    name: str
    type: str
    attributes: Mapping[str, Attribute] = field(repr=False)
    relationships: Mapping[str, Relationship] = field(repr=False)
    required: Sequence[str] = field(default=(), repr=False)
    match_fields: tuple[str, ...] = field(default=(), repr=False)
    match_within: Mapping[str, str] = field(default_factory=dict, repr=False)
    required_attribute: str | None = field(default=None, repr=False)
    required_links: tuple[str, ...] = field(default=(), repr=False)
    stream: Literal["by_name", "by_entry"] | None = field(default=None, repr=False)
    sold_apart: bool = field(default=False, repr=False)
    unique_by: str | None = field(default=None, repr=False)
    unnamed_link: str | None = field(default=None, repr=False)
    is_large: bool = field(default=False, repr=False)
    created_for_links: bool = field(default=False, repr=False)
    linked_by: Mapping[str, str] = field(default_factory=dict, repr=False)
    importable: bool = field(default=False, repr=False)
    is_enrolment: bool = field(default=False, repr=False)
    methods: tuple[str, ...] = field(default=(), repr=False)
    columns: tuple[str, ...] = field(default=(), repr=False)

    @property
    def writable(self) -> Mapping[str, Attribute]:
        """The attributes that may be sent."""
        return {name: a for name, a in self.attributes.items() if not a.read_only}

    @property
    def has_custom_fields(self) -> bool:
        """Whether organisations can give it fields of their own."""
        return "custom1" in self.attributes


class Key(Struct, frozen=True):
    """What identifies a record: a match field and the value's comparable form."""

    field: str
    value: str | int


class Resource(Struct, frozen=True):
    """A record as Outreach holds it.

    Attributes:
        id: The Outreach id.
        attributes: Those that were asked for.
        links: The ids of linked records by relationship, None where nothing is linked.
    """

    id: int
    attributes: Mapping[str, Any]
    links: Mapping[str, int | None]

    @property
    def created_at(self) -> str:
        """When Outreach created it: ISO 8601, whose order as text is that of time."""
        return str(self.attributes.get("createdAt") or "")


@dataclass(frozen=True, slots=True)
class Reference:
    """A record of Outreach that another one names.

    Attributes:
        relationship: The relationship that it is named for.
        values: What is said of it, by the part of the column's name, as given; none is blank.
        linked_by: The attribute of the linked record that each part stands for.
    """

    relationship: str
    values: tuple[tuple[str, str], ...]
    linked_by: Mapping[str, str] = field(compare=False, repr=False)

    @property
    def parts(self) -> tuple[str, ...]:
        """Say by which columns it is named, as ``account.domain``."""
        return tuple(f"{self.relationship}.{part}" for part, _ in self.values)

    @property
    def attributes(self) -> dict[str, str | list[str]]:
        """Return what is said of the linked record, by its own attributes."""
        names = self.linked_by
        return {
            names[part]: [text] if names[part] == "emails" else text for part, text in self.values
        }

    def missing(self, *, is_unnamed: bool = False) -> RecordFault:
        """Say that nothing in Outreach fits, or that what is to be created has no name."""
        rest = ", and nothing names the account to be made" if is_unnamed else ""
        rest = rest or "; see on_missing_relation"
        message = f"Nothing in Outreach fits {' and '.join(self.parts)}{rest}."
        return RecordFault("relation_not_found", message, field=self.parts[0])

    def ambiguous(self, ids: Sequence[int]) -> RecordFault:
        """Say that several records fit, naming their ids."""
        found = ", ".join(map(str, ids))
        message = f"Several records in Outreach fit {' and '.join(self.parts)}: {found}."
        return RecordFault("relation_ambiguous", message, field=self.parts[0])

    def refused(self, fault: RecordFault) -> RecordFault:
        """Word an error of the linked record, so that it is not mistaken for this one's own."""
        return RecordFault(
            "relation_refused",
            f"The {self.relationship} that it is to be linked to: {fault.message}",
            field=self.parts[0],
            detail=fault.detail,
        )


@dataclass(slots=True)  # to make a frozen one costs as much as to map five columns
class Desired:
    """What one record says should be in Outreach; it is never changed once it is decided on.

    Until then it is completed by the key of its source, and by what is remembered under that.

    Attributes:
        id: The Outreach id, if a column says it.
        attributes: Coerced values by attribute; None where the record has a null.
        relationships: Ids of linked records by relationship; None where the record has a null.
        references: What is said of linked records of which it does not say the id, by relationship;
            once one is found, its id is in `relationships`.
        source_key: The key of the record in its source, where its stream has key properties or a
            memory is kept.
        remembered: The Outreach id under which a record of this key was delivered before.
        given: Match fields as the row spells them, where that is not how they are written.
        dropped: What the row says and is not delivered.
        too_long: Attributes whose text is longer than Outreach takes.
        fills: Attributes that are only set where Outreach holds nothing in them.
        fault: Why the row is rejected; of such a one only an opt-out is still delivered.
        keys: What it can be found by, by match field, as far as that has been asked for.
    """

    id: int | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    relationships: Mapping[str, int | None] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)
    source_key: str | None = None
    remembered: int | None = None
    given: Mapping[str, str] | None = None
    dropped: Sequence[Dropped] = ()
    too_long: Sequence[str] = ()
    fills: Collection[str] = ()
    fault: RecordFault | None = None
    keys: dict[str, list[Key]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_remembered(self, resource_id: int | None) -> Desired:
        """Return the same as a record that was delivered before, or was not."""
        if resource_id == self.remembered:
            return self
        # `dataclasses.replace` takes several times as long.
        return Desired(
            self.id,
            self.attributes,
            self.relationships,
            self.references,
            self.source_key,
            resource_id,
            self.given,
            fault=self.fault,
        )

    def without_link(self, name: str) -> Desired:
        """Return the same, saying nothing of a relationship."""
        links = {other: link for other, link in self.relationships.items() if other != name}
        return replace(self, relationships=links)

    def with_links(self, links: Mapping[str, int], left_out: Collection[str]) -> Desired:
        """Return the same, what it is linked to having been found.

        Args:
            links: The ids by relationship.
            left_out: The relationships whose record was not found.
        """
        return replace(
            self,
            relationships={**self.relationships, **links},
            references={name: one for name, one in self.references.items() if name not in left_out},
        )


class Create(Struct, frozen=True):
    """POST these."""

    attributes: Mapping[str, Value]
    relationships: Mapping[str, int | None]
    held_back: Mapping[str, int]


class Update(Struct, frozen=True):
    """PATCH these of the record that was found."""

    resource: Resource
    attributes: Mapping[str, Value]
    relationships: Mapping[str, int | None]
    held_back: Mapping[str, int]


class Unchanged(Struct, frozen=True):  # one for most rows: three times as fast as a data class
    """Outreach holds it already."""

    resource: Resource
    held_back: Mapping[str, int]


class Skip(Struct, frozen=True):
    """Nothing is to be written, by policy."""

    reason: str


Plan = Create | Update | Unchanged | Skip
