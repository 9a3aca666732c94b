"""The accounts of this run, by all that their rows and Outreach say of them.

Outreach may hold a domain as ``https://www.acme.example/about``, which a question for
``acme.example`` does not find. What came in the same run is found all the same: it is read by its
id, since others may have changed it meanwhile.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from target_outreach.records.matching import RemoteSnapshot
from target_outreach.records.model import Desired, Key, ObjectType, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable


#: Accounts that are kept; of more than these, the ones that came first are forgotten.
MOST = 50_000


class AccountCache:
    """Remembers what identifies an account, within bounds."""

    def __init__(self, object_type: ObjectType) -> None:
        """Begin with none.

        Args:
            object_type: Accounts, as the catalogue has them.
        """
        self._fields = object_type.match_fields
        self._snapshot = RemoteSnapshot(object_type, self._fields)
        self._order: deque[int] = deque()

    def note(self, desired: Desired, resource: Resource) -> None:
        """Take in an account that is delivered.

        Args:
            desired: What its row says.
            resource: What Outreach holds of it, as far as that is known.
        """
        if self._snapshot.get(resource.id) is None:
            self._order.append(resource.id)
        known = {**desired.attributes, **resource.attributes}
        said = {name: known.get(name) for name in (*self._fields, "named")}
        self._snapshot.put(Resource(resource.id, said, {}))
        if len(self._order) > MOST:
            self._snapshot.forget(self._order.popleft())

    def hidden(self, snapshot: RemoteSnapshot, keys: Iterable[Key]) -> list[int]:
        """List the accounts that have one of some keys, and that a lookup lacks."""
        known = (resource.id for key in keys for resource in self._snapshot.having(key))
        return [one for one in dict.fromkeys(known) if snapshot.get(one) is None]
