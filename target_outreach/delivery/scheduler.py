"""Deciding about records and having them written, each at its time.

Order is kept where it matters. Within a batch, records that share a key are folded or wait for each
other. A record of the next batch that shares a key with the batch before is looked up only when
that batch is settled. Records without a common key that turn out to be about one record of Outreach
are written in the order of their arrival too, and never by two requests at once.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from target_outreach.delivery.bulk import Alone, Bulk, Change
from target_outreach.delivery.enrolment import SEQUENCE_STATES, Enroller
from target_outreach.delivery.errand import Errand
from target_outreach.delivery.finder import Finder
from target_outreach.delivery.links import Links
from target_outreach.delivery.load import Load, Read
from target_outreach.delivery.put_off import PutOff
from target_outreach.delivery.recall import Recall
from target_outreach.delivery.seen import Seen
from target_outreach.delivery.stream import Item, Stream
from target_outreach.delivery.underway import Underway, mixed_with, unfolded
from target_outreach.delivery.writing import Delivered, Found, Gone, Job, ambiguous
from target_outreach.errors import RecordFault
from target_outreach.records.folding import fold
from target_outreach.records.matching import Picture, choose
from target_outreach.records.planning import (
    Create,
    Skip,
    Unchanged,
    Update,
    plan,
    references_to_find,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_outreach.delivery.bulk import Result
    from target_outreach.delivery.enrolment import Enrols
    from target_outreach.delivery.errand import Outcome
    from target_outreach.delivery.finder import Send
    from target_outreach.delivery.load import Records
    from target_outreach.delivery.memory import Memory
    from target_outreach.delivery.settlement import Settlement
    from target_outreach.outreach.imports import Imports
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.mapping import Desired
    from target_outreach.records.matching import Key, Resource
    from target_outreach.records.planning import Plan
    from target_outreach.records.references import Reference
    from target_outreach.records.rules import Rules


class Deliverer(Protocol):
    """Writes a record to Outreach, or does as if."""

    def write(self, job: Job) -> Delivered | Found | Gone:
        """Carry a plan out, unless the record is there after all."""

    def recall(self, picture: Picture, groups: Iterable[Records]) -> None:
        """Add what a lookup could not show."""


class Scheduler:
    """Decides what is done and when; only ever called on the pipeline's thread."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        lookup: Lookup,
        writer: Deliverer,
        enrolments: Enrols,
        pacer: Pacer,
        settlement: Settlement,
        objects: Mapping[str, ObjectType],
        send: Send,
        batch_done: Callable[[], None],
        parallel: int,
        imports: Imports | None = None,
        send_import: Send | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no batch.

        Args:
            lookup: Finds records in Outreach.
            writer: Writes them, or does as if.
            enrolments: Puts prospects into sequences, or does as if.
            pacer: Grants requests.
            settlement: Settles records.
            objects: The objects as the organisation has them, the same ones as those of streams.
            send: Runs a request on a worker and hands its result back on this thread.
            batch_done: Called when all records of a batch are settled.
            parallel: The most requests in flight.
            imports: Carries out many updates at a time, if that is to be done.
            send_import: Runs an import on a thread of its own, as `send` runs a request.
            memory: Knows what was delivered before, if a memory is kept.
            clock: A monotonic clock in seconds.
        """
        self._writer = writer
        self._pacer = pacer
        self._settlement = settlement
        self._objects = objects
        self._send = send
        self._batch_done = batch_done
        self._clock = clock
        self._finder = Finder(
            lookup, send=self._ask, recall=self._show, ready=self._are_found, clock=clock
        )
        self._links = Links(
            lookup,
            send=self._ask,
            errand=self._run_errand,
            ready=self._is_due,
            refuse=self._refuse,
            put_off=self._put_off_to_end,
            counts=settlement,
        )
        self._recall = Recall(
            memory,
            lookup,
            pacer,
            send=self._ask,
            ready=self._is_due,
            unchanged=self._are_unchanged,
            find=self._finder.find,
            clock=clock,
        )
        self._bulk = Bulk(
            imports,
            lookup,
            pacer=pacer,
            send=send_import or send,
            is_stale=self._finder.is_stale,
            asked=lambda object_type: tuple(self._asked[object_type.name]),
            then=self._on_imported,
            clock=clock,
        )
        self._seen = Seen(objects["accounts"])
        # Where the first reject ends the run, it is not to be found at the end of the input.
        self._put_off = PutOff(is_over=settlement.stops_at_rejects)
        self._enrolments: deque[tuple[Load, list[tuple[Item, Desired]]]] = deque()
        self._enroller = Enroller(
            enrolments,
            lookup,
            pacer=pacer,
            settlement=settlement,
            send=self._ask,
            errand=self._run_errand,
            put_off=self._put_off,
            parallel=parallel,
            clock=clock,
        )
        self._underway = Underway()
        self._due: deque[tuple[Load, Records]] = deque()
        self._postponed: deque[tuple[Load, Records]] = deque()
        self._alone: set[Records] = set()
        self._asked: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._asking = 0
        self._busy: dict[tuple[str, int], list[tuple[Load, Records]]] = {}
        self._early: list[tuple[Load, Records]] = []
        self._unchanged: defaultdict[Load, list[tuple[Records, Delivered]]] = defaultdict(list)
        self._writing = 0
        # A plan is made no sooner than it can be carried out, so that it does not age.
        self._most_writing = 2 * parallel

    def finish(self) -> None:
        """Do what is best done when all is written; hands over no record."""
        self._recall.finish()

    def close(self) -> None:
        """Remove what was kept on disk."""
        self._finder.close()

    def take(self, stream: Stream, items: list[Item]) -> None:
        """Begin with a batch: settle what needs no request, and look up the rest."""
        deliverable: list[tuple[Item, Desired]] = []
        for item in items:
            if self._settlement.is_aborted_before(item):
                break
            if item.fault is not None:
                self._settlement.rejected(stream, item, item.fault)
            elif item.desired is None:
                self._settlement.skipped(stream, [item], item.skip or "no_object")
            else:
                deliverable.append((item, item.desired))
        if stream.object is None or not deliverable:
            self._batch_done()
            return
        picture = Picture(stream.object, stream.rules.match_fields)
        load = Load(self._underway.number(), stream, picture, self._settlement, self._batch_done)
        if stream.object.name == SEQUENCE_STATES:
            self._enrolments.append((load, deliverable))
            self._enrol()
            return
        self._recall.add_ids(stream, deliverable)
        self._begin(load, deliverable)

    def give_up(self) -> None:
        """Reject what waits for an end of the input that does not come in this run.

        Raises:
            RunError: The rejects file cannot be written, or that was one too many.
        """
        for stream, item, fault in self._put_off.give_up():
            self._settlement.rejected(stream, item, fault)

    def knows_edits(self, stream: Stream) -> bool:
        """Whether the memory says what others have edited, as far as the settings ask for that."""
        return self._recall.knows_edits(stream)

    def put_off(self) -> list[tuple[Stream, list[Item]]]:
        """Hand back, once all else is settled, the batches that were put off till then."""
        return self._put_off.release()

    def _enrol(self) -> None:
        """Begin with enrolments of which no earlier batch can change the prospects any more."""
        while self._enrolments:
            load, records = self._enrolments[0]
            if not self._underway.is_first(load):
                return
            self._enrolments.popleft()
            if self._put_off.holds("prospects"):
                self._put_off.take(load.stream, [item for item, _ in records], ())
                load.done()
            else:
                self._enroller.take(load, records)

    def _run_errand(
        self,
        wanted: dict[Reference, tuple[int, Desired]],
        object_name: str,
        rules: Rules,
        then: Callable[[dict[Reference, Outcome]], None],
    ) -> None:
        """Have records found that others are to be linked to, as if they had been received."""
        object_type = self._objects[object_name]
        items = {one: Item(number, "", said) for one, (number, said) in wanted.items()}

        def on_outcomes(outcomes: dict[Item, Outcome]) -> None:
            then({one: outcomes[item] for one, item in items.items() if item in outcomes})

        errand = Errand(on_outcomes)
        asked = rules.match_fields
        stream = Stream(f"linked {object_name}", "", "", object_type, rules, asked)
        picture = Picture(object_type, rules.match_fields)
        load = Load(self._underway.number(), stream, picture, errand, errand.done)
        self._begin(load, [(item, wanted[one][1]) for one, item in items.items()])

    def _begin(self, load: Load, records: list[tuple[Item, Desired]]) -> None:
        """Fold the records of a batch, and look up what shares no key with an earlier one."""
        self._asked[load.object.name].update(dict.fromkeys(load.stream.asked))
        groups = fold(load.object, records, load.stream.rules)
        self._find(load, self._underway.begin(load, groups))

    def _find(self, load: Load, groups: list[Records]) -> None:
        """Find out about groups, unless they share a key with what is put off."""
        late: list[Records] = []
        if self._put_off.holds(load.object.name):
            late = [group for group in groups if self._is_put_off(load, group.keys)]
        for group in late:
            if group in load.open:  # else it went with one that it waits for
                self._to_end(load, group)
        self._recall.find(
            load, [group for group in groups if group in load.open] if late else groups
        )

    def _is_put_off(self, load: Load, keys: Iterable[Key]) -> bool:
        """Whether something waits for the end of input that must come before a record of a key."""
        return not load.is_errand and self._put_off.concerns(load.object.name, keys)

    def _are_found(self, load: Load, groups: Iterable[Records]) -> None:
        """Hear that groups are looked up; what they are to be linked to is found next."""
        self._links.find(load, groups)

    def _is_due(self, load: Load, groups: Iterable[Records]) -> None:
        """Hear that groups can be decided on; each is decided once for each time it is ready."""
        for group in groups:
            if group in load.open:
                load.ready.add(group)
                self._due.append((load, group))

    def _put_off_to_end(self, load: Load, group: Records, fault: RecordFault | None) -> bool:
        """Put a group off to the end of input, if there is room and the run goes on till then."""
        if not self._put_off.has_room:
            return False
        self._to_end(load, group, fault)
        return True

    def _to_end(self, load: Load, group: Records, fault: RecordFault | None = None) -> None:
        """Put a group off, with all that waits for it."""
        late: dict[Records, None] = {}
        follows = [group]
        while follows:
            following = follows.pop()
            if following in load.open:
                late[following] = None
                follows += self._underway.followers(following)
        for one in late:
            found = {key for it in load.about(one) for key in load.picture.known_keys(it.id)}
            own = fault if one is group else None
            self._put_off.take(load.stream, one.members, {*one.keys, *found}, own)
        self._close(load, late)

    def _ask(self, task: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have something read, and know that an answer is to come."""
        self._asking += 1

        def on_answer(answer: Any) -> None:  # noqa: ANN401 - whatever the task returns
            self._asking -= 1
            then(answer)

        self._send(task, on_answer)

    def decide(self) -> None:
        """Decide about groups that are due, as long as they can be written."""
        for change in self._bulk.withdraw(self._is_aborted):
            self._let_go(change, [change.group])
        self._decide_due()
        while self._bulk.flush(more_may_come=self._asking > 0):
            self._decide_due()

    def _is_aborted(self, change: Change) -> bool:
        return self._settlement.is_aborted_before(change.group.members[0])

    def _decide_due(self) -> None:
        more_may_be_due = True
        while more_may_be_due:
            try:
                self._decide_each()
            finally:
                more_may_be_due = self._settle_unchanged()
            for load in [load for load in self._underway if load.again]:
                self._finder.find_again(load)  # what has no key is ready at once
                more_may_be_due = True

    def _decide_each(self) -> None:
        while (entry := self._next()) is not None:
            load, group = entry
            if self._settlement.is_aborted_before(group.members[0]):
                self._done(load, [group])
            elif group in load.ready and not group.waits_for:
                load.ready.remove(group)
                self._decide(load, group)

    def _next(self) -> tuple[Load, Records] | None:
        """Take what is decided on next, if it can be written, or can wait for an import."""
        has_room = self._writing < self._most_writing
        if self._postponed and has_room:
            return self._postponed.popleft()
        if self._due and (has_room or self._bulk.is_open):
            return self._due.popleft()
        return None

    def _decide(self, load: Load, group: Records) -> None:
        if group in load.recalled:
            self._decide_by_memory(load, group)
            return
        try:
            rules = load.stream.rules
            # `insert` is about no record that is there.
            matches = load.about(group)
            if self._must_wait(load, group, matches):
                return
            found = _chosen(load, matches)
            if found is not None and self._underway.spans_others(load, group, found):
                self._unfold(load, [group, *mixed_with(load, group, found)])
                return
            decided = plan(load.object, group.desired, found, rules)
            if not self._can_act(load, group, found, decided):
                return
        except RecordFault as fault:
            self._refuse(load, group, fault)
            return
        if isinstance(decided, Skip):
            load.fates.skipped(load.stream, group.members, decided.reason)
            self._done(load, [group])
        else:
            self._carry_out(load, group, decided)

    def _can_act(self, load: Load, group: Records, found: Resource | None, decided: Plan) -> bool:
        """Whether a plan can be carried out now; if not, what it lacks is found first.

        Raises:
            RecordFault: It will never be.
        """
        desired = group.desired
        if isinstance(decided, Unchanged) and not desired.references:
            return True
        is_written = not isinstance(decided, Skip)
        if is_written and references_to_find(desired, found, load.stream.rules):
            self._links.find(load, [group])
            return False
        if self._finder.is_stale(load, group, decided):
            load.again.append(group)
            return False
        return self._finder.trusts(load, group, decided)

    def _decide_by_memory(self, load: Load, group: Records) -> None:
        """Decide about a group without a look at Outreach, if its turn has come."""
        entry = load.recalled[group]
        decided = self._recall.decide(load, group)
        if decided is None:
            return
        if isinstance(decided, Update) and self._must_wait(load, group, [decided.resource]):
            load.recalled[group] = entry
            return
        load.unseen.add(group)
        self._carry_out(load, group, decided)

    def _carry_out(self, load: Load, group: Records, decided: Create | Update | Unchanged) -> None:
        if isinstance(decided, Unchanged):
            self._unchanged[load].append((group, self._as_it_should_be(group, decided)))
        elif isinstance(decided, Update) and self._may_import(load, group, decided):
            self._recall.will_write(load, group, decided.resource.id)
            self._busy[_place(load, decided.resource)] = []
            self._bulk.add(Change(load, group, decided))
        elif self._writing < self._most_writing:
            self._write(load, group, decided)
        else:
            self._postpone(load, group)

    def _as_it_should_be(self, group: Records, decided: Unchanged) -> Delivered:
        # What an import left to be done has been done meanwhile.
        outcome: Literal["updated", "unchanged"]
        outcome = "updated" if group in self._alone else "unchanged"
        return Delivered(outcome, decided.resource, decided)

    def _may_import(self, load: Load, group: Records, decided: Update) -> bool:
        if group in self._alone:
            return False
        self._bulk.refuse_doubtful(_place(load, decided.resource))
        return self._bulk.is_open

    def _postpone(self, load: Load, group: Records) -> None:
        """Decide about a group anew when it can be written."""
        load.ready.add(group)
        if group in load.unseen:
            load.recalled[group] = None
        self._postponed.append((load, group))

    def _must_wait(self, load: Load, group: Records, matches: list[Resource]) -> bool:
        """Park a group that matches what is being written, or what an earlier record is about."""
        for found in matches if self._busy else ():
            if (place := _place(load, found)) in self._busy:
                self._busy[place].append((load, group))
                return True
        if self._put_off.holds(load.object.name) and any(
            self._is_put_off(load, load.picture.known_keys(one.id)) for one in matches
        ):
            self._to_end(load, group)
            return True
        if any(self._underway.comes_too_early(load, group, found) for found in matches):
            load.ready.add(group)
            self._early.append((load, group))
            return True
        return False

    @property
    def is_stuck(self) -> bool:
        """Whether batches are under way and nothing of them can be decided on."""
        return bool(self._underway) and not self._due

    def _write(self, load: Load, group: Records, decided: Create | Update) -> None:
        place = _place(load, decided.resource) if isinstance(decided, Update) else None
        if place is not None:
            self._recall.will_write(load, group, place[1])
            self._busy[place] = []
        self._writing += 1

        def on_written(result: Delivered | Found | Gone | RecordFault | None) -> None:
            self._writing -= 1
            for waiting, other in self._busy.pop(place) if place is not None else ():
                self._is_due(waiting, [other])
            if result is None:
                load.again.append(group)
            elif isinstance(result, RecordFault):
                self._refuse(load, group, result)
            elif isinstance(result, Gone):
                for near in [*self._underway.of(load.object)]:
                    self._finder.forget(near, result.id)
                self._recall.forget(load, group)
            elif isinstance(result, Found):
                self._decide_by(load, group, result)
            else:
                self._remember(load.object, result.resource)
                self._settle(load, group, result)

        self._send(partial(self._write_fresh, load, group, decided), on_written)

    def _on_imported(self, change: Change, result: Result) -> None:
        """Hear what became of an update that was to be imported."""
        load, group = change.load, change.group
        if isinstance(result, Alone):
            self._alone.add(group)
            if result.resource is not None:
                self._remember(load.object, result.resource)
                load.reads[group] = Read(result.read_at, load.reads[group].version)
                load.unseen.discard(group)
            if group in load.unseen:
                load.recalled[group] = None
            self._let_go(change, [group])
            return
        self._let_go(change, [])
        if result is None:
            load.again.append(group)
        else:
            self._remember(load.object, result.resource)
            self._settle(load, group, result)

    def _let_go(self, change: Change, first: list[Records]) -> None:
        """Let other groups write to the record of a change, but these of its own batch first."""
        waiting = self._busy.pop(change.place)
        self._is_due(change.load, first)
        for load, other in waiting:
            self._is_due(load, [other])

    def _write_fresh(
        self, load: Load, group: Records, decided: Create | Update
    ) -> Delivered | Found | Gone | None:
        """Write on a worker thread, unless the wait for budget has made the plan too old."""
        self._pacer.wait()
        if self._finder.is_stale(load, group, decided):
            return None
        stream, read = load.stream, load.reads[group]
        return self._writer.write(
            Job(
                object=load.object,
                desired=group.desired,
                decided=decided,
                rules=stream.rules,
                asked=stream.asked,
                version=read.version,
                read_at=read.at,
            )
        )

    def _decide_by(self, load: Load, group: Records, late: Found) -> None:
        """Decide anew about a group whose record is there after all."""
        if group in load.found_late:
            message = "Another record has what should be unique, and does not fit this one."
            self._refuse(load, group, RecordFault("already_taken", message))
            return
        load.found_late.add(group)
        for resource in late.resources:
            # What was written since that look is newer.
            if load.written.get(resource.id, late.read_at) <= late.read_at:
                load.picture.put(resource)
        load.reads[group] = Read(late.read_at, load.reads[group].version)
        self._is_due(load, [group])

    def _remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Show what was written to every batch under way."""
        self._finder.remember(object_type, resource)
        if object_type.name == "accounts":
            self._links.forget()  # it may have another name or domain now
        self._recall.written(object_type, resource)
        now = self._clock()
        for load in self._underway.of(object_type):
            load.picture.put(resource)
            load.written[resource.id] = now

    def _settle_unchanged(self) -> bool:
        """Settle all at once what was decided to be as it should be; say whether that was any."""
        unchanged, self._unchanged = self._unchanged, defaultdict(list)
        for load, deliveries in unchanged.items():
            self._deliver(load, deliveries)
            self._done(load, [group for group, _ in deliveries])
        return bool(unchanged)

    def _deliver(self, load: Load, deliveries: list[tuple[Records, Delivered]]) -> None:
        """Say what became of groups; accounts are remembered for those that link to them."""
        load.fates.delivered(load.stream, deliveries)
        if load.object.name == "accounts" and not load.is_errand:
            for group, delivered in deliveries:
                self._seen.note(group.desired, delivered.resource)

    def _show(self, load: Load, groups: Iterable[Records]) -> None:
        """Add to what a lookup has shown what it cannot show."""
        self._writer.recall(load.picture, groups)
        if load.object.name == "accounts" and load.is_errand:
            self._seen.show(load.picture, (key for group in groups for key in group.keys))

    def _settle(self, load: Load, group: Records, delivered: Delivered) -> None:
        self._deliver(load, [(group, delivered)])
        self._done(load, [group])

    def _are_unchanged(self, load: Load, found: list[tuple[Records, Unchanged]]) -> None:
        """Settle all at once what memory knows to be as it should be, in this batch."""
        self._deliver(
            load,
            [
                (group, self._as_it_should_be(group, decided))
                for group, decided in found
                if not self._settlement.is_aborted_before(group.members[0])
            ],
        )
        self._done(load, [group for group, _ in found])

    def _refuse(self, load: Load, group: Records, fault: RecordFault) -> None:
        """Reject a group's one record; of several that were folded, send each by itself."""
        if len(group.members) > 1:
            self._unfold(load, [group])
            return
        if fault.code == "relation_not_found" and self._links_anew(load, group, fault.field or ""):
            return
        load.fates.rejected(load.stream, group.members[0], fault)
        self._done(load, [group])

    def _links_anew(self, load: Load, group: Records, name: str) -> bool:
        """Go on with a record of which Outreach says that what it is linked to is not there.

        What was found before may have gone since. An id that the record itself says can only be
        left out, if that is wanted.
        """
        if group.desired.relationships.get(name) is None or group in load.linked_anew:
            return False
        if name in group.desired.references:
            load.linked_anew.add(group)
            self._links.forget()
        elif load.stream.rules.on_missing_relation == "skip":
            self._settlement.goes_without(load.stream, f"{name}.id")
        else:
            return False
        group.desired = group.desired.without_link(name)
        self._are_found(load, [group])
        return True

    def _unfold(self, load: Load, groups: list[Records]) -> None:
        """Replace groups by their records, each waiting for the one that arrived before."""
        unseen: list[Records] = []
        for group, single in unfolded(groups):
            if group in self._alone:
                self._alone.add(single)
            self._underway.follow(single)
            if single.members[0] is group.members[-1]:
                self._underway.hand_on(group, single)
            load.hold([single])
            load.reads[single] = load.reads[group]
            if group in load.complete:
                load.complete.add(single)
            if group in load.unseen:
                unseen.append(single)
            else:
                self._is_due(load, [single])
        load.let_go(groups)
        self._alone.difference_update(groups)
        self._recall.find(load, unseen)

    def _done(self, load: Load, groups: Iterable[Records]) -> None:
        """Let go on what waited for groups, and end the batch with its last one."""
        done = [group for group in groups if group in load.open]
        if not done:
            return
        for group in done:
            for follower in self._underway.followers(group):
                follower.waits_for.discard(group)
                self._due.append((load, follower))
        self._close(load, done)

    def _close(self, load: Load, groups: Iterable[Records]) -> None:
        """Strike out groups that are settled or put off, and end the batch with its last one."""
        load.let_go(groups)
        self._alone.difference_update(groups)
        early, self._early = self._early, []
        self._due.extend(early)
        if not load.open:
            self._underway.end(load)
            load.done()
            for other, free in self._underway.unblock():
                self._find(other, free)
            self._enrol()


def _chosen(load: Load, matches: list[Resource]) -> Resource | None:
    """Return the one that a group is about, or None where nothing matches.

    Raises:
        RecordFault: Several records match, and the settings choose none of them.
    """
    chosen = choose(matches, load.stream.rules.on_ambiguous)
    if chosen is None and matches:
        raise ambiguous(matches)
    return chosen


def _place(load: Load, resource: Resource) -> tuple[str, int]:
    return load.object.name, resource.id
