"""`meltano invoke target-outreach:check` and so on, with what Meltano holds for the loader."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import documents
import logins
import pytest
import requests
import yaml
from conftest import record, schema

from target_outreach.cli import COMMANDS
from target_outreach.configuration import nest_settings
from target_outreach.sandbox import Profile, Sandbox

BIN = Path(sys.executable).parent
MELTANO = shutil.which("meltano", path=str(BIN))
PEOPLE = {
    "id": {"type": ["null", "integer"]},
    "Mail": {"type": ["null", "string"]},
    "first": {"type": ["null", "string"]},
    "labels": {"type": ["null", "array"]},
}

needs_meltano = pytest.mark.skipif(MELTANO is None, reason="Meltano is not installed")


def loader():
    """The loader of the repository's own project."""
    text = documents.MELTANO.read_text(encoding="utf-8")
    (found,) = yaml.safe_load(text)["plugins"]["loaders"]
    return found


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a project"
    folder.mkdir()
    return folder


@pytest.fixture
def invoke(folder):
    """Start a command of the loader, with this configuration in the project's file."""
    started = []

    def start(command, *arguments, **config):
        plugin = loader() | {"executable": f"{BIN}/target-outreach", "config": config}
        del plugin["pip_url"]
        document = {
            "default_environment": "test",
            "environments": [{"name": "test"}],
            "send_anonymous_usage_stats": False,
            "cli": {"disable_version_check": True},
            "plugins": {"loaders": [plugin]},
        }
        # JSON is YAML.
        (folder / "meltano.yml").write_text(json.dumps(document), encoding="utf-8")
        process = subprocess.Popen(
            [
                *(MELTANO, "--log-format", "json", "invoke"),
                *(f"target-outreach:{command}" if command else "--list-commands",),
                *(arguments if command else ("target-outreach",)),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # as a terminal does it, so that Ctrl-C reaches both
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if not process.stdout.closed:  # where Meltano is gone, the command may live on
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def finish(process):
    """Return the exit code, what the command printed, and the log that Meltano made of the rest."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    return process.returncode, out, events


def wait_for_event(process, words):
    for line in process.stderr:
        if words in line:
            return json.loads(line)["event"]
    raise AssertionError(words)


def test_meltano_yml_has_each_command_with_a_description():
    commands = loader()["commands"]
    assert sorted(commands) == sorted({*COMMANDS} - {"init"})  # `meltano add` does what that does
    for name, command in commands.items():
        assert command["args"] == f"{name} --config ENV"
        assert command["description"].endswith(".")


def test_renewing_the_settings_in_meltano_yml_keeps_the_commands():
    text = documents.MELTANO.read_text(encoding="utf-8")
    outdated = text.replace("    - name: sync_mode\n", "    - name: gone\n")
    (renewed,) = yaml.safe_load(documents.meltano_with_settings(outdated))["plugins"]["loaders"]
    assert renewed["settings"] == documents.meltano_settings()
    assert renewed["commands"] == loader()["commands"]


@pytest.mark.slow
@needs_meltano
def test_meltano_lists_the_commands(invoke):
    code, out, _ = finish(invoke(None))
    assert code == 0
    for name, command in loader()["commands"].items():
        assert f"target-outreach:{name}" in out
        assert command["description"] in out


@pytest.mark.slow
@needs_meltano
def test_check_reads_the_settings_of_the_project_lists_and_objects_too(invoke, folder):
    code, out, events = finish(
        invoke(
            "check",
            sandbox="$MELTANO_PROJECT_ROOT/an outreach.db",
            streams=[
                {
                    "stream": "people",
                    "object": "prospects",
                    "columns": {"Mail": "emails"},
                    "array_fields": {"tags": "replace"},
                }
            ],
            stream_maps={"people": {"Mail": "Mail.lower()", "secret": None}, "s\\.t": {"a": "b"}},
            stream_map_config={"hash_seed": "s"},
            array_fields='{"tags": "merge_first"}',
            max_rejects="5%",
            dry_run=True,
        )
    )
    assert code == 0
    lines = out.splitlines()
    place = folder / "an outreach.db"
    assert lines[0] == f"note     Asking the sandbox in {place}, which needs no credentials."
    assert lines[1].startswith("note     There was no such file")
    known = "ok       All names that streams mentions are known."
    assert lines[2:4] == [known, "ok       prospects can be read."]
    assert "accounts" not in out
    assert place.is_file()
    assert not [event for event in events if "Parsing" in event]


@pytest.mark.slow
@needs_meltano
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "No credentials: set access_token"),
        ({"sandbox": "x.db", "stream_maps": {"a": {"b": 5}}}, "stream_maps.a"),
    ],
)
def test_a_wrong_setting_of_the_project_is_one_sentence_and_exit_code_1(invoke, config, words):
    code, out, events = finish(invoke("check", **config))
    assert code == 1
    assert out == ""
    assert words in events[-1]


@pytest.fixture
def sandbox(tmp_path, watcher):
    profile = Profile(apps=[logins.APP], tokens={"invented": ["prospects.all", "accounts.all"]})
    with Sandbox(tmp_path / "outreach.db", profile, observer=watcher) as running:
        yield running


@pytest.mark.slow
@needs_meltano
def test_after_a_login_through_meltano_the_check_finds_the_tokens(
    invoke, sandbox, tmp_path, monkeypatch
):
    monkeypatch.setenv("BROWSER", f"{shlex.join([sys.executable, logins.__file__])} %s")
    with logins.free_port() as port:
        config = logins.oauth_config(sandbox, tmp_path, port)
        # As in a .env file, where secrets belong.
        monkeypatch.setenv("TARGET_OUTREACH_CLIENT_SECRET", config.pop("client_secret"))
        code, out, _ = finish(invoke("login", **config))
    assert code == 0
    assert "200 Logged in" in out
    assert f"The tokens are kept in {config['credentials_path']}" in out
    code, out, events = finish(invoke("check", **config))
    assert code == 0
    assert "ok       Outreach accepts the token of ada@example.com" in out
    for chain in logins.kept(config).values():
        assert chain["access_token"] not in out + str(events)
    assert [request.grant_type for request in sandbox.token_requests] == ["authorization_code"]


@pytest.mark.slow
@needs_meltano
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_login_under_meltano(invoke, sandbox, tmp_path, monkeypatch, signum):
    monkeypatch.setenv("BROWSER", "true %s")
    with logins.free_port() as port:
        process = invoke("login", **logins.oauth_config(sandbox, tmp_path, port))
        for line in process.stdout:
            if "(Safari)" in line:  # the last of what is said before the browser comes back
                break
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as the terminal does it
        else:
            process.send_signal(signum)  # as a scheduler does it
        out, err = process.communicate(timeout=60)  # until both of them are gone
    assert out.strip() == ""
    assert "target_outreach/" not in err  # Meltano may show a traceback of its own on Ctrl-C
    if signum == signal.SIGTERM:
        assert json.loads(err.splitlines()[-1])["event"] == "Stopped."
        assert process.returncode == 143
    assert sandbox.token_requests == []


@pytest.mark.slow
@needs_meltano
def test_replay_delivers_rejects_as_a_run_of_the_project_would(invoke, sandbox, folder):
    rows = [
        record("people", id=1, Mail="ADA@EXAMPLE.TEST", first="Ada", labels=["new"]),
        record("people", id=2, Mail="bo@example.test", first="Bo", labels=["new"]),
    ]
    rejects = folder / "some rejects.jsonl"
    messages = [schema("people", PEOPLE), *rows]
    rejects.write_text("".join(json.dumps(one) + "\n" for one in messages), encoding="utf-8")
    sandbox.store.seed("prospects", {"emails": ["bo@example.test"], "tags": ["old"]})
    process = invoke(
        "replay",
        rejects.name,
        access_token="invented",
        api_url=sandbox.api_url,
        rejects_path=str(folder / "rejects"),
        stream_maps={"people": {"Mail": "Mail.lower()"}},
        array_fields='{"tags": "replace"}',
        streams=[{"stream": "people", "object": "prospects", "columns": {"Mail": "emails", "labels": "tags", "first": "firstName"}}],  # noqa: E501
    )  # fmt: skip
    code, _, events = finish(process)
    assert code == 0, events
    people = {
        one["attributes"]["emails"][0]: one["attributes"] for one in sandbox.store.all("prospects")
    }
    assert sorted(people) == ["ada@example.test", "bo@example.test"]
    assert people["bo@example.test"]["tags"] == ["new"]
    assert people["ada@example.test"]["firstName"] == "Ada"
    assert not rejects.exists()
    assert (folder / "some rejects.jsonl.done").is_file()


@pytest.mark.slow
@needs_meltano
def test_sandbox_serves_the_file_of_the_project_until_ctrl_c(invoke, folder):
    path = str(folder / "outreach.db")
    with logins.free_port() as port:
        process = invoke("sandbox", "--port", str(port), sandbox=path)
        said = wait_for_event(process, "Outreach's API is at")
        assert said == f"Outreach's API is at http://127.0.0.1:{port}/api/v2, kept in {path}"
        answer = requests.get(
            f"http://127.0.0.1:{port}/api/v2/prospects",
            headers={"Authorization": "Bearer invented"},
            timeout=10,
        )
        assert answer.status_code == 401  # it takes only tokens that it gave
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)  # until both of them are gone


@pytest.mark.parametrize(
    ("given", "nested"),
    [
        ({"x.a": None, "x.b": "c + 1"}, {"x": {"b": "c + 1"}}),
        ({"x.__else__": "d", "y": "__NULL__"}, {"x": {"__else__": "d"}, "y": "__NULL__"}),
        ({"marts\\.people.a": "b"}, {"marts.people": {"a": "b"}}),
        ({"x": {"a.b": None}}, {"x": {"a.b": None}}),
        ({}, {}),
    ],
)
def test_what_meltano_has_flattened_is_nested_as_in_the_file_that_it_gives_a_run(given, nested):
    environment = {"TARGET_OUTREACH_STREAM_MAPS": json.dumps(given)}
    nest_settings(environment)
    assert environment.keys() == {"TARGET_OUTREACH_STREAM_MAPS"}
    assert json.loads(environment["TARGET_OUTREACH_STREAM_MAPS"]) == nested


@pytest.mark.parametrize("text", ["", "{", "[1]", "5"])
def test_what_is_no_object_is_left_for_others_to_complain_about(text):
    environment = {"TARGET_OUTREACH_STREAM_MAPS": text}
    nest_settings(environment)
    assert environment == {"TARGET_OUTREACH_STREAM_MAPS": text}
