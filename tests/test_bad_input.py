"""What a tap should not send: what came before is delivered, and one sentence says where it is."""

from __future__ import annotations

import json

import pytest
from conftest import PROSPECTS, record, schema, state

from target_outreach import inbox
from target_outreach.errors import InputError

GOOD = [
    schema("prospects"),
    record("prospects", id=1, emails="kept@example.test"),
    state({"at": 1}),
]
SECRET = "whisper-4711"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{{{SECRET}", "not valid JSON"),
        (f'["{SECRET}"]', "no Singer message"),
        (f'{{"type": "ROW", "x": "{SECRET}"}}', "another type"),
        (f'{{"type": 5, "x": "{SECRET}"}}', "no Singer message"),
        (f'{{"type": "RECORD", "stream": "prospects", "row": "{SECRET}"}}', "without stream"),
        (
            f'{{"type": "RECORD", "stream": "x", "record": {{"a": "{SECRET}"}}}}',
            "before the SCHEMA",
        ),
        (
            f'{{"type": "RECORD", "stream": "prospects", "record": {{"emails": "{SECRET}"}}}}',
            "key properties",
        ),
        (f'{{"type": "SCHEMA", "stream": "x", "title": "{SECRET}"}}', "SCHEMA without"),
        ('{"type": "SCHEMA", "stream": "x", "schema": {}}', "without properties"),
        ('{"type": "STATE"}', "STATE without value"),
        (
            '{"type": "BATCH", "stream": "prospects", "manifest": ["s3://bucket/file"]}',
            "BATCH",
        ),
        ("[" * 100_000, "not valid JSON"),
        (f'{{"type": "STATE", "value": {"9" * 5000}}}', "not valid JSON"),
    ],
)
def test_a_bad_line_ends_the_run_after_what_came_before_is_delivered(sync, sandbox, line, words):
    run = sync([*GOOD, line, record("prospects", id=2, emails="late@example.test")])
    assert run.exit_code == 1
    assert run.states == [{"at": 1}]
    assert [one["attributes"]["emails"] for one in sandbox.store.all("prospects")] == [
        ["kept@example.test"]
    ]
    errors = [line for line in run.log.splitlines() if "ERROR" in line]
    assert len(errors) == 1
    assert "Line 4 of the input" in errors[0]
    assert words in errors[0]
    assert SECRET not in run.log


def test_bytes_that_are_no_utf_8_are_said_by_their_line(execute):
    run = execute(json.dumps(GOOD[0]).encode() + b'\n{"type": "STATE", "value": "\xff"}\n')
    assert run.exit_code == 1
    assert "Line 2 of the input is not UTF-8" in run.log


def test_a_byte_order_mark_and_blank_lines_do_no_harm(execute):
    text = "\ufeff" + "\n\n".join(json.dumps(message) for message in GOOD)
    run = execute(text.encode())
    assert run.exit_code == 0
    assert run.states == [{"at": 1}]


def test_no_input_at_all_is_a_run_of_nothing(execute):
    run = execute(b"")
    assert run.exit_code == 0
    assert run.report["streams"] == {}


@pytest.mark.parametrize("stream", ["prospects", "unknown"])
@pytest.mark.parametrize("place", range(len(GOOD) + 1))
def test_activate_version_is_ignored_wherever_it_comes(sync, place, stream):
    version = {"type": "ACTIVATE_VERSION", "stream": stream, "version": 1}
    run = sync([*GOOD[:place], version, *GOOD[place:]])
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert run.states == [{"at": 1}]


@pytest.mark.parametrize("stream", ["prospects", "unknown"])
@pytest.mark.parametrize("place", range(len(GOOD) + 1))
def test_a_batch_message_ends_the_run_wherever_it_comes(sync, sandbox, place, stream):
    encoding = {"format": "jsonl", "compression": "gzip"}
    manifest = [f"file:///tmp/{SECRET}.gz"]
    batch = {"type": "BATCH", "stream": stream, "encoding": encoding, "manifest": manifest}
    run = sync([*GOOD[:place], batch, *GOOD[place:]])
    assert run.exit_code == 1
    assert f"Line {place + 1} of the input is a BATCH message" in run.log
    assert "switch batch files off in the tap" in run.log
    assert run.states == ([{"at": 1}] if place == len(GOOD) else [])
    assert sandbox.store.count("prospects") == (place >= 2)
    assert SECRET not in run.log


def test_a_column_that_leaves_the_schema_halfway_keeps_what_it_has_brought(sync, sandbox):
    narrower = {name: PROSPECTS[name] for name in ("id", "emails", "first_name")}
    run = sync(
        [
            schema("prospects"),
            record("prospects", emails="a@x.test", title="Head", first_name="Old"),
            schema("prospects", narrower),
            record("prospects", emails="a@x.test", first_name="New"),
            state({"n": 2}),
        ]
    )
    assert run.exit_code == 0
    assert run.states == [{"n": 2}]
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["title"] == "Head"
    assert person["attributes"]["firstName"] == "New"


def test_a_column_that_changes_its_type_halfway_is_checked_by_the_schema_of_the_day(sync, sandbox):
    numbers = schema("prospects", PROSPECTS | {"title": {"type": "integer"}})
    run = sync(
        [
            schema("prospects"),
            record("prospects", id=1, emails="a@x.test", title="text"),
            record("prospects", id=2, emails="nope"),
            numbers,
            record("prospects", id=3, emails="b@x.test", title=7),
            record("prospects", id=4, emails="c@x.test", title="text"),
        ]
    )
    assert run.counts("prospects") == {"received": 4, "created": 2, "rejected": 2}
    titles = [one["attributes"]["title"] for one in sandbox.store.all("prospects")]
    assert sorted(titles) == ["7", "text"]
    assert [line["type"] for line in run.rejects] == ["SCHEMA", "RECORD"] * 2
    assert run.rejects[2] == numbers
    assert run.rejects[3]["error"]["code"] == "schema_violation"


@pytest.mark.parametrize("keys", ["absent", None, []])
def test_a_stream_needs_no_key_properties(sync, keys):
    header = schema("prospects") | {"key_properties": keys}
    if keys == "absent":
        del header["key_properties"]
    run = sync([header, *GOOD[1:]])
    assert run.exit_code == 0
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert run.states == [{"at": 1}]


def test_key_properties_that_no_record_has_end_the_run_in_words(sync, sandbox):
    run = sync([GOOD[0] | {"key_properties": ["ID"]}, *GOOD[1:]])
    assert run.exit_code == 1
    missing = "Line 2 of the input is a RECORD without one of its key properties, 'ID'; nearest: id"
    assert missing in run.log
    assert run.states == []
    assert sandbox.store.count("prospects") == 0


@pytest.mark.slow
def test_a_line_of_ten_megabytes_is_read(execute):
    long = record("prospects", id=2, emails="b@example.test", title="x" * 10_000_000)
    run = execute([*GOOD, long])
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["field"] == "title"
    assert "at most 255 characters" in run.rejects[-1]["error"]["message"]


def test_odd_text_arrives_or_is_rejected_but_never_stops_the_run(sync, sandbox):
    rows = [
        record("prospects", id=1, emails="nul@example.test", title="a\u0000b"),
        record("prospects", id=2, emails="half@example.test", title="a\ud800b"),
        record("prospects", id=3, emails="😀@example.test", title="Ünïcødé 😀"),
        record("prospects", id=4, emails="big@example.test", title=str(2**80)),
    ]
    run = sync([schema("prospects"), *rows, state({"n": 4})])
    assert run.exit_code == 3
    assert run.counts("prospects") == {"received": 4, "created": 3, "rejected": 1}
    assert run.states == [{"n": 4}]
    titles = {one["attributes"]["title"] for one in sandbox.store.all("prospects")}
    assert titles == {"a\u0000b", "Ünïcødé 😀", str(2**80)}


def test_numbers_beyond_2_53_keep_every_digit(sync, sandbox):
    properties = PROSPECTS | {"custom_1": {"type": "number"}, "custom_2": {"type": "integer"}}
    line = (
        '{"type": "RECORD", "stream": "prospects", "record": {"id": 1, "emails": "a@x.test", '
        '"custom_1": 12345678901234567.125, "custom_2": 9007199254740993}}'
    )
    sync([schema("prospects", properties), line])
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["custom1"] == "12345678901234567.125"
    assert person["attributes"]["custom2"] == "9007199254740993"


def test_a_record_that_breaks_its_own_schema_is_rejected_unless_validate_records_is_off(sync):
    properties = PROSPECTS | {"score": {"type": "integer"}}
    rows = [
        schema("prospects", properties),
        record("prospects", emails="a@x.test", score=SECRET),
        record("prospects", emails="b@x.test", score=7),
    ]
    run = sync(rows)
    assert run.counts("prospects") == {"received": 2, "created": 1, "rejected": 1}
    assert run.rejects[-1]["error"]["code"] == "schema_violation"
    assert run.rejects[-1]["error"]["field"] == "score"
    assert SECRET not in run.rejects[-1]["error"]["message"]
    run = sync(rows, validate_records=False)
    assert run.rejects[-1]["error"]["code"] == "invalid_value"


BROKEN_RULES = {
    "an unknown type": {"type": ["null", "timestamp"]},
    "a boolean of draft 4": {"type": ["null", "string"], "minimum": 1, "exclusiveMinimum": True},
    "a pattern of another language": {"type": ["null", "string"], "pattern": "^(?<a>H)\\k<a>$"},
    "no rules at all": None,
    "a reference to elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a reference to nothing": {"$ref": "#/definitions/none"},
    "a type in a list": {"anyOf": [{"type": "timestamp"}, {"type": "null"}]},
    "a choice of nothing": {"type": ["null", "string"], "enum": []},
    "a choice of nothing in a list": {"anyOf": [{"enum": []}, {"type": "string"}]},
    "no value at all": False,
}


@pytest.mark.parametrize("rule", BROKEN_RULES.values(), ids=BROKEN_RULES)
def test_a_rule_that_cannot_be_used_is_named_once_and_ignored(sync, rule):
    header = schema("prospects", PROSPECTS | {"title": rule})
    rows = [record("prospects", id=n, emails=f"a{n}@x.test", title="Head") for n in range(2)]
    changed = schema("prospects", PROSPECTS | {"title": rule, "other": {}})
    run = sync([header, *rows, changed, *rows])
    assert run.exit_code == 0
    assert run.counts("prospects")["created"] == 2
    warnings = [line for line in run.log.splitlines() if "cannot be used" in line]
    assert len(warnings) == 1
    assert "properties.title" in warnings[0]


@pytest.mark.parametrize("rule", BROKEN_RULES.values(), ids=BROKEN_RULES)
def test_a_rule_for_a_column_that_is_not_delivered_does_not_matter(sync, rule):
    run = sync([schema("prospects", PROSPECTS | {"code": rule}), *GOOD[1:]])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert "cannot be used" not in run.log


def test_columns_that_are_not_delivered_are_not_validated(sync):
    properties = PROSPECTS | {"code": {"type": "integer"}, "gone": {"type": "string"}}
    header = schema("prospects", properties)
    header["schema"] |= {"required": ["emails", "gone"], "additionalProperties": False}
    run = sync([header, record("prospects", id=1, emails="a@x.test", code="text", more=1)])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    run = sync([header, record("prospects", id=1, code=1)])
    assert run.rejects[-1]["error"]["message"] == "emails is required but missing."


def test_columns_outside_the_schema_are_named_once(sync):
    rows = [
        record("prospects", id=n, emails=f"a{n}@x.test", job_title="Head", _sdc_batched_at="now")
        for n in range(3)
    ]
    run = sync([schema("prospects", {"emails": PROSPECTS["emails"]}), *rows])
    assert run.counts("prospects") == {"received": 3, "created": 3}
    warnings = [line for line in run.log.splitlines() if "SCHEMA does not have" in line]
    assert len(warnings) == 1
    assert "id, job_title (line 2 of the input)" in warnings[0]


def test_a_stream_map_may_yield_any_type_and_the_rows_of_the_tap_are_checked_before(sync, sandbox):
    properties = {name: {"type": ["null", "string"]} for name in ("email", "Opted Out?", "tags")}
    maps = {
        "emails": "email.lower()",
        "email_opted_out": "record['Opted Out?'] == 'Yes'",
        "tags": "tags.split(';')",
        "__else__": None,
    }
    good = {"email": "A@x.test", "Opted Out?": "Yes", "tags": "a;b"}
    messages = [
        schema("leads", properties, keys=()),
        {"type": "RECORD", "stream": "leads", "record": good},
        {"type": "RECORD", "stream": "leads", "record": {**good, "email": "b@x.test", "tags": 7}},
        {"type": "RECORD", "stream": "leads", "record": {**good, "Opted Out?": 7}},
    ]
    run = sync(messages, outreach_object="prospects", stream_maps={"leads": maps})
    (person,) = sandbox.store.all("prospects")
    assert person["attributes"]["emailOptedOut"] is True
    assert person["attributes"]["tags"] == ["a", "b"]
    codes = [line["error"]["code"] for line in run.rejects if line["type"] == "RECORD"]
    assert codes == ["schema_violation", "schema_violation"]


def test_a_deleted_row_is_not_written_but_counted(sync, sandbox):
    properties = PROSPECTS | {"_sdc_deleted_at": {"type": ["null", "string"]}}
    run = sync(
        [
            schema("prospects", properties),
            record("prospects", emails="a@x.test", _sdc_deleted_at="2026-01-01T00:00:00Z"),
            record("prospects", emails="b@x.test", _sdc_deleted_at=None),
        ]
    )
    assert run.counts("prospects") == {"received": 2, "created": 1, "skipped": 1}
    assert run.report["streams"]["prospects"]["skipped_by_reason"] == {"deleted_in_source": 1}
    assert sandbox.store.count("prospects") == 1


@pytest.mark.parametrize(
    ("column", "mark", "spared"),
    [
        ("_fivetran_deleted", True, False),
        ("_FIVETRAN_DELETED", "true", "false"),
        ("_ab_cdc_deleted_at", "2026-01-01T00:00:00Z", ""),
        ("__deleted", "true", "false"),
        ("IsDeleted", True, "f"),
        ("is_deleted", 1, 0),
        ("_fivetran_deleted", "T", "null"),
        ("_sdc_deleted_at", "2026-01-01 00:00:00", "0000-00-00 00:00:00"),
        ("Removed On", "2026-01-01", " "),
    ],
)
@pytest.mark.parametrize("in_schema", [True, False])
def test_the_deletion_columns_of_the_common_tools_count(sync, column, mark, spared, in_schema):
    properties = PROSPECTS | ({column: {}} if in_schema else {})
    rows = [
        record("prospects", id=1, emails="a@x.test", **{column: mark}),
        record("prospects", id=2, emails="b@x.test", **{column: spared}),
        record("prospects", id=3, emails="c@x.test", **{column: None}),
    ]
    run = sync([schema("prospects", properties), *rows], deleted_columns=["removed_on"])
    assert run.counts("prospects") == {"received": 3, "created": 2, "skipped": 1}
    assert run.report["streams"]["prospects"]["skipped_by_reason"] == {"deleted_in_source": 1}


def test_archived_rows_are_delivered_and_the_column_is_mentioned(sync):
    header = schema("prospects", PROSPECTS | {"archived": {}})
    rows = [header, record("prospects", id=1, emails="a@x.test", archived=True)]
    run = sync(rows)
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert run.log.count("'archived' are delivered") == 1
    run = sync(rows, streams=[{"stream": "prospects", "deleted_columns": ["archived"]}])
    assert run.counts("prospects") == {"received": 1, "skipped": 1}


@pytest.mark.parametrize(("named", "is_said"), [("remved_on", True), ("gone", False)])
def test_a_wrong_name_under_deleted_columns_is_said_with_the_right_one(sync, named, is_said):
    properties = PROSPECTS | {"removed_on": {"type": ["null", "string"]}}
    row = record("prospects", id=1, emails="a@x.test", removed_on="2026-01-01")
    run = sync([schema("prospects", properties), row], deleted_columns=[named])
    words = f"deleted_columns names '{named}', which the stream does not have; nearest: removed_on"
    assert (words in run.log) is is_said


def test_a_stream_without_an_object_is_counted_as_skipped(sync, sandbox):
    run = sync(
        [schema("notes", {"id": {"type": "integer"}}), record("notes", id=1), state({"n": 1})],
        streams=[{"stream": "notes", "object": "none"}],
    )
    assert run.exit_code == 0
    assert run.counts("notes") == {"received": 1, "skipped": 1}
    assert run.states == [{"n": 1}]
    assert sandbox.request_count == 0


def test_no_log_at_any_level_holds_a_value_a_query_or_the_token(sync, config):
    rows = [
        record("prospects", id=1, emails=f"{SECRET}@example.test", title=SECRET),
        record("prospects", id=2, emails=SECRET),
        record("prospects", id=3, emails=f"{SECRET}@outreach.io"),
    ]
    run = sync([schema("prospects"), *rows, state({"n": 3})])
    assert run.counts("prospects") == {"received": 3, "created": 1, "rejected": 2}
    assert SECRET not in run.log
    assert "filter" not in run.log
    assert config["access_token"] not in run.log
    assert SECRET in json.dumps(run.rejects)


def test_a_line_that_fits_into_no_memory_ends_the_reading_and_not_only_its_thread(
    tmp_path, monkeypatch
):
    class Vast(bytes):
        """A piece of a line, to which nothing can be added."""

        def rpartition(self, _separator):
            raise MemoryError

    class Raw:
        def __enter__(self):
            return self

        def __exit__(self, *_exception):
            pass

        def read(self, _size):
            return Vast(b"x")

    path = tmp_path / "input"
    path.write_text("", encoding="utf-8")
    with path.open(encoding="utf-8") as file, monkeypatch.context() as patch:
        patch.setattr(inbox, "open", lambda *_, **__: Raw(), raising=False)
        reader = inbox.Inbox()
        reader.read(file)
        with pytest.raises(InputError, match="A line of standard input is too long"):
            for _ in zip(range(20), reader.chunks(), strict=False):
                pass
