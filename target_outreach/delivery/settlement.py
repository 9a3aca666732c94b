"""Settling records: counting each once, noting it, and letting STATE pass it.

This is the one place where a record's fate is sealed. A rejected record is handed to the rejects
file before the ledger hears of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from target_outreach.delivery.breaker import Breaker
from target_outreach.errors import OutputError, RejectsError
from target_outreach.records.model import Resource, Unchanged

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.journal import Journal
    from target_outreach.delivery.ledger import Ledger, State
    from target_outreach.delivery.outcome import Delivered
    from target_outreach.delivery.policy import RejectPolicy
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.delivery.tally import Tally
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group


class Rejects(Protocol):
    """Takes what cannot be delivered."""

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Take a rejected record; return its line, counted from one, or 0 where none is kept."""

    def sync(self) -> None:
        """Return when all is safe."""

    def close(self) -> None:
        """Take no more."""


class States(Protocol):
    """Takes the STATE that may be passed on."""

    def emit(self, state: State) -> None:
        """Pass a STATE on."""


class Settlement:
    """Counts and settles records, and releases the STATE that this allows.

    Attributes:
        tallies: The counts by stream.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        ledger: Ledger,
        rejects: Rejects,
        policy: RejectPolicy,
        journal: Journal,
        states: States,
        tallies: defaultdict[str, Tally],
    ) -> None:
        """Settle nothing yet.

        Args:
            ledger: Numbers the records and holds back STATE.
            rejects: Takes what cannot be delivered.
            policy: Says how many rejects are too many.
            journal: Hears what became of each record.
            states: Prints the STATE that is released.
            tallies: The counts by stream, to be added to.
        """
        self.tallies = tallies
        self._ledger = ledger
        self._rejects = rejects
        self._policy = policy
        self._journal = journal
        self._states = states
        self._breaker = Breaker()
        self._abort_at: int | None = None
        self._unsaved: list[int] = []
        self._received = 0
        self._rejected = 0
        #: All records of lower sequence numbers are settled, and what the journal keeps of them is
        #: kept.
        self.kept_before = 0

    def received(self, stream: str) -> int:
        """Count a record in, on the main thread, and return its sequence number."""
        self.tallies[stream].received += 1
        self._received += 1
        return self._ledger.receive(stream)

    def delivered(
        self, stream: Stream, deliveries: Iterable[tuple[Group[Item], Delivered]]
    ) -> None:
        """Settle groups that are in Outreach as they should be; all but their last are superseded.

        Raises:
            OutputError: What became of them cannot be noted.
        """
        tally = self.tallies[stream.name]
        numbers: list[int] = []
        for group, delivered in deliveries:
            self._journal.delivered(stream, group, delivered)
            self._count(stream, tally, group, delivered)
            numbers += [item.number for item in group.members]
        self._ledger.settle(stream.name, numbers)

    def unchanged(self, stream: Stream, numbers: Sequence[int]) -> None:
        """Settle records that are known to say what they said when they were last delivered.

        Args:
            stream: Their stream.
            numbers: Their sequence numbers.
        """
        if self._abort_at is not None:
            numbers = [number for number in numbers if number < self._abort_at]
        self.tallies[stream.name].outcomes["unchanged"] += len(numbers)
        if numbers:
            self._breaker.accepted(stream.name)
        self._ledger.settle(stream.name, numbers)

    def _count(
        self, stream: Stream, tally: Tally, group: Group[Item], delivered: Delivered
    ) -> None:
        tally.outcomes[delivered.outcome] += 1
        self._breaker.accepted(stream.name)
        if len(group.members) > 1:
            tally.outcomes["superseded"] += len(group.members) - 1
        if delivered.decided.held_back:
            tally.held_back.update(delivered.decided.held_back)
        if delivered.kept_differently:
            tally.kept_differently.update(delivered.kept_differently)
        if not isinstance(delivered.decided, Unchanged):
            tally.written.update(delivered.decided.attributes.keys())
            tally.written.update(delivered.decided.relationships.keys())

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Settle records that are left out by policy."""
        self._journal.skipped(stream, items, reason)
        tally = self.tallies[stream.name]
        tally.outcomes["skipped"] += len(items)
        tally.skipped[reason] += len(items)
        self._ledger.settle(stream.name, (item.number for item in items))

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Settle a record that cannot be delivered.

        Raises:
            OutputError: The rejects file cannot be written.
            RejectsError: That was one too many.
            OutreachError: Outreach refuses everything.
        """
        line = self._rejects.add(stream.source, stream.schema_line, item.line, fault)
        self._journal.rejected(stream, item, fault)
        self.tallies[stream.name].reject(fault, line or None, stream.titles)
        if self._policy.holds_state:
            self._ledger.hold(item.number)
        if self._policy.aborts and not self.is_aborted_before(item):
            self._abort_at = item.number
        self._unsaved.append(item.number)
        self._ledger.settle(stream.name, [item.number])
        self._rejected += 1
        if (too_many := self._policy.verdict(self._rejected, self._received)) is not None:
            raise RejectsError(too_many)
        if self._policy.on_reject != "ignore":
            self._breaker.refused(stream.name, fault, _identity(stream))

    def goes_without(self, stream: Stream, left_out: str) -> None:
        """Count a record that goes without its link.

        Args:
            stream: Whose record it is.
            left_out: The columns that name what was not found.
        """
        self.tallies[stream.name].links_left_out[left_out] += 1

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Count a record that was made for others to be linked to.

        Args:
            stream: Whose records are linked.
            relationship: By which relationship.
            resource: What was made.
        """
        self.tallies[stream.name].related_created[relationship] += 1
        self._journal.made(stream, relationship, resource)

    @property
    def stops_at_rejects(self) -> bool:
        """Whether the first reject ends the run."""
        return self._policy.aborts

    @property
    def is_aborting(self) -> bool:
        """Whether the run stops as soon as all before the first reject is settled."""
        return self._abort_at is not None

    def is_aborted_before(self, item: Item) -> bool:
        """Whether `on_reject` is abort and an earlier record than this one was rejected."""
        return self._abort_at is not None and self._abort_at <= item.number

    def check_abort(self) -> None:
        """Stop at the first reject, once all that came before it is settled.

        Raises:
            RejectsError: It is so.
        """
        if self._abort_at is not None and self._ledger.has_settled_all_before(self._abort_at):
            raise RejectsError(
                "A record was rejected, and on_reject is abort; see the rejects file."
            )

    def release(self) -> None:
        """Emit the newest STATE of which all records are settled and all rejects are on disk.

        Raises:
            OutputError: Standard output or the rejects file cannot be written.
        """
        try:
            self._rejects.sync()
        except OutputError:
            if self._unsaved:
                self._ledger.hold(min(self._unsaved))
            self._journal.commit()
            self._release()
            raise
        self._unsaved.clear()
        self._journal.commit()
        self.kept_before = self._ledger.floor
        self._release()

    def _release(self) -> None:
        state = self._ledger.release()
        if state is not None:
            self._states.emit(state)

    def close(self) -> None:
        """Release what is left, and close the rejects file."""
        self.release()
        self._rejects.close()


def _identity(stream: Stream) -> set[str]:
    """Name the fields that identify a record, which differ in every row."""
    unique_by = stream.object.unique_by if stream.object is not None else None
    return {"id", *stream.rules.match_fields, *([unique_by] if unique_by else ())}
