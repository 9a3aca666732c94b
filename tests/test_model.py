"""Random streams against a simple model of what Outreach must hold afterwards.

Each seed is one scenario: people and companies with a few records each, in one or several streams,
with nulls, lists, changed SCHEMAs, bad records and many STATEs; a sandbox with latency, faults, a
small limit or short lists; and a target with random settings. A run that ends early, by a fault or
by a signal, is repeated from its last STATE until one comes to its end. After each run STATE must
not cover what is not there; after the last one Outreach must hold what the model says, once.

Run by pytest, or as a script: ``python test_model.py FIRST LAST [kill]``.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from target_outreach.cli import run
from target_outreach.delivery import writing
from target_outreach.outreach import client
from target_outreach.sandbox import Fault, Sandbox
from target_outreach.sandbox.profile import Profile
from target_outreach.target import TargetOutreach

Message = dict[str, Any]

Object = Literal["prospects", "accounts"]

EITHER_OR_BOTH: list[list[Object]] = [["prospects"], ["accounts"], ["prospects", "accounts"]]
SEEDS = range(40 if os.environ.get("CI") else 6)
MOST_RUNS = 25
SLOWEST_RUN = 90
LONG_AGO = "2020-01-01T00:00:00.000Z"
TEXT = {"type": ["null", "string"]}
LIST = {"type": ["null", "array", "string"], "items": TEXT}
COLUMNS: dict[str, Message] = {
    "prospects": {"emails": LIST, "title": TEXT, "last_name": TEXT, "tags": LIST, "mobile": LIST},
    "accounts": {
        "name": TEXT,
        "domain": TEXT,
        "custom_id": TEXT,
        "industry": TEXT,
        "description": TEXT,
        "tags": LIST,
    },
}
SCALARS = {
    "prospects": {"title": "title", "last_name": "lastName"},
    "accounts": {"industry": "industry", "description": "description"},
}


@dataclass(frozen=True, slots=True)
class Entity:
    """One person or company; `key` is its address or name, which no other has."""

    object: Object
    number: int

    @property
    def key(self) -> str:
        return f"p{self.number}@x.test" if self.object == "prospects" else f"Company {self.number}"

    def identity(self, chance: random.Random) -> Message:
        """Invent the columns that identify it: always its key, and now and then another."""
        if self.object == "prospects":
            second = [f"second{self.number}@x.test"] if chance.random() < 0.3 else []
            key = self.key.upper() if chance.random() < 0.2 else self.key
            emails = [key, *second] if chance.random() < 0.8 else [*second, key]
            return {"emails": emails if chance.random() < 0.7 else json.dumps(emails)}
        more = {"domain": f"d{self.number}.test", "custom_id": f"C{self.number}"}
        return {"name": self.key} | {k: v for k, v in more.items() if chance.random() < 0.3}


@dataclass(frozen=True, slots=True)
class Row:
    """A RECORD; one without an entity cannot be delivered."""

    stream: str
    values: Message
    entity: Entity | None


@dataclass(slots=True)
class Scenario:
    """All that one seed decides."""

    seed: int
    rows: list[Row]
    state_after: set[int]
    wider_from: int
    settings: Message
    profile: Profile
    faults: list[Fault]
    seeded: list[Entity] = field(default_factory=list)

    def messages(self, start: int) -> list[Message]:
        """Write the input from a row on; a STATE's value is the number of rows before it."""
        told: set[tuple[str, bool]] = set()
        messages: list[Message] = []
        for position in range(start, len(self.rows)):
            row, wider = self.rows[position], position >= self.wider_from
            if (row.stream, wider) not in told:
                told.add((row.stream, wider))
                messages.append(_schema(row.stream, wider=wider))
            messages.append({"type": "RECORD", "stream": row.stream, "record": row.values})
            if position in self.state_after:
                messages.append({"type": "STATE", "value": {"at": position + 1}})
        return [*messages, {"type": "STATE", "value": {"at": len(self.rows)}}]

    def rows_of(self, entity: Entity) -> list[tuple[int, Message]]:
        return [(at, row.values) for at, row in enumerate(self.rows) if row.entity is entity]

    @property
    def entities(self) -> list[Entity]:
        return list(dict.fromkeys(row.entity for row in self.rows if row.entity is not None))


def _schema(stream: str, *, wider: bool) -> Message:
    properties = COLUMNS[stream.rpartition("-")[2]] | ({"unmapped": TEXT} if wider else {})
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"type": "object", "properties": properties},
        "key_properties": [],
    }


def invent(seed: int, *, kill: bool = False) -> Scenario:
    """Decide a scenario by its seed."""
    chance = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
    objects: list[Object] = chance.choice(EITHER_OR_BOTH)
    streams = [f"{prefix}-{name}" for name in objects for prefix in "ab"[: chance.randint(1, 2)]]
    entities = [Entity(name, number) for name in objects for number in range(chance.randint(1, 25))]
    bad = chance.choice([0, 0, 0.05])
    rows = []
    for number in range(chance.randint(1, 120)):
        entity = chance.choice(entities)
        stream = chance.choice([name for name in streams if name.endswith(entity.object)])
        if chance.random() < bad:
            rows.append(Row(stream, _hopeless(entity, chance), None))
        else:
            rows.append(Row(stream, _values(entity, number, chance), entity))
    short_lists = chance.choice([None, None, 1, 4, 10])
    return Scenario(
        seed=seed,
        rows=rows,
        state_after={n for n in range(len(rows)) if chance.random() < 0.3},
        wider_from=chance.randint(0, len(rows)),
        settings={
            "batch_size_rows": chance.choice([1, 2, 3, 7, 20, 50]),
            "max_parallel_requests": chance.choice([1, 2, 4, 16]),
            "request_timeout_seconds": 1,
            "max_requests": chance.choice([None, None, None, chance.randint(5, 60)]),
        },
        profile=Profile(
            latency_seconds=chance.choice([0, 0, 0.002, 0.01]),
            rate_limit=chance.choice([10_000, 10_000, 60]),
            rate_window_seconds=2,
            limit_headers=chance.choice(["single", "double", "none"]),
            retry_after=chance.choice(["delta", "epoch", "iso", "none"]),
            list_cap=short_lists,
            taken_wording=chance.choice(["hash", "emails", "index"]),
            company_from_account=chance.random() < 0.5,
        ),
        faults=_faults(chance, kinds=1 if kill else chance.randint(0, 4)),
        seeded=[entity for entity in entities if chance.random() < 0.3]
        if short_lists is None or "accounts" not in objects
        else entities,
    )


def _values(entity: Entity, number: int, chance: random.Random) -> Message:
    values = entity.identity(chance)
    for column in SCALARS[entity.object]:
        if chance.random() < 0.8:
            values[column] = chance.choice([f"{column} {number}", f"{column} {number}", None, " "])
    if chance.random() < 0.4:
        values["tags"] = chance.choice([[f"t{number % 5}"], "x", [], None, ["y", "y"]])
    return values


def _hopeless(entity: Entity, chance: random.Random) -> Message:
    if entity.object == "prospects":
        return {"emails": chance.choice(["nope", None, ["a@x.test", "b@"], []]), "title": "bad"}
    return {"name": None, "industry": "bad"}


def _faults(chance: random.Random, kinds: int) -> list[Fault]:
    every = [
        Fault("status", status=500),
        Fault("status", status=503),
        Fault("status", status=429),
        Fault("status", status=503, headers=(("Retry-After", "1"),)),
        Fault("status_after", status=502),
        Fault("reset_before"),
        Fault("reset_after"),
        Fault("truncate"),
        Fault("garbage"),
        Fault("drip", seconds=0.2),
        Fault("hang", seconds=1.5),
        Fault("hang_after", seconds=1.5),
    ]
    return [
        Fault(
            fault.kind,
            method=chance.choice([None, None, "POST", "PATCH", "GET"]),
            times=4 if fault.kind.startswith("hang") else None,
            probability=chance.uniform(0.02, 0.1),
            seed=chance.randrange(10**6),
            status=fault.status,
            seconds=fault.seconds,
            headers=fault.headers,
        )
        for fault in chance.sample(every, kinds)
    ]


# The model


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _list(value: Any) -> set[str]:
    if isinstance(value, str):
        value = json.loads(value) if value.startswith("[") else [value]
    return set(value or ())


def check_entity(scenario: Scenario, entity: Entity, held: list[Message], covered: int) -> None:
    """Compare what Outreach holds of an entity with the model, as far as STATE covers its rows."""
    rows = scenario.rows_of(entity)
    must = [values for at, values in rows if at < covered]
    where = f"seed {scenario.seed}: {entity.object} {entity.number}, STATE at {covered}"
    if not must and entity not in scenario.seeded:
        assert len(held) <= 1, f"{where}: doubled"
        return
    assert len(held) == 1, f"{where}: is there {len(held)} times"
    attributes = held[0]["attributes"]
    for column, name in SCALARS[entity.object].items():
        said = [(at, _text(values.get(column))) for at, values in rows]
        given = [(at, text) for at, text in said if text is not None]
        before = [text for at, text in given if at < covered]
        allowed: set[str | None] = {text for at, text in given if at >= covered}
        allowed.add(before[-1] if before else None)
        assert attributes[name] in allowed, f"{where}: {name} is {attributes[name]!r}"
    tags = set(attributes["tags"] or ())
    assert tags >= set().union(*(_list(values.get("tags")) for values in must)), f"{where}: tags"
    assert tags <= set().union(*(_list(values.get("tags")) for _, values in rows)), f"{where}: tags"
    if entity.object == "prospects":
        emails = [address.lower() for address in attributes["emails"]]
        assert len(emails) == len(set(emails)), f"{where}: an address twice"
        wanted = {a.lower() for values in must for a in _list(values["emails"])}
        assert wanted <= set(emails), f"{where}: emails"


def check(scenario: Scenario, sandbox: Sandbox, covered: int) -> None:
    """Check all entities, and that there is nothing else."""
    for name in ("prospects", "accounts"):
        held: dict[str, list[Message]] = {}
        for resource in sandbox.store.all(name):
            attributes = resource["attributes"]
            keys = (
                {a.lower() for a in attributes["emails"]}
                if name == "prospects"
                else {attributes["name"]}
            )
            for key in keys:
                held.setdefault(key, []).append(resource)
        known = {e.key: e for e in [*scenario.entities, *scenario.seeded] if e.object == name}
        strangers = [key for key in held if key not in known and not key.startswith("second")]
        assert not strangers, f"seed {scenario.seed}: {strangers} came from nowhere"
        for key, entity in known.items():
            check_entity(scenario, entity, held.get(key, []), covered)


def check_report(scenario: Scenario, report: Message, code: int) -> None:
    """Check that the sum holds and that the exit code fits it."""
    outcomes = ("created", "updated", "unchanged", "superseded", "skipped", "rejected", "unsettled")
    rejected = 0
    for counts in report["streams"].values():
        assert counts["received"] == sum(counts[name] for name in outcomes), scenario.seed
        rejected += counts["rejected"]
        if code in {0, 3}:
            assert counts["unsettled"] == 0, scenario.seed
    if code in {0, 3}:
        assert code == (3 if rejected else 0), scenario.seed


# Running


@dataclass(slots=True)
class Outcome:
    """How one run of the target ended."""

    code: int
    states: list[int]
    report: Message | None


class Runner:
    """Runs the target on a scenario, in this process or as one of its own that is killed."""

    def __init__(self, scenario: Scenario, sandbox: Sandbox, folder: Path, *, kill: bool) -> None:
        self._scenario = scenario
        self._sandbox = sandbox
        self._folder = folder
        self.kill = kill
        self._chance = random.Random(~scenario.seed)  # noqa: S311 - idem

    def run(self, start: int, turn: int) -> Outcome:
        """Run once from a row on."""
        report_path = self._folder / f"report {turn}.json"
        config = {name: v for name, v in self._scenario.settings.items() if v is not None} | {
            "access_token": "invented",
            "api_url": self._sandbox.api_url,
            "rejects_path": str(self._folder / "rejects"),
            "report_path": str(report_path),
        }
        text = "".join(json.dumps(one) + "\n" for one in self._scenario.messages(start))
        code, out = self._killed(config, text) if self.kill else self._inside(config, text)
        states = [json.loads(line)["at"] for line in out.splitlines() if line.endswith("}")]
        report = json.loads(report_path.read_text("utf-8")) if report_path.exists() else None
        return Outcome(code, states, report)

    @staticmethod
    def _inside(config: Message, text: str) -> tuple[int, str]:
        out = io.StringIO()
        faulthandler.dump_traceback_later(SLOWEST_RUN, exit=True)
        try:
            with redirect_stdout(out):
                code = run(TargetOutreach(config=config), io.StringIO(text))
        finally:
            faulthandler.cancel_dump_traceback_later()
        return int(code), out.getvalue()

    def _killed(self, config: Message, text: str) -> tuple[int, str]:
        path = self._folder / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "target_outreach", "--config", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        number = self._chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
        if number is not None:
            after = self._sandbox.request_count + self._chance.randint(1, 60)
            waiting = threading.Thread(target=self._kill_at, args=(process, after, number))
            waiting.start()
        out, _ = process.communicate(text, timeout=SLOWEST_RUN)
        if number is not None:
            waiting.join()
        return process.returncode, out

    def _kill_at(self, process: subprocess.Popen[str], requests: int, number: int) -> None:
        while process.poll() is None:
            if self._sandbox.request_count >= requests:
                time.sleep(self._chance.random() / 50)
                process.send_signal(number)
                return
            time.sleep(0.001)


def play(seed: int, folder: Path, *, kill: bool = False) -> list[int]:
    """Play a scenario to its end, checking after each run; return the exit codes."""
    scenario = invent(seed, kill=kill)
    codes: list[int] = []
    with Sandbox(folder / "outreach.db", scenario.profile, faults=scenario.faults) as sandbox:
        for entity in scenario.seeded:
            own: Message = {"emails": [entity.key]}
            if entity.object == "accounts":
                own = {"name": entity.key}
            sandbox.store.seed(entity.object, own | {"createdAt": LONG_AGO})
        runner = Runner(scenario, sandbox, folder, kill=kill)
        start = 0
        for turn in range(MOST_RUNS):
            if turn == MOST_RUNS - 2:
                sandbox.clear_faults()
                scenario.settings["max_requests"] = None
                runner.kill = False
            outcome = runner.run(start, turn)
            codes.append(outcome.code)
            assert outcome.states == sorted(outcome.states), f"seed {seed}: STATE out of order"
            start = outcome.states[-1] if outcome.states else start
            check(scenario, sandbox, start)
            allowed = {0, 1, 3, 4} | ({-9, 130, 143, -2, -15} if kill else set())
            assert outcome.code in allowed, f"seed {seed}: exit code {outcome.code}"
            if outcome.report is not None:
                check_report(scenario, outcome.report, outcome.code)
            if outcome.code in {0, 3}:
                assert start == len(scenario.rows), f"seed {seed}: the last STATE is missing"
                return codes
    pytest.fail(f"seed {seed}: no end after {MOST_RUNS} runs: {codes}")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between tries."""
    monkeypatch.setattr(writing, "SECOND_LOOK_AFTER", 0.05)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(client, "LONGEST_THROTTLE", 0.2)


@pytest.mark.parametrize("kill", [False, True], ids=["faults", "kills"])
@pytest.mark.parametrize("seed", SEEDS)
def test_outreach_holds_what_the_model_says(tmp_path: Path, seed: int, kill: bool) -> None:  # noqa: FBT001
    play(seed, tmp_path, kill=kill)


def main() -> None:
    """Play many seeds and say which fail."""
    writing.SECOND_LOOK_AFTER = 0.05
    client.LONGEST_WAIT = client.LONGEST_THROTTLE = 0.2
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                said: Any = play(seed, Path(folder), kill="kill" in sys.argv)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                said = f"FAIL {error}".splitlines()[0]
        print(seed, f"{time.monotonic() - began:.1f}", said, flush=True)


if __name__ == "__main__":
    main()
