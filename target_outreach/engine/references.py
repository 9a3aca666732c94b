"""Finding what records are to be linked to: an account by its domain, an owner by an address.

Users, stages and the like are few, so that they are read whole once a run. Accounts and prospects
are many: they are found, or created, as records are that were received. A record that Outreach does
not have yet may still come in the input, so that those that need it are tried again at its end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from target_outreach.engine.batch import Batch, Stage, WorkItem
from target_outreach.errors import AmbiguousMatch, RecordFault
from target_outreach.records.catalog import load_catalog
from target_outreach.records.matching import choose
from target_outreach.records.model import Desired
from target_outreach.records.planning import references_to_find
from target_outreach.records.references import new_account, with_company
from target_outreach.records.rules import Rules
from target_outreach.records.scalars import comparable_name
from target_outreach.records.schemas import curated_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from target_outreach.delivery.settlement import Settlement
    from target_outreach.engine.deferred import Deferred
    from target_outreach.engine.related import Delivers, Related
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.model import ObjectType, Reference, Resource, Value

#: What was found is kept for this many references; more than that are looked up again.
MOST_KEPT = 50_000

#: What is not the fault of the record itself, so that `on_missing_relation` decides.
POLICY_CODES = frozenset({"relation_not_found", "relation_ambiguous"})


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A work item that lacks a link.

    Attributes:
        item: The work item.
        fault: Why it is rejected, or would be if the run ended before its input.
        may_come: Whether what it is to be linked to may still come in the input.
    """

    item: WorkItem
    fault: RecordFault | None
    may_come: bool = False


@dataclass(slots=True, eq=False)
class _Search:
    """Work items of one batch, with what they are to be linked to and what was found of it."""

    batch: Batch
    wanted: dict[WorkItem, list[Reference]]
    answers: dict[Reference, int | RecordFault] = field(default_factory=dict)

    def object_of(self, reference: Reference) -> ObjectType:
        """Return the object that a reference names a record of."""
        return load_catalog()[self.batch.object.relationships[reference.relationship].object]

    def creates(self, reference: Reference) -> bool:
        """Whether what a reference names is to be created where it is not there."""
        policy = self.batch.stream.rules.on_missing_relation
        return policy == "create" and self.object_of(reference).created_for_links

    def fault(self, references: Iterable[Reference]) -> RecordFault | None:
        """Return what keeps a record from being delivered, as far as that is known."""
        is_skipped = self.batch.stream.rules.on_missing_relation == "skip"
        for reference in references:
            answer = self.answers.get(reference)
            if isinstance(answer, RecordFault) and not (is_skipped and answer.code in POLICY_CODES):
                return answer
        return None

    def may_come(self, reference: Reference) -> bool:
        """Whether what is not there may come later in the input."""
        answer = self.answers.get(reference)
        is_missing = isinstance(answer, RecordFault) and answer.code == "relation_not_found"
        return is_missing and self.object_of(reference).is_large


@dataclass(frozen=True, slots=True)
class _Terms:
    """How records are found that are said by the same parts, and whether they are created."""

    fields: tuple[str, ...]
    mode: Literal["update", "upsert"]

    @property
    def rules(self) -> Rules:
        """The rules by which nothing that is there already is changed."""
        names = (*self.fields, "name")
        return Rules(
            sync_mode=self.mode,
            match_fields=self.fields,
            field_rules=dict.fromkeys(names, "on_create"),
        )


class References:
    """Finds what work items are to be linked to, on the thread of the event loop."""

    def __init__(
        self, lookup: Lookup, requests: Requests, deferred: Deferred, counts: Settlement
    ) -> None:
        """Find nothing yet.

        Args:
            lookup: Reads lists.
            requests: Runs requests on threads.
            deferred: Has room for what is tried again at the end of the input, or has not.
            counts: Counts what was created or is missing.
        """
        self._lookup = lookup
        self._requests = requests
        self._deferred = deferred
        self._counts = counts
        self._known: dict[Reference, int] = {}
        self._whole: dict[tuple[str, str], asyncio.Task[dict[str, list[int]]]] = {}

    def forget(self) -> None:
        """Forget which accounts were found, one having been written or being gone."""
        self._known.clear()

    async def resolve(
        self,
        batch: Batch,
        items: Iterable[WorkItem],
        delivers: Delivers,
        names: Collection[str] | None = None,
    ) -> list[Unlinked]:
        """Give work items the ids of what they are to be linked to.

        Args:
            batch: The batch that they are of.
            items: Work items that were looked up themselves.
            delivers: Finds or creates accounts and prospects.
            names: The relationships that matter; None for all that are to be written by the rules
                of the stream.

        Returns:
            Those that cannot be written as they are. The others have their links, or are
            delivered without them where the settings say so; or the run ends before their turn.
        """
        wanted = {item: found for item in items if (found := _to_find(item, names))}
        if not wanted:
            return []
        for item in wanted:
            item.stage = Stage.LINKING
        search = _Search(batch, wanted)
        # What is read whole comes first: nothing is created for a record that fails by that.
        await self._find_few(search)
        await self._find_many(search, delivers)
        concluded = (self._conclude(search, item) for item in wanted if item.is_open)
        return [one for one in concluded if one is not None]

    # Users, stages and the like

    async def _find_few(self, search: _Search) -> None:
        for reference in {one for several in search.wanted.values() for one in several}:
            object_type = search.object_of(reference)
            if object_type.is_large:
                continue
            part, text = reference.values[0]
            ids = (await self._all(object_type, reference.linked_by[part])).get(
                comparable_name(text), []
            )
            if len(ids) == 1:
                search.answers[reference] = ids[0]
            else:
                fault = reference.ambiguous(ids) if ids else reference.missing()
                search.answers[reference] = fault

    async def _all(self, object_type: ObjectType, attribute: str) -> dict[str, list[int]]:
        """Return the ids of all records of an object by an attribute, which are read once."""
        place = object_type.name, attribute
        if place not in self._whole:
            self._whole[place] = asyncio.create_task(self._read_whole(object_type, attribute))
        return await asyncio.shield(self._whole[place])

    async def _read_whole(self, object_type: ObjectType, attribute: str) -> dict[str, list[int]]:
        path = self._lookup.whole_path(object_type, (attribute,))
        ids: defaultdict[str, list[int]] = defaultdict(list)
        for resource in await self._requests.read(partial(self._lookup.read, path)):
            ids[comparable_name(str(resource.attributes.get(attribute) or ""))].append(resource.id)
        return ids

    # Accounts and prospects

    async def _find_many(self, search: _Search, delivers: Delivers) -> None:
        """Find accounts and prospects for those work items that have all else."""
        wanted: defaultdict[str, dict[Reference, WorkItem]] = defaultdict(dict)
        for item, references in search.wanted.items():
            if search.fault(references) is not None:
                continue
            for reference in references:
                if reference in self._known:
                    search.answers[reference] = self._known[reference]
                elif (object_type := search.object_of(reference)).is_large:
                    wanted[object_type.name].setdefault(reference, item)
        await asyncio.gather(
            *(self._find_each(search, delivers, name, first) for name, first in wanted.items())
        )

    async def _find_each(
        self,
        search: _Search,
        delivers: Delivers,
        object_name: str,
        first: dict[Reference, WorkItem],
    ) -> None:
        """Have references of one object found; those that say the same parts go together."""
        alike: defaultdict[_Terms, dict[Reference, tuple[int, Desired]]] = defaultdict(dict)
        for reference, item in first.items():
            attributes: dict[str, Value] = {**reference.attributes}
            terms = _Terms(tuple(attributes), "update")
            if search.creates(reference) and (made := new_account(reference, item.desired)):
                attributes |= made
                # One that would be named by the company of the row may be there by that name.
                is_said = made["name"] == item.desired.attributes.get("company")
                fields = (*terms.fields, "name") if is_said else terms.fields
                terms = _Terms(tuple(dict.fromkeys(fields)), "upsert")
                if (fault := _too_long(object_name, attributes)) is not None:
                    search.answers[reference] = reference.refused(fault)
                    continue
            alike[terms][reference] = item.number, Desired(attributes=attributes)
        found = await asyncio.gather(
            *(
                delivers.deliver_related(object_name, wanted, terms.rules)
                for terms, wanted in alike.items()
            )
        )
        for outcomes in found:
            for reference, related in outcomes.items():
                self._take(search, reference, related)

    def _take(self, search: _Search, reference: Reference, related: Related) -> None:
        """Take in what came of a reference."""
        if isinstance(related.fault, AmbiguousMatch):
            search.answers[reference] = reference.ambiguous(related.fault.ids)
        elif related.fault is not None:
            search.answers[reference] = reference.refused(related.fault)
        elif related.resource is None:
            search.answers[reference] = reference.missing(is_unnamed=search.creates(reference))
        else:
            search.answers[reference] = related.resource.id
            if search.object_of(reference).created_for_links:
                self._keep(reference, related.resource.id)
            if related.is_new:
                self._counts.made(search.batch.stream, reference.relationship, related.resource)

    def _keep(self, reference: Reference, resource_id: int) -> None:
        if len(self._known) >= MOST_KEPT:
            del self._known[next(iter(self._known))]
        self._known[reference] = resource_id

    # What comes of it

    def _conclude(self, search: _Search, item: WorkItem) -> Unlinked | None:
        """Give a work item its links; if it cannot go on as it is, say why."""
        references = search.wanted[item]
        late = [one for one in references if search.may_come(one)]
        fault = search.fault([one for one in references if one not in late])
        if fault is None and late and self._deferred.has_room:
            return Unlinked(item, search.fault(late), may_come=True)
        if (fault := fault or search.fault(late)) is not None:
            return Unlinked(item, fault)
        answers = {one: search.answers.get(one) for one in references}
        links = {one.relationship: it for one, it in answers.items() if isinstance(it, int)}
        without = [one for one, it in answers.items() if isinstance(it, RecordFault)]
        if len(links) + len(without) < len(references):
            return None  # the run ends; it is not decided on
        if without and len(item.members) > 1:
            # An earlier one of them may say a link that is there: each goes by itself.
            return Unlinked(item, without[0].missing())
        for reference in without:
            self._counts.delivered_without(search.batch.stream, " and ".join(reference.parts))
            item.desired = with_company(search.batch.object, item.desired, reference)
        item.desired = item.desired.with_links(links, [one.relationship for one in without])
        return None


def _too_long(object_name: str, attributes: Mapping[str, Value]) -> RecordFault | None:
    """Say what of a record that would be created does not fit Outreach."""
    try:
        curated_schema(object_name).check(attributes)
    except RecordFault as fault:
        return fault
    return None


def _to_find(item: WorkItem, names: Collection[str] | None) -> list[Reference]:
    """List what must be found of a work item of which something may be written."""
    if not item.desired.references:
        return []
    if names is not None:
        said = item.desired.references.items()
        linked = item.desired.relationships
        return [one for name, one in said if name in names and name not in linked]
    rules = item.batch.stream.rules
    matches: Sequence[Resource] = item.matches()
    found = choose(matches, rules.on_ambiguous)
    if found is None and (matches or rules.sync_mode == "update"):
        return []  # it is rejected, or skipped
    return references_to_find(item.desired, found, rules)
