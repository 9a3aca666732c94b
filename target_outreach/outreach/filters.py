"""Filters of lists in a query: how values are spelled, encoded, divided and counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from target_outreach.records.contacts import domain_key
from target_outreach.records.matching import comparable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.records.model import ObjectType, Resource, Value

#: Makes lists of accounts show unnamed ones too; by default they do not (API reference 2.3).
NAMED_OR_NOT = "filter%5Bnamed%5D=__notnull__"

#: Records that one value of a filter may have, on average, before a list is divided.
RECORDS_A_VALUE = 10

#: A value that goes into a query as it is.
PLAIN = re.compile(r"[\w.~@-]*", re.ASCII)


def spellings(object_type: ObjectType, field: str, value: Value) -> Iterator[str]:
    """Spell a value of a match field in each way that Outreach may hold it.

    Whether filters are case-sensitive is not known (API reference 4.1), so an address is looked up
    as given and in lower case; a domain as given, bare, and with ``www.``.
    """
    kind = object_type.attributes[field].kind if field != "id" else "integer"
    for text in value if isinstance(value, list) else [str(value).strip()]:
        forms = [text]
        if kind == "emails":
            if (lower := text.lower()) != text:
                forms.append(lower)
            yield from forms
            continue
        if kind == "domain":
            bare = domain_key(text)
            forms += [bare, f"www.{bare}"] if bare else []
        elif field != "customId":
            forms.append(" ".join(text.split()))
        yield from dict.fromkeys(forms)


def most_records(path: str) -> int | None:
    """Return how many records a list may have at most; None for a list without a filter."""
    query = unquote(path.partition("?")[2])
    filters = [part.partition("=") for part in query.split("&") if part.startswith("filter")]
    values = sum(1 + text.count(",") for _, _, text in filters)
    is_by_id = all(name in {"filter[id]", "filter[id][]"} for name, _, _ in filters)
    return (values if is_by_id else values * RECORDS_A_VALUE) or None


def halved(path: str) -> list[str]:
    """Divide a lookup into two with half of its values each, if it has several."""
    start, _, query = path.partition("?")
    parts = query.split("&")
    lists = [part for part in parts if part.startswith("filter") and part != NAMED_OR_NOT]
    others = [part for part in parts if part not in lists]
    if len(lists) == 1:
        name, _, values = lists[0].partition("=")
        texts = values.split(",")
        halves = [texts[: len(texts) // 2], texts[len(texts) // 2 :]]
        found = [[f"{name}={','.join(half)}"] for half in halves if half]
    else:
        found = [half for half in (lists[: len(lists) // 2], lists[len(lists) // 2 :]) if half]
    return [f"{start}?{'&'.join([*half, *others])}" for half in found]


def quoted(text: str) -> str:
    """Encode a value for a query; `quote` goes letter by letter through those with an ``@``."""
    return text if PLAIN.fullmatch(text) else quote(text, safe="@")


def texts_to_test(
    object_type: ObjectType, field: str, known: Sequence[Resource]
) -> dict[str, set[int]]:
    """Take the records' values of a field, with the ids that have each.

    Values with unusual blanks are ignored: how filters treat those is another question.
    """
    texts: dict[str, set[int]] = {}
    for resource in known:
        value = resource.attributes.get(field)
        if isinstance(value, list):
            value = value[0] if value else None
        if not isinstance(value, str) or value != " ".join(value.split()):
            continue
        if comparable(object_type, field, value):
            texts.setdefault(value, set()).add(resource.id)
    return texts


def in_other_case(field: str, texts: dict[str, set[int]]) -> dict[str, set[int]]:
    """Swap the case of ASCII letters, whose case nobody disagrees about but in a `customId`."""
    if field == "customId":
        return texts
    swapped: dict[str, set[int]] = {}
    for text, ids in texts.items():
        other = "".join(letter.swapcase() if letter.isascii() else letter for letter in text)
        swapped.setdefault(other, set()).update(ids)
    return swapped


def chunks(texts: Iterable[str], room: int, most: int) -> Iterator[list[str]]:
    """Cut into chunks of at most so many texts that fit the room, with a separator for each."""
    chunk: list[str] = []
    used = 0
    for text in texts:
        if chunk and (used + len(text) + 1 > room or len(chunk) >= most):
            yield chunk
            chunk, used = [], 0
        chunk.append(text)
        used += len(text) + 1
    if chunk:
        yield chunk
