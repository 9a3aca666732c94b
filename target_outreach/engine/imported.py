"""What may be written by an import, and what came of it by what Outreach shows afterwards.

Nothing that an import says of itself counts (API reference 6.2, 10.4): an update is looked for by
its id, a new prospect by its addresses, which no other prospect may have (API reference 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from target_outreach.delivery.stream import Delivered
from target_outreach.engine.job import Found
from target_outreach.engine.looking_again import is_created_since
from target_outreach.engine.writing import delivered, document
from target_outreach.records.matching import match
from target_outreach.records.model import Create, Update
from target_outreach.records.opt_outs import OPT_OUTS, is_opt_out
from target_outreach.records.values import is_empty, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from target_outreach.engine.batch import WorkItem
    from target_outreach.engine.job import Job
    from target_outreach.outreach.imports import BulkMode
    from target_outreach.records.matching import RemoteSnapshot
    from target_outreach.records.model import ObjectType, Resource
    from target_outreach.records.rules import Rules


def is_importable(
    mode: BulkMode, object_type: ObjectType, decided: Create | Update, rules: Rules
) -> bool:
    """Whether a plan may be carried out by an import.

    A new record may be if Outreach refuses a second one of the same address, and if the stream is
    looked up by addresses. Then after any outcome of an import, the record is found or can be
    created by a request of its own, and never twice. Not with `insert`: nobody could tell for
    sure whether a record that is found was created by the import or was there before.

    An update that an opt-out would forbid is not imported: an import may work minutes after what it
    rests on was read, and an opt-out may come meanwhile.

    Args:
        mode: What the settings allow.
        object_type: What the record is.
        decided: The plan.
        rules: The settings of its stream.
    """
    if mode == "off" or not object_type.importable:
        return False
    if isinstance(decided, Update):
        return rules.allow_opt_in or all(
            is_opt_out(value) for name, value in decided.attributes.items() if name in OPT_OUTS
        )
    key = object_type.unique_by
    return (
        mode == "all"
        and rules.sync_mode == "upsert"
        and key is not None
        and key in rules.match_fields
        and bool(decided.attributes.get(key))
    )


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A create or an update that is to be part of an import."""

    item: WorkItem
    job: Job

    @property
    def object(self) -> ObjectType:
        """The object that the record is of."""
        return self.job.object

    @property
    def place(self) -> tuple[str, int]:
        """The record that is to be updated: its object and its id."""
        assert isinstance(self.job.decided, Update)  # noqa: S101 - of others nobody asks
        return self.object.name, self.job.decided.resource.id

    @property
    def field(self) -> str:
        """What it is found by: the id, or what no two records share."""
        return "id" if isinstance(self.job.decided, Update) else self.object.unique_by or "id"

    @property
    def document(self) -> dict[str, Any]:
        """The JSON:API document, as that of a single write."""
        decided = self.job.decided
        number = decided.resource.id if isinstance(decided, Update) else None
        return document(self.object, number, decided.attributes, decided.relationships)

    def among(self, shown: RemoteSnapshot) -> list[Resource]:
        """Return the records that it is about, of those that were read back."""
        decided = self.job.decided
        if isinstance(decided, Create):
            return match(self.job.desired, shown, (self.field,))
        found = shown.get(decided.resource.id)
        return [] if found is None else [found]


@dataclass(frozen=True, slots=True)
class Alone:
    """A record that is to be written by itself.

    Attributes:
        resource: What was read back of it, or None where it was not found, or not looked for.
        read_at: When, in monotonic seconds.
    """

    resource: Resource | None = None
    read_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """A record that an import has created without some of its values.

    Attributes:
        rest: What it lacks.
        read_at: When it was read back, in monotonic seconds.
    """

    rest: Update
    read_at: float


#: The outcome of a change; None where its plan has grown too old to be carried out.
Result = Delivered | Found | Part | Alone | None


def judged(change: Change, shown: RemoteSnapshot, since: datetime, read_at: float) -> Result:
    """Return the outcome of a write, by what was read back.

    Args:
        change: What was sent.
        shown: What Outreach holds now.
        since: When it was sent, by Outreach's clock.
        read_at: When it was read back, in monotonic seconds.
    """
    found, decided = change.among(shown), change.job.decided
    if isinstance(decided, Update):
        return _updated(change.object, decided, found[0] if found else None, read_at)
    return _created(change.object, decided, found, since, read_at)


def _updated(
    object_type: ObjectType, decided: Update, now: Resource | None, read_at: float
) -> Delivered | Alone:
    """Judge an update.

    A value that is neither as it was sent nor as it was before may have been edited by somebody
    meanwhile. Only if another value of the record has arrived, Outreach is assumed to keep it in a
    form of its own, which another write would not change.
    """
    if now is None or _other_links(decided, now):
        return Alone(now, read_at)
    other = _other_values(object_type, decided, now)
    before, has_arrived = decided.resource.attributes, bool(decided.relationships)
    has_arrived = has_arrived or len(other) < len(decided.attributes)
    is_changed = all(
        name in before and name in now.attributes and now.attributes[name] != before[name]
        for name in other
    )
    if other and not (has_arrived and is_changed):
        return Alone(now, read_at)
    return replace(delivered("updated", object_type, now, decided), is_imported=True)


def _created(
    object_type: ObjectType,
    decided: Create,
    found: Sequence[Resource],
    since: datetime,
    read_at: float,
) -> Delivered | Found | Part | Alone:
    """Judge a create: it must be there, once, as it was sent.

    What is older than the import was hidden from the lookup, and what holds another value may be
    somebody else's: such a record is planned anew as one that is there.
    """
    if not found:
        return Alone()
    now = found[0]
    links, values = _other_links(decided, now), _other_values(object_type, decided, now)
    is_mixed = any(now.links.get(name) is not None for name in links) or any(
        not (is_empty(held := now.attributes.get(name)) or held is False) for name in values
    )
    if len(found) > 1 or is_mixed or not is_created_since(now, since):
        return Found(tuple(found), read_at)
    if links or values:
        rest = {name: decided.attributes[name] for name in values}
        links = {name: decided.relationships[name] for name in links}
        return Part(Update(now, rest, links, {}), read_at)
    return replace(delivered("created", object_type, now, decided), is_imported=True)


def _other_links(decided: Create | Update, now: Resource) -> Mapping[str, int | None]:
    """Return the links that are not as they were sent."""
    sent = decided.relationships.items()
    return {name: link for name, link in sent if now.links.get(name) != link}


def _other_values(
    object_type: ObjectType, decided: Create | Update, now: Resource
) -> Sequence[str]:
    """List the attributes that are not as they were sent."""
    return [
        name
        for name, value in decided.attributes.items()
        if name not in now.attributes
        or not same(object_type.attributes[name], value, now.attributes[name])
    ]


def are_delivered(results: Iterable[Result]) -> bool:
    """Whether all writes of an import have arrived."""
    return all(isinstance(result, Delivered) for result in results)
