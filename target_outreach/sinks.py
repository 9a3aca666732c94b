"""One sink a stream: from a record as it comes to what should be in Outreach."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from singer_sdk.sinks import Sink

from target_outreach import remarks
from target_outreach.collecting import OpenBatch
from target_outreach.delivery.stream import Item, Stream
from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.columns import asked, build_mapping, linked_objects
from target_outreach.records.deletion import is_deleted, is_deletion_column
from target_outreach.records.goals import could_use_custom_fields
from target_outreach.records.matching import keys_of
from target_outreach.records.model import Desired
from target_outreach.records.routing import route
from target_outreach.records.rows import PlainRows, SourceKey
from target_outreach.records.rules import BY_MEMORY, Rules
from target_outreach.records.schemas import RecordSchema, curated_schema
from target_outreach.records.usable_rules import usable_rules
from target_outreach.scopes import stream_scopes
from target_outreach.settings.entries import for_object, name_custom_fields, resolved
from target_outreach.verbatim import Verbatim

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from target_outreach.context import TargetWithContext
    from target_outreach.records.mapping import StreamMapping
    from target_outreach.records.model import ObjectType
    from target_outreach.settings import StreamSettings


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
        """Decide what the stream is for and where its columns go; `expect` is called next.

        Raises:
            SettingsError: The settings do not fit the stream.
        """
        super().__init__(target, stream_name, schema, key_properties)
        self._context = target.context
        self._receive = target.context.batches.number
        self._mapping: StreamMapping | None = None
        self._source_key = SourceKey(stream_name, self.key_properties)
        self.key_names = self._source_key.names
        run, entry = self._context.settings, self._context.entries.choose(stream_name)
        settings = entry.settings if entry else run.defaults
        try:
            patterns = [entry.pattern for entry in run.streams]
            name = route(stream_name, settings.object, run.outreach_object, patterns)
            object_type = self._context.organisation.objects[name] if name else None
            self.stream = self._describe(object_type, settings)
        except SettingsError as error:
            raise _of_stream(stream_name, error) from None
        linked = linked_objects(self._mapping)
        self._batch = OpenBatch(self.stream, linked, self.record_counter_metric)
        self._source_schema: RecordSchema | None = None
        self._plain_rows: PlainRows | None = None
        self._known_columns: set[str] = set()
        self._deletion_columns: set[str] = set()

    @property
    def mapping(self) -> StreamMapping | None:
        """Where the columns go, or None where the stream is ignored."""
        return self._mapping

    def expect(self, schema: dict[str, Any], also_read: Collection[str]) -> None:
        """Hear what the tap says of its records, which are checked before stream maps.

        Args:
            schema: The SCHEMA as received.
            also_read: Columns that are not delivered by their own name, but read by stream maps.
        """
        self._known_columns = set(schema["properties"])
        own = [*schema["properties"], *self.schema["properties"]]
        named = self.stream.rules.deleted_columns
        self._deletion_columns = {one for one in own if is_deletion_column(one, named)}
        if self._mapping is None:
            return
        goals = self._mapping.goals()
        flattened = {name.partition("__")[0] for name in goals}
        rules: dict[str, Any] = {"properties": {}}
        if self._context.settings.validate_records:
            columns = {*goals, *flattened, *also_read}
            rules, ignored = usable_rules(schema, columns)
            self._source_schema = RecordSchema(rules, code="schema_violation")
            if places := self._context.notices.new(self.stream_name, ignored):
                self.logger.warning(
                    "%s: rules in the SCHEMA that cannot be used are ignored: %s",
                    self.stream_name,
                    remarks.named(places),
                )
        described = (self.stream.source, schema, rules)
        try:
            self._plain_rows = PlainRows(
                described, self._mapping, self.key_names, self._deletion_columns
            )
        except (TypeError, ValueError):  # several columns for one value, or names that nobody gives
            self._plain_rows = None
        doubtful = [one for one in own if one not in self._deletion_columns and one not in goals]
        remarks.remark_on_deletion(self.stream_name, doubtful, self._context)

    def _meet_columns(self, record: dict[str, Any]) -> None:
        """Say which columns come although the SCHEMA does not have them, once for each."""
        columns = [column for column in record if column not in self._known_columns]
        if len(self._known_columns) < MOST_COLUMNS:
            self._known_columns.update(columns)
        named = self.stream.rules.deleted_columns
        self._deletion_columns.update(one for one in columns if is_deletion_column(one, named))
        others = [
            column
            for column in columns
            if column not in self._deletion_columns and not column.startswith("_sdc_")
        ]
        if len(self._known_columns) < MOST_COLUMNS:
            remarks.remark_on_unknown(self.logger, self.stream_name, others, self._context)

    def _describe(self, object_type: ObjectType | None, settings: StreamSettings) -> Stream:
        reader, run = self._context.reader, self._context.settings
        source = reader.source_stream or self.stream_name
        if object_type is None:
            self.logger.info("%s is ignored (object: none)", self.stream_name)
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
        self._context.organisation.check_scopes(
            self.stream_name,
            object_type.name,
            stream_scopes(
                object_type,
                self._mapping.goals().values(),
                creates_links=settings.on_missing_relation == "create",
                in_bulk=run.bulk_writes != "off",
            ),
        )
        remarks.remark_on_columns(self.stream_name, self._mapping, settings)
        rules = Rules.of(settings, match_fields, allow_opt_in=run.allow_opt_in)
        return Stream(
            name=self.stream_name,
            source=source,
            schema_line=reader.line,
            object=object_type,
            rules=rules,
            asked=asked(self._mapping, rules),
            is_keyed=bool(self.key_properties) and not object_type.is_enrolment,
            titles=self._mapping.titles(),
        )

    @override
    def get_validator(self) -> None:
        """Leave validation to `receive`, which rejects a record instead of ending the run."""

    def receive(self, record: dict[str, Any], original: dict[str, Any], line: str) -> None:
        """Take in one record.

        Args:
            record: The record after stream maps.
            original: The record before them, which still has the tap's own metadata.
            line: The RECORD message as received.
        """
        self._collect(self._item(self._next_number(), record, original, line))

    def receive_plain(self, line: bytes) -> bool:
        """Take in a RECORD message by its line, if there is nothing special about it.

        Args:
            line: A message as received, of whatever stream and type.

        Returns:
            Whether it was taken in; if not, it must be read as any other.
        """
        if self._plain_rows is None or (read := self._plain_rows.read(line)) is None:
            return False
        text, record, desired = read
        self._collect(self._deliverable(self._next_number(), record, desired, text))
        return True

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

    def refuse(self, fault: RecordFault, record: dict[str, Any], line: str) -> None:
        """Take in a record that is rejected already.

        Args:
            fault: What is wrong with it.
            record: The record before stream maps, which have failed.
            line: The RECORD message as received.
        """
        number = self._next_number()
        if self._mapping is None:
            self._collect(Item(number, line, skip="object_none"))
        else:
            self._collect(self._rejected(number, record, fault, line))

    def _rejected(self, number: int, record: dict[str, Any], fault: RecordFault, line: str) -> Item:
        """Return a record that is rejected, with what is still to be delivered of it."""
        mapping = self._mapping
        desired = mapping.opt_out(record, self.stream.rules, fault) if mapping else None
        if desired is None:
            return Item(number, line, fault=fault)
        if self._context.settings.memory_path is not None:
            desired.source_key = self._key_in_source(record, desired)
        return Item(number, line, desired=desired)

    def receive_unread(self) -> int:
        """Count in a record that need not be read, and return its sequence number."""
        return self._receive(self.stream_name)

    def settle_unread(self, numbers: list[int]) -> None:
        """Have records settled that were counted in so.

        Args:
            numbers: Their sequence numbers.
        """
        self._context.batches.settle_unread(self._batch, numbers)

    def _next_number(self) -> int:
        number = self._receive(self.stream_name)
        if (shortcut := self._context.reader.shortcut) is not None:
            shortcut.received(self, number)
        return number

    @property
    def object_name(self) -> str:
        """The object that the stream is for; none where it is ignored."""
        return self.stream.object.name if self.stream.object is not None else ""

    @cached_property
    def verbatim(self) -> Verbatim | None:
        """Hashes the text of rows in the input, where they can be recognized by that.

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
        reader = self._context.reader
        item.line_number, item.is_replayed = reader.line_number, reader.is_replaying
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
                key = self._key_in_source(record, Desired())
                return Item(number, line, Desired(source_key=key), skip="deleted_in_source")
        try:
            if self._source_schema is not None:
                self._source_schema.check(original)
            desired = self._mapping.apply(record)
            if desired.too_long:
                if self._mapping.on_invalid_value == "reject":
                    curated_schema(self._mapping.object.name).check(desired.attributes)
                desired = self._mapping.without_too_long(desired)
        except RecordFault as fault:
            return self._rejected(number, record, fault, line)
        return self._deliverable(number, record, desired, line)

    def _deliverable(
        self, number: int, record: dict[str, Any], desired: Desired, line: str
    ) -> Item:
        """Return a record that is to be delivered, with its key in its source."""
        if self.stream.is_keyed or self._context.settings.memory_path is not None:
            desired.source_key = self._key_in_source(record, desired)
        if (
            desired.dropped and self._mapping is not None
        ):  # such a row is read each time, so that what is dropped is counted
            self._context.batches.dropped(self.stream_name, desired.dropped)
            remarks.say_dropped(self.stream_name, desired.dropped, self._mapping, self._context)
            return Item(number, line, desired=desired)
        shortcut = self._context.reader.shortcut
        return Item(number, line, desired=desired, row=shortcut.row if shortcut else None)

    def _key_in_source(self, record: dict[str, Any], desired: Desired) -> str | None:
        """Return the record's key in its source: its key properties, or what it is matched by."""
        assert self._mapping is not None  # noqa: S101 - only mapped records come here
        values: list[Any] = [*map(record.get, self._source_key.names)]
        if not values:
            fields = self.stream.rules.match_fields
            keys = keys_of(self._mapping.object, desired, fields)
            values = [[key.field, key.value] for key in keys]
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


def _of_stream(name: str, error: SettingsError) -> SettingsError:
    """Say in which stream something is wrong."""
    problems = (f"Stream {name!r}: {problem}." for problem in error.errors)
    return SettingsError(*(problem.replace("..", ".") for problem in problems))
