"""Plain rows are read quickly, and say what they say when they are read as any other."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from conftest import record, schema
from hypothesis import example, given
from hypothesis import strategies as st

from target_outreach.json_reader import read_exact_json
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping
from target_outreach.records.rows import MOST_IN_VAIN, PlainRows
from target_outreach.records.schemas import RecordSchema
from target_outreach.records.usable_rules import usable_rules

TEXT = {"type": ["null", "string"]}
COLUMNS = {
    "id": {"type": "integer"},
    "email": {"type": "string"},
    "title": TEXT,
    "score": {"type": ["null", "number"]},
    "tags": {"type": ["null", "array"], "items": {"type": "string"}},
    "email_opted_out": {"type": ["null", "boolean"]},
    "added_at": {**TEXT, "format": "date-time"},
    "linked_in_connections": {"type": ["integer", "string", "null"]},
    "city": {"type": ["string", "integer", "null"]},
    "account_name": TEXT,
    "noted_at": TEXT,
    "_sdc_deleted_at": TEXT,
}
SCHEMA = {"type": "object", "properties": COLUMNS, "required": ["id"]}
PLAIN = {
    "id": 1,
    "email": "ada@example.com",
    "title": "Head",
    "score": 12.25,
    "tags": ["a", "b"],
    "email_opted_out": False,
    "added_at": "2026-03-31T09:30:00Z",
    "linked_in_connections": 7,
    "city": "Rome",
    "account_name": "Acme",
    "noted_at": None,
    "_sdc_deleted_at": None,
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["", " ", "é", "x" * 300, "12", "true", "a@b.example", "[]", "\ud800"]),
    st.lists(st.sampled_from(["a", "", 1]), max_size=2),
    st.dictionaries(st.just("a"), st.none(), max_size=1),
)
CHANGES = st.dictionaries(st.sampled_from([*COLUMNS, "unknown"]), VALUES, max_size=3)


def made(rules=SCHEMA):
    columns = [*rules["properties"]]
    mapping = build_mapping(load_catalog()["prospects"], columns, match_fields=["emails"])
    usable, _ = usable_rules(rules, mapping.goals())
    plain = PlainRows(("people", rules, usable), mapping, ("id",), {"_sdc_deleted_at"})
    return plain, mapping, RecordSchema(usable, code="schema_violation")


PLAIN_ROWS, MAPPING, RULES = made()


def line(row, **more):
    return json.dumps({"type": "RECORD", "stream": "people", "record": row, **more}).encode()


def test_a_plain_row_is_read_with_all_that_it_says():
    text, row, desired = PLAIN_ROWS.read(line(PLAIN, time_extracted="2026-04-01T00:00:00Z"))
    assert json.loads(text)["record"] == PLAIN
    assert row["score"] == Decimal("12.25")
    assert desired.attributes["addressCity"] == "Rome"
    assert [*desired.references] == ["account"]


@given(CHANGES, st.sets(st.sampled_from([*COLUMNS]), max_size=1))
@example({"title": ""}, set())
@example({"title": "é"}, set())
@example({"title": " "}, set())
@example({"email": "no address"}, set())
@example({"_sdc_deleted_at": "2026-01-01"}, set())
def test_a_row_is_read_as_it_would_be_any_other_way_or_not_at_all(changes, left_out):
    row = {name: value for name, value in (PLAIN | changes).items() if name not in left_out}
    body = line(row)
    if (read := PLAIN_ROWS.read(body)) is None:
        return
    whole = read_exact_json(body, body.decode())["record"]
    RULES.check(whole)
    assert read[2] == MAPPING.apply(whole)
    assert [*read[2].attributes] == [*MAPPING.apply(whole).attributes]
    assert read[1] == {name: whole[name] for name in read[1]}
    assert not whole.get("_sdc_deleted_at")
    assert whole.keys() <= COLUMNS.keys()


@pytest.mark.parametrize(
    "body",
    [
        line(PLAIN).replace(b"RECORD", b"STATE"),
        line(PLAIN).replace(b"people", b"others"),
        line(PLAIN, bookmark=1),
        line(PLAIN).replace(b"12.25", b"NaN"),
        line(PLAIN).replace(b"12.25", b"1e9999999999999999999"),
        line(PLAIN).replace(b"Head", b"\xff"),
        line(PLAIN)[:-1],
        line({**PLAIN, "unknown": 1}),
        line({**PLAIN, "noted_at": None, "title": "x" * 300}),
        line({name: value for name, value in PLAIN.items() if name != "title"}),
        b"\xef\xbb\xbf" + line(PLAIN),
    ],
)
def test_what_is_special_is_left_to_others(body):
    assert PLAIN_ROWS.read(body) is None


def test_where_no_row_is_plain_none_is_looked_for_any_more():
    plain, _, _ = made()
    for _ in range(MOST_IN_VAIN):
        assert plain.read(b"{}") is None
    assert plain.read(line(PLAIN)) is None


def test_two_columns_for_one_list_are_read_the_usual_way():
    rules = {"type": "object", "properties": COLUMNS | {"emails": TEXT}}
    with pytest.raises(ValueError, match="unpack"):
        made(rules)


def test_a_run_delivers_plain_rows_and_others_in_their_order(sync, sandbox):
    header = schema("prospects", {"id": {}, "email": TEXT, "title": TEXT})
    people = [f"p{number}@example.com" for number in range(6)]
    rows = [{"email": one, "title": "Head" if at % 2 else "é"} for at, one in enumerate(people)]
    rows[3]["unknown"] = 1
    del rows[4]["title"]
    run = sync([header, *(record("prospects", **row) for row in rows)])
    assert run.counts("prospects") == {"received": 6, "created": 6}
    held = [one["attributes"] for one in sandbox.store.all("prospects")]
    assert {one["emails"][0]: one.get("title") for one in held} == {
        row["email"]: row.get("title") for row in rows
    }
    assert run.log.count("columns that the SCHEMA does not have are ignored: unknown") == 1
