"""What the process imports before it does anything, since that is what a short run waits for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import lines, record, schema, state

HEAVY = ("singer_sdk", "requests", "jsonschema", "click", "fsspec", "msgspec", "sqlite3")
FOR_OTHERS = (
    *("cryptography", "jwt", "filelock", "webbrowser", "http.server", "rich"),
    "target_outreach.commands",
    "target_outreach.sandbox",
    "target_outreach.outreach.probe",
    *(
        f"target_outreach.outreach.auth.{name}"
        for name in ("authorization", "credentials_file", "installation", "listener", "renewal")
    ),
)


def imported(log):
    """The modules in what ``-X importtime`` prints."""
    entries = (line.split("|") for line in log.splitlines() if line.startswith("import time:"))
    return {entry[-1].strip() for entry in entries}


def of(names, modules):
    """Those of some modules that are one of the names or in one of them."""
    return {
        module
        for module in modules
        for name in names
        if module == name or module.startswith(f"{name}.")
    }


@pytest.fixture
def ask():
    def _ask(*command):
        return subprocess.run(
            [sys.executable, "-X", "importtime", *command],
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    return _ask


def test_the_version_is_said_without_the_sdk_and_in_its_words(ask):
    quick = ask("-m", "target_outreach", "--version")
    whole = ask("-c", "from target_outreach.cli import main; main(['--version'])")
    assert of(HEAVY, imported(quick.stderr)) == set()
    assert of(["singer_sdk"], imported(whole.stderr))
    assert quick.stdout == whole.stdout


@pytest.mark.usefixtures("sandbox")
def test_a_run_imports_nothing_that_only_others_need(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-X", "importtime", "-m", "target_outreach", "--config", str(path)]
    text = lines([schema("prospects"), record("prospects", emails="a@x.test"), state({"n": 1})])
    run = subprocess.run(command, input=text, capture_output=True, check=False, encoding="utf-8")
    assert run.returncode == 0
    modules = imported(run.stderr)
    assert of(["target_outreach.delivery"], modules)
    assert of(FOR_OTHERS, modules) == set()


@pytest.mark.slow
def test_other_programs_can_import_what_the_package_declares():
    code = (
        "import sys, target_outreach\n"
        "assert 'target_outreach.target' not in sys.modules\n"
        "from target_outreach import *\n"
        "from target_outreach.sandbox import *\n"
        "assert TargetOutreach.name == 'target-outreach' and Sandbox and serve\n"
        "try:\n    target_outreach.Missing\nexcept AttributeError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
