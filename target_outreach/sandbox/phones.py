"""How Outreach keeps telephone numbers: E.164, by the country of the record's owner (2.5)."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from target_outreach.sandbox.resources import object_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.resources import Change, Record

#: Calling codes of some countries, and the first digits of a national number there that are omitted
#: behind the code.
COUNTRIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "AT": ("43", "0"),
        "AU": ("61", "0"),
        "BE": ("32", "0"),
        "BR": ("55", "0"),
        "CA": ("1", "1"),
        "CH": ("41", "0"),
        "DE": ("49", "0"),
        "DK": ("45", ""),
        "ES": ("34", ""),
        "FI": ("358", "0"),
        "FR": ("33", "0"),
        "GB": ("44", "0"),
        "IE": ("353", "0"),
        "IN": ("91", "0"),
        "IT": ("39", ""),
        "JP": ("81", "0"),
        "MX": ("52", ""),
        "NL": ("31", "0"),
        "NO": ("47", ""),
        "NZ": ("64", "0"),
        "PL": ("48", ""),
        "PT": ("351", ""),
        "SE": ("46", "0"),
        "US": ("1", "1"),
        "ZA": ("27", "0"),
    }
)

#: Digits of the shortest number that is taken for one with its country's code, if it begins so.
LONG = 11


def with_phones(change: Change, before: Record | None, database: Database) -> Change:
    """Write the telephone numbers of a prospect as Outreach keeps them.

    Args:
        change: What is to be written.
        before: The prospect as it is; None for a new one.
        database: For the country of the owner, `phoneCountryCode` as ``GB``.
    """
    known = object_type("prospects").attributes
    names = [
        name
        for name, phones in change.attributes.items()
        if known[name].kind == "phones" and phones
    ]
    if not names:
        return change
    links = {**({} if before is None else before.relationships), **change.relationships}
    owner = links.get("owner")
    user = None if owner is None else database.find("users", owner)
    country = "US" if user is None else str(user.attributes.get("phoneCountryCode", "US"))
    kept = {
        name: [international(phone, country) for phone in change.attributes[name]] for name in names
    }
    return replace(change, attributes={**change.attributes, **kept})


def international(phone: str, country: str = "US") -> str:
    """Write a telephone number as ``+`` and digits.

    Args:
        phone: As it was typed.
        country: Two letters; whose number it is, if it does not say so itself.
    """
    text = phone.strip().replace("(0)", "") if phone.strip().startswith("+") else phone.strip()
    digits = re.sub(r"\D", "", text)
    if not digits:
        return phone
    if text.startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    code, trunk = COUNTRIES.get(country.upper(), COUNTRIES["US"])
    if len(digits) >= LONG and digits.startswith(code):
        return f"+{digits}"
    return f"+{code}{digits.removeprefix(trunk)}"
