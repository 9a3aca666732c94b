"""What a run leaves behind: the last lines of its log, the report, and the page in a browser."""

from __future__ import annotations

import io
import json
import logging
import re
import shlex
import time
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from accessibility import SCREENS, check, watched_page
from conftest import lines, record, schema
from hypothesis import example, given
from hypothesis import strategies as st

from target_outreach.delivery.rejects import RejectsFile
from target_outreach.delivery.status import Point
from target_outreach.delivery.tally import MOST_REASONS, OUTCOMES, Tally, counted
from target_outreach.errors import ExitCode, RecordFault
from target_outreach.report import Report
from target_outreach.report.closing import (
    cost,
    in_round_numbers,
    last_line,
    log_report,
    pending,
    rejects,
    remarks,
    saving,
    table,
)
from target_outreach.report.figures import ENDINGS, Cost
from target_outreach.report.page import render
from target_outreach.running import run as run_target
from target_outreach.sandbox import Fault
from target_outreach.target import TargetOutreach

NASTY = "<script>alert(1)</script><img src=http://203.0.113.9/x.png>\"'&"


def reject(tally, code, field=None, *, line=None, count=1):
    for _ in range(count):
        tally.received += 1
        tally.reject(RecordFault(code, "Said.", field=field), line)


def tally_of(**outcomes):
    tally = Tally(received=sum(outcomes.values()))
    tally.outcomes.update(outcomes)
    return tally


def make(streams, **figures):
    known = {"requests": 10, "seconds": 2.0, "waited": 0.0, "rejects_file": None}
    return Report(streams, dict.fromkeys(streams, 0), **known | figures)


def prospects(count, start=0, **values):
    rows = range(start, start + count)
    return [record("prospects", id=n, emails=f"p{n}@example.test", **values) for n in rows]


# The table


def test_the_table_is_aligned_and_ends_with_a_total():
    streams = {"marts-prospects": tally_of(created=1200, rejected=3), "accounts": tally_of()}
    assert table(make(streams)) == [
        "stream           received  created  updated  unchanged  rejected",
        "marts-prospects     1,203    1,200        0          0         3",
        "accounts                0        0        0          0         0",
        "total               1,203    1,200        0          0         3",
    ]


def test_columns_of_zeros_are_not_shown_where_they_are_rare():
    report = make({"a": tally_of(superseded=1, skipped=2)})
    header, line = table(report)
    assert header.split()[-3:] == ["superseded", "skipped", "rejected"]
    assert line.split() == ["a", "3", "0", "0", "0", "1", "2", "0"]


@given(st.dictionaries(st.text(), st.integers(0, 10**9), min_size=1, max_size=4))
def test_names_of_any_kind_keep_the_table_in_lines(names):
    report = make({name: tally_of(created=count) for name, count in names.items()})
    lines = table(report)
    assert len(lines) == 1 + len(names) + (len(names) > 1)
    assert all(line.isprintable() for line in lines)


def test_a_run_without_a_record_has_no_table(sync):
    run = sync([])
    assert "stream " not in run.log
    assert "0 requests in" in run.log
    assert "a year" not in run.log
    assert run.report["streams"] == {}


# Rejects


def test_the_fifteen_commonest_reasons_are_named_with_their_first_line():
    one, other = Tally(), Tally()
    for n in range(14):
        reject(one, f"code{n}", "emails", line=n + 2, count=n + 1)
    reject(other, "code97", None, line=90, count=97)
    reject(other, "code7", "title", line=70, count=1)
    reject(other, "code6", "title", line=60, count=1)
    said = list(rejects(make({"one": one, "other": other}, rejects_file="/folder/file.jsonl")))
    assert said == [
        "Rejected records and the reasons are in /folder/file.jsonl",
        "  97 rejected because of code97 in other, first on line 90 of that file",
        *(
            f"  {n + 1} rejected because of code{n} (emails) in one, first on line {n + 2} of that "
            "file"
            for n in reversed(range(14))
        ),
        "  2 rejected for 2 other reasons",
    ]


def test_a_reason_names_the_source_column_its_label_and_what_it_takes(sync, sandbox):
    sandbox.store.define_custom_field("prospects", 1, "Lead Score", "numerical")
    names = {"email": {"type": "string"}, "lead_score": {}, "name_l": {}, "account_domain": {}}
    entry = {"stream": "prospects", "columns": {"name_l": "lastName"}}
    rows = [
        record("prospects", email="a@example.test", lead_score="many"),
        record("prospects", email="b@example.test", name_l="x" * 300),
        record("prospects", email=7),
        record("prospects", email="c@example.test", account_domain="nobody.example.com"),
    ]
    run = sync([schema("prospects", names), *rows], streams=[entry])
    said = [line.partition("closing.py")[2].partition(" ")[2] for line in run.log.splitlines()]
    assert "    lead_score → Lead Score (custom1): takes a number" in said
    assert "    name_l → lastName: must have at most 255 characters" in said
    assert "    email → emails: must be string" in said
    assert any(line.startswith("    account_domain → account.domain: ") for line in said)
    abouts = {one["about"] for one in run.report["streams"]["prospects"]["reject_reasons"]}
    assert "lead_score → Lead Score (custom1): takes a number" in abouts
    shown = Page(render(run.report)).text
    assert all(about in shown for about in abouts)


def test_the_page_names_the_fifteen_commonest_reasons_of_a_stream():
    tally = Tally()
    for n in range(17):
        reject(tally, "invalid_value", f"column{n}", line=n + 2, count=n + 1)
    shown = Page(render(figures_of({"people": tally}))).text
    assert all(f"column{n}" in shown for n in range(2, 17))
    assert "2 other reasons" in shown


def test_the_first_line_of_a_reason_is_its_line_in_the_rejects_file(sync):
    rows = [
        record("prospects", emails="nope"),
        record("prospects", emails="fine@example.test", last_name="x" * 300),
        record("prospects", emails="neither"),
        record("prospects", emails="this", title="not"),
    ]
    run = sync([schema("prospects"), *rows])
    text = Path(run.report["rejects_file"]).read_text(encoding="utf-8").splitlines()
    reasons = run.report["streams"]["prospects"]["reject_reasons"]
    assert [(reason["code"], reason["field"], reason["count"]) for reason in reasons] == [
        ("invalid_value", "emails", 3),
        ("invalid_value", "lastName", 1),
    ]
    for reason in reasons:
        there = json.loads(text[reason["first_line"] - 1])["error"]
        assert (there["code"], there["field"]) == (reason["code"], reason["field"])
        said = f"{reason['count']} rejected because of invalid_value ({reason['field']})"
        assert f"{said}, first on line {reason['first_line']} of that file" in run.log
    assert run.report["streams"]["prospects"]["rejected_by_code"] == {"invalid_value": 4}


def test_a_dry_run_names_reasons_but_no_line(sync):
    run = sync([schema("prospects"), record("prospects", emails="nope")], dry_run=True)
    (reason,) = run.report["streams"]["prospects"]["reject_reasons"]
    assert reason["first_line"] is None
    said = [line.partition("closing.py")[2].partition(" ")[2] for line in run.log.splitlines()]
    at = said.index("  1 rejected because of invalid_value (emails)")
    assert said[at - 1] == "A real run would keep the rejected records, with the reasons:"
    assert "on line" not in run.log


def test_what_a_record_names_itself_is_in_no_reason():
    tally = Tally()
    reject(tally, "schema_violation", "payload.jane@example.test")
    reject(tally, "validation_error", "emails/0")
    assert {reason.field for reason in tally.reasons.values()} == {"payload", "emails"}


def test_the_column_of_a_link_is_named_whole(sync):
    linked = {"emails": {"type": "string"}, "account_domain": {"type": "string"}}
    rows = [record("prospects", emails="a@x.test", account_domain="nobody.example.com")]
    run = sync([schema("prospects", linked), *rows])
    (reason,) = run.report["streams"]["prospects"]["reject_reasons"]
    assert reason["field"] == "account.domain"
    assert "1 rejected because of relation_not_found (account.domain)" in run.log


def test_reasons_are_bounded_and_none_is_lost():
    tally = Tally()
    for n in range(MOST_REASONS + 50):
        reject(tally, "invalid_value", f"column{n}", line=n + 2)
    reasons = tally.commonest_reasons()
    assert len(reasons) == MOST_REASONS + 1
    assert (reasons[0].field, reasons[0].count) == (None, 50)
    assert sum(reason.count for reason in reasons) == tally.rejected["invalid_value"]


def test_a_password_in_the_place_of_rejects_is_in_no_report(sync, monkeypatch):
    monkeypatch.setattr(RejectsFile, "_write", lambda *_: None)
    monkeypatch.setattr(RejectsFile, "__init__", _remote)
    monkeypatch.setattr("conftest._rejects", lambda _: [])
    run = sync([schema("prospects"), record("prospects", emails="nope")])
    assert run.report["rejects_file"] == "s3://bucket/rejects.jsonl"
    assert "hunter2" not in run.log + json.dumps(run.report)


_original = RejectsFile.__init__


def _remote(self, *arguments):
    _original(self, *arguments)
    self.path = "s3://user:hunter2@bucket/rejects.jsonl?token=hunter2"


# What else is said


def test_each_stream_says_what_is_worth_a_second_look():
    tally = tally_of(created=1)
    tally.skipped["no_match"] = 2
    tally.held_back["title"] = 3
    tally.kept_differently["company"] = 4
    tally.edited_by_others["title"] = 5
    tally.related_created["account"] = 6
    tally.links_left_out["owner.email"] = 7
    tally.written["tags"] = 8
    assert list(remarks(tally, dry_run=True)) == [
        "skipped because of no_match (2)",
        "would be written: tags (8)",
        "not changed because of field_rules: title (3)",
        "kept differently by Outreach: company (4)",
        "changed by others since we wrote: title (5)",
        "created to be linked to: account (6)",
        "delivered without a link by: owner.email (7)",
    ]
    assert not [line for line in remarks(tally, dry_run=False) if "would" in line]


def test_changes_that_are_not_made_are_reported_with_the_settings_that_may_prevent_them():
    tally = tally_of(unchanged=102)
    tally.held_back |= {"company": 102, "owner": 2, "optedOut": 3, "stage": 1}
    linked = "not changed because of a linked account, whose name Outreach shows, or field_rules"
    said = {
        linked: "company (102)",
        "not changed because of an opt-out, without allow_opt_in, or field_rules": "optedOut (3)",
        "not changed because of field_rules": "owner (2), stage (1)",
    }
    assert sorted(remarks(tally, dry_run=False)) == [f"{by}: {what}" for by, what in said.items()]
    shown = Page(render(figures_of({"people": tally}))).text
    assert all(f"N{by[1:]}" in shown for by in said)


def test_a_company_that_no_rule_of_the_user_protects_is_reported_as_that_of_the_account(sync):
    columns = {name: {"type": "string"} for name in ("emails", "company", "account_domain")}
    account = [schema("accounts"), record("accounts", name="Acme", domain="acme.example.com")]
    row = record("prospects", emails="a@x.test", company="ACME", account_domain="acme.example.com")
    run = sync([*account, schema("prospects", columns), row])
    words = "not changed because of a linked account, whose name Outreach shows, or field_rules"
    assert f"prospects: {words}: company (1)" in run.log


def test_links_are_counted_where_it_is_said_what_is_written(sync):
    columns = {name: {"type": "string"} for name in ("emails", "account_domain")}
    account = [schema("accounts"), record("accounts", name="Acme", domain="acme.example.com")]
    row = record("prospects", emails="a@x.test", account_domain="acme.example.com")
    rows = [*account, schema("prospects", columns), row]
    dry = sync(rows, dry_run=True)
    assert "prospects: would be written: account (1), emails (1)" in dry.log
    for run in (dry, sync(rows)):
        assert run.report["streams"]["prospects"]["written"] == {"account": 1, "emails": 1}


def test_a_run_says_what_it_cost_in_a_year_and_saved(sync, sandbox):
    known = [{"emails": [f"p{n}@example.test"]} for n in range(100)]
    sandbox.store.seed_many("prospects", known)
    run = sync([schema("prospects"), *prospects(100)])
    requests = run.report["requests"]
    assert requests == sandbox.request_count
    assert f"{counted(requests, 'request')} in " in run.log
    needed = in_round_numbers(requests * 8760)
    assert (
        f"At this size, hourly runs need about {needed} requests a year (plans include" in run.log
    )
    assert f"Two requests a record would be 200: {200 - requests} were saved." in run.log
    assert run.report["cost"] == {
        "requests": requests,
        "requests_a_year_if_hourly": requests * 8760,
        "requests_at_two_a_record": 200,
        "requests_saved": 200 - requests,
        "writes_left_out": None,
    }


@pytest.mark.parametrize(
    ("requests", "words"),
    [(2014, "17.6 M"), (5, "44,000"), (0, "0"), (115, "1.0 M"), (20, "0.2 M")],
)
def test_the_requests_of_a_year_are_said_as_people_say_them(requests, words):
    assert in_round_numbers(Cost(requests, 0).a_year) == words


@pytest.mark.parametrize(("records", "says"), [(99, False), (100, True)])
def test_what_a_year_would_cost_is_said_of_runs_of_some_size_only(records, says):
    report = make({"people": tally_of(unchanged=records)})
    assert any("a year" in line for line in cost(report)) is says
    known = 87_600 if says else None
    assert report.as_json(ExitCode.DONE)["cost"]["requests_a_year_if_hourly"] == known
    assert ("hourly runs need about" in render(report.as_json(ExitCode.DONE))) is says


def test_records_without_an_outcome_are_pending_and_it_is_said_what_that_means():
    report = make({"people": tally_of(created=2)})
    report.streams["people"].received += 3
    report = replace(report, unsettled={"people": 3})
    header, line = table(report)
    assert (header.split()[-1], line.split()[-1]) == ("pending", "3")
    (said,) = pending(report)
    assert said.startswith("3 records are pending: received, but not delivered before")
    assert last_line(report, ExitCode.FAILED, []) == "Failed (exit 1): 2 created, 3 pending"
    shown = Page(render(report.as_json(ExitCode.FAILED))).text
    assert "Pending records were received, but not delivered before the run ended." in shown
    assert "nsettled" not in shown
    assert report.as_json(ExitCode.FAILED)["totals"]["unsettled"] == 3  # as programs read it


def test_where_all_have_an_outcome_nothing_is_said_of_pending_records():
    report = make({"people": tally_of(created=2)})
    assert "ending" not in " ".join(table(report))
    assert "Pending" not in Page(render(report.as_json(ExitCode.DONE))).text


def test_one_is_not_spoken_of_as_many():
    report = make({"people": tally_of(created=1)}, requests=1)
    assert list(cost(report)) == [
        "1 request in 2.0 seconds.",
        "Two requests a record would be 2: 1 was saved.",
    ]
    dry = make({"people": tally_of(created=1)}, requests=1, dry_run=True)
    assert list(cost(dry))[1] == "A real run would also send the writes of 1 record."
    tally = Tally()
    for n in range(16):
        reject(tally, f"code{n}")
    assert list(rejects(make({"people": tally})))[-1] == "  1 rejected for 1 other reason"


def test_a_dry_run_that_a_setting_stops_claims_nothing(sync):
    run = sync([schema("strangers"), record("strangers", emails="a@x.test")], dry_run=True)
    assert run.exit_code == 1
    assert "This was a dry run" not in run.log
    assert "A real run would" not in run.log


def test_a_dry_run_claims_no_saving_but_says_what_is_to_come(sync):
    run = sync([schema("prospects"), *prospects(3)], dry_run=True)
    assert "A real run would also send the writes of 3 records." in run.log
    assert "were saved" not in run.log
    assert run.report["cost"]["requests_saved"] is None
    assert run.report["cost"]["writes_left_out"] == 3


@pytest.mark.parametrize("requests", [2, 3])
def test_a_page_has_no_card_for_savings_that_there_are_none_of(requests):
    figures = make({"people": tally_of(created=1)}, requests=requests).as_json(ExitCode.DONE)
    assert figures["cost"]["requests_saved"] == 0
    assert "saved" not in Page(render(figures)).text
    assert ">-" not in render(figures)


def test_a_run_that_saved_nothing_does_not_say_so():
    assert saving(Cost(requests=3, delivered=1)) is None
    assert saving(Cost(requests=2, delivered=1)) is None


def test_the_last_lines_come_in_order(caplog):
    tally = tally_of(created=4)
    reject(tally, "invalid_value", "emails", line=2)
    tally.skipped["no_match"] = 1
    report = make({"people": tally}, rejects_file="r.jsonl", dry_run=True, waited=1.5)
    with caplog.at_level(logging.INFO):
        log_report(report)
    starts = [text.split()[0] for text in caplog.messages]
    assert starts == ["This", "stream", "people", "people:", "Rejected", "1", "10", "A"]
    assert "in 2.0 seconds (1.5 of them waiting for Outreach's limit)" in caplog.messages[-2]


# JSON


@pytest.mark.slow
def test_the_time_line_rises_to_the_totals_of_the_report(sync, sandbox):
    sandbox.profile = type(sandbox.profile)(latency_seconds=0.02)
    run = sync([schema("prospects"), *prospects(60)], batch_size_rows=20)
    points = run.report["timeline"]
    assert len(points) > 2
    for earlier, later in pairwise(points):
        assert all(earlier[name] <= later[name] for name in points[0])
    assert points[0] == dict.fromkeys(points[0], 0)
    assert points[-1] == {
        "seconds": run.report["seconds"],
        "received": 60,
        "settled": 60,
        "requests": run.report["requests"],
        "seconds_waited": run.report["seconds_waited"],
    }


def test_the_totals_are_the_sum_of_the_streams(sync):
    rows = [schema("prospects"), *prospects(3), record("prospects", emails="nope")]
    rows += [schema("accounts"), record("accounts", name="Acme")]
    totals = sync(rows).report["totals"]
    assert totals == dict.fromkeys(("received", "unsettled", *OUTCOMES), 0) | {
        "received": 5,
        "created": 4,
        "rejected": 1,
    }


def test_every_exit_code_of_a_run_has_its_words():
    assert set(ENDINGS) == set(ExitCode) - {ExitCode.USAGE}


@pytest.fixture
def web_page(config, tmp_path):
    """Run the target in this process, and return its exit code and the page that it left."""

    def _run(messages, **settings):
        path = tmp_path / "reports" / "run.html"
        target = TargetOutreach(config=config | {"report_path": str(path)} | settings)
        with redirect_stdout(io.StringIO()):
            code = run_target(target, io.StringIO(lines(messages)))
        return code, path

    return _run


@pytest.mark.parametrize("suffix", ["json", "html"])
def test_a_run_that_fails_leaves_a_report_that_says_why(sync, web_page, sandbox, config, suffix):
    sandbox.add_fault(Fault("status", method="POST", status=415, times=None))
    messages = [schema("prospects"), *prospects(2)]
    if suffix == "json":
        path = Path(config["report_path"])
        assert sync(messages).exit_code == 1
    else:
        code, path = web_page(messages)
        assert code == 1
    text = path.read_text(encoding="utf-8")
    assert "Stopped by an error." in text
    assert "a proxy or middleware on the way" in text


def test_a_run_that_cannot_begin_leaves_a_report_too(execute, tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"exit_code": 0, "rejects_file": null}', encoding="utf-8")  # of a run before
    run = execute([schema("prospects")], report_path=str(path), memory_path=str(tmp_path))
    assert run.exit_code == 1
    assert run.report["exit_code"] == 1
    assert "memory_path" in run.report["problems"][0]
    assert run.report["requests"] == 0


# The page


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "action"}]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def figures_of(streams, **more):
    report = make(
        streams, points=(Point(), Point(1, 5, 2, 5, 0.0), Point(6, 9, 9, 10, 0.9)), **more
    )
    return report.as_json(ExitCode.REJECTS)


@pytest.mark.slow
@given(st.text(), st.text(max_size=20), st.text(min_size=1, max_size=20))
@example(NASTY, NASTY, NASTY)
@example("\ud800", "\x00", "\u202e")
def test_no_name_becomes_markup(name, field, column):
    tally = tally_of(created=1)
    reject(tally, "invalid_value", field, line=2)
    tally.held_back[column] = 1
    tally.skipped[column] = 1
    text = render(figures_of({name: tally}, rejects_file=name))
    plain = render(figures_of({"name": tally_of(created=1)}))
    page = Page(text)
    assert Page(plain).links == ["data:,"]
    assert [link for link in page.links if not link.startswith("file:///")] == ["data:,"]
    assert set(page.tags) - set(Page(plain).tags) <= {"code", "a"}
    assert "script" not in page.tags
    assert text.encode("utf-8")


def test_the_page_shows_what_the_json_says():
    tally = tally_of(created=1200, updated=34, unchanged=5678, superseded=9, skipped=7)
    tally.skipped["no_match"] = 7
    tally.kept_differently["company"] = 21
    reject(tally, "invalid_value", "emails", line=4321, count=77)
    other = tally_of(unchanged=3)
    more = {"requests": 2014, "seconds": 123.4, "rejects_file": "rejects.jsonl"}
    figures = figures_of({"people": tally, "firms": other}, **more)
    shown = Page(render(figures)).text
    for number in (*figures["totals"].values(), figures["requests"]):
        assert f"{number:,}" in shown
    for number in (*figures["streams"]["people"]["kept_differently"].values(), 4321, 77):
        assert f"{number:,}" in shown
    assert "17.6 M" in shown
    assert f"{figures['cost']['requests_saved']:,}" in shown
    assert "123.4 seconds" in shown
    assert figures["ending"] in shown


def test_the_page_of_a_dry_run_says_that_it_was_one(web_page):
    code, path = web_page([schema("prospects"), *prospects(2)], dry_run=True)
    shown = Page(path.read_text(encoding="utf-8")).text
    assert code == 0
    assert "This was a dry run: nothing was written." in shown
    assert "Would be written" in shown
    assert "Records that a real run would write" in shown


def test_the_page_of_a_dry_run_says_that_no_rejects_are_kept(web_page):
    code, path = web_page([schema("prospects"), record("prospects", emails="nope")], dry_run=True)
    shown = Page(path.read_text(encoding="utf-8")).text
    assert code == 0
    assert "A real run would keep them, each with its reason." in shown
    assert "First line" not in shown
    ending = "Dry run: done, but some records would be rejected."
    assert f"<h1>{ending}</h1>" in path.read_text(encoding="utf-8")
    assert f"<title>target-outreach: {ending}</title>" in path.read_text(encoding="utf-8")


def test_the_ending_of_a_dry_run_says_that_it_was_one(sync):
    rows = [schema("prospects"), *prospects(1)]
    assert sync(rows, dry_run=True).report["ending"] == "Dry run: done."
    assert sync(rows).report["ending"] == "Done."


def test_the_page_of_a_run_without_records_is_whole(web_page):
    code, path = web_page([])
    page = Page(path.read_text(encoding="utf-8"))
    assert code == 0
    assert "No record was received." in page.text
    assert "Done." in page.text


def test_no_value_of_a_record_is_on_the_page(web_page):
    secret = "Wilhelmina"
    rows = [
        record("prospects", emails=f"{secret}@example.test", first_name=secret),
        record("prospects", emails=secret),
        record("prospects", emails="b@example.test", last_name=secret * 30),
    ]
    code, path = web_page([schema("prospects"), *rows])
    text = path.read_text(encoding="utf-8")
    assert code == 3
    assert secret not in text
    assert "invented-token" not in text


# The page in a browser

LOOKS = """() => {
    const light = colour => {
        const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
        return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
    };
    const behind = element => {
        const colour = getComputedStyle(element).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" && element.parentElement
            ? behind(element.parentElement) : colour;
    };
    const contrast = (one, other) =>
        (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    const texts = [...document.querySelectorAll(
        "h1, h2, h3, p, dt, dd, th, td, caption, figcaption, summary, code")];
    const parts = [...document.querySelectorAll(".key:not(.waiting)")];
    const shown = texts.filter(element => element.checkVisibility());
    return {
        page: light(behind(document.body)),
        texts: Math.min(...texts.map(element => contrast(
            light(getComputedStyle(element).color), light(behind(element))))),
        parts: Math.min(...parts.map(element => contrast(
            light(getComputedStyle(element).backgroundColor),
            light(behind(element.parentElement))))),
        smallest: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
        width: document.documentElement.scrollWidth,
        right: Math.max(...shown.filter(element => !element.closest(".scroll"))
            .map(element => element.getBoundingClientRect().right)),
        unnamed: [...document.querySelectorAll("svg")]
            .filter(drawing => !drawing.querySelector("title").textContent).length,
        headless: [...document.querySelectorAll("table")]
            .filter(table => !table.querySelector("th[scope=col]")).length,
    };
}"""


@pytest.fixture
def open_file(browser):
    """Open a page of which no request leaves, and which complains of nothing."""

    @contextmanager
    def _open(path, **options):
        with watched_page(browser, **options) as seen:
            seen.page.goto(path.as_uri())
            yield seen.page
        others = set(seen.requested) - {path.as_uri()}
        assert all(".jsonl" in url for url in others)
        assert seen.complaints == []

    return _open


def odd_run():
    """Two streams, one with a name that no page may take for markup, and all kinds of outcomes."""
    odd = f"Kunden {NASTY} {'x' * 80}-prospects"
    deleted = record(odd, id=90, emails="d@example.test", _sdc_deleted_at="2026-01-01")
    rows = [record(odd, id=n, emails=f"p{n}@example.test", title="Head") for n in range(12)]
    bad = [record(odd, id=50 + n, emails="nope") for n in range(3)]
    bad.append(record(odd, id=60, emails="long@example.test", last_name="x" * 300))
    accounts = [schema("accounts"), record("accounts", name="Acme")]
    return odd, [schema(odd), *rows, *bad, deleted, rows[0], *accounts]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SCREENS)
def test_the_page_can_be_read_on_every_screen(sync, tmp_path, sandbox, open_file, *, scheme, width):
    sandbox.profile = type(sandbox.profile)(rate_limit=6, rate_window_seconds=1)
    sandbox.store.seed("prospects", {"emails": ["p1@example.test"], "title": "Clerk"})
    odd, messages = odd_run()
    report = sync(messages, streams=[{"stream": odd, "object": "prospects"}]).report
    path = tmp_path / "run.html"
    path.write_text(render(as_a_longer_run(report)), encoding="utf-8")
    with open_file(path, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        seen = page.evaluate(LOOKS)
        assert seen["right"] <= width
        assert (seen["page"] < 0.1) is (scheme == "dark")
        assert seen["texts"] >= 7  # WCAG 2.2, 1.4.6
        assert seen["parts"] >= 3  # WCAG 2.2, 1.4.11
        assert seen["smallest"] >= 13
        assert (seen["unnamed"], seen["headless"]) == (0, 0)
        assert page.get_by_role("heading", name=odd).count() == 2
        page.get_by_text("The time line as a table").click()
        check(page)


def as_a_longer_run(report):
    """Stretch the time line, which short runs have none of."""
    points = [
        point | {"seconds": point["seconds"] * 10 + 5 * n}
        for n, point in enumerate(report["timeline"])
    ]
    return report | {"timeline": points}


def test_the_page_needs_no_script_and_shows_the_numbers_of_the_json(
    sync, tmp_path, open_file, sandbox
):
    odd, messages = odd_run()
    report = as_a_longer_run(
        sync(messages, streams=[{"stream": odd, "object": "prospects"}]).report
    )
    path = tmp_path / "run.html"
    path.write_text(render(report), encoding="utf-8")
    with open_file(path, java_script_enabled=False) as page:
        for name, counts in report["streams"].items():
            card = page.locator("section").filter(has=page.get_by_role("heading", name=name))
            rows = [row.split("\t") for row in card.locator("tbody tr").all_inner_texts()]
            shown = {row[0].strip().lower(): int(row[1].replace(",", "")) for row in rows}
            for outcome in ("received", *OUTCOMES, "unsettled"):
                assert shown.get(outcome, 0) == counts[outcome]
        names = page.locator(".tiles dt").all_inner_texts()
        assert len(set(names)) == len(names)
        tiles = dict(zip(names, page.locator(".tiles dd").all_inner_texts(), strict=True))
        for outcome in ("received", *OUTCOMES, "unsettled"):
            assert int(tiles.get(outcome.capitalize(), "0")) == report["totals"][outcome]
        assert tiles["Requests"] == f"{sandbox.request_count:,}" == str(report["requests"])
        assert tiles["Requests saved"] == str(report["cost"]["requests_saved"])
        reasons = page.locator(".reasons tbody tr").all_inner_texts()
        for text, one in zip(reasons, report["streams"][odd]["reject_reasons"], strict=True):
            first, column, count, line = text.split("\t")
            assert first.splitlines() == ["A value does not fit its attribute", one["about"]]
            assert (column, count, line) == (
                one["column"],
                str(one["count"]),
                str(one["first_line"]),
            )
        page.get_by_text("The time line as a table").click()
        points = page.locator(".scroll tbody tr").all_inner_texts()
        assert len(points) == len(report["timeline"])
        assert points[-1].split("\t")[3] == str(report["requests"])


def test_the_page_and_the_log_give_the_same_command_to_send_rejects_again(start, tmp_path):
    path = tmp_path / "report.html"
    rows = lines([schema("prospects"), record("prospects", emails="nope")])
    _, log = start(report_path=str(path)).communicate(rows.encode(), timeout=60)
    (command,) = re.findall(r"send it again by: (.+)", log.decode())
    assert "--config" in command
    assert f"<code>{command}</code>" in unescape(path.read_text("utf-8"))


def test_the_page_leads_to_the_rejects_and_says_what_to_type(web_page, open_file):
    code, path = web_page([schema("prospects"), record("prospects", emails="nope")])
    with open_file(path) as page:
        command = page.locator("code").filter(has_text="target-outreach replay").inner_text()
        page.get_by_role("link").click()
        page.wait_for_url("file://**/*.jsonl")
        file = Path(unquote(urlsplit(page.url).path))
        page.go_back()
    assert code == 3
    assert shlex.split(command)[2] == str(file)
    assert json.loads(file.read_text("utf-8").splitlines()[1])["error"]["code"] == "invalid_value"


def test_the_reasons_of_all_streams_are_in_the_same_columns(web_page, open_file):
    wide = [schema("prospects"), record("prospects", emails="nope")]
    narrow = [schema("accounts"), record("accounts", name="Acme", employees="many")]
    _, path = web_page([*wide, *narrow])
    with open_file(path, viewport={"width": 1280, "height": 800}) as page:
        left = "all => all.map(one => Math.round(one.getBoundingClientRect().left))"
        for name in ("Source column", "Records", "First line of that file"):
            heads = page.locator(".reasons").get_by_role("columnheader", name=name)
            first, second = heads.evaluate_all(left)
            assert first == second
        end = page.locator(".reasons").first.bounding_box()
        below = page.locator("h3:below(.reasons)").last.bounding_box()
        assert below["y"] - (end["y"] + end["height"]) >= 16


# Whose run it was


def test_the_page_says_which_outreach_which_user_and_which_settings(web_page, sandbox):
    secret = {"access_token": "hunter2-hunter2"}
    _, path = web_page([schema("prospects"), *prospects(2)], batch_size_rows=7, **secret)
    shown = Page(path.read_text(encoding="utf-8")).text
    assert f"Records went to Sandbox ({sandbox.api_url}), written by ada@example.com." in shown
    assert re.search(r"batch_size_rows\s*7\b", shown)
    assert re.search(r"access_token\s*set\b", shown)
    assert "hunter2" not in shown


def test_what_the_report_says_of_the_user_costs_a_json_report_nothing(sync, sandbox):
    run = sync([schema("prospects"), *prospects(2)])
    assert "/api/v2/" not in {entry.path for entry in sandbox.requests}
    assert run.report["destination"] == {
        "address": sandbox.api_url,
        "organisation": None,
        "user": None,
    }


def test_a_first_load_is_not_taken_for_one_of_many():
    first, later = (make({"people": tally_of(**counts)}) for counts in FIRST_AND_LATER)
    assert first.as_json(ExitCode.DONE)["cost"]["requests_a_year_if_hourly"] is None
    assert later.as_json(ExitCode.DONE)["cost"]["requests_a_year_if_hourly"] == 87_600


FIRST_AND_LATER = ({"created": 900, "unchanged": 100}, {"created": 100, "unchanged": 900})


@pytest.mark.parametrize(("seconds", "has_line"), [(4.9, False), (5.0, True)])
def test_a_short_run_has_no_time_line(seconds, has_line):
    report = make({"people": tally_of(created=9)}, points=(Point(), Point(seconds, 9, 9, 9, 0.0)))
    assert ("Time line" in render(report.as_json(ExitCode.DONE))) is has_line


def test_local_time_is_shown_beside_utc(monkeypatch):
    began = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
    figures = make({}, started_at=began).as_json(ExitCode.DONE)
    for zone, said in {
        "Europe/Vienna": "2026-04-01 00:30:00 CEST (2026-03-31 22:30:00 UTC)",
        "UTC": "began at 2026-03-31 22:30:00 UTC",
    }.items():
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert said in " ".join(Page(render(figures)).text.split())
    monkeypatch.undo()
    time.tzset()
