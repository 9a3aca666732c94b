"""Usual mistakes: each gets a sentence that says what is wrong, where, and what to do next.

Each is typed as a new user would, in a folder of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import pytest
from conftest import lines, record, schema

SANDBOX = {"sandbox": "outreach.db"}
TOKEN = {"access_token": "whisper-4711"}
APP = {"client_id": "id", "client_secret": "whisper-4711", "credentials_path": "tokens.json"}
TABLE = schema("crm-prospects", {"id": {"type": "integer"}, "email": {"type": "string"}})
ROW = record("crm-prospects", id=1, email="ana@x.test")
INPUT = lines([TABLE, ROW])
RUN = ("--config", "config.json")


def entry(**settings):
    return SANDBOX | {"streams": [{"stream": "crm-prospects"} | settings]}


#: What is typed, the configuration, the input, the exit code, and what must be said, in parts.
MISTAKES = {
    # The configuration
    "no configuration": ([], None, INPUT, 1, ["--config config.json", "target-outreach init"]),
    "no file": (RUN, None, INPUT, 1, ["cannot be read: there is no file config.json."]),
    "an empty file": (RUN, "", INPUT, 1, ["config.json is empty", "target-outreach init"]),
    "YAML": (RUN, "# mine\nsandbox: x.db\n", INPUT, 1, ["config.json looks like YAML", "JSON"]),
    "a list": (RUN, "[1]", INPUT, 1, ["config.json is JSON, but no object", "begin with {"]),
    "UTF-16 settings": (RUN, '{"a": 1}'.encode("utf-16"), INPUT, 1, ["UTF-8: save it as such"]),
    "a comma too many": (
        *(RUN, '{\n"sandbox": "x",\n}', INPUT, 1),
        ["config.json is no JSON at line 2, column 15 (a comma too many)"],
    ),
    "single quotes": (RUN, "{'a': 1}", INPUT, 1, ["line 1, column 2", "need double quotes"]),
    "a comment": (RUN, '{\n  // mine\n"a": 1}', INPUT, 1, ["line 2", "JSON has no comments"]),
    "a setting twice": (
        *(RUN, '{"sandbox": "x.db",\n"on_null": "clear", "on_null": "ignore"}', INPUT, 1),
        ["The configuration cannot be read: config.json has 'on_null' twice in one object."],
    ),
    "a column twice": (
        *(RUN, '{"streams": [{"stream": "crm", "columns": {"a": "b", "a": "c"}}]}', INPUT, 1),
        ["config.json has 'a' twice in one object."],
    ),
    "a file as an argument": (
        *(["config.json"], SANDBOX, INPUT, 2),
        ["is --config config.json meant?"],
    ),
    "the input as an argument": (
        *(["stdin", *RUN], SANDBOX, INPUT, 2),
        ["There is no command stdin; is --input stdin meant?"],
    ),
    "rows in thousands": (
        *(["cost", "--rows", "50k"], None, "", 2),
        ["'--rows': '50k' is not a valid whole number."],
    ),
    "a port in words": (
        *(["sandbox", "--port", "http"], None, "", 2),
        ["'--port': 'http' is not a valid whole number."],
    ),
    "an option of taps": ([*RUN, "--catalog", "c.json"], SANDBOX, INPUT, 2, ["is for the tap"]),
    "a misspelt command": (["chekc", *RUN], SANDBOX, "", 2, ["is check meant?"]),
    "a command behind": (
        *([*RUN, "check"], SANDBOX, "", 2),
        ["A command comes first: target-outreach check"],
    ),
    "another program's object": (
        *(["fields", "contacts"], None, "", 2),
        ["There are prospects, accounts, opportunities only. Outreach calls contacts prospects."],
    ),
    # Settings
    "a misspelt setting": (
        *(RUN, SANDBOX | {"rejects_pth": "x"}, INPUT, 1),
        ["There is no setting rejects_pth; is rejects_path meant?"],
    ),
    "another program's setting": (
        *(RUN, SANDBOX | {"load_method": "upsert"}, INPUT, 1),
        ["There is no setting load_method; is sync_mode meant?"],
    ),
    "quotes around true": (
        *(RUN, SANDBOX | {"dry_run": "yes"}, INPUT, 1),
        ["dry_run must be true or false", "without quotes"],
    ),
    "another program's mode": (
        *(RUN, SANDBOX | {"sync_mode": "mirror"}, INPUT, 1),
        ['sync_mode is "mirror"; use insert, update or upsert', "No mode deletes"],
    ),
    "contacts": (
        *(RUN, SANDBOX | {"outreach_object": "contacts"}, INPUT, 1),
        ['outreach_object is "contacts"', "Outreach calls contacts prospects: set prospects"],
    ),
    "a memory that is missing": (
        *(RUN, SANDBOX | {"change_detection": "source"}, INPUT, 1),
        ["change_detection source needs memory_path"],
    ),
    "a folder that cannot be": (
        *(RUN, SANDBOX | {"rejects_path": "config.json/x"}, INPUT, 1),
        ["rejects_path cannot be used", "config.json/x; name another folder"],
    ),
    "a wrong match_on": (
        *(RUN, entry(match_on=["e-mail"]), INPUT, 1),
        ["Entry 1 of streams ('crm-prospects')", "match_on names 'e-mail'", "nearest: emails"],
    ),
    "a match_on that finds nothing": (
        *(RUN, entry(match_on=["tags"]), INPUT, 1),
        ["match_on names 'tags'", "cannot look up prospects; it can by emails"],
    ),
    "a misspelt attribute": (
        *(RUN, entry(columns={"email": "fristName"}), INPUT, 1),
        ["Entry 1 of streams", "columns maps 'email' to 'fristName'", "nearest: firstName"],
    ),
    "an entry for a misspelt stream": (
        *(RUN, SANDBOX | {"streams": [{"stream": "crm_prospect"}]}, INPUT, 0),
        ["Unused entries in streams: 'crm_prospect' (fits no stream; nearest: crm-prospects)."],
    ),
    "columns the wrong way round": (
        *(RUN, entry(columns={"emails": "email"}), INPUT, 0),
        ["columns names 'emails', which the stream does not have; nearest: email"],
    ),
    "a key property in capitals": (
        *(RUN, SANDBOX, lines([TABLE | {"key_properties": ["ID"]}, ROW]), 1),
        ["Line 2", "without one of its key properties, 'ID'; nearest: id"],
    ),
    "wrong types": (
        *(RUN, SANDBOX | {"dry_run": 1, "max_wait_minutes": 1.5, "streams": "crm"}, INPUT, 1),
        ['it is "crm"', "dry_run must be true or false; it is 1", "such as 60; it is 1.5"],
    ),
    "columns as a list": (
        *(RUN, entry(columns=["email"]), INPUT, 1),
        ["columns must be a map, such as", "it is a list"],
    ),
    "streams as a map": (RUN, SANDBOX | {"streams": {}}, INPUT, 1, ["such as [{", "it is a map"]),
    "no stream in an entry": (
        *(RUN, SANDBOX | {"streams": [{"name": "crm-prospects"}]}, INPUT, 1),
        ["Entry 1 of streams: stream is required but missing, such as"],
    ),
    "a configuration of another target": (
        *(RUN, {"host": "localhost", "port": 5432, "password": "whisper-4711"}, INPUT, 1),
        ["looks like one of another program", "target-outreach init"],
    ),
    "a STATE as configuration": (
        *(RUN, {"bookmarks": {}}, INPUT, 1),
        ["looks like a STATE, which is for the tap"],
    ),
    "a catalog as configuration": (
        *(RUN, {"streams": [{"tap_stream_id": "a"}]}, INPUT, 1),
        ["looks like a catalog, which is for the tap"],
    ),
    "a folder as configuration": (["--config", "."], SANDBOX, INPUT, 1, [". is a folder; name"]),
    "env in small letters": (["--config", "env"], SANDBOX, INPUT, 1, ["--config ENV, in capitals"]),
    "a memory in a text": (
        *(RUN, SANDBOX | {"memory_path": "config.json", "change_detection": "source"}, INPUT, 1),
        ["memory_path cannot be used (file is not a database): config.json. Name a file"],
    ),
    "a sandbox in a text": (
        *(RUN, {"sandbox": "config.json"}, INPUT, 1),
        ["The file of sandbox cannot be used", "config.json. Name a file"],
    ),
    # Credentials
    "no credentials": (RUN, {}, INPUT, 1, ["No credentials: set access_token, or client_id"]),
    "Bearer in a token": (
        *(RUN, {"access_token": "Bearer whisper-4711"}, INPUT, 1),
        ["access_token must be the token alone, without the word Bearer"],
    ),
    "half an app": (RUN, {"client_id": "x"}, INPUT, 1, ["with client_id, set client_secret"]),
    "two kinds": (RUN, APP | TOKEN, INPUT, 1, ["2 kinds are set", "keep those of one kind"]),
    "no login": (RUN, APP, INPUT, 1, ["no refresh_token yet in", "`target-outreach login`"]),
    "plain http": (
        *(RUN, TOKEN | {"api_url": "http://api.outreach.io/api/v2"}, INPUT, 1),
        ["api_url must begin with https://"],
    ),
    "an address without its scheme": (
        *(RUN, TOKEN | {"api_url": "127.0.0.1:8765/api/v2"}, INPUT, 1),
        ["api_url must begin with https://", "http:// is for this machine only, such as http://"],
    ),
    "no sandbox there": (
        *(RUN, TOKEN | {"api_url": "http://127.0.0.1:9/api/v2", "max_outage_minutes": 0}),
        *(INPUT, 1, ["Connection refused at http://127.0.0.1:9; is the sandbox running?"]),
    ),
    # The input
    "CSV": (RUN, SANDBOX, "id,email\n1,ana@x.test\n", 1, ["Line 1", "looks like CSV", "tap-csv"]),
    "UTF-16": (RUN, SANDBOX, INPUT.encode("utf-16"), 1, ["Line 1", "UTF-16", "PowerShell"]),
    "Latin-1": (
        *(RUN, SANDBOX, lines([TABLE]).encode() + b'{"type": "RECORD", "x": "\xe4"}\n', 1),
        ["Line 2 of the input is not UTF-8: have the tap write UTF-8, or convert", "iconv"],
    ),
    "gzip": (
        *(RUN, SANDBOX, gzip.compress(INPUT.encode()), 1),
        ["Line 1 of the input", "looks like a gzip file: unpack it first", "gunzip -c"],
    ),
    "a workbook": (
        *(RUN, SANDBOX, b"PK\x03\x04\x14\x00 and more\n", 1),
        ["Line 1 of the input", "a zip or Excel file", "tap-csv"],
    ),
    "HTML": (RUN, SANDBOX, "<!DOCTYPE html>\n", 1, ["Line 1", "HTML or XML", "a Singer tap"]),
    "messages of several lines": (
        *(RUN, SANDBOX, json.dumps(TABLE, indent=2), 1),
        ["Line 1", "each message must be on one line"],
    ),
    "two messages on a line": (
        *(RUN, SANDBOX, json.dumps(TABLE) + json.dumps(ROW) + "\n", 1),
        ["Line 1", "several messages; each must be on a line of its own"],
    ),
    "types in small letters": (
        *(RUN, SANDBOX, lines([TABLE | {"type": "schema"}]), 1),
        ["Line 1", "another type than", "in capitals"],
    ),
    "key properties as text": (
        *(RUN, SANDBOX, lines([TABLE | {"key_properties": "id"}]), 1),
        ['key_properties are no list of names, such as ["id"]'],
    ),
    "a list of rows": (RUN, SANDBOX, '[{"id": 1}]\n', 1, ["Line 1", "it is a list", "a tap"]),
    "rows without a type": (RUN, SANDBOX, '{"id": 1}\n', 1, ["Line 1", "it has no type", "a tap"]),
    "a catalog": (RUN, SANDBOX, '{"streams": []}\n', 1, ["Line 1", "catalog", "for the tap"]),
    "a line of a log": (
        *(RUN, SANDBOX, lines([TABLE]) + "2026-03-31 09:30:00 INFO Sync\n" + lines([ROW]), 1),
        ["Line 2 of the input", "a line of a log", "standard error"],
    ),
    "a traceback of the tap": (
        *(RUN, SANDBOX, lines([TABLE]) + "Traceback (most recent call last):\n", 1),
        ["Line 2 of the input", "standard error"],
    ),
    "a tap that died": (RUN, SANDBOX, INPUT[:-20], 1, ["Line 2", "the tap may have died"]),
    "nothing": (RUN, SANDBOX, "", 0, ["not even a SCHEMA: did the tap fail?"]),
    "no SCHEMA": (RUN, SANDBOX, lines([ROW]), 1, ["Line 1", "before the SCHEMA", "pass on all"]),
    "a name that says nothing": (
        *(RUN, SANDBOX, lines([schema("table1")]), 1),
        ["Stream 'table1'", "set outreach_object", '{"stream": "table1", "object": "prospects"}'],
    ),
    "rejects that are not there": (["replay", "x.jsonl", *RUN], SANDBOX, "", 2, ["'x.jsonl' does"]),
}


#: Imports the program once, and starts a process with it for each line that it reads.
STARTER = """
import json, os, sys
from target_outreach.cli import main
for line in sys.stdin:
    job = json.loads(line)
    if (child := os.fork()) == 0:
        os.chdir(job["folder"])
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        main(job["words"])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def starter():
    if not hasattr(os, "fork"):
        pytest.skip("this system starts no process from another one")
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", STARTER], encoding="utf-8", **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def make(starter, tmp_path):
    """Make a mistake, and return the exit code and what was said of it."""

    def _make(words, config, given):
        folder = tmp_path / "typed here"
        folder.mkdir()
        if config is not None:
            text = json.dumps(config) if isinstance(config, dict) else config
            content = text.encode() if isinstance(text, str) else text
            (folder / "config.json").write_bytes(content)
        (folder / "stdin").write_bytes(given.encode() if isinstance(given, str) else given)
        starter.stdin.write(f"{json.dumps({'folder': str(folder), 'words': [*words]})}\n")
        starter.stdin.flush()
        code = int(starter.stdout.readline())
        return code, (folder / "stderr").read_text(encoding="utf-8")

    return _make


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_usual_mistake_gets_a_sentence_with_what_where_and_what_next(make, mistake):
    *typed, code, parts = MISTAKES[mistake]
    ended, said = make(*typed)
    assert ended == code, said
    place = 0
    for part in parts:
        place = said.find(part, place)
        assert place >= 0, f"{part!r} is not in its place in {said}"
    assert "Traceback (" not in said
    assert "Internal error" not in said
    for secret in ("whisper-4711", "ana@x.test"):
        assert secret not in said


def test_tokens_of_another_address_are_not_taken_for_none(make, tmp_path):
    kept = {"issued_at": 0, "access_token": "whisper-4711"}
    document = {"version": 1, "chains": {"of another app": kept}}
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    code, said = make(RUN, APP | {"credentials_path": str(path)}, INPUT)
    assert code == 1
    assert "kept.json holds tokens of another app or address, but none for this client_id" in said
    assert "whisper" not in said
