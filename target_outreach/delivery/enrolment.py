"""Putting prospects into sequences (contract: insert only, each pair once, nobody who opted out).

A row names a prospect, a sequence and a mailbox. When those are found, two questions are asked of
many prospects at a time: which sequences they are or were in, and whether they have opted out. A
prospect that was ever in the sequence counts as unchanged, whatever has become of it there: rows
come again every hour, and nobody is to get the same mails twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from target_outreach.delivery.finder import FRESH
from target_outreach.delivery.links import Links
from target_outreach.delivery.writing import SECOND_LOOK_AFTER, Delivered, document
from target_outreach.errors import OutcomeUnknown, OutreachError, RecordFault, Retriable
from target_outreach.outreach.answers import read_resource
from target_outreach.outreach.client import TRIES
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import Group
from target_outreach.records.model import Create, Desired, Resource, Unchanged
from target_outreach.records.planning import has_opted_out_of_mail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_outreach.delivery.dry_run import DryWriter
    from target_outreach.delivery.finder import Send
    from target_outreach.delivery.links import Errands
    from target_outreach.delivery.load import Load, Records
    from target_outreach.delivery.put_off import PutOff
    from target_outreach.delivery.settlement import Settlement
    from target_outreach.delivery.stream import Item
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer

SEQUENCE_STATES = "sequenceStates"

#: A prospect and a sequence, by their ids.
Pair = tuple[int, int]

NEEDED = ("prospect", "sequence", "mailbox")

#: Seconds after which somebody is looked for whose enrolment was not confirmed.
FIRST_LOOK_AFTER = 0.25

#: Pairs that are known to be enrolled by this run; for older ones Outreach is asked.
MOST_KEPT = 50_000

#: What a refusal says where somebody was in the sequence before (API reference 2.6).
BEEN_THERE = "already been in this sequence"


@dataclass(frozen=True, slots=True)
class Known:
    """What Outreach holds of a prospect.

    Attributes:
        states: By sequence, what says that the prospect is or was in it.
        is_opted_out: Whether it refuses mail; None where it is not there.
    """

    states: Mapping[int, Resource]
    is_opted_out: bool | None


@dataclass(slots=True, eq=False)
class _Question:
    """Groups about whose prospects Outreach is asked.

    Attributes:
        load: Their batch.
        groups: Them.
        began: When Outreach was asked, in monotonic seconds.
        states: What is known of each prospect, by sequence.
        refusals: Whether each prospect refuses mail, for those that are there.
        due: Answers that are still to come.
    """

    load: Load
    groups: list[Records]
    began: float
    states: dict[int, dict[int, Resource]]
    refusals: dict[int, bool] = field(default_factory=dict)
    due: int = 0

    def take_states(self, resources: Iterable[Resource]) -> None:
        """Take in which sequences prospects are or were in."""
        for one in resources:
            prospect, sequence = one.links.get("prospect"), one.links.get("sequence")
            if prospect in self.states and sequence is not None:
                self.states[prospect][sequence] = one

    def take_consents(self, resources: Iterable[Resource]) -> None:
        """Take in whether prospects refuse mail."""
        self.refusals.update({one.id: has_opted_out_of_mail(one.attributes) for one in resources})


NOTHING_KNOWN = Known({}, is_opted_out=False)


class Enrols(Protocol):
    """Puts prospects into sequences, or does as if."""

    def add(self, desired: Desired) -> Delivered | None:
        """Put a prospect into a sequence, unless it is or was there; None to be tried again."""

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return what Outreach would hold of a prospect, where nothing is really written."""


class Enrolments:
    """Reads and makes sequence states, on worker threads."""

    def __init__(
        self, client: Client, lookup: Lookup, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._lookup = lookup
        self._sleep = sleep

    def add(self, desired: Desired) -> Delivered | None:
        """Put a prospect into a sequence, unless it is or was there; by one request.

        Returns:
            What became of it, or None where nothing did: before the next try, Outreach is to be
            asked again whether the prospect has opted out.

        Raises:
            RecordFault: Outreach refuses it.
            RunError: No request can succeed, or none may be sent any more.
        """
        links = {name: link for name, link in desired.relationships.items() if link is not None}
        decided = Create({}, links, {})
        try:
            path = f"/{SEQUENCE_STATES}"
            sent = document(load_catalog()[SEQUENCE_STATES], None, {}, links)
            answer = self._client.request_once("POST", path, sent)
            resource = read_resource(answer.document["data"])
        except (KeyError, TypeError, ValueError, OutcomeUnknown):
            # Outreach need not refuse a second time, so it is looked for twice.
            for pause in (FIRST_LOOK_AFTER, SECOND_LOOK_AFTER):
                self._sleep(pause)
                if (made := self._find(links)) is not None:
                    return Delivered("created", made, decided)
            return None
        except Retriable as error:
            if error.wait is None:  # else the next request waits as long as it was told
                self._sleep(SECOND_LOOK_AFTER * random.uniform(0.5, 1))  # noqa: S311
            return None
        except RecordFault as fault:
            if BEEN_THERE not in f"{fault.message} {fault.detail}".lower():
                raise
            there = self._find(links) or Resource(0, {}, links)
            return Delivered("unchanged", there, Unchanged(there, {}))
        return Delivered("created", resource, decided)

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return None: what is written is in Outreach, where a question shows it."""
        del prospect
        return None

    def _find(self, links: Mapping[str, int]) -> Resource | None:
        for path in states_paths(self._lookup, [links["prospect"]]):
            for resource in self._lookup.read(path):
                if resource.links.get("sequence") == links["sequence"]:
                    return resource
        return None


class DryEnrolments:
    """Enrols nobody."""

    def __init__(self, writer: DryWriter) -> None:
        """Enrol nobody.

        Args:
            writer: Knows which prospects would have been written.
        """
        self._writer = writer

    def would_hold(self, prospect: int) -> Mapping[str, Any] | None:
        """Return what would have been written of a prospect in this run."""
        return self._writer.would_hold("prospects", prospect)

    def add(self, desired: Desired) -> Delivered:
        """Answer as Outreach would."""
        links = dict(desired.relationships)
        return Delivered("created", Resource(0, {}, links), Create({}, links, {}))


class Enroller:
    """Takes batches of enrolments, on the pipeline's thread."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        enrolments: Enrols,
        lookup: Lookup,
        *,
        pacer: Pacer,
        settlement: Settlement,
        send: Send,
        errand: Errands,
        put_off: PutOff,
        parallel: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Enrol nobody yet.

        Args:
            enrolments: Makes sequence states.
            lookup: Reads what there is.
            pacer: Grants requests.
            settlement: Settles records.
            send: Runs a request on a worker and hands its result back on this thread.
            errand: Finds prospects.
            put_off: Takes what is tried once more at the end of input.
            parallel: The most requests in flight.
            clock: A monotonic clock in seconds.
        """
        self._enrolments = enrolments
        self._lookup = lookup
        self._links = Links(
            lookup,
            send=send,
            errand=errand,
            ready=self._are_linked,
            refuse=self._refuse,
            put_off=self._put_off_to_end,
            counts=settlement,
        )
        self._put_off = put_off
        self._pacer = pacer
        self._settlement = settlement
        self._send = send
        self._clock = clock
        self._most_writing = 2 * parallel
        self._writing = 0
        self._due: deque[tuple[Load, Records, float]] = deque()
        self._busy: dict[Pair, list[tuple[Load, Records]]] = {}
        self._enrolled: dict[Pair, Resource] = {}
        self._tries: Counter[Records] = Counter()

    def take(self, load: Load, records: Iterable[tuple[Item, Desired]]) -> None:
        """Begin with a batch."""
        groups = [Group(desired, frozenset(), [item]) for item, desired in records]
        load.hold(groups)
        self._links.find(load, groups)

    def _are_linked(self, load: Load, groups: Iterable[Records]) -> None:
        """Ask about the prospects of groups of which all is found that they name."""
        complete: list[Records] = []
        for group in groups:
            if group not in load.open:
                continue
            missing = [one for one in NEEDED if not _link(group, one)]
            if not missing:
                complete.append(group)
            elif self._settlement.is_aborted_before(group.members[0]):
                self._end(load, group)
            else:
                message = f"An enrolment needs a {missing[0]}."
                self._refuse(
                    load, group, RecordFault("missing_required", message, field=missing[0])
                )
        if complete:
            self._ask(load, complete)

    def _ask(self, load: Load, groups: list[Records]) -> None:
        prospects = sorted({_pair(group)[0] for group in groups})
        in_outreach = [one for one in prospects if one > 0]  # a dry run creates with other ids
        question = _Question(load, groups, self._clock(), {one: {} for one in prospects})
        asked = [(path, question.take_states) for path in states_paths(self._lookup, in_outreach)]
        asked += [
            (path, question.take_consents) for path in consent_paths(self._lookup, in_outreach)
        ]
        question.due = len(asked)
        for path, take in asked:
            self._send(partial(self._lookup.read, path), partial(self._on_part, question, take))
        if not asked:
            self._answer(question)

    def _on_part(
        self,
        question: _Question,
        take: Callable[[Iterable[Resource]], None],
        resources: list[Resource],
    ) -> None:
        take(resources)
        question.due -= 1
        if question.due == 0:
            self._answer(question)

    def _answer(self, question: _Question) -> None:
        """Go on with what Outreach holds, or would hold after a dry run."""
        refusals = question.refusals
        for one in question.states:
            if (held := self._enrolments.would_hold(one)) is not None:
                refusals[one] = refusals.get(one, False) or has_opted_out_of_mail(held)
        known = {one: Known(it, refusals.get(one)) for one, it in question.states.items()}
        self._on_answers(question, known)

    def _on_answers(self, question: _Question, known: Mapping[int, Known]) -> None:
        for group in question.groups:
            about = known[_pair(group)[0]]
            if about.is_opted_out is None and len(known) > 1:
                self._ask(question.load, [group])  # a long list may be cut, a short one is not
            else:
                self._decide(question.load, group, about, question.began)
        self._write_due()

    def _decide(self, load: Load, group: Records, known: Known, read_at: float) -> None:
        """Settle a group that is not to be enrolled, and line the others up."""
        pair = _pair(group)
        state = known.states.get(pair[1]) or self._enrolled.get(pair)
        if self._settlement.is_aborted_before(group.members[0]):
            self._end(load, group)
        elif known.is_opted_out is None:
            message = "Outreach has no such prospect, or the token may not see it."
            self._refuse(load, group, RecordFault("record_not_found", message, field="prospect"))
        elif state is not None:
            self._settle(load, group, Delivered("unchanged", state, Unchanged(state, {})))
        elif known.is_opted_out:
            load.fates.skipped(load.stream, group.members, "opted_out")
            self._end(load, group)
        elif pair in self._busy:
            self._busy[pair].append((load, group))
        else:
            self._busy[pair] = []
            self._due.append((load, group, read_at))

    def _write_due(self) -> None:
        while self._due and self._writing < self._most_writing:
            load, group, read_at = self._due.popleft()
            self._writing += 1
            task = partial(self._add, group, read_at)
            self._send(task, partial(self._on_written, load, group))

    def _add(self, group: Records, read_at: float) -> Delivered | None:
        """Enrol on a worker thread, unless the wait for budget has made what was read too old."""
        self._pacer.wait()
        return self._enrolments.add(group.desired) if self._clock() - read_at <= FRESH else None

    def _on_written(
        self, load: Load, group: Records, result: Delivered | RecordFault | None
    ) -> None:
        self._writing -= 1
        waiting = self._busy.pop(_pair(group))
        if isinstance(result, Delivered):
            self._keep(_pair(group), result.resource)
            self._settle(load, group, result)
            for other_load, other in waiting:
                self._decide(other_load, other, NOTHING_KNOWN, self._clock())
        elif isinstance(result, RecordFault):
            self._refuse(load, group, result)
            self._refuse_alike(group, waiting, result)
        else:
            self._try_again(load, group)
            self._ask_each(waiting)
        self._write_due()

    def _keep(self, pair: Pair, state: Resource) -> None:
        if len(self._enrolled) >= MOST_KEPT:
            del self._enrolled[next(iter(self._enrolled))]
        self._enrolled[pair] = state

    def _refuse_alike(
        self, refused: Records, waiting: list[tuple[Load, Records]], fault: RecordFault
    ) -> None:
        """Reject what says the same as what was refused, and try what says something else."""
        links = refused.desired.relationships
        for load, group in waiting:
            if group.desired.relationships == links:
                self._refuse(load, group, fault)
        self._ask_each([one for one in waiting if one[1].desired.relationships != links])

    def _ask_each(self, waiting: list[tuple[Load, Records]]) -> None:
        """Ask once for each batch about what waited for another record."""
        batches: dict[Load, list[Records]] = {}
        for load, group in waiting:
            batches.setdefault(load, []).append(group)
        for load, groups in batches.items():
            self._ask(load, groups)

    def _try_again(self, load: Load, group: Records) -> None:
        """Ask again about a prospect before it is enrolled by another request.

        Raises:
            OutreachError: That has been tried often enough.
        """
        self._tries[group] += 1
        if self._tries[group] > TRIES:
            raise OutreachError(
                f"Outreach gave no usable answer to {TRIES} tries to enrol a prospect; the next "
                "run goes on from STATE."
            )
        self._ask(load, [group])

    def _settle(self, load: Load, group: Records, delivered: Delivered) -> None:
        load.fates.delivered(load.stream, [(group, delivered)])
        self._end(load, group)

    def _refuse(self, load: Load, group: Records, fault: RecordFault) -> None:
        """Reject a group's one record."""
        load.fates.rejected(load.stream, group.members[0], fault)
        self._end(load, group)

    def _put_off_to_end(self, load: Load, group: Records, fault: RecordFault | None) -> bool:
        if not self._put_off.has_room:
            return False
        self._put_off.take(load.stream, group.members, (), fault)
        self._end(load, group)
        return True

    def _end(self, load: Load, group: Records) -> None:
        self._tries.pop(group, None)
        load.let_go([group])
        if not load.open:
            load.done()


def states_paths(lookup: Lookup, prospects: Iterable[int]) -> list[str]:
    """Write the requests for all sequences that prospects are or were in."""
    object_type = load_catalog()[SEQUENCE_STATES]
    asked = ("state", "prospect", "sequence")
    return lookup.paths(object_type, "prospect.id", map(str, prospects), asked)


def consent_paths(lookup: Lookup, prospects: Iterable[int]) -> list[str]:
    """Write the requests for whether prospects have opted out."""
    asked = ("optedOut", "emailOptedOut", "emailsOptStatus")
    return lookup.paths(load_catalog()["prospects"], "id", map(str, prospects), asked)


def _link(group: Records, name: str) -> int | None:
    return group.desired.relationships.get(name)


def _pair(group: Records) -> Pair:
    return _link(group, "prospect") or 0, _link(group, "sequence") or 0
