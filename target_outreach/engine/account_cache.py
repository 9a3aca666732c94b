"""The accounts of this run, by all that their rows and Outreach say of them.

Outreach may hold a domain as ``https://www.acme.example/about``, which a question for
``acme.example`` does not find. What came in the same run is found all the same.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from target_outreach.records.matching import Picture
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
        self._picture = Picture(object_type, self._fields)
        self._order: deque[int] = deque()

    def note(self, desired: Desired, resource: Resource) -> None:
        """Take in an account that is delivered.

        Args:
            desired: What its row says.
            resource: What Outreach holds of it, as far as that is known.
        """
        if self._picture.get(resource.id) is None:
            self._order.append(resource.id)
        known = {**desired.attributes, **resource.attributes}
        said = {name: known.get(name) for name in (*self._fields, "named")}
        self._picture.put(Resource(resource.id, said, {}))
        if len(self._order) > MOST:
            self._picture.forget(self._order.popleft())

    def show(self, picture: Picture, keys: Iterable[Key]) -> None:
        """Add those of some keys to what a lookup has shown."""
        for key in keys:
            for resource in self._picture.having(key):
                if picture.get(resource.id) is None:
                    picture.put(resource)
