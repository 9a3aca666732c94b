"""What a record says of another one that it is to be linked to, until that one is found.

A company is said by its own id in the source, its domain or its name; a person by an address; a
stage or a persona by its name. An Outreach id needs no finding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.records.contacts import domain_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.records.model import Desired, ObjectType, Reference


def new_account(reference: Reference, desired: Desired) -> Mapping[str, str] | None:
    """Say what an account is made of that a record names and that is not there.

    Its name is the one that the record says, else the company's in the record, else the domain,
    which is written bare, so that it is found again however the next row spells it.

    Args:
        reference: What the record says of the account.
        desired: The record.

    Returns:
        The attributes, or None where nothing names the account.
    """
    values = dict(reference.values)
    if "domain" in values:
        values["domain"] = domain_key(values["domain"])
    company = desired.attributes.get("company")
    own = company if isinstance(company, str) else None
    name = values.get("name") or own or values.get("domain")
    return {**values, "name": name} if name else None


def with_company(object_type: ObjectType, desired: Desired, left_out: Reference) -> Desired:
    """Let the name of an account that a record is not linked to fill an empty company.

    Args:
        object_type: What the record is.
        desired: The record.
        left_out: What is not found, so that the record is delivered without it.
    """
    name = dict(left_out.values).get("name")
    has_company = left_out.relationship == "account" and "company" in object_type.attributes
    if not has_company or name is None or desired.attributes.get("company"):
        return desired
    return replace(desired, attributes={**desired.attributes, "company": name}, fills=("company",))
