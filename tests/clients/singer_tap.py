"""tap-outreach as Singer published it: reads records as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.environment import python_with

FOLDER = Path(__file__).parents[1] / "tap_outreach_client"
OBJECTS = ("accounts", "prospects")
PAGE_SIZE = 5
CONFIG = {
    "start_date": "2026-01-01T00:00:00Z",
    "client_id": "invented",
    "client_secret": "invented",
    "redirect_uri": "https://client.example.test/oauth",
    "refresh_token": "invented",
    "page_size": PAGE_SIZE,
}
SECONDS = 60
_DISCOVERED = {}


@dataclass(frozen=True)
class Tap:
    """The tap, set up to read one sandbox.

    Args:
        url: Scheme, host and port of the sandbox.
        folder: Where its configuration and its log are kept.
        objects: What it reads.
    """

    url: str
    folder: Path
    objects: tuple[str, ...] = OBJECTS

    @contextmanager
    def running(self, state=None):
        """Start it with its objects selected; it is done, and well, when this ends."""
        catalog = self._file("catalog", self._catalog())
        state = self._file("state", state or {})
        with self._process("--catalog", catalog, "--state", state) as process:
            yield process

    def read(self, state=None):
        """Run it; return its messages."""
        with self.running(state) as process:
            return [json.loads(line) for line in process.stdout]

    def _catalog(self):
        """Select its objects; what the tap discovers, it discovers without a request."""
        if not _DISCOVERED:
            with self._process("--discover") as discovery:
                _DISCOVERED.update(json.loads(discovery.stdout.read()))
        for stream in _DISCOVERED["streams"]:
            (top,) = (entry for entry in stream["metadata"] if not entry["breadcrumb"])
            top["metadata"]["selected"] = stream["stream"] in self.objects
        return _DISCOVERED

    def _file(self, name, content):
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    @contextmanager
    def _process(self, *arguments):
        python = python_with(FOLDER / "requirements.txt")
        log = self.folder / "tap.log"
        with (
            log.open("w", encoding="utf-8") as errors,
            subprocess.Popen(
                [python, FOLDER / "run.py", "--config", self._file("config", CONFIG), *arguments],
                env=os.environ | {"OUTREACH_HOST": self.url},
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as process,
        ):
            try:
                yield process
                process.wait(SECONDS)
            finally:
                process.kill()
        assert process.returncode == 0, log.read_text(encoding="utf-8")
