"""What comes next for a record: a plan that can be carried out, or what that plan still needs.

Nothing is asked of Outreach here, and nothing waits. What is decided holds until something else is
learnt or written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

from target_outreach.delivery.stream import Delivered
from target_outreach.errors import AmbiguousMatch, RecordFault
from target_outreach.records.matching import choose
from target_outreach.records.model import Skip, Unchanged
from target_outreach.records.opt_outs import OPT_OUTS, with_opt_outs
from target_outreach.records.planning import plan, references_to_find

if TYPE_CHECKING:
    from target_outreach.engine.batch import WorkItem
    from target_outreach.engine.claims import Claim, Claims
    from target_outreach.engine.deferred import Deferred
    from target_outreach.engine.memory_check import MemoryCheck
    from target_outreach.engine.named_accounts import NamedAccounts
    from target_outreach.engine.ordering import Ordering
    from target_outreach.engine.resolver import Resolver
    from target_outreach.records.model import Desired, Key, Plan, Resource, Value
    from target_outreach.records.rules import Rules

#: Keys of rejected rows of which an opt-out is remembered.
MOST_OPT_OUTS = 100_000


class Need(Enum):
    """What a work item lacks before it can be decided on."""

    LOOKUP = "what Outreach holds of it"
    FRESH_LOOKUP = "what Outreach holds of it now"
    NAMED_ACCOUNT = "whether the account that its record is linked to is a named one"
    LINKS = "what it is to be linked to"
    TEST = "a lookup that is known to show what is there"
    SPLIT = "a write for each of its records"
    END_OF_INPUT = "what an earlier record waits for, which may still come"


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decides about work items, on the thread of the event loop.

    Attributes:
        ordering: What else may be about the same record.
        resolver: Whether what was looked up can be relied on.
        memory_check: What a memory knows of a work item.
        claims: Which row has a record.
        deferred: What waits for the end of the input.
        named_accounts: Which linked accounts people can see.
        opt_outs: What rejected rows say of people who were not in Outreach, by their keys.
    """

    ordering: Ordering
    resolver: Resolver
    memory_check: MemoryCheck
    claims: Claims
    deferred: Deferred
    named_accounts: NamedAccounts
    opt_outs: dict[Key, dict[str, Value]] = field(default_factory=dict)

    def next_step(self, item: WorkItem) -> Plan | Need:  # noqa: PLR0911 - one for each answer
        """Say what is to be done with a work item next, its turn having come.

        Raises:
            RecordFault: It cannot be delivered.
        """
        if self.resolver.is_reading(item):
            return Need.LOOKUP
        if self.waits_for_deferred(item):  # before what a memory knows, which may be older
            return Need.END_OF_INPUT
        if item.read is None:
            if self.ordering.spans_others(item, None):
                return Need.SPLIT
            decided = self.memory_check.plan(item)
            if decided is None or self.claims.of_another(item, decided.resource.id) is not None:
                return Need.LOOKUP
            return decided
        found = _found(item)
        if self.ordering.spans_others(item, found):
            return Need.SPLIT
        desired, rules = item.desired, item.batch.stream.rules
        claim = None if found is None else self.claims.of_another(item, found.id)
        if claim is not None and found is not None:
            if (taken_over := _take_over(item, found, claim)) is None:
                return Need.LOOKUP
            desired, rules = taken_over
        if found is not None and self.named_accounts.is_unknown(item.batch, desired, found, rules):
            return Need.NAMED_ACCOUNT
        return self._planned(item, found, desired, rules)

    def _planned(
        self, item: WorkItem, found: Resource | None, desired: Desired, rules: Rules
    ) -> Plan | Need:
        """Plan a work item by what it is about, or say what the plan still needs.

        Raises:
            RecordFault: It cannot be delivered.
        """
        batch = item.batch
        if found is None and not item.is_complete and rules.sync_mode != "insert":
            return Need.FRESH_LOOKUP  # what it was found by is gone; other fields were not asked
        if found is None and self.opt_outs:
            desired = self._with_opt_outs(item)
        decided = plan(batch.object, desired, found, rules)
        if isinstance(decided, Unchanged) and not desired.references:
            return decided
        if not isinstance(decided, Skip) and references_to_find(desired, found, rules):
            return Need.LINKS
        if self.resolver.is_stale(item, decided):
            return Need.FRESH_LOOKUP
        return Need.TEST if self.resolver.needs_test(batch, decided) else decided

    def links_to_find(self, item: WorkItem) -> set[str]:
        """Name the links that are to be found before the plan of a work item is known.

        Raises:
            RecordFault: Several records fit it.
        """
        found, desired, rules = _found(item), item.desired, item.batch.stream.rules
        claim = None if found is None else self.claims.of_another(item, found.id)
        if claim is not None and found is not None:
            desired, rules = claim.replaced_by(item.batch.object, desired, rules, found)
        return {one.relationship for one in references_to_find(desired, found, rules)}

    def note_opt_out(self, item: WorkItem) -> None:
        """Remember the opt-out of a rejected row that fits no record, for whom it is about.

        A later row of this run may create the person.
        """
        attributes = item.desired.attributes
        said = {name: value for name, value in attributes.items() if name in OPT_OUTS}
        for key in item.keys:
            if key in self.opt_outs or len(self.opt_outs) < MOST_OPT_OUTS:
                self.opt_outs[key] = self.opt_outs.get(key, {}) | said

    def _with_opt_outs(self, item: WorkItem) -> Desired:
        """Add to a record that may be created what rejected rows said of its opt-outs."""
        desired = item.desired
        for key in item.keys & self.opt_outs.keys():
            earlier = replace(desired, attributes=self.opt_outs[key])
            desired = with_opt_outs(earlier, desired, item.batch.stream.rules)
        return desired

    def is_outdated(self, item: WorkItem) -> bool:
        """Whether a work item is to be looked up again before it is written."""
        try:
            return self.next_step(item) is Need.FRESH_LOOKUP
        except RecordFault:
            return False  # which it says when its turn comes

    def waits_for_deferred(self, item: WorkItem) -> bool:
        """Whether something that must come before a work item waits for the end of the input."""
        batch = item.batch
        if batch.is_related or not self.deferred.holds(batch.object.name):
            return False
        return self.deferred.concerns(batch.object.name, item.all_keys())

    def may_be_taken(self, item: WorkItem) -> bool:
        """Whether another source key has, or may get, a record that a work item may be about."""
        stream, key = item.batch.stream, item.desired.source_key
        if key is None or not stream.is_keyed:
            return False
        earlier = self.ordering.blocker(item)
        if earlier is not None and earlier.batch.stream.name == stream.name:
            return earlier.desired.source_key != key
        return self.waits_for_deferred(item) or any(
            self.claims.of_another(item, found.id) for found in item.matches()
        )


def _found(item: WorkItem) -> Resource | None:
    """Return the record that a work item is about, as far as it was looked up.

    Raises:
        RecordFault: Several fit.
    """
    matches = item.matches()
    found = choose(matches, item.batch.stream.rules.on_ambiguous)
    if found is None and matches:
        raise AmbiguousMatch([one.id for one in matches])
    return found


def _take_over(item: WorkItem, found: Resource, claim: Claim) -> tuple[Desired, Rules] | None:
    """Return what a later row makes of another's record, by which rules; None to look it up anew.

    Raises:
        RecordFault: The record does not go to a later row.
    """
    if not claim.yields_to(item):
        raise claim.refusal()
    if found.id == item.desired.remembered:
        # That is another's now: by what the row says, it may be about a third record.
        item.desired = item.desired.with_remembered(None)
        item.read = None
        return None
    return claim.replaced_by(item.batch.object, item.desired, item.batch.stream.rules, found)


def as_it_should_be(item: WorkItem, decided: Unchanged) -> Delivered:
    """Return the outcome of a work item that Outreach holds as it should."""
    # What an import left to be done has been done meanwhile.
    outcome: Literal["updated", "unchanged"] = "updated" if item.is_single else "unchanged"
    return Delivered(outcome, decided.resource, decided)
