"""Finding what records are to be linked to: accounts many at a time, users and the like once.

It happens after a record's own lookup, so that nothing is found or made for one that is left out.
Accounts and prospects are found as records are, by an errand of their own through the scheduler:
the same matching, the same order with what else is under way for them, the same care before one is
created. Users, stages and personas are few, and are read whole.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from target_outreach.errors import AmbiguousMatch, RecordFault
from target_outreach.records.catalog import load_catalog
from target_outreach.records.mapping import Desired
from target_outreach.records.matching import choose
from target_outreach.records.planning import references_to_find
from target_outreach.records.references import PARTS, new_account
from target_outreach.records.rules import Rules
from target_outreach.records.schemas import curated_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_outreach.delivery.errand import Outcome
    from target_outreach.delivery.finder import Ready, Send
    from target_outreach.delivery.load import Load, Records
    from target_outreach.delivery.stream import Stream
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.matching import Resource
    from target_outreach.records.references import Reference
    from target_outreach.records.rules import OnMissing
    from target_outreach.records.values import Value

#: Objects of which there are too many to read them all.
MANY = frozenset({"accounts", "prospects"})

#: What was found is kept for this many references; more than that are looked up again.
MOST_KEPT = 50_000

#: What is not the fault of the record itself, so that `on_missing_relation` decides.
POLICY_CODES = frozenset({"relation_not_found", "relation_ambiguous"})


class Errands(Protocol):
    """Finds records that others are to be linked to, or makes them."""

    def __call__(
        self,
        wanted: dict[Reference, tuple[int, Desired]],
        object_name: str,
        rules: Rules,
        then: Callable[[dict[Reference, Outcome]], None],
    ) -> None:
        """Begin, and hand over what came of it, which lacks what the run's end has cut off.

        Args:
            wanted: What is said of each record, with the number of the first one that names it.
            object_name: What they are, in the plural.
            rules: How they are matched, and whether they are made.
            then: Called with what became of each.
        """


class Counts(Protocol):
    """Counts what became of links."""

    def goes_without(self, stream: Stream, left_out: str) -> None:
        """Count a record that goes without its link."""

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Count a record that was made for others to be linked to."""


@dataclass(slots=True, eq=False)
class _Search:
    """Groups of one batch that wait for what they are to be linked to."""

    load: Load
    wanted: dict[Records, list[Reference]]
    due: int = 0
    answers: dict[Reference, int | RecordFault] = field(default_factory=dict)
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class _Terms:
    """How records are found that are said by the same parts, and whether they are made."""

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


class Links:
    """Finds what groups are to be linked to, on the pipeline's thread."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        lookup: Lookup,
        *,
        send: Send,
        errand: Errands,
        ready: Ready,
        refuse: Callable[[Load, Records, RecordFault], None],
        put_off: Callable[[Load, Records, RecordFault | None], bool],
        counts: Counts,
    ) -> None:
        """Find nothing yet.

        Args:
            lookup: Reads lists.
            send: Runs a request on a worker and hands its result back on this thread.
            errand: Finds accounts and prospects.
            ready: Hears which groups can be decided on.
            refuse: Hears which groups cannot be delivered.
            put_off: Takes a group that may be delivered at the end of input, if it can, with why it
                is rejected if that does not come.
            counts: Counts what was made or left out.
        """
        self._lookup = lookup
        self._send = send
        self._errand = errand
        self._ready = ready
        self._refuse = refuse
        self._put_off = put_off
        self._counts = counts
        self._known: dict[Reference, int] = {}
        self._whole: dict[tuple[str, str], dict[str, list[int]]] = {}
        self._reading: defaultdict[tuple[str, str], list[Callable[[], None]]] = defaultdict(list)

    def forget(self) -> None:
        """Forget which accounts were found, one having been written or being gone."""
        self._known.clear()

    def find(self, load: Load, groups: Iterable[Records]) -> None:
        """Find what groups are to be linked to that are looked up themselves."""
        free: list[Records] = []
        wanted: dict[Records, list[Reference]] = {}
        for group in groups:
            if group.desired.references and (references := _to_find(load, group)):
                wanted[group] = references
            else:
                free.append(group)
        self._ready(load, free)
        if wanted:
            self._search(_Search(load, wanted))

    def _search(self, search: _Search) -> None:
        """Look at what is read whole first: nothing is made for a record that fails by that."""
        wanted: defaultdict[str, dict[Reference, None]] = defaultdict(dict)
        for references in search.wanted.values():
            for reference in references:
                if (name := _object_of(search, reference)) not in MANY:
                    wanted[name][reference] = None
        search.due = len(wanted)
        if not wanted:
            self._search_many(search)
        for object_name, of_object in wanted.items():
            self._read_whole(search, object_name, list(of_object))

    def _search_many(self, search: _Search) -> None:
        """Find accounts and prospects for those groups that have all else."""
        search.is_last = True
        wanted: defaultdict[str, dict[Reference, Records]] = defaultdict(dict)
        for group, references in search.wanted.items():
            if self._fault(search, references) is not None:
                continue
            for reference in references:
                if reference in self._known:
                    search.answers[reference] = self._known[reference]
                elif (name := _object_of(search, reference)) in MANY:
                    wanted[name].setdefault(reference, group)
        search.due = len(wanted)
        if not wanted:
            self._conclude(search)
        for object_name, first in wanted.items():
            self._run_errands(search, object_name, first)

    def _fault(self, search: _Search, references: Iterable[Reference]) -> RecordFault | None:
        """Return what keeps a record from being delivered, as far as that is known."""
        policy = search.load.stream.rules.on_missing_relation
        for reference in references:
            answer = search.answers.get(reference)
            if isinstance(answer, RecordFault) and not _is_left_out(answer, policy):
                return answer
        return None

    # Accounts and prospects

    def _run_errands(
        self, search: _Search, object_name: str, references: dict[Reference, Records]
    ) -> None:
        """Have references of one object found; those that say the same parts go together."""
        creates = (
            search.load.stream.rules.on_missing_relation == "create" and object_name == "accounts"
        )
        alike: defaultdict[_Terms, dict[Reference, tuple[int, Desired]]] = defaultdict(dict)
        why_not: dict[Reference, str] = {}
        for reference, group in references.items():
            attributes: dict[str, Value] = {**reference.attributes}
            terms = _Terms(tuple(attributes), "update")
            made = new_account(reference, group.desired) if creates else ""
            if isinstance(made, str):
                why_not[reference] = made
            else:
                terms = _Terms(terms.fields, "upsert")
                attributes |= made
                if (fault := _too_long(attributes)) is not None:
                    search.answers[reference] = reference.refused(fault)
                    continue
            alike[terms][reference] = group.members[0].number, Desired(attributes=attributes)
        search.due += len(alike)
        for terms, wanted in alike.items():
            then = partial(self._on_errand, search, wanted, why_not)
            self._errand(wanted, object_name, terms.rules, then)
        self._on_part(search)

    def _on_errand(
        self,
        search: _Search,
        wanted: Iterable[Reference],
        why_not: Mapping[Reference, str],
        outcomes: dict[Reference, Outcome],
    ) -> None:
        for reference in wanted:
            outcome = outcomes.get(reference)
            if outcome is None:
                continue  # the run ends before its turn
            if isinstance(outcome.fault, AmbiguousMatch):
                search.answers[reference] = reference.ambiguous(outcome.fault.ids)
            elif outcome.fault is not None:
                search.answers[reference] = reference.refused(outcome.fault)
            elif outcome.resource is None:
                search.answers[reference] = reference.missing(why_not.get(reference))
            else:
                search.answers[reference] = outcome.resource.id
                self._keep(reference, outcome.resource.id)
                if outcome.is_new:
                    self._counts.made(search.load.stream, reference.relationship, outcome.resource)
        self._on_part(search)

    def _keep(self, reference: Reference, resource_id: int) -> None:
        if reference.relationship != "account":
            return  # a prospect may be about to change, so that it is asked for each time
        if len(self._known) >= MOST_KEPT:
            del self._known[next(iter(self._known))]
        self._known[reference] = resource_id

    # Users, stages and the like

    def _read_whole(self, search: _Search, object_name: str, references: list[Reference]) -> None:
        """Find references of one object among all that there are."""
        attribute = PARTS[references[0].relationship][references[0].values[0][0]]
        place = object_name, attribute
        then = partial(self._pick, search, place, references)
        if place in self._whole:
            then()
            return
        self._reading[place].append(then)
        if len(self._reading[place]) == 1:
            path = self._lookup.whole_path(load_catalog()[object_name], (attribute,))
            self._send(partial(self._lookup.read, path), partial(self._on_whole, place))

    def _on_whole(self, place: tuple[str, str], resources: list[Resource]) -> None:
        ids: defaultdict[str, list[int]] = defaultdict(list)
        for resource in resources:
            ids[_comparable(resource.attributes.get(place[1]))].append(resource.id)
        self._whole[place] = ids
        for then in self._reading.pop(place):
            then()

    def _pick(self, search: _Search, place: tuple[str, str], references: list[Reference]) -> None:
        for reference in references:
            ids = self._whole[place].get(_comparable(reference.values[0][1]), [])
            if len(ids) == 1:
                search.answers[reference] = ids[0]
            else:
                fault = reference.ambiguous(ids) if ids else reference.missing()
                search.answers[reference] = fault
        self._on_part(search)

    # What comes of it

    def _on_part(self, search: _Search) -> None:
        search.due -= 1
        if search.due > 0:
            return
        if search.is_last:
            self._conclude(search)
        else:
            self._search_many(search)

    def _conclude(self, search: _Search) -> None:
        """Let each group go on with its links, without them, or not at all."""
        ready = [
            group
            for group in search.wanted
            if group in search.load.open and self._has_links(search, group)
        ]
        self._ready(search.load, ready)

    def _may_come(self, search: _Search, reference: Reference) -> bool:
        """Whether what is not there may come later in the input."""
        answer = search.answers.get(reference)
        is_missing = isinstance(answer, RecordFault) and answer.code == "relation_not_found"
        return is_missing and _object_of(search, reference) in MANY

    def _has_links(self, search: _Search, group: Records) -> bool:
        """Give a group its links, if it goes on."""
        load, references = search.load, search.wanted[group]
        late = [one for one in references if self._may_come(search, one)]
        fault = self._fault(search, [one for one in references if one not in late])
        if fault is None and late and self._put_off(load, group, self._fault(search, late)):
            return False
        if (fault := fault or self._fault(search, late)) is not None:
            self._refuse(load, group, fault)
            return False
        answers = {one: search.answers.get(one) for one in references}
        links = {one.relationship: it for one, it in answers.items() if isinstance(it, int)}
        left_out = [one for one, it in answers.items() if isinstance(it, RecordFault)]
        if len(links) + len(left_out) < len(references):
            return True  # the run ends; it is not decided on
        if left_out and len(group.members) > 1:
            # An earlier one of them may say a link that is there: each goes by itself.
            self._refuse(load, group, left_out[0].missing())
            return False
        for reference in left_out:
            self._counts.goes_without(load.stream, " and ".join(reference.parts))
        group.desired = group.desired.with_links(links, [one.relationship for one in left_out])
        return True


def _object_of(search: _Search, reference: Reference) -> str:
    return search.load.object.relationships[reference.relationship].object


def _too_long(attributes: Mapping[str, Value]) -> RecordFault | None:
    """Say what of an account that would be created does not fit Outreach."""
    try:
        curated_schema("accounts").check(attributes)
    except RecordFault as fault:
        return fault
    return None


def _is_left_out(fault: RecordFault, policy: OnMissing) -> bool:
    return policy == "skip" and fault.code in POLICY_CODES


def _to_find(load: Load, group: Records) -> list[Reference]:
    """List what must be found of a group of which something may be written."""
    rules = load.stream.rules
    matches = load.about(group)
    found = choose(matches, rules.on_ambiguous)
    if found is None and (matches or rules.sync_mode == "update"):
        return []  # it is rejected, or skipped
    return references_to_find(group.desired, found, rules)


def _comparable(text: object) -> str:
    return " ".join(str(text or "").casefold().split())
