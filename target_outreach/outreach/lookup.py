"""Looking up many records at a time: which URLs to ask, and reading all their pages.

A list filter means *any of* (API reference 4.1). Its values are separated by commas, so a value
with a comma or with ``..``, which would be a range, goes in the newer ``filter[x][]=`` form. URLs
stay below 4 kB, sparse fieldsets keep the answers small, and ``count=false`` keeps them cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from target_outreach.errors import OutcomeUnknown, OutreachError, RecordFault
from target_outreach.outreach.answers import read_resource
from target_outreach.records.values import domain_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.outreach.client import Client
    from target_outreach.records.catalog import ObjectType
    from target_outreach.records.matching import Resource
    from target_outreach.records.values import Value

LONGEST_URL = 4000
PAGE_SIZE = 1000
ALWAYS_ASKED = ("createdAt",)


def spellings(object_type: ObjectType, field: str, value: Value) -> Iterator[str]:
    """Spell a value of a match field in each way that Outreach may hold it.

    Whether filters mind the case is not known (API reference 4.1), so an address is asked for as
    given and in lower case; a domain as given, bare, and with ``www.``.
    """
    for text in value if isinstance(value, list) else [str(value).strip()]:
        forms = [text]
        kind = object_type.attributes[field].kind if field != "id" else "integer"
        if kind == "emails":
            forms.append(text.lower())
        elif kind == "domain":
            bare = domain_key(text)
            forms += [bare, f"www.{bare}"] if bare else []
        yield from dict.fromkeys(forms)


def lookup_paths(
    client: Client, object_type: ObjectType, field: str, values: Iterable[str], asked: Sequence[str]
) -> list[str]:
    """Write the requests that look up all the values of one field.

    Args:
        client: Whose base URL counts in the length of the whole.
        object_type: What to look up.
        field: The attribute to filter by, or ``id``.
        values: What to look for; the same twice is asked once.
        asked: The attributes and relationships to read.

    Returns:
        Paths with their query, each with as many values as fit.
    """
    wanted = list(dict.fromkeys(values))
    special = [value for value in wanted if "," in value or ".." in value or value[:2] == "__"]
    plain = [quote(value, safe="@") for value in wanted if value not in special]
    fields = ",".join(dict.fromkeys((*asked, *ALWAYS_ASKED)))
    sparse = {f"fields[{object_type.type}]": fields, "page[size]": PAGE_SIZE, "count": "false"}
    common = urlencode(sparse, safe=",")
    start, newer = f"/{object_type.name}?", "newFilterSyntax=true&"
    name = quote(f"filter[{field}]", safe="")
    pairs = [f"{name}%5B%5D={quote(value, safe='@')}" for value in special]
    room = LONGEST_URL - len(client.api_url) - len(start) - len(common)
    return [
        f"{start}{name}={','.join(chunk)}&{common}"
        for chunk in _chunks(plain, room - len(name) - 1)
    ] + [f"{start}{newer}{'&'.join(chunk)}&{common}" for chunk in _chunks(pairs, room - len(newer))]


def _chunks(texts: Iterable[str], room: int) -> Iterator[list[str]]:
    """Cut into chunks of which each fits the room, a separator for each text included."""
    chunk: list[str] = []
    used = 0
    for text in texts:
        if chunk and used + len(text) + 1 > room:
            yield chunk
            chunk, used = [], 0
        chunk.append(text)
        used += len(text) + 1
    if chunk:
        yield chunk


def read_all(client: Client, path: str) -> list[Resource]:
    """Read a list with all its pages.

    Raises:
        OutreachError: An answer is no list of resources.
        RunError: As for any request.
    """
    resources: list[Resource] = []
    following: str | None = path
    while following:
        document = _list_document(client, following)
        try:
            resources += [read_resource(entry) for entry in document["data"]]
        except (KeyError, TypeError, ValueError):
            raise OutreachError("Outreach answered with something else than a list.") from None
        links = document.get("links")
        following = links.get("next") if isinstance(links, dict) else None
    return resources


def _list_document(client: Client, path: str) -> dict[str, Any]:
    try:
        document = client.get(path).document
    except (RecordFault, OutcomeUnknown) as error:
        raise OutreachError(f"Outreach cannot be read: {error}") from None
    return document if isinstance(document, dict) else {}
