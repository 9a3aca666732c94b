"""A day of hourly runs over a table that changes, while people work in Outreach.

Tokens end and rotate, one is revoked, another client spends the budget, a maintenance breaks a run
off. In the end Outreach holds what is promised, the reports add up, and the day has cost what
`target-outreach cost` estimates.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections import Counter
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lines, record, schema, state

from target_outreach.cli import run
from target_outreach.commands.cost import Sync, requests_of
from target_outreach.outreach.auth.renewal import RenewedToken
from target_outreach.outreach.auth.token_endpoint import TokenEndpoint
from target_outreach.sandbox import Fault, Sandbox
from target_outreach.sandbox.apps import SANDBOX_APP
from target_outreach.sandbox.profile import Profile
from target_outreach.sandbox.resources import Change
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_outreach.records.rules import ChangeDetection
    from target_outreach.sandbox.messages import Exchange

HOUR = 3600
BEGIN = int(datetime(2026, 3, 30, tzinfo=UTC).timestamp())
OUTCOMES = ("created", "updated", "unchanged", "superseded", "skipped", "rejected", "unsettled")
REFUSALS = {None, 401, 429, 503}
COMPANIES = 40

#: The hours in which something happens.
REVOKED, OUTAGE, MAINTENANCE, SHARED = 1, 2, 3, 4

#: Requests that another client of the same user leaves for the last seconds of an hour.
LEFT_BY_OTHERS = 12


@dataclass(frozen=True)
class Scale:
    """How large a day is.

    Attributes:
        rows: Rows in the table when the day begins.
        hours: Runs, one an hour.
        changed: Rows that change or appear in an hour.
        edited: Prospects that people edit in an hour, of which the table says something else.
    """

    rows: int
    hours: int
    changed: int
    edited: int


SMALL = Scale(rows=2000, hours=6, changed=300, edited=30)
MEDIUM = Scale(rows=2000, hours=24, changed=200, edited=20)
LARGE = Scale(rows=10_000, hours=24, changed=200, edited=20)
WHOLE = Scale(rows=50_000, hours=24, changed=500, edited=40)
#: Under `none` a run writes each row, and 50,000 of them are five hours' worth of the limit.
EACH_ROW = Scale(rows=1000, hours=8, changed=10, edited=5)

# The longest comes first, so that others run at the same time.
DAYS: list[tuple[ChangeDetection, Scale]] = [("drift", SMALL)]
if os.environ.get("WHOLE_DAY"):
    DAYS = [("outreach", WHOLE), ("drift", WHOLE), ("source", WHOLE), ("none", EACH_ROW)]
elif os.environ.get("CI"):
    DAYS = [("source", LARGE), ("drift", MEDIUM), ("outreach", MEDIUM), ("none", EACH_ROW)]


class Clock:
    """Tells the target and Outreach what time it is; once set, it stays until it is released."""

    def __init__(self) -> None:
        self._moment, self._since = float(BEGIN), None

    def __call__(self) -> float:
        since = self._since
        return self._moment if since is None else self._moment + time.monotonic() - since

    def set(self, moment: float) -> None:
        self._moment, self._since = moment, None

    def go(self) -> None:
        if self._since is None:
            self._since = time.monotonic()


@dataclass
class Row:
    """A row of the table, the addresses that it has had, and the line that it is sent as."""

    id: int
    addresses: list[str]
    title: str
    line: str = ""

    def __post_init__(self) -> None:
        self.write()

    def write(self) -> None:
        values = {"id": self.id, "emails": self.addresses[-1], "title": self.title}
        self.line = lines([record("prospects", first_name="Ada", **values)])

    @property
    def is_quiet(self) -> bool:
        """Whether the table leaves it as it was when the day began."""
        return self.id % 10 == 7


class Table:
    """What the tap sends.

    Attributes:
        rows: The people.
        companies: Their companies, by name.
        position: The row that the next run begins with, by the last STATE.
        due: Rows that are to be written: they have changed, or their prospects have.
    """

    def __init__(self, scale: Scale, chance: random.Random) -> None:
        self.scale, self.chance = scale, chance
        self.rows: list[Row] = []
        self.companies: dict[str, str] = {}
        self.position = 0
        self.due: set[int] = set()
        for _ in range(scale.rows):
            self.append(f"person.{len(self.rows):05}@example.test")
        self.lively = [row for row in self.rows if not row.is_quiet]
        self.quiet = [row for row in self.rows if row.is_quiet]

    def append(self, address: str) -> None:
        self.due.add(len(self.rows))
        self.rows.append(Row(len(self.rows), [address], f"title {len(self.rows)}"))

    def change(self, hour: int, known: list[str], moves: int) -> list[Row]:
        """Change some rows and add some, those of known addresses first; return the former."""
        new = self.scale.changed // 10
        changed = self.chance.sample(self.lively, self.scale.changed - new)
        for row in changed[moves:]:
            row.title = f"title {row.id} of hour {hour}"
        for row in changed[:moves]:
            row.addresses.append(f"moved.{row.id:05}.{hour:02}@example.test")
        for row in changed:
            row.write()
            self.due.add(row.id)
        for address in known:
            self.append(address)
        for _ in range(new - len(known)):
            self.append(f"person.{len(self.rows):05}@example.test")
        self.companies[f"Company {hour % COMPANIES}"] = f"industry of hour {hour}"
        return changed[moves:]

    def write(self, path: Path) -> int:
        """Write what a run sends, from the position on; return the number of people."""
        step = self.scale.rows // 10
        with path.open("w", encoding="utf-8") as file:
            file.write(lines([schema("accounts")]))
            for number in range(COMPANIES):
                name = f"Company {number}"
                industry = self.companies.get(name, "old")
                file.write(lines([record("accounts", id=number, name=name, industry=industry)]))
            file.write(lines([schema("prospects")]))
            for row in self.rows[self.position :]:
                file.write(row.line)
                if row.id % step == step - 1:
                    file.write(lines([state({"row": row.id + 1})]))
            file.write(lines([state({"row": 0})]))
        return len(self.rows) - self.position

    def resume(self, states: list[Any]) -> set[int]:
        """Take a run's last STATE; return which rows it covers that were due."""
        if not states:
            return set()
        begin, self.position = self.position, states[-1]["row"]
        end = self.position or len(self.rows)
        covered = {number for number in self.due if begin <= number < end}
        self.due -= covered
        return covered


class Day:
    """A table, Outreach, and the target between them, hour by hour."""

    def __init__(
        self, folder: Path, detection: ChangeDetection, scale: Scale, clock: Clock
    ) -> None:
        self.folder, self.detection, self.scale = folder, detection, scale
        self.chance = random.Random(scale.rows)  # noqa: S311 - repeatable
        self.clock = clock
        self.table = Table(scale, self.chance)
        self.sandbox = Sandbox(
            folder / "outreach.db",
            Profile(apps=[SANDBOX_APP], strict_rotation=True),
            observer=self._watch,
            clock=clock,
        )
        #: What people have made of titles of quiet rows.
        self.edits: dict[int, str] = {}
        self.strangers: list[str] = []
        self.counts: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.codes: list[int] = []
        self.requests = self.spent = self.estimate = 0

    @property
    def remembers(self) -> bool:
        return self.detection in {"source", "drift"}

    def begin(self) -> None:
        """Let Outreach hold the table since yesterday, and log in."""
        self.sandbox.start()
        with self.sandbox.store.transaction():
            for number in range(COMPANIES):
                company = {"name": f"Company {number}", "industry": "old"}
                self.sandbox.store.seed("accounts", company)
            for row in self.table.rows:
                self._make(row.addresses[0], row.title, BEGIN - 24 * HOUR)
        self.table.due.clear()
        self.config = {
            "client_id": SANDBOX_APP.client_id,
            "client_secret": SANDBOX_APP.client_secret,
            "redirect_uri": "http://127.0.0.1/callback",
            "refresh_token": self.sandbox.issue_refresh_token(),
            "credentials_path": str(self.folder / "credentials.json"),
            "api_url": self.sandbox.api_url,
            "max_outage_minutes": 0,
            "oauth_url": self.sandbox.oauth_url,
            "rejects_path": str(self.folder / "rejects"),
            "report_path": str(self.folder / "report.json"),
            "change_detection": self.detection,
        }
        if self.remembers:
            self.config["memory_path"] = str(self.folder / "memory.db")

    def _make(self, address: str, title: str, at: float) -> None:
        attributes = {"emails": [address], "firstName": "Ada", "title": title}
        self.sandbox.store.create("prospects", Change("seed", attributes, at=at))

    def _watch(self, _exchange: Exchange) -> None:
        """Let time pass from the first answer on, however long it took to come."""
        self.clock.go()

    def close(self) -> None:
        """Stop Outreach."""
        self.sandbox.stop()

    # Between two runs

    def work(self, hour: int) -> None:
        """Let the table change, and people edit and create in Outreach."""
        known = self.strangers[-1:]
        # Without a memory, somebody with another address is somebody else.
        changed = self.table.change(hour, known, moves=2 if self.remembers else 0)
        for row in self.chance.sample(self.table.quiet, self.scale.edited):
            self.edits[row.id] = f"edit of hour {hour}"
            self._edit(row, title=self.edits[row.id])
            if self.detection in {"outreach", "drift"}:
                self.table.due.add(row.id)
        self._edit(changed[0], title="edited just before it is overwritten")
        self._edit(self.table.quiet[hour], addressCity=f"city {hour:02}")
        for number in range(3):
            self.strangers.append(f"stranger.{hour:02}.{number}@example.test")
            self._make(self.strangers[-1], "stranger", self.clock())

    def _edit(self, row: Row, **attributes: str) -> None:
        self.sandbox.store.update("prospects", row.id + 1, attributes)  # seeded in this order

    # A run

    def pass_hour(self, hour: int) -> None:
        """Let an hour go by, and the target run at its fifth minute."""
        self.clock.set(BEGIN + HOUR * hour + 300)
        if hour > 0:
            self.work(hour)
        if hour == REVOKED:
            self.sandbox.revoke_all()
        elif hour == OUTAGE:
            lost = Fault("status_after", method="POST", path="/prospects")
            self.sandbox.add_fault(lost)
            self.sandbox.add_fault(Fault("status", after=5, times=5))
        elif hour == MAINTENANCE:
            self.sandbox.add_fault(Fault("status", after=self.scale.changed // 2, times=None))
        elif hour == SHARED:
            self.clock.set(BEGIN + HOUR * (hour + 1) - 3)
            self.sandbox.spend(10_000 - LEFT_BY_OTHERS)
        self.run(hour)
        self.sandbox.clear_faults()

    def run(self, hour: int) -> None:
        """Run the target as cron would, and note how it ended."""
        self.sandbox.requests.clear()
        path, rows = self.folder / "input.singer", len(self.table.rows) - self.table.position
        self.table.write(path)
        stdout = io.StringIO()
        with path.open(encoding="utf-8") as file, redirect_stdout(stdout):
            code = run(TargetOutreach(config=dict(self.config)), file)
        self._read_report(code)
        due = self.table.resume([json.loads(line) for line in stdout.getvalue().splitlines()])
        spent = self._look_at_requests()
        if code == 0:
            self.spent += spent
            self.estimate += self._estimated(hour, rows, due)
        elif self.detection != "none":
            self.table.due -= self._written()  # some beyond the last STATE

    def _read_report(self, code: int) -> None:
        """Add the report of a run to those before."""
        report = json.loads(Path(self.config["report_path"]).read_text(encoding="utf-8"))
        assert report["exit_code"] == code
        counts = report["streams"].get("prospects", {"received": 0})
        assert counts["received"] == sum(counts.get(name, 0) for name in OUTCOMES)
        self.counts.update({name: counts.get(name, 0) for name in ("received", *OUTCOMES)})
        self.codes.append(code)
        self.requests += report["requests"]

    def _look_at_requests(self) -> int:
        """Count the requests of the run; return how many were not refused."""
        api = [one for one in self.sandbox.requests if one.path.startswith("/api/")]
        people = [one for one in api if one.path.startswith("/api/v2/prospects")]
        self.answers.update(f"{one.method} {one.status}" for one in people)
        self.answers.update(all=len(api))
        return sum(one.status not in REFUSALS for one in api)

    def _written(self) -> set[int]:
        """List the rows that the run has written."""
        numbers = {row.addresses[-1]: row.id for row in self.table.rows[self.scale.rows :]}
        written = set()
        for one in self.sandbox.requests:
            if (one.method, one.status) == ("PATCH", 200):
                written.add(int(one.path.rpartition("/")[2]) - 1)
            elif (one.method, one.status) == ("POST", 201):
                (address,) = json.loads(one.body)["data"]["attributes"]["emails"]
                written.add(numbers[address])
        return written

    def _estimated(self, hour: int, rows: int, due: set[int]) -> int:
        """Ask the calculator what a run should cost."""
        # With a memory that is empty yet, each row is compared with Outreach.
        detection = "outreach" if self.remembers and hour == 0 else self.detection
        edited = len(due & self.edits.keys())
        known = self.sandbox.store.count("prospects")
        sync = Sync(rows, len(due) - edited, edited, known, address=25)
        people = requests_of(sync, detection)
        companies = requests_of(Sync(COMPANIES, min(hour, 1), 0, COMPANIES), detection)
        asked_twice = detection in {"source", "drift"}  # whose organisation it is
        return people + companies - asked_twice

    # The end of the day

    def promised(self) -> dict[str, tuple[list[str], str]]:
        """Say by its first address what Outreach should hold of each prospect."""
        held = {address: ([address], "stranger") for address in self.strangers}
        for row in self.table.rows:
            edited = self.edits.get(row.id) if self.detection == "source" else None
            held[row.addresses[0]] = (row.addresses, edited or row.title)
        return held


@pytest.fixture
def clock_of_the_target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Let the target keep the time of a day that goes by in minutes."""
    clock = Clock()
    for function in (RenewedToken.__init__, TokenEndpoint.__init__):
        monkeypatch.setitem(function.__kwdefaults__, "clock", clock)
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.05)
    return clock


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("detection", "scale"), DAYS, ids=[name for name, _ in DAYS])
def test_after_a_day_outreach_holds_what_is_promised_at_the_cost_that_was_estimated(
    tmp_path: Path, clock_of_the_target: Clock, detection: ChangeDetection, scale: Scale
) -> None:
    day = Day(tmp_path, detection, scale, clock_of_the_target)
    with closing(day):
        day.begin()
        for hour in range(scale.hours):
            day.pass_hour(hour)
        assert day.codes == [1 if hour == MAINTENANCE else 0 for hour in range(scale.hours)]
        check_outreach(day)
        check_reports(day)
        check_tokens(day)
    assert day.spent == pytest.approx(day.estimate, rel=0.02)


def check_outreach(day: Day) -> None:
    """Compare all that Outreach holds with what is promised: nothing lost, nothing doubled."""
    prospects = [one["attributes"] for one in day.sandbox.store.all("prospects")]
    held = {one["emails"][0]: (one["emails"], one["title"]) for one in prospects}
    assert len(held) == len(prospects)
    assert held == day.promised()
    cities = [one["addressCity"] for one in prospects if one["addressCity"]]
    assert sorted(cities) == [f"city {hour:02}" for hour in range(1, day.scale.hours)]
    companies = [one["attributes"] for one in day.sandbox.store.all("accounts")]
    industries = {one["name"]: one["industry"] for one in companies if one["industry"] != "old"}
    assert industries == day.table.companies


def check_reports(day: Day) -> None:
    """Compare what the runs have told, added up, with what Outreach has seen."""
    assert day.counts["received"] == sum(day.counts[name] for name in OUTCOMES)
    made_by_people = day.scale.rows + len(day.strangers)
    assert day.counts["created"] == day.sandbox.store.count("prospects") - made_by_people
    assert day.counts["updated"] == day.answers["PATCH 200"]
    assert day.counts["rejected"] == day.counts["skipped"] == 0
    assert day.requests == day.answers["all"]
    assert not [name for name in day.answers if name.endswith("429")]


def check_tokens(day: Day) -> None:
    """See that a token was got when one had ended, each for the refresh token of the last."""
    outcomes = Counter(one.outcome for one in day.sandbox.token_requests)
    assert [*outcomes] == ["issued"]
    assert outcomes["issued"] in range(day.scale.hours // 2, day.scale.hours // 2 + 3)
    assert day.sandbox.live_refresh_tokens == 1
