"""The target: one run from the first message to the last STATE."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from target_outreach.connection import Connection
from target_outreach.delivery.dry_run import DryWriter, NoRejects, PlanFile
from target_outreach.delivery.enrolment import DryEnrolments, Enrolments
from target_outreach.delivery.journal import NoJournal
from target_outreach.delivery.ledger import Ledger
from target_outreach.delivery.memory import Memory, copy_memory
from target_outreach.delivery.pipeline import Pipeline
from target_outreach.delivery.progress import Count, Moment, Progress
from target_outreach.delivery.rejects import (
    RejectsFile,
    announce,
    default_folder,
    mark_done,
    unresolved,
)
from target_outreach.delivery.settlement import Settlement
from target_outreach.delivery.timeline import Point
from target_outreach.delivery.writing import Writer
from target_outreach.destination import destination
from target_outreach.errors import EndedEarly, ExitCode, InputError, Interrupted, SettingsError
from target_outreach.outreach.imports import Imports
from target_outreach.outreach.lookup import Lookup
from target_outreach.outreach.pacing import Pacer
from target_outreach.outreach.types import ask_custom_fields
from target_outreach.records.custom_fields import OwnObjects
from target_outreach.report import Report
from target_outreach.settings import SETTINGS, Settings
from target_outreach.settings.entries import EntryUse, check_entries, name_labels
from target_outreach.singer import ExactTarget
from target_outreach.sinks import OutreachSink
from target_outreach.stored import public_name
from target_outreach.verbatim import Shortcut

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

    from target_outreach.delivery.enrolment import Enrols
    from target_outreach.delivery.journal import Journal
    from target_outreach.delivery.scheduler import Deliverer
    from target_outreach.delivery.tally import Tally
    from target_outreach.outreach.client import Client

logger = logging.getLogger("target-outreach")


class TargetOutreach(ExactTarget):
    """Writes prospects and accounts into Outreach, exactly and with few API calls."""

    name = "target-outreach"
    config_jsonschema = SETTINGS.to_dict()
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
        super().__init__(
            config=config,
            parse_env_config=parse_env_config,
            validate_config=validate_config,
            **options,
        )
        self.ledger = Ledger()
        self.source_stream: str | None = None
        self._resources = ExitStack()
        self._discarding = False
        self._input_ended = False
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self.message_reader.tick = self.tick
        self._replayed: list[Path] = []
        self._custom_fields_asked = False
        #: Settles rows that need not be read, where a memory knows them as they stand.
        self.shortcut: Shortcut | None = None
        #: The objects as the organisation has them, as far as this run knows that.
        self.objects = OwnObjects()
        if validate_config:
            _ = self.settings  # says at once which settings contradict each other

    @cached_property
    def settings(self) -> Settings:
        """The configuration, read once."""
        return Settings.read(self.config)

    @cached_property
    def pacer(self) -> Pacer:
        """Grants requests to all threads."""
        settings = self.settings
        return Pacer(
            budget_percent=settings.request_budget_percent,
            max_requests=settings.max_requests,
            max_wait=settings.max_wait,
        )

    def replay(self, *files: Path) -> None:
        """Read rejects files before the input, and mark them done when all is settled."""
        announce(files)
        self._replayed = list(files)
        self.message_reader.first = self._replayed

    def retry_rejects(self) -> None:
        """Replay what earlier runs have rejected, if the settings say so."""
        if self.settings.retry_rejects:
            self.replay(*unresolved(self._rejects_folder))

    @cached_property
    def rejects(self) -> RejectsFile | NoRejects:
        """Where rejected records go; a dry run keeps none."""
        if self.settings.dry_run:
            return NoRejects()
        return RejectsFile(self._rejects_folder)

    @property
    def _rejects_folder(self) -> str:
        return self.settings.rejects_path or default_folder(destination(self.settings))

    @cached_property
    def settlement(self) -> Settlement:
        """Counts and settles records."""
        return Settlement(
            ledger=self.ledger,
            rejects=self.rejects,
            policy=self.settings.reject_policy,
            journal=self._journal(),
            emit=self._withhold if self.settings.dry_run else self.emit,
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """Delivers batches; its threads start with the first one."""
        client = self.connection.client
        if self.memory is not None:
            self.memory.place = self.connection.place()
        lookup = Lookup(client)
        writer: Deliverer
        enrolments: Enrols
        if self.settings.dry_run:
            writer = DryWriter()
            enrolments = DryEnrolments(writer)
        else:
            writer, enrolments = Writer(client, lookup), Enrolments(client, lookup)
        return Pipeline(
            lookup=lookup,
            writer=writer,
            enrolments=enrolments,
            pacer=self.pacer,
            settlement=self.settlement,
            objects=self.objects,
            imports=self._imports(client),
            memory=self.memory,
            wake=self.message_reader.inbox.wake,
            parallel=self.settings.max_parallel_requests,
        )

    def _imports(self, client: Client) -> Imports | None:
        """Return what carries out many updates at a time, if the settings want that."""
        if self.settings.dry_run or not self.settings.bulk_updates:
            return None
        return Imports(client, self.pacer)

    @cached_property
    def connection(self) -> Connection:
        """The connection to Outreach; nothing is sent before the first record needs it."""
        return self._resources.enter_context(Connection(self.settings, self.pacer))

    def learn_custom_fields(self) -> None:
        """Ask for the organisation's custom fields, unless this run has done so.

        Raises:
            RunError: As for any request.
        """
        if not self._custom_fields_asked:
            self.objects.learn(ask_custom_fields(self.connection.client))
            self._custom_fields_asked = True

    @cached_property
    def memory(self) -> Memory | None:
        """What earlier runs delivered, if the settings want it remembered; a dry run has a copy."""
        path = self.settings.memory_path
        if path is None:
            return None
        if self.settings.dry_run:
            folder = self._resources.enter_context(TemporaryDirectory())
            copy = str(Path(folder) / "memory.db")
            copy_memory(path, copy)
            path = copy
        memory = Memory(path)
        self._resources.callback(memory.close)
        if not self.settings.dry_run:  # which is to say of each row what would become of it
            reader = memory.reader()
            self._resources.callback(reader.close)
            self.shortcut = Shortcut(reader, self._pipeline, self._direct)
            self.message_reader.shortcut = self.shortcut
        return memory

    def _pipeline(self) -> Pipeline | None:
        """Return the pipeline, if it has begun."""
        return self.__dict__.get("pipeline")

    def _journal(self) -> Journal:
        if self.settings.plan_path is None:
            return NoJournal() if self.memory is None or self.settings.dry_run else self.memory
        plan = PlanFile(self.settings.plan_path)
        self._resources.callback(plan.close)
        return plan

    def _withhold(self, state: dict[str, Any]) -> None:
        """Emit no STATE: nothing has been written."""

    def prepare(self) -> None:
        """Find out before anything is read whether the run can begin, and tell of it from now on.

        Raises:
            SettingsError: A setting cannot be used.
            CredentialsError: There are no tokens yet.
        """
        if self.settings.rejects_path is not None and not self.settings.dry_run:
            _try_folder(self.settings.rejects_path)
        _ = self.connection
        _ = self.memory
        self.progress.start()

    @cached_property
    def progress(self) -> Progress:
        """Tells how the run goes on: on a terminal by a live line, else by log lines."""
        is_live = (
            sys.stderr is not None and sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
        )
        return Progress(self._moment, sys.stderr if is_live else None)

    def _moment(self) -> Moment:
        """See how far the run is, on whatever thread."""
        tallies = self._tallies()
        return Moment(
            point=self._point(tallies),
            streams={name: Count.of(tally) for name, tally in tallies.items()},
            budget=self.pacer.budget,
            resumes_in=self.pacer.resumes_in,
            input_ended=self._input_ended,
            dry_run=self.settings.dry_run,
        )

    def _point(self, tallies: Mapping[str, Tally]) -> Point:
        return Point.of(tallies, self.pacer, time.monotonic() - self._started)

    def _tallies(self) -> dict[str, Tally]:
        """Return the counts by stream; none where nothing was ever received."""
        settlement: Settlement | None = self.__dict__.get("settlement")
        return {} if settlement is None else dict(settlement.tallies)

    def refuse_to_overwrite(self, file_input: IO[str]) -> None:
        """Refuse an input that is also where the report, the plan or STATE would be written.

        Raises:
            SettingsError: It is one.
        """
        outputs = {
            "report_path": self.settings.report_path,
            "plan_path": self.settings.plan_path,
            "Standard output": "/dev/fd/1",
        }
        inputs = [*self._replayed, *_path_of(file_input)]
        for name, output in outputs.items():
            if output is None or not Path(output).exists():
                continue
            if any(Path(output).samefile(path) for path in inputs):
                raise SettingsError(f"{name} is the file that is being read; name another one.")

    def check_entries(self) -> None:
        """Check what `streams` says before any record is read.

        Raises:
            SettingsError: All that is wrong with its entries, as far as their object is known.
            RunError: Labels of custom fields had to be asked for, and no request can succeed.
        """
        if name_labels(self.settings, self.objects):
            try:
                self.learn_custom_fields()
            except EndedEarly:
                return  # the first record says so too, when there is input to be read to its end
        check_entries(self.settings, self.objects)

    @cached_property
    def entries(self) -> EntryUse:
        """The entries of `streams`, and which of them are of use."""
        return EntryUse(self.settings.streams)

    # Messages

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        self.source_stream = message_dict.get("stream")
        if self.shortcut is not None:
            self.shortcut.forget()
        super()._process_schema_message(message_dict)

    def rivals(self, sink: OutreachSink) -> list[OutreachSink]:
        """List the other streams' sinks for the same object in which records wait."""
        return [
            other
            for other in self.sinks()
            if other is not sink
            and other.current_size
            and other.stream.object is sink.stream.object
        ]

    def linked_to(self, sink: OutreachSink) -> list[OutreachSink]:
        """List the sinks in which records wait that those of a sink may be linked to."""
        if not (objects := sink.linked_objects):
            return []
        return [
            other
            for other in self.sinks()
            if other.current_size and other.stream.object and other.stream.object.name in objects
        ]

    def receive(self, stream: str) -> int:
        """Count a record in, and return its sequence number."""
        return self.settlement.received(stream)

    @override
    def checkpoint(self, state: dict[str, Any]) -> None:
        self.ledger.checkpoint(state)
        self.pipeline.look_around()

    def tick(self) -> None:
        """Look around between lines: has the run failed, is a batch old enough?"""
        if "pipeline" not in self.__dict__:
            return
        self.pipeline.raise_error()
        if self.pipeline.is_aborting:
            self.deliver_rest()
        now = time.monotonic()
        for sink in self.sinks():
            if sink.is_due(now):
                sink.hand_over()

    # The end

    @override
    def process_endofpipe(self) -> None:
        """Deliver what is left; the pipeline emits the last STATE."""
        self._input_ended = True
        self.deliver_rest()
        for sink in self.sinks():
            sink.clean_up()
        if not self._replayed:
            self._remark_on_input()
        if not self.settings.dry_run:
            for file in self._replayed:
                mark_done(file)
        self.close()

    def _remark_on_input(self) -> None:
        """Say what was to be expected of the tap and did not come."""
        if unused := self.entries.unused():
            logger.warning("Entries of streams that did nothing: %s.", ", ".join(unused))
        counts = self.message_reader.counts
        if not counts["RECORD"]:
            logger.info("The tap sent no records.")
        elif not counts["STATE"] and not self.settings.dry_run:
            logger.info("The tap sent no STATE: the next run begins where this one did.")

    def deliver_rest(self) -> None:
        """Settle all that was received."""
        waiting = (sink for sink in self.sinks() if sink.current_size)
        for sink in sorted(waiting, key=lambda sink: sink.first_number):
            sink.hand_over()
        if "pipeline" in self.__dict__:
            self.pipeline.finish()

    @override
    def on_signal(self, signum: int) -> None:
        error = Interrupted(signum)
        if self._discarding or "pipeline" not in self.__dict__:
            raise error
        self.pipeline.stop(error)
        self.message_reader.inbox.wake()

    def wind_up(self, error: Exception) -> None:
        """After an error, settle what can be settled and emit the STATE that this allows.

        A bad line of input stops the reading only: what came before it is delivered.

        Raises:
            Exception: Why not all of it could be.
        """
        if isinstance(error, InputError):
            self.deliver_rest()
        elif "pipeline" in self.__dict__:
            self.pipeline.stop(error)
            self.pipeline.finish()

    def discard_rest(self) -> None:
        """Read the input to its end, so that the tap does not break, and do nothing with it.

        Raises:
            Interrupted: A signal asks not to wait for that.
        """
        self._discarding = True
        self.message_reader.discard()

    def close(self) -> None:
        """Close connections and the sandbox."""
        self._resources.close()

    def report(self) -> Report:
        """Return the figures of the run."""
        tallies = self._tallies()
        end = self._point(tallies)
        memory: Memory | None = self.__dict__.get("memory")
        if memory is not None:
            for name, tally in tallies.items():
                tally.edited_by_others = memory.edits[name]
        has_file = any(tally.outcomes["rejected"] for tally in tallies.values())
        has_file = has_file and not self.settings.dry_run
        return Report(
            streams=tallies,
            unsettled={name: self.ledger.unsettled(name) for name in tallies},
            requests=end.requests,
            seconds=end.seconds,
            waited=end.waited,
            rejects_file=public_name(self.rejects.path) if has_file else None,
            dry_run=self.settings.dry_run,
            started_at=self._started_at,
            points=self.progress.timeline.up_to(end),
        )

    def exit_code(self, report: Report, failure: ExitCode | None) -> ExitCode:
        """Say how the run ended."""
        return report.exit_code(failure, rejects_count=self.settings.on_reject != "ignore")


def _try_folder(folder: str) -> None:
    """See whether a rejects file could be written, and leave nothing behind.

    Args:
        folder: A local folder, which may have to be made; a URL is not tried.

    Raises:
        SettingsError: It could not.
    """
    local = folder.removeprefix("file://")
    if "://" in local:
        return
    place = Path(local)
    try:
        while not place.exists():
            place = place.parent
        TemporaryFile(dir=place).close()
    except OSError as error:
        raise SettingsError(f"rejects_path cannot be used ({error.strerror}).") from None


def _path_of(file: IO[str]) -> list[str | Path]:
    """Return the path of a file on disk; a pipe and text in memory have none."""
    name = getattr(file, "name", None)
    if isinstance(name, str) and Path(name).is_file():
        return [name]
    redirected = Path(f"/dev/fd/{file.fileno()}") if name == "<stdin>" else None
    return [redirected] if redirected is not None and redirected.is_file() else []
