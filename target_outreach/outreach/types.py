"""Asking what an organisation has made of its custom fields (API reference 1.1)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from target_outreach.errors import OutcomeUnknown, RecordFault, RunError
from target_outreach.records.custom_fields import read_types

if TYPE_CHECKING:
    from target_outreach.outreach.client import Client
    from target_outreach.records.custom_fields import CustomFields

logger = logging.getLogger("target-outreach")

#: Statuses by which Outreach says that it does not tell, or has no such thing to ask.
REFUSALS = frozenset({403, 404})


def ask_custom_fields(client: Client) -> CustomFields:
    """Ask for the labels and types of all custom fields; it costs a request.

    Where Outreach does not say them, a warning says so, and custom fields are known by number.

    Raises:
        RunError: As for any request.
    """
    fields = None
    why = "its answer is of another form"
    try:
        fields = read_types(client.get("/types").document)
    except (RecordFault, OutcomeUnknown, RunError) as error:
        if error.status not in REFUSALS:
            raise
        why = str(error.status)
    if fields is None:
        logger.warning(
            "Outreach does not tell what its custom fields are (%s): they are known by their "
            "numbers only, and their values are not checked before they are sent.",
            why,
        )
    return fields or {}
