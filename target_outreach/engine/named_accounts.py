"""Which of the accounts that prospects are linked to are named ones.

Outreach makes an unnamed account, which it does not show, for each new prospect without one, and
links the two. Prospects are therefore read without such links. Whether lists honour that is not
documented, so that the accounts themselves are looked up where it matters (API reference 2.3).
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from target_outreach.errors import CredentialsError
from target_outreach.records.matching import choose
from target_outreach.records.planning import depends_on_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from target_outreach.engine.batch import Batch, WorkItem
    from target_outreach.engine.requests import Requests
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.model import Desired, ObjectType, Resource
    from target_outreach.records.rules import Rules

#: Seconds after which it is asked again whether an account is named, before a plan rests on it.
FRESH = 60.0

#: What is known is kept for this many accounts; more than that are looked up again.
MOST_KEPT = 50_000


class NamedAccounts:
    """Takes the links to unnamed accounts from what was read, on the thread of the event loop."""

    def __init__(
        self,
        lookup: Lookup,
        requests: Requests,
        accounts: ObjectType,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            lookup: Reads accounts.
            requests: Runs requests on threads.
            accounts: What they are.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._requests = requests
        self._accounts = accounts
        self._clock = clock
        self._known: dict[int, tuple[bool, float]] = {}
        #: Whether prospects are read with links to unnamed accounts; None as long as nobody asked.
        self._links_are_unsure: bool | None = None

    def is_unknown(self, batch: Batch, desired: Desired, found: Resource, rules: Rules) -> bool:
        """Whether a plan depends on an account that is not known to be a named one.

        Args:
            batch: The batch of the record.
            desired: What the record says.
            found: What it is about, in Outreach.
            rules: The rules that it is planned by.
        """
        if not depends_on_account(batch.object, desired, found, rules):
            return False
        is_named, _ = self._known.get(_account_of(batch, found), (False, 0.0))
        return not is_named

    def doubtful(self, batch: Batch, items: Iterable[WorkItem]) -> list[WorkItem]:
        """List those work items whose plans depend on whether a linked account is named."""
        link = batch.object.unnamed_link
        if link is None or link not in batch.stream.asked:
            return []
        on_ambiguous = batch.stream.rules.on_ambiguous
        return [
            item
            for item in items
            if (found := choose(item.matches(), on_ambiguous)) is not None
            and depends_on_account(batch.object, item.desired, found, batch.stream.rules)
        ]

    async def resolve(self, batch: Batch, items: Iterable[WorkItem]) -> None:
        """Take the links of work items to unnamed accounts out of their batch's snapshot."""
        found = [one for item in items for one in item.matches()]
        linked = {_account_of(batch, one): one.id for one in found}
        linked.pop(0, None)
        oldest = self._clock() - FRESH
        await self._ask(
            batch,
            {
                account: prospect
                for account, prospect in linked.items()
                if account not in self._known or self._known[account][1] < oldest
            },
        )
        for one in found:
            # What was written or read of it since it was asked is newer.
            if (resource := batch.snapshot.get(one.id)) is None:
                continue
            is_named, _ = self._known.get(_account_of(batch, resource), (True, 0.0))
            if not is_named:
                links = {**resource.links, batch.object.unnamed_link or "": None}
                batch.snapshot.put(msgspec.structs.replace(resource, links=links))

    async def _ask(self, batch: Batch, linked: Mapping[int, int]) -> None:
        """Find out which accounts are named, given by id with a prospect that is linked to each.

        One that is not shown is unnamed, or hidden from this user. A single read of a prospect
        tells once for all, since unnamed ones are among them only where lists show links to them.
        """
        named: dict[int, bool] = {}
        paths = self._lookup.paths(self._accounts, "id", map(str, linked), ())
        reads = (self._requests.read(partial(self._read, path)) for path in paths)
        for accounts in await asyncio.gather(*reads):
            if accounts is None:  # this token may not read accounts
                named.update(dict.fromkeys(linked, True))
            else:
                named.update((one.id, one.attributes.get("named") is not False) for one in accounts)
        if not all(named.values()):
            self._links_are_unsure = True
        absent = [account for account in linked if account not in named]
        if absent and self._links_are_unsure is None:
            test = partial(self._lookup.has_no_named_account, batch.object, linked[absent[0]])
            self._links_are_unsure = await self._requests.read(test)
        named.update(dict.fromkeys(absent, not self._links_are_unsure))
        if len(self._known) + len(linked) > MOST_KEPT:
            self._known.clear()
        now = self._clock()
        self._known.update({account: (named[account], now) for account in linked})

    def _read(self, path: str) -> list[Resource] | None:
        try:
            return self._lookup.read(path)
        except CredentialsError:
            return None


def _account_of(batch: Batch, found: Resource) -> int:
    """Return the account that a record is linked to, 0 for none."""
    return found.links.get(batch.object.unnamed_link or "") or 0
