"""What may be unique about accounts, and which ones prospects bring about (2.1, 2.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.sandbox import errors, schema
from target_outreach.sandbox.database import Condition
from target_outreach.sandbox.resources import Change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Record

#: The accounts that Outreach's pages show. What is not stored is true.
NAMED = Condition(f"ifnull({schema.value('named')}, 1)")
UNNAMED = Condition(f"NOT {NAMED.sql}")


def check_uniqueness(
    change: Change, account: int | None, database: Database, profile: Profile
) -> None:
    """Insist on what no two named accounts may share, inside the transaction of the write.

    Args:
        change: What is to be written.
        account: Id of the account; None for a new one.
        database: The records.
        profile: Which attributes are unique.

    Raises:
        ApiError: 422 where another account has the same, in whatever case.
    """
    for name in profile.unique_accounts:
        found = _having(name, change.attributes.get(name), database, NAMED)
        if any(one.id != account for one in found):
            raise errors.taken_by_account(name)


def with_account(
    change: Change, before: Record | None, database: Database, profile: Profile
) -> Change:
    """Link a prospect without an account to one, inside the transaction of the write.

    Args:
        change: What is to be written.
        before: The prospect as it is; None for a new one.
        database: The records.
        profile: Which account that is, if any.

    Returns:
        The change, with the account where none was linked; one that is made is not `named`.
    """
    linked = {} if before is None else before.relationships
    if {**linked, **change.relationships}.get("account") is not None:
        return change
    company = str(change.attributes.get("company") or "").strip()
    if profile.company_account == "linked":
        found = _having("name", company, database)
        name = company
    else:
        found = []
        name = company or _mail_domain(change)
        if profile.company_account == "none" or before is not None:
            return change
    if not found and not name:
        return change
    if not found:
        made = Change("company", {"name": name[:255], "named": False}, author=change.author)
        found = [database.create("accounts", made)]
    return replace(change, relationships={**change.relationships, "account": found[0].id})


def unnamed_among(ids: Iterable[int], database: Database) -> frozenset[int]:
    """Return those of some ids of accounts that Outreach's pages do not show."""
    wanted = tuple(ids)
    among = Condition(f"id IN ({', '.join('?' * len(wanted))})", wanted)
    return frozenset(one.id for one in database.select("accounts", [among, UNNAMED]))


def _mail_domain(change: Change) -> str:
    emails = change.attributes.get("emails") or [""]
    return str(emails[0]).rpartition("@")[2].strip().lower()


def _having(name: str, text: object, database: Database, *where: Condition) -> list[Record]:
    if not text:
        return []
    same = Condition(f"{schema.folded_text(name)} = ?", (str(text).casefold(),))
    return database.select("accounts", [same, *where])
