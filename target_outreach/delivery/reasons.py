"""Why records are rejected or skipped, in words."""

from __future__ import annotations

REJECTED = {
    "already_taken": "Another record already has this address, name or key",
    "ambiguous_match": "Several records of Outreach fit",
    "bad_request": "Outreach refuses it",
    "conflict": "Outreach refuses it",
    "duplicate_source_row": "Another row of the stream is about the same record",
    "excluded_address": "An address is on the exclusion list of the organisation",
    "invalid_id": "The Outreach id is not a positive whole number",
    "invalid_value": "A value does not fit its attribute",
    "lookup_untrusted": "It is unknown whether the account exists already",
    "missing_required": "A new record lacks a required attribute",
    "not_authorized": "Outreach forbids writing this record",
    "outcome_unknown": "No answer came, and the record has no key to look it up by",
    "owner_not_visible": "A record that the user of the token cannot see has this address",
    "record_not_found": "Outreach has no record with this id, or hides it",
    "refused": "Outreach refuses it",
    "relation_ambiguous": "Several records fit the link",
    "relation_not_found": "The linked record does not exist",
    "relation_refused": "The account for the link could not be created",
    "schema_violation": "The record does not fit the SCHEMA of its stream",
    "server_error": "Outreach answers with an error of its own",
    "stream_map_failed": "An expression of stream_maps fails",
    "validation_error": "Outreach refuses it",
}

SKIPPED = {
    "deleted_in_source": "The source has deleted it",
    "no_match": "It is not in Outreach, and sync_mode is update",
    "no_object": "The object of its stream is not known",
    "object_none": "The object of its stream is none",
    "opted_out": "The prospect has opted out",
}


def in_words(code: str) -> str:
    """Say why a record is rejected or skipped, without a full stop.

    A code of a report or a rejects file that is not known here is taken for words itself.
    """
    known = REJECTED.get(code) or SKIPPED.get(code)
    return known or code.replace("_", " ").capitalize()
