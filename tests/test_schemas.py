"""The compiled validator and `jsonschema` say the same, and no message repeats a value."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records import schemas
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping
from target_outreach.records.schemas import RecordSchema, curated_schema

TYPES = ["string", "integer", "number", "boolean", "null", "array", "object"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
SIMPLE = st.fixed_dictionaries(
    {"type": st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True)},
    optional={
        "maxLength": st.integers(0, 5),
        "minLength": st.integers(0, 3),
        "maxItems": st.integers(0, 2),
        "format": st.sampled_from(["date-time", "email"]),
        "description": st.text(max_size=3),
    },
)
NAMES = st.sampled_from(["a", "b", "it's", 'say "hi"', "{brace}", "back\\slash", "ü"])
OBJECTS = st.fixed_dictionaries(
    {"properties": st.dictionaries(NAMES, SIMPLE, max_size=4)},
    optional={
        "type": st.just("object"),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "additionalProperties": st.booleans(),
        "$schema": st.sampled_from(
            [
                "https://json-schema.org/draft/2020-12/schema",
                "http://json-schema.org/draft-07/schema#",
            ]
        ),
    },
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(OBJECTS, st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=4))
def test_both_validators_give_the_same_verdict(schema, records):
    ours = RecordSchema(schema, code="schema_violation")
    theirs = schemas._worded_validator(schema)
    for record in records:
        expected = theirs.is_valid(record)
        try:
            ours.check(record)
        except RecordFault:
            accepted = False
        else:
            accepted = True
        assert accepted is expected


@settings(deadline=None)  # the first one compiles it
@given(st.dictionaries(st.sampled_from(["firstName", "tags", "score", "optedOut"]), VALUES))
def test_the_curated_schema_compiles_to_the_same_verdict(attributes):
    compiled = curated_schema("prospects")
    expected = compiled._validator.is_valid(attributes)
    assert compiled._accepts(attributes) is expected or not compiled._accepts(attributes)
    try:
        compiled.check(attributes)
        accepted = True
    except RecordFault:
        accepted = False
    assert accepted is expected


@pytest.mark.parametrize("name", ["prospects", "accounts"])
def test_the_shipped_schemas_are_compiled(name):
    assert schemas._compilable(curated_schema(name)._validator.schema)


@pytest.mark.parametrize("value", [12, Decimal("12.0"), Decimal("1.2E+1")])
def test_a_whole_number_is_an_integer_in_whatever_form(value):
    RecordSchema({"properties": {"n": {"type": "integer"}}}, code="x").check({"n": value})


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ({"type": "integer"}, "secret", "must be integer"),
        ({"type": ["null", "boolean"]}, "secret", "must be null or boolean"),
        ({"maxLength": 3}, "secret", "must have at most 3 characters"),
        ({"pattern": "^x"}, "secret", "breaks the rule pattern"),
        ({"enum": ["a"]}, "secret", "must be a"),
        ({"anyOf": [{"type": "integer"}]}, "secret", "field must be integer"),
        ({"maximum": 5}, 4711, "must be at most 5"),
    ],
)
def test_a_violation_names_field_and_rule_and_never_the_value(rule, value, words):
    with pytest.raises(RecordFault) as caught:
        RecordSchema({"properties": {"field": rule}}, code="x").check({"field": value})
    assert caught.value.field == "field"
    assert words in caught.value.message
    assert str(value) not in caught.value.message


def test_a_missing_property_is_named():
    with pytest.raises(RecordFault) as caught:
        RecordSchema({"required": ["name"], "properties": {}}, code="x").check({})
    assert caught.value.field == "name"
    assert caught.value.message == "name is required but missing."


def test_what_only_newer_drafts_know_is_checked_too():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"pair": {"prefixItems": [{"type": "integer"}]}},
    }
    with pytest.raises(RecordFault):
        RecordSchema(schema, code="x").check({"pair": ["text"]})


def test_a_reference_to_elsewhere_is_never_loaded():
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    checked = RecordSchema(schema, code="x")
    with pytest.raises(SettingsError, match="refers to a schema that it does not hold"):
        checked.check({"a": 1})


def test_a_schema_that_is_none_names_the_place():
    with pytest.raises(SettingsError, match=r"properties\.a\.type"):
        RecordSchema({"properties": {"a": {"type": "strnig"}}}, code="x")


CATALOG = load_catalog()
TEXTS = st.text(max_size=4) | st.sampled_from(["x" * length for length in (255, 256, 1001, 32_001)])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(["prospects", "accounts"]))
def test_nothing_but_a_length_can_be_wrong_with_what_a_mapping_has_made(data, name):
    writable = CATALOG[name].writable
    own = {column: column for column in writable}
    mapping = build_mapping(CATALOG[name], [*own], explicit=own, match_fields=[*own])
    columns = st.sampled_from(sorted(writable))
    record = data.draw(st.dictionaries(columns, VALUES | TEXTS, max_size=3))
    try:
        desired = mapping.apply(record)
    except RecordFault:
        return
    fits = curated_schema(name)._validator.is_valid(desired.attributes)
    assert bool(desired.too_long) is not fits
