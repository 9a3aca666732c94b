"""What Outreach makes of a prospect that is written (2.3, 2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_outreach.sandbox.accounts import with_account
from target_outreach.sandbox.phones import with_phones

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Change, Record


def completed(
    change: Change, before: Record | None, database: Database, profile: Profile
) -> Change:
    """Add to what is written of a prospect what Outreach makes of it, in a transaction.

    Args:
        change: What is to be written.
        before: The prospect as it is; None for a new one.
        database: The records.
        profile: How it behaves where facts are contested.
    """
    if profile.normalise_phones:
        change = with_phones(change, before, database)
    return with_account(change, before, database, profile)
