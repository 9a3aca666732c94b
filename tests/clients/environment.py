"""Environments for other people's programs: made once for each version, kept in `.cache`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

CACHE = Path(__file__).parents[2] / ".cache"
PROGRAMS = "Scripts" if os.name == "nt" else "bin"
SECONDS_TO_INSTALL = 180


@cache
def python_with(requirements):
    """Make an environment with what a file of requirements names, unless there is one.

    The test is skipped where no index has these packages; in CI it fails.

    Args:
        requirements: Path of the file; its folder gives the environment its name.

    Returns:
        The path of the environment's Python, which is of the version that runs the tests.
    """
    version = "{}{}".format(*sys.version_info)
    folder = CACHE / f"{requirements.parent.name}-py{version}"
    python = folder / PROGRAMS / "python"
    commands = _installation(folder, python, requirements)
    _install_once(folder / "complete", python, requirements, commands)
    return python


@cache
def npm_program(manifest, name):
    """Install what a `package.json` names, unless it is there, and return one of its programs.

    The test is skipped where there is no npm, or it gets no packages; the latter fails in CI.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"no npm to install {manifest.parent.name} with")
    folder = CACHE / manifest.parent.name
    program = folder / "node_modules" / ".bin" / name
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
    command = [npm, "install", "--prefix", folder, *options, *_named(manifest)]
    _install_once(folder / "package.json", program, manifest, [command])
    return program


def _named(manifest):
    wanted = json.loads(manifest.read_text(encoding="utf-8"))["dependencies"]
    return [f"{name}@{version}" for name, version in wanted.items()]


def _install_once(complete, program, source, commands):
    """Run the commands, unless the program is there and was made from the same source.

    Args:
        complete: A file in the folder to make, which then holds the text of the source.
        program: What has to be there.
        source: Path of the file that names the packages.
        commands: Make the folder.
    """
    folder, wanted = complete.parent, source.read_text(encoding="utf-8")
    CACHE.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # several processes may run the tests
        if not (program.exists() and complete.exists() and complete.read_text("utf-8") == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            for command in commands:
                _install(command, source)
            complete.write_text(wanted, encoding="utf-8")


def _installation(folder, python, requirements):
    """Say how to make the environment: by uv where it is, else by what Python brings."""
    uv = [shutil.which("uv")]
    if importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    if any(uv):
        return (
            [*uv, "venv", "--python", sys.executable, folder],
            [*uv, "pip", "install", "--python", python, "--requirement", requirements],
        )
    pip = [python, "-m", "pip", "--retries", "1", "install", "--requirement", requirements]
    return [sys.executable, "-m", "venv", folder], pip


def _install(command, requirements):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, check=False
        )
    except subprocess.TimeoutExpired:
        problem = f"not within {SECONDS_TO_INSTALL} seconds"
    else:
        if done.returncode == 0:
            return
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        problem = errors[0] if errors else done.stderr.strip()[-300:]
    give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    give_up(f"{requirements.parent.name} cannot be installed: {problem}")
