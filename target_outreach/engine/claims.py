"""Which source key has each record of Outreach in this run.

Two rows of one stream with different source keys may be about one record: two contacts with one
address, two companies of one name. The record belongs to the key that was delivered to it first.
Rows of another stream come from another source, which may add to the same record on purpose.

A claim takes 18 bytes in the table of its stream, which is at most three quarters full.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from target_outreach.errors import RecordFault
from target_outreach.records.model import Unchanged, Update
from target_outreach.records.opt_outs import OPT_OUTS
from target_outreach.records.values import as_held
from target_outreach.records.versions import lay_list_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_outreach.delivery.stream import Delivered, Item, Stream
    from target_outreach.engine.batch import WorkItem
    from target_outreach.engine.memory_check import MemoryCheck
    from target_outreach.records.model import Create, Desired, ObjectType, Resource, Value
    from target_outreach.records.rules import Rules

#: Places of a table at first; a power of two.
FEWEST = 1 << 10

#: Combinations of attributes that are remembered; what further ones would add is not kept.
MOST_SETS = 4_096

#: Records of which is known what was added to their lists, the newest; lists of others keep all.
MOST_LISTS = 10_000

#: Bits of a claim for the line; those above are of the hash of the source key.
LINE_BITS = 32
LOW = (1 << LINE_BITS) - 1

#: What is noted of a claim below the number of the set of what was written.
NEW, REPLAYED, NOTE_BITS = 1, 2, 2

#: Spreads ids over a table by the upper bits of a product: 2**32 divided by the golden ratio.
SPREAD, SPREAD_BITS = 0x9E37_79B1, 32


class Claim(NamedTuple):
    """What another source key has done to a record.

    Attributes:
        line: The line of its first row; 0 where an earlier run has delivered that.
        is_replayed: Whether that row was read from a rejects file.
        written: The attributes and links that were written in this run.
        is_new: Whether this run has created the record.
        added: What was added to its lists in this run, as far as that is known, by attribute.
    """

    line: int
    is_replayed: bool = False
    written: frozenset[str] = frozenset()
    is_new: bool = False
    added: Mapping[str, list[str]] = {}

    def yields_to(self, item: WorkItem) -> bool:
        """Whether the record goes to a later row.

        What is replayed before the input leaves the record to the input, so that the two do not
        take turns from run to run.
        """
        if item.batch.stream.rules.on_duplicate == "last":
            return True
        return self.is_replayed and not item.members[0].is_replayed

    def replaced_by(
        self, object_type: ObjectType, desired: Desired, rules: Rules, found: Resource
    ) -> tuple[Desired, Rules]:
        """Return what a later row says instead of the earlier one, and the rules for that.

        What the earlier one has written, and the later one does not say, is emptied. What others
        have added to lists, or filled in since this run created the record, stays.

        Args:
            object_type: What the record is.
            desired: What the later row says.
            rules: The settings of its stream.
            found: The record as Outreach holds it.
        """
        needed = {*object_type.required, object_type.required_attribute}
        kept = {*rules.match_fields, *needed, *OPT_OUTS}
        attributes = {
            name: value
            for name, value in desired.attributes.items()
            if value is not None or rules.on_null == "clear"
        }
        links = {
            name: link
            for name, link in desired.relationships.items()
            if link is not None or rules.on_null == "clear"
        }
        for name in self.written.difference(attributes, links, desired.references, kept):
            if name in object_type.attributes:
                attributes[name] = None
            else:
                links[name] = None
        for name, value in attributes.items():
            if object_type.attributes[name].is_array:
                attributes[name] = self._list(object_type, name, value, rules, found)
        field_rules = rules.field_rules
        if self.is_new:
            field_rules = {
                name: "never" if rule == "never" else "if_empty"
                for name, rule in field_rules.items()
                if rule == "never" or (rule != "always" and name not in self.written)
            }
        return (
            replace(desired, attributes=attributes, relationships=links),
            replace(rules, on_null="clear", array_fields="replace", field_rules=field_rules),
        )

    def _list(
        self, object_type: ObjectType, name: str, said: Value, rules: Rules, found: Resource
    ) -> Value:
        """Lay a list over what Outreach holds without what the earlier row has added."""
        if said is None and name not in self.written:
            return None
        attribute, held = object_type.attributes[name], found.attributes.get(name) or []
        ours = said if isinstance(said, list) else []
        gone = {*as_held(attribute, held, self.added.get(name, []))}
        gone.difference_update(as_held(attribute, held, ours))
        rest = [one for one in held if one not in gone]
        if not ours:
            return rest or None
        if self.is_new and rules.array_rule(name) == "merge":  # its order was the earlier row's
            rules = replace(rules, array_fields="merge_first")
        return lay_list_over(attribute, rest, ours, rules)

    def refusal(self) -> RecordFault:
        """Say that the record does not go to a later row."""
        whose = (
            f"the row on line {self.line:,} of the input, which has another key and came first"
            if self.line
            else "a row with another key, which an earlier run has delivered"
        )
        return RecordFault(
            "duplicate_source_row",
            f"It is about the same record in Outreach as {whose}. Merge the two at their source, "
            "let them differ in what they are matched by, or set on_duplicate.",
        )


class Claims:
    """Knows the claims of all streams; on the thread of the event loop only."""

    def __init__(self, memory: MemoryCheck) -> None:
        """Know none yet.

        Args:
            memory: Knows to which key earlier runs have delivered a record.
        """
        self._memory = memory
        self._tables: dict[str, _Table] = {}
        self._added: OrderedDict[tuple[str, int], dict[str, list[str]]] = OrderedDict()

    def of_another(self, item: WorkItem, resource_id: int) -> Claim | None:
        """Return the claim of another key of the stream to a record; None where there is none.

        Args:
            item: What is about the record.
            resource_id: The Outreach id of the record.
        """
        stream, key = item.batch.stream, item.desired.source_key
        if not stream.is_keyed or key is None or item.desired.fault is not None:
            return None
        if (table := self._tables.get(stream.name)) is not None:
            place = table.place(resource_id)
            if claim := table.claims[place]:
                if claim >> LINE_BITS == hash(key) & LOW:
                    return None
                added = self._added.get((stream.name, resource_id), {})
                return table.claim(place)._replace(added=added)
        if stream.rules.on_duplicate == "reject" and self._memory.is_anothers(item, resource_id):
            return Claim(0)
        return None

    def take(self, stream: Stream, deliveries: Iterable[tuple[WorkItem, Delivered]]) -> None:
        """Give records to the keys of the items that were delivered to them.

        Args:
            stream: The stream of all the items.
            deliveries: The items, each with the record that it was delivered to.
        """
        if not stream.is_keyed:
            return
        if (table := self._tables.get(stream.name)) is None:
            table = self._tables[stream.name] = _Table(FEWEST)
        for item, delivered in deliveries:
            desired = item.desired
            if desired.source_key is None or desired.fault is not None:
                continue  # the opt-out of a rejected row claims nothing
            resource_id, decided = delivered.resource.id, delivered.decided
            place = table.place(resource_id)
            owner, claim = hash(desired.source_key) & LOW, table.claims[place]
            if not claim or claim >> LINE_BITS != owner:
                table.enter(place, resource_id, owner, item.members[0])
            if not isinstance(decided, Unchanged):
                table.note(place, decided, is_new=delivered.outcome == "created")
                if stream.rules.on_duplicate == "last" or item.members[0].is_replayed:
                    self._note_added((stream.name, resource_id), decided)
            if not claim and table.is_full:
                table = self._tables[stream.name] = table.doubled()

    def _note_added(self, place: tuple[str, int], decided: Create | Update) -> None:
        """Note what a write has added to the lists of a record."""
        before = decided.resource.attributes if isinstance(decided, Update) else {}
        for name, value in decided.attributes.items():
            if isinstance(value, list):
                held = before.get(name) or ()
                lists = self._added.setdefault(place, {})
                lists.setdefault(name, []).extend(one for one in value if one not in held)
        if len(self._added) > MOST_LISTS:
            self._added.popitem(last=False)


class _Table:
    """The claims of one stream by the id of the record, in arrays: a dict takes five times as much.

    Attributes:
        claims: A hash of the source key and the line of its first row; 0 where nothing is.
    """

    def __init__(self, size: int) -> None:
        self._mask = size - 1
        self._shift = SPREAD_BITS + 1 - size.bit_length()
        self._count = 0
        self._ids = array("q", [0]) * size
        self.claims = array("Q", [0]) * size
        #: Whether the record is new, whether the row was replayed, and which set was written.
        self._notes = array("H", [0]) * size
        self._sets: list[frozenset[str]] = [frozenset()]
        self._numbers: dict[frozenset[str], int] = {frozenset(): 0}

    def place(self, resource_id: int) -> int:
        """Return the place that a record has, or would have."""
        ids, claims, mask = self._ids, self.claims, self._mask
        place = (resource_id * SPREAD >> self._shift) & mask
        while ids[place] != resource_id and claims[place]:
            place = (place + 1) & mask
        return place

    def claim(self, place: int) -> Claim:
        """Return what is known of the record at a place."""
        note = self._notes[place]
        written = self._sets[note >> NOTE_BITS]
        return Claim(self.claims[place] & LOW, bool(note & REPLAYED), written, bool(note & NEW))

    def enter(self, place: int, resource_id: int, owner: int, first: Item) -> None:
        """Put down whose a record is; what was written to it before stays known."""
        self._count += not self.claims[place]
        self._ids[place] = resource_id
        self.claims[place] = (owner << LINE_BITS | first.line_number & LOW) or 1
        self._notes[place] = self._notes[place] & ~REPLAYED | (first.is_replayed and REPLAYED)

    def note(self, place: int, decided: Create | Update, *, is_new: bool) -> None:
        """Add what was written to a record."""
        note = self._notes[place]
        before = note >> NOTE_BITS
        written = self._sets[before].union(decided.attributes, decided.relationships)
        number = self._numbers.get(written, before)
        if written not in self._numbers and len(self._sets) < MOST_SETS:
            number = self._numbers[written] = len(self._sets)
            self._sets.append(written)
        flags = note & (NEW | REPLAYED) | (is_new and NEW)
        self._notes[place] = number << NOTE_BITS | flags

    @property
    def is_full(self) -> bool:
        """Whether it takes long to find a place."""
        return 3 * self._mask < 4 * self._count

    def doubled(self) -> _Table:
        """Return a copy with twice as many places."""
        larger = _Table(2 * len(self._ids))
        larger._count, larger._sets, larger._numbers = self._count, self._sets, self._numbers
        for resource_id, claim, note in zip(self._ids, self.claims, self._notes, strict=True):
            if claim:
                place = larger.place(resource_id)
                larger._ids[place] = resource_id
                larger.claims[place] = claim
                larger._notes[place] = note
        return larger
