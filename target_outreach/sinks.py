"""One sink a stream: from a record as it comes to what should be in Outreach."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk.sinks import Sink

from target_outreach.collecting import OpenBatch
from target_outreach.delivery.stream import Item, Stream
from target_outreach.delivery.terminal import printable
from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.deletion import is_deleted, is_deletion_column, may_mark_deletion
from target_outreach.records.mapping import build_mapping, could_use_custom_fields
from target_outreach.records.matching import keys_of
from target_outreach.records.planning import OPT_OUTS
from target_outreach.records.routing import route
from target_outreach.records.rules import BY_MEMORY, Rules
from target_outreach.records.schemas import RecordSchema, curated_schema, usable_rules
from target_outreach.settings.entries import for_object, name_custom_fields, resolved
from target_outreach.source_key import SourceKey
from target_outreach.verbatim import Verbatim

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from target_outreach.context import TargetWithContext
    from target_outreach.records.mapping import StreamMapping
    from target_outreach.records.model import Desired, Dropped, ObjectType
    from target_outreach.settings import StreamSettings


#: Names that a message lists.
MOST_NAMED = 20

#: Columns that are known by name; a tap whose columns are named by its data has no end of them.
MOST_COLUMNS = 5_000


class OutreachSink(Sink):
    """Maps and checks the records of one stream, and puts them into its batch."""

    def __init__(
        self,
        target: TargetWithContext,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        """Decide what the stream is for and where its columns go.

        Raises:
            SettingsError: The settings do not fit the stream.
        """
        super().__init__(target, stream_name, schema, key_properties)
        self._context = target.context
        self._mapping: StreamMapping | None = None
        self._source_key = SourceKey(stream_name, self.key_properties)
        run, settings = self._context.settings, self._settings()
        try:
            patterns = [entry.pattern for entry in run.streams]
            name = route(stream_name, settings.object, run.outreach_object, patterns)
            object_type = self._context.organisation.objects[name] if name else None
            self.stream = self._describe(object_type, settings)
        except SettingsError as error:
            raise _of_stream(stream_name, error) from None
        linked = _linked_objects(self._mapping)
        self._batch = OpenBatch(self.stream, linked, self.record_counter_metric)
        self._source_schema: RecordSchema | None = None
        self.expect(schema, ())

    @property
    def mapping(self) -> StreamMapping | None:
        """Where the columns go, or None where the stream is left out."""
        return self._mapping

    def expect(self, schema: dict[str, Any], also_read: Collection[str]) -> None:
        """Hear what the tap says of its records, which are checked before stream maps.

        Args:
            schema: The SCHEMA as received.
            also_read: Columns that are not delivered by their own name, but read by stream maps.
        """
        self._known_columns = set(schema["properties"])
        own = [*schema["properties"], *self.schema["properties"]]
        self._deletion_columns = {one for one in own if self._marks_deletion(one)}
        if self._mapping is None:
            return
        goals = self._mapping.goals()
        flattened = {name.partition("__")[0] for name in goals}
        if self._context.settings.validate_records:
            columns = {*goals, *flattened, *also_read}
            rules, ignored = usable_rules(schema, columns)
            self._source_schema = RecordSchema(rules, code="schema_violation")
            if places := self._context.notices.new(self.stream_name, ignored):
                self.logger.warning(
                    "%s: rules in the SCHEMA that cannot be used are ignored: %s",
                    self.stream_name,
                    _named(places),
                )
        for column in own:
            if column in self._deletion_columns or column in goals or not may_mark_deletion(column):
                continue
            if self._context.notices.new(self.stream_name, [f"{column} marks"]):
                self.logger.info(
                    "%s: rows with a mark in %r are delivered; if it means that they are deleted, "
                    "name the column under deleted_columns.",
                    self.stream_name,
                    column,
                )

    def _marks_deletion(self, column: str) -> bool:
        return is_deletion_column(column, self.stream.rules.deleted_columns)

    def _meet_columns(self, record: dict[str, Any]) -> None:
        """Say which columns come although the SCHEMA does not have them, once for each."""
        columns = [column for column in record if column not in self._known_columns]
        if len(self._known_columns) < MOST_COLUMNS:
            self._known_columns.update(columns)
        self._deletion_columns.update(filter(self._marks_deletion, columns))
        others = [
            column
            for column in columns
            if column not in self._deletion_columns and not column.startswith("_sdc_")
        ]
        if len(self._known_columns) < MOST_COLUMNS and (
            columns := self._context.notices.new(self.stream_name, others)
        ):
            self.logger.warning(
                "%s: columns that the SCHEMA does not have are ignored: %s (line %s of the input). "
                "Let the tap discover its columns again.",
                self.stream_name,
                _named(columns),
                f"{self._context.reader.line_number:,}",
            )

    def _settings(self) -> StreamSettings:
        entry = self._context.entries.choose(self.stream_name)
        return entry.settings if entry else self._context.settings.defaults

    def _describe(self, object_type: ObjectType | None, settings: StreamSettings) -> Stream:
        reader, run = self._context.reader, self._context.settings
        source = reader.source_stream or self.stream_name
        if object_type is None:
            self.logger.info("%s is left out (object: none)", self.stream_name)
            return Stream(self.stream_name, source, reader.line, None, Rules())
        settings = for_object(object_type, settings, run.defaults)
        columns = list(self.original_schema["properties"])
        if name_custom_fields(object_type, settings) or could_use_custom_fields(
            object_type, columns, explicit=settings.columns, ignore=settings.ignore_columns
        ):
            self._context.organisation.learn_custom_fields()
        settings = resolved(object_type, settings)
        match_fields = tuple(settings.match_on or object_type.match_fields)
        self._mapping = replace(
            build_mapping(
                object_type,
                columns,
                mode=settings.sync_mode,
                explicit=settings.columns,
                ignore=settings.ignore_columns,
                prefixes=settings.column_prefixes,
                match_fields=match_fields,
            ),
            on_invalid_value=settings.on_invalid_value,
            shared_domains=frozenset(settings.shared_domains),
        )
        self.logger.info(
            "%s → %s (%s): %s",
            self.stream_name,
            object_type.name,
            settings.sync_mode,
            self._mapping.describe(),
        )
        self._remark_on_columns(self._mapping)
        return Stream(
            name=self.stream_name,
            source=source,
            schema_line=reader.line,
            object=object_type,
            rules=Rules.of(settings, match_fields, allow_opt_in=run.allow_opt_in),
            asked=_asked(self._mapping, match_fields),
            titles=self._mapping.titles(),
        )

    def _remark_on_columns(self, mapping: StreamMapping) -> None:
        """Say what should not be lost unseen, and what could be had by an entry of `columns`."""
        for problem in mapping.missing.values():
            self.logger.warning("%s: its entry does not fit: %s.", self.stream_name, problem)
        for what, columns in mapping.suspicious().items():
            self.logger.warning(
                "%s: left out, though by its name it may be %s: %s. Name it under columns in "
                "streams, or under ignore_columns.",
                self.stream_name,
                what,
                ", ".join(columns),
            )
        if mapping.suggested:
            pairs = (f"{column} → {goal}" for column, goal in mapping.suggested.items())
            self.logger.info(
                "%s: what an entry of columns could also have: %s",
                self.stream_name,
                ", ".join(pairs),
            )

    @override
    def get_validator(self) -> None:
        """Leave validation to `receive`, which rejects a record instead of ending the run."""

    def receive(self, record: dict[str, Any], original: dict[str, Any], line: str) -> None:
        """Take in one record.

        Args:
            record: The record after stream maps.
            original: The record before them, where the tap's own metadata still stands.
            line: The RECORD message as received.
        """
        self._collect(self._item(self._next_number(), record, original, line))

    def violation(self, original: dict[str, Any]) -> RecordFault | None:
        """Say how a record breaks the SCHEMA of the tap, if it does.

        Args:
            original: The record before stream maps.
        """
        try:
            if self._source_schema is not None:
                self._source_schema.check(original)
        except RecordFault as fault:
            return fault
        return None

    def refuse(self, fault: RecordFault, line: str) -> None:
        """Take in a record that is rejected already.

        Args:
            fault: What is wrong with it.
            line: The RECORD message as received.
        """
        self._collect(Item(self._next_number(), line, fault=fault))

    def receive_unread(self) -> int:
        """Count in a record that need not be read, and return its sequence number."""
        return self._context.batches.number(self.stream_name)

    def settle_unread(self, numbers: list[int]) -> None:
        """Have records settled that were counted in so.

        Args:
            numbers: Their sequence numbers.
        """
        self._context.batches.settle_unread(self._batch, numbers)

    def _next_number(self) -> int:
        number = self._context.batches.number(self.stream_name)
        if self._context.reader.shortcut is not None:
            self._context.reader.shortcut.received(self, number)
        return number

    @property
    def object_name(self) -> str:
        """The object that the stream is for; none where it is left out."""
        return self.stream.object.name if self.stream.object is not None else ""

    @cached_property
    def verbatim(self) -> Verbatim | None:
        """What hashes rows as they stand in the input, where they can be known again by that.

        Accounts are always read, since prospects may be linked to them by what they say.
        """
        rules, mapping = self.stream.rules, self._mapping
        if mapping is None or not self.key_properties or rules.change_detection not in BY_MEMORY:
            return None
        if mapping.object.created_for_links:
            return None
        context = (
            self._context.version,
            self.stream_name,
            self.key_properties,
            self._context.settings.validate_records,
            self.stream.schema_line,
            mapping.id_column,
            mapping.relationships,
            [(mapping.object.attributes[name], one) for name, one in mapping.attributes.items()],
            replace(rules, change_detection="source"),
        )
        try:
            return Verbatim(repr(context), self._source_key)
        except (TypeError, ValueError):  # names that nobody gives to columns
            return None

    def _collect(self, item: Item) -> None:
        """Put a record into the batch, with the place of its line."""
        item.line_number = self._context.reader.line_number
        self._context.batches.add(self._batch, item)

    def _item(
        self, number: int, record: dict[str, Any], original: dict[str, Any], line: str
    ) -> Item:
        if self._mapping is None:
            return Item(number, line, skip="object_none")
        if not self._known_columns.issuperset(original):
            self._meet_columns(original)
        for column in self._deletion_columns:
            if is_deleted(original.get(column)) or is_deleted(record.get(column)):
                return Item(number, line, skip="deleted_in_source")
        try:
            if self._source_schema is not None:
                self._source_schema.check(original)
            desired = self._desired(record, self._mapping)
        except RecordFault as fault:
            return Item(number, line, fault=fault)
        if desired.dropped:  # such a row is read each time, so that what is dropped is counted
            self._say_dropped(desired.dropped, self._mapping)
            return Item(number, line, desired=desired)
        shortcut = self._context.reader.shortcut
        return Item(number, line, desired=desired, row=shortcut.row if shortcut else None)

    def _say_dropped(self, dropped: Sequence[Dropped], mapping: StreamMapping) -> None:
        """Count what is not delivered of a row, and say so once for each attribute and reason."""
        self._context.batches.dropped(self.stream_name, dropped)
        for name, why in dict.fromkeys(dropped):
            if self._context.notices.new(self.stream_name, [f"{name}: {why}"]):
                self.logger.warning(
                    "%s: a value for %s (column %s, line %s of the input) is not delivered: %s. "
                    "Others are only counted.",
                    self.stream_name,
                    name,
                    ", ".join(map(repr, mapping.attributes.get(name, (name,)))),
                    f"{self._context.reader.line_number:,}",
                    why,
                )

    def _desired(self, record: dict[str, Any], mapping: StreamMapping) -> Desired:
        desired = mapping.apply(record)
        if mapping.is_too_long(desired):
            if mapping.on_invalid_value == "reject":
                curated_schema(mapping.object.name).check(desired.attributes)
            desired = mapping.without_too_long(desired)
        if self._context.settings.memory_path is not None:
            desired.source_key = self._key_in_source(record, desired)
        return desired

    def _key_in_source(self, record: dict[str, Any], desired: Desired) -> str | None:
        """Return the record's key in its source: its key properties, or what it is matched by."""
        assert self._mapping is not None  # noqa: S101 - only mapped records come here
        values: list[Any] = [record.get(name) for name in self.key_properties]
        if not values:
            fields = self.stream.rules.match_fields
            values = [list(key) for key in keys_of(self._mapping.object, desired, fields)]
        return self._source_key.of(values)

    @property
    @override
    def current_size(self) -> int:
        """How many records wait to be handed over."""
        return len(self._batch.items)

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Take in a record that comes by the SDK's own loop."""
        self.receive(record, record, self._context.reader.line)

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        """Do as the SDK's own drain asks."""
        self.hand_over()

    @override
    def clean_up(self) -> None:
        """Log how many records were handed over, which SDK 0.55 does not do here any more."""
        self.record_counter_metric.exit()

    def hand_over(self) -> None:
        """Hand the collected records over; waits while enough batches are under way."""
        self._context.batches.hand_over(self._batch)


def _named(names: Sequence[str]) -> str:
    """Name some of what there may be many of."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(map(printable, names[:MOST_NAMED]))}{more}"


def _of_stream(name: str, error: SettingsError) -> SettingsError:
    """Say in which stream something is wrong."""
    problems = (f"Stream {name!r}: {problem}." for problem in error.errors)
    return SettingsError(*(problem.replace("..", ".") for problem in problems))


def _linked_objects(mapping: StreamMapping | None) -> frozenset[str]:
    """Name the objects of which there may be records in this run that records are linked to."""
    if mapping is None:
        return frozenset()
    links = mapping.object.relationships
    return frozenset(links[name].object for name in mapping.relationships)


def _asked(mapping: StreamMapping, match_fields: Sequence[str]) -> tuple[str, ...]:
    """List what a lookup must read so that a record can be matched and planned."""
    object_type, links = mapping.object, [*mapping.relationships]
    if "company" in mapping.attributes:
        links.append("account")
    links += [
        object_type.match_within[name] for name in match_fields if name in object_type.match_within
    ]
    consent = (related for name in mapping.attributes for related in OPT_OUTS.get(name, ()))
    return tuple(dict.fromkeys((*match_fields, *mapping.attributes, *consent, *links)))
