"""A model of what Outreach must hold, and real runs of the target that are compared with it.

`Tap` is all that a tap has sent so far. `Model` says what Outreach must hold as far as a STATE
covers the tap's rows, and what it may hold beyond that. `Sync` runs the target from the last STATE,
each time as a process of its own that can be killed, and compares: at each STATE, as it comes out,
and at the end of the run. Processes are forked from one that has imported all, in milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from processes import CONTEXT, prepare

from target_outreach import bounds
from target_outreach.cli import main
from target_outreach.engine import resolver
from target_outreach.outreach import outages
from target_outreach.records.schemas import curated_schema
from target_outreach.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from target_outreach.sandbox import Exchange
    from target_outreach.sandbox.profile import Profile

Message = dict[str, Any]
Object = Literal["prospects", "accounts"]
Told = Literal["text", "null", "blank", "absent"]

SLOWEST_RUN = 60.0
LONG_AGO = "2020-01-01T00:00:00.000Z"
TEXT = {"type": ["null", "string"]}
LIST = {"type": ["null", "array", "string"], "items": TEXT}
COLUMNS: dict[str, Message] = {
    "prospects": {
        "row_key": TEXT,
        "emails": LIST,
        "github_username": TEXT,
        "title": TEXT,
        "last_name": TEXT,
        "tags": LIST,
    },
    "accounts": {
        "row_key": TEXT,
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
#: An attribute of each object that no column maps, so that only people change it.
UNMAPPED = {"prospects": "addressCity", "accounts": "locality"}
FLAWS: dict[str, list[Message]] = {
    "prospects": [
        {"emails": "nope"},
        {"emails": None},
        {"emails": []},
        {"emails": ["a@x.test", "b@"]},
        {"emails": 7},
        {"last_name": 7},
    ],
    "accounts": [{"name": None}, {"name": " "}, {"name": 7}, {"description": 7}],
}
EVERY_FAULT = (
    *(Fault("status", status=status) for status in (429, 500, 502, 503, 504)),
    *(Fault("status_after", status=status) for status in (500, 502, 504)),
    Fault("status", status=503, headers=(("Retry-After", "1"),)),
    Fault("status", status=429, headers=(("Retry-After", "1"),)),
    Fault("reset_before"),
    Fault("reset_after"),
    Fault("truncate"),
    Fault("garbage"),
    Fault("delay", seconds=0.2),
    Fault("drip", seconds=0.2),
    Fault("hang", seconds=2.5),
    Fault("hang_after", seconds=2.5),
)
#: Refuse a write for longer than `SHORT_FRESHNESS`; while they do, somebody else acts.
LONG_WAIT = ("Retry-After", "2")
LONG_REFUSALS = tuple(
    Fault("status", method=method, status=status, headers=(LONG_WAIT,))
    for method in ("POST", "PATCH")
    for status in (429, 503)
)
SHORT_FRESHNESS = 1.0

#: What records of another organisation are called, which no run may touch.
STRANGER = "stranger"
STREAMS = [
    {"stream": "c-prospects", "sync_mode": "update", "match_on": ["githubUsername"]},
    {"stream": "c-accounts", "sync_mode": "update", "match_on": ["customId"]},
]

#: So many requests that fail, in whatever order, no run may fail of.
FEWER_THAN_TRIES = bounds.CREATE_TRIES - 1

for name in COLUMNS:
    curated_schema(name)  # compiled once, here and in the process that all runs are forked from


@dataclass(frozen=True, slots=True)
class Entity:
    """One person or company.

    Attributes:
        object: What it is.
        number: Makes its keys its own.
        is_known: Whether Outreach holds all its keys from the beginning, so that a row may name
            any one of them alone.
    """

    object: Object
    number: int
    is_known: bool = False

    def __repr__(self) -> str:
        return f"Entity({self.object!r}, {self.number}{', is_known=True' * self.is_known})"

    @property
    def key(self) -> str:
        return f"p{self.number}@x.test" if self.object == "prospects" else f"company {self.number}"

    @property
    def second(self) -> str:
        """Another address of the same person."""
        return f"second{self.number}@x.test"

    @property
    def own(self) -> Message:
        """The attributes by which Outreach knows it."""
        if self.object == "prospects":
            if not self.is_known:
                return {"emails": [self.key]}
            return {"emails": [self.key, self.second], "githubUsername": f"G{self.number}"}
        more = {"domain": f"d{self.number}.test", "customId": f"C{self.number}"}
        return {"name": self.key} | (more if self.is_known else {})

    def columns(self, forms: Collection[str], stream: str = "a") -> Message:
        """Write the columns that identify it, in one of the forms that taps send."""
        if stream == "c":
            if self.object == "prospects":
                return {"github_username": f"G{self.number}"}
            return {"custom_id": f"C{self.number}"}
        key = self.key.upper() if "upper" in forms else self.key
        is_alias = self.is_known and "alias" in forms
        if self.object == "prospects":
            emails = [key, self.second] if "second" in forms else [key]
            emails = emails[::-1] if "reversed" in forms else emails
            emails = [self.second] if is_alias else emails
            return {"emails": json.dumps(emails) if "text" in forms else emails}
        more = {"domain": f"d{self.number}.test", "custom_id": f"C{self.number}"}
        if is_alias:
            name = "domain" if "domain" in forms else "custom_id"
            return {name: more[name]}
        return {"name": key} | {name: value for name, value in more.items() if name in forms}


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before its place is known; its texts then name that place.

    Attributes:
        entity: Whom it is about.
        stream: ``a``, ``b`` or ``c``: there are three streams for each object. The last one matches
            by another field, in which only some have a value from the beginning.
        forms: How it says whom it is about.
        told: What it tells in the object's scalar columns.
        tags: What it tells in that column.
        flaw: Which of the object's flaws it has, if any.
    """

    entity: Entity
    stream: Literal["a", "b", "c"] = "a"
    forms: frozenset[str] = frozenset()
    told: tuple[Told, Told] = ("text", "absent")
    tags: Any = None
    flaw: int | None = None

    def at(self, position: int, *, is_wide: bool) -> Row:
        """Write the row."""
        name = self.entity.object
        letter = self.stream
        if letter == "c" and (self.flaw is not None or not self.entity.is_known):
            letter = "a"
        stream = f"{letter}-{name}"
        values = self.entity.columns(() if self.flaw is not None else self.forms, letter)
        values["row_key"] = repr(self.entity) if self.flaw is None else f"flawed {position}"
        texts = {"text": f"row {position}", "null": None, "blank": " "}
        for column, told in zip(SCALARS[name], self.told, strict=True):
            if told in texts:
                values[column] = texts[told]
        if self.tags is not None:
            values["tags"] = self.tags
        if self.flaw is None:
            return Row(stream, values, self.entity, is_wide)
        flaws = FLAWS[name]
        values |= {next(iter(SCALARS[name])): f"bad {position}"} | flaws[self.flaw % len(flaws)]
        return Row(stream, values, None, is_wide)


@dataclass(frozen=True, slots=True)
class Row:
    """A RECORD; one without an entity cannot be delivered."""

    stream: str
    values: Message
    entity: Entity | None
    is_wide: bool

    def schema(self, keys: list[str]) -> Message:
        """Write the SCHEMA that it comes under: now and then with a column more."""
        properties = COLUMNS[self.stream.rpartition("-")[2]]
        return {
            "type": "SCHEMA",
            "stream": self.stream,
            "schema": {
                "type": "object",
                "properties": properties | ({"unmapped": TEXT} if self.is_wide else {}),
            },
            "key_properties": keys,
        }


@dataclass(slots=True)
class Tap:
    """All rows of the source, and where STATE comes; its value is the number of rows before it.

    Attributes:
        keys: The key properties that it tells, where it tells any.
    """

    keys: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    states: set[int] = field(default_factory=lambda: {0})
    _about: dict[Entity, list[tuple[int, Message]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, drafts: Iterable[Draft], states: Collection[int], *, is_wide: bool) -> None:
        """Append rows, with a STATE after those at the positions in `states`, and at the end."""
        for number, draft in enumerate(drafts):
            row = draft.at(len(self.rows), is_wide=is_wide)
            if row.entity is not None:
                self._about[row.entity].append((len(self.rows), row.values))
            self.rows.append(row)
            if number in states:
                self.states.add(len(self.rows))
        self.states.add(len(self.rows))

    def about(self, entity: Entity, start: int) -> list[tuple[int, Message]]:
        """List the rows about somebody from a position on, each with its position."""
        return [pair for pair in self._about.get(entity, ()) if pair[0] >= start]

    def messages(self, start: int) -> Iterable[Message]:
        """Write what a run reads that begins at a position."""
        told: dict[str, bool] = {}
        for position, row in enumerate(self.rows[start:], start):
            if told.get(row.stream) != row.is_wide:
                told[row.stream] = row.is_wide
                yield row.schema(self.keys)
            yield {"type": "RECORD", "stream": row.stream, "record": row.values}
            if position + 1 in self.states:
                yield {"type": "STATE", "value": {"at": position + 1}}
        if start == len(self.rows):
            yield {"type": "STATE", "value": {"at": start}}

    def flawed(self, start: int, end: int) -> list[int]:
        """List the positions of the rows between two positions that cannot be delivered."""
        return [at for at in range(start, end) if self.rows[at].entity is None]


class Model:
    """What Outreach must hold, beginning with what it held at the last look.

    Args:
        sandbox: Outreach.
        tap: What is sent.
        entities: Everybody that there may be.
        clears: Whether `on_null` is ``clear``.
        remembers: Whether a memory decides, so that a row that comes again writes nothing, whatever
            others have done meanwhile.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        tap: Tap,
        entities: Collection[Entity],
        *,
        clears: bool,
        remembers: bool,
    ) -> None:
        self._sandbox = sandbox
        self._tap = tap
        self._entities = entities
        self._clears = clears
        self._remembers = remembers
        self._strangers: list[Message] | None = None
        self.deleted: set[Entity] = set()
        self._by_key = {entity.key: entity for entity in entities}
        self._by_key |= {one.second: one for one in entities if one.object == "prospects"}
        self._before: dict[Entity, Message] = {}
        self._since = 0

    def look(self, start: int) -> None:
        """Take what Outreach holds for the beginning; the next run starts at that row."""
        self._since = start
        self._before = {entity: held[0] for entity, held in self._held().items()}

    def entity(self, attributes: Message) -> Entity:
        """Say whom attributes are about."""
        key = (attributes.get("emails") or [attributes.get("name")])[0]
        return self._by_key[key.lower()]

    def is_there(self, entity: Entity) -> bool:
        """Whether Outreach holds somebody."""
        return entity in self._held()

    def edited(self, entity: Entity, edit: Message) -> None:
        """Note what somebody else has changed since the last check; none of it may be lost."""
        before = self._before.setdefault(entity, {})
        before |= edit | {"tags": [*(before.get("tags") or ()), *edit.get("tags", ())]}

    def check(self, covered: int) -> None:
        """Compare all that Outreach holds with the rows, of which a STATE covers the first ones.

        Raises:
            AssertionError: Something is lost, doubled, damaged or of unknown origin.
        """
        held = self._held()
        for entity in self._entities:
            self._check(entity, held.get(entity, []), covered)

    def _held(self) -> dict[Entity, list[Message]]:
        held: defaultdict[Entity, list[Message]] = defaultdict(list)
        strangers: list[Message] = []
        for name in ("prospects", "accounts"):
            for resource in self._sandbox.store.all(name):
                attributes = resource["attributes"]
                keys = attributes["emails"] if name == "prospects" else [attributes["name"]]
                if keys[0].startswith(STRANGER):
                    strangers.append(resource)
                    continue
                assert all(key.lower() in self._by_key for key in keys), f"{keys} from nowhere"
                for entity in {self._by_key[key.lower()] for key in keys}:
                    held[entity].append(attributes)
        if self._strangers is None:
            self._strangers = strangers
        assert strangers == self._strangers, "strangers were changed"
        return held

    def _check(self, entity: Entity, held: list[Message], covered: int) -> None:
        rows = self._tap.about(entity, self._since)
        due = [values for at, values in rows if at < covered]
        late = [values for at, values in rows if at >= covered]
        where = f"{entity}, STATE at {covered}"
        assert len(held) <= 1, f"{where}: is there {len(held)} times"
        may_be_away = self._remembers and entity in self.deleted and entity not in self._before
        if (due or entity in self._before) and not may_be_away:
            assert held, f"{where}: is lost"
        for now in held:
            before = self._before.get(entity, {})
            self._check_scalars(entity, now, before, due, late)
            rows = {"now": now, "before": before, "due": due, "late": late}
            _check_growth("tags", where, **rows, is_open=self._clears or self._remembers)
            if entity.object == "prospects":
                _check_growth("emails", where, **rows, is_open=self._remembers)
            name = UNMAPPED[entity.object]
            assert now[name] == before.get(name), f"{where}: {name} is nobody's to change"

    def _check_scalars(
        self,
        entity: Entity,
        now: Message,
        before: Message,
        due: list[Message],
        late: list[Message],
    ) -> None:
        """Check that the last write that STATE covers has won, unless a later one has."""
        for column, name in SCALARS[entity.object].items():
            won = [before.get(name), *self._given(due, column)]
            allowed = [*(won if self._remembers else won[-1:]), *self._given(late, column)]
            assert now[name] in allowed, f"{entity}: {name} is {now[name]!r}, not in {allowed}"

    def _given(self, rows: Iterable[Message], column: str) -> list[str | None]:
        """List what rows say in a column, blank text being null."""
        told = [values[column] for values in rows if column in values]
        texts = [text if text and text.strip() else None for text in told]
        return texts if self._clears else [text for text in texts if text is not None]


def _check_growth(
    name: str,
    where: str,
    *,
    now: Message,
    before: Message,
    due: list[Message],
    late: list[Message],
    is_open: bool = False,
) -> None:
    """Check an array that rows add to; where null clears it, only that nothing is foreign in it."""
    items = _items(now[name])
    assert len(items) == len(now[name] or ()), f"{where}: {name} repeats itself: {now[name]}"
    had = _items(before.get(name)).union(*(_items(row.get(name)) for row in due))
    assert is_open or items >= had, f"{where}: {name} lacks {had - items}"
    may = had.union(*(_items(row.get(name)) for row in late))
    assert items <= may, f"{where}: {name} has {items - may}"


def _items(value: Any) -> set[str]:
    """Read an array, or text that stands for one, without regard to case."""
    if isinstance(value, str):
        value = json.loads(value) if value.startswith("[") else [value]
    return {item.lower() for item in value or ()}


# Runs


@dataclass(frozen=True, slots=True)
class Kill:
    """A signal that comes with the answer to a request, or with a STATE.

    Attributes:
        signal: Its number.
        event: What it comes with.
        count: With which one, counted from one.
    """

    signal: signal.Signals
    event: Literal["answer", "STATE"]
    count: int

    @property
    def exit_code(self) -> int:
        """How a run ends by it."""
        return -self.signal if self.signal == signal.SIGKILL else 128 + self.signal


class Trap:
    """Sends a signal to a process when enough has happened; hears of the sandbox's answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill: Kill | None = None
        self._pid = 0
        self._left = 0

    def set(self, kill: Kill | None, pid: int) -> None:
        """Wait for the moment of a kill, or stop waiting."""
        with self._lock:
            self._kill, self._pid, self._left = kill, pid, kill.count if kill else 0

    def __call__(self, _exchange: object) -> None:
        """Hear that an answer is about to be sent."""
        self.happened("answer")

    def happened(self, event: str) -> None:
        """Hear of an answer or a STATE."""
        with self._lock:
            if self._kill is None or self._kill.event != event:
                return
            self._left -= 1
            if self._left == 0:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, self._kill.signal)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run left behind; the report is None where it was killed before it wrote one."""

    exit_code: int
    report: Message | None


def _be_the_target(
    config: str, log: str, freshness: float, stdin: Connection, stdout: Connection
) -> None:
    """Become ``target-outreach --config``, waiting less between tries."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600), 2)
    stdin.close()
    stdout.close()
    sys.stdin = os.fdopen(0, encoding="utf-8")
    bounds.LATER_LOOKS = (0.15, 0.45, 1.35)
    resolver.FRESH = freshness
    outages.LONGEST_WAIT = outages.LONGEST_THROTTLE = 0.2
    main(["--config", config])


class Sync:
    """A tap, the target and a sandbox, from run to run.

    Args:
        folder: Where all files go.
        profile: How Outreach behaves.
        entities: Everybody that there may be.
        settings: The target's settings.
        tap: What is sent; None for a new one.

    Attributes:
        sandbox: Outreach.
        tap: What is sent.
        start: The row that the next run begins with, by the last STATE.
    """

    def __init__(
        self,
        folder: Path,
        profile: Profile,
        entities: Collection[Entity],
        tap: Tap | None = None,
        **settings: Any,
    ) -> None:
        prepare()
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._settings = settings
        self._runs = 0
        self._trap = Trap()
        self.sandbox = Sandbox(
            folder / "outreach.db", profile, observer=self._observe, clock=self._clock
        ).start()
        self.tap = tap or Tap()
        self.start = 0
        #: Somebody else acts while the model is not looking, and is counted.
        self._lock = threading.RLock()
        self._acts = 0
        self._made = 0
        #: The requests of this run, each with its answer.
        self._exchanges: list[str] = []
        self._model = Model(
            self.sandbox,
            self.tap,
            entities,
            clears=settings.get("on_null") == "clear",
            remembers="memory_path" in settings,
        )

    def close(self) -> None:
        """Stop the sandbox."""
        self.sandbox.stop()

    def _clock(self) -> float:
        """Say what time it is in Outreach, whose clock is ahead, and where runs are hours apart."""
        return time.time() + 3600 * self._runs

    def _observe(self, exchange: Exchange) -> None:
        """Hear of an answer; where it refuses a write for long, somebody else acts meanwhile."""
        if LONG_WAIT in exchange.headers and exchange.method in {"POST", "PATCH"}:
            with self._lock:
                self._act(exchange)
        self._exchanges.append(_told(exchange))
        self._trap(exchange)

    def _act(self, exchange: Exchange) -> None:
        name, *number = exchange.url.partition("/api/v2/")[2].partition("?")[0].split("/")
        store = self.sandbox.store
        self._acts += 1
        if number:
            held = store.get(name, int(number[0]))["attributes"]
            edit = {"tags": [f"rep {self._acts}"], UNMAPPED[name]: f"rep {self._acts}"}
            store.update(name, int(number[0]), edit | {"tags": [*held["tags"], *edit["tags"]]})
            self._model.edited(self._model.entity(held), edit)
            return
        entity = self._model.entity(json.loads(exchange.request_body)["data"]["attributes"])
        if not self._model.is_there(entity):
            self._made += 1
            made = store.seed(name, entity.own | {"createdAt": LONG_AGO})
            self._model.edited(entity, store.get(name, made)["attributes"])

    def deleted(self, entity: Entity) -> None:
        """Hear that somebody else has deleted somebody."""
        self._model.deleted.add(entity)

    def begin_at(self, start: int) -> None:
        """Let the next run begin with a row; what Outreach holds now is right."""
        self.start = start
        self._model.look(start)

    def run(
        self,
        kill: Kill | None = None,
        *,
        may_fail: bool = False,
        freshness: float = resolver.FRESH,
        **settings: Any,
    ) -> Ending:
        """Run the target from the last STATE and compare.

        Args:
            kill: When to kill it.
            may_fail: Whether so much goes wrong that it may give up.
            freshness: Seconds after which what was read is read again before a write rests on it.
            settings: Settings of this run.

        Raises:
            AssertionError: Something is not as it should be.
        """
        self.begin_at(self.start)
        self._runs += 1
        self._exchanges = []
        try:
            return self._compared(self._config(settings), kill, freshness, may_fail=may_fail)
        except AssertionError as error:
            error.add_note("\n".join(["The run:", self._log(), *self._exchanges]))
            raise

    def _compared(
        self, config: Message, kill: Kill | None, freshness: float, *, may_fail: bool
    ) -> Ending:
        before, self._made = self._count(), 0
        ending = self._run(config, kill, freshness)
        # A request of a dead process may still be under way; what it does belongs to this run.
        self.sandbox.stop()
        self.sandbox.start()
        self._model.check(self._covered)
        allowed = self._exit_codes(config, kill, may_fail=may_fail)
        assert ending.exit_code in allowed, f"exit code {ending.exit_code}"
        if ending.report is not None:
            added = self._count() - before - self._made
            self._check_report(ending, config, added, is_sure=freshness != SHORT_FRESHNESS)
        self.begin_at(self._covered)
        return ending

    def _log(self) -> str:
        path = self._folder / f"log {self._runs}"
        return path.read_text("utf-8") if path.exists() else ""

    def _count(self) -> int:
        return sum(self.sandbox.store.count(name) for name in ("prospects", "accounts"))

    def _config(self, settings: Message) -> Message:
        config = {
            "access_token": "invented",
            "api_url": self.sandbox.api_url,
            "rejects_path": str(self._folder / "rejects"),
            "report_path": str(self._folder / f"report {self._runs}.json"),
            "request_timeout_seconds": 2,
            "streams": STREAMS,
        }
        return config | self._settings | settings

    def _run(self, config: Message, kill: Kill | None, freshness: float) -> Ending:
        path, log = (self._folder / f"{name} {self._runs}" for name in ("config", "log"))
        path.write_text(json.dumps(config), encoding="utf-8")
        text = "".join(json.dumps(one) + "\n" for one in self.tap.messages(self.start))
        with ExitStack() as stack:
            theirs_in, ours_in = CONTEXT.Pipe(duplex=False)
            ours_out, theirs_out = CONTEXT.Pipe(duplex=False)
            stack.callback(ours_out.close)
            process = CONTEXT.Process(
                target=_be_the_target,
                args=(str(path), str(log), freshness, theirs_in, theirs_out),
            )
            process.start()
            stack.callback(process.close)
            stack.callback(process.join)
            theirs_in.close()
            theirs_out.close()
            self._trap.set(kill, process.pid or 0)
            stack.callback(self._trap.set, None, 0)
            stack.enter_context(_fed(ours_in, text))
            stack.callback(process.kill)  # where a check fails in the middle
            is_overdue = stack.enter_context(_Limited(process))
            self._read(ours_out, config)
            process.join()
            assert not is_overdue.is_set(), "no end"
            code = process.exitcode
        assert code is not None
        # Without its report, whether or not it had begun to write it.
        report = None if code == -signal.SIGKILL else Path(config["report_path"])
        told = json.loads(report.read_text("utf-8")) if report and report.exists() else None
        return Ending(code, told)

    def _read(self, stdout: Connection, config: Message) -> None:
        """Check each STATE as it comes."""
        self._covered = self.start
        with os.fdopen(os.dup(stdout.fileno()), encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    self._trap.happened("STATE")
                    self._check_state(json.loads(line)["at"], config)

    def _check_state(self, at: int, config: Message) -> None:
        assert at in self.tap.states, f"no tap has sent a STATE at {at}"
        assert at >= self._covered, f"a STATE at {at} after one at {self._covered}"
        self._covered = at
        with self._lock:
            self._model.check(at)
        flawed = self.tap.flawed(self.start, at)
        assert not flawed or not _holds(config), f"STATE at {at} passes the reject at {flawed[0]}"
        if flawed:
            lost = _counted(self._rows(flawed)) - _counted(self._rejected("*"))
            assert not lost, f"STATE at {at}, and not in a rejects file: {lost}"

    def _rows(self, positions: Iterable[int]) -> list[Message]:
        return [self.tap.rows[at].values for at in positions]

    def _reasons(self, ending: Ending) -> list[Message]:
        assert ending.report is not None
        lines = Path(ending.report["rejects_file"]).read_text("utf-8").splitlines()
        return [one["error"] for one in map(json.loads, lines) if "error" in one]

    def _rejected(self, name: str) -> list[Message]:
        """Read the records in the rejects files whose names fit."""
        lines = [
            line
            for path in (self._folder / "rejects").glob(name)
            for line in path.read_text("utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]
        messages = map(json.loads, lines)
        return [one["record"] for one in messages if one["type"] == "RECORD"]

    def _exit_codes(self, config: Message, kill: Kill | None, *, may_fail: bool) -> set[int]:
        flawed = self.tap.flawed(self.start, len(self.tap.rows))
        by_policy = {"fail": 3, "hold": 3, "ignore": 0, "abort": 1}
        codes = {by_policy[config.get("on_reject", "fail")] if flawed else 0}
        codes |= {kill.exit_code} if kill else set()
        codes |= {4} if config.get("max_requests") else set()
        return codes | ({1} if may_fail else set())

    def _check_report(self, ending: Ending, config: Message, added: int, *, is_sure: bool) -> None:
        """Check that the sum holds, and that a run that was not cut short has told all.

        What was created without an answer, and is planned anew since it has grown too old, may be
        told to be unchanged.
        """
        assert ending.report is not None
        outcomes = ("created", "updated", "unchanged", "superseded", "skipped", "rejected")
        sums: Counter[str] = Counter()
        for counts in ending.report["streams"].values():
            settled = sum(counts[name] for name in outcomes)
            assert counts["received"] == settled + counts["unsettled"], counts
            sums.update({name: counts[name] for name in (*outcomes, "received", "unsettled")})
        assert ending.report["requests"] <= (config.get("max_requests") or sys.maxsize)
        if ending.exit_code not in {0, 3}:
            return
        flawed = self.tap.flawed(self.start, len(self.tap.rows))
        assert ending.report["exit_code"] == ending.exit_code
        assert sums["received"] == len(self.tap.rows) - self.start, sums
        assert (sums["unsettled"], sums["skipped"]) == (0, 0), sums
        assert sums["rejected"] == len(flawed), (sums, flawed, self._reasons(ending))
        assert sums["created"] == added or (sums["created"] < added and not is_sure), (sums, added)
        file = ending.report["rejects_file"]
        assert (file is not None) == bool(flawed)
        if file is not None:
            assert _counted(self._rejected(Path(file).name)) == _counted(self._rows(flawed))
        if not (flawed and _holds(config)):
            assert self._covered == len(self.tap.rows), "the last STATE is missing"


def _told(exchange: Exchange) -> str:
    asked, answered = exchange.request_body[:300], exchange.body[:300]
    return (
        f"{time.time():.3f} {exchange.method} {exchange.url} {asked.decode(errors='replace')} -> "
        f"{exchange.status} {answered.decode(errors='replace')}"
    )


def _holds(config: Message) -> bool:
    return config.get("on_reject") in {"hold", "abort"}


def _counted(records: Iterable[Message]) -> Counter[str]:
    return Counter(json.dumps(record, sort_keys=True) for record in records)


class _Limited:
    """Kills a process that does not end, and tells so by an event."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self._overdue = threading.Event()
        self._timer = threading.Timer(SLOWEST_RUN, self._end)

    def __enter__(self) -> threading.Event:
        self._timer.start()
        return self._overdue

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def _end(self) -> None:
        self._overdue.set()
        self._process.kill()


def _fed(stdin: Connection, text: str) -> ExitStack:
    """Write into a pipe, which is closed then, while others read from it."""
    stack = ExitStack()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(os.dup(stdin.fileno()), "w") as pipe:
            stdin.close()
            pipe.write(text)

    feeder = threading.Thread(target=feed)
    feeder.start()
    stack.callback(feeder.join)
    return stack
