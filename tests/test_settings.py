"""Settings that make no sense are said in words, and all documents name the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from decimal import Decimal
from importlib import metadata

import documents
import pytest
import yaml
from conftest import record, schema

from target_outreach.errors import SettingsError
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.schemas import render
from target_outreach.settings import Settings
from target_outreach.target import TargetOutreach


def problems(**config):
    with pytest.raises(SettingsError) as caught:
        TargetOutreach(config={"sandbox": "x.db"} | config)
    return " ".join(caught.value.errors)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"load_method": "upsert"}, "no setting load_method; is sync_mode meant?"),
        ({"sync_mod": "upsert"}, "is sync_mode meant?"),
        ({"bulk_updates": True}, "no setting bulk_updates; is bulk_writes meant?"),
        ({"bulk_writes": "on"}, 'bulk_writes is "on"; use off, updates or all.'),
        ({"bulk_writes": {}}, "bulk_writes must be off, updates or all"),
        ({"zzz": 1}, "see `target-outreach --about`"),
        ({"sync_mode": "mirror"}, 'sync_mode is "mirror"; use insert, update or upsert.'),
        ({"batch_size_rows": 0}, "batch_size_rows must be at least 1"),
        ({"max_parallel_requests": 17}, "must be at most 16"),
        ({"api_url": "http://example.com"}, "https://"),
        ({"api_url": "nonsense"}, "https://"),
        ({"report_path": "run.txt"}, "report_path must end in .json"),
        ({"max_rejects": "some"}, 'such as "5%"'),
        ({"max_rejects": "1.5"}, 'such as "5%"'),
        ({"array_fields": "append"}, "array_fields"),
        ({"array_fields": {"tags": "append"}}, "array_fields"),
        ({"sync_mode": 5}, "sync_mode must be insert, update or upsert"),
        ({"dry_run": "perhaps"}, 'dry_run must be true or false, without quotes; it is "perhaps".'),
        (
            {"batch_size_rows": "many"},
            'batch_size_rows must be a whole number, without quotes, such as 500; it is "many".',
        ),
        ({"batch_size_rows": 0}, "batch_size_rows must be at least 1; it is 0."),
        (
            {"max_wait_minutes": Decimal("1.5")},  # as the SDK reads it from a file
            "max_wait_minutes must be a whole number, such as 60; it is 1.5.",
        ),
        (
            {"streams": "crm"},
            (
                "streams must be a list, such as "
                '[{"stream": "crm-contacts", "object": "prospects"}]; it is "crm".'
            ),
        ),
        ({"streams": {}}, "; it is a map."),
        ({"streams": [5]}, "Entry 1 of streams: it must be a map"),
        ({"client_secret": 4711}, "client_secret must be text; it is a whole number."),
        ({"report_path": "run.txt"}, 'report_path must end in .json or .html; it is "run.txt".'),
        ({"max_rejects": "some"}, 'a share such as "5%"; it is "some".'),
        ({"rejects_path": ["a"]}, 'rejects_path must be text, such as "rejects"; it is a list.'),
        (
            {"streams": [{"object": "accounts"}]},
            'Entry 1 of streams: stream is required but missing, such as "crm-contacts".',
        ),
        (
            {"streams": [{"stream": "a"}, {"stream": "x*", "colums": {}}]},
            "Entry 2 of streams ('x*'): there is no setting colums; is columns meant?",
        ),
        (
            {"streams": [{"stream": "x", "match_on": "emails"}]},
            (
                "Entry 1 of streams ('x'): match_on must be a list, such as [\"emails\"]; it is "
                '"emails".'
            ),
        ),
        (
            {"streams": [{"stream": "x", "object": "people"}]},
            "Entry 1 of streams ('x'): object is \"people\"; use prospects, accounts,",
        ),
        (
            {"streams": [{"stream": "x", "field_rules": {"title": "now"}}]},
            "Entry 1 of streams ('x'): field_rules.title is \"now\"; use always,",
        ),
        (
            {"streams": [{"stream": "x", "object": "sequenceStates"}]},
            "Entry 1 of streams ('x'): sequenceStates puts prospects into sequences",
        ),
        ({"sandbox": None}, "No credentials: set access_token, or client_id"),
    ],
)
def test_a_wrong_setting_is_said_in_one_sentence(config, words):
    assert words in problems(**config)


def test_a_choice_of_another_type_is_refused_once():
    assert problems(change_detection=True) == (
        'change_detection must be outreach, source, drift or none, such as "outreach"; it is true.'
    )


def test_no_problem_repeats_the_value_of_a_setting():
    assert "tok-4711" not in problems(access_token=["tok-4711"], api_url="http://tok-4711.test")


def test_all_that_is_wrong_is_said_at_once():
    said = problems(
        dry_run="perhaps",
        sync_mode="mirror",
        report_path="run.txt",
        max_rejects="some",
        array_fields="append",
        change_detection="source",
        rejects_pth="x",
        streams=[{"stream": "a", "on_null": "x"}, {"stream": "b", "colums": {}}],
    )
    for part in (
        *("no setting rejects_pth", "dry_run must", 'sync_mode is "mirror"', "report_path must"),
        *("max_rejects must", "array_fields must", "source needs memory_path"),
        *("Entry 1 of streams ('a'): on_null", "Entry 2 of streams ('b'): there is no setting"),
    ):
        assert part in said


def test_at_most_ten_problems_are_said_and_how_many_more_there_are():
    with pytest.raises(SettingsError) as caught:
        TargetOutreach(config={f"strange{n}": 1 for n in range(14)} | {"sandbox": "x.db"})
    assert len(caught.value.errors) == 11
    assert caught.value.errors[-1] == "There are 4 more problems like these."


@pytest.mark.parametrize(
    "config",
    [
        {"acces_token": "t"},
        {"access_token": 5},
        {"change_detection": "source", "memory_pth": "m.db"},
        {"sandbox": 5},
    ],
)
def test_what_another_problem_explains_is_not_said_too(config):
    given = config if "sandbox" in config else {"sandbox": None} | config
    given = given if "change_detection" not in config else config | {"sandbox": "x.db"}
    with pytest.raises(SettingsError) as caught:
        TargetOutreach(config=given)
    assert len(caught.value.errors) == 1, caught.value.errors


def test_a_tilde_is_the_home_folder_in_every_path(sync, monkeypatch, tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    places = {"rejects_path": "~/rejects", "memory_path": "~/memory.db", "changes_path": "~/c.html"}
    run = sync([schema("prospects"), record("prospects", emails="nope")], **places)
    assert run.exit_code == 3
    assert {one.name for one in home.iterdir()} >= {"rejects", "memory.db", "c.html"}
    assert list(here.iterdir()) == []
    assert len(list(home.glob("rejects/**/*.jsonl"))) == 1


def test_a_null_counts_as_unset():
    target = TargetOutreach(
        config={"sandbox": "x.db", "sync_mode": None, "streams": [{"stream": "a", "on_null": None}]}
    )
    assert target.settings.defaults.sync_mode == "upsert"
    assert target.settings.streams[0].settings.on_null == "ignore"


@pytest.mark.parametrize("off", ["off", False, "false", None])
def test_bulk_writes_off_may_be_what_yaml_makes_of_it(off):
    assert Settings.read({"sandbox": "x.db", "bulk_writes": off}).bulk_writes == "off"
    target = TargetOutreach(config={"sandbox": "x.db", "bulk_writes": off})
    assert target.settings.bulk_writes == "off"


def test_an_object_may_be_named_in_the_singular_as_in_the_name_of_a_stream():
    streams = [{"stream": "people", "object": "Prospect"}, {"stream": "a", "object": "account"}]
    target = TargetOutreach(
        config={"sandbox": "x.db", "outreach_object": "account", "streams": streams}
    )
    settings = target.settings
    assert settings.outreach_object == "accounts"
    assert [entry.settings.object for entry in settings.streams] == ["prospects", "accounts"]


def test_batch_size_rows_may_be_written_as_a_float_of_json():
    settings = Settings.read({"sandbox": "x.db", "batch_size_rows": 7.0})
    assert repr(settings.batch_size_rows) == "7"


@pytest.mark.parametrize(
    ("value", "most", "percent"), [(5, 5, None), ("5", 5, None), ("2.5%", None, 2.5)]
)
def test_max_rejects_is_a_number_or_a_share(value, most, percent):
    policy = Settings.read({"sandbox": "x.db", "max_rejects": value}).reject_policy
    assert (policy.most, policy.most_percent) == (most, percent)


def test_an_entry_inherits_what_it_does_not_say():
    settings = Settings.read(
        {
            "sandbox": "x.db",
            "sync_mode": "update",
            "array_fields": '{"tags": "replace"}',
            "streams": [{"stream": "*-accounts", "on_null": "clear"}],
        }
    )
    entry = settings.streams[0].settings
    assert (entry.sync_mode, entry.on_null, entry.array_fields) == (
        "update",
        "clear",
        {"tags": "replace"},
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"match_on": ["externalId"]}, "by which Outreach cannot look up prospects"),
        ({"match_on": ["createdAt"]}, "by which Outreach cannot look up prospects"),
        ({"field_rules": {"createdAt": "never"}}, "field_rules names 'createdAt'"),
        ({"field_rules": {"shoe": "never"}}, "field_rules names 'shoe'"),
        ({"array_fields": {"title": "merge"}}, "which is no array"),
        ({"columns": {"title": "tittle"}}, "nearest: title"),
    ],
)
def test_an_entry_that_does_not_fit_its_stream_ends_the_run_before_any_write(
    sync, sandbox, entry, words
):
    run = sync(
        [schema("prospects"), record("prospects", emails="a@x.test")],
        streams=[{"stream": "prospects"} | entry],
    )
    assert run.exit_code == 1
    assert words in run.log
    assert {entry.path for entry in sandbox.requests} <= {"/api/v2/types"}  # for the labels


def test_settings_come_from_the_environment_too(config, tmp_path):
    environment = {f"TARGET_OUTREACH_{name.upper()}": str(value) for name, value in config.items()}
    environment["TARGET_OUTREACH_STREAMS"] = json.dumps(
        [{"stream": "people", "object": "prospects"}]
    )
    environment["TARGET_OUTREACH_BATCH_SIZE_ROWS"] = "7"
    done = subprocess.run(
        [sys.executable, "-m", "target_outreach", "--config", "ENV"],
        input=json.dumps(schema("people")).encode(),
        env=environment | {"PATH": "/usr/bin", "HOME": str(tmp_path)},
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"people \xe2\x86\x92 prospects" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--nonsense"], 2, "No such option"),
        (["--config", "missing.json"], 1, "configuration"),
        (["--version"], 0, "target-outreach v"),
        (["--about", "--format", "json"], 0, '"sync_mode"'),
        (["--help"], 0, "Usage"),
        (["sandbox", "--help"], 0, "--port"),
    ],
)
def test_the_command_line_ends_with_words_and_the_right_code(arguments, code, words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "target_outreach", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_every_setting_has_a_title_and_a_full_sentence():
    for tier in list(documents.tiers().values())[:-1]:
        for name in tier:
            setting = documents.properties()[name]
            assert setting["title"]
            assert setting["description"].endswith(".")


@pytest.mark.parametrize("name", documents.GENERATED)
def test_a_page_shows_the_settings_and_the_profile_as_they_are(name):
    text = documents.GENERATED[name][0].read_text(encoding="utf-8")
    assert f"<!-- {name}: begin -->" in text
    assert documents.page_as_it_should_be(name) == text, "run `nox --session docs-tables`"


def test_meltano_yml_lists_the_settings_as_they_are():
    text = documents.MELTANO.read_text(encoding="utf-8")
    (loader,) = yaml.safe_load(text)["plugins"]["loaders"]
    assert loader["settings"] == documents.meltano_settings(), "run `nox --session docs-tables`"
    assert set(loader["capabilities"]) == {
        capability.value for capability in TargetOutreach.capabilities
    }


def test_about_names_the_version_that_is_installed():
    assert TargetOutreach.plugin_version == metadata.version("target-outreach")


@pytest.mark.parametrize("name", stream_objects())
def test_the_shipped_schemas_follow_the_catalogue(name):
    path = documents.ROOT / "target_outreach" / "records" / "curated" / f"{name}.json"
    message = "run `python -m target_outreach.records.schemas`"
    assert path.read_text(encoding="utf-8") == render(name), message
    assert set(json.loads(render(name))["properties"]) == set(load_catalog()[name].writable)


def test_backoff_is_the_fork_that_the_sdk_brings_and_never_meets_the_archived_package():
    assert metadata.packages_distributions()["backoff"] == ["python-backoff"]
    lock = tomllib.loads((documents.ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert "backoff" not in {package["name"] for package in lock["package"]}
