"""Environments for other people's programs: made once for each version, kept in `.cache`."""

from __future__ import annotations

import importlib.util
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
SECONDS_TO_INSTALL = 90


@cache
def python_with(requirements):
    """Make an environment with what a file of requirements names, unless there is one.

    The test is skipped where that cannot be had from an index; in CI it fails.

    Args:
        requirements: Path of the file; its folder gives the environment its name.

    Returns:
        The path of the environment's Python, which is of the version that runs the tests.
    """
    version = "{}{}".format(*sys.version_info)
    folder = CACHE / f"{requirements.parent.name}-py{version}"
    python = folder / PROGRAMS / "python"
    complete = folder / "complete"
    wanted = requirements.read_text(encoding="utf-8")
    CACHE.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # several processes may run the tests
        if not (python.exists() and complete.exists() and complete.read_text("utf-8") == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            for command in _installation(folder, python, requirements):
                _install(command, requirements)
            complete.write_text(wanted, encoding="utf-8")
    return python


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
