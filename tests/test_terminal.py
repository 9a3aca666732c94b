"""What a person sees in a real terminal: a window of tmux, 80, 100 and 120 columns wide."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from conftest import lines, record, schema, state

pytestmark = [
    pytest.mark.slow,  # starts windows, and waits for what they show
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

ROWS = [
    schema("crm-accounts"),
    *(record("crm-accounts", id=n, name=f"Firm {n}", domain=f"f{n}.test") for n in range(30)),
    state({"accounts": 30}),
    schema("crm-prospects"),
    *(record("crm-prospects", id=n, emails=f"p{n}@x.test") for n in range(30)),
    record("crm-prospects", id=99, emails="nope"),
    state({"prospects": 31}),
]

#: The command, wherever it is installed.
COMMAND = f"{shlex.quote(sys.executable)} -m target_outreach"


class Window:
    """A window of a terminal."""

    def __init__(self, tmux, columns):
        self._tmux = tmux
        self.columns = columns

    def lines(self):
        """All lines; one that was wrapped is one line, and so wider than the window."""
        shown = self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "test")
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    def wait_for(self, pattern):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            shown = self.lines()
            if any(re.search(pattern, line) for line in shown):
                return shown
            time.sleep(0.1)
        raise AssertionError((pattern, self.lines()))

    def type(self, text):
        self._tmux("send-keys", "-t", "test", text, "Enter")

    def too_wide(self):
        """The lines that are wider than it, but for commands to copy, which stay whole."""
        said = [line for line in self.lines() if not line.startswith("  target-outreach replay ")]
        return [line for line in said if len(line) > self.columns]


@pytest.fixture
def window(tmp_path):
    @contextmanager
    def _window(columns, command):
        def tmux(*words):
            whole = ["tmux", "-L", tmp_path.name, "-f", os.devnull, *words]
            return subprocess.run(whole, check=True, capture_output=True, encoding="utf-8").stdout

        size = ("-x", str(columns), "-y", "50")
        environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
        start = ["new-session", "-d", "-s", "test", *size, f"{command}; sleep 100"]
        subprocess.run(
            ["tmux", "-L", tmp_path.name, "-f", os.devnull, *start],
            check=True,
            cwd=tmp_path,
            env=environment | {"LC_ALL": "C.UTF-8"},
        )
        try:
            yield Window(tmux, columns)
        finally:
            tmux("kill-server")

    return _window


def target(folder, *words, **settings):
    config = {"sandbox": "outreach.db", "rejects_path": "rejects", "batch_size_rows": 10}
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    return shlex.join([sys.executable, "-m", "target_outreach", *words, "--config", "config.json"])


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_run_fits_its_window_and_state_has_a_line_of_its_own(window, tmp_path, columns):
    text = lines(ROWS).splitlines(keepends=True)
    (tmp_path / "first").write_text("".join(text[:-5]), encoding="utf-8")
    (tmp_path / "rest").write_text("".join(text[-5:]), encoding="utf-8")
    tap = "{ cat first; until test -e go; do sleep 0.1; done; cat rest; }"
    with window(columns, f"{tap} | {target(tmp_path)}") as shown:
        shown.wait_for(r"^\d+ records · .* · 0 rejected · \d+ requests")
        assert shown.too_wide() == []
        (tmp_path / "go").touch()
        whole = shown.wait_for(r"^Done in ")
        assert shown.too_wide() == []
    assert re.fullmatch(r"Done in [\d.]+ s \(exit 3\): 60 created, 1 rejected\.", whole[-1])
    assert not [line for line in whole if " records · " in line]
    assert not [line for line in whole if "METRIC" in line or " | " in line]
    states = [line for line in whole if "{" in line]
    assert states[0] == '{"accounts":30}'
    assert json.loads(states[-1]).get("prospects") == 31, whole


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_run_that_fails_says_why_in_its_last_line(window, tmp_path, columns):
    command = target(tmp_path, sandbox=None, access_token="t", api_url="http://127.0.0.1:9/api/v2")
    (tmp_path / "all").write_text(lines(ROWS), encoding="utf-8")
    with window(columns, f"{command.replace('--config', '--input all --config')}") as shown:
        whole = " ".join(shown.wait_for(r"Retrying 1 of 8"))
        assert shown.too_wide() == []
    assert "Warning: Connection refused at http://127.0.0.1:9; is the sandbox running?" in whole


def test_no_question_is_wider_than_a_terminal(window):
    questions = {
        "How do you authenticate": "oauth",
        "Id of your OAuth app": "id-1",
        "Keep secrets": "",
        "What do the streams hold": "",
        "remembers": "",
        "rejected records": "",
    }
    with window(80, f"{COMMAND} init; echo END") as shown:
        for question, answer in questions.items():
            shown.wait_for(question)
            shown.type(answer)
        shown.wait_for("^END$")
        assert shown.too_wide() == []


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize(
    "words",
    [
        *("--help", "init --help", "check --config config.json", "fields --offline"),
        *("fields --config config.json --schema contacts.csv", "cost --rows 50000 --changed 1"),
        (
            "init --output new.json --credentials sandbox --sandbox o.db --object prospects "
            "--memory none --rejects rejects"
        ),
    ],
)
def test_what_commands_print_fits_too(window, tmp_path, columns, words):
    target(tmp_path)
    header = "id,E-mail 1,Company Name for Emails,a_column_whose_name_is_of_some_length,Lifecycle\n"
    (tmp_path / "contacts.csv").write_text(header, encoding="utf-8")
    with window(columns, f"{COMMAND} {words}; echo END") as shown:
        shown.wait_for("^END$")
        assert shown.too_wide() == []
