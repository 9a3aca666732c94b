"""Custom fields by label and with their declared types, as the organisation tells them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from conftest import schema

from target_outreach.errors import RecordFault, SettingsError
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping
from target_outreach.records.custom_fields import CustomField, OwnObjects, read_types
from target_outreach.records.goals import could_use_custom_fields
from target_outreach.records.values import coerce, same
from target_outreach.sandbox import Fault
from target_outreach.sandbox.values import obeys

TEXT = {"type": ["null", "string", "number", "boolean", "array"]}
COLORS = ("Red", "Deep Blue", "Green, light")


def object_with(*fields, name="prospects"):
    """The object as an organisation has it that declares these custom fields."""
    objects = OwnObjects()
    objects.learn({name: {field.name: field for field in fields}})
    return objects[name]


def attribute_of(kind, choices=(), label=None):
    return object_with(CustomField("custom7", label, kind, choices)).attributes["custom7"]


def people(*columns):
    return schema("prospects", {"email": TEXT} | dict.fromkeys(columns, TEXT), keys=())


def person(**values):
    return {"type": "RECORD", "stream": "prospects", "record": {"email": "a@x.test", **values}}


def asked(sandbox):
    """How often the types were asked for."""
    return [entry.path for entry in sandbox.requests].count("/api/v2/types")


def stored(sandbox, object_name="prospects"):
    (one,) = sandbox.store.all(object_name)
    return one["attributes"]


# Reading what Outreach says


def types(validations, kind="prospect"):
    return {"data": [{"type": kind, "meta": {"validations": validations}}]}


def rule(kind="string", label="Extra", definition=None, *, required=False):
    return {"type": kind, "label": label, "definition": definition, "required": required}


def test_labels_types_choices_and_what_is_required_are_read():
    read = read_types(types({"custom3": rule("inclusion", " Lead  Tier ", ["A", "B"])}))
    assert read == {
        "prospects": {"custom3": CustomField("custom3", "Lead Tier", "inclusion", ("A", "B"))}
    }
    assert read_types(types({"custom3": rule(required=True)}))["prospects"]["custom3"].required


@pytest.mark.parametrize("kind", ["prospect", "Prospect", "prospects", "PROSPECTS"])
def test_an_object_is_known_however_it_is_written(kind):
    assert list(read_types(types({"custom3": rule()}, kind))) == ["prospects"]


@pytest.mark.parametrize(
    "document", [None, [], {}, {"data": None}, {"data": {"type": "prospect"}}, "x"]
)
def test_what_is_no_list_of_types_is_none(document):
    assert read_types(document) is None


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"type": "product", "meta": {"validations": {"custom3": rule()}}},
        {"type": ["prospect"]},
        {"type": "prospect"},
        {"type": "prospect", "meta": []},
        {"type": "prospect", "meta": {"validations": [rule()]}},
        {"type": "prospect", "meta": {"validations": {"custom3": "string"}}},
        {"type": "prospect", "meta": {"validations": {"custom999": rule(), "title": rule()}}},
    ],
)
def test_malformed_fields_are_ignored(entry):
    good = types({"custom4": rule("date", "Born")})["data"][0]
    read = read_types({"data": [entry, good]})
    assert read == {"prospects": {"custom4": CustomField("custom4", "Born", "date")}}


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        (rule("colour"), CustomField("custom3", "Extra", "string")),
        (rule(["date"]), CustomField("custom3", "Extra", "string")),
        (rule(label=None), CustomField("custom3", None, "string")),
        (rule(label="  "), CustomField("custom3", None, "string")),
        (rule("currency", definition="USD"), CustomField("custom3", "Extra", "currency")),
        (
            rule("inclusion", definition='["A", "B"]'),
            CustomField("custom3", "Extra", "inclusion", ("A", "B")),
        ),
        (rule("inclusion", definition="A"), CustomField("custom3", "Extra", "inclusion")),
        (
            rule("inclusion", definition=["A", {"value": "B"}]),
            CustomField("custom3", "Extra", "inclusion"),
        ),
        (
            rule("inclusion", definition=["A", " A", "", 5]),
            CustomField("custom3", "Extra", "inclusion", ("A", "5")),
        ),
    ],
)
def test_a_field_is_read_as_far_as_it_is_understood(declared, field):
    assert read_types(types({"custom3": declared})) == {"prospects": {"custom3": field}}


def test_the_catalogue_itself_knows_no_organisation():
    object_with(CustomField("custom7", "Tier", "date", required=True))
    assert load_catalog()["prospects"].attributes["custom7"].custom is None
    assert load_catalog()["prospects"].required == ()


def test_what_is_learned_later_is_known_of_the_same_object():
    objects = OwnObjects()
    before = objects["prospects"]
    objects.learn({"prospects": {"custom7": CustomField("custom7", "Tier")}})
    assert objects["prospects"] is before
    assert before.attributes["custom7"].label == "Tier"


# Mapping


@pytest.mark.parametrize(
    "column", ["lead_score", "LEAD SCORE", "LeadScore", "lead-score", "lead.score"]
)
def test_a_column_maps_by_the_label_of_a_custom_field(column):
    kind = object_with(CustomField("custom12", "Lead Score", "numerical"))
    found = build_mapping(kind, ["email", column], match_fields=["emails"])
    assert found.attributes["custom12"] == (column,)
    assert f"{column} → custom12 (Lead Score)" in found.describe()


def test_names_and_synonyms_come_before_labels():
    kind = object_with(CustomField("custom1", "Title"), CustomField("custom2", "Job Title"))
    found = build_mapping(kind, ["email", "title"], match_fields=["emails"])
    assert found.attributes["title"] == ("title",)
    found = build_mapping(kind, ["email", "job_title"], match_fields=["emails"])
    assert found.attributes["title"] == ("job_title",)


@pytest.mark.parametrize("column", ["id", "stage_id", "_sdc_batched_at", "gender", "created_at"])
def test_a_label_takes_no_column_that_is_ignored_for_a_reason(column):
    kind = object_with(CustomField("custom1", column))
    found = build_mapping(kind, ["email", column], match_fields=["emails"])
    assert column in found.unmapped


def test_an_ignored_column_maps_by_no_label():
    kind = object_with(CustomField("custom1", "Tier"))
    found = build_mapping(kind, ["email", "tier"], ignore=["t*"], match_fields=["emails"])
    assert found.unmapped == {"tier": "by ignore_columns"}


def test_a_label_of_two_fields_maps_nothing_and_names_both():
    kind = object_with(CustomField("custom3", "Tier"), CustomField("custom7", "tier"))
    found = build_mapping(kind, ["email", "TIER"], match_fields=["emails"])
    assert found.unmapped == {"TIER": "ambiguous label: custom3, custom7"}
    with pytest.raises(SettingsError, match="ambiguous label: custom3, custom7"):
        build_mapping(kind, ["email", "x"], explicit={"x": "Tier"}, match_fields=["emails"])


def test_an_entry_can_name_a_label_or_a_label_that_is_near():
    kind = object_with(CustomField("custom3", "Lead Score"))
    found = build_mapping(
        kind, ["email", "x"], explicit={"x": "lead_score"}, match_fields=["emails"]
    )
    assert found.attributes["custom3"] == ("x",)
    with pytest.raises(SettingsError, match="nearest: Lead Score"):
        build_mapping(kind, ["email", "x"], explicit={"x": "Laed Score"}, match_fields=["emails"])


# Values


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        *(("boolean", value, "true") for value in (True, "TRUE", "t", " Yes ", 1, "1")),
        *(("boolean", value, "false") for value in (False, "False", "F", "no", 0, "0")),
        ("numerical", 78.0, "78"),
        ("numerical", Decimal("78.50"), "78.5"),
        ("numerical", Decimal("1E+3"), "1000"),
        ("currency", " 12.30 ", "12.3"),
        ("percentage", "1e2", "100"),
        ("numerical", -0.0, "0"),
        ("numerical", Decimal("12345678901234567890.12"), "12345678901234567890.12"),
        ("date", "2026-03-31", "2026-03-31"),
        ("date", "2026-03-31T00:00:00Z", "2026-03-31"),
        ("date", date(2026, 3, 31), "2026-03-31"),
        ("date_time", "2026-03-31T09:30:00.123Z", "2026-03-31T09:30:00"),
        ("date_time", "2026-03-31 09:30:00+02:00", "2026-03-31T07:30:00"),
        ("date_time", datetime(2026, 3, 31, 9, 30, tzinfo=UTC), "2026-03-31T09:30:00"),
        ("inclusion", "deep  BLUE", "Deep Blue"),
        ("inclusion", "Red", "Red"),
        ("multi_inclusion", ["red", "Deep blue"], "Red;Deep Blue"),
        ("multi_inclusion", '["red", "Deep blue"]', "Red;Deep Blue"),
        ("multi_inclusion", "red, deep blue", "Red;Deep Blue"),
        ("multi_inclusion", "red; green, light", "Red;Green, light"),
        ("multi_inclusion", "green, light", "Green, light"),
        ("multi_inclusion", "red;red;", "Red"),
        ("phone_number", " +1 (555) 010-9999 ", "+1 (555) 010-9999"),
        ("phone_number", 5550109999, "5550109999"),
        ("url", " https://example.com/a?b=c ", "https://example.com/a?b=c"),
        ("url", "www.example.com/a", "www.example.com/a"),
        ("url", "http://localhost:8080", "http://localhost:8080"),
        ("string", 5.0, "5"),
        ("string", "plain", "plain"),
    ],
)  # fmt: skip
def test_a_value_becomes_the_text_of_its_declared_type(kind, value, sent):
    assert coerce(attribute_of(kind, COLORS), value) == sent


@pytest.mark.parametrize(
    ("kind", "value", "rule"),
    [
        ("boolean", "maybe", "true or false"),
        ("boolean", 2, "true or false"),
        ("numerical", "many", "a number"),
        ("percentage", "78%", "a number"),
        ("currency", "$12", "a number"),
        ("currency", True, "a number"),
        ("numerical", float("inf"), "a finite number"),
        ("date", "31.3.2026", "an ISO 8601 date"),
        ("date", "2026-03-31T09:30:00Z", "an ISO 8601 date"),
        ("date", "2026-02-30", "a date of the calendar"),
        ("date_time", "noon", "an ISO 8601 date or date-time"),
        ("inclusion", "Purple", "one of the options of its pick list"),
        ("inclusion", ["Red"], "text, not a list"),
        ("multi_inclusion", "Red, Purple", "options of its pick list only"),
        ("multi_inclusion", {"Red": 1}, "not an object"),
        ("phone_number", "none", "a telephone number"),
        ("url", "example", "an address of the web"),
        ("url", "ftp://example.com", "an address of the web"),
        ("url", "https://exa mple.com", "an address of the web"),
        ("url", "a@example.com", "an address of the web"),
        ("url", "http://[::1", "an address of the web"),
    ],
)
def test_what_does_not_fit_rejects_the_record_and_repeats_no_value(kind, value, rule):
    with pytest.raises(RecordFault) as caught:
        coerce(attribute_of(kind, COLORS, "Extra"), value)
    fault = caught.value
    assert (fault.code, fault.field) == ("invalid_value", "custom7")
    assert fault.message.startswith("custom7 (Extra) takes ")
    assert rule in fault.message
    assert str(value) not in fault.message


@pytest.mark.parametrize("kind", ["inclusion", "multi_inclusion"])
def test_where_no_pick_list_is_known_any_option_goes(kind):
    assert coerce(attribute_of(kind), "Purple") == "Purple"


@pytest.mark.parametrize("value", [None, "", "  ", [], "[]"])
def test_nothing_is_nothing_whatever_the_type(value):
    assert coerce(attribute_of("multi_inclusion", COLORS), value) is None


@pytest.mark.parametrize(
    ("kind", "ours", "held"),
    [
        ("numerical", "78", "78.0"),
        ("numerical", "78", 78),
        ("currency", "12.5", "12.50"),
        ("boolean", "true", "True"),
        ("boolean", "false", False),
        ("date", "2026-03-31", "2026-03-31T00:00:00.000Z"),
        ("date_time", "2026-03-31T09:30:00", "2026-03-31T09:30:00.000Z"),
        ("inclusion", "Deep Blue", "deep blue"),
        ("multi_inclusion", "Red;Deep Blue", "deep blue, red"),
        ("multi_inclusion", "Red;Deep Blue", ["Deep Blue", "Red"]),
        ("multi_inclusion", "Green, light;Red", '["Red", "Green, light"]'),
        ("phone_number", "+1 555 010 9999", "555-010-9999"),
        ("url", "https://example.com", "https://example.com"),
        ("string", "78", "78"),
    ],
)
def test_what_means_the_same_is_no_change(kind, ours, held):
    assert same(attribute_of(kind, COLORS), ours, held)


@pytest.mark.parametrize(
    ("kind", "ours", "held"),
    [
        ("numerical", "78", "79"),
        ("numerical", "78", "many"),
        ("boolean", "true", "false"),
        ("date", "2026-03-31", "31.3.2026"),
        ("date", "2026-03-31", "2026-03-31T10:00:00.000Z"),
        ("inclusion", "Red", "Purple"),
        ("multi_inclusion", "Red", "Red;Deep Blue"),
        ("multi_inclusion", "Red", "Purple"),
        ("phone_number", "5550109999", 5),
        ("url", "https://example.com", {"href": "x"}),
        ("string", "78", "78.0"),
        ("numerical", "0", None),
    ],
)
def test_what_means_something_else_is_a_change(kind, ours, held):
    assert not same(attribute_of(kind, COLORS), ours, held)


# The sandbox


@pytest.mark.parametrize(
    ("kind", "options", "text", "fits"),
    [
        ("multi_inclusion", COLORS, "Red;Green, light", True),
        ("multi_inclusion", COLORS, "Red, Deep Blue", True),
        ("multi_inclusion", COLORS, "Green, light", True),
        ("multi_inclusion", COLORS, "Red;Purple", False),
        ("inclusion", COLORS, "red", False),
        ("inclusion", None, "whatever", True),
        ("multi_inclusion", [], "what, ever", True),
        ("numerical", None, "-12.5", True),
        ("numerical", None, "1e3", False),
        ("percentage", None, "nan", False),
        ("currency", "USD", "$5", False),
        ("url", None, "www.example.com/a", True),
        ("url", None, "a@example.com", False),
    ],
)
def test_the_sandbox_takes_only_what_is_of_the_declared_type(kind, options, text, fits):
    assert obeys(text, {"type": kind, "definition": options}) is fits


# A run


def test_a_row_is_delivered_by_label_and_found_unchanged_however_outreach_spells_it(sync, sandbox):
    store = sandbox.store
    store.define_custom_field("prospects", 12, "Lead Score", "numerical")
    store.define_custom_field("prospects", 13, "Is Customer", "boolean")
    store.define_custom_field("prospects", 14, "Signed On", "date")
    store.define_custom_field("prospects", 15, "Color", "inclusion", ["Red", "Blue"])
    store.define_custom_field("prospects", 16, "Interests", "multi_inclusion", ["Tea", "Ink"])
    messages = [
        people("lead_score", "is_customer", "signed_on", "color", "interests"),
        person(
            lead_score=78.0,
            is_customer="Yes",
            signed_on="2026-03-31",
            color="red",
            interests='["Ink","tea"]',
        ),
    ]
    run = sync(messages)
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert "lead_score → custom12 (Lead Score)" in run.log
    held = stored(sandbox)
    assert [held[f"custom{number}"] for number in range(12, 17)] == [
        *("78", "true", "2026-03-31", "Red", "Ink;Tea")
    ]
    (one,) = store.all("prospects")
    store.update(
        "prospects",
        one["id"],
        {"custom12": "78.0", "custom13": "True", "custom14": "2026-03-31T00:00:00.000Z",
         "custom15": "RED", "custom16": "Tea, Ink"},
    )  # fmt: skip
    assert sync(messages).counts("prospects") == {"received": 1, "unchanged": 1}


def test_a_value_outside_the_pick_list_rejects_its_record_before_anything_is_sent(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Color", "inclusion", ["Red", "Blue"])
    run = sync([people("color"), person(color="Mauve")])
    assert run.counts("prospects") == {"received": 1, "rejected": 1}
    error = run.rejects[-1]["error"]
    assert (error["code"], error["field"]) == ("invalid_value", "custom15")
    assert error["message"] == "custom15 (Color) takes one of the options of its pick list."
    assert "Mauve" not in run.log
    assert sandbox.store.count("prospects") == 0


def test_a_new_record_without_a_required_custom_field_is_rejected_before_it_is_sent(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Color", required=True)
    run = sync([people("color"), person(color=None)])
    error = run.rejects[-1]["error"]
    assert (error["code"], error["field"]) == ("missing_required", "custom15")
    assert "POST" not in {entry.method for entry in sandbox.requests}


@pytest.mark.parametrize("column", ["custom15", "color", "shoe_size"])
def test_an_update_needs_no_required_custom_field(sync, sandbox, column):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    sandbox.store.define_custom_field("prospects", 15, "Color", required=True)
    run = sync([people("title", column), person(title="CTO", **{column: None})])
    assert run.counts("prospects") == {"received": 1, "updated": 1}


def test_field_rules_take_labels_too(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Color")
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "custom15": "Blue"})
    rules = [{"stream": "prospects", "field_rules": {"color": "if_empty"}}]
    run = sync([people("color"), person(color="Red")], streams=rules)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert stored(sandbox)["custom15"] == "Blue"


@pytest.mark.parametrize(
    ("columns", "times"),
    [
        (("title",), 0),
        (("title", "id", "_sdc_batched_at", "gender", "owner_id"), 0),
        (("custom_12",), 1),
        (("row_hash",), 1),
    ],
)
def test_types_are_asked_for_only_where_they_matter(sync, sandbox, columns, times):
    sync([people(*columns), person(**dict.fromkeys(columns, None))])
    assert asked(sandbox) == times


def test_ignored_and_explicit_columns_need_no_types(sync, sandbox):
    entry = {"stream": "*", "columns": {"position": "title"}, "ignore_columns": ["row_*"]}
    sync([people("position", "row_hash"), person(position="CTO")], streams=[entry])
    assert asked(sandbox) == 0


def test_types_are_asked_for_once_for_all_streams_in_a_dry_run_too(sync, sandbox):
    messages = [
        people("row_hash"),
        person(),
        people("row_hash", "tier"),
        person(),
        schema("accounts", {"name": TEXT, "custom1": TEXT}, keys=()),
        {"type": "RECORD", "stream": "accounts", "record": {"name": "Acme"}},
    ]
    sync(messages, dry_run=True)
    assert asked(sandbox) == 1


def test_a_stream_before_the_first_that_asks_stays_in_order_with_those_after_it(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Color")
    plain = {**people("title"), "stream": "first-prospects"}
    messages = [
        plain,
        {**person(title="CTO"), "stream": "first-prospects"},
        {**people("color"), "stream": "second-prospects"},
        {**person(color="Red"), "stream": "second-prospects"},
        {**person(title="CEO"), "stream": "first-prospects"},
    ]
    run = sync(messages)
    assert run.exit_code == 0
    held = stored(sandbox)
    assert (held["title"], held["custom15"]) == ("CEO", "Red")
    assert [entry.method for entry in sandbox.requests].count("POST") == 1


@pytest.mark.parametrize("status", [403, 404])
def test_where_outreach_does_not_tell_one_warning_says_so_and_numbers_still_work(
    sync, sandbox, status
):
    sandbox.add_fault(Fault("status", path="/types", status=status))
    messages = [
        people("custom12", "lead_score"),
        person(custom12=78, lead_score=1),
        {**people("tier"), "stream": "more-prospects"},
    ]
    run = sync(messages)
    assert run.counts("prospects") == {"received": 1, "created": 1}
    assert stored(sandbox)["custom12"] == "78"
    warnings = [line for line in run.log.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert f"does not tell what its custom fields are ({status})" in warnings[0]


def test_a_token_that_is_refused_ends_the_run_here_as_anywhere(sync, sandbox):
    sandbox.revoke("invented-token-7f3a")
    run = sync([people("custom12"), person()])
    assert run.exit_code == 1
    assert "401" in run.log
    assert "does not tell" not in run.log


def test_a_remembered_run_costs_two_requests_in_all(sync, sandbox, tmp_path):
    settings = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
    sandbox.store.define_custom_field("prospects", 12, "Lead Score", "numerical")
    messages = [people("lead_score", "row_hash"), person(lead_score="78")]
    sync(messages, **settings)
    run = sync([people("lead_score", "row_hash"), person(lead_score=78.0)], **settings)
    assert run.counts("prospects") == {"received": 1, "unchanged": 1}
    assert run.report["requests"] == 2


def test_the_plan_of_a_dry_run_shows_the_text_of_the_declared_type(sync, sandbox, tmp_path):
    sandbox.store.define_custom_field("prospects", 12, "Lead Score", "numerical")
    path = tmp_path / "plan.jsonl"
    sync([people("lead_score"), person(lead_score=78.0)], dry_run=True, changes_path=str(path))
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert '"custom12"' in line
    assert '"78"' in json.dumps(json.loads(line))


def test_an_object_without_custom_fields_needs_no_types():
    states = load_catalog()["sequenceStates"]
    assert not could_use_custom_fields(states, ["row_hash"], explicit={"x": "nothing like it"})
