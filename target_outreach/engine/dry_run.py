"""A run that reads, matches and plans for real, and writes nothing.

Only the writer is another one: it answers as Outreach would, so that later records of the same run
are planned against what earlier ones would have left. The plan itself comes from the same code as
in a real run.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.delivery.stream import Delivered
from target_outreach.engine.imported import is_importable
from target_outreach.engine.own_records import found_by_any
from target_outreach.records.model import Create, Resource
from target_outreach.records.opt_outs import OPT_OUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_outreach.delivery.stream import Item
    from target_outreach.engine.job import Job
    from target_outreach.outreach.imports import BulkMode
    from target_outreach.records.folding import Group
    from target_outreach.records.matching import RemoteSnapshot
    from target_outreach.records.model import ObjectType


class DryWriter:
    """Remembers what would have been written, and writes nothing."""

    is_dry = True

    def __init__(self, mode: BulkMode = "off") -> None:
        """Have written nothing yet.

        Args:
            mode: What a real run would use imports for.
        """
        self._mode = mode
        self._snapshots: dict[str, RemoteSnapshot] = {}
        self._created = 0
        self._lock = threading.Lock()

    def write(self, job: Job) -> Delivered:
        """Answer as Outreach would; what is created gets a negative id."""
        with self._lock:
            if isinstance(job.decided, Create):
                resource = self._new(job.object, job.decided)
            else:
                old = job.decided.resource
                attributes = {**old.attributes, **job.decided.attributes}
                resource = Resource(old.id, attributes, {**old.links, **job.decided.relationships})
            if job.object.name not in self._snapshots:
                self._snapshots[job.object.name] = found_by_any(job.object)
            self._snapshots[job.object.name].put(resource)
        is_new = isinstance(job.decided, Create)
        by_import = is_importable(self._mode, job.object, job.decided, job.rules)
        outcome: Literal["created", "updated"] = "created" if is_new else "updated"
        return Delivered(outcome, resource, job.decided, is_imported=by_import)

    def _new(self, object_type: ObjectType, decided: Create) -> Resource:
        self._created += 1
        youngest = f"9999-12-31T00:00:00.{self._created:06d}Z"
        # Outreach holds false where nothing was said.
        flags = (name for name in OPT_OUTS if name in object_type.attributes)
        unset = {name: False for name in flags if object_type.attributes[name].kind == "boolean"}
        attributes = {"createdAt": youngest, **unset, **decided.attributes}
        return Resource(-self._created, attributes, dict(decided.relationships))

    def would_hold(self, object_name: str, resource_id: int) -> Mapping[str, Any] | None:
        """Return what a record would hold that would have been written, as far as it is known."""
        with self._lock:
            mine = self._snapshots.get(object_name)
            one = None if mine is None else mine.get(resource_id)
            return None if one is None else one.attributes

    def recall(self, snapshot: RemoteSnapshot, items: Iterable[Group[Item]]) -> None:
        """Show a batch what earlier ones would have written."""
        with self._lock:
            if (mine := self._snapshots.get(snapshot.object.name)) is not None:
                _show(mine, snapshot, items)


def _show(mine: RemoteSnapshot, snapshot: RemoteSnapshot, groups: Iterable[Group[Item]]) -> None:
    for resource in list(snapshot):
        if (changed := mine.get(resource.id)) is not None:
            snapshot.put(changed)
    for key in (key for group in groups for key in group.keys):
        for resource in mine.having(key):
            snapshot.put(resource)
