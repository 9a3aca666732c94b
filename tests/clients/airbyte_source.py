"""A source of Airbyte: its CDK reads prospects and accounts, as `airbyte/manifest.yaml` says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from clients.environment import python_with

FOLDER = Path(__file__).parent / "airbyte"
SECONDS = 60
LEFT = "This leads off this machine"  # what `run.py` says then


def read(folder, config, streams):
    """Read streams of the source as a whole.

    Args:
        folder: Where its files are kept.
        config: Its configuration: `api_url`, `access_token`, `page_size`.
        streams: Their names.

    Returns:
        The records by stream, each as the API showed it.
    """
    catalog = {"streams": [_everything(name) for name in streams]}
    records = {name: [] for name in streams}
    files = ("--config", _file(folder, "config", config))
    for message in _run("read", *files, "--catalog", _file(folder, "catalog", catalog)):
        if message["type"] == "RECORD":
            records[message["record"]["stream"]].append(message["record"]["data"])
    return records


def _everything(name):
    mode = "full_refresh"
    stream = {"name": name, "json_schema": {}, "supported_sync_modes": [mode]}
    return {"stream": stream, "sync_mode": mode, "destination_sync_mode": "overwrite"}


def _file(folder, name, content):
    file = folder / f"{name}.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def _run(*arguments):
    """Run one command of the source; return the messages of Airbyte's protocol."""
    python = python_with(FOLDER / "requirements.txt")
    done = subprocess.run(
        [python, FOLDER / "run.py", *arguments, "--manifest-path", FOLDER / "manifest.yaml"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert LEFT not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
