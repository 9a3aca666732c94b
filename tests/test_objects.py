"""Whatever object streams can be for works throughout: its entry in the catalogue is enough."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
import requests
from click.testing import CliRunner
from conftest import record, schema, state

from target_outreach.commands.check import check
from target_outreach.commands.fields import fields
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.schemas import curated_schema
from target_outreach.sandbox import Sandbox

VALUES = {"emails": ["ada@example.com"], "domain": "acme.example"}


def key_of(object_type):
    """What a row needs to be created, and to be found again."""
    names = {object_type.match_fields[0], object_type.required_attribute} - {None}
    return {
        name: VALUES.get(object_type.attributes[name].kind, f"the {name}") for name in sorted(names)
    }


def text_of(object_type):
    """A text that a row may have besides, which has a longest length."""
    texts = [
        one
        for one in object_type.writable.values()
        if one.kind == "text" and one.max_length and one.name not in key_of(object_type)
    ]
    return min(texts, key=lambda one: (not one.curated, one.max_length))


def rows(name, *texts):
    """A SCHEMA and a row for each text."""
    object_type = load_catalog()[name]
    text, key = text_of(object_type).name, key_of(object_type)
    given = {"type": ["null", "string", "array"]}
    return [
        schema(name, dict.fromkeys((*key, text), given), keys=()),
        *(record(name, **key, **{text: one}) for one in texts),
        state({"rows": len(texts)}),
    ]


@pytest.fixture(params=stream_objects())
def name(request):
    return request.param


@pytest.fixture
def object_type(name):
    return load_catalog()[name]


def test_a_row_is_created_then_updated_then_unchanged(sync, sandbox, name, object_type):
    found = [sync(rows(name, text)).counts(name) for text in ("old", "new", "new")]
    assert found == [{"received": 1, one: 1} for one in ("created", "updated", "unchanged")]
    (held,) = sandbox.store.all(name)
    assert held["attributes"][text_of(object_type).name] == "new"
    assert key_of(object_type).items() <= held["attributes"].items()


def test_an_object_is_said_by_its_singular_too(sync, sandbox, name, object_type):
    messages = [one | {"stream": "rows"} if "stream" in one else one for one in rows(name, "x")]
    assert sync(messages, outreach_object=object_type.type).exit_code == 0
    assert sandbox.store.count(name) == 1


def test_a_text_that_is_too_long_is_rejected_by_its_name(sync, sandbox, name, object_type):
    text = text_of(object_type)
    run = sync(rows(name, "x" * (text.max_length + 1)))
    assert [one["error"]["field"] for one in run.rejects if "error" in one] == [text.name]
    assert sandbox.store.count(name) == 0


def test_the_curated_schema_takes_what_can_be_written(name, object_type):
    blank = dict.fromkeys(object_type.writable)
    curated_schema(name).check(blank)


def test_its_fields_are_listed(name, object_type):
    result = CliRunner().invoke(fields, [name, "--json"])
    assert result.exit_code == 0
    listed = {one["name"]: one for one in json.loads(result.stdout)[name]}
    assert listed.keys() >= object_type.attributes.keys()
    assert all(listed[one]["match_on"] for one in object_type.match_fields)
    required = [one["name"] for one in listed.values() if one["required"]]
    assert required == [one for one in [object_type.required_attribute] if one]


def test_it_is_checked_that_it_can_be_read(tmp_path, config, name):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"outreach_object": name}), encoding="utf-8")
    result = CliRunner().invoke(check, ["--config", str(path)])
    assert result.exit_code == 0
    assert f"{name} can be read." in result.stdout
    assert f"All scopes that the sync needs are there: {name}.read {name}.write." in result.stdout


def test_the_page_lists_and_shows_it(sync, sandbox, name, object_type):
    sync(rows(name, "x"))
    front = requests.get(sandbox.url, timeout=20).text
    assert f'<a href="#/{name}">{name.capitalize()} ' in front
    page = requests.get(f"{sandbox.url}/_sandbox/records/{name}", timeout=20).json()
    assert page["columns"] == list(object_type.columns)
    assert page["count"] == 1
    shown = requests.get(f"{sandbox.url}/_sandbox/records/{name}/1", timeout=20).json()
    assert [one["method"] for one in shown["history"]] == ["POST"]


def test_a_file_of_an_earlier_release_gets_it(sync, tmp_path, name):
    path = tmp_path / "old.db"
    with Sandbox(path):
        pass
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(f"DROP TABLE {name}")
        old.execute("PRAGMA user_version = 2")  # what the first releases wrote
    with Sandbox(path) as reopened:
        run = sync(rows(name, "x"), api_url=reopened.api_url)
        assert run.counts(name) == {"received": 1, "created": 1}
