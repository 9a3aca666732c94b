"""What a record says of another one that it is to be linked to, until that one is found.

A company is said by its own id in the source, its domain or its name; a person by an address; a
stage or a persona by its name. An Outreach id needs no finding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from target_outreach.errors import RecordFault
from target_outreach.records.free_mail import is_free_mail
from target_outreach.records.values import domain_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.records.mapping import Desired

#: By what a linked record may be said, for each relationship: the part of a column's name behind
#: the point, and the attribute of the linked record; those that say more come first.
PARTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "account": {"id": "id", "customId": "customId", "domain": "domain", "name": "name"},
        "owner": {"id": "id", "email": "email"},
        "stage": {"id": "id", "name": "name"},
        "persona": {"id": "id", "name": "name"},
        "prospect": {"id": "id", "email": "emails"},
        "sequence": {"id": "id", "name": "name"},
        "mailbox": {"id": "id", "email": "email"},
    }
)


#: A domain in ASCII, whose last part is no number, as that of an address on the network is.
HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z0-9-]*[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Reference:
    """A record of Outreach that another one names.

    Attributes:
        relationship: The relationship that it is named for.
        values: What is said of it, by the part of the column's name, as given; none is blank.
    """

    relationship: str
    values: tuple[tuple[str, str], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Say by which columns it is named, as ``account.domain``."""
        return tuple(f"{self.relationship}.{part}" for part, _ in self.values)

    @property
    def attributes(self) -> dict[str, str | list[str]]:
        """Return what is said of the linked record, by its own attributes."""
        names = PARTS[self.relationship]
        return {
            names[part]: [text] if names[part] == "emails" else text for part, text in self.values
        }

    def missing(self, why_not_created: str | None = None) -> RecordFault:
        """Say that nothing in Outreach fits.

        Args:
            why_not_created: Why it is not created, where the settings would have it, as a clause.
        """
        rest = f", and {why_not_created}" if why_not_created else "; see on_missing_relation"
        message = f"Nothing in Outreach fits {' and '.join(self.parts)}{rest}."
        return RecordFault("relation_not_found", message, field=self.parts[0])

    def ambiguous(self, ids: Sequence[int]) -> RecordFault:
        """Say that several records fit, naming their ids."""
        found = ", ".join(map(str, ids))
        message = f"Several records in Outreach fit {' and '.join(self.parts)}: {found}."
        return RecordFault("relation_ambiguous", message, field=self.parts[0])

    def refused(self, fault: RecordFault) -> RecordFault:
        """Say of a fault of the linked record that it is not this one's own."""
        return RecordFault(
            "relation_refused",
            f"The {self.relationship} that it is to be linked to: {fault.message}",
            field=self.parts[0],
            detail=fault.detail,
        )


def new_account(reference: Reference, desired: Desired) -> Mapping[str, str] | str:
    """Say what an account is made of that a record names and that is not there.

    Its name is the one that the record says, else the company's in the record, else the domain,
    which is written bare, so that it is found again however the next row spells it.

    Returns:
        The attributes, or the clause that says why none is made.
    """
    values = dict(reference.values)
    if (domain := values.get("domain")) is not None:
        values["domain"] = domain_key(domain)
        if not HOST.fullmatch(values["domain"]):
            return "what stands in account.domain is no domain"
        if is_free_mail(domain):
            return "anybody can have a mailbox at that domain, so no account is made for it"
    company = desired.attributes.get("company")
    own = company if isinstance(company, str) else None
    name = values.get("name") or own or values.get("domain")
    return {**values, "name": name} if name else "nothing names the account to be made"
