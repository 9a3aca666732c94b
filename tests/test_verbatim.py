"""Rows whose exact text a memory knows are not read again, and nothing else changes.

The last test holds runs with many rows a chunk against others in which every row is read, one at a
time: whatever comes, Outreach must hold the same afterwards.
"""

import io
import json
import random
import sqlite3
import time
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from conftest import lines, record, schema

from target_outreach import inbox
from target_outreach.records.mapping import StreamMapping
from target_outreach.running import run as run_target
from target_outreach.sandbox import Fault, Profile, Sandbox
from target_outreach.sinks import OutreachSink
from target_outreach.target import TargetOutreach

MANY = Profile(rate_limit=10**6)


@pytest.fixture
def memory(tmp_path):
    """The settings of a memory."""
    return {"change_detection": "source", "memory_path": str(tmp_path / "m.db")}


@pytest.fixture
def deliver(config, tmp_path, monkeypatch):
    """Run the target on a file, of which it reads a few rows at a time; return what it did."""

    def _deliver(messages, *, chunk_bytes=2000, **settings):
        monkeypatch.setattr(inbox, "CHUNK_BYTES", chunk_bytes)
        path = tmp_path / "input.singer"
        path.write_text(lines(messages), encoding="utf-8")
        merged = config | settings
        stdout = io.StringIO()
        with redirect_stdout(stdout), path.open(encoding="utf-8") as file:
            code = run_target(TargetOutreach(config=merged), file)
        report = json.loads(Path(merged["report_path"]).read_text("utf-8"))
        return code, report, stdout.getvalue()

    return _deliver


@pytest.fixture
def read_rows(monkeypatch):
    """Count how many rows are read and mapped."""
    counts = Counter()
    apply = StreamMapping.apply

    def counted(self, row):
        counts[self.object.name] += 1
        return apply(self, row)

    monkeypatch.setattr(StreamMapping, "apply", counted)
    return counts


def people(count, **attributes):
    rows = (record("prospects", id=n, emails=f"p{n}@x.test", **attributes) for n in range(count))
    return [schema("prospects"), *rows]


def in_outreach(count):
    return ({"emails": [f"p{n}@x.test"], "title": "T"} for n in range(count))


def outcomes(report, stream="prospects"):
    names = ("received", "created", "updated", "unchanged", "superseded", "rejected")
    return {name: n for name in names if (n := report["streams"][stream].get(name))}


@pytest.mark.slow
@pytest.mark.parametrize("detection", ["source", "drift"])
def test_rows_whose_text_is_as_before_are_not_read(deliver, sandbox, memory, read_rows, detection):
    memory["change_detection"] = detection
    sandbox.store.seed_many("prospects", in_outreach(5000))
    deliver(people(5000, title="T"), **memory)
    read_rows.clear()
    before = sandbox.request_count
    code, report, _ = deliver(people(5000, title="T"), batch_size_rows=20, **memory)
    assert code == 0
    assert outcomes(report) == {"received": 5000, "unchanged": 5000}
    assert read_rows["prospects"] < 2500  # the first ones, before anything is known
    assert sandbox.request_count - before <= 2


@pytest.mark.slow
def test_state_comes_with_rows_that_are_not_read(deliver, memory):
    messages = people(100, title="T")
    for number in (80, 50, 20):
        messages.insert(number + 1, {"type": "STATE", "value": {"rows": number}})
    deliver(messages, batch_size_rows=5, **memory)
    code, _, out = deliver(messages, batch_size_rows=5, **memory)
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {"rows": 80}


@pytest.mark.slow
def test_one_row_that_has_changed_is_written_and_the_rest_is_not_read_for_long(
    deliver, sandbox, memory, read_rows
):
    sandbox.store.seed_many("prospects", in_outreach(5000))
    deliver(people(5000, title="T"), **memory)
    read_rows.clear()
    rows = people(5000, title="T")
    rows[500] = record("prospects", id=499, emails="p499@x.test", title="new")
    _, report, _ = deliver(rows, batch_size_rows=20, **memory)
    assert outcomes(report) == {"received": 5000, "updated": 1, "unchanged": 4999}
    assert read_rows["prospects"] < 4000
    titles = [one["attributes"]["title"] for one in sandbox.store.all("prospects")]
    assert (titles.count("new"), titles.count("T")) == (1, 4999)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_bytes", [200, 1000, 10**6])
def test_an_old_row_that_follows_a_new_one_is_written(deliver, sandbox, memory, chunk_bytes):
    old, new = people(30, title="old"), people(30, title="new")
    deliver(old, **memory)
    rows = [*old, *new[1:], *old[1:]]
    deliver(rows, chunk_bytes=chunk_bytes, batch_size_rows=7, **memory)
    titles = {one["attributes"]["title"] for one in sandbox.store.all("prospects")}
    assert titles == {"old"}


def test_another_key_that_writes_the_same_person_has_the_row_looked_at(deliver, sandbox, memory):
    first = [schema("prospects"), record("prospects", id=101, emails="a@x.test", title="one")]
    second = record("prospects", id=102, emails="a@x.test", title="two")
    person = sandbox.store.seed("prospects", {"emails": ["a@x.test"]})
    for _ in range(3):
        deliver([*first, *people(50)[1:], second], batch_size_rows=5, on_duplicate="last", **memory)
        assert sandbox.store.get("prospects", person)["attributes"]["title"] == "two"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"array_fields": {"tags": "replace"}},
        {"on_null": "clear"},
        {"validate_records": False},
        {"streams": [{"stream": "prospects", "columns": {"title": "occupation"}}]},
    ],
    ids=str,
)
def test_other_settings_have_every_row_read(deliver, memory, read_rows, changed):
    deliver(people(50, title="T"), batch_size_rows=5, **memory)
    read_rows.clear()
    deliver(people(50, title="T"), batch_size_rows=5, **memory, **changed)
    assert read_rows["prospects"] == 50
    read_rows.clear()
    deliver(people(50, title="T"), batch_size_rows=5, **memory, **changed)
    assert read_rows["prospects"] < 50  # in the next run they are known again


def test_another_schema_has_every_row_read(deliver, memory, read_rows):
    rows = people(50, title="T")
    deliver(rows, batch_size_rows=5, **memory)
    read_rows.clear()
    wider = json.loads(json.dumps(rows[0]))
    wider["schema"]["properties"]["nickname"] = {"type": ["null", "string"]}
    deliver([wider, *rows[1:]], batch_size_rows=5, **memory)
    assert read_rows["prospects"] == 50


def test_a_schema_between_rows_is_heeded_at_once(deliver, sandbox, memory):
    rows = people(40, title="T")
    strict = json.loads(json.dumps(rows[0]))
    strict["schema"]["properties"]["title"] = {"type": "integer"}
    deliver(rows, **memory)
    code, report, _ = deliver(
        [*rows[:21], strict, *rows[21:]], chunk_bytes=10**6, batch_size_rows=5, **memory
    )
    assert code == 3
    assert outcomes(report) == {"received": 40, "unchanged": 20, "rejected": 20}
    assert sandbox.store.count("prospects") == 40


def test_a_link_that_was_skipped_is_looked_for_again(deliver, sandbox, memory):
    columns = {"streams": [{"stream": "prospects", "columns": {"boss": "owner.email"}}]}
    link = {"on_missing_relation": "skip", **columns}
    rows = people(30, boss="boss@x.test")
    rows[0]["schema"]["properties"]["boss"] = {"type": "string"}
    deliver(rows, batch_size_rows=3, **memory, **link)
    user = sandbox.store.seed("users", {"email": "boss@x.test"})
    deliver(rows, batch_size_rows=3, **memory, **link)
    for one in sandbox.store.all("prospects"):
        assert one["relationships"]["owner"]["data"]["id"] == user


def test_changes_that_a_rule_prevents_are_counted_in_every_run(deliver, memory):
    deliver(people(30, title="old"), **memory)
    entry = {"stream": "prospects", "field_rules": {"title": "on_create"}}
    rules = {"streams": [entry], "batch_size_rows": 3}
    for _ in range(3):
        _, report, _ = deliver(people(30, title="new"), **memory, **rules)
    assert outcomes(report) == {"received": 30, "unchanged": 30}


def test_a_bad_line_after_rows_that_are_not_read_says_where_it_is(deliver, memory, caplog):
    rows = people(40, title="T")
    deliver(rows, batch_size_rows=2, **memory)
    state = {"type": "STATE", "value": {"rows": 40}}
    code, report, out = deliver([*rows, state, "{"], batch_size_rows=2, **memory)
    assert code == 1
    assert "Line 43" in caplog.text
    assert outcomes(report) == {"received": 40, "unchanged": 40}
    assert json.loads(out.splitlines()[-1]) == {"rows": 40}


def test_a_memory_of_an_earlier_version_is_taken_over(deliver, memory, read_rows):
    deliver(people(50, title="T"), batch_size_rows=5, **memory)
    with sqlite3.connect(memory["memory_path"]) as file:
        file.execute("ALTER TABLE delivered DROP COLUMN row")
    file.close()
    for expected in (range(50, 51), range(1, 50)):
        read_rows.clear()
        _, report, _ = deliver(people(50, title="T"), batch_size_rows=5, **memory)
        assert outcomes(report) == {"received": 50, "unchanged": 50}
        assert read_rows["prospects"] in expected


def test_a_dry_run_reads_and_plans_every_row(deliver, memory, tmp_path, read_rows):
    deliver(people(50, title="T"), batch_size_rows=5, **memory)
    read_rows.clear()
    plan = tmp_path / "plan.jsonl"
    deliver(
        people(50, title="T"), batch_size_rows=5, **memory, dry_run=True, changes_path=str(plan)
    )
    assert read_rows["prospects"] == 50
    assert len(plan.read_text("utf-8").splitlines()) == 50


class History:
    """Some days of a small table and of what people do in Outreach, all by chance."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.detection = self.chance.choice(["source", "drift"])
        self.rows = {number: self.row(number) for number in range(8)}

    def row(self, number):
        # Some keys are about the same person.
        values = {"id": number, "emails": f"p{number % 6}@x.test"}
        values["title"] = self.chance.choice(["A", "B", None])
        if self.chance.random() < 0.3:
            values["tags"] = self.chance.sample(["x", "y", "z"], 2)
        if self.chance.random() < 0.05:
            values["title"] = "x" * 300  # is rejected
        return record("prospects", **values)

    def day(self):
        messages = [schema("prospects")]
        for _ in range(self.chance.randrange(1, 4)):
            for number in self.chance.sample(sorted(self.rows), len(self.rows)):
                if self.chance.random() < 0.15:
                    self.rows[number] = self.row(number)
                messages.append(self.rows[number])
                if self.chance.random() < 0.1:
                    messages.append({"type": "STATE", "value": {"at": len(messages)}})
        return messages

    def edits(self):
        # Under `source` it depends on what waits together whether an edit is seen.
        if self.detection == "source" or self.chance.random() < 0.5:
            return []
        return [(f"p{self.chance.randrange(6)}@x.test", {"title": "by hand"})]


def held(store):
    return {
        one["attributes"]["emails"][0]: (
            one["attributes"]["title"],
            sorted(one["attributes"]["tags"] or []),
        )
        for one in store.all("prospects")
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_outreach_holds_what_it_would_if_every_row_were_read(deliver, tmp_path, monkeypatch, seed):
    def days(name, **settings):
        history = History(seed)
        settings |= {
            "change_detection": history.detection,
            "memory_path": str(tmp_path / f"{name}.db"),
            "rejects_path": str(tmp_path / f"{name} rejects"),
        }
        seen = []
        with Sandbox(None, MANY) as sandbox:
            for _ in range(4):
                deliver(history.day(), api_url=sandbox.api_url, **settings)
                seen.append(held(sandbox.store))
                for address, edit in history.edits():
                    for one in sandbox.store.all("prospects"):
                        if one["attributes"]["emails"] == [address]:
                            sandbox.store.update("prospects", one["id"], edit)
        return seen

    some = days("some", batch_size_rows=3, chunk_bytes=600 + 100 * seed)
    monkeypatch.setattr(OutreachSink, "verbatim", None)
    assert some == days("each", batch_size_rows=1, max_parallel_requests=1)


def test_rows_before_a_reject_that_ends_the_run_are_settled(deliver, memory):
    rows = people(60, title="T")
    for number in (50, 30):
        rows.insert(number + 1, {"type": "STATE", "value": {"rows": number}})
    deliver(rows, **memory)
    bad = record("prospects", id=999, emails="nope")
    later = [record("prospects", id=100 + n, emails=f"q{n}@x.test") for n in range(40)]
    deliver(rows, **memory)  # by now all of them are known
    code, report, out = deliver(
        [*rows, bad, *later], chunk_bytes=10**6, batch_size_rows=1, on_reject="abort", **memory
    )
    assert code == 1
    assert report["problems"] == [
        "A record was rejected, and on_reject is abort; see the rejects file."
    ]
    assert (report["totals"]["unchanged"], report["totals"]["rejected"]) == (60, 1)
    assert json.loads(out.splitlines()[-1]) == {"rows": 50}


@pytest.mark.slow
def test_a_known_row_waits_for_an_older_one_of_its_key_that_is_being_written(
    start, sandbox, memory
):
    old = record("prospects", id=1, emails=["a@x.test"], title="old")
    new = record("prospects", id=1, emails=["a@x.test", "b@x.test"], title="new")
    others = [record("prospects", id=n, emails=f"p{n}@x.test") for n in range(2, 22)]
    settings = {**memory, "batch_size_rows": 2, "array_fields": "replace"}
    for rows in ([old, *others], [old, *others]):
        process = start(**settings)
        process.communicate(lines([schema("prospects"), *rows]).encode(), timeout=60)
    sandbox.add_fault(Fault("hang_after", method="PATCH", after=1, times=1, seconds=2))
    sandbox.requests.clear()
    process = start(**settings)
    process.stdin.write(lines([schema("prospects"), new, old, new, *others]).encode())
    process.stdin.flush()
    while sum(entry.method == "PATCH" for entry in sandbox.requests) < 1:
        time.sleep(0.01)
    time.sleep(0.5)  # the second one hangs by now
    process.communicate(lines([new, *others]).encode(), timeout=60)
    assert process.returncode == 0
    (person,) = [
        one for one in sandbox.store.all("prospects") if "a@x.test" in one["attributes"]["emails"]
    ]
    assert person["attributes"]["title"] == "new"
