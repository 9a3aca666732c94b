"""Reads the queries of requests: about them Outreach's OpenAPI document says nothing to machines.

Which parameters there are is known from Outreach's guides. Which names may be in them comes from
the document: its objects have the attributes and relationships, and the descriptions say by badges
and sentences what can be filtered and sorted by.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json = dict[str, Any]

LARGEST_PAGE = 1000
LARGEST_OFFSET = 10_000
SEARCHABLE = {"prospect", "account"}
OPEN_ENDS = {"inf", "neginf"}
NULLS = {"__null__", "__notnull__"}
BY_CURSOR = {"page[size]", "page[after]", "page[before]"}
BY_OFFSET = {"page[limit]", "page[offset]"}
PAGING = BY_CURSOR | BY_OFFSET

_BADGE = re.compile(r"badges/(\w+)\.svg")
_FILTERABLE_LINK = re.compile(r"You can use (?:only the attribute|attributes) (.+?) to filter")
_ACTION_PARAMETER = re.compile(r"adding in the request (actionParams\[\w+\])")
_OPEN_LINK = re.compile(r"You can use any filterable attribute of (\w+)")
_FILTER = re.compile(r"filter((?:\[\w*\])+)")
_FIELDS = re.compile(r"fields\[(\w+)\]")


def badges(part: Mapping[str, Any]) -> set[str]:
    """Return the badges of an attribute or relationship: readonly, filterable, sortable."""
    return set(_BADGE.findall(part.get("description", "")))


@dataclass(frozen=True)
class Resource:
    """One object of the document: its type and the schemas of its attributes and relationships."""

    type: str
    attributes: Mapping[str, Json]
    relationships: Mapping[str, Json]

    @cached_property
    def filterable(self) -> set[str]:
        """What the object can be filtered by, links apart."""
        search = {"q"} if self.type in SEARCHABLE else set()
        return {"id"} | search | self._with_badge("filterable")

    @cached_property
    def sortable(self) -> set[str]:
        """What the object can be sorted by."""
        return {"id"} | self._with_badge("sortable")

    @cached_property
    def action_parameters(self) -> set[str]:
        """What else a read may ask for, as a relationship says."""
        found = (part.get("description", "") for part in self.relationships.values())
        return {name for text in found for name in _ACTION_PARAMETER.findall(text)}

    @cached_property
    def filterable_links(self) -> dict[str, set[str]]:
        """By which attributes of the other side each relationship can be filtered."""
        found = {
            name: _FILTERABLE_LINK.search(part.get("description", ""))
            for name, part in self.relationships.items()
        }
        return {name: set(re.split(", | and ", match[1])) for name, match in found.items() if match}

    @cached_property
    def open_links(self) -> dict[str, str]:
        """By which relationships all can be filtered that the other side can, with its type."""
        found = {
            name: _OPEN_LINK.search(part.get("description", ""))
            for name, part in self.relationships.items()
        }
        return {name: match[1] for name, match in found.items() if match}

    def _with_badge(self, badge: str) -> set[str]:
        return {name for name, part in self.attributes.items() if badge in badges(part)}


def find_resources(document: Json) -> dict[str, Resource]:
    """Find the objects of a document by the plural in the paths of their lists."""
    schemas = document["components"]["schemas"]
    found = {}
    for path, operations in document["paths"].items():
        content = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        for answer in content.values():
            data = answer.get("schema", {}).get("properties", {}).get("data", {})
            reference = data.get("items", {}).get("$ref", "")
            name = reference.rpartition("/")[2].removesuffix("Response")
            if name in schemas:
                attributes = schemas[name].get("properties", {})
                links = schemas.get(f"{name}Relationships", {}).get("properties", {})
                found[path.strip("/")] = Resource(name, attributes, links)
    return found


class QueryChecker:
    """Reads the query of one request.

    Args:
        resources: All objects, by the plural.
        name: Plural of the object that the request is about.
        method: The HTTP method.
        whole: Whether the request is about all objects of the name, and not about one of them.
    """

    def __init__(
        self, resources: Mapping[str, Resource], name: str, method: str, *, whole: bool
    ) -> None:
        self._by_type = {resource.type: resource for resource in resources.values()}
        self._resource = resources[name]
        self._reads = method == "GET"
        self._lists = self._reads and whole
        self._new_syntax = False

    def violations(self, pairs: list[tuple[str, str]]) -> Iterator[str]:
        """Say what is wrong with the decoded parameters."""
        self._new_syntax = dict(pairs).get("newFilterSyntax") == "true"
        counts = Counter(name for name, _ in pairs)
        yield from (
            f"{name} is given {count} times"
            for name, count in counts.items()
            if count > 1 and not name.endswith("[]")
        )
        if counts.keys() & BY_CURSOR and counts.keys() & BY_OFFSET:
            yield "pages are counted by cursor or by offset, not by both"
        for name, text in pairs:
            yield from self._parameter(name, text)

    def _parameter(self, name: str, text: str) -> Iterator[str]:
        if match := _FIELDS.fullmatch(name):
            yield from self._fields(match[1], text)
        elif name == "include":
            yield from self._include(text)
        elif match := _FILTER.fullmatch(name):
            yield from self._filter(name, match[1][1:-1].split("]["), text)
        elif name in PAGING:
            yield from _page(name, text)
        elif name == "sort":
            yield from self._sort(text)
        elif name not in {"count", "newFilterSyntax"} | self._resource.action_parameters:
            yield f"no parameter is called {name}"
        elif text not in {"true", "false"}:
            yield f"{name} is true or false"
        if (
            not self._lists
            and name not in {"include"} | self._resource.action_parameters
            and not _FIELDS.fullmatch(name)
        ):
            yield f"{name} is for lists only"

    def _fields(self, kind: str, text: str) -> Iterator[str]:
        resource = self._by_type.get(kind)
        if resource is None:
            yield f"fields[{kind}]: no such type"
            return
        for field in text.split(","):
            if field not in resource.attributes and field not in resource.relationships:
                yield f"fields[{kind}]: no such field as {field!r}"

    def _include(self, text: str) -> Iterator[str]:
        if not self._reads:
            yield "include is refused on writes"
        for path in text.split(","):
            if path.partition(".")[0] not in self._resource.relationships:
                yield f"include: no such relationship as {path!r}"

    def _sort(self, text: str) -> Iterator[str]:
        for key in text.split(","):
            if key.removeprefix("-") not in self._resource.sortable:
                yield f"{self._resource.type} cannot be sorted by {key!r}"

    def _filter(self, name: str, path: list[str], text: str) -> Iterator[str]:
        if path[-1] in {"", "gte", "lte"}:
            path.pop()
            if not self._new_syntax:
                yield f"{name} needs newFilterSyntax=true"
        match path:
            case [attribute] if attribute in self._resource.filterable:
                yield from self._values(name, self._kind(attribute), text)
            case [link, attribute] if attribute in self._resource.filterable_links.get(link, ()):
                yield from self._values(name, "integer" if attribute == "id" else "text", text)
            case [link, attribute] if attribute in self._other_side(link):
                yield from self._values(name, "integer" if attribute == "id" else "text", text)
            case _:
                yield f"{self._resource.type} cannot be filtered by {'.'.join(path)}"

    def _other_side(self, link: str) -> set[str]:
        resource = self._by_type.get(self._resource.open_links.get(link, ""))
        return set() if resource is None else resource.filterable

    def _kind(self, name: str) -> str:
        """Return the type of what is compared: of an array, that of its items."""
        if name in {"id", "q"}:
            return "integer" if name == "id" else "text"
        schema = self._resource.attributes[name]
        schema = schema.get("items", schema)
        return schema.get("format", "text") if schema["type"] == "string" else schema["type"]

    def _values(self, name: str, kind: str, text: str) -> Iterator[str]:
        for value in [text] if self._new_syntax else text.split(","):
            bounds = [value] if self._new_syntax or value in NULLS else value.split("..", 1)
            if not all(_readable(bound, kind) for bound in bounds if bound not in OPEN_ENDS):
                yield f"{name} takes no such value as {value!r}"


def _page(name: str, text: str) -> Iterator[str]:
    if name in {"page[size]", "page[limit]"}:
        if not (text.isdecimal() and 1 <= int(text) <= LARGEST_PAGE):
            yield f"{name} is a number from 1 to {LARGEST_PAGE}"
    elif name == "page[offset]":
        if not (text.isdecimal() and int(text) <= LARGEST_OFFSET):
            yield f"{name} is a number up to {LARGEST_OFFSET}"
    elif not text:
        yield f"{name} is empty"


def _readable(text: str, kind: str) -> bool:
    if text in NULLS:
        return True
    try:
        _READERS.get(kind, str)(text)
    except (KeyError, ValueError):
        return False
    return bool(text)


_READERS: dict[str, Callable[[str], object]] = {
    "integer": int,
    "number": float,
    "boolean": {"true": True, "false": False}.__getitem__,
    "date": datetime.fromisoformat,
    "date-time": datetime.fromisoformat,
}
