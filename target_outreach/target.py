"""The target as the SDK knows it: its messages and signals, handed on to a run."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

from target_outreach.context import Notices, RunContext
from target_outreach.errors import Interrupted
from target_outreach.parts import Parts
from target_outreach.plain_text import keep_log_plain
from target_outreach.run import Run
from target_outreach.settings import Settings, config_schema
from target_outreach.singer import ExactTarget
from target_outreach.sinks import OutreachSink

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from pathlib import PurePath


class TargetOutreach(ExactTarget):
    """Writes prospects, accounts and opportunities into Outreach, exactly and in few requests."""

    name = "target-outreach"
    config_jsonschema = config_schema()
    default_sink_class = OutreachSink

    def __init__(
        self,
        *,
        config: dict[str, Any] | PurePath | str | list[PurePath | str] | None = None,
        parse_env_config: bool = False,
        validate_config: bool = True,
        **options: Any,  # noqa: ANN401 - the SDK's
    ) -> None:
        """Read the settings; nothing is opened before the first message needs it."""
        keep_log_plain()
        super().__init__(
            config=config,
            parse_env_config=parse_env_config,
            validate_config=validate_config,
            **options,
        )
        if validate_config:
            _ = self.run  # says at once which settings contradict each other

    @cached_property
    def settings(self) -> Settings:
        """The configuration, read once."""
        return Settings.read(self.config)

    @cached_property
    def run(self) -> Run:
        """The run that the target is for."""
        parts = Parts(self.settings, self.message_reader.inbox)
        return Run(parts, self.message_reader, self._direct)

    @cached_property
    @override
    def context(self) -> RunContext:
        """What the sinks need of the run."""
        return RunContext(
            settings=self.settings,
            entries=self.run.entries,
            organisation=self.run.parts.organisation,
            reader=self.message_reader,
            batches=self.run.batches,
            notices=Notices(),
            version=self.plugin_version,
        )

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        reader = self.message_reader
        reader.source_stream = message_dict.get("stream", "")
        if reader.shortcut is not None:
            reader.shortcut.forget()
        super()._process_schema_message(message_dict)

    @override
    def checkpoint(self, state: dict[str, Any]) -> None:
        parts = self.run.parts
        parts.ledger.checkpoint(state)
        parts.engine.look_around()

    @override
    def process_endofpipe(self) -> None:
        """Deliver what is left, and end the run."""
        self.run.parts.status.input_ended = True
        self.run.deliver_rest()
        for sink in self.sinks():
            sink.clean_up()
        self.run.finish()

    @override
    def on_signal(self, signum: int) -> None:
        if "run" not in vars(self):  # there is nothing yet that would have to be ended first
            raise Interrupted(signum)
        self.run.stop(signum)
