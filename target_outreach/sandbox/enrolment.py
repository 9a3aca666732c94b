"""Who may be put into a sequence, and what Outreach makes of it (API reference 2.6 and 2.7).

A prospect is enrolled by ``POST /sequenceStates`` with::

    {"data": {"type": "sequenceState", "relationships": {
     "prospect": {"data": {"type": "prospect", "id": 5}},
     "sequence": {"data": {"type": "sequence", "id": 7}},
     "mailbox": {"data": {"type": "mailbox", "id": 3}}}}}

That one prospect is in one sequence at most once, and the words for it, are recorded, as are those
about locked sequences and users. What happens to prospects who opted out and to mailboxes that
cannot send is a switch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.sandbox import errors, schema
from target_outreach.sandbox.database import Condition

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Change, Record

SEQUENCE_STATES = "sequenceStates"

_OVER = frozenset({"finished", "opted_out"})


def complete(change: Change, database: Database, profile: Profile) -> Change:
    """Check an enrolment, inside the transaction in which it will be made.

    Args:
        change: What was sent, with related ids of records that are there.
        database: The records.
        profile: The rules that are switchable.

    Returns:
        The change with the state, the account and the user that Outreach adds.

    Raises:
        ApiError: 400 where a related record has gone meanwhile; 422 where the prospect may not be
            added.
    """
    prospect = _required(change, "prospect", "prospects", database)
    sequence = _required(change, "sequence", "sequences", database)
    mailbox = None
    if profile.mailbox_required or change.relationships.get("mailbox") is not None:
        mailbox = _required(change, "mailbox", "mailboxes", database)
    user = None if mailbox is None else mailbox.relationships.get("user")
    _check_sequence(sequence, profile)
    _check_user(user, prospect, database, profile)
    _check_states(prospect, sequence, database, profile)
    added = {"account": prospect.relationships.get("account"), "user": user}
    return replace(
        change,
        attributes=_state(prospect, sequence, mailbox, profile),
        relationships={**change.relationships, **added},
    )


def _required(change: Change, name: str, plural: str, database: Database) -> Record:
    related = change.relationships.get(name)
    if related is None:
        # That it is refused follows from its purpose; the sentence is not known.
        raise errors.invalid(f"{name.title()} can't be blank.", f"/data/relationships/{name}")
    record = database.find(plural, related)
    if record is None:
        raise errors.unknown_relation(name, name)
    return record


def _check_sequence(sequence: Record, profile: Profile) -> None:
    if sequence.attributes.get("locked"):
        raise errors.invalid("Sequence is locked.")
    if not (sequence.attributes.get("enabled") or profile.inactive_sequences):
        # That it must be active is told; the sentence is not known.
        raise errors.invalid("Sequence is not active.")


def _check_user(
    user_id: int | None, prospect: Record, database: Database, profile: Profile
) -> None:
    user = None if user_id is None else database.find("users", user_id)
    if user is not None and user.attributes.get("locked"):
        raise errors.invalid("User is locked")
    owner = prospect.relationships.get("owner")
    if profile.owners_only and owner is not None and owner != user_id:
        raise errors.invalid("User not the owner")


def _check_states(prospect: Record, sequence: Record, database: Database, profile: Profile) -> None:
    known = database.select(
        SEQUENCE_STATES, [Condition(f"{schema.related('prospect')} = ?", (prospect.id,))]
    )
    for state in known:
        other = state.relationships.get("sequence")
        going = state.attributes.get("state") not in _OVER
        if other == sequence.id and _is_refused(profile, going=going):
            raise errors.already_enrolled(with_code=profile.enrolled_code)
        both = {other, sequence.id} <= set(profile.exclusive_sequences)
        if other != sequence.id and both and going:
            raise errors.invalid("Prospect active in another exclusive sequence")


def _is_refused(profile: Profile, *, going: bool) -> bool:
    rule = profile.duplicate_enrolment
    return rule == "disallow" or (rule == "only_if_inactive" and going)


def _state(
    prospect: Record, sequence: Record, mailbox: Record | None, profile: Profile
) -> dict[str, str]:
    """Return the attributes of the new state; the sentences of refusals and errors are made up."""
    if _opted_out(prospect) and not sequence.attributes.get("transactional"):
        if profile.opted_out_enrolment == "refused":
            raise errors.invalid("Prospect has opted out.")
        if profile.opted_out_enrolment == "opted_out":
            return {"state": "opted_out"}
    if mailbox is not None and mailbox.attributes.get("sendDisabled"):
        if profile.disabled_mailbox == "refused":
            raise errors.invalid("Mailbox cannot send.")
        if profile.disabled_mailbox == "failed":
            return {"state": "failed", "errorReason": "Mailbox cannot send."}
    return {"state": "pending"}


def _opted_out(prospect: Record) -> bool:
    """Tell whether a prospect refuses all contact, or email; calls are another matter."""
    known = prospect.attributes
    refuses = known.get("optedOut") or known.get("emailOptedOut")
    return bool(refuses) or known.get("emailsOptStatus") == "opted_out"
