"""What the sandbox's page shows of the records: lists, one record with its history, and the rest.

Values are made into texts here, because a browser would round large numbers. A text stands for
itself, a list of texts for a list, and None for nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox.accounts import NAMED
from target_outreach.sandbox.database import Condition
from target_outreach.sandbox.discovery import WITH_CUSTOM_FIELDS
from target_outreach.sandbox.resources import Record, links_to, object_type, render
from target_outreach.sandbox.schema import related, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from target_outreach.sandbox.store import Store, Write

PAGE_SIZE = 50
MAX_HISTORY = 200
MAX_SEARCH = 200
MAX_OWNERS = 200
MAX_DIGITS = 16

#: What lists can be filtered by: relationships and attributes.
FILTERS = ("account", "owner", "tags", "optedOut")

_LAST_ID = 2**63 - 1
# Any text or number of a record but times, also one in a list. LIKE knows the case of ASCII only,
# but what is filtered by is there in folded form too. Few bodies have to be taken apart.
_LIKE = "LIKE ? ESCAPE '\\'"
_IS_SHOWN = "type IN ('text', 'integer', 'real') AND key NOT LIKE '%At'"
_FOUND = f"""(id = ? OR ((body {_LIKE} OR body {_LIKE}) AND EXISTS (
    SELECT 1 FROM json_tree(body, '$.attributes') WHERE {_IS_SHOWN} AND atom {_LIKE}
    UNION ALL SELECT 1 FROM json_tree(body, '$.folded') WHERE atom {_LIKE}
)))"""  # noqa: S608 - of constants only

Cell = dict[str, Any]
Shown = str | list[str] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records a list shows.

    Attributes:
        search: Words, all of which must be in a record.
        page: Which page, from 1.
        sort: The column to sort by, with ``-`` before it from the end; empty for the time of the
            last change, the latest first.
        linked: Relationship and id that the records must be linked to; None for any.
        filters: Texts by the name of a filter, of `FILTERS`.
    """

    search: str = ""
    page: int = 1
    sort: str = ""
    linked: tuple[str, int] | None = None
    filters: Mapping[str, str] = field(default_factory=dict)


class Look:
    """One look at the records; what links are called is read once.

    Args:
        store: The records.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._titles: dict[tuple[str, int], str] = {}

    def counts(self) -> dict[str, int]:
        """Return how many records there are of each object."""
        return {name: self._store.count(name) for name in load_catalog()}

    def records(self, name: str, wanted: Wanted) -> Cell:
        """Return a page of a list.

        Args:
            name: Plural name of the object.
            wanted: Which of the records.

        Raises:
            KeyError: The object has no such relationship or column.
        """
        last_write = self._store.last_write()
        # Unnamed accounts are not shown, as in Outreach's own pages (2.3).
        where = [NAMED] if name == "accounts" else []
        where += [_found(word) for word in wanted.search[:MAX_SEARCH].split()]
        where += _filtered(name, wanted.filters)
        if (linked := wanted.linked) is not None:
            link = object_type(name).relationships[linked[0]]
            where.append(_linked(link.name, linked[1]))
        order = _order(name, wanted.sort)
        skipped = (wanted.page - 1) * PAGE_SIZE
        found = self._store.select(name, where, order, PAGE_SIZE, skipped)
        return {
            "object": name,
            "columns": list(object_type(name).columns),
            "rows": [self._row(name, record) for record in found],
            "count": self._count(name, where, skipped, len(found)),
            "first": skipped + 1,
            "last_write": last_write,
            "linked": None if linked is None else self._cell(link.object, linked[1]),
            "page_size": PAGE_SIZE,
            "filters": self._filters(name),
        }

    def _filters(self, name: str) -> Cell:
        """Return the filters of an object, with the choices of those that have few."""
        kind = object_type(name)
        found: Cell = {
            one: None for one in FILTERS if one in {*kind.relationships, *kind.attributes}
        }
        if "owner" in found:
            users = self._store.select("users", limit=MAX_OWNERS)
            found["owner"] = [[str(user.id), _title("users", user)] for user in users]
        if "optedOut" in found:
            found["optedOut"] = [["yes", "opted out"], ["no", "not opted out"]]
        return found

    def record(self, name: str, record_id: int) -> Cell | None:
        """Return a record and the latest writes of it; None where there never was one."""
        last_write = self._store.last_write()
        record = self._store.find(name, record_id)
        writes = self._store.writes(name, record_id)
        if record is None and not writes:
            return None
        shown = record or Record(record_id, {}, {})
        latest = writes[: -MAX_HISTORY - 1 : -1]
        return {
            "object": name,
            "id": record_id,
            "title": _title(name, shown),
            "deleted": record is None,
            "address": render(name, shown)["links"]["self"],
            "attributes": self._attributes(name, shown),
            "relationships": self._links(name, shown.relationships),
            "linked_from": self._linked_from(name, record_id),
            "history": [self._write(name, write) for write in latest],
            "writes": len(writes),
            "last_write": last_write,
        }

    def rest(self) -> Cell:
        """Return what else there is: custom fields and imports."""
        return {
            "organisation": self._store.organisation(),
            "custom_fields": [
                {"object": name, "name": field, **{key: show(text) for key, text in rules.items()}}
                for name in WITH_CUSTOM_FIELDS
                for field, rules in self._store.custom_fields(name).items()
            ],
            "imports": [asdict(run) for run in self._store.imports()[: -MAX_HISTORY - 1 : -1]],
        }

    def _row(self, name: str, record: Record) -> Cell:
        links = object_type(name).relationships
        cells = [
            self._cell(links[column].object, record.relationships.get(column))
            if column in links
            else show(record.attributes.get(column))
            for column in object_type(name).columns
        ]
        return {"id": record.id, "title": _title(name, record), "cells": cells}

    def _count(self, name: str, where: Sequence[Condition], skipped: int, found: int) -> int:
        """Count, unless the end of the list is in sight."""
        if 0 < found < PAGE_SIZE or (not found and not skipped):
            return skipped + found
        return self._store.count(name, where)

    def _attributes(self, name: str, record: Record) -> list[Cell]:
        rules = self._store.custom_fields(name)
        return [
            {
                "name": attribute,
                "label": rules.get(attribute, {}).get("label"),
                "value": show(content),
                "blank": attribute not in record.attributes,
            }
            for attribute, content in render(name, record)["attributes"].items()
        ]

    def _links(self, name: str, related_ids: Mapping[str, int | None]) -> list[Cell]:
        return [
            {"name": link.name, "link": self._cell(link.object, related_ids.get(link.name))}
            for link in object_type(name).relationships.values()
        ]

    def _linked_from(self, name: str, record_id: int) -> list[Cell]:
        found = [
            (table, link, self._store.count(table, [_linked(link, record_id)]))
            for table, link in links_to(name)
            if link not in {"creator", "updater"}
        ]
        return [
            {"object": table, "link": link, "count": count} for table, link, count in found if count
        ]

    def _write(self, name: str, write: Write) -> Cell:
        links = object_type(name).relationships
        return {
            "method": write.method,
            "at": write.at,
            "changed": write.changed,
            "attributes": [[key, show(content)] for key, content in write.attributes.items()],
            "relationships": [
                [link, self._cell(links[link].object, other)]
                for link, other in write.relationships.items()
            ],
        }

    def _cell(self, name: str, record_id: int | None) -> Cell | None:
        """Return a link to a record with what the record is called."""
        if record_id is None:
            return None
        if (name, record_id) not in self._titles:
            found = self._store.find(name, record_id) or Record(record_id, {}, {})
            self._titles[name, record_id] = _title(name, found)
        return {"object": name, "id": record_id, "title": self._titles[name, record_id]}


def show(content: object) -> Shown:
    """Write a value as a text, or a list of values as texts; None is nothing."""
    if isinstance(content, list | tuple):
        return [_text(one) for one in content]
    return None if content is None else _text(content)


def _text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _title(name: str, record: Record) -> str:
    given: Iterable[object] = map(record.attributes.get, ("name", "email"))
    title = next((text for text in given if isinstance(text, str) and text.strip()), None)
    title = title or f"{object_type(name).type} {record.id}"
    is_unnamed = name == "accounts" and record.attributes.get("named") is False
    return f"{title} (unnamed)" if is_unnamed else title


def _filtered(name: str, filters: Mapping[str, str]) -> Iterator[Condition]:
    """Yield conditions for the filters that the object has and that are set.

    Raises:
        ValueError: The owner is no id.
    """
    kind = object_type(name)
    known = {*kind.relationships, *kind.attributes}
    for one, text in filters.items():
        if not text or one not in known:
            continue
        if one == "owner":
            yield _linked("owner", int(text) if text.isascii() and len(text) < MAX_DIGITS else -1)
        elif one == "account":
            names = f"{value('name')} {_LIKE} OR {value('domain')} {_LIKE}"
            sql = f"{related('account')} IN (SELECT id FROM accounts WHERE {names})"  # noqa: S608
            yield Condition(sql, (_pattern(text[:MAX_SEARCH]),) * 2)
        elif one == "tags":
            tags = "SELECT 1 FROM json_each(body, '$.attributes.tags') WHERE value = ?"
            yield Condition(f"EXISTS ({tags} COLLATE NOCASE)", (text,))
        elif one == "optedOut":
            yield Condition(f"ifnull({value('optedOut')}, 0) = ?", (int(text == "yes"),))


def _order(name: str, sort: str) -> str:
    """Return the SQL to sort by a column; of what is linked by its name.

    Raises:
        KeyError: The object has no such column.
    """
    kind, column = object_type(name), sort.removeprefix("-")
    if not column:
        return f"{value('updatedAt')} DESC, id DESC"
    way = "DESC" if sort.startswith("-") else "ASC"
    if column == "id":
        return f"id {way}"
    if column not in kind.columns:
        raise KeyError(column)
    by = value(column)
    if column in kind.relationships:
        other = kind.relationships[column].object
        outer = related(column).replace("body", f"{name}.body")
        title = f"coalesce({value('name')}, {value('email')})".replace("body", "other.body")
        by = f"(SELECT {title} FROM {other} AS other WHERE other.id = {outer})"  # noqa: S608 - names
    elif kind.attributes[column].is_array:
        by = value(f"{column}[0]")
    return f"{by} IS NULL, {by} COLLATE NOCASE {way}, id {way}"


def _linked(link: str, record_id: int) -> Condition:
    return Condition(f"{related(link)} = ?", (record_id,))


def _found(word: str) -> Condition:
    """Match a word in any value, or the id that it is."""
    number = int(word) if word.isdecimal() else -1
    words = (word, word.casefold())
    in_json = [json.dumps(one, ensure_ascii=False)[1:-1] for one in words]
    return Condition(
        _FOUND, (number if number <= _LAST_ID else -1, *map(_pattern, (*in_json, *words)))
    )


def _pattern(word: str) -> str:
    for special in "\\%_":
        word = word.replace(special, f"\\{special}")
    return f"%{word}%"
