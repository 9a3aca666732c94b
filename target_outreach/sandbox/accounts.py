"""What may be unique about accounts, and what the name of a company may do (2.1, 2.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.sandbox import errors, schema
from target_outreach.sandbox.database import Condition
from target_outreach.sandbox.resources import Change

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Record


def check_uniqueness(
    change: Change, account: int | None, database: Database, profile: Profile
) -> None:
    """Insist on what no two accounts may share, inside the transaction of the write.

    Args:
        change: What is to be written.
        account: Id of the account; None for a new one.
        database: The records.
        profile: Which attributes are unique.

    Raises:
        ApiError: 422 where another account has the same, in whatever case.
    """
    for name in profile.unique_accounts:
        if any(one.id != account for one in _having(name, change.attributes.get(name), database)):
            raise errors.taken_by_account(name)


def with_account_of_company(
    change: Change, before: Record | None, database: Database, profile: Profile
) -> Change:
    """Link a prospect to the account of its company, inside the transaction of the write.

    Args:
        change: What is to be written.
        before: The prospect as it is; None for a new one.
        database: The records.
        profile: Whether a company's name does this.

    Returns:
        The change, with the account where none was linked; one that is made is not `named`.
    """
    company = change.attributes.get("company")
    linked = {} if before is None else before.relationships
    if profile.company_account == "none" or not company:
        return change
    if {**linked, **change.relationships}.get("account") is not None:
        return change
    found = _having("name", company, database)
    if not found:
        made = Change("company", {"name": company, "named": False}, author=change.author)
        found = [database.create("accounts", made)]
    return replace(change, relationships={**change.relationships, "account": found[0].id})


def _having(name: str, text: object, database: Database) -> list[Record]:
    if not text:
        return []
    same = Condition(f"{schema.folded_text(name)} = ?", (str(text).casefold(),))
    return database.select("accounts", [same])
