"""The private hooks of the SDK that this target uses, all in one place.

The SDK's own handling of STATE loses data: a signal in the middle of a batch acknowledges records
that were never written, an error emits nothing for those that were, and a changed SCHEMA writes
newer records before older ones. `ExactTarget` takes the messages over before that and overrides
nothing that the SDK declares final. What it needs of a target is in the abstract methods.
"""

from __future__ import annotations

import ast
import copy
import os
import re
import sys
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import MappingError
from singer_sdk.helpers.capabilities import (
    FLATTENING_CONFIG,
    STREAM_MAPS_CONFIG,
    TARGET_VALIDATE_RECORDS_CONFIG,
)
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform

from target_outreach.context import TargetWithContext
from target_outreach.errors import RecordFault, SettingsError
from target_outreach.messages import MessageReader, MissingKeyError, RecordBeforeSchemaError
from target_outreach.records.goals import nearest
from target_outreach.records.usable_rules import is_bounded
from target_outreach.settings import (
    Settings,
    environment_problems,
    faultless,
    find_problems,
    first_of,
    foreign,
    without_nulls,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from singer_sdk.mapper import StreamMap
    from singer_sdk.sinks import Sink

    from target_outreach.sinks import OutreachSink


#: What expressions of `stream_maps` call the record.
WHOLE_RECORD = frozenset({"record", "_"})

#: What is wrong with a row of which only a part could be read.
UNREADABLE = "The row has a number of too many digits in it, or is nested too deep to be read."

#: Seconds within which SIGINT and SIGTERM come from one and the same Ctrl-C.
ONE_KEYSTROKE = 1.0


class ExactTarget(TargetWithContext):
    """A target whose STATE never runs ahead of what is settled."""

    message_reader_class = MessageReader
    message_reader: MessageReader
    _signalled: tuple[int, float] | None = None

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the SDK's
        """Know no stream yet."""
        #: The sinks of those whose records come as they are, by the name of the stream.
        self._direct: dict[str, OutreachSink] = {}
        super().__init__(**options)

    # What a target has to say

    @abstractmethod
    def checkpoint(self, state: dict[str, Any]) -> None:
        """Hear of a STATE message."""

    @abstractmethod
    def on_signal(self, signum: int) -> None:
        """Begin to end the run; called in a signal handler."""

    # Sinks

    def sink(self, stream: str) -> OutreachSink:
        """Return the sink of a stream, by its name after stream maps."""
        sink: OutreachSink = self._sinks_active[stream]  # type: ignore[assignment]
        return sink

    def sinks(self) -> Iterator[OutreachSink]:
        """Go through the sinks of all streams."""
        return map(self.sink, self._sinks_active)

    # Configuration

    @override
    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Offer only those of the SDK's settings that do something here."""
        for builtin in (STREAM_MAPS_CONFIG, FLATTENING_CONFIG, TARGET_VALIDATE_RECORDS_CONFIG):
            for name, setting in builtin["properties"].items():
                if name != "faker_config":
                    config_jsonschema["properties"].setdefault(name, setting)
        config_jsonschema["additionalProperties"] = False

    @classmethod
    def whole_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the configuration, the SDK's settings included."""
        schema = copy.deepcopy(cls.config_jsonschema)
        cls.append_builtin_config(schema)
        return schema

    @classmethod
    def check_environment(cls, environment: Mapping[str, str]) -> None:
        """Check that environment variables can be read, before the SDK reads them.

        Raises:
            SettingsError: One cannot.
        """
        problems = environment_problems(environment, cls._env_var_prefix, cls.whole_schema())
        if problems:
            raise SettingsError(*problems)

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the configuration in words that never repeat a value of it."""
        self._config = without_nulls(self._config)
        problems = find_problems(self._config, self.whole_schema())
        if problems and raise_errors:
            if (what := foreign(self._config, self.whole_schema())) is not None:
                raise SettingsError(what)
            raise SettingsError(*first_of([*problems, *self.contradictions(problems)]))
        return problems

    def contradictions(self, problems: Sequence[str]) -> list[str]:
        """Say what else is wrong with the settings that fit, but for what others may explain.

        Args:
            problems: What does not fit.
        """
        try:
            Settings.read(faultless(self._config, self.whole_schema()))
        except SettingsError as error:
            unclear = self._settings_in(*problems)
            return [one for one in error.errors if not unclear & self._settings_in(one)]
        return []

    def _settings_in(self, *texts: str) -> set[str]:
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        return words & set(self.whole_schema()["properties"])

    # Messages

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        schema = message_dict.get("schema")
        if not isinstance(message_dict.get("stream"), str) or not isinstance(schema, dict):
            raise self.message_reader.bad_line("is a SCHEMA without stream or schema")
        if not isinstance(schema.get("properties"), dict):
            raise self.message_reader.bad_line("is a SCHEMA without properties")
        keys = message_dict.get("key_properties") or []
        if not isinstance(keys, list) or not all(isinstance(name, str) for name in keys):
            raise self.message_reader.bad_line(
                'is a SCHEMA whose key_properties are no list of names, such as ["id"]'
            )
        self._direct.clear()
        self.message_reader.take_plain = None
        # What is too deep to be copied; the sink says which rules of a stream it ignores.
        usable = {name: rules for name, rules in schema.items() if is_bounded(rules)}
        usable["properties"] = {
            name: rules if isinstance(rules, dict) and is_bounded(rules) else {}
            for name, rules in schema["properties"].items()
        }
        try:
            super()._process_schema_message({**message_dict, "schema": usable})
        except MappingError as error:
            stream = message_dict["stream"]
            raise SettingsError(f"stream_maps does not work for {stream}: {error}") from None
        stream = message_dict["stream"]
        read_by_maps = _names_in_expressions(self.config.get("stream_maps") or {})
        if not WHOLE_RECORD.isdisjoint(read_by_maps):
            read_by_maps = frozenset([*schema["properties"], *schema.get("required", ())])
        for stream_map in self.mapper.stream_maps[stream]:
            if type(stream_map) is not RemoveRecordTransform:
                also_read = () if _changes_nothing(stream_map) else read_by_maps
                self.sink(stream_map.stream_alias).expect(schema, also_read)
        self._direct |= {
            stream: self.sink(maps[0].stream_alias)
            for stream, maps in self.mapper.stream_maps.items()
            if len(maps) == 1 and _changes_nothing(maps[0])
        }

    @override
    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        stream, record = message_dict.get("stream"), message_dict.get("record")
        if not isinstance(stream, str) or not isinstance(record, dict):
            raise self.message_reader.bad_line("is a RECORD without stream or record")
        direct = self._direct.get(stream)
        if direct is None:
            self._process_mapped(stream, record)
        else:
            self._hand_to(direct, record, record)
            # Those that follow are likely to be of the same stream.
            self.message_reader.take_plain = direct.receive_plain

    def _hand_to(
        self, sink: OutreachSink, record: dict[str, Any], original: dict[str, Any]
    ) -> None:
        for key in sink.key_names:
            if key not in record:
                raise self.message_reader.bad_line(
                    f"is a RECORD without one of its key properties, {key!r}; "
                    f"{nearest(key, record)}",
                    MissingKeyError,
                )
        if self.message_reader.is_whole:
            sink.receive(record, original, self.message_reader.line)
        else:
            sink.refuse(RecordFault("schema_violation", UNREADABLE), {}, self.message_reader.line)

    def _process_mapped(self, stream: str, record: dict[str, Any]) -> None:
        """Take in what the stream maps make of a record."""
        if stream not in self.mapper.stream_maps:
            raise self.message_reader.bad_line(
                "is a RECORD that comes before the SCHEMA of its stream; pass on all the tap says",
                RecordBeforeSchemaError,
            )
        for stream_map in self.mapper.stream_maps[stream]:
            try:
                transformed = stream_map.transform(record.copy())
            except Exception:  # noqa: BLE001 - whatever an expression does to an odd value
                sink = self.sink(stream_map.stream_alias)
                fault = sink.violation(record) or RecordFault(
                    "stream_map_failed",
                    "An expression in stream_maps cannot be evaluated for this record.",
                )
                sink.refuse(fault, record, self.message_reader.line)
                continue
            if transformed is not None:
                self._hand_to(self.sink(stream_map.stream_alias), transformed, record)

    @override
    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        """Take a STATE over; the SDK never sees it, so that it never emits one itself."""
        if "value" not in message_dict:
            raise self.message_reader.bad_line("is a STATE without value")
        self.checkpoint(message_dict["value"])

    @override
    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        """Do nothing: Outreach has no versions of a table, and nothing is ever deleted."""
        self.logger.debug("ACTIVATE_VERSION is ignored.")

    @override
    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        raise self.message_reader.bad_line(
            "is a BATCH message, which this target does not take: switch batch files off in the tap"
        )

    @override
    def get_sink(
        self,
        stream_name: str,
        *,
        record: dict[str, Any] | None = None,
        schema: dict[str, Any] | None = None,
        key_properties: Sequence[str] | None = None,
    ) -> Sink:
        """Hand over what the old sink holds before a changed SCHEMA makes a new one."""
        if schema is not None and stream_name in self._sinks_active:
            self.sink(stream_name).hand_over()
        return super().get_sink(
            stream_name, record=record, schema=schema, key_properties=key_properties
        )

    # The end

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Begin to end the run, or end it at once when asked for a second time."""
        now = time.monotonic()
        if self._signalled is not None:
            first, at = self._signalled
            # Meltano passes Ctrl-C on as SIGTERM, beside the SIGINT that the terminal sends.
            if signum != first and now - at < ONE_KEYSTROKE:
                return
            os._exit(128 + signum)
        self._signalled = (signum, now)
        self.on_signal(signum)


def _names_in_expressions(setting: Any) -> frozenset[str]:  # noqa: ANN401 - the user's JSON
    """List the names that the expressions of `stream_maps` may read columns by."""
    if isinstance(setting, dict):
        return frozenset().union(*map(_names_in_expressions, setting.values()))
    if not isinstance(setting, str):
        return frozenset()
    try:
        tree = ast.parse(setting)
    except (SyntaxError, ValueError):
        return frozenset()
    nodes = [*ast.walk(tree)]
    parts = [node.value for node in nodes if isinstance(node, ast.Subscript | ast.Attribute)]
    names = {
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and not (node.id in WHOLE_RECORD and node in parts)
    }
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return frozenset(names | {text for text in texts if isinstance(text, str)})


def _changes_nothing(stream_map: StreamMap) -> bool:
    """Whether records pass a stream map as they are, so that it can be skipped."""
    return type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled
