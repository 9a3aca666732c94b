"""What a record says of another one that it is to be linked to, until that one is found.

A company is said by its own id in the source, its domain or its name; a person by an address; a
stage or a persona by its name. An Outreach id needs no finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from target_outreach.errors import RecordFault
from target_outreach.records.free_mail import is_free_mail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.records.mapping import Desired

#: What a record is linked to if nothing fits: nothing, so that it is rejected or goes without; or
#: a new account.
OnMissing = Literal["reject", "skip", "create"]

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

    def missing(self) -> RecordFault:
        """Say that nothing in Outreach fits."""
        message = f"Nothing in Outreach fits {' and '.join(self.parts)}."
        return RecordFault("relation_not_found", message, field=self.parts[0])

    def ambiguous(self, ids: Sequence[int]) -> RecordFault:
        """Say that several records fit, naming their ids."""
        found = ", ".join(map(str, ids))
        message = f"Several records in Outreach fit {' and '.join(self.parts)}: {found}."
        return RecordFault("relation_ambiguous", message, field=self.parts[0])


def new_account(reference: Reference, desired: Desired) -> Mapping[str, str] | None:
    """Say what an account is made of that a record names and that is not there.

    Its name is the one that the record says, else the company's in the record, else the domain.

    Returns:
        The attributes, or None where none is to be made: nothing names it, or the domain is one of
        which anybody can have an address.
    """
    values = dict(reference.values)
    domain = values.get("domain")
    if domain is not None and is_free_mail(domain):
        return None
    company = desired.attributes.get("company")
    name = values.get("name") or (company if isinstance(company, str) else None) or domain
    return {**values, "name": name} if name else None
