"""What is typed: options, words that are none, files of settings, and who reads what is printed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import logins
import processes
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
        options = {"stdout": stdout, "env": os.environ | named, "cwd": tmp_path}
        done = processes.run([*words], stdin, encoding="utf-8", **options)
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
    """The lines of the log without their prefix."""
    return [line.split(" | ", 3)[3] for line in done.stderr.splitlines() if " | " in line]


# Dry runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["--dry-run"]),
        ({"dry_run": False, "changes_path": "plan.jsonl"}, ["--dry-run"]),
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


@pytest.mark.slow
def test_a_replay_without_writes_reports_that_too(type_in, file, sandbox, tmp_path):
    (tmp_path / "rejects.jsonl").write_text(ONE_ROW, encoding="utf-8")
    done = type_in("replay", "rejects.jsonl", "--config", file(dry_run=True))
    assert messages(done)[0] == "Dry run: nothing will be written."
    assert sandbox.store.count("accounts") == 0


# The environment


@pytest.mark.slow
def test_a_setting_in_the_environment_that_nobody_reads_is_named(type_in, file, sandbox):
    done = type_in("--config", file(), stdin=ONE_ROW, dry_run="true", memory_path="m.db")
    assert done.returncode == 0
    names = "TARGET_OUTREACH_MEMORY_PATH, TARGET_OUTREACH_DRY_RUN"
    assert messages(done)[0] in {
        NO_ENV + names + ".",
        NO_ENV + ", ".join(names.split(", ")[::-1]) + ".",
    }
    assert sandbox.store.count("accounts") == 1


@pytest.mark.slow
def test_a_value_in_the_environment_is_never_shown(type_in, file):
    done = type_in("check", "--config", file(), client_secret="whisper-4711")
    assert messages(done) == [f"{NO_ENV}TARGET_OUTREACH_CLIENT_SECRET."]
    assert "whisper" not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["check"], ["login"], ["fields", "--offline"]])
def test_who_has_all_in_the_environment_hears_how_it_would_be_read(type_in, words):
    done = type_in(*words, sandbox="outreach.db")
    assert f"{NO_ENV}TARGET_OUTREACH_SANDBOX." in messages(done)


@pytest.mark.slow
def test_nothing_is_said_of_what_is_read_or_is_the_same_in_both(type_in, file):
    streams = [{"stream": "accounts", "object": "accounts", "on_null": None}]
    settings = {"streams": streams, "batch_size_rows": 7, "max_rejects": 5, "on_reject": "ignore"}
    same = {
        "streams": json.dumps(streams, indent=1),
        "batch_size_rows": "7",
        "max_rejects": "5",
        "on_reject": "ignore",
        "sync_mode": "upsert",  # as it is by default
        "allow_enrolment": "no",
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


@pytest.mark.slow
def test_help_lists_the_commands_with_what_each_is_for(type_in):
    shown = type_in("--help").stdout
    assert "--dry-run" in shown
    assert "COMMAND --help" in shown
    listed = [line.split()[0] for line in shown.partition("Commands")[2].splitlines()[1:]]
    assert [word for word in listed if word in COMMANDS] == list(COMMANDS)


def test_help_shows_a_run_the_exit_codes_and_where_more_is_said(type_in):
    shown = " ".join(type_in("--help").stdout.split())
    assert "Example: your-tap | target-outreach --config config.json" in shown
    assert re.findall(r"(?<!\S)(\d[\d, ]*) (?=[A-Z])", shown.partition("Exit codes: ")[2]) == [
        *("0", "1", "2", "3", "4", "130, 143")
    ]
    assert "Documentation: https://target-outreach.github.io/target-outreach/ " in shown


COMPLETED = """
PATH="{folder}:$PATH"
eval "$(_TARGET_OUTREACH_COMPLETE=bash_source target-outreach)"
complete -p target-outreach | tr -d '\n'
COMP_WORDS=(target-outreach {words}) COMP_CWORD={number}
_target_outreach_completion target-outreach
echo " ${{COMPREPLY[@]}}"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ch"], "check"),
        (["sandbox", "--lat"], "--latency"),
        (["fields", "acc"], "accounts"),
        (["init", "--credentials", "o"], "oauth"),
        (["--dry"], "--dry-run"),
    ],
)
def test_bash_completes_commands_options_and_choices(words, completed):
    script = COMPLETED.format(
        folder=Path(sys.executable).parent, words=" ".join(words), number=len(words)
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"target-outreach {completed}\n")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_completion_too(monkeypatch, type_in, shell):
    monkeypatch.setenv("_TARGET_OUTREACH_COMPLETE", f"{shell}_source")
    assert f"_TARGET_OUTREACH_COMPLETE={shell}_complete" in type_in().stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["logn"], "There is no command logn; is login meant?"),
        (["rows.singer"], "There is no command rows.singer."),
        (["help"], "There is no command help; is --help meant?"),
        (["version"], "There is no command version; is --version meant?"),
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
        (b'{\n "dry_run": "hidden" x}', "config.json is no JSON at line 2, column 22"),
        (b"\xff\xfe", "config.json is no text in UTF-8: save it as such"),
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


@pytest.mark.slow
def test_a_folder_and_no_name_are_no_files_of_settings(type_in):
    (said,) = messages(type_in("--config", "."))
    assert said.startswith("The configuration cannot be read: . is a folder; name the JSON file")
    assert "cannot be read" in messages(type_in("--config", ""))[0]


@pytest.mark.slow
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
    command = ["sandbox", "--port", "0", *words]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with processes.Popen(command, encoding="utf-8", **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_sandbox_prints_a_configuration_that_can_be_logged_in_with(tmp_path, type_in):
    path = str(tmp_path / "outreach.db")
    with ExitStack() as stack:
        port = stack.enter_context(logins.free_port())
        uri = f"https://127.0.0.1:{port}/callback"
        process = stack.enter_context(served("--path", path, "--redirect-uri", uri))
        config = configuration(process)
        assert config["redirect_uri"] == uri
        config["credentials_path"] = str(tmp_path / config["credentials_path"])
        login = logins.Login(tmp_path, config)
        assert logins.visit(logins.decide(login.opened(), "authorize"))[0] == 200
        assert login.end()[0] == 0
        login.close()
        done = type_in("--config", "login.json", stdin=ONE_ROW)
        assert done.returncode == 0, done.stderr
        done = type_in("check", "--config", "login.json")
        assert "problem" not in done.stdout


@pytest.mark.slow
def test_the_sandbox_takes_the_redirect_uri_of_its_own_app_only(tmp_path):
    uri = "https://localhost:9443/back"
    with served("--path", str(tmp_path / "o.db"), "--redirect-uri", uri) as process:
        config = configuration(process)
        assert config["redirect_uri"] == uri
        for given, status in ((uri, 200), ("https://localhost:8766/callback", 400)):
            asked = {
                "client_id": config["client_id"],
                "redirect_uri": given,
                "response_type": "code",
                "scope": "prospects.all",
            }
            answer = requests.get(f"{config['oauth_url']}/authorize", asked, timeout=20)
            assert answer.status_code == status
    assert f"registered for the app, which is {uri}." in answer.text


@pytest.mark.slow
def test_the_configuration_of_a_sandbox_is_for_an_app_of_its_profile(tmp_path):
    app = {"client_id": "mine", "client_secret": "s", "redirect_uris": ["https://a.test/back"]}
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"apps": [app]}), encoding="utf-8")
    with served("--path", str(tmp_path / "o.db"), "--profile", str(profile)) as process:
        config = configuration(process)
    assert config["client_id"] == "mine"
    assert config["redirect_uri"] == "https://a.test/back"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["profile.json is empty"]),
        ("[1]", ["profile.json holds no JSON object", '{"rate_limit": 100']),
        ('{"rate_limit": 5,}', ["no JSON at line 1, column 17 (a comma too many)"]),
        ("rate_limit: 5", ["looks like YAML, and must be JSON"]),
        ('{"rate_limit": "ten"}', ["profile.json does not fit: rate_limit: Expected `int`"]),
        ('{"edge_links": "none!"}', ["edge_links: Invalid enum value", "lists all switches"]),
        (b"\xff\xfe{", ["is no text in UTF-8: save it as such"]),
    ],
)
def test_a_file_that_is_no_profile_is_said_in_words(type_in, tmp_path, text, parts):
    path = tmp_path / "profile.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = type_in("sandbox", "--profile", str(path))
    assert done.returncode == 1
    for part in parts:
        assert part in done.stderr
    assert "Expecting" not in done.stderr


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        ("", 0, ""),
        ("  ", 0, ""),
        (".", 1, "SINGER_SDK_LOG_CONFIG is '.', which cannot configure the log"),
        ("bad.yml", 1, "SINGER_SDK_LOG_CONFIG is 'bad.yml', which cannot configure the log"),
    ],
)
def test_a_configuration_of_the_log_that_is_none_is_said_or_unset(  # noqa: PLR0917 - a table
    type_in, tmp_path, monkeypatch, value, code, words
):
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", value)
    (tmp_path / "bad.yml").write_text("[: no", encoding="utf-8")
    done = type_in("cost", "--rows", "10")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Internal error" not in done.stderr


def configuration(process):
    printed = ""
    while not printed.endswith("}\n"):
        printed += process.stdout.readline()
    return json.loads(printed)


def ask(config, path, token):
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(config["api_url"] + path, headers=headers, timeout=20)


@pytest.mark.slow
def test_a_sandbox_accepts_only_its_own_tokens_unless_any_token_is_allowed(tmp_path):
    file = str(tmp_path / "outreach.db")
    with served("--path", file) as process:
        assert ask(configuration(process), "/prospects", "x").status_code == 401
    with served("--path", file, "--any-token") as process:
        assert ask(configuration(process), "/prospects", "x").status_code == 200


@pytest.mark.slow
def test_a_sandbox_begins_with_invented_records_if_seed_is_given(tmp_path):
    file = str(tmp_path / "outreach.db")
    second = f"{file} holds records already, so --seed adds none"
    for said in (f"Put invented records into {file}", second):
        with served("--path", file, "--any-token", "--seed") as process:
            config = configuration(process)
            assert process.stderr.readline().strip() == said
            people = ask(config, "/prospects?page[size]=1000", "x").json()["data"]
            assert len(people) == 100
            assert any(one["attributes"]["optedOut"] for one in people)
            names = {one["id"] for one in ask(config, "/accounts", "x").json()["data"]}
            assert {one["relationships"]["account"]["data"]["id"] for one in people} <= names
            labels = ask(config, "/types", "x")
            assert "Lead Score" in labels.text


@pytest.mark.slow
def test_a_sandbox_can_be_slow_and_short_of_requests(tmp_path):
    file = str(tmp_path / "outreach.db")
    with served("--path", file, "--any-token", "--latency", "0.3", "--rate-limit", "2") as process:
        config = configuration(process)
        began = time.monotonic()
        answers = [ask(config, "/prospects", "x").status_code for _ in range(3)]
        assert answers == [200, 200, 429]
        assert time.monotonic() - began >= 0.6


@pytest.mark.slow
def test_a_sandbox_reads_its_switches_from_a_profile(tmp_path, type_in):
    file, profile = str(tmp_path / "outreach.db"), tmp_path / "profile.json"
    profile.write_text(json.dumps({"organisation_name": "Example", "limit_headers": "none"}))
    with served("--path", file, "--any-token", "--profile", str(profile)) as process:
        answer = ask(configuration(process), "/", "x")
        assert "Example" in answer.text
        assert "X-RateLimit-Remaining" not in answer.headers
    for wrong, words in {
        '{"rate_limits": 5}': "there is no switch rate_limits; is rate_limit meant?",
        '{"rate_limit": "many"}': "does not fit: rate_limit: Expected `int`, got `str`",
        "[]": "holds no JSON object",
        "{": "is no JSON at line 1, column 2",
    }.items():
        profile.write_text(wrong)
        done = type_in("sandbox", "--path", file, "--profile", str(profile))
        assert done.returncode == 1
        assert words in done.stderr


@pytest.mark.slow
def test_a_file_is_served_by_one_sandbox_at_a_time(tmp_path, type_in):
    file = str(tmp_path / "outreach.db")
    with served("--path", file) as process:
        configuration(process)
        done = type_in("sandbox", "--path", file, "--port", "0")
        assert done.returncode == 1
        assert "is served by another process already" in done.stderr
    with served("--path", file) as process:
        configuration(process)


@pytest.mark.slow
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
