"""The parts of a run as the settings want them, each made when it is first needed."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from target_outreach import bounds
from target_outreach.connection import Connection
from target_outreach.delivery.ledger import Ledger
from target_outreach.delivery.memory import Memory
from target_outreach.delivery.memory_file import copy_memory
from target_outreach.delivery.memory_object import StoredMemory
from target_outreach.delivery.memory_reader import MemoryReader
from target_outreach.delivery.progress import Progress
from target_outreach.delivery.rejects import NoRejects, RejectsFile
from target_outreach.delivery.resolved_rejects import ResolvedRejects
from target_outreach.delivery.settlement import Settlement
from target_outreach.delivery.state_output import NoStateOutput, StateOutput
from target_outreach.delivery.status import Status
from target_outreach.delivery.tally import Tally
from target_outreach.engine.dry_run import DryWriter
from target_outreach.engine.enrolment import DryEnrolments, Enrolments
from target_outreach.engine.loop import Engine
from target_outreach.engine.tools import Tools
from target_outreach.engine.writing import Writer
from target_outreach.errors import CredentialsError, OutputError
from target_outreach.object_store import local_path
from target_outreach.outreach.imports import Imports
from target_outreach.outreach.lookup import Lookup
from target_outreach.outreach.organisation import Identity, ask_custom_fields
from target_outreach.outreach.pacing import Pacer
from target_outreach.records.custom_fields import OwnObjects
from target_outreach.scopes import missing_scopes
from target_outreach.settings.access import LocalOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.delivery.display import Display
    from target_outreach.delivery.stream import Journal
    from target_outreach.engine.enrolment import Enrols
    from target_outreach.engine.job import Deliverer
    from target_outreach.inbox import Inbox
    from target_outreach.settings import Settings

logger = logging.getLogger("target-outreach")


class Parts:
    """Makes the parts of a run and puts them together; closing it closes those that are open.

    Attributes:
        settings: What they are made from.
        pacer: Grants requests to all threads.
        ledger: Numbers the records and delays STATE.
        tallies: The counts by stream; none where nothing was ever received.
        status: Says how far the run is.
        resolved_rejects: Hears which rows are delivered that earlier runs have rejected.
        organisation: Knows the objects as the organisation has them.
    """

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        """Open nothing yet; the inbox, which reads the input, is woken when the run must end."""
        self.settings = settings
        self.pacer = Pacer(
            budget_percent=settings.request_budget_percent,
            max_requests=settings.max_requests,
            max_wait=60.0 * settings.max_wait_minutes,
            max_outage=60.0 * settings.max_outage_minutes,
        )
        self.ledger = Ledger()
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.status = Status(self.tallies, self.pacer, dry_run=settings.dry_run)
        self.resolved_rejects = ResolvedRejects()
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
    def display(self) -> Display | None:
        """Shows how the run goes on, where standard error is a terminal and INFO is logged."""
        if sys.stderr is None or not sys.stderr.isatty() or not logger.isEnabledFor(logging.INFO):
            return None
        # Imported here, since it takes time and most runs have no terminal.
        from target_outreach.delivery.display import Display, find_console  # noqa: PLC0415

        console = find_console()
        return None if console is None else Display(console)

    @cached_property
    def states(self) -> StateOutput:
        """Prints STATE; a dry run prints none."""
        return NoStateOutput() if self.settings.dry_run else StateOutput(self.display)

    @cached_property
    def progress(self) -> Progress:
        """Tells how the run goes on: on a terminal by a display, else by log lines."""
        return Progress(self.status, self.display)

    # What is kept of records

    @property
    def destination(self) -> dict[str, str | None]:
        """Where records go, as far as that is known without a request; nothing before it is."""
        connection: Connection | None = vars(self).get("connection")
        if connection is None:
            return {}
        identity: Identity = vars(connection).get("identity") or Identity()
        access, address = self.settings.access, self.settings.api_url
        if isinstance(access, LocalOutreach):
            address = f"the sandbox in {access.path}"
        return {
            "address": address,
            "organisation": identity.organisation,
            "user": identity.user,
        }

    @cached_property
    def rejects(self) -> RejectsFile | NoRejects:
        """Where rejected records go; a dry run keeps none."""
        if self.settings.dry_run:
            return NoRejects()
        folder = self.settings.rejects_path or None
        return RejectsFile(folder, lambda: self.connection.place_of_rejects().folders[0])

    @cached_property
    def copies(self) -> Path:
        """A private folder for copies of what is elsewhere; it is gone when all is closed."""
        return Path(self._opened.enter_context(TemporaryDirectory(prefix="target-outreach-")))

    @cached_property
    def memory(self) -> Memory | None:
        """What earlier runs delivered, if the settings want it remembered; a dry run has a copy."""
        path = self.settings.memory_path
        if path is None:
            return None
        if local_path(path) is None:
            return self._memory_in_bucket(path)
        if self.settings.dry_run:
            copy = str(self.copies / "memory.db")
            copy_memory(path, copy)
            path = copy
        return self._opened.enter_context(closing(Memory(path)))

    def _memory_in_bucket(self, url: str) -> Memory:
        stored = StoredMemory(url, self.copies)
        if self.settings.dry_run:
            stored.copy()
        else:
            stored.open(self.settings.on_busy)
            self._opened.callback(stored.close)
        memory = self._opened.enter_context(closing(Memory(str(stored.path), stored.name)))
        if not self.settings.dry_run:
            stored.keep(memory, self._lose_memory)
        elif stored.is_old:
            memory.doubt_everything()
        return memory

    def _lose_memory(self, error: OutputError) -> None:
        """End the run, since another one may use the memory in the bucket; on any thread."""
        if (engine := self.started_engine) is not None:
            engine.stop(error)

    @cached_property
    def memory_reader(self) -> MemoryReader | None:
        """Reads the memory on the main thread, to know rows again without reading them.

        There is none where the outcome of each row must be reported.
        """
        is_told = self.settings.dry_run or self.settings.changes_path is not None
        if self.memory is None or is_told:
            return None
        return self._opened.enter_context(closing(MemoryReader(self.memory)))

    # Delivery

    @cached_property
    def settlement(self) -> Settlement:
        """Counts and settles records."""
        return Settlement(
            ledger=self.ledger,
            rejects=self.rejects,
            policy=self.settings.reject_policy,
            journals=self._journals(),
            states=self.states,
            tallies=self.tallies,
            resolved_rejects=self.resolved_rejects,
        )

    def _journals(self) -> list[Journal]:
        journals: list[Journal] = []
        if self.memory is not None and not self.settings.dry_run:
            journals.append(self.memory)
        if (path := self.settings.changes_path) is not None:
            # Imported here, since it takes time and most runs have no such file.
            from target_outreach.delivery.changes_file import ChangesFile, form_of  # noqa: PLC0415

            form = form_of(path, self.tallies, is_dry=self.settings.dry_run)
            journals.append(self._opened.enter_context(closing(ChangesFile(path, form))))
        return journals

    @cached_property
    def engine(self) -> Engine:
        """Delivers batches; its threads start with the first one."""
        client = self.connection.client
        if self.memory is not None:
            self._open_memory(self.memory)
        if (self.settings.report_path or "").endswith(".html"):
            _ = self.connection.identity  # the page says it
        lookup = Lookup(client)
        mode = self.settings.bulk_writes
        is_bulk = mode != "off" and not self.settings.dry_run
        writer: Deliverer
        enrolments: Enrols
        if self.settings.dry_run:
            writer = DryWriter(mode)
            enrolments = DryEnrolments(writer)
        else:
            writer = Writer(client, lookup, bounds.LATER_LOOKS)
            enrolments = Enrolments(client, lookup, bounds.LATER_LOOKS)
        tools = Tools(
            lookup=lookup,
            writer=writer,
            enrolments=enrolments,
            pacer=self.pacer,
            settlement=self.settlement,
            objects=self.organisation.objects,
            imports=Imports(client, self.pacer, mode) if is_bulk else None,
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
        place = self.connection.place
        if not place.is_known:
            logger.warning(
                "Outreach does not say whose these credentials are, so the memory %s belongs to "
                "them: with other credentials, all rows are compared with Outreach once.",
                memory.name,
            )
        if memory.failure is not None:  # since before there was an engine to be stopped
            raise memory.failure
        memory.belong(place.memory, place.earlier)


class Organisation:
    """What is known of the organisation that records go to.

    Attributes:
        objects: The objects as it has them, as far as that is known.
    """

    def __init__(self, parts: Parts) -> None:
        """Know what all organisations have alike; the parts have the connection to this one."""
        self.objects = OwnObjects()
        self._parts = parts
        self._is_asked = False
        self._met: set[str] = set()

    def learn_custom_fields(self) -> None:
        """Ask for its custom fields, unless this run has done so.

        Raises:
            RunError: As for any request.
        """
        if not self._is_asked:
            self.objects.learn(ask_custom_fields(self._parts.connection.client))
            self._is_asked = True

    def check_scopes(self, stream: str, object_name: str, needed: Sequence[str]) -> None:
        """Refuse a stream that the token may not deliver, before any record of it is read.

        Where nothing has said yet what the token may do, Outreach is asked only if the run has
        streams of another object, whose records may be written: with one object the first request
        of a record tells.

        Raises:
            CredentialsError: The token lacks some of the scopes that are needed.
            RunError: As for any request.
        """
        granted = self._parts.connection.scopes(ask=bool(self._met - {object_name}))
        self._met.add(object_name)
        if granted is None:
            return
        reads_only = self._parts.settings.dry_run
        missing = [
            scope
            for scope in missing_scopes(granted, needed)
            if not (reads_only and scope.endswith(".write"))
        ]
        if missing:
            options = " ".join(f"--scope {scope}" for scope in missing)
            raise CredentialsError(
                f"The token lacks {', '.join(missing)}, which stream {stream!r} needs: give it to "
                f"the app in Outreach, then log in with `target-outreach login {options}`, or set "
                "another token."
            )
