"""A run that reads, matches and plans for real, and writes nothing.

Only the writer is another one: it answers as Outreach would, so that later records of the same run
are planned against what earlier ones would have left. The plan itself comes from the same code as
in a real run.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.outcome import Delivered
from target_outreach.records.matching import Picture
from target_outreach.records.model import Create, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_outreach.delivery.stream import Item
    from target_outreach.engine.writing import Job
    from target_outreach.records.folding import Group


class DryWriter:
    """Remembers what would have been written, and writes nothing."""

    def __init__(self) -> None:
        self._pictures: dict[tuple[str, tuple[str, ...]], Picture] = {}
        self._created = 0
        self._lock = threading.Lock()

    def write(self, job: Job) -> Delivered:
        """Answer as Outreach would; what is created gets a negative id."""
        with self._lock:
            return self._write(job)

    def _write(self, job: Job) -> Delivered:
        if isinstance(job.decided, Create):
            resource = self._new(job.decided)
        else:
            old = job.decided.resource
            attributes = {**old.attributes, **job.decided.attributes}
            resource = Resource(old.id, attributes, {**old.links, **job.decided.relationships})
        key = (job.object.name, job.rules.match_fields)
        self._pictures.setdefault(key, Picture(job.object, job.rules.match_fields)).put(resource)
        is_new = isinstance(job.decided, Create)
        return Delivered("created" if is_new else "updated", resource, job.decided)

    def _new(self, decided: Create) -> Resource:
        self._created += 1
        youngest = f"9999-12-31T00:00:00.{self._created:06d}Z"
        attributes = {"createdAt": youngest, **decided.attributes}
        return Resource(-self._created, attributes, dict(decided.relationships))

    def would_hold(self, object_name: str, resource_id: int) -> Mapping[str, Any] | None:
        """Return what a record would hold that would have been written, as far as it is known."""
        with self._lock:
            for mine in self._pictures.values():
                if mine.object.name == object_name and (one := mine.get(resource_id)) is not None:
                    return one.attributes
        return None

    def recall(self, snapshot: Picture, items: Iterable[Group[Item]]) -> None:
        """Show a batch what earlier ones would have written."""
        with self._lock:
            for mine in self._pictures.values():
                if mine.object is snapshot.object:
                    _show(mine, snapshot, items)


def _show(mine: Picture, picture: Picture, groups: Iterable[Group[Item]]) -> None:
    for resource in list(picture):
        if (changed := mine.get(resource.id)) is not None:
            picture.put(changed)
    for key in (key for group in groups for key in group.keys):
        for resource in mine.having(key):
            picture.put(resource)
