"""Which of the accounts that prospects are linked to are named ones.

Outreach makes an unnamed account, which it does not show, for each new prospect without one, and
links the two. Prospects are therefore read without such links. Whether lists honour that is not
documented, so that the accounts themselves are looked up where it matters (API reference 2.3).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from target_outreach.errors import CredentialsError
from target_outreach.records.matching import choose
from target_outreach.records.planning import depends_on_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.delivery.finder import Ready, Send
    from target_outreach.delivery.load import Load, Records
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.matching import Resource

#: Seconds after which it is asked again whether an account is named, before a plan rests on it.
FRESH = 60.0

#: What is known is kept for this many accounts; more than that are looked up again.
MOST_KEPT = 50_000


class NamedAccounts:
    """Takes the links to unnamed accounts from what was read, on the pipeline's thread."""

    def __init__(
        self,
        lookup: Lookup,
        accounts: ObjectType,
        *,
        send: Send,
        ready: Ready,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            lookup: Reads accounts.
            accounts: What they are.
            send: Runs a request on a worker and hands its result back on this thread.
            ready: Hears of groups of which the linked accounts are known, as far as that matters.
            clock: A monotonic clock in seconds.
        """
        self._lookup = lookup
        self._accounts = accounts
        self._send = send
        self._ready = ready
        self._clock = clock
        self._known: dict[int, tuple[bool, float]] = {}
        #: Whether prospects are read with links to unnamed accounts; None as long as nobody asked.
        self._links_are_unsure: bool | None = None

    def is_unknown(self, load: Load, group: Records, found: Resource) -> bool:
        """Whether the plan for a group depends on an account that is not known to be named."""
        if not depends_on_account(load.object, group.desired, found, load.stream.rules):
            return False
        is_named, _ = self._known.get(found.links["account"] or 0, (False, 0.0))
        return not is_named

    def find(self, load: Load, groups: Iterable[Records]) -> None:
        """Find out which of the accounts that the plans for groups depend on are named."""
        if load.object.name != "prospects" or "account" not in load.stream.asked:
            self._ready(load, groups)
            return
        rules = load.stream.rules
        free: list[Records] = []
        unsure: list[Records] = []
        linked: dict[int, int] = {}
        for group in groups:
            found = choose(load.about(group), rules.on_ambiguous)
            if found is None or not depends_on_account(load.object, group.desired, found, rules):
                free.append(group)
            else:
                unsure.append(group)
                linked[found.links["account"] or 0] = found.id
        self._ready(load, free)
        if not unsure:
            return
        oldest = self._clock() - FRESH
        asked = {
            account: prospect
            for account, prospect in linked.items()
            if account not in self._known or self._known[account][1] < oldest
        }
        if asked:
            self._ask(load, unsure, asked)
        else:
            self._show(load, unsure)

    def _ask(self, load: Load, groups: list[Records], linked: dict[int, int]) -> None:
        """Look up accounts, given by id with a prospect that is linked to each."""
        paths = self._lookup.paths(self._accounts, "id", map(str, linked), ())
        due = len(paths)
        named: dict[int, bool] = {}

        def on_answer(resources: list[Resource] | None) -> None:
            nonlocal due
            due -= 1
            if resources is None:  # this token may not read accounts
                named.update(dict.fromkeys(linked, True))
            else:
                named.update(
                    (one.id, one.attributes.get("named") is not False) for one in resources
                )
            if due == 0:
                self._on_accounts(load, groups, linked, named)

        for path in paths:
            self._send(partial(self._read, path), on_answer)

    def _read(self, path: str) -> list[Resource] | None:
        try:
            return self._lookup.read(path)
        except CredentialsError:
            return None

    def _on_accounts(
        self, load: Load, groups: list[Records], linked: dict[int, int], named: dict[int, bool]
    ) -> None:
        """Take in which accounts were shown.

        One that was not shown is unnamed, or hidden from this user. A single read of a prospect
        tells once for all, since unnamed ones are among them only where lists show links to them.
        """
        absent = [account for account in linked if account not in named]
        if not all(named.values()):
            self._links_are_unsure = True

        def on_tested(is_unnamed: bool) -> None:  # noqa: FBT001 - the answer to a question
            self._links_are_unsure = is_unnamed
            self._on_accounts(load, groups, linked, named)

        if absent and self._links_are_unsure is None:
            prospect = linked[absent[0]]
            test = partial(self._lookup.has_no_named_account, load.object, prospect)
            self._send(test, on_tested)
            return
        named.update(dict.fromkeys(absent, not self._links_are_unsure))
        if len(self._known) + len(linked) > MOST_KEPT:
            self._known.clear()
        now = self._clock()
        self._known.update({account: (named[account], now) for account in linked})
        self._show(load, groups)

    def _show(self, load: Load, groups: list[Records]) -> None:
        """Take what links to unnamed accounts out of a batch's picture."""
        for resource in [one for group in groups for one in load.about(group)]:
            is_named, _ = self._known.get(resource.links.get("account") or 0, (True, 0.0))
            if not is_named:
                links = {**resource.links, "account": None}
                load.picture.put(msgspec.structs.replace(resource, links=links))
        self._ready(load, groups)
