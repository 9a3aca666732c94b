"""`target-outreach init`: a first configuration, by options or by answers at a terminal."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import processes
import pytest

from target_outreach.settings import Settings

SECRET = "whisper-4711"


@pytest.fixture
def init(tmp_path):
    """Run the command where there is no terminal."""

    def _init(*words, **variables):
        named = {f"TARGET_OUTREACH_{name.upper()}": text for name, text in variables.items()}
        options = {"cwd": tmp_path, "env": os.environ | named}
        done = processes.run(["init", *words], encoding="utf-8", **options)
        assert "Traceback" not in done.stderr
        return done

    return _init


@pytest.fixture
def answer(tmp_path):
    """Run the command at a terminal, and answer its questions, in order."""
    pty = pytest.importorskip("pty")

    def _answer(*words, answers):
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "target_outreach", "init", *words],
            **dict.fromkeys(("stdin", "stdout", "stderr"), child),
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"},
            start_new_session=True,
        )
        os.close(child)
        seen = ""
        for question, text in [*answers, ("", "")]:
            while question not in seen or not question:
                try:
                    piece = os.read(parent, 4096).decode()
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
            assert question in seen, seen
            if question:
                os.write(parent, f"{text}\n".encode())
        os.close(parent)
        return process.wait(timeout=60), seen

    return _answer


def written(folder, name="config.json"):
    path = folder / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_sandbox_needs_no_question_and_can_be_run_at_once(init, tmp_path):
    done = init("--credentials", "sandbox")
    assert done.returncode == 0, done.stderr
    assert written(tmp_path) == {"sandbox": "outreach.db", "rejects_path": "rejects"}
    assert "  target-outreach check --config config.json\n" in done.stdout
    checked = processes.run(["check", "--config", "config.json"], cwd=tmp_path)
    assert checked.returncode == 0


def test_secrets_stay_in_the_environment_and_the_next_commands_read_it(init, tmp_path):
    words = ["--client-id", "id of an app", "--object", "accounts", "--memory", "memory.db"]
    done = init("--credentials", "oauth", *words, "--rejects", "bad rows")
    assert done.returncode == 0, done.stderr
    config = written(tmp_path)
    assert config == {
        "client_id": "id of an app",
        "outreach_object": "accounts",
        "change_detection": "source",
        "memory_path": "memory.db",
        "rejects_path": "bad rows",
    }
    Settings.read(config | {"client_secret": "x"})
    assert "  export TARGET_OUTREACH_CLIENT_SECRET=…\n" in done.stdout
    assert "  target-outreach login --config config.json --config ENV\n" in done.stdout


@pytest.mark.slow
def test_a_secret_in_the_file_comes_from_no_option_and_is_not_shown(init, tmp_path):
    words = ("--credentials", "token", "--secrets", "file", "--output", "own.json")
    assert "TARGET_OUTREACH_ACCESS_TOKEN" in init(*words).stderr
    assert not (tmp_path / "own.json").exists()
    done = init(*words, access_token=SECRET)
    assert done.returncode == 0
    assert written(tmp_path, "own.json")["access_token"] == SECRET
    assert SECRET not in done.stdout + done.stderr
    assert "check --config own.json\n" in done.stdout


@pytest.mark.slow
def test_a_file_that_is_there_is_replaced_only_if_that_is_wanted(init, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    done = init("--credentials", "sandbox")
    assert done.returncode == 1
    assert "config.json exists and is not changed: --force replaces it." in done.stderr
    assert (tmp_path / "config.json").read_text("utf-8") == "{}"
    assert init("--credentials", "sandbox", "--force").returncode == 0
    assert written(tmp_path)["sandbox"] == "outreach.db"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--credentials is needed, since there is no terminal to ask at."),
        (["--credentials", "oauth"], 2, "--client-id is needed"),
        (["--credentials", "oauth", "--client-id", "ä"], 1, "client_id must be printable ASCII"),
        (["--credentials", "sandbox", "--output", "no/c.json"], 1, "no/c.json cannot be written ("),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(init, tmp_path, words, code, said):
    done = init(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "state home"])


def test_at_a_terminal_it_asks_for_what_no_option_says(answer, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    code, seen = answer(
        "--rejects",
        "rejects",
        answers=[
            ("Replace it?", "y"),
            ("How do you authenticate?", "s2s"),
            ("GUID", "guid-1"),
            ("installation", "17"),
            ("private key", "key.pem"),
            ("What do the streams hold?", "prospects"),
            ("remembers", ""),
        ],
    )
    assert code == 0
    assert written(tmp_path) == {
        "s2s_guid": "guid-1",
        "s2s_install_id": "17",
        "s2s_private_key": "key.pem",
        "outreach_object": "prospects",
        "rejects_path": "rejects",
    }
    assert "Folder" not in seen


@pytest.mark.slow
def test_a_secret_is_typed_unseen(answer, tmp_path):
    words = ("--credentials", "token", "--object", "by-name", "--memory", "none")
    answers = [
        ("Keep secrets", "file"),
        ("access_token (not shown)", SECRET),
        ("Folder for rejected records", ""),
    ]
    code, seen = answer(*words, answers=answers)
    assert code == 0
    assert written(tmp_path) == {"access_token": SECRET, "rejects_path": "rejects"}
    assert SECRET not in seen


def test_who_declines_keeps_the_file(answer, tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    code, seen = answer(answers=[("Replace it?", "n")])
    assert code == 1
    assert "config.json is not changed." in seen
    assert (tmp_path / "config.json").read_text("utf-8") == "{}"


def test_ctrl_c_at_a_question_writes_nothing(answer, tmp_path):
    code, seen = answer(answers=[("How do you authenticate?", "\x04")])
    assert code == 130
    assert "Stopped." in seen
    assert not (tmp_path / "config.json").exists()
