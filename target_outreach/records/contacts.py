"""Email addresses, telephone numbers and domains: how they are read, and when two are the same."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import idna

from target_outreach.records.lists import BETWEEN_ITEMS, items_of, unique, whole_texts
from target_outreach.records.scalars import (
    NUMERIC_TEXT,
    Uncoercible,
    as_text,
    finite,
    plain_number,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_outreach.records.model import Dropped


#: A quote in front is none of the address: spreadsheets mark text by it.
EMAIL = re.compile(
    r"(?!['`])[^\s@<>()\[\],;:\"\\]+@[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)+"
)
#: An address that needs no further look.
PLAIN_EMAIL = re.compile(r"[A-Za-z0-9.+_-]++@[A-Za-z0-9]++(?:\.[A-Za-z0-9]++)++")
LONGEST_EMAIL = 254
NO_DIGITS = re.compile(r"[^0-9]+")
SCHEMES = re.compile(r"\A(?:[a-z][a-z0-9+-]*:/+)+", re.IGNORECASE)
HOST_NAME = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])",
    re.ASCII,
)
#: A telephone number that needs no further look.
PLAIN_PHONE = re.compile(r"[+(]?[0-9](?:[ ()-]{0,3}+[0-9]){6,14}+", re.ASCII)
#: What is between two telephone numbers, but not before an extension of one.
BETWEEN_PHONES = re.compile(r"[,;|\n](?!\s*(?:ext|x|#))", re.IGNORECASE)
#: Letters of the name of a host (RFC 1035).
LONGEST_HOST = 253
SHORTEST_PHONE_SUFFIX = 7
#: Why a value is not delivered although its record is.
NO_HOST = "no host name"
NO_PHONE = "no telephone number"


def as_emails(value: Any) -> list[str]:  # noqa: ANN401
    """Read email addresses, each once.

    Raises:
        Uncoercible: One of them is none.
    """
    if isinstance(value, str) and value.isascii() and is_email(alone := value.strip()):
        return [alone]
    parts = (
        visible(part).strip() for text in whole_texts(value) for part in BETWEEN_ITEMS.split(text)
    )
    addresses = unique([part for part in parts if part], key=email_key)
    if not all(is_email(address) for address in addresses):
        raise Uncoercible("email addresses only, and one of these is not an email address")
    return addresses


def is_email(address: str) -> bool:
    """Whether the text has the form of an address; Outreach judges the rest."""
    if len(address) > LONGEST_EMAIL:
        return False
    return (PLAIN_EMAIL.fullmatch(address) or EMAIL.fullmatch(address)) is not None


def email_key(address: str) -> str:
    """Return what makes two addresses the same: the normal form (NFC) in lower case.

    Characters that nobody sees do not count.
    """
    if address.isascii():
        return address.strip().lower()
    return unicodedata.normalize("NFC", visible(address).strip().lower())


def as_phones(
    value: Any,  # noqa: ANN401
    name: str,
    dropped: list[Dropped],
) -> list[str]:
    """Read telephone numbers, each once; what has too few digits goes to `dropped`.

    Raises:
        Uncoercible: A spreadsheet has rounded one.
    """
    if type(value) is str and PLAIN_PHONE.fullmatch(value):
        return [value]
    kept: list[str] = []
    for phone in _phone_texts(value):
        if len(NO_DIGITS.sub("", phone)) < SHORTEST_PHONE_SUFFIX:
            dropped.append((name, NO_PHONE))
            continue
        place = next((n for n, other in enumerate(kept) if same_phone(phone, other)), None)
        if place is None:
            kept.append(phone)
        elif len(digits(phone)) > len(digits(kept[place])):
            kept[place] = phone  # it says more: the area, or the country
    return kept


def _phone_texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Go through the texts in which a telephone number may be."""
    for item in items_of(value):
        text = str(item) if isinstance(item, Decimal | float) else item
        if text is None:
            continue
        for part in BETWEEN_PHONES.split(as_text(text)):
            halves = part.split(" / ")  # but "0711 / 123456" is one number
            if any(len(NO_DIGITS.sub("", half)) < SHORTEST_PHONE_SUFFIX for half in halves):
                halves = [part]
            yield from (_phone(half.strip()) for half in halves if half.strip())


def _phone(text: str) -> str:
    """Read a number that a spreadsheet took for a quantity, as ``14155550101.0``."""
    if not NUMERIC_TEXT.fullmatch(text) or text.lstrip("+").isdigit():
        return text
    number = finite(Decimal(text))
    if "e" in text.lower() and number.as_tuple().exponent > 0:  # type: ignore[operator] # finite
        raise Uncoercible(
            "telephone numbers with all their digits, and a spreadsheet has rounded this one"
        )
    if number != number.to_integral_value():
        return text
    return ("+" if text[0] == "+" else "") + plain_number(number)


def digits(phone: str) -> str:
    """Return the digits of a telephone number, without a trunk ``0`` behind the country's code."""
    return NO_DIGITS.sub("", phone.replace("(0)", ""))


def same_phone(one: str, other: str) -> bool:
    """Whether two numbers are equal, or one ends with the other's seven digits or more.

    Zeros in front do not count: they stand for a trunk or an international call, and are gone where
    Outreach writes the number with its country's code (API reference 2.5).
    """
    forms = (digits(phone).lstrip("0") or digits(phone) for phone in (one, other))
    ours, theirs = sorted(forms, key=len)
    if not ours:
        return one.strip() == other.strip()
    if len(ours) < SHORTEST_PHONE_SUFFIX:
        return ours == theirs
    return theirs.endswith(ours) or ours in _without_trunk(theirs)


def _without_trunk(number: str) -> Iterator[str]:
    """Drop a trunk ``0`` that may have been kept behind a country's code of one to three digits."""
    for code in range(1, 4):
        if number[code] == "0":
            yield number[:code] + number[code + 1 :]


def as_domain(
    value: Any,  # noqa: ANN401
    name: str,
    dropped: list[Dropped],
) -> str | None:
    """Read the bare host of a domain; what is none goes to `dropped`."""
    host = domain_key(as_text(value))
    if not host:
        dropped.append((name, NO_HOST))
    return host or None


@lru_cache(maxsize=10_000)
def domain_key(domain: str) -> str:
    """Return the bare host of a domain in its IDNA form, or no text where there is no host name.

    Scheme, ``www.``, port, path, case, a trailing dot and invisible characters do not count. An
    address of mail or of the network is no host name, nor are two of them.
    """
    text = SCHEMES.sub("", visible(domain).strip())
    try:
        parts = urlsplit(f"//{text.lstrip('/')}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    host = host.rstrip(".")
    if len(host) > LONGEST_HOST:
        return ""
    if "@" in parts.netloc:
        return ""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii").rstrip(".")
        except idna.IDNAError:
            return ""
    while host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    return host if HOST_NAME.fullmatch(host) else ""
