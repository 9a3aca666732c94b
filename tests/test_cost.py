"""The estimate of what a sync costs, held against what it costs."""

from __future__ import annotations

import json
import time

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
@pytest.mark.parametrize(("count", "changed"), [(2400, 120), (4700, 47)])
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
    assert found["drift"][0] == "502"
    assert [*found] == ["outreach", "source", "drift", "none"]


def test_bulk_updates_are_cheaper():
    changed = Sync(50_000, 5000, 0, 50_000)
    in_bulk = Sync(50_000, 5000, 0, 50_000, in_bulk=True)
    assert requests_of(changed, "source") == 5001
    assert requests_of(in_bulk, "source") == 101


def test_the_configuration_says_how_rows_are_looked_up_and_written(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"bulk_updates": True, "batch_size_rows": 50}), encoding="utf-8")
    said = ["--rows", "50000", "--changed", "10"]
    plain = CliRunner().invoke(cost, said).output.splitlines()
    configured = CliRunner().invoke(cost, [*said, "--config", str(config)]).output.splitlines()
    assert [line.split()[1] for line in plain[2:4]] == ["5,301", "5,001"]
    assert [line.split()[1] for line in configured[2:4]] == ["1,100", "101"]


def test_the_table_says_that_it_counts_requests_and_of_what_the_share_is():
    said = ["--rows", "1000", "--allowance", "250000"]
    above, below, *rest = CliRunner().invoke(cost, said).output.splitlines()
    assert " ".join(above.split()) == "requests requests hours of requests of 250,000"
    assert " ".join(below.split()) == "change_detection a run a row the limit a year a year"
    assert len({len(line) for line in (above, below, *rest)}) == 1
    assert len(rest) == 4


def test_an_allowance_that_was_not_given_is_said_to_be_assumed():
    *table, last = CliRunner().invoke(cost, ["--rows", "1000"]).output.splitlines()
    assert table[0].endswith("of 1,000,000")
    assert last == "1,000,000 requests a year are assumed; --allowance says what you have."
