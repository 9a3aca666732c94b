"""Keywords of JSON Schema in a form that no schema and no value of a tap can make slow.

`jsonschema` matches patterns with Python's `re`, which may try all ways to divide a text: for the
pattern ``(a+)+$`` and thirty letters that takes minutes. RE2 reads a text once. It has no
look-around and no back references, as these need another way. `jsonschema` also compares the
items of a list in pairs, and follows references however often they double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2
from jsonschema import ValidationError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

#: References that are followed for one record before it counts as too deep to check.
MOST_REFERENCES = 10_000

_QUIET = re2.Options()
_QUIET.log_errors = False  # on standard error


def is_pattern(text: str) -> bool:
    """Whether RE2 can use a pattern."""
    try:
        re2.compile(text, _QUIET)
    except (re2.error, UnicodeError):  # half a surrogate pair
        return False
    return True


def _fits(pattern: str, text: str) -> bool:
    # RE2 reads UTF-8, which has no half surrogate pairs.
    return re2.compile(pattern, _QUIET).search(text.encode("utf-8", "replace")) is not None


def _pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    if validator.is_type(value, "string") and not _fits(pattern, value):
        yield ValidationError("does not fit the pattern")


def _pattern_properties(
    validator: Any,  # noqa: ANN401 - a class made at run time
    rules: dict[str, Any],
    value: Any,  # noqa: ANN401 - whatever JSON holds
    _schema: Any,  # noqa: ANN401
) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for pattern, rule in rules.items():
            for name in value:
                if _fits(pattern, name):
                    yield from validator.descend(value[name], rule, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any,  # noqa: ANN401 - a class made at run time
    rule: Any,  # noqa: ANN401 - whatever JSON holds
    value: Any,  # noqa: ANN401
    schema: dict[str, Any],
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [
        name
        for name in value
        if name not in known and not any(_fits(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(rule, "object"):
        for name in others:
            yield from validator.descend(value[name], rule, path=name)
    elif not rule and others:
        yield ValidationError("has additional properties")


def _unique_items(
    validator: Any,  # noqa: ANN401 - a class made at run time
    is_wanted: Any,  # noqa: ANN401 - whatever JSON holds
    value: Any,  # noqa: ANN401
    _schema: Any,  # noqa: ANN401
) -> Iterator[ValidationError]:
    if (
        is_wanted
        and validator.is_type(value, "array")
        and len(set(map(_known_by, value))) < len(value)
    ):
        yield ValidationError("has an item twice")


def _known_by(value: Any) -> Hashable:  # noqa: ANN401 - whatever JSON holds
    """Return what equals that of another value if JSON Schema says that the two are equal."""
    if isinstance(value, bool):
        return bool, value  # no number
    if isinstance(value, list):
        return list, tuple(map(_known_by, value))
    if isinstance(value, dict):
        return dict, frozenset((name, _known_by(one)) for name, one in value.items())
    return value  # type: ignore[no-any-return]


def _follow(validator: Any, reference: str, value: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    kind = type(validator)
    kind.followed += 1
    if kind.followed > MOST_REFERENCES:
        raise RecursionError
    yield from validator._validate_reference(ref=reference, instance=value)  # noqa: SLF001 - as `jsonschema` does


#: The keywords, for `jsonschema.validators.extend`; one that is None is ignored.
KEYWORDS: dict[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "$ref": _follow,
    "$dynamicRef": _follow,
    "unevaluatedProperties": None,  # `jsonschema` reads patterns in it by itself
}
