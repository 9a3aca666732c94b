"""What a tap may send to hang a run or to end it: SCHEMAs, patterns and rows that nobody means."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from contextlib import closing
from functools import reduce
from pathlib import Path

import pytest
from conftest import record, schema, state

from target_outreach.delivery.memory import Memory
from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.catalog import load_catalog
from target_outreach.records.schemas import RecordSchema
from target_outreach.records.usable_rules import usable_rules
from target_outreach.sandbox import Fault

#: Seconds that a rule or a row may take, on a busy machine too.
MOST = 10.0
TEXT = {"type": ["null", "string"]}
EMAILS = {"id": {"type": ["null", "integer"]}, "emails": {"type": ["null", "array", "string"]}}
HOSTILE = "a" * 100_000 + "!"


IN_ITEMS = '{"type": ["null", "array"], "items": %}'
IN_PROPERTIES = '{"type": ["null", "object"], "properties": {"a": %}}'
IN_BOTH = '{"anyOf": [{"items": %}, {"items": %}]}'


def nested(form, levels, inner=TEXT):
    """Write rules that are nested in rules, deeper than `json` writes them."""
    return reduce(lambda text, _: form.replace("%", text), range(levels), json.dumps(inner))


def verdict(rules, value, **whole):
    """Check a value of a column by what is used of its rules; say what is wrong, and what is not.

    Returns:
        The message, or None where the value fits; the rules that are ignored; the time in seconds.
    """
    begun = time.process_time()
    usable, ignored = usable_rules({"properties": {"a": rules}, **whole}, ["a"])
    message = None
    try:
        RecordSchema(usable, code="schema_violation").check({"a": value})
    except RecordFault as fault:
        message = fault.message
    return message, ignored, time.process_time() - begun


# Patterns


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        ({"pattern": "(a+)+$"}, HOSTILE),
        ({"pattern": "^(a|a)*$"}, HOSTILE),
        ({"pattern": "(.*,){40}x$"}, "," * 2_000),
        ({"items": {"pattern": "(a+)+$"}}, [HOSTILE]),
        ({"anyOf": [{"pattern": "(a+)+$"}, {"type": "null"}]}, HOSTILE),
        ({"patternProperties": {"(a+)+$": {}}, "additionalProperties": False}, {HOSTILE: 1}),
        ({"propertyNames": {"pattern": "(a+)+$"}}, {HOSTILE: 1}),
        # Rules that name another dialect had brought its own keywords.
        (
            {
                "items": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "pattern": "(a+)+$",
                }
            },
            [HOSTILE],
        ),
    ],
)
def test_no_pattern_of_a_tap_takes_long_with_any_value(rules, value):
    message, ignored, seconds = verdict(rules, value)
    assert message is not None
    assert ignored == []
    assert seconds < MOST


@pytest.mark.parametrize("draft", ["draft-03", "draft-04", "draft-06", "draft-07"])
def test_no_pattern_of_an_older_draft_takes_long(draft):
    rules, whole = {"pattern": "(a+)+$"}, {"$schema": f"http://json-schema.org/{draft}/schema#"}
    assert verdict(rules, HOSTILE, **whole)[2] < MOST
    whole["definitions"] = {"b": {**rules, **whole}}
    message, _, seconds = verdict({"$ref": "#/definitions/b"}, HOSTILE, **whole)
    assert message is not None
    assert seconds < MOST


def test_names_that_unevaluated_properties_would_be_compared_with_take_no_time():
    rules = {"patternProperties": {"(a+)+$": {}}, "unevaluatedProperties": False}
    assert verdict(rules, {HOSTILE: 1})[2] < MOST


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ({"pattern": r"^\d{3}-[a-z]+$"}, "123-abc", "123-abc\n"),
        ({"pattern": "b"}, "abc", "acd"),
        ({"pattern": r"^\p{L}+$"}, "\u00fc\u4e2d", "1"),
        ({"pattern": "^.$"}, "\ud83d", "ab"),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "b": "x"}, {"n_a": "x"}),
        (
            {
                "patternProperties": {"^n_": {}},
                "properties": {"b": {}},
                "additionalProperties": False,
            },
            {"n_a": 1, "b": 2},
            {"n_a": 1, "c": 2},
        ),
        ({"additionalProperties": {"type": "integer"}, "minLength": 0}, {"a": 1}, {"a": "x"}),
        ({"uniqueItems": True}, [1, True, [1], [True], "1", {"a": 1}], [{"a": 1}, {"a": 1.0}]),
        ({"uniqueItems": False}, [1, 1], None),
    ],
)
def test_these_keywords_mean_what_json_schema_says(rules, good, bad):
    assert verdict(rules, good)[0] is None
    if bad is not None:
        assert verdict(rules, bad)[0] is not None


@pytest.mark.parametrize(
    "pattern", ["^(?!x)", "(?<=a)b", r"(a)\1", "[", "a\ud800", "(?:a{100}){100}", "(?>a)"]
)
def test_a_pattern_that_takes_more_than_linear_time_is_named_and_ignored(pattern):
    assert verdict({"pattern": pattern}, "secret")[:2] == (None, ["properties.a.pattern"])
    rules = {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
    message, ignored, _ = verdict(rules, {"secret": 1})
    assert message is None  # it is unknown whether the name is an additional one
    assert ignored == ["properties.a.patternProperties", "properties.a.additionalProperties"]


def test_a_run_with_a_hostile_pattern_rejects_what_does_not_fit_and_goes_on(sync):
    columns = {**EMAILS, "title": {"type": ["null", "string"], "pattern": "^(a+)+$"}}
    columns["first_name"] = {"type": ["null", "string"], "pattern": "^(?!x)"}
    rows = [
        record("prospects", id=1, emails="a@x.test", title="a" * 60 + "!"),
        record("prospects", id=2, emails="b@x.test", title="aaa", first_name="xenia"),
    ]
    run = sync([schema("prospects", columns), *rows, state({"n": 2})])
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.states[-1] == {"n": 2}
    assert run.log.count("properties.first_name.pattern") == 1


@pytest.mark.slow
def test_a_long_list_of_unique_items_takes_no_time():
    many = [{"a": number} for number in range(50_000)]
    for items, is_fine in ((many, True), ([*many, {"a": 7}], False)):
        message, _, seconds = verdict({"uniqueItems": True}, items)
        assert (message is None) is is_fine
        assert seconds < MOST


# SCHEMAs


@pytest.mark.parametrize(
    ("form", "levels"),
    [(IN_ITEMS, 25), (IN_ITEMS, 400), (IN_PROPERTIES, 25), (IN_PROPERTIES, 400), (IN_BOTH, 13)],
)
def test_a_run_takes_a_schema_however_deep_or_doubled_it_is(sync, form, levels):
    names = ("title", "first_name", "never_heard_of")
    text = json.dumps(schema("prospects", {**EMAILS, **dict.fromkeys(names, "%")}))
    text = text.replace('"%"', nested(form, levels))
    good = record("prospects", id=2, emails="b@x.test")
    begun = time.process_time()
    run = sync([text, record("prospects", id=1, emails="a@x.test"), good, state({"n": 2})])
    assert time.process_time() - begun < MOST
    assert run.counts("prospects") == {"received": 2, "created": 2}
    assert run.states[-1] == {"n": 2}
    assert "Internal error" not in run.log
    assert ("properties.title" in run.log) is (levels != 25 or form is IN_PROPERTIES)


def test_rules_that_are_too_deep_or_too_many_are_named_and_ignored():
    for text in (nested(IN_ITEMS, 60), nested(IN_BOTH, 12)):
        rules = json.loads(text)
        assert verdict(rules, 3)[:2] == (None, ["properties.a"])
        ignored = ["definitions.b", "properties.a.$ref"]
        whole = {"definitions": {"b": rules}}
        assert verdict({"$ref": "#/definitions/b"}, 3, **whole)[:2] == (None, ignored)


@pytest.mark.parametrize("levels", [1, 10, 20])
@pytest.mark.parametrize(("form", "value"), [(IN_ITEMS, "[%]"), (IN_PROPERTIES, '{"a": %}')])
def test_rules_of_a_usual_depth_are_all_used(form, value, levels):
    rules = json.loads(nested(form, levels))
    message, ignored, _ = verdict(rules, json.loads(nested(value, levels, "x")))
    assert (message, ignored) == (None, [])
    message, ignored, _ = verdict(rules, json.loads(nested(value, levels, 7)))
    assert "must be null or string" in message


@pytest.mark.slow
@pytest.mark.parametrize("place", ["definitions", "$defs"])
def test_references_that_double_at_each_step_take_no_time(place):
    parts = {f"b{n}": {"anyOf": [{"$ref": f"#/{place}/b{n + 1}"}] * 2} for n in range(30)}
    whole = {place: {**parts, "b30": {"type": "integer"}}}
    message, _, seconds = verdict({"$ref": f"#/{place}/b0"}, "x", **whole)
    assert message == "The record is nested too deep to check."
    assert verdict({"$ref": f"#/{place}/b25"}, 7, **whole)[0] is None
    assert seconds < MOST


@pytest.mark.slow
def test_many_rules_that_cannot_be_used_are_all_dropped_at_once():
    rules = {"properties": {f"c{n}": {"required": True} for n in range(1_900)}}
    message, ignored, seconds = verdict(rules, {"c1": 1})
    assert message is None
    assert len(ignored) == 1_900
    assert seconds < MOST


@pytest.mark.slow
def test_a_schema_of_fifty_thousand_columns_takes_seconds(sync):
    columns = {
        f"{name}_{n}": TEXT for n in range(10_000) for name in ("c", "email", "is", "a_b", "x1")
    }
    row = record("prospects", id=1, emails="a@x.test", **dict.fromkeys(columns, "x"))
    begun = time.process_time()
    run = sync([schema("prospects", {**EMAILS, **columns}), row, state({"n": 1})])
    assert time.process_time() - begun < MOST
    assert run.counts("prospects") == {"received": 1, "created": 1}


# Rows

ROW = (
    '{"type": "RECORD", "stream": "prospects",'
    ' "record": {"id": %s, "emails": "a@x.test", "title": %s}}'
)
GOOD = [record("prospects", id=2, emails="b@x.test"), state({"n": 2})]
DIGITS, EXPONENT = "9" * 5_000, "1e99999999999999999999"
DEEP, BRACES = "[" * 60_000 + "]" * 60_000, '{"a":' * 60_000 + "1" + "}" * 60_000
UNREADABLE = {"digits": DIGITS, "exponent": EXPONENT, "deep": DEEP, "braces": BRACES}


@pytest.fixture
def rejected_lines(monkeypatch):
    """Return the lines of the rejects file, which Python cannot read."""
    monkeypatch.setattr("conftest._rejects", lambda _config: [])
    return lambda run: Path(run.report["rejects_file"]).read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("what", [*UNREADABLE, "very deep"])
@pytest.mark.parametrize("kind", ["plain", "memory", "dry run"])
def test_a_row_that_cannot_be_read_is_rejected_and_the_others_are_delivered(
    sync, tmp_path, rejected_lines, what, kind
):
    options = {
        "plain": {},
        "memory": {"memory_path": str(tmp_path / "memory.db")},
        "dry run": {"dry_run": True, "changes_path": str(tmp_path / "plan.jsonl")},
    }[kind]
    value = UNREADABLE.get(what, "[" * 200_000 + "]" * 200_000)
    beside = ROW % ('"x\\"{"', f"[1, {value}]")
    bad = [ROW % (1, value), ROW % (value, '"[{"'), beside[:-1] + ', "error": 1}']
    first = record("prospects", id=3, emails="c@x.test")
    run = sync([schema("prospects"), first, *bad, *GOOD], **options)
    assert run.exit_code == (0 if kind == "dry run" else 3)
    assert run.counts("prospects") == {"received": 5, "created": 2, "rejected": 3}
    if kind != "dry run":
        assert run.states == [{"n": 2}]
        _, *rejected = rejected_lines(run)
        for line, written in zip(bad, rejected, strict=True):
            assert written.startswith(line[:-1])
            assert '"code": "schema_violation"' in written


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_a_row_that_cannot_be_read_can_be_sent_again_and_is_rejected_again(
    sync, rejected_lines, value
):
    line = ROW % (1, value)
    run = sync([schema("prospects"), line, line, *GOOD])
    assert run.counts("prospects") == {"received": 3, "created": 1, "rejected": 2}
    again = sync(rejected_lines(run))
    assert again.counts("prospects") == {"received": 1, "rejected": 1}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_a_row_of_a_stream_that_is_ignored_or_filtered_needs_no_reading(sync, value):
    entry = {"stream": "prospects", "object": "none"}
    run = sync([schema("prospects"), ROW % (1, value), *GOOD], streams=[entry])
    assert run.counts("prospects") == {"received": 2, "skipped": 2}
    maps = {"prospects": {"__filter__": "record['id'] != 1"}}
    run = sync([schema("prospects"), ROW % (1, value), *GOOD], stream_maps=maps)
    assert run.counts("prospects") == {"received": 1, "created": 1}


@pytest.mark.parametrize(
    "line",
    [
        ROW % (1, "[" * 60_000 + "]" * 59_999),
        ROW % (1, "[" * 60_000 + "}" * 60_000),
        ROW % (1, "9" * 5_000 + ".5.5"),
        ROW % (1, DEEP) + "}",
        ROW % (1, DEEP) + '"',
        f'{{"type": "STATE", "value": {DEEP}}}',
        f'{{"type": "STATE", "value": {DIGITS}}}',
        DEEP,
    ],
)
def test_what_is_no_json_or_no_row_still_ends_the_run_in_a_sentence(sync, line):
    run = sync([schema("prospects"), GOOD[0], state({"n": 1}), line, *GOOD])
    assert run.exit_code == 1
    assert run.states == [{"n": 1}]
    assert "Line 4 of the input is not valid JSON, or too large or deep to read" in run.log


VALUES = [
    "1e999999999",
    "-1e-999999999",
    "9" * 4_200,
    "[1e999999999]",
    '"[1e99999999999999999999]"',
    f'"[{DIGITS}]"',
    json.dumps(DEEP),
    json.dumps(DEEP[:1_000]),
    json.dumps(BRACES),
    json.dumps("[" + "-" * 1_500 + "1]"),
    "[" * 300 + "]" * 300,
    "[" * 900 + "]" * 900,
]


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["prospects", "accounts"])
def test_no_value_of_any_attribute_hangs_or_ends_a_run(sync, tmp_path, stream):
    links = ["account.domain", "account.name", "owner.email"]
    names = [*load_catalog()[stream].writable, "id", *links]
    empty = json.dumps(record(stream, **{"%": "%"}))
    rows = [empty.replace('"%": "%"', f'"{name}": {one}') for name in names for one in VALUES]
    columns = {name: {} for name in names}
    memory = str(tmp_path / "memory.db")
    begun = time.process_time()
    run = sync([schema(stream, columns), *rows, state({"n": 1})], memory_path=memory)
    assert time.process_time() - begun < MOST * 3
    assert run.exit_code == 3
    assert run.states[-1] == {"n": 1}
    assert run.report["streams"][stream]["received"] == len(rows)


def test_a_text_that_is_longer_than_any_name_links_to_nothing_and_rejects_its_row_only(
    sync, sandbox
):
    sandbox.store.seed("accounts", {"name": "Acme"})
    rows = [
        record("prospects", id=1, emails="a@x.test", **{"account.name": "x" * 9_000}),
        record("prospects", id=2, emails="b@x.test", **{"account.name": "Acme"}),
    ]
    columns = {**EMAILS, "account.name": TEXT}
    run = sync([schema("prospects", columns), *rows, state({"n": 1})])
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.states[-1] == {"n": 1}


# Memories


def damaged(whole, rng):
    """Cut a file off anywhere, or flip some of its bits."""
    if rng.random() < 0.25:
        return whole[: rng.randrange(len(whole))]
    file = bytearray(whole)
    for _ in range(rng.choice((1, 1, 3, 20))):
        file[rng.randrange(len(file))] ^= 1 << rng.randrange(8)
    return bytes(file)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(80 if os.environ.get("CI") else 24))
def test_a_damaged_memory_is_started_again_or_named_or_works(sync, sandbox, tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "memory.db"  # noqa: S311 - no secret
    messages = [
        schema("prospects"),
        *(record("prospects", id=n, emails=f"p{n}@x.test", title="T") for n in range(40)),
        state({"n": 40}),
    ]
    options = {"memory_path": str(path), "change_detection": rng.choice(("drift", "source"))}
    sync(messages, **options)
    sync(messages, **options)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(damaged(path.read_bytes(), rng))
    run = sync(messages, **options)
    assert "Internal error" not in run.log
    assert "Traceback" not in run.log
    assert sandbox.store.count("prospects") == 40
    if run.exit_code == 0:
        assert run.states == [{"n": 40}]
        assert run.report["streams"]["prospects"]["received"] == 40
        assert path.with_name("memory.db.damaged").exists() is ("memory.db was damaged" in run.log)
        again = sync(messages, **options)
        assert again.counts("prospects")["unchanged"] == 40
    else:
        assert run.exit_code == 1
        assert "emory" in run.log


def test_a_file_that_is_no_memory_is_never_set_aside(tmp_path):
    for name, content in (("a", b"no database"), ("b", b"SQLite format 3\0" + bytes(4_000))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="memory_path cannot be used"):
            Memory(str(path))
        assert path.read_bytes() == content
        assert len(list(tmp_path.glob(f"{name}.damaged*"))) == 0


# Answers of a server

NUMBERS = ["1e400", "NaN", "9" * 4_000, "1" + "0" * 30, "[]"]
RESOURCE = {
    "type": "prospect",
    "id": "ID",
    "attributes": {"emails": ["a@x.test"], "title": "TITLE", "score": "TITLE"},
    "relationships": {"account": {"data": {"type": "account", "id": "LINK"}}},
}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["ID", "TITLE", "LINK"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_no_number_in_an_answer_is_an_internal_error(sync, sandbox, tmp_path, place, method):
    options = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "drift"}
    columns = {**EMAILS, "title": TEXT, "account.id": {}}
    for position, number in enumerate(NUMBERS):
        body = json.dumps({"data": [RESOURCE] if method == "GET" else RESOURCE})
        body = body.replace(f'"{place}"', number).replace('"ID"', "1").replace('"LINK"', "1")
        sandbox.add_fault(
            Fault(
                "status", method=method, status=201 if method == "POST" else 200, body=body, times=2
            )
        )
        row = record(
            "prospects", id=1, emails="a@x.test", title=f"T{position}", **{"account.id": 1}
        )
        run = sync([schema("prospects", columns), row, state({"n": 1})], **options)
        assert "Internal error" not in run.log
        assert run.exit_code in {0, 1, 3}
