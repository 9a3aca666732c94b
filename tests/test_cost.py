"""The estimate of what a sync costs, held against what it costs."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from conftest import record, schema

from target_outreach.commands.cost import Sync, cost, requests_of
from target_outreach.sandbox.resources import Change


def rows(count, changed=0):
    return [
        schema("prospects"),
        *(
            record(
                "prospects",
                id=n,
                emails=f"person.{n:05d}@example.test",
                title="new" if n < changed else "old",
            )
            for n in range(count)
        ),
    ]


def seed_long_ago(sandbox, count):
    with sandbox.store.transaction():
        for n in range(count):
            attributes = {"emails": [f"person.{n:05d}@example.test"], "title": "old"}
            born = Change("seed", attributes, {}, shared_emails=True, at=time.time() - 86_400)
            sandbox.store.create("prospects", born)


@pytest.mark.parametrize("detection", ["outreach", "source", "drift", "none"])
@pytest.mark.parametrize(
    ("count", "changed"), [(2400, 120), pytest.param(4700, 47, marks=pytest.mark.slow)]
)
def test_a_run_costs_what_was_estimated(  # noqa: PLR0917 - a table of cases
    sync, sandbox, tmp_path, detection, count, changed
):
    seed_long_ago(sandbox, count)
    settings = {"change_detection": detection}
    if detection in {"source", "drift"}:
        settings["memory_path"] = str(tmp_path / "m.db")
        sync(rows(count), **settings)
    if detection == "none":
        count, changed = count // 4, changed // 4
    run = sync(rows(count, changed), **settings)
    assert run.exit_code == 0
    known = sandbox.store.count("prospects")
    estimate = requests_of(Sync(count, changed, 0, known, address=25), detection)
    assert run.report["requests"] == pytest.approx(estimate, rel=0.02, abs=1)


def test_the_table_shows_each_way_with_its_share_of_the_year():
    outcome = CliRunner().invoke(cost, ["--rows", "50000", "--changed", "1", "--edited", "40"])
    assert outcome.exit_code == 0
    lines = outcome.output.splitlines()
    found = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
    assert found["source"] == ["501", "0.0100", "0.05", "4,388,760", "438.9%"]
    assert [found[name][0] for name in ("outreach", "drift")] == ["841", "542"]  # 40 written over
    assert [*found] == ["outreach", "source", "drift", "none"]


def test_bulk_writes_are_cheaper():
    changed = Sync(50_000, 5000, 0, 50_000)
    assert requests_of(changed, "source") == 5001
    assert requests_of(replace(changed, bulk="updates"), "source") == 101
    assert requests_of(replace(changed, bulk="all"), "source") == 101


def test_bulk_writes_all_makes_first_loads_cheap_and_updates_does_not():
    first = Sync(20_000, 20_000, 0, 0, new=20_000)
    lists = 20_000 // 500 * 3
    for bulk, writes in (("off", 20_000), ("updates", 20_000), ("all", 200)):
        assert requests_of(replace(first, bulk=bulk), "outreach") == 1 + writes
        assert requests_of(replace(first, bulk=bulk, known=10**6), "outreach") == 1 + writes + lists
        assert requests_of(replace(first, bulk=bulk, known=10**6), "source") == 2 + writes + lists
    mixed = Sync(1000, 500, 0, 10**6, new=100)
    assert requests_of(replace(mixed, bulk="updates"), "outreach") == 1 + 6 + 100 + 8
    assert requests_of(replace(mixed, bulk="all"), "outreach") == 1 + 6 + 1 + 8


def test_the_configuration_says_how_rows_are_looked_up_and_written(tmp_path):
    config = tmp_path / "config.json"
    settings = {"bulk_writes": "updates", "batch_size_rows": 50}
    config.write_text(json.dumps(settings), encoding="utf-8")
    said = ["--rows", "50000", "--changed", "10"]
    plain = CliRunner().invoke(cost, said).output.splitlines()
    configured = CliRunner().invoke(cost, [*said, "--config", str(config)]).output.splitlines()
    assert [line.split()[1] for line in plain[2:4]] == ["5,301", "5,001"]
    assert [line.split()[1] for line in configured[2:4]] == ["1,100", "101"]


def test_the_table_says_that_it_counts_requests_and_of_what_the_share_is():
    said = ["--rows", "1000", "--allowance", "250000"]
    above, below, *rest = CliRunner().invoke(cost, said).output.splitlines()
    assert " ".join(above.split()) == "requests requests hours, at requests of 250,000"
    assert " ".join(below.split()) == "change_detection a run a row 10,000 each a year a year"
    assert len({len(line) for line in (above, below, *rest)}) == 1
    assert len(rest) == 4


@pytest.mark.parametrize(
    ("runs", "impossible"), [("1", ""), ("4", "none"), ("2000", "usage"), ("1440", "all")]
)
def test_what_the_limit_does_not_allow_is_said(runs, impossible):
    said = ["--rows", "200000", "--allowance", "1000000", "--runs", runs]
    outcome = CliRunner().invoke(cost, said)
    last = outcome.output.splitlines()[-1]
    words = "runs a day need more than the limit of 10,000 requests an hour allows."
    if impossible == "none":
        assert last == f"none: 4 {words}"
    elif impossible == "all":
        assert last == f"outreach, source, drift, none: 1440 {words}"
    else:
        assert words not in outcome.output
        assert outcome.exit_code == (2 if impossible else 0)


def test_numbers_may_be_written_as_people_write_them():
    written = ["--rows", "50,000", "--changed", "2%", "--edited", "1,000", "--records", "60,000"]
    plain = ["--rows", "50000", "--changed", "2", "--edited", "1000", "--records", "60000"]
    one, other = (
        CliRunner().invoke(cost, [*said, "--allowance", allowance])
        for said, allowance in ((written, "5,000,000"), (plain, "5000000"))
    )
    assert one.exit_code == 0, one.output
    assert one.output == other.output


@pytest.mark.parametrize("rows", ["1,00", "2,0000", ",100", "1.000,5", "many"])
def test_what_is_no_number_is_refused(rows):
    outcome = CliRunner().invoke(cost, ["--rows", rows])
    assert outcome.exit_code == 2
    assert "Invalid value for '--rows'" in outcome.output


def test_an_allowance_that_was_not_given_is_said_to_be_assumed():
    *table, last = CliRunner().invoke(cost, ["--rows", "1000"]).output.splitlines()
    assert table[0].endswith("of 1,000,000")
    assert last == "1,000,000 requests a year are assumed; --allowance says what you have."
