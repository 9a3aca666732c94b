"""Settling records: each is counted once, noted, and no longer delays STATE.

This is the one place where a record gets its outcome. A rejected record is written to the rejects
file before the ledger counts it as settled.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from target_outreach.delivery.breaker import FORBIDDEN_IN_A_ROW, Breaker
from target_outreach.delivery.resolved_rejects import ResolvedRejects
from target_outreach.errors import OutputError, RejectsError
from target_outreach.records.model import Resource, Update

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Iterable, Sequence

    from target_outreach.delivery.ledger import Ledger
    from target_outreach.delivery.policy import RejectPolicy
    from target_outreach.delivery.rejects import NoRejects, RejectsFile
    from target_outreach.delivery.state_output import StateOutput
    from target_outreach.delivery.stream import Delivered, Item, Journal, Stream
    from target_outreach.delivery.tally import Tally
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group


logger = logging.getLogger("target-outreach")


class Settlement:
    """Counts and settles records, and releases the STATE that this allows.

    Attributes:
        tallies: The counts by stream.
        breaker: Ends the run if Outreach accepts nothing.
        stops_at_rejects: Whether the first reject ends the run, once all before it are settled.
        kept_before: All records of lower sequence numbers are settled, and what the journals keep
            of them is kept.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        ledger: Ledger,
        rejects: RejectsFile | NoRejects,
        policy: RejectPolicy,
        journals: Sequence[Journal],
        states: StateOutput,
        tallies: defaultdict[str, Tally],
        resolved_rejects: ResolvedRejects | None = None,
    ) -> None:
        """Settle nothing yet; the tallies are added to."""
        self.tallies = tallies
        self._ledger = ledger
        self._rejects = rejects
        self._policy = policy
        self._journals = journals
        self._states = states
        self._resolved_rejects = resolved_rejects or ResolvedRejects()
        self.breaker = Breaker()
        self.stops_at_rejects = policy.on_reject == "abort"
        self._abort_at: int | None = None
        self._unsaved: list[int] = []
        self._received = 0
        self._rejected = 0
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

        Rejected records whose opt-out is there are settled as such.

        Raises:
            RunError: As `rejected` raises it, or their outcome cannot be noted.
        """
        tally = self.tallies[stream.name]
        settled: list[Group[Item]] = []
        rejected: list[tuple[Item, RecordFault, Delivered]] = []
        for group, delivered in deliveries:
            if group.desired.fault is not None:
                rejected.append((group.members[0], group.desired.fault, delivered))
                continue
            for journal in self._journals:
                journal.delivered(stream, group, delivered)
            tally.delivered(delivered, len(group.members))
            settled.append(group)
        if settled:
            self.breaker.accepted(stream.name)
        self._resolved_rejects.delivered(stream, settled)
        numbers = [item.number for group in settled for item in group.members]
        self._ledger.settle(stream.name, numbers)
        for one in rejected:
            self.rejected(stream, *one)

    def unchanged(self, stream: Stream, numbers: Sequence[int]) -> None:
        """Settle records, by number, that are known to say what they said when last delivered."""
        if self._abort_at is not None:
            numbers = [number for number in numbers if number < self._abort_at]
        self.tallies[stream.name].outcomes["unchanged"] += len(numbers)
        if numbers:
            self.breaker.accepted(stream.name)
        self._ledger.settle(stream.name, numbers)

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Settle records that are skipped."""
        for journal in self._journals:
            journal.skipped(stream, items, reason)
        tally = self.tallies[stream.name]
        tally.outcomes["skipped"] += len(items)
        tally.skipped[reason] += len(items)
        self._ledger.settle(stream.name, (item.number for item in items))

    def refused(self, item: Item) -> None:
        """Hear that a record is to be rejected, so that under `abort` nothing behind it begins."""
        if self.stops_at_rejects and not self.is_aborted_before(item):
            self._abort_at = item.number

    def rejected(
        self, stream: Stream, item: Item, fault: RecordFault, opt_out: Delivered | None = None
    ) -> None:
        """Settle a record that cannot be delivered.

        Args:
            stream: Its stream.
            item: The record.
            fault: Why it is rejected.
            opt_out: What was delivered of it all the same.

        Raises:
            OutputError: The rejects file cannot be written.
            RejectsError: That was one too many.
            OutreachError: Outreach refuses everything.
        """
        tally = self.tallies[stream.name]
        opt_out = item.opt_out or opt_out
        if opt_out is not None:
            if not opt_out.decided.held_back:
                fault.opt_out = "in Outreach already"
            if isinstance(opt_out.decided, Update):
                fault.opt_out = "delivered"
                tally.written.update(opt_out.decided.attributes.keys())
        line = self._rejects.add(stream.source, stream.schema_line, item.line, fault)
        for journal in self._journals:
            journal.rejected(stream, item, fault, opt_out)
        tally.reject(fault, line or None, stream.titles)
        if self._policy.on_reject in {"hold", "abort"}:
            self._ledger.hold(item.number)
        self.refused(item)
        self._unsaved.append(item.number)
        self._ledger.settle(stream.name, [item.number])
        self._rejected += 1
        if (too_many := self._policy.verdict(self._rejected, self._received)) is not None:
            raise RejectsError(too_many)
        # What is replayed was refused before, so that it says nothing of this run.
        if self._policy.on_reject != "ignore" and not item.is_replayed:
            was_rejected = self._resolved_rejects.knows(item)
            self.breaker.refused(stream.name, fault, _identity(stream), was_rejected=was_rejected)

    def delivered_without(self, stream: Stream, left_out: str) -> None:
        """Count a record without its link, by the columns that name what was not found."""
        self.tallies[stream.name].links_left_out[left_out] += 1

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Count a record that was made for records of a stream to be linked to."""
        self.tallies[stream.name].related_created[relationship] += 1
        for journal in self._journals:
            journal.made(stream, relationship, resource)

    @property
    def has_delivered(self) -> bool:
        """Whether the run has found or brought any record into Outreach as it should be."""
        return self.breaker.has_accepted

    @property
    def is_aborting(self) -> bool:
        """Whether the run stops as soon as all before the first reject is settled."""
        return self._abort_at is not None

    def is_aborted_before(self, item: Item) -> bool:
        """Whether `on_reject` is abort and an earlier record than this one was rejected."""
        return self._abort_at is not None and self._abort_at < item.number

    def check_abort(self) -> None:
        """Stop at the first reject, once it and all that came before it are settled.

        Raises:
            RejectsError: It is so.
        """
        if self._abort_at is not None and self._ledger.has_settled_all_before(self._abort_at + 1):
            raise RejectsError(
                "A record was rejected, and on_reject is abort; see the rejects file."
            )

    def release(self) -> None:
        """Emit the newest STATE of which all records are settled and all rejects are on disk.

        Raises:
            OutputError: Standard output or the rejects file cannot be written.
        """
        unsaved: OutputError | None = None
        try:
            self._rejects.sync()
        except OutputError as error:
            unsaved = error
            if self._unsaved:
                self._ledger.hold(min(self._unsaved))
        else:
            self._unsaved.clear()
        for journal in self._journals:
            journal.commit()
        self.kept_before = self._ledger.floor
        if (state := self._ledger.release()) is not None:
            self._states.emit(state)
        if unsaved is not None:
            raise unsaved

    def close(self) -> None:
        """Release what is left, and close the rejects file."""
        self.release()
        self._rejects.close()
        if (forbidden := self.breaker.forbidden) >= FORBIDDEN_IN_A_ROW:
            logger.warning(
                "Outreach forbade all %s writes of the run (403): either all of the records are "
                "another team's, or the token may write nothing. Check the role and the governance "
                "profile of the token's user.",
                f"{forbidden:,}",
            )


def _identity(stream: Stream) -> set[str]:
    """Name the fields that identify a record, which differ in every row."""
    unique_by = stream.object.unique_by if stream.object is not None else None
    return {"id", *stream.rules.match_fields, *([unique_by] if unique_by else ())}
