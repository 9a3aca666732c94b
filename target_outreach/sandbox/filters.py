"""Filters of a list request, from the query string to SQL (API reference 4.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from target_outreach.sandbox import errors, schema
from target_outreach.sandbox.database import Condition
from target_outreach.sandbox.resources import FOLDED_KINDS, blank_attributes, object_type
from target_outreach.sandbox.values import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.sandbox.profile import Profile

_KEY = re.compile(r"filter((?:\[\w*\])+)$")
_COMPARISONS = {"gte": ">=", "lte": "<="}
_NULLS = ("__null__", "__notnull__")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _Column:
    """What a filter compares: `sql` in folded form where it is text, `exact` as stored."""

    name: str
    kind: str
    sql: str
    exact: str = ""

    def convert(self, text: str) -> object:
        """Turn the text of the query into the value that is compared.

        Raises:
            ApiError: 400 where the text is no such value.
        """
        try:
            return _converted(self.kind, text)
        except (KeyError, OverflowError, ValueError):
            raise errors.invalid_filter_value(self.name, self.kind) from None


@dataclass(frozen=True, slots=True)
class _Filter:
    """One filter of the query: the names in its brackets and all its values."""

    names: tuple[str, ...]
    comparison: str | None
    values: tuple[str, ...]
    new_syntax: bool


def conditions(
    object_name: str, parameters: Sequence[tuple[str, str]], profile: Profile
) -> list[Condition]:
    """Turn the filters of a query into conditions, all of which must hold.

    Args:
        object_name: Plural name of the object that is listed.
        parameters: Decoded query parameters.
        profile: For the case of letters and a cap on lists.

    Raises:
        ApiError: 400 on a filter that Outreach does not know or cannot read.
    """
    new_syntax = dict(parameters).get("newFilterSyntax") == "true"
    return [
        _condition(object_name, one, profile) for one in _grouped(parameters, new_syntax=new_syntax)
    ]


def _grouped(parameters: Iterable[tuple[str, str]], *, new_syntax: bool) -> Iterable[_Filter]:
    filters: dict[str, _Filter] = {}
    for key, text in parameters:
        match = _KEY.match(key)
        if match is None:
            continue
        one = filters.get(key) or _parsed(match[1], new_syntax=new_syntax)
        values = (text,) if new_syntax else tuple(text.split(","))
        filters[key] = replace(one, values=one.values + values)
    return filters.values()


def _parsed(brackets: str, *, new_syntax: bool) -> _Filter:
    names = brackets[1:-1].split("][")
    comparison = None
    if new_syntax and (names[-1] == "" or names[-1] in _COMPARISONS):
        comparison = _COMPARISONS.get(names.pop())
    return _Filter(tuple(names), comparison, (), new_syntax)


def _condition(object_name: str, one: _Filter, profile: Profile) -> Condition:
    links = object_type(object_name).relationships
    match one.names:
        case (name,):
            return _on_attribute(object_name, name, one, profile)
        case (link, "id") if link in links:
            return _alternatives(_Column(link, "id", schema.related(link)), one, profile)
        case (link, name) if link in links and name in links[link].filterable_by:
            return _through(link, links[link].object, replace(one, names=(name,)), profile)
    raise errors.unfilterable(".".join(one.names))


def _through(link: str, target: str, one: _Filter, profile: Profile) -> Condition:
    inner = _condition(target, one, profile)
    # Names come from the catalogue, values are bound.
    ids = f"SELECT id FROM {target} WHERE {inner.sql}"  # noqa: S608 - see above
    return Condition(f"{schema.related(link)} IN ({ids})", inner.values)


def _on_attribute(object_name: str, name: str, one: _Filter, profile: Profile) -> Condition:
    if name == "id":
        return _alternatives(_Column("id", "id", "id"), one, profile)
    attribute = object_type(object_name).attributes.get(name)
    if attribute is None or not attribute.filterable:
        raise errors.unfilterable(name)
    if attribute.kind == "emails":
        return _on_emails(one, profile)
    if attribute.kind in FOLDED_KINDS:
        text = _Column(name, attribute.kind, schema.folded_text(name), schema.value(name))
        return _alternatives(text, one, profile)
    value = schema.value(name)
    # Blank booleans and counters are not stored, but they are true, false or 0, not null.
    if (blank := blank_attributes(object_name)[name]) is not None:
        value = f"ifnull({value}, {int(blank)})"
    return _alternatives(_Column(name, attribute.kind, value), one, profile)


def _on_emails(one: _Filter, profile: Profile) -> Condition:
    """Match any address of a prospect, not only the primary one."""
    everyone = "SELECT prospect FROM emails"
    if one.values in {("__null__",), ("__notnull__",)}:
        return Condition(f"id {'NOT IN' if one.values[0] == '__null__' else 'IN'} ({everyone})")
    inner = _alternatives(_Column("emails", "emails", "folded", "address"), one, profile)
    return Condition(f"id IN ({everyone} WHERE {inner.sql})", inner.values)


def _alternatives(column: _Column, one: _Filter, profile: Profile) -> Condition:
    """Match any of the values of one filter."""
    values = [text for text in one.values if text][: profile.list_cap]
    if one.comparison is not None:
        bounds = tuple(column.convert(text) for text in values)
        sql = " AND ".join(f"{column.sql} {one.comparison} ?" for _ in bounds)
        return Condition(sql or "0", bounds)
    ranges = [] if one.new_syntax else [text for text in values if ".." in text]
    plain = [text for text in values if text not in ranges and text not in _NULLS]
    parts = [_range(column, text) for text in ranges]
    parts += [_null(column, text) for text in values if text in _NULLS]
    parts += [_equals(column, plain, profile)] if plain else []
    sql = " OR ".join(part.sql for part in parts)
    return Condition(f"({sql or '0'})", tuple(v for part in parts for v in part.values))


def _equals(column: _Column, texts: Sequence[str], profile: Profile) -> Condition:
    marks = ", ".join("?" * len(texts))
    values = tuple(column.convert(text) for text in texts)
    equal = Condition(f"{column.sql} IN ({marks})", values)
    if not (profile.case_sensitive_filters and column.exact):
        return equal
    return Condition(f"({equal.sql} AND {column.exact} IN ({marks}))", (*values, *texts))


def _range(column: _Column, text: str) -> Condition:
    """Match between two inclusive bounds, of which one may be open."""
    low, _, high = text.partition("..")
    bounds = [(">=", low, "neginf"), ("<=", high, "inf")]
    closed = [(sign, bound) for sign, bound, open_end in bounds if bound not in {open_end, ""}]
    sql = " AND ".join(f"{column.sql} {sign} ?" for sign, _ in closed)
    return Condition(f"({sql or '1'})", tuple(column.convert(bound) for _, bound in closed))


def _null(column: _Column, text: str) -> Condition:
    return Condition(f"{column.sql} IS {'NOT ' if text == '__notnull__' else ''}NULL")


def _converted(kind: str, text: str) -> object:
    match kind:
        case "id" | "integer":
            return _integer(text)
        case "number":
            return float(text)
        case "boolean":
            return _BOOLEANS[text]
        case "date-time":
            return moment(text)
        case "emails":
            return text.strip().casefold()
    return text.casefold()


def _integer(text: str) -> int:
    number = int(text)
    number.to_bytes(8, "big", signed=True)  # SQLite's integers end there
    return number
