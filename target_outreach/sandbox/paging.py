"""Sorting and paging of a list, by cursor or by offset (API reference 4.2)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from target_outreach.sandbox import errors, schema
from target_outreach.sandbox.database import Condition
from target_outreach.sandbox.resources import object_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Record

DEFAULT_SIZE = 50
MAX_SIZE = 1000
MAX_OFFSET = 10_000
_POSITIONS = ("page[after]", "page[before]", "page[offset]")


@dataclass(frozen=True, slots=True)
class SortKey:
    """One attribute to sort by; `id` always comes last, so that the order is total."""

    name: str
    descending: bool = False

    @property
    def sql(self) -> str:
        """The expression that is compared; texts that are not set come first."""
        if self.name in {"id", "createdAt", "updatedAt"}:
            return "id" if self.name == "id" else schema.value(self.name)
        return f"ifnull({schema.value(self.name)}, '')"

    def of(self, record: Record) -> object:
        """Return the value of a record, as `sql` yields it."""
        return record.id if self.name == "id" else record.attributes.get(self.name, "")

    def reversed(self) -> SortKey:
        """Return the key for the way back."""
        return SortKey(self.name, not self.descending)


@dataclass(frozen=True, slots=True)
class Page:
    """What a list answers: records, and the changes of the query that lead to other pages."""

    records: list[Record]
    links: dict[str, dict[str, str] | None]


def sort_keys(object_name: str, text: str) -> tuple[SortKey, ...]:
    """Read ``sort=lastName,-createdAt``.

    Raises:
        ApiError: 400 on an attribute that cannot be sorted by.
    """
    attributes = object_type(object_name).attributes
    keys = [SortKey(part.lstrip("-"), part.startswith("-")) for part in text.split(",") if part]
    for key in keys:
        if key.name != "id" and not (key.name in attributes and attributes[key.name].sortable):
            raise errors.invalid_parameter("sort")
    if not any(key.name == "id" for key in keys):
        keys.append(SortKey("id", bool(keys) and keys[-1].descending))
    return tuple(keys)


def page_size(parameters: Mapping[str, str], profile: Profile) -> int:
    """Return the number of records on a page.

    Raises:
        ApiError: 400 where it is no positive number, or too large and the profile is strict.
    """
    text = parameters.get("page[size]", parameters.get("page[limit]", str(DEFAULT_SIZE)))
    size = _whole(text)
    if size < 1 or (size > MAX_SIZE and profile.oversized_page == "error"):
        raise errors.invalid_parameter("page")
    return min(size, MAX_SIZE)


def by_offset(
    database: Database,
    object_name: str,
    where: Sequence[Condition],
    parameters: Mapping[str, str],
    profile: Profile,
) -> Page:
    """Read a page of the deprecated kind, counted from the start.

    Raises:
        ApiError: 400 beyond an offset of 10,000, or where a number is none.
    """
    size, offset = page_size(parameters, profile), _whole(parameters.get("page[offset]", "0"))
    if not 0 <= offset <= MAX_OFFSET:
        raise errors.invalid_parameter("page")
    keys = sort_keys(object_name, parameters.get("sort", ""))
    records = database.select(object_name, where, _order(keys), size, offset)
    last = max(0, database.count(object_name, where) - 1) // size * size
    starts = {"first": 0, "prev": offset - size if offset else None, "last": last}
    starts["next"] = offset + size if offset < last else None
    links = {
        name: None if start is None else {"page[offset]": str(max(0, start))}
        for name, start in starts.items()
    }
    return Page(records, links)


def by_cursor(
    database: Database,
    object_name: str,
    where: Sequence[Condition],
    parameters: Mapping[str, str],
    profile: Profile,
) -> Page:
    """Read the page after or before a cursor, or the first one.

    Raises:
        ApiError: 400 where the cursor or the size cannot be read.
    """
    keys = sort_keys(object_name, parameters.get("sort", ""))
    after, before = parameters.get("page[after]"), parameters.get("page[before]")
    walked = tuple(key.reversed() for key in keys) if before else keys
    cursor = before or after
    if cursor:
        where = [*where, _beyond(walked, _decoded(cursor, len(keys)))]
    size = page_size(parameters, profile)
    found = database.select(object_name, where, _order(walked), size + 1)
    more, records = len(found) > size, found[:size]
    if before:
        records.reverse()
    further = {"next": more or bool(before), "prev": more if before else bool(after)}
    return Page(records, _cursor_links(keys, records, further))


def link_urls(
    page: Page, url: str, parameters: Sequence[tuple[str, str]], profile: Profile
) -> dict[str, str | None] | None:
    """Write the links of a page as absolute URLs; None where the page is empty (3.1)."""
    if not page.records:
        return None
    # tap-outreach adds its parameters to every next link anew, and its URLs never grow too long:
    # what is given again must not be repeated.
    single = {key: value for key, value in parameters if not key.endswith("[]")}
    several = [(key, value) for key, value in parameters if key.endswith("[]")]
    kept = [(k, v) for k, v in (*single.items(), *several) if k not in _POSITIONS]
    return {
        name: None if move is None else f"{url}?{urlencode([*kept, *move.items()])}".rstrip("?")
        for name, move in page.links.items()
        if move is not None or profile.edge_links == "null"
    }


def _cursor_links(
    keys: Sequence[SortKey], records: Sequence[Record], further: Mapping[str, bool]
) -> dict[str, dict[str, str] | None]:
    links: dict[str, dict[str, str] | None] = {"first": {}, "prev": None, "next": None}
    if records and further["prev"]:
        links["prev"] = {"page[before]": _encoded(keys, records[0])}
    if records and further["next"]:
        links["next"] = {"page[after]": _encoded(keys, records[-1])}
    return links


def _order(keys: Sequence[SortKey]) -> str:
    return ", ".join(f"{key.sql}{' DESC' if key.descending else ''}" for key in keys)


def _beyond(keys: Sequence[SortKey], values: Sequence[str | float]) -> Condition:
    """Match what comes after these values in the order of the keys."""
    key, value = keys[0], values[0]
    sign = "<" if key.descending else ">"
    if len(keys) == 1:
        return Condition(f"{key.sql} {sign} ?", (value,))
    rest = _beyond(keys[1:], values[1:])
    # The first comparison is implied by the others; it lets SQLite start in the index.
    sql = f"({key.sql} {sign}= ? AND ({key.sql} {sign} ? OR ({rest.sql})))"
    return Condition(sql, (value, value, *rest.values))


def _encoded(keys: Sequence[SortKey], record: Record) -> str:
    values = json.dumps([key.of(record) for key in keys])
    return base64.urlsafe_b64encode(values.encode()).decode()


def _decoded(cursor: str, length: int) -> list[str | float]:
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor))
    except ValueError:
        content = None
    values = content if isinstance(content, list) else []
    scalars = [value for value in values if isinstance(value, (str, int, float))]
    if len(scalars) != length:
        raise errors.invalid_parameter("page")
    return scalars


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise errors.invalid_parameter("page") from None
