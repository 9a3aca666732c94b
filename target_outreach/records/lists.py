"""Lists of texts, and those that are in one text: of JSON, Python, PostgreSQL, or with commas."""

from __future__ import annotations

import ast
import csv
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from target_outreach.records.scalars import Uncoercible, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence


BETWEEN_ITEMS = re.compile("[,;]")
#: How databases and Python write that there is nothing.
NOTHING = frozenset({"null", "none", "nan"})
#: Characters up to which a text is read as a list of Python.
LONGEST_PYTHON = 100_000


def items_of(value: Any) -> list[Any]:  # noqa: ANN401
    """See a list in a list, in the text of one, and in a lone scalar."""
    if isinstance(value, str) and _may_be_list(value):
        value = _list_or_text(value.strip())
    if value is None:
        return []
    if isinstance(value, dict):
        raise Uncoercible("a list of texts, not an object")
    return value if isinstance(value, list) else [value]


def _may_be_list(text: str) -> bool:
    """Whether a text begins as a list, a quoted text or nothing does in JSON, SQL or Python."""
    return text.lstrip()[:1] in {"[", "{", '"', "n", "N"}


def _list_or_text(text: str) -> Any:  # noqa: ANN401
    """Read the list that a text is in JSON, in Python or in PostgreSQL, or leave it as it is."""
    if text.lower() in NOTHING:
        return None
    try:
        parsed = json.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        if text[0] == "{" and text[-1] == "}":
            return _postgresql_items(text)
        return _python_list_or_text(text) if text[0] == "[" and text[-1] == "]" else text
    if parsed == {}:
        return []  # an empty array of PostgreSQL
    return parsed if isinstance(parsed, list | str | dict) else text


def _postgresql_items(text: str) -> Any:  # noqa: ANN401
    try:
        rows = list(csv.reader([text[1:-1]], escapechar="\\", skipinitialspace=True))
    except csv.Error:
        return text
    return [item for row in rows for item in row if item.lower() not in NOTHING]


def _python_list_or_text(text: str) -> Any:  # noqa: ANN401
    if len(text) > LONGEST_PYTHON:
        return text
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return parsed if isinstance(parsed, list) else text


def whole_texts(value: Any) -> list[str]:  # noqa: ANN401 - whatever JSON holds
    """Read a list of texts, each once; a lone text is one of them, whatever is in it.

    Raises:
        Uncoercible: It is an object, or an item is no text.
    """
    if isinstance(value, str) and not _may_be_list(value):
        return [as_text(value)] if value.strip() else []
    texts = [as_text(item) for item in items_of(value) if item is not None]
    return unique([text for text in texts if text.strip()], key=str)


def as_texts(value: Any) -> list[str]:  # noqa: ANN401
    """Read a list of texts; a lone text is divided, since no database writes a list so but text."""
    texts = whole_texts(value)
    if not isinstance(value, str) or len(texts) != 1 or not BETWEEN_ITEMS.search(texts[0]):
        return texts
    if _may_be_list(value) and items_of(value) != [value.strip()]:
        return texts  # a list with one item
    parts = [part.strip() for part in BETWEEN_ITEMS.split(texts[0])]
    return unique([part for part in parts if part], key=str)


def unique(values: Sequence[str], key: Callable[[str], Hashable]) -> list[str]:
    """Keep the first of the values that have the same key."""
    if len(values) < 2:  # noqa: PLR2004 - most lists have one item
        return list(values)
    kept: dict[Hashable, str] = {}
    for value in values:
        kept.setdefault(key(value), value)
    return list(kept.values())
