"""From batches of records to settled records and STATE.

One thread owns all decisions, so none of its state needs a lock; requests run on worker threads
and come back as events. Two batches are under way at a time: while one is being written, the next
is looked up, and the target maps the one after that.

Order is kept where it matters. Within a batch, records that share a key are folded or wait for each
other. A record of the next batch that shares a key with the batch before is looked up only when
that batch is settled. And one record of Outreach is never written by two requests at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from target_outreach.delivery.tally import Tally
from target_outreach.delivery.workers import Workers
from target_outreach.delivery.writing import Delivered, Job, ambiguous
from target_outreach.errors import RecordFault, RejectsError
from target_outreach.outreach.lookup import spellings
from target_outreach.records.folding import Group, fold
from target_outreach.records.matching import Picture, Resource, choose, match
from target_outreach.records.planning import (
    Create,
    Skip,
    Unchanged,
    Update,
    needs_fresh_read,
    plan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.delivery.journal import Journal
    from target_outreach.delivery.ledger import Ledger, State
    from target_outreach.delivery.policy import RejectPolicy
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.mapping import Desired
    from target_outreach.records.planning import Plan, Rules

logger = logging.getLogger("target-outreach")

BATCHES_UNDER_WAY = 2

#: Seconds after which what was read is read again before anything irrevocable rests on it.
FRESH = 60.0

#: Seconds that requests in flight get to end when the run must.
GRACE = 20.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What the pipeline must know of a stream.

    Attributes:
        name: The stream's name after stream maps, under which it is counted.
        source: Its name as received.
        schema_line: Its SCHEMA message as received.
        object: What it is for, or None where it is skipped.
        rules: The settings that decide what is written.
        asked: The attributes and relationships that a lookup reads.
    """

    name: str
    source: str
    schema_line: str
    object: ObjectType | None
    rules: Rules
    asked: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Item:
    """One record on its way.

    Attributes:
        number: Its sequence number.
        line: The RECORD message as received.
        desired: What it says, where it is to be delivered.
        fault: Why it is rejected before anything is asked of Outreach.
        skip: Why it is skipped.
    """

    number: int
    line: str
    desired: Desired | None = None
    fault: RecordFault | None = None
    skip: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """When something was looked up, and by which version of the lookup."""

    at: float
    version: int


@dataclass(slots=True, eq=False)
class _Load:
    """One batch under way.

    Attributes:
        stream: The stream that it is of.
        picture: What is known of Outreach's records that it is about.
        open: Groups that are not settled.
        blocked: Groups that share a key with an earlier batch.
        reads: The lookup that each group was answered by.
        again: Groups of which the lookup is too old to act on.
        written: When records of Outreach were written meanwhile.
    """

    stream: Stream
    picture: Picture
    open: set[Group[Item]]
    blocked: list[Group[Item]] = field(default_factory=list)
    reads: dict[Group[Item], _Read] = field(default_factory=dict)
    again: list[Group[Item]] = field(default_factory=list)
    written: dict[int, float] = field(default_factory=dict)

    @property
    def object(self) -> ObjectType:
        return self.picture.object


class Deliverer(Protocol):
    """Writes a record to Outreach, or does as if."""

    def write(self, job: Job) -> Delivered:
        """Carry a plan out."""

    def recall(self, picture: Picture, groups: Iterable[Group[Item]]) -> None:
        """Add what a lookup could not show."""


class Rejects(Protocol):
    """Takes what cannot be delivered."""

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Take a rejected record."""

    def sync(self) -> None:
        """Return when all is safe."""

    def close(self) -> None:
        """Take no more."""


class Pipeline:
    """Takes batches, delivers their records, settles them and releases STATE."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        lookup: Lookup,
        writer: Deliverer,
        pacer: Pacer,
        ledger: Ledger,
        rejects: Rejects,
        policy: RejectPolicy,
        journal: Journal,
        emit: Callable[[State], None],
        wake: Callable[[], None],
        parallel: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            lookup: Finds records in Outreach.
            writer: Writes them, or does as if.
            pacer: Grants requests; told to grant none when the run must end.
            ledger: Numbers the records and holds back STATE.
            rejects: Takes what cannot be delivered.
            policy: Says how many rejects are too many.
            journal: Hears what became of each record.
            emit: Prints a STATE.
            wake: Called, on any thread, when the pipeline has failed.
            parallel: The most requests in flight.
            clock: A monotonic clock in seconds.
        """
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.error: Exception | None = None
        self._failed_at: float | None = None
        self._lookup = lookup
        self._writer = writer
        self._pacer = pacer
        self._journal = journal
        self._ledger = ledger
        self._rejects = rejects
        self._policy = policy
        self._emit = emit
        self._wake = wake
        self._clock = clock
        self._workers = Workers(parallel)
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._changed = threading.Condition()
        self._loads: list[_Load] = []
        self._due: deque[tuple[_Load, Group[Item]]] = deque()
        self._busy: dict[tuple[str, int], deque[tuple[_Load, Group[Item]]]] = {}
        self._dependents: dict[Group[Item], list[Group[Item]]] = {}
        self._in_flight = 0
        self._writing = 0
        self._most_writing = 2 * parallel
        self._untested: list[tuple[_Load, Group[Item]]] = []
        self._tests: dict[str, str | None] = {}
        self._under_way = 0
        self._closing = False
        self._abort_at: int | None = None
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self._thread.start()

    # What other threads call

    def submit(self, stream: Stream, items: list[Item]) -> None:
        """Hand over a batch; wait while enough of them are under way.

        Raises:
            Exception: Why the pipeline has stopped.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._under_way < BATCHES_UNDER_WAY or self.error is not None
            )
            self.raise_error()
            self._under_way += 1
        self._events.put(partial(self._take, stream, items))

    def checkpoint(self, state: State) -> None:
        """Hand over a STATE, to be emitted when all before it is settled."""
        self._ledger.checkpoint(state)
        self._events.put(self._release)

    def raise_error(self) -> None:
        """Raise what has stopped the pipeline, if anything has."""
        if self.error is not None:
            raise self.error

    def stop(self, error: Exception) -> None:
        """Start nothing more, settle what is in flight, and end; safe in a signal handler."""
        self._events.put(partial(self._fail, error))

    def finish(self) -> None:
        """Wait until all batches are settled, or after a stop until what is in flight is.

        Raises:
            Exception: Why the pipeline has stopped.
        """
        self._events.put(self._close)
        # Short waits, since a thread that joins another one is deaf to signals on some systems.
        while self._thread.is_alive() and not self._is_overdue():
            self._thread.join(0.2)
        self.raise_error()

    def _is_overdue(self) -> bool:
        return self._failed_at is not None and self._clock() - self._failed_at > GRACE

    # The pipeline's own thread

    def _run(self) -> None:
        while not self._is_done():
            event = self._events.get()
            try:
                event()
                self._decide_all()
                self._abort_if_due()
                if self.error is not None:
                    self._release()
            except Exception as error:  # noqa: BLE001 - raised again on the main thread
                self._fail(error)
        self._end()

    def _is_done(self) -> bool:
        if self.error is not None:
            return self._in_flight == 0
        return self._closing and self._under_way == 0

    def _end(self) -> None:
        self._workers.close()
        try:
            self._release()
            self._rejects.close()
        except Exception as error:  # noqa: BLE001 - raised again on the main thread
            self._fail(error)
        with self._changed:
            self._changed.notify_all()

    def _close(self) -> None:
        self._closing = True

    def _fail(self, error: Exception) -> None:
        """Keep the first error, and let no request start any more."""
        if self.error is None:
            with self._changed:
                self.error = error
                self._failed_at = self._clock()
                self._changed.notify_all()
            self._pacer.stop()
            self._wake()

    def _release(self) -> None:
        """Emit the newest STATE of which all records are settled and all rejects are on disk."""
        self._rejects.sync()
        state = self._ledger.release()
        if state is not None:
            self._emit(state)

    def _take(self, stream: Stream, items: list[Item]) -> None:
        """Begin with a batch: settle what needs no request, and look up the rest."""
        if self.error is not None or self._abort_at is not None:
            return
        deliverable: list[tuple[Item, Desired]] = []
        for item in items:
            if item.fault is not None:
                self._reject(stream, item, item.fault)
            elif item.desired is None or stream.object is None:
                self._skip(stream, [item], item.skip or "no_object")
            else:
                deliverable.append((item, item.desired))
        if stream.object is None or not deliverable:
            self._batch_done()
            return
        groups = fold(stream.object, deliverable, stream.rules)
        picture = Picture(stream.object, stream.rules.match_fields)
        load = _Load(stream, picture, open=set(groups))
        for group in groups:
            for earlier in group.waits_for:
                self._dependents.setdefault(earlier, []).append(group)
        self._begin(load, groups)

    def _begin(self, load: _Load, groups: list[Group[Item]]) -> None:
        busy = {
            key
            for other in self._loads
            if other.object is load.object
            for group in other.open
            for key in group.keys
        }
        self._loads.append(load)
        load.blocked = [group for group in groups if group.keys & busy]
        free = [group for group in groups if not group.keys & busy]
        self._look_up(load, free, self._fields(load))

    @staticmethod
    def _fields(load: _Load) -> list[str]:
        """List the fields to look up by, in order; `insert` looks nothing up."""
        rules = load.stream.rules
        return [] if rules.mode == "insert" else ["id", *rules.match_fields]

    # Looking up

    def _look_up(self, load: _Load, groups: list[Group[Item]], fields: list[str]) -> None:
        """Look groups up by one field after the other, until each is found or all are tried."""
        read = _Read(self._clock(), self._lookup.version)
        for group in groups:
            load.reads[group] = min(read, load.reads.get(group, read), key=lambda one: one.at)
        while fields and groups:
            texts = _texts(load.object, groups, fields[0])
            paths = self._lookup.paths(load.object, fields[0], texts, load.stream.asked)
            if paths:
                self._ask(load, groups, fields, paths)
                return
            fields = fields[1:]
        self._due.extend((load, group) for group in groups)

    def _ask(
        self, load: _Load, groups: list[Group[Item]], fields: list[str], paths: list[str]
    ) -> None:
        """Send the requests for one field, and go on when all are answered."""
        due = len(paths)
        started = self._clock()

        def on_answer(resources: list[Resource]) -> None:
            nonlocal due
            due -= 1
            for resource in resources:
                # A list that was read while the record was being written may be older.
                if load.written.get(resource.id, started) <= started:
                    load.picture.put(resource)
            if due == 0:
                self._after_field(load, groups, fields)

        for path in paths:
            self._send(partial(self._lookup.read, path), on_answer)

    def _after_field(self, load: _Load, groups: list[Group[Item]], fields: list[str]) -> None:
        """Go on with what was found, and look up the rest by the next field."""
        self._writer.recall(load.picture, groups)
        match_fields = load.stream.rules.match_fields
        found = {group for group in groups if match(group.desired, load.picture, match_fields)}
        self._due.extend((load, group) for group in groups if group in found)
        self._look_up(load, [group for group in groups if group not in found], fields[1:])

    def _look_again(self, load: _Load) -> None:
        """Look up anew, all at once, what is too old to act on."""
        groups, load.again = load.again, []
        for group in groups:
            load.reads.pop(group, None)
        self._look_up(load, groups, self._fields(load))

    def _is_stale(self, load: _Load, group: Group[Item], decided: Plan) -> bool:
        """Whether a plan rests on a lookup that was cut, or that is too old for it."""
        read = load.reads[group]
        if load.stream.rules.mode == "insert":
            return False
        if isinstance(decided, Create) and read.version < self._lookup.version:
            return True
        age = self._clock() - read.at
        return age > FRESH and needs_fresh_read(load.object, decided, load.stream.rules)

    def _send(self, task: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a request on a worker; its result comes back as an event of this thread."""
        self._in_flight += 1

        def on_result(result: Any) -> None:  # noqa: ANN401 - whatever the task returns
            self._in_flight -= 1
            if isinstance(result, Exception) and not isinstance(result, RecordFault):
                self._fail(result)
                return
            then(result)

        self._workers.submit(task, lambda result: self._events.put(partial(on_result, result)))

    # Deciding and writing

    def _decide_all(self) -> None:
        """Decide about groups that are due, no sooner than they can be written."""
        while self._due and self.error is None and self._writing < self._most_writing:
            load, group = self._due.popleft()
            wanted = self._abort_at is None or group.members[0].number < self._abort_at
            if wanted and group in load.open and group in load.reads and not group.waits_for:
                self._decide(load, group)
        for load in list(self._loads):
            if load.again and self.error is None:
                self._look_again(load)

    def _decide(self, load: _Load, group: Group[Item]) -> None:
        try:
            found = self._find(load, group)
            if found is not None and (waiting := self._busy.get(self._place(load, found.id))):
                waiting.append((load, group))
                return
            decided = plan(load.object, group.desired, found, load.stream.rules)
            if not self._may_act(load, group, decided):
                return
        except RecordFault as fault:
            self._refuse(load, group, fault)
            return
        if isinstance(decided, Skip):
            self._skip(load.stream, group.members, decided.reason)
            self._done(load, group)
        elif isinstance(decided, Unchanged):
            self._settle(load, group, Delivered("unchanged", decided.resource, decided))
        else:
            self._write(load, group, decided)

    def _find(self, load: _Load, group: Group[Item]) -> Resource | None:
        rules = load.stream.rules
        if rules.mode == "insert":
            return None
        found = match(group.desired, load.picture, rules.match_fields)
        chosen = choose(found, rules.on_ambiguous)
        if chosen is None and found:
            raise ambiguous(found)
        return chosen

    def _may_act(self, load: _Load, group: Group[Item], decided: Plan) -> bool:
        """Whether what a plan rests on is fresh and tested; if not, see to that first.

        Raises:
            RecordFault: The test has failed, so that an account may be there unseen.
        """
        if self._is_stale(load, group, decided):
            load.again.append(group)
            return False
        upsert = load.stream.rules.mode == "upsert"
        if not (isinstance(decided, Create) and load.object.name == "accounts" and upsert):
            return True
        if load.object.name not in self._tests:
            self._untested.append((load, group))
            if len(self._untested) == 1:
                self._test_lookup(load)
            return False
        if (field_name := self._tests[load.object.name]) is not None:
            raise RecordFault(
                "lookup_untrusted",
                f"Outreach does not find its own accounts again by filter[{field_name}], so that "
                "this one may be there already; it is not created.",
            )
        return True

    def _test_lookup(self, load: _Load) -> None:
        """Test the lookup before the first account is created."""

        def on_tested(failing: str | None) -> None:
            self._tests[load.object.name] = failing
            self._due.extend(self._untested)
            self._untested.clear()
            if failing is not None:
                logger.error(
                    "No account is created: Outreach does not find its own accounts again by "
                    "filter[%s], not even one at a time; see the README on case rules.",
                    failing,
                )

        fields = load.stream.rules.match_fields
        self._send(partial(self._lookup.test, load.object, fields), on_tested)

    @staticmethod
    def _place(load: _Load, resource_id: int) -> tuple[str, int]:
        return load.object.name, resource_id

    def _write(self, load: _Load, group: Group[Item], decided: Create | Update) -> None:
        place = None
        if isinstance(decided, Update):
            place = self._place(load, decided.resource.id)
            self._busy[place] = deque([(load, group)])
        self._writing += 1

        def on_written(result: Delivered | RecordFault | None) -> None:
            self._writing -= 1
            if result is None:
                load.again.append(group)
            elif isinstance(result, RecordFault):
                self._refuse(load, group, result)
            else:
                self._remember(load.object, result.resource)
                self._settle(load, group, result)
            if place is not None:
                self._due.extend(entry for entry in self._busy.pop(place) if entry[1] is not group)

        self._send(partial(self._write_fresh, load, group, decided), on_written)

    def _write_fresh(
        self, load: _Load, group: Group[Item], decided: Create | Update
    ) -> Delivered | None:
        """Write on a worker thread, unless the wait for budget has made the plan too old."""
        self._pacer.wait()
        if self._is_stale(load, group, decided):
            return None
        stream, version = load.stream, load.reads[group].version
        job = Job(load.object, group.desired, decided, stream.rules, stream.asked, version)
        return self._writer.write(job)

    def _remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Show what was written to every batch under way."""
        now = self._clock()
        for load in self._loads:
            if load.object is object_type:
                load.picture.put(resource)
                load.written[resource.id] = now

    # Settling

    def _settle(self, load: _Load, group: Group[Item], delivered: Delivered) -> None:
        tally = self.tallies[load.stream.name]
        tally.outcomes[delivered.outcome] += 1
        tally.outcomes["superseded"] += len(group.members) - 1
        tally.held_back.update(delivered.decided.held_back)
        tally.kept_differently.update(delivered.kept_differently)
        if not isinstance(delivered.decided, Unchanged):
            tally.written.update(delivered.decided.attributes.keys())
        self._journal.delivered(load.stream, group, delivered)
        self._ledger.settle(load.stream.name, (item.number for item in group.members))
        self._done(load, group)

    def _skip(self, stream: Stream, items: list[Item], reason: str) -> None:
        tally = self.tallies[stream.name]
        tally.outcomes["skipped"] += len(items)
        tally.skipped[reason] += len(items)
        self._journal.skipped(stream, items, reason)
        self._ledger.settle(stream.name, (item.number for item in items))

    def _refuse(self, load: _Load, group: Group[Item], fault: RecordFault) -> None:
        """Reject a group's one record; of several that were folded, send each by itself."""
        if len(group.members) > 1:
            self._unfold(load, group)
            return
        self._reject(load.stream, group.members[0], fault)
        self._done(load, group)

    def _unfold(self, load: _Load, group: Group[Item]) -> None:
        earlier: Group[Item] | None = None
        for item in group.members:
            assert item.desired is not None  # noqa: S101 - only such items are folded
            single = Group(item.desired, group.keys, [item], {earlier} if earlier else set())
            if earlier:
                self._dependents[earlier] = [single]
            load.open.add(single)
            load.reads[single] = load.reads[group]
            self._due.append((load, single))
            earlier = single
        if earlier is not None and group in self._dependents:
            self._dependents[earlier] = self._dependents.pop(group)
            for dependent in self._dependents[earlier]:
                dependent.waits_for.discard(group)
                dependent.waits_for.add(earlier)
        load.open.discard(group)

    def _reject(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Write a record to the rejects file, and see whether the run may go on."""
        tally = self.tallies[stream.name]
        self._rejects.add(stream.source, stream.schema_line, item.line, fault)
        tally.outcomes["rejected"] += 1
        tally.rejected[fault.code] += 1
        self._journal.rejected(stream, item, fault)
        if self._policy.holds_state:
            self._ledger.hold(item.number)
        if self._policy.aborts:
            self._abort_at = min(item.number, self._abort_at or item.number)
        self._ledger.settle(stream.name, [item.number])
        received = sum(tally.received for tally in self.tallies.values())
        rejected = sum(tally.outcomes["rejected"] for tally in self.tallies.values())
        if (too_many := self._policy.verdict(rejected, received)) is not None:
            self._fail(RejectsError(too_many))

    def _abort_if_due(self) -> None:
        """Stop at the first reject, when all that came before it is settled."""
        if self._abort_at is not None and self._ledger.has_settled_all_before(self._abort_at):
            self._fail(
                RejectsError("A record was rejected, and on_reject is abort; see the rejects file.")
            )

    def _done(self, load: _Load, group: Group[Item]) -> None:
        """Let go on what waited for a group, and end the batch with its last one."""
        load.open.discard(group)
        for dependent in self._dependents.pop(group, ()):
            dependent.waits_for.discard(group)
            self._due.append((load, dependent))
        if not load.open:
            self._loads.remove(load)
            self._batch_done()
            self._unblock()

    def _unblock(self) -> None:
        """Look up what shared a key with a batch that is settled now."""
        for position, load in enumerate(self._loads):
            earlier = {other.object.name for other in self._loads[:position]}
            if load.blocked and load.object.name not in earlier:
                blocked, load.blocked = load.blocked, []
                self._look_up(load, blocked, self._fields(load))

    def _batch_done(self) -> None:
        self._release()
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()


def _texts(object_type: ObjectType, groups: Iterable[Group[Item]], field_name: str) -> list[str]:
    """List what to ask for by one field: every spelling of every value of every record."""
    texts: list[str] = []
    for group in groups:
        for item in group.members:
            if item.desired is None:
                continue
            if field_name == "id":
                texts += [] if item.desired.id is None else [str(item.desired.id)]
            elif item.desired.id is None and item.desired.attributes.get(field_name):
                value = item.desired.attributes[field_name]
                texts += spellings(object_type, field_name, value)
    return texts
