"""A real sandbox on a real socket, and the real target against it."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from openapi import Watcher, load_checker
from openapi_answers import load_answer_checker
from sandbox_client import adjust

from target_outreach import bounds
from target_outreach.cli import run
from target_outreach.engine import bulk
from target_outreach.outreach import imports
from target_outreach.sandbox import Sandbox
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from playwright.sync_api import Browser
    from processes import Popen

    from target_outreach.sandbox.messages import Answer, Request

Message = dict[str, Any]

# The tests start some hundred processes, each of which would compile all that it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no fault of what is tested.
UNHURRIED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
for name in ("default", "ci"):
    settings.register_profile(name, settings.get_profile(name), **UNHURRIED)
settings.register_profile("many", max_examples=2000, **UNHURRIED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or settings.get_current_profile_name())

ACCOUNTS = {
    "id": {"type": ["null", "integer"]},
    "name": {"type": ["null", "string"]},
    "domain": {"type": ["null", "string"]},
    "custom_id": {"type": ["null", "string"]},
    "industry": {"type": ["null", "string"]},
    "employees": {"type": ["null", "number", "string"]},
    "tags": {"type": ["null", "array", "string"]},
}
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
PROSPECTS = {
    "id": {"type": ["null", "integer"]},
    "emails": {"type": ["null", "array", "string"]},
    "first_name": {"type": ["null", "string"]},
    "last_name": {"type": ["null", "string"]},
    "title": {"type": ["null", "string"]},
    "phone": {"type": ["null", "string", "array"]},
    "tags": {"type": ["null", "array", "string"]},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run the slow tests too, as where CI is set"
    parser.addoption("--slow", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    text = "slow: takes long by its nature; runs with --slow or -m, and where CI is set"
    config.addinivalue_line("markers", text)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests unless they are requested, without a line for each."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    if config.getoption("--slow") or config.option.markexpr or os.environ.get("CI"):
        return
    left_out = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


@dataclass(frozen=True)
class Run:
    """What one run of the target left behind."""

    exit_code: int
    stdout: str
    report: dict[str, Any]
    log: str
    rejects: list[Message] = field(default_factory=list)

    @property
    def states(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def counts(self, stream: str) -> dict[str, int]:
        """The outcomes of a stream that are not zero."""
        return {
            name: count
            for name, count in self.report["streams"][stream].items()
            if isinstance(count, int) and count
        }


def schema(
    stream: str, properties: Message | None = None, keys: Iterable[str] = ("id",)
) -> Message:
    if properties is None:
        properties = ACCOUNTS if stream.endswith("accounts") else PROSPECTS
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": dict(properties)},
        "key_properties": [key for key in keys if key in properties],
    }


def record(stream: str, /, **values: Any) -> Message:
    return {"type": "RECORD", "stream": stream, "record": {"id": None, **values}}


def state(value: Any) -> Message:
    return {"type": "STATE", "value": value}


def lines(messages: Iterable[Message | str]) -> str:
    return "".join(
        (message if isinstance(message, str) else json.dumps(message)) + "\n"
        for message in messages
    )


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's settings and the user's folders out of the tests."""
    for name in list(os.environ):
        if name.startswith(("TARGET_OUTREACH_", "MELTANO_")):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state home"))
    monkeypatch.setenv("MELTANO_SEND_ANONYMOUS_USAGE_STATS", "false")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look soon for what may have been created; the pauses are 3, 9 and 27 seconds otherwise."""
    monkeypatch.setattr(bounds, "LATER_LOOKS", (0.05, 0.15, 0.45))


@pytest.fixture(autouse=True, scope="session")
def schemas_checked_once() -> Iterator[None]:
    """Hold each schema against its draft once, since thousands of runs have the same few."""
    genuine = Draft202012Validator.check_schema
    right: set[str] = set()

    def check(schema: Message, **options: Any) -> None:
        if (text := repr(schema)) not in right:
            genuine(schema, **options)
            right.add(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft202012Validator, "check_schema", check)
        yield


@pytest.fixture(autouse=True)
def talkative_log() -> None:
    """Hear all that the target says, also after a command that spoke for itself."""
    logging.getLogger("target-outreach").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """Give signals back to pytest after a target has taken them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def compared_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compare what the sandboxes of this process answer with Outreach's own OpenAPI document.

    Faults come after it: what they make of an answer is no matter of the document.
    """
    found: dict[str, None] = {}
    genuine = Sandbox.work

    def work(self: Sandbox, request: Request) -> Answer:
        answer = genuine(self, request)
        violations = load_answer_checker().violations(request, answer, self.profile)
        found.update(dict.fromkeys(violations))
        return answer

    monkeypatch.setattr(Sandbox, "work", work)
    yield
    assert not found, list(found)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Compare all requests with Outreach's own OpenAPI document, where that is at hand."""
    watcher = Watcher(load_checker())
    yield watcher
    assert watcher.violations() == []


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> Callable[[], float]:
    """The clock of the sandbox; a test may bring the class of another one."""
    return request.param() if hasattr(request, "param") else time.time


@pytest.fixture
def sandbox(tmp_path: Path, watcher: Watcher, clock: Callable[[], float]) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "outreach.db", observer=watcher, clock=clock) as running:
        yield running


@pytest.fixture
def config(sandbox: Sandbox, tmp_path: Path) -> Message:
    return {
        "access_token": "invented-token-7f3a",
        "api_url": sandbox.api_url,
        "rejects_path": str(tmp_path / "rejects"),
        "report_path": str(tmp_path / "report.json"),
        "max_outage_minutes": 0,  # eight tries: no test waits for minutes
    }


def _rejects(config: Message) -> list[Message]:
    report = json.loads(Path(config["report_path"]).read_text(encoding="utf-8"))
    if not report["rejects_file"]:
        return []
    text = Path(report["rejects_file"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def sync(config: Message, caplog: pytest.LogCaptureFixture) -> Callable[..., Run]:
    """Run the target in this process: real sockets, real threads, no start-up to wait for."""

    def _sync(messages: Iterable[Message | str], **settings: Any) -> Run:
        caplog.clear()
        merged = config | settings
        stdout = io.StringIO()
        with caplog.at_level("DEBUG"), redirect_stdout(stdout):
            target = TargetOutreach(config=merged)
            code = run(target, io.StringIO(lines(messages)))
        report = json.loads(Path(merged["report_path"]).read_text(encoding="utf-8"))
        return Run(code, stdout.getvalue(), report, caplog.text, _rejects(merged))

    return _sync


@pytest.fixture
def start(config: Message, tmp_path: Path) -> Iterator[Callable[..., Popen]]:
    """Start the target as a process of its own, with pipes for its input and output."""
    import processes  # noqa: PLC0415 - needs a system that can fork

    started: list[Popen] = []

    def _start(stdin: int = subprocess.PIPE, before: str = "", **settings: Any) -> Popen:
        path = tmp_path / f"config {len(started)}.json"
        path.write_text(json.dumps(config | settings), encoding="utf-8")
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = processes.Popen(["--config", str(path)], before=before, **pipes)
        started.append(process)
        return process

    yield _start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def execute(start: Callable[..., Popen], config: Message) -> Callable[..., Run]:
    """Run the target as a process of its own until it ends."""

    def _execute(messages: Iterable[Message | str] | bytes, **settings: Any) -> Run:
        process = start(**settings)
        given = messages if isinstance(messages, bytes) else lines(messages).encode()
        out, err = process.communicate(given, timeout=90)
        path = Path((config | settings)["report_path"])
        report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        rejects = _rejects(config | settings) if report else []
        return Run(process.returncode, out.decode(), report, err.decode(), rejects)

    return _execute


@pytest.fixture(scope="module")  # while it is open, no other test of its process can use asyncio
def browser() -> Iterator[Browser]:
    """The Chromium of this machine, without a window; it finds no host but this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        (pytest.fail if os.environ.get("NEEDS_BROWSER") else pytest.skip)("no chromium here")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - few tests need it

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def quick_imports(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Iterator[None]:
    """Let imports take no time, and look at them often; no import may ever be about everything."""
    monkeypatch.setattr(imports, "FIRST_LOOK", 0.01)
    monkeypatch.setattr(bulk, "LOOKS", (0.0, 0.02))
    monkeypatch.setattr(bulk, "LOOKS_FOR_LOST", (0.01, 0.02))
    adjust(sandbox, import_pending_seconds=0, import_processing_seconds=0)
    yield
    assert [one for one in sandbox.store.imports() if one.everything] == []
