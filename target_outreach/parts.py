"""The parts of a run as the settings want them, each made when it is first needed."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from target_outreach.connection import Connection
from target_outreach.delivery.journal import NoJournal
from target_outreach.delivery.ledger import Ledger
from target_outreach.delivery.memory import Memory, copy_memory
from target_outreach.delivery.plan_file import NoRejects, PlanFile
from target_outreach.delivery.progress import Progress
from target_outreach.delivery.rejects import RejectsFile
from target_outreach.delivery.settlement import Settlement
from target_outreach.delivery.status import Status
from target_outreach.delivery.tally import Tally
from target_outreach.engine.dry_run import DryWriter
from target_outreach.engine.enrolment import DryEnrolments, Enrolments
from target_outreach.engine.loop import Engine
from target_outreach.engine.tools import Tools
from target_outreach.engine.writing import Writer
from target_outreach.errors import RunError
from target_outreach.outreach.imports import Imports
from target_outreach.outreach.lookup import Lookup
from target_outreach.outreach.pacing import Pacer
from target_outreach.outreach.types import ask_custom_fields
from target_outreach.records.custom_fields import OwnObjects
from target_outreach.settings.access import LocalOutreach
from target_outreach.state_output import NoStateOutput, StateOutput

if TYPE_CHECKING:
    from target_outreach.delivery.journal import Journal
    from target_outreach.delivery.memory import MemoryReader
    from target_outreach.delivery.place import Place
    from target_outreach.engine.enrolment import Enrols
    from target_outreach.engine.writing import Deliverer
    from target_outreach.inbox import Inbox
    from target_outreach.outreach.client import Client
    from target_outreach.settings import Settings

logger = logging.getLogger("target-outreach")


class Parts:
    """Makes the parts of a run and puts them together; closing it closes those that are open.

    Attributes:
        settings: What they are made from.
        pacer: Grants requests to all threads.
        ledger: Numbers the records and holds back STATE.
        tallies: The counts by stream; none where nothing was ever received.
        status: Says how far the run is.
        states: Prints STATE.
        organisation: Knows the objects as the organisation has them.
    """

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        """Open nothing yet.

        Args:
            settings: Say what is wanted.
            inbox: Reads the input; it is woken when the run must end.
        """
        self.settings = settings
        self.pacer = Pacer(
            budget_percent=settings.request_budget_percent,
            max_requests=settings.max_requests,
            max_wait=settings.max_wait,
            max_outage=settings.max_outage,
        )
        self.ledger = Ledger()
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.status = Status(self.tallies, self.pacer, dry_run=settings.dry_run)
        self.states = NoStateOutput() if settings.dry_run else StateOutput()
        self.organisation = Organisation(self)
        self._inbox = inbox
        self._opened = ExitStack()

    def close(self) -> None:
        """Close connections and the sandbox."""
        self._opened.close()

    @cached_property
    def connection(self) -> Connection:
        """The connection to Outreach; nothing is sent before the first record needs it."""
        return self._opened.enter_context(Connection(self.settings, self.pacer))

    @cached_property
    def progress(self) -> Progress:
        """Tells how the run goes on: on a terminal by a live line, else by log lines."""
        is_live = (
            sys.stderr is not None and sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
        )
        return Progress(self.status, sys.stderr if is_live else None)

    # What is kept of records

    @cached_property
    def place(self) -> Place:
        """The organisation that records go to; it is asked for when something needs it."""
        return self.connection.place()

    @cached_property
    def rejects(self) -> RejectsFile | NoRejects:
        """Where rejected records go; a dry run keeps none."""
        if self.settings.dry_run:
            return NoRejects()
        folder = self.settings.rejects_path or None
        return RejectsFile(folder, lambda: self._place_of_rejects().folders[0])

    def _place_of_rejects(self) -> Place:
        """Return where rejects belong; where that cannot be asked, they belong to credentials."""
        if not isinstance(self.settings.access, LocalOutreach):
            with suppress(RunError):
                return self.place
        return self.connection.place_by_credentials()

    @cached_property
    def memory(self) -> Memory | None:
        """What earlier runs delivered, if the settings want it remembered; a dry run has a copy."""
        path = self.settings.memory_path
        if path is None:
            return None
        if self.settings.dry_run:
            folder = self._opened.enter_context(TemporaryDirectory())
            copy = str(Path(folder) / "memory.db")
            copy_memory(path, copy)
            path = copy
        memory = Memory(path)
        self._opened.callback(memory.close)
        return memory

    @property
    def open_memory(self) -> Memory | None:
        """The memory, if it has been opened."""
        return vars(self).get("memory")

    @cached_property
    def memory_reader(self) -> MemoryReader | None:
        """Reads the memory on the main thread, to know rows again without reading them.

        A dry run has none: it is to say of each row what would become of it.
        """
        if self.memory is None or self.settings.dry_run:
            return None
        reader = self.memory.reader()
        self._opened.callback(reader.close)
        return reader

    # Delivery

    @cached_property
    def settlement(self) -> Settlement:
        """Counts and settles records."""
        return Settlement(
            ledger=self.ledger,
            rejects=self.rejects,
            policy=self.settings.reject_policy,
            journal=self._journal(),
            states=self.states,
            tallies=self.tallies,
        )

    def _journal(self) -> Journal:
        if self.settings.plan_path is None:
            return NoJournal() if self.memory is None or self.settings.dry_run else self.memory
        plan = PlanFile(self.settings.plan_path)
        self._opened.callback(plan.close)
        return plan

    @cached_property
    def engine(self) -> Engine:
        """Delivers batches; its threads start with the first one."""
        client = self.connection.client
        if self.memory is not None:
            self._open_memory(self.memory)
        lookup = Lookup(client)
        writer: Deliverer
        enrolments: Enrols
        if self.settings.dry_run:
            writer = DryWriter()
            enrolments = DryEnrolments(writer)
        else:
            writer, enrolments = Writer(client, lookup), Enrolments(client, lookup)
        tools = Tools(
            lookup=lookup,
            writer=writer,
            enrolments=enrolments,
            pacer=self.pacer,
            settlement=self.settlement,
            objects=self.organisation.objects,
            imports=self._imports(client),
            memory=self.memory,
            parallel=self.settings.max_parallel_requests,
        )
        return Engine(tools, self._inbox)

    @property
    def started_engine(self) -> Engine | None:
        """The engine, if it has begun."""
        return vars(self).get("engine")

    def _open_memory(self, memory: Memory) -> None:
        """Use of the memory what belongs to the organisation that records go to."""
        if not self.place.is_known:
            logger.warning(
                "Outreach does not say whose these credentials are, so what %s remembers belongs "
                "to them: with others the rows are compared with Outreach once more.",
                self.settings.memory_path,
            )
        memory.belong(self.place.memory, self.place.earlier)

    def _imports(self, client: Client) -> Imports | None:
        """Return what carries out many updates at a time, if the settings want that."""
        if self.settings.dry_run or not self.settings.bulk_updates:
            return None
        return Imports(client, self.pacer)


class Organisation:
    """What is known of the organisation that records go to.

    Attributes:
        objects: The objects as it has them, as far as that is known.
    """

    def __init__(self, parts: Parts) -> None:
        """Know what all organisations have alike.

        Args:
            parts: Have the connection to it.
        """
        self.objects = OwnObjects()
        self._parts = parts
        self._is_asked = False

    def learn_custom_fields(self) -> None:
        """Ask for its custom fields, unless this run has done so.

        Raises:
            RunError: As for any request.
        """
        if not self._is_asked:
            self.objects.learn(ask_custom_fields(self._parts.connection.client))
            self._is_asked = True
