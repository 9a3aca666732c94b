"""The rules of a tap's SCHEMA that can be used, since not all taps send what JSON Schema knows."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import jsonschema
from jsonschema.validators import validator_for

from target_outreach.records.keywords import is_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from target_outreach.records.schemas import JsonSchema

#: Where a schema holds the parts that it refers to.
DEFINITIONS = ("definitions", "$defs")
REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

#: Objects and lists in the rules for one column, and how deep one may be in another. Rules that
#: have more are ignored: they would take too long, or too much of the stack.
MOST_PARTS = 2_000
DEEPEST = 50


def is_bounded(rules: Any) -> bool:  # noqa: ANN401 - anything may be in a SCHEMA
    """Whether rules have at most `MOST_PARTS` parts, and none that is deeper than `DEEPEST`."""
    parts, level = 0, [rules]
    for _ in range(DEEPEST):
        level = [part for part in level if isinstance(part, dict | list)]
        parts += len(level)
        if not level or parts > MOST_PARTS:
            break
        level = [
            inner for part in level for inner in (part.values() if isinstance(part, dict) else part)
        ]
    return not level


def usable_rules(schema: JsonSchema, columns: Collection[str]) -> tuple[JsonSchema, list[str]]:
    """Reduce the SCHEMA of a tap to the rules for some columns that `RecordSchema` can use.

    Taps send rules that are none of their JSON Schema draft, and patterns in the syntax of other
    languages. What the tap meant by them is not known, so they are ignored.

    Args:
        schema: The SCHEMA as received, which has `properties`.
        columns: The columns whose values are delivered.

    Returns:
        A schema for those columns, and the places of the rules that are ignored.
    """
    reduced: JsonSchema = {key: schema[key] for key in ("type", "$schema") if key in schema}
    ignored: list[str] = []
    for key in (*DEFINITIONS, "properties"):
        rules = schema.get(key)
        if not isinstance(rules, dict):
            continue
        wanted = [name for name in rules if key != "properties" or name in columns]
        ignored += [f"{key}.{name}" for name in wanted if not is_bounded(rules[name])]
        reduced[key] = {
            name: copy.deepcopy(rules[name]) for name in wanted if is_bounded(rules[name])
        }
    if isinstance(required := schema.get("required"), list):
        reduced["required"] = [
            name for name in required if isinstance(name, str) and name in columns
        ]
    ignored += _drop_unloadable(reduced, reduced, ())
    kind: Any = validator_for(reduced, default=jsonschema.Draft202012Validator)
    meta = kind(kind.META_SCHEMA)
    while errors := [*meta.iter_errors(reduced)]:
        for error in errors:
            ignored += _drop(reduced, [*error.absolute_path])
    return reduced, list(dict.fromkeys(ignored))


def _drop(schema: Any, path: list[str | int]) -> Iterator[str]:  # noqa: ANN401 - idem
    """Take a rule out of a schema, with the whole list where it is part of one; name its place."""
    while len(path) > 1 and not isinstance(path[-1], str):
        path = path[:-1]
    try:
        for step in path[:-1]:
            schema = schema[step]
        del schema[path[-1]]
    except (KeyError, IndexError):  # it is gone with another one
        return
    yield ".".join(map(str, path))


def _drop_unloadable(
    schema: Any,  # noqa: ANN401 - anything may be in a SCHEMA
    whole: JsonSchema,
    path: tuple[str, ...],
) -> Iterator[str]:
    """Drop patterns that RE2 does not read, and references to what is not in the SCHEMA.

    Where a pattern for names is dropped, it is unknown which names are additional ones.
    """
    if isinstance(schema, list):
        for position, part in enumerate(schema):
            yield from _drop_unloadable(part, whole, (*path, str(position)))
    if not isinstance(schema, dict):
        return
    names = schema.get("patternProperties")
    unreadable = isinstance(names, dict) and not all(map(is_pattern, names))
    for key, value in list(schema.items()):
        here = (*path, str(key))
        if key in {"$id", "$schema"} and path and isinstance(value, str):
            del schema[key]  # no other schema is loaded, and the whole has one dialect
        elif (
            (key == "pattern" and isinstance(value, str) and not is_pattern(value))
            or (key in REFERENCES and isinstance(value, str) and not _is_held(value, whole))
            or (key == "enum" and value == [])  # nothing would fit
            or (path == ("properties",) and value is False)
            or (unreadable and key in {"patternProperties", "additionalProperties"})
        ):
            del schema[key]
            yield ".".join(here)
        else:
            yield from _drop_unloadable(value, whole, here)


def _is_held(reference: str, whole: JsonSchema) -> bool:
    """Whether a reference is to a definition in the schema itself."""
    start, _, name = reference.rpartition("/")
    return any(start == f"#/{key}" and name in whole.get(key, ()) for key in DEFINITIONS)
