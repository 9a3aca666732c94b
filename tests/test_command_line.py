"""What is typed: options, words that are none, files of settings, and who reads what is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import logins
import pytest
import requests
from conftest import lines, record, schema

from target_outreach.cli import COMMANDS
from target_outreach.configuration import mention_unread

NO_ENV = "Without --config ENV the environment is not read: "
ONE_ROW = lines([schema("accounts"), record("accounts", name="Acme")])


@pytest.fixture
def type_in(tmp_path):
    """Run what is typed, in a folder of its own."""

    def _type_in(*words, stdin="", stdout=subprocess.PIPE, **variables):
        named = {f"TARGET_OUTREACH_{name.upper()}": text for name, text in variables.items()}
        done = subprocess.run(
            [sys.executable, "-m", "target_outreach", *words],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | named,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        return done

    return _type_in


@pytest.fixture
def file(tmp_path, config):
    """Write the configuration of a sandbox, and return its name."""

    def _file(**settings):
        (tmp_path / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
        return "config.json"

    return _file


def messages(done):
    """The lines of the log without what stands before them."""
    return [line.split(" | ", 3)[3] for line in done.stderr.splitlines() if " | " in line]


# Dry runs


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["--dry-run"]),
        ({"dry_run": False, "plan_path": "plan.jsonl"}, ["--dry-run"]),
        ({}, ["--config", "ENV", "--dry-run"]),
        ({"dry_run": True}, []),
    ],
)
def test_a_dry_run_says_so_before_all_else_and_writes_nothing(
    type_in, file, sandbox, settings, words
):
    variables = {"dry_run": "false"} if "ENV" in words else {}
    done = type_in("--config", file(**settings), *words, stdin=ONE_ROW, **variables)
    assert done.returncode == 0, done.stderr
    said = [message for message in messages(done) if not message.startswith("Parsing ")]
    assert said[0] == "Dry run: nothing will be written."
    assert said.count(said[0]) == 1
    assert sandbox.store.count("accounts") == 0


def test_a_replay_that_writes_nothing_says_so_too(type_in, file, sandbox, tmp_path):
    (tmp_path / "rejects.jsonl").write_text(ONE_ROW, encoding="utf-8")
    done = type_in("replay", "rejects.jsonl", "--config", file(dry_run=True))
    assert messages(done)[0] == "Dry run: nothing will be written."
    assert sandbox.store.count("accounts") == 0


# The environment


def test_a_setting_in_the_environment_that_nobody_reads_is_named(type_in, file, sandbox):
    done = type_in("--config", file(), stdin=ONE_ROW, dry_run="true", memory_path="m.db")
    assert done.returncode == 0
    names = "TARGET_OUTREACH_MEMORY_PATH, TARGET_OUTREACH_DRY_RUN"
    assert messages(done)[0] in {
        NO_ENV + names + ".",
        NO_ENV + ", ".join(names.split(", ")[::-1]) + ".",
    }
    assert sandbox.store.count("accounts") == 1


def test_a_value_in_the_environment_is_never_shown(type_in, file):
    done = type_in("check", "--config", file(), client_secret="whisper-4711")
    assert messages(done) == [f"{NO_ENV}TARGET_OUTREACH_CLIENT_SECRET."]
    assert "whisper" not in done.stderr + done.stdout


@pytest.mark.parametrize("words", [[], ["check"], ["login"], ["fields", "--offline"]])
def test_who_has_all_in_the_environment_hears_how_it_would_be_read(type_in, words):
    done = type_in(*words, sandbox="outreach.db")
    assert f"{NO_ENV}TARGET_OUTREACH_SANDBOX." in messages(done)


def test_nothing_is_said_of_what_is_read_or_is_the_same_in_both(type_in, file):
    streams = [{"stream": "accounts", "object": "accounts", "on_null": None}]
    settings = {"streams": streams, "batch_size_rows": 7, "max_rejects": 5, "on_reject": "ignore"}
    same = {
        "streams": json.dumps(streams, indent=1),
        "batch_size_rows": "7",
        "max_rejects": "5",
        "on_reject": "ignore",
        "sync_mode": "upsert",  # as it is by default
        "bulk_updates": "no",
        "dry_run": "",
        "loglevel": "INFO",  # the SDK's
        "something_else": "x",
    }
    done = type_in("--config", file(**settings), stdin=ONE_ROW, **same)
    assert done.returncode == 0
    assert NO_ENV not in done.stderr
    done = type_in("--config", file(**settings), "--config", "ENV", stdin=ONE_ROW, on_null="clear")
    assert NO_ENV not in done.stderr


def test_what_meltano_gives_a_run_in_a_file_and_flattened_too_is_the_same(caplog):
    maps = {"people": {"mail": "Mail.lower()"}, "s.t": {"a": "b"}}
    flat = {"people.mail": "Mail.lower()", "people.secret": None, "s\\.t.a": "b"}
    environment = {
        "MELTANO_LOADER_NAME": "target-outreach",
        "TARGET_OUTREACH_STREAM_MAPS": json.dumps(flat),
        "TARGET_OUTREACH_DRY_RUN": "false",
    }
    config = SimpleNamespace(parse_env=False, config={"stream_maps": maps})
    mention_unread(config, environment)
    assert caplog.messages == []
    mention_unread(config, environment | {"TARGET_OUTREACH_DRY_RUN": "true"})
    assert caplog.messages == [f"{NO_ENV}TARGET_OUTREACH_DRY_RUN."]


# Words


def test_help_lists_the_commands_with_what_each_is_for(type_in):
    shown = type_in("--help").stdout
    assert "--dry-run" in shown
    assert "COMMAND --help" in shown
    listed = [line.split()[0] for line in shown.partition("Commands")[2].splitlines()[1:]]
    assert [word for word in listed if word in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["logn"], "There is no command logn; is login meant?"),
        (["rows.singer"], "There is no command rows.singer."),
        (["--dry-run", "check"], "A command comes first: target-outreach check …"),
    ],
)
def test_a_word_that_is_no_command_is_named_with_the_nearest(type_in, words, answer):
    done = type_in(*words)
    assert done.returncode == 2
    assert done.stderr.endswith(f"Error: {answer}\n")


# Files of settings


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{\n  "sync_mode" "update"\n}', "config.json is no JSON at line 2, column 15"),
        (b"", "config.json is no JSON at line 1, column 1"),
        (b"[1]", "config.json holds no JSON object"),
        (b"\xff\xfe", "config.json is no text in UTF-8"),
        (None, "there is no file config.json"),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_is_named_with_the_place(
    type_in, tmp_path, content, why
):
    (tmp_path / "fine.json").write_text("{}", encoding="utf-8")
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    done = type_in("--config", "fine.json", "--config", "config.json")
    assert done.returncode == 1
    assert messages(done) == [f"The configuration cannot be read: {why}."]


def test_a_folder_and_no_name_are_no_files_of_settings(type_in):
    assert messages(type_in("--config", ".")) == [
        "The configuration cannot be read: .: Is a directory."
    ]
    assert "cannot be read" in messages(type_in("--config", ""))[0]


def test_a_later_file_wins(type_in, file, sandbox, tmp_path):
    (tmp_path / "more.json").write_text('{"dry_run": true}', encoding="utf-8")
    done = type_in("--config", file(dry_run=False), "--config", "more.json", stdin=ONE_ROW)
    assert done.returncode == 0
    assert sandbox.store.count("accounts") == 0


# Who reads what is printed


@contextmanager
def nobody():
    """A pipe that nobody reads from."""
    out, into = os.pipe()
    os.close(out)
    try:
        yield into
    finally:
        os.close(into)


@pytest.mark.parametrize(
    "words",
    [
        ["fields", "--offline"],
        ["cost", "--rows", "100"],
        ["check", "--config", "config.json"],
        ["check", "--help"],
        ["--help"],
        ["--about"],
        ["--version"],
    ],
)
def test_where_nobody_reads_on_a_command_ends_without_a_word(type_in, file, words):
    file()
    with nobody() as pipe:
        done = type_in(*words, stdout=pipe)
    assert done.returncode in {1, 141}  # click's own help has a code of its own
    assert "Broken" not in done.stderr
    assert "fault" not in done.stderr


# The sandbox


@contextmanager
def served(*words):
    command = [sys.executable, "-m", "target_outreach", "sandbox", "--port", "0", *words]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, encoding="utf-8", **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_sandbox_prints_a_configuration_that_can_be_logged_in_with(tmp_path, type_in):
    with served("--path", str(tmp_path / "outreach.db")) as process, logins.free_port() as port:
        printed = ""
        while not printed.endswith("}\n"):
            printed += process.stdout.readline()
        config = json.loads(printed)
        assert config["redirect_uri"] == "https://localhost:8766/callback"
        config["redirect_uri"] = f"https://127.0.0.1:{port}/callback"
        config["credentials_path"] = str(tmp_path / config["credentials_path"])
        login = logins.Login(tmp_path, config)
        assert logins.visit(logins.decide(login.opened(), "authorize"))[0] == 200
        assert login.end()[0] == 0
        login.close()
        done = type_in("--config", "login.json", stdin=ONE_ROW)
        assert done.returncode == 0, done.stderr
        done = type_in("check", "--config", "login.json")
        assert "problem" not in done.stdout


def test_a_sandbox_is_served_also_where_nobody_reads_its_configuration(tmp_path):
    command = [sys.executable, "-m", "target_outreach", "sandbox", "--port", "0"]
    with (
        nobody() as pipe,
        subprocess.Popen(
            command, stdout=pipe, stderr=subprocess.PIPE, encoding="utf-8", cwd=tmp_path
        ) as process,
    ):
        try:
            process.stderr.readline()
            address = next(word for word in process.stderr.readline().split() if "http" in word)
            process.stderr.readline()
            assert requests.get(address, timeout=10).status_code == 200
        finally:
            process.kill()
