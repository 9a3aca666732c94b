"""Finding out what Outreach holds, many records at a time, and whether to believe it."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.load import Load, Read
from target_outreach.delivery.scan import BY_SCAN, Scans
from target_outreach.errors import RecordFault
from target_outreach.outreach.lookup import spellings
from target_outreach.records.matching import field_keys
from target_outreach.records.planning import Create, Skip, Unchanged, needs_fresh_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.delivery.load import Records
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.matching import Resource
    from target_outreach.records.planning import Plan

    Send = Callable[[Callable[[], Any], Callable[[Any], None]], None]
    Recall = Callable[[Load, Iterable[Records]], None]
    Ready = Callable[[Load, Iterable[Records]], None]

logger = logging.getLogger("target-outreach")

#: Seconds after which what was read is read again before anything irrevocable rests on it.
FRESH = 60.0


class Finder:
    """Looks groups up, on the pipeline's thread, by requests that others carry out."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        send: Send,
        recall: Recall,
        ready: Ready,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            lookup: Finds records in Outreach.
            send: Runs a request on a worker and hands its result back on this thread.
            recall: Adds to a batch's picture what a lookup cannot show.
            ready: Hears which groups can be decided on.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._send = send
        self._recall = recall
        self._ready = ready
        self._clock = clock
        self._scans = Scans(
            lookup, send=send, found=self._found, look_up=self._look_up, clock=clock
        )
        self._failing: dict[str, str | None] = {}
        self._untested: defaultdict[str, list[tuple[Load, Records]]] = defaultdict(list)

    def find(self, load: Load, groups: list[Records]) -> None:
        """Find out what Outreach holds of groups, by whatever costs fewer requests."""
        if not groups:
            return
        self._scans.find(load, groups, partial(self._lookups, load, groups))

    def _lookups(self, load: Load, groups: list[Records]) -> int:
        """Count the requests that it takes to look groups up."""
        paths = [
            self._lookup.paths(load.object, name, _texts(load.object, groups, name), ())
            for name in load.fields[:2]
        ]
        return sum(map(len, paths))

    def remember(self, object_type: ObjectType, resource: Resource) -> None:
        """Take in what was written."""
        self._scans.remember(object_type, resource)

    def forget(self, load: Load, resource_id: int) -> None:
        """Drop a record that is not there any more, wherever it is known."""
        load.picture.forget(resource_id)
        self._scans.forget(load.object, resource_id)

    def close(self) -> None:
        """Remove what was kept on disk."""
        self._scans.close()

    def _found(self, load: Load, groups: list[Records]) -> None:
        """Go on with groups of which the picture shows all that there is."""
        self._recall(load, groups)
        load.complete.update(groups)
        self._ready(load, groups)

    def _look_up(self, load: Load, groups: list[Records]) -> None:
        """Look groups up by one field after the other, until each is found or all are tried."""
        read = Read(self._clock(), self._lookup.version)
        load.reads.update(dict.fromkeys(groups, read))
        self._find_by(load, groups, load.fields)

    def find_again(self, load: Load) -> None:
        """Look up anew, all at once, what is too old to act on."""
        groups, load.again = load.again, []
        for key in {key for group in groups for key in group.keys}:
            for resource in load.picture.having(key):
                load.picture.forget(resource.id)
        self._look_up(load, groups)

    def _find_by(self, load: Load, groups: list[Records], fields: list[str]) -> None:
        while fields and groups:
            texts = _texts(load.object, groups, fields[0])
            paths = self._lookup.paths(load.object, fields[0], texts, load.stream.asked)
            if paths:
                self._ask(load, groups, fields, paths)
                return
            fields = fields[1:]
        load.complete.update(groups)
        self._ready(load, groups)

    def _ask(self, load: Load, groups: list[Records], fields: list[str], paths: list[str]) -> None:
        """Send the requests for one field, and go on when all are answered."""
        due = len(paths)
        started = self._clock()

        def on_answer(resources: list[Resource]) -> None:
            nonlocal due
            due -= 1
            for resource in resources:
                # A list that was read while the record was being written may be older.
                if load.written.get(resource.id, started) <= started:
                    load.picture.put(resource)
            if due == 0:
                self._after_field(load, groups, fields)

        for path in paths:
            self._send(partial(self._lookup.read, path), on_answer)

    def _after_field(self, load: Load, groups: list[Records], fields: list[str]) -> None:
        """Go on with what was found, and look up the rest by the next field."""
        self._recall(load, groups)
        # Other records of the batch may have shown one that only a later field would find.
        tried = load.fields[1 : load.fields.index(fields[0]) + 1]
        found: list[Records] = []
        missing: list[Records] = []
        for group in groups:
            (found if load.matches(group, tried) else missing).append(group)
        self._ready(load, found)
        self._find_by(load, missing, fields[1:])

    def is_stale(self, load: Load, group: Records, decided: Plan) -> bool:
        """Whether a plan rests on a lookup that was cut, or that is too old for it."""
        if isinstance(decided, Unchanged) or load.stream.rules.sync_mode == "insert":
            return False
        read = load.reads[group]
        if _rests_on_absence(load, decided) and read.version < self._lookup.version:
            return True
        if read.version == BY_SCAN and isinstance(decided, Create):
            return load.object.name == "accounts"
        if isinstance(decided, Create | Skip) and group not in load.complete:
            return True  # what it was found by is gone, and the other fields were never asked
        age = self._clock() - read.at
        return age > FRESH and needs_fresh_read(load.object, decided, load.stream.rules)

    def trusts(self, load: Load, group: Records, decided: Plan) -> bool:
        """Whether the lookup is tested, if that matters; if not, it is tested first.

        Outreach would not refuse a second account, so that one is created only if a lookup that
        does not show it is to be believed; and nothing is said not to be there by a list that is
        cut.

        Raises:
            RecordFault: The test has failed.
        """
        if not _rests_on_absence(load, decided) or load.stream.rules.sync_mode == "insert":
            return True
        if load.object.name != "accounts" and isinstance(decided, Create):
            return True
        name = f"{load.object.name} by {load.stream.rules.match_fields}"
        if name not in self._failing:
            self._untested[name].append((load, group))
            if len(self._untested[name]) == 1:
                self._test(load, name)
            return False
        if (failing := self._failing[name]) is not None:
            raise RecordFault(
                "lookup_untrusted",
                f"{failing} in Outreach's lookup of {load.object.name}, so that this one may be "
                "there already, unseen; it is not created.",
            )
        return True

    def _test(self, load: Load, name: str) -> None:
        def on_tested(failing: str | None) -> None:
            self._failing[name] = failing
            if failing is not None:
                logger.error(
                    "No account is created or linked to, since one that is there might not be "
                    "seen: %s in Outreach's lookup of %s. Use sync_mode update, and match_on with "
                    "a field that works.",
                    failing,
                    load.object.name,
                )
            for waiting, group in self._untested.pop(name):
                self._ready(waiting, [group])

        fields = load.stream.rules.match_fields
        self._send(partial(self._lookup.test, load.object, fields), on_tested)


def _rests_on_absence(load: Load, decided: Plan) -> bool:
    """Whether a plan is right only if Outreach really holds no such record."""
    return isinstance(decided, Create) or (load.is_errand and isinstance(decided, Skip))


def _texts(object_type: ObjectType, groups: Iterable[Records], field_name: str) -> list[str]:
    """List what to ask for by one field: every spelling of every value of every record."""
    texts: list[str] = []
    if field_name == "id":
        ids = (group.desired.remembered for group in groups)
        texts += [str(known) for known in ids if known is not None]
    for desired in [item.desired for group in groups for item in group.members]:
        if desired is None:
            continue
        if field_name == "id":
            if desired.id is not None:
                texts.append(str(desired.id))
        elif desired.id is None and field_keys(object_type, desired, field_name):
            texts += spellings(object_type, field_name, desired.attributes[field_name])
    return texts
