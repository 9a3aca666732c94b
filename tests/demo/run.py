"""Load a warehouse into a local Outreach, and show what arrived and what did not.

    python tests/demo/run.py            run it twice: the second time nothing is written
    python tests/demo/run.py --reset    start over with an empty Outreach

The first run makes the project's environment, `.venv`, from `uv.lock`; Meltano then installs the
tap and the target. Nothing but the Python package index is contacted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import summary

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".meltano" / "demo"
TOOLS = ROOT / ".meltano" / "tools"
PIPELINE = ("run", "tap-snowflake", "target-outreach")


def main() -> int:
    """Run the pipeline once and sum up what it did; return its exit code."""
    if not all(map(importlib.util.find_spec, ("meltano", "target_outreach"))):
        return run_in_project_environment()
    if "--reset" in sys.argv:
        shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(parents=True, exist_ok=True)
    exit_code = run_pipeline()
    if exit_code == 0:
        summary.show(DEMO)
        show_by_hand()
    return exit_code


def run_pipeline() -> int:
    """Show the Meltano command, run it with its output as it comes, and return its exit code."""
    print(f"\n$ meltano {' '.join(PIPELINE)}\n", flush=True)
    return subprocess.run([meltano(), *PIPELINE], cwd=ROOT, check=False).returncode


def meltano() -> Path:
    """Return the Meltano of the environment that this script runs in."""
    return Path(shutil.which("meltano", path=str(Path(sys.executable).parent)) or "meltano")


def show_by_hand() -> None:
    """Print how to run the same pipeline without this script."""
    command = meltano()
    if command.is_relative_to(ROOT):
        command = command.relative_to(ROOT)
    print(f"By hand, in {ROOT}:\n\n    {command} {' '.join(PIPELINE)}\n")


def run_in_project_environment() -> int:
    """Start this script again inside the project's locked environment, made first if need be."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    options = ["--frozen", "--no-dev", "--group", "meltano"]
    if not (ROOT / ".venv").exists():
        print("Once: making the environment .venv; Meltano installs tap and target.", flush=True)
        options += ["--python", sys.executable]
    command = [uv(), "run", *options, "python", __file__, *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def uv() -> str:
    """Return the path of uv; if this Python has none, pip puts it into the folder `.meltano`."""
    sys.path.append(str(TOOLS))
    if not importlib.util.find_spec("uv"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(TOOLS)]
        subprocess.run([*pip, "uv>=0.9"], check=True)
        importlib.invalidate_caches()
    return importlib.import_module("uv").find_uv_bin()


if __name__ == "__main__":
    sys.exit(main())
