"""The entries of `streams`: checked as a whole before anything is read, and of use or not."""

from __future__ import annotations

import pytest
from conftest import record, schema

from target_outreach.errors import SettingsError
from target_outreach.records.catalog import load_catalog
from target_outreach.records.custom_fields import OwnObjects
from target_outreach.records.routing import route
from target_outreach.sandbox import Fault
from target_outreach.settings import StreamEntry, StreamSettings
from target_outreach.settings.entries import known_object, match_fields

TEXT = {"type": ["null", "string", "number"]}


def errors(run):
    """The sentences of the log that say what is wrong."""
    marked = [line.partition(" ")[2] for line in run.log.splitlines() if line.startswith("ERROR")]
    return [line.split(" ", 1)[1].strip() for line in marked]


def rows(**values):
    return [
        schema("prospects", {"emails": TEXT} | dict.fromkeys(values, TEXT), keys=()),
        {"type": "RECORD", "stream": "prospects", "record": {"emails": "a@x.test", **values}},
    ]


@pytest.mark.parametrize(
    ("pattern", "by_entry", "by_setting", "name"),
    [
        ("people", "prospects", None, "prospects"),
        ("marts-accounts", None, None, "accounts"),
        ("*-accounts", None, None, "accounts"),
        ("crm-*", None, None, None),
        ("crm-*", None, "prospects", "prospects"),
        ("[ab]-accounts", None, None, "accounts"),
        ("people", None, None, None),
        ("accounts", "none", None, None),
    ],
)
def test_an_entry_is_checked_where_its_object_is_known(pattern, by_entry, by_setting, name):
    entry = StreamEntry(pattern, StreamSettings(object=by_entry))
    assert known_object(entry, by_setting) == name


def test_all_that_is_wrong_is_said_at_once_before_a_line_is_read(sync, sandbox):
    entries = [
        {
            "stream": "crm-prospects",
            "match_on": ["externalId", "shoe"],
            "columns": {"a": "title", "b": "TITLE", "c": "createdAt", "d": "account.id"},
            "field_rules": {"createdAt": "never", "FIRST NAME": "if_empty", "id": "never"},
            "array_fields": {"lastName": "merge", "tags": "replace", "TAGS": "merge"},
        },
        {"stream": "fine-prospects", "columns": {"x": "title"}, "field_rules": {"title": "never"}},
        {"stream": "x*", "object": "accounts", "match_on": ["named"], "columns": {"a": "nmae"}},
        {"stream": "who-*", "columns": {"a": "nothing like it"}},
    ]
    run = sync(["this is no line of Singer"], streams=entries)
    assert run.exit_code == 1
    found = errors(run)
    assert "line" not in run.log.lower().split("entry 1")[0]
    first = [sentence for sentence in found if "Entry 1 of streams ('crm-prospects'): " in sentence]
    third = [sentence for sentence in found if "Entry 3 of streams ('x*'): " in sentence]
    assert len(found) == len(first) + len(third)
    for words in (
        "match_on names 'externalId', by which Outreach cannot look up prospects; it can by ",
        "found again by its own key",
        "match_on names 'shoe', which prospects do not have",
        "columns a and b both map to title",
        "columns maps 'c' to 'createdAt', which Outreach lets nobody write",
        "field_rules names 'createdAt', which Outreach lets nobody write",
        "field_rules names 'id', which is no attribute",
        "array_fields names 'lastName', which is no array",
        "array_fields names tags twice",
    ):
        assert sum(words in sentence for sentence in first) == 1, words
    assert any("cannot look up accounts; it can by " in sentence for sentence in third)
    assert any("nearest: name" in sentence for sentence in third)
    assert [entry.path for entry in sandbox.requests] == ["/api/v2/types"]


def test_an_error_that_no_label_can_fix_is_reported_without_a_request(sync, sandbox):
    run = sync([], streams=[{"stream": "prospects", "match_on": ["tags"]}])
    assert "Entry 1 of streams ('prospects'): match_on names 'tags'" in run.log
    assert run.exit_code == 1
    assert sandbox.request_count == 0


def test_a_label_that_there_is_is_no_problem_and_asked_for_once(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Favourite Color")
    entry = {"stream": "prospects", "columns": {"color": "favourite color"}}
    run = sync(rows(color="Red", row_hash="x"), streams=[entry])
    assert run.exit_code == 0
    assert sandbox.store.all("prospects")[0]["attributes"]["custom15"] == "Red"
    assert [entry.path for entry in sandbox.requests].count("/api/v2/types") == 1


def test_an_entry_that_names_a_number_costs_no_request_before_its_stream_comes(sync, sandbox):
    sync([], streams=[{"stream": "prospects", "columns": {"color": "custom15"}}])
    assert sandbox.request_count == 0


def test_the_input_is_read_to_its_end_where_there_are_no_requests_left_to_ask_for_labels(
    execute, sandbox
):
    sandbox.add_fault(
        Fault("status", path="/types", status=429, times=None, headers=(("Retry-After", "7200"),))
    )
    entry = {"stream": "prospects", "columns": {"color": "Favourite Color"}}
    run = execute(rows(color="Red"), streams=[entry], max_wait_minutes=1)
    assert run.exit_code == 4
    assert run.report["exit_code"] == 4


def test_names_are_taken_as_columns_are(sync, sandbox):
    sandbox.store.seed("prospects", {"emails": ["a@x.test"], "firstName": "Ada", "tags": ["a"]})
    entry = {
        "stream": "prospects",
        "field_rules": {"FIRST_NAME": "if_empty"},
        "array_fields": {"Tags": "replace"},
        "match_on": ["EMAILS"],
    }
    run = sync(rows(first_name="Bea", tags="b"), streams=[entry])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
    held = sandbox.store.all("prospects")[0]["attributes"]
    assert (held["firstName"], held["tags"]) == ("Ada", ["b"])


def test_array_fields_for_all_streams_may_be_about_attributes_that_only_some_have(sync):
    messages = [
        *rows(tags="a"),
        schema("accounts", {"name": TEXT, "tags": TEXT}, keys=()),
        {"type": "RECORD", "stream": "accounts", "record": {"name": "Acme", "tags": "a"}},
    ]
    run = sync(messages, array_fields={"emails": "merge_first", "tags": "replace"})
    assert run.exit_code == 0
    run = sync(messages, array_fields={"emials": "merge_first"})
    assert run.exit_code == 1
    assert "array_fields names 'emials'" in run.log


# Of use or not


def test_entries_that_did_nothing_are_named_once_at_the_end(sync):
    entries = [
        {"stream": "PROS*"},
        {"stream": "prospects", "sync_mode": "update"},
        {"stream": "*ects"},
        {"stream": "p?o*"},
        {"stream": "persons"},
        {"stream": "pro-accounts"},
        {"stream": "prosperous-*"},
        {"stream": "pro*"},
        {"stream": "p?ople-accounts"},
        {"stream": "p*ople-accounts"},
    ]
    run = sync(rows(title="CTO"), streams=entries)
    (warning,) = [line for line in run.log.splitlines() if "Unused entries" in line]
    assert warning.endswith(
        "Unused entries in streams: 'prospects' ('PROS*' comes first), '*ects' "
        "('PROS*' comes first), "
        "'p?o*' ('PROS*' comes first), 'persons' (fits no stream), 'pro-accounts' ('p?o*' comes "
        "first), 'prosperous-*' ('PROS*' comes first), 'pro*' ('PROS*' comes first), "
        "'p?ople-accounts' (fits no stream), 'p*ople-accounts' (fits no stream)."
    )


@pytest.mark.parametrize("messages", [[], [schema("prospects")]])
def test_where_each_entry_is_of_use_or_no_stream_came_nothing_is_said(sync, messages):
    run = sync(messages, streams=[{"stream": "prospects"}])
    assert run.exit_code == 0
    assert "Entries of streams" not in run.log


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["dwh_contacts", "x-*"], "; the entry 'dwh_contacts' of streams does not fit it; set"),
        (["DWH_*", "x-*"], "; the entry 'DWH_*' of streams does not fit it; set"),
        (["dwh-*"], "accounts or opportunities; set"),  # it fits, but says no object
        (["x-*"], "accounts or opportunities; set"),
        ([], "accounts or opportunities; set"),
    ],
)
def test_an_entry_that_nearly_fits_a_stream_is_named_where_its_object_is_unknown(patterns, words):
    with pytest.raises(SettingsError) as raised:
        route("dwh-contacts", None, None, patterns)
    assert words in str(raised.value)


def test_an_entry_for_a_stream_of_another_name_is_named_when_that_stream_comes(sync):
    run = sync(
        [schema("dwh-contacts", {"emails": TEXT})],
        streams=[{"stream": "dwh_contacts", "object": "prospects"}],
    )
    assert run.exit_code == 1
    assert "the entry 'dwh_contacts' of streams does not fit it" in run.log


def test_a_column_that_the_stream_does_not_have_is_named_with_the_nearest(sync):
    run = sync(
        [schema("prospects", {"E-Mail Address": TEXT, "first": TEXT})],
        streams=[{"stream": "prospects", "columns": {"E-Mail": "emails"}}],
    )
    assert "names 'E-Mail', which the stream does not have; nearest: E-Mail Address." in run.log


def test_a_run_warns_of_what_may_be_lost_and_delivers_the_rest(sync, sandbox):
    names = ("\ufeffemail", "newsletter_opt_out", "Lists", "row_hash")
    run = sync(
        [
            schema("\ufeffcrm-prospects", dict.fromkeys(names, TEXT)),
            record("\ufeffcrm-prospects", **{"\ufeffemail": "a@example.test"}),
        ],
        streams=[{"stream": "crm-prospects", "columns": {"job_rule": "title"}}],
    )
    assert run.exit_code == 0
    assert sandbox.store.count("prospects") == 1
    assert "its entry does not fit: columns names 'job_rule', which the stream does not" in run.log
    assert "by its name it may be an opt-out: newsletter_opt_out. Name it" in run.log
    assert "more columns could be mapped by an entry of columns: Lists → tags" in run.log


# Match fields


def test_what_records_can_be_matched_by_can_be_written_and_looked_up():
    catalog = load_catalog()
    assert "linkedInSlug" not in match_fields(catalog["prospects"])  # read-only: no record says it
    assert set(match_fields(catalog["prospects"])) == {
        *("emails", "firstName", "lastName", "title", "externalSource", "githubUsername"),
        *("linkedInId", "sharingTeamId", "stackOverflowId", "timeZone", "twitterUsername"),
    }
    assert set(match_fields(catalog["accounts"])) == {
        *("name", "domain", "customId", "buyerIntentScore", "sharingTeamId"),
    }


def values_for(attribute):
    """A value, one that differs, and forms of the first that mean the same."""
    if attribute.kind == "number":
        return 12.5, 13, [12.5, "12.50"]
    if attribute.kind == "emails":
        return ["a@x.test"], ["b@x.test"], ["A@x.test", ["new@x.test", "a@x.test"]]
    if attribute.kind == "domain":
        return "acme.test", "other.test", ["https://www.ACME.test/"]
    if attribute.name == "customId":
        return "A-1, x", "B-1", ["A-1, x"]
    return "Ünder, Score", "Other", ["Ünder, Score", "ÜNDER,  score "]


FIELDS = [
    (object_name, field)
    for object_name in ("prospects", "accounts")
    for field in match_fields(OwnObjects()[object_name])
]


@pytest.mark.parametrize("mode", ["update", "upsert"])
@pytest.mark.parametrize(("object_name", "field"), FIELDS)
def test_a_record_is_found_again_by_any_match_field(sync, sandbox, object_name, field, mode):
    held, other, forms = values_for(load_catalog()[object_name].attributes[field])
    required = {"prospects": {"emails": ["a@x.test"]}, "accounts": {"name": "Acme"}}[object_name]
    wanted = sandbox.store.seed(object_name, required | {field: held, "tags": ["old"]})
    bystander = {"emails": ["b@x.test"]} if object_name == "prospects" else {"name": "Other"}
    sandbox.store.seed(object_name, bystander | {field: other})
    entry = {"stream": object_name, "match_on": [field], "columns": {field: field}}
    columns = {field: {}, "tags": TEXT} | {key: {} for key in required}
    for number, form in enumerate(forms):
        said = dict(required) | {field: form, "tags": f"new {number}"}
        run = sync(
            [schema(object_name, columns, keys=()), record_of(object_name, said)],
            streams=[entry],
            sync_mode=mode,
        )
        assert run.counts(object_name) == {"received": 1, "updated": 1}, run.log
        tags = sandbox.store.get(object_name, wanted)["attributes"]["tags"]
        assert tags[-1] == f"new {number}"
    assert sandbox.store.count(object_name) == 2


def record_of(stream, values):
    return {"type": "RECORD", "stream": stream, "record": values}


@pytest.mark.parametrize("field", ["linkedInUrl", "tags", "custom5", "externalId", "company"])
def test_what_outreach_cannot_look_up_is_no_match_field(sync, sandbox, field):
    run = sync(rows(title="CTO"), streams=[{"stream": "prospects", "match_on": [field]}])
    assert run.exit_code == 1
    assert f"match_on names '{field}', by which Outreach cannot look up prospects" in run.log
    assert sandbox.store.count("prospects") == 0


def test_a_custom_field_is_no_match_field_by_its_label_either(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 15, "Color")
    entry = {"stream": "prospects", "match_on": ["Color"], "columns": {"x": "color"}}
    run = sync(rows(x="Red"), streams=[entry])
    assert "match_on names 'Color', by which Outreach cannot look up prospects" in run.log


def test_a_row_that_fits_nobody_is_created_with_its_match_field_and_found_by_it(sync):
    entry = {"stream": "prospects", "match_on": ["linkedInId"]}
    run = sync(rows(linkedin_id="ada-1"), streams=[entry])
    assert run.counts("prospects") == {"received": 1, "created": 1}
    run = sync([*rows(linkedin_id="ada-1", title="CTO")], streams=[entry])
    assert run.counts("prospects") == {"received": 1, "updated": 1}
