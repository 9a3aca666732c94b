"""What a record says of another one that it is to be linked to, until that one is found.

A company is said by its own id in the source, its domain or its name; a person by an address; a
stage or a persona by its name. An Outreach id needs no finding.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from target_outreach.records.shared_hosts import is_shared
from target_outreach.records.values import domain_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from target_outreach.records.model import Desired, Reference


#: A domain in ASCII, whose last part is no number, as that of an address on the network is.
HOST = re.compile(r"(?:[a-z0-9-]+\.)+[0-9-]*[a-z][a-z0-9-]*")


def new_account(
    reference: Reference, desired: Desired, shared_domains: Collection[str]
) -> Mapping[str, str] | str:
    """Say what an account is made of that a record names and that is not there.

    Its name is the one that the record says, else the company's in the record, else the domain,
    which is written bare, so that it is found again however the next row spells it.

    Args:
        reference: What the record says of the account.
        desired: The record.
        shared_domains: Hosts that many companies share, beside those that are known.

    Returns:
        The attributes, or the clause that says why none is made.
    """
    values = dict(reference.values)
    if (domain := values.get("domain")) is not None:
        values["domain"] = domain_key(domain)
        if not HOST.fullmatch(values["domain"]):
            return "what stands in account.domain is no domain"
        if is_shared(values["domain"], shared_domains):
            return "many companies share that domain, so no account is made for it"
    company = desired.attributes.get("company")
    own = company if isinstance(company, str) else None
    name = values.get("name") or own or values.get("domain")
    return {**values, "name": name} if name else "nothing names the account to be made"
