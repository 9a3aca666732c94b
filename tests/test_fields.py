"""`target-outreach fields`: what columns can go to, and where those of a SCHEMA would."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from conftest import lines, record, schema

from target_outreach.commands.fields import fields
from target_outreach.sandbox import Fault

TEXT = {"type": ["null", "string"]}


@pytest.fixture
def ask(tmp_path, config):
    """Run the command with a configuration; None is for no configuration at all."""

    def _ask(*arguments, configured=True, stdin=None, **settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps((config if configured else {}) | settings), encoding="utf-8")
        given = ["--config", str(path)] if configured or settings else []
        return CliRunner().invoke(fields, [*arguments, *given], input=stdin)

    return _ask


@pytest.fixture
def singer(tmp_path):
    """Write messages into a file, and return its path."""

    def _singer(*messages, name="tap.singer"):
        path = tmp_path / name
        path.write_text(lines(messages), encoding="utf-8")
        return str(path)

    return _singer


def rows_of(text):
    """The rows of the tables in a text, each as its words."""
    return [line.split() for line in text.splitlines()]


# Objects


def test_attributes_are_listed_with_type_length_and_what_can_be_done_with_them(ask, sandbox):
    result = ask("prospects", "--offline")
    assert result.exit_code == 0
    rows = {row[0]: row for row in rows_of(result.stdout) if row}
    assert "emails list of email addresses yes yes [required]" in " ".join(rows["emails"])
    assert rows["firstName"] == ["firstName", "text", "255", "yes", "yes"]
    assert rows["createdAt"] == ["createdAt", "date-time", "read-only"]
    assert rows["gender"][-2:] == ["by", "columns"]
    assert rows["owner.id"] == ["owner.id", "Outreach", "id", "yes"]
    assert rows["custom1"] == [
        "custom1",
        "…",
        "custom150",
        "text",
        "32,000",
        "yes",
        "(150",
        "fields)",
    ]
    assert "numberOfEmployees" not in result.stdout
    assert sandbox.request_count == 0


def test_both_objects_are_listed_under_each_other_in_even_columns(ask):
    result = ask("--offline")
    assert result.stdout.startswith("prospects\n\nattribute ")
    assert "\n\naccounts\n\nattribute " in result.stdout
    for table in result.stdout.split("attribute ")[1:]:
        edge = table.splitlines()[1].index("  -") + 1  # before the second column
        rows = [line for line in table.splitlines()[2:] if len(line) > edge]
        assert {line[edge] for line in rows} == {" "}


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        (("--offline",), {}, "--offline"),
        ((), {"configured": False}, "No credentials are configured"),
        ((), {"configured": False, "sync_mode": "update"}, "No credentials are configured"),
        (("--offline",), {"client_id": "another kind"}, "--offline"),
    ],
)
def test_without_asking_the_catalogue_is_listed_and_one_line_says_so(
    ask, sandbox, arguments, options, why
):
    result = ask("accounts", *arguments, **options)
    assert result.exit_code == 0
    assert "numberOfEmployees" in result.stdout
    assert result.stderr == (
        f"{why}: the labels, types and options of custom fields are not known here.\n"
    )
    assert sandbox.request_count == 0


def test_custom_fields_have_their_label_type_and_options(ask, sandbox):
    store = sandbox.store
    store.define_custom_field("prospects", 7, "Lead Score", "numerical")
    store.define_custom_field("prospects", 9, "Color", "inclusion", ["Red", "Blue"], required=True)
    store.define_custom_field("prospects", 11, "Nick")
    result = ask("prospects")
    assert result.exit_code == 0
    assert result.stderr == ""
    text = " ".join(result.stdout.split())
    assert "custom7 numerical 32,000 yes Lead Score" in text
    assert "custom9 inclusion 32,000 yes Color: Red | Blue [required]" in text
    assert "custom11 text 32,000 yes Nick" in text.replace("string", "text")
    assert "custom1 … custom150 text 32,000 yes (147 fields)" in text
    assert [entry.path for entry in sandbox.requests] == ["/api/v2/types"]


def test_json_has_every_attribute_by_itself(ask, sandbox):
    sandbox.store.define_custom_field("accounts", 9, "Color", "inclusion", ["Red"], required=True)
    found = json.loads(ask("--json").stdout)
    assert list(found) == ["prospects", "accounts", "opportunities"]
    accounts = {one["name"]: one for one in found["accounts"]}
    assert accounts["custom9"] == {
        "name": "custom9",
        "type": "inclusion",
        "max_length": 32000,
        "written": "yes",
        "match_on": False,
        "label": "Color",
        "choices": ["Red"],
        "required": True,
        "description": "Custom field 9; the organisation gives it a label and a type.",
    }
    assert accounts["customId"]["match_on"]
    assert len([name for name in accounts if name.startswith("custom")]) == 151
    assert "owner.id" in accounts
    assert "account.id" not in accounts


def test_a_token_that_is_refused_leaves_the_catalogue_and_says_so(ask, sandbox):
    sandbox.revoke("invented-token-7f3a")
    result = ask("accounts")
    assert result.exit_code == 0
    assert "numberOfEmployees" in result.stdout
    assert result.stderr.startswith("Outreach refuses the access token (401)")
    assert result.stderr.count("\n") == 1


def test_outreach_that_does_not_tell_leaves_the_catalogue_too(ask, sandbox, caplog):
    sandbox.add_fault(Fault("status", path="/types", status=403))
    result = ask("accounts")
    assert result.exit_code == 0
    assert "custom1 … custom150" in result.stdout
    assert "does not tell what its custom fields are (403)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("users",), "There are prospects, accounts, opportunities only."),
        (("prospects", "--schema", "-"), "the settings say which object"),
    ],
)
def test_what_is_typed_wrongly_is_a_usage_error(ask, arguments, words):
    result = ask(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sync_mod": "x"}, "There is no setting sync_mod"),
        ({"streams": [{"stream": "x-prospects", "match_on": ["tags"]}]}, "match_on names 'tags'"),
    ],
)
def test_a_wrong_setting_is_said_as_in_a_run(ask, settings, words, caplog):
    result = ask("accounts", "--offline", **settings)
    assert result.exit_code == 1
    assert words in caplog.text
    assert [row for row in rows_of(result.stdout) if row[:1] == ["domain"]]  # to correct it


def test_what_may_be_a_label_that_is_not_known_offline_is_excused(ask, caplog):
    entry = {"stream": "prospects", "columns": {"x": "Favourite Color"}}
    result = ask("accounts", "--offline", streams=[entry])
    assert result.exit_code == 1
    assert "columns maps 'x' to 'Favourite Color'" in caplog.text
    assert "--offline: the labels" in result.stderr


# Streams


def columns(*names, **more):
    return dict.fromkeys(names, TEXT) | more


def test_each_column_of_each_stream_is_shown_with_where_it_goes_or_why_not(ask, singer, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Lead Score", "numerical")
    path = singer(
        schema("marts-prospects", columns("ID", "EMAIL", "LEAD_SCORE", "ROW_HASH")),
        record("marts-prospects", ID=5, EMAIL="a@x.test"),
        schema("marts-prospects", columns("OTHER")),
        {"type": "STATE", "value": {"SCHEMA": 1}},
        schema("marts-accounts", columns("name", "outreach_owner_id")),
        "",
    )
    entry = {"stream": "*-accounts", "sync_mode": "update", "match_on": ["name"]}
    result = ask("--schema", path, streams=[entry])
    assert result.exit_code == 0, result.stderr
    shown = [" ".join(row) for row in rows_of(result.stdout) if row and set(row[0]) != {"-"}]
    assert shown == [
        "marts-prospects → prospects (upsert, by emails)",
        "column goes to type",
        "EMAIL emails list of email addresses",
        "LEAD_SCORE custom7 (Lead Score) numerical",
        "ID ignored: the warehouse's own id; could go to externalId",
        "ROW_HASH ignored: no such attribute",
        "marts-accounts → accounts (update, by name)",
        "column goes to type",
        "name name text",
        "outreach_owner_id owner.id link",
        "To paste under streams:",
        "[",
        '{"stream": "marts-prospects", "object": "prospects", "columns": {"ID": "externalId"}},',
        (
            '{"stream": "marts-accounts", "object": "accounts", "sync_mode": "update", '
            '"match_on": ["name"]}'
        ),
        "]",
    ]
    assert sandbox.store.count("prospects") == 0
    assert [entry.method for entry in sandbox.requests] == ["GET"]


def test_a_json_schema_stands_for_the_stream_that_its_file_is_named_for(ask, tmp_path):
    document = schema("x", columns("email", "title"))["schema"]
    path = tmp_path / "marts-prospects.json"
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    result = ask("--offline", "--schema", str(path))
    assert result.exit_code == 0
    assert result.stdout.startswith("marts-prospects → prospects (upsert, by emails)")
    result = ask("--offline", "--schema", str(path), "--stream", "some-accounts")
    assert result.exit_code == 1
    assert "Stream 'some-accounts': no column maps to an attribute of accounts" in result.stdout


def test_one_schema_message_is_read_from_standard_input(ask):
    message = json.dumps(schema("prospects", columns("email")))
    result = ask("--offline", "--schema", "-", stdin=message)
    assert result.exit_code == 0
    assert result.stdout.startswith("prospects → prospects")


def test_a_stream_that_cannot_be_delivered_says_why_and_the_others_are_still_shown(ask, singer):
    path = singer(
        schema("people", columns("email")),
        schema("accounts", columns("name", "company_name")),
        {"type": "SCHEMA", "stream": "broken", "schema": {}},
        schema("left-accounts", columns("name")),
        schema("prospects", columns("email")),
    )
    entry = {"stream": "left-*", "object": "none"}
    result = ask("--offline", "--schema", path, streams=[entry])
    assert result.exit_code == 1
    assert "problem  Stream 'people': its name does not say whether" in result.stdout
    assert (
        "problem  Stream 'accounts': columns name and company_name both map to name"
        in result.stdout
    )
    assert "is a SCHEMA without properties" in result.stdout
    assert "left-accounts is ignored (object: none)" in result.stdout
    assert "prospects → prospects (upsert, by emails)" in result.stdout


def test_json_has_the_same_for_programs(ask, singer, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Tier", required=True)
    path = singer(schema("prospects", columns("email", "id")), schema("people", columns("email")))
    entry = {
        "stream": "prospects",
        "columns": {"email": "emails"},
        "field_rules": {"tier": "never"},
    }
    result = ask("--json", "--schema", path, streams=[entry])
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert good == {
        "stream": "prospects",
        "object": "prospects",
        "problems": [],
        "sync_mode": "upsert",
        "match_on": ["emails"],
        "columns": [
            {"column": "email", "goal": "emails", "label": None, "type": "list of email addresses"}
        ],
        "left_out": {"id": "the warehouse's own id"},
        "suggested": {"id": "externalId"},
        "nearest": {},
        "required": ["custom7"],
        "entry": {
            "stream": "prospects",
            "object": "prospects",
            "field_rules": {"tier": "never"},
            "columns": {"email": "emails", "id": "externalId"},
        },
    }
    assert bad["stream"] == "people"
    assert len(bad["problems"]) == 1
    assert bad["entry"] == {"stream": "people", "object": "prospects"}


def test_a_required_custom_field_to_which_no_column_goes_is_noted(ask, singer, sandbox):
    sandbox.store.define_custom_field("prospects", 7, "Tier", required=True)
    path = singer(schema("prospects", columns("email", "row_hash")))
    result = ask("--schema", path)
    assert "A new record needs a value in custom7, to which no column goes." in result.stdout
    assert "custom7" not in ask("--schema", path, sync_mode="update").stdout


def test_stream_maps_are_applied_as_in_a_run(ask, singer):
    path = singer(schema("people", columns("Mail", "secret")))
    maps = {"people": {"__alias__": "marts-prospects", "email": "Mail.lower()", "secret": None}}
    result = ask("--offline", "--schema", path, stream_maps=maps)
    assert result.exit_code == 0
    assert result.stdout.startswith("marts-prospects → prospects")
    assert "secret" not in result.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no SCHEMA"),
        (json.dumps(record("prospects")) + "\n\n", "is a SCHEMA without properties"),
        ('{"type": "SCHEMA"\n{"type": "RECORD"}\n', "Line 1 of"),
        ("[1]", "is a SCHEMA without stream or schema"),
    ],
)
def test_what_holds_no_schema_says_so(ask, tmp_path, caplog, content, words):
    path = tmp_path / "marts-prospects.singer"
    path.write_text(content, encoding="utf-8")
    result = ask("--offline", "--schema", str(path))
    assert result.exit_code == 1
    assert words in caplog.text + result.stdout


def pasted(text):
    """The entries at the end of what the command prints."""
    return json.loads(text.partition("To paste under streams:")[2])


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Email,Nick name,Secondary Email,Owner,Serial\na@x.test,,,,\n", "utf-8"),
        ('"Email";"Nick name";"Secondary Email";"Owner";"Serial"\r\n', "utf-8-sig"),
        ("Email\tNick name\tSecondary Email\tOwner\tSerial\r\n\u00fc\t", "utf-16"),
        ("Email|Nick name|Secondary Email|Owner|Serial\n\u00fc|", "cp1252"),
    ],
)
def test_the_header_line_of_a_csv_file_is_shown_as_a_schema_would_be(
    ask, tmp_path, content, encoding
):
    path = tmp_path / "new-prospects.csv"
    path.write_bytes(content.encode(encoding))
    result = ask("--offline", "--schema", str(path))
    assert result.exit_code == 0
    said = {" ".join(row) for row in rows_of(result.stdout)}
    assert said >= {
        "new-prospects → prospects (upsert, by emails)",
        "Email emails list of email addresses",
        "Nick name nickname text",
        "Secondary Email ignored: no such attribute; could go to emails",
        "Owner ignored: no such attribute; could go to owner.email",
    }
    assert pasted(result.stdout) == [
        {
            "stream": "new-prospects",
            "object": "prospects",
            "columns": {"Secondary Email": "emails"},
        }
    ]


def test_what_is_printed_to_paste_is_taken_and_leaves_nothing_to_suggest(ask, singer):
    names = ("email", "id", "Lists", "work_email", "birthdate", "frist_nmae", "LinkedIn_URL__c")
    path = singer(schema("crm_contacts", columns(*names)))
    first = ask("--offline", "--schema", path)
    assert first.exit_code == 1
    assert pasted(first.stdout) == [{"stream": "crm_contacts", "object": "prospects"}]
    second = ask("--offline", "--schema", path, streams=pasted(first.stdout))
    assert second.exit_code == 0
    assert "frist_nmae ignored: no such attribute; nearest: firstName" in [
        " ".join(row) for row in rows_of(second.stdout)
    ]
    third = ask("--offline", "--json", "--schema", path, streams=pasted(second.stdout))
    (described,) = json.loads(third.stdout)
    assert third.exit_code == 0
    assert described["suggested"] == {}
    assert list(described["left_out"]) == ["frist_nmae"]
    assert [described["entry"]] == pasted(second.stdout)


def test_an_entry_for_a_column_that_is_not_there_is_a_problem_with_the_nearest(ask, singer):
    path = singer(schema("prospects", columns("email", "job_role")))
    entry = {"stream": "prospects", "match_on": ["emails"], "columns": {"job_rule": "title"}}
    result = ask("--offline", "--schema", path, streams=[entry])
    assert result.exit_code == 1
    said = "Stream 'prospects': columns names 'job_rule', which the stream does not have; nearest: "
    assert f"problem  {said}job_role." in result.stdout
    assert "prospects → prospects (upsert, by emails)" in result.stdout
    assert pasted(result.stdout) == [
        {"stream": "prospects", "object": "prospects", "match_on": ["emails"]}
    ]


def test_a_file_that_is_not_there_is_one_sentence(ask, caplog):
    assert ask("--offline", "--schema", "nowhere.json").exit_code == 1
    assert "nowhere.json cannot be read" in caplog.text


@pytest.mark.slow
def test_the_command_is_one_of_the_executable_and_its_help_has_an_example(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "target_outreach", "fields", *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            check=False,
        )

    assert "Example: target-outreach fields prospects --config config.json" in run("--help").stdout
    done = run("prospects")
    assert done.returncode == 0
    assert "firstName" in done.stdout
    assert done.stderr.count("\n") == 1
