"""The JSON Schemas that records must fit: the tap's own SCHEMA, and ours for each object.

A compiled validator gives the verdict for most records; whatever it does not accept, and schemas
with keywords that it does not know, go to `jsonschema`, whose verdict counts and which says what is
wrong. Messages name the field and the rule, never the value.

Run this module (``python -m target_outreach.records.schemas``) to write the shipped schemas again
after a change of the catalogue.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation, localcontext
from functools import cache
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import fastjsonschema
import jsonschema
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import NoSuchResource, Unresolvable

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.keywords import KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_outreach.records.model import Attribute, ObjectType

JsonSchema = dict[str, Any]

#: Keywords that no validator looks at.
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "format", "$schema", "$id", "secret"),
        *("readOnly", "writeOnly", "deprecated", "inclusion", "selected"),
    }
)
#: Keywords on which the compiled validator and `jsonschema` agree. Only these are compiled.
COMPILED_KEYWORDS = frozenset(
    {
        *("type", "properties", "required", "items", "maxLength", "minLength"),
        *("maxItems", "minItems", "anyOf", "additionalProperties"),
        *ANNOTATIONS,
    }
)
#: Keywords of a SCHEMA whose columns can be looked at one by one.
TYPED_KEYWORDS = frozenset({"type", "properties", "required", *ANNOTATIONS})
#: The types of Python's values that a type of JSON Schema takes, whatever the values are.
PLAIN_TYPES: dict[str, frozenset[type]] = {
    "null": frozenset({NoneType}),
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float, Decimal}),
    "string": frozenset({str}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
}
#: Digits to reckon with: 38 before and behind the point, and room.
MOST_DIGITS = 400

RULES = {
    "anyOf": "must fit one of the schemas in anyOf",
    "type": "must be {0}",
    "maxLength": "must have at most {0} characters",
    "minLength": "must have at least {0} characters",
    "maximum": "must be at most {0}",
    "minimum": "must be at least {0}",
    "enum": "must be {0}",
    "required": "is required but missing",
    "additionalProperties": "may not have {0}",
}


class RecordSchema:
    """One JSON Schema, ready to check records."""

    def __init__(self, schema: JsonSchema, *, code: str) -> None:
        """Prepare a schema.

        Args:
            schema: The JSON Schema, of any draft that `jsonschema` knows.
            code: The code of the faults that `check` raises.

        Raises:
            SettingsError: It is no valid JSON Schema.
        """
        self._code = code
        self._validator = _worded_validator(schema)
        self._accepts = _compile(schema)

    def check(self, record: Mapping[str, Any]) -> None:
        """Accept a record, or say what is wrong with it.

        Raises:
            RecordFault: The record breaks the schema.
            SettingsError: The schema refers to another one, which is not loaded.
        """
        try:
            if self._accepts(record):
                return
            type(self._validator).followed = 0
            error = jsonschema.exceptions.best_match(self._validator.iter_errors(record))
        except RecursionError:
            raise RecordFault(self._code, "The record is nested too deep to check.") from None
        except Unresolvable:
            raise SettingsError("the SCHEMA refers to a schema that it does not hold") from None
        if error is not None:
            field, rule = broken_rule(error)
            raise RecordFault(self._code, f"{field or 'The record'} {rule}.", field=field or None)


def broken_rule(error: jsonschema.ValidationError) -> tuple[str, str]:
    """Word a violation of a JSON Schema without the value at fault.

    Args:
        error: What `jsonschema` found; its own message repeats the value.

    Returns:
        The path of the value, such as ``streams.0.object``, and the rule that it breaks.
    """
    steps = [*map(str, error.absolute_path), _missing_property(error)]
    path = ".".join(step for step in steps if step)
    limit: Any = error.validator_value
    if error.validator in {"type", "enum"} and isinstance(limit, list):
        limit = " or ".join("null" if choice is None else str(choice) for choice in limit)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        limit = ", ".join(sorted(set(error.instance) - set(known)))
    rule = RULES.get(str(error.validator), "breaks the rule {1}")
    return path, rule.format(limit, error.validator)


def _missing_property(error: jsonschema.ValidationError) -> str | None:
    """Name the first required property that is not there."""
    if error.validator != "required" or not isinstance(error.instance, dict):
        return None
    required: Any = error.validator_value
    return next((name for name in required if name not in error.instance), None)


def _worded_validator(schema: JsonSchema) -> Any:  # noqa: ANN401 - a class made at run time
    kind: Any = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        # Without formats, since what is a pattern is decided by `usable_rules`.
        kind.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "its top"
        raise SettingsError(f"the SCHEMA is no valid JSON Schema at {place}") from None
    # JSON knows no difference between 12 and 12.0; floats are read as `Decimal` here.
    checker = kind.TYPE_CHECKER.redefine("integer", _is_integer)
    keywords = {**KEYWORDS, "multipleOf": _multiple_of}
    kind = extend(kind, keywords, type_checker=checker)  # type: ignore[no-untyped-call]
    registry: Registry[JsonSchema] = Registry(retrieve=_never_retrieve)  # type: ignore[call-arg]
    return kind(schema, registry=registry)


def _is_integer(_checker: Any, value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _multiple_of(
    validator: Any,  # noqa: ANN401 - a class made at run time
    step: Any,  # noqa: ANN401 - whatever JSON holds
    value: Any,  # noqa: ANN401
    _schema: JsonSchema,
) -> Iterator[jsonschema.ValidationError]:
    """Check ``multipleOf`` with as many digits as the numbers have; databases send ``1e-38``."""
    if not validator.is_type(value, "number"):
        return
    with localcontext(prec=MOST_DIGITS):
        try:
            rest = Decimal(str(value)) % Decimal(str(step))
        except InvalidOperation:  # more digits than any database has
            return
    if rest:
        yield jsonschema.ValidationError("no multiple")


def _never_retrieve(uri: str) -> Any:  # noqa: ANN401 - a type of `referencing`
    """Refuse to load a schema from elsewhere: a record never makes us open a connection."""
    raise NoSuchResource(ref=uri)  # type: ignore[call-arg]


def _compile(schema: JsonSchema) -> Callable[[Mapping[str, Any]], bool]:
    """Return a quick check that accepts only what `jsonschema` accepts too.

    Most columns have a rule for their types only, for which it is enough to look at those.
    """
    properties = schema.get("properties", {})
    typed = {name: types for name, one in properties.items() if (types := plain_types(one))}
    is_of_objects = dict in plain_types({"type": schema.get("type", "object")})
    if not typed or not is_of_objects or not TYPED_KEYWORDS.issuperset(schema):
        return _compile_all(schema)
    columns = [*typed.items()]
    required = frozenset(schema.get("required", ()))
    others = {name: one for name, one in properties.items() if name not in typed}
    accepts_others = _compile_all({"properties": others}) if others else None

    def accepts(record: Mapping[str, Any]) -> bool:
        for name, types in columns:
            if type(record.get(name)) not in types and name in record:
                return False
        if not required.issubset(record):
            return False
        return accepts_others is None or accepts_others(
            {name: record[name] for name in others if name in record}
        )

    return accepts


def plain_types(rules: Any) -> frozenset[type]:  # noqa: ANN401 - anything may be in a SCHEMA
    """Return the types of the values that some rules take; none where they are about more."""
    said = rules.keys() - ANNOTATIONS if isinstance(rules, dict) else set()
    if said == {"anyOf"}:
        several = [*map(plain_types, rules["anyOf"])]
        return frozenset().union(*several) if all(several) else frozenset()
    if said != {"type"}:
        return frozenset()
    names = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    return frozenset().union(*(PLAIN_TYPES.get(str(name), frozenset()) for name in names))


def _compile_all(schema: JsonSchema) -> Callable[[Mapping[str, Any]], bool]:
    """Return a quick check of all rules."""
    if not _compilable(schema):
        return lambda _record: False
    body = {**schema, "$schema": "http://json-schema.org/draft-07/schema#"}
    try:
        validate = fastjsonschema.compile(body, use_default=False, use_formats=False)
    except (fastjsonschema.JsonSchemaDefinitionException, SyntaxError):
        # It is stricter than the specification, and Python has a limit for loops in loops.
        return lambda _record: False

    def accepts(record: Mapping[str, Any]) -> bool:
        try:
            validate(record)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return True

    return accepts


def _compilable(schema: Any) -> bool:  # noqa: ANN401 - anything may be in a SCHEMA
    """Whether a schema uses only keywords on which both validators agree."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, dict) or not COMPILED_KEYWORDS.issuperset(schema):
        return False
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    parts += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return all(_compilable(part) for part in parts)


def object_schema(object_type: ObjectType) -> JsonSchema:
    """Write the schema of an object from the catalogue: every writable attribute."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": object_type.name,
        "type": "object",
        "properties": {
            name: _attribute_schema(attribute) for name, attribute in object_type.writable.items()
        },
        "additionalProperties": False,
    }


def _attribute_schema(attribute: Attribute) -> JsonSchema:
    schema: JsonSchema = {"description": attribute.description}
    if attribute.is_array:
        return schema | {"type": ["array", "null"], "items": {"type": "string"}}
    if attribute.kind in {"integer", "number", "boolean"}:
        return schema | {"type": [attribute.kind, "null"]}
    if attribute.kind in {"date", "date-time"}:
        schema["format"] = attribute.kind
    if attribute.max_length:
        schema["maxLength"] = attribute.max_length
    return schema | {"type": ["string", "null"]}


@cache
def curated_schema(object_name: str) -> RecordSchema:
    """Return the shipped schema of an object; it checks what a mapping made of a record."""
    text = _shipped(object_name).read_text(encoding="utf-8")
    return RecordSchema(json.loads(text), code="invalid_value")


def _shipped(object_name: str) -> Any:  # noqa: ANN401 - importlib's Traversable
    return resources.files(__package__).joinpath("curated", f"{object_name}.json")


def render(object_name: str) -> str:
    """Return the text of an object's schema file."""
    schema = object_schema(load_catalog()[object_name])
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for shipped in stream_objects():
        Path(str(_shipped(shipped))).write_text(render(shipped), encoding="utf-8")
