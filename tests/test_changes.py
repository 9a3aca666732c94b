"""What a run did with each record, or would do, as JSON Lines and as a page in a browser."""

from __future__ import annotations

import json
import re
import signal
import stat
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from accessibility import SCREENS, check, watched_page
from conftest import PROSPECTS, lines, record, schema
from test_dry_run import ROWS, seed

from target_outreach.delivery import changes_page
from target_outreach.delivery.changes_file import ChangesFile
from target_outreach.delivery.changes_page import ChangesPage
from target_outreach.delivery.tally import Tally

HOSTILE = "</script><script>window.struck = 1</script><img src=x onerror='window.struck = 2'><!--"


def entries(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        text = text.partition('id="rows">[\n')[2].partition("\nnull]")[0].replace(",\n", "\n")
    return [json.loads(line.removesuffix(",")) for line in text.splitlines()]


def without_ids(plan):
    """What a plan and the changes of a real run have alike: all but the ids of new records."""
    alike = [{**one, "id": None if one["action"] == "create" else one.get("id")} for one in plan]
    return sorted(alike, key=lambda one: one["line"])


@pytest.mark.parametrize("suffix", ["jsonl", "html"])
def test_changes_path_of_a_real_run_holds_what_its_dry_run_said(sync, sandbox, tmp_path, suffix):
    seed(sandbox)
    planned, done = tmp_path / f"plan.{suffix}", tmp_path / f"done.{suffix}"
    sync(ROWS, dry_run=True, changes_path=str(planned))
    before = sandbox.store.get("prospects", 1)["attributes"]
    run = sync(ROWS, changes_path=str(done))
    after = sandbox.store.get("prospects", 1)["attributes"]
    plan, told = entries(planned), entries(done)
    assert without_ids(told) == without_ids(plan)
    assert all(one["id"] > 0 for one in told if one["action"] == "create")
    assert len(told) == run.report["totals"]["received"] == 7
    (update,) = [one for one in told if one.get("id") == 1]
    for name, change in update["changes"].items():
        assert (before[name], after[name]) == (change["old"], change["new"])
    assert stat.S_IMODE(done.stat().st_mode) == 0o600


def test_each_row_is_told_although_a_memory_knows_it(sync, tmp_path):
    path = tmp_path / "changes.jsonl"
    memory = {"memory_path": str(tmp_path / "memory.db"), "change_detection": "source"}
    memory["changes_path"] = str(path)
    people = [record("prospects", id=n, emails=f"p{n}@x.test", title="Clerk") for n in range(3)]
    sync([schema("prospects"), *people], **memory)
    assert [one["action"] for one in entries(path)] == ["create"] * 3
    people[1]["record"]["title"] = "Head"
    run = sync([schema("prospects"), *people], **memory)
    told = {one["source_key"]["id"]: one for one in entries(path)}
    assert {key: one["action"] for key, one in told.items()} == {
        0: "unchanged",
        1: "update",
        2: "unchanged",
    }
    assert told[1]["changes"] == {"title": {"new": "Head"}}  # nobody asked what was there
    assert run.counts("prospects")["unchanged"] == 2
    sync([schema("prospects"), *people], **memory | {"changes_path": None})
    assert len(entries(path)) == 3  # of the run before


def test_what_outreach_keeps_differently_is_told(sync, sandbox, tmp_path):
    path = tmp_path / "changes.jsonl"
    account = sandbox.store.seed("accounts", {"name": "Acme"})
    sandbox.profile = replace(sandbox.profile, company_from_account=True)
    company = {"company": {"type": "string"}, "outreach_account_id": {"type": "integer"}}
    row = record("prospects", emails="a@x.test", company="ACME Inc", outreach_account_id=account)
    always = [{"stream": "prospects", "field_rules": {"company": "always"}}]
    rows = [schema("prospects", PROSPECTS | company), row]
    sync(rows, streams=always, changes_path=str(path))
    (one,) = entries(path)
    assert one["changes"]["company"]["new"] == "ACME Inc"
    assert one["kept"] == {"company": "Acme"}


def test_what_was_done_is_told_of_a_run_that_fails(sync, tmp_path):
    path = tmp_path / "changes.html"
    run = sync([*ROWS[:2], "no JSON"], changes_path=str(path))
    assert run.exit_code == 1
    assert [one["action"] for one in entries(path)] == ["create"]
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_page(start, sandbox, tmp_path):
    path = tmp_path / "changes.html"
    path.write_text("of the run before", encoding="utf-8")
    process = start(changes_path=str(path), batch_size_rows=1)
    process.stdin.write(lines(ROWS[:3]).encode())
    process.stdin.flush()
    until = time.monotonic() + 60
    while sandbox.store.count("prospects") < 2 and time.monotonic() < until:
        process.stdin.write(lines([record("prospects", id=9, emails="z@x.test")]).encode())
        process.stdin.flush()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert path.read_text(encoding="utf-8") == "of the run before"


def stream(name="people", **titles):
    return SimpleNamespace(name=name, titles=titles)


def test_a_page_lists_so_many_of_a_kind_and_counts_the_others(monkeypatch):
    monkeypatch.setattr(changes_page, "MOST", 2)
    tally = Tally(received=8)
    tally.outcomes["created"] = 5
    page = ChangesPage({"people": tally}, is_dry=False)
    texts = [page.entry(stream(), {"action": action}) for action in ["create"] * 5 + ["skip"]]
    assert [bool(text) for text in texts] == [True, True, False, False, False, True]
    end = page.end()
    about = json.loads(end.partition('id="about">')[2].partition("</script>")[0])
    assert about["left_out"] == {"create": 3}
    assert about["unsettled"] == 3


def test_no_value_ends_an_element_of_the_page():
    page = ChangesPage({}, is_dry=True)
    text = page.entry(stream(HOSTILE), {"action": "create", "changes": {HOSTILE: HOSTILE}})
    end = page.end()
    assert "<" not in text
    assert end.count("</script>") == 3
    assert end.count("<script") == 2
    assert HOSTILE in json.loads(text.rstrip().rstrip(","))["changes"]


# The page in a browser


@pytest.fixture
def open_changes(browser):
    """Open a page of which no request leaves, and which complains of nothing."""

    @contextmanager
    def _open(path, **options):
        with watched_page(browser, **options) as seen:
            seen.page.goto(path.as_uri())
            seen.page.locator("#filters").wait_for()
            yield seen.page
        assert (seen.requested, seen.complaints) == ([path.as_uri()], [])

    return _open


@pytest.fixture
def page_of_a_run(sync, sandbox, tmp_path):
    """Changes of all kinds, with values that would do harm as HTML."""
    sandbox.store.define_custom_field("prospects", 1, "Lead Score", "numerical")
    seed(sandbox)
    declared = PROSPECTS | {"opted_out": {"type": ["null", "boolean"]}, "lead_score": {}}
    rows = [schema("prospects", declared), *ROWS[1:-1]]
    gone = record("prospects", id=20, emails="d@x.test", _sdc_deleted_at="2026-01-01")
    rows += [
        record("prospects", id=10, emails="bad@x.test", title=HOSTILE, lead_score=7),
        record("prospects", id=11, emails="w@x.test", last_name="W" * 200, lead_score="many"),
        gone,
        schema("accounts"),
        record("accounts", id=1, name=HOSTILE, domain="acme.example.com"),
    ]
    path = tmp_path / "changes.html"
    sync(rows, changes_path=str(path), on_duplicate="last")
    return path


def test_records_are_found_by_action_stream_field_and_text(open_changes, page_of_a_run):
    with open_changes(page_of_a_run) as page:
        assert page.title() == "What the run changed"
        total = len(entries(page_of_a_run))
        page.get_by_text(f"1 to {total} of {total} records").wait_for()
        assert page.evaluate("window.struck") is None
        assert HOSTILE in page.locator("#list").inner_text()
        for box in page.locator("#actions input").all():
            if box.input_value() != "update":
                box.uncheck()
        page.get_by_text("1 to 2 of 2 records").wait_for()
        row = page.locator("tbody tr").filter(has_text="old@x.test")
        changes = [text.split() for text in row.locator("dd").all_inner_texts()]
        assert ["before:", "Clerk", "→", "now:", "Head"] in changes
        assert ["c", "now:", "b"] in changes
        page.get_by_label("Text").fill("third@")
        page.get_by_text("1 to 1 of 1 records").wait_for()
        page.get_by_label("Text").fill("nobody at all")
        page.get_by_text("No record fits these filters.").wait_for()
        page.get_by_label("Text").fill("")
        page.get_by_label("Stream").select_option("accounts")
        page.get_by_text("No record fits these filters.").wait_for()
        page.get_by_label("Create").check()
        page.get_by_text("1 to 1 of 1 records").wait_for()
        page.get_by_label("Stream").select_option("")
        page.get_by_label("Field").select_option("title")
        page.get_by_text("1 to 4 of 4 records").wait_for()


def test_rejects_say_the_reason_in_words(open_changes, page_of_a_run):
    with open_changes(page_of_a_run) as page:
        rejected = page.locator("tbody tr").filter(has_text="Rejected").first
        assert "A value does not fit its attribute." in rejected.inner_text()
        assert "is not an email address" in rejected.inner_text()
        assert "Lead Score (custom1)" in page.locator("#list").inner_text()
        skipped = page.locator("tbody tr").filter(has_text="Skipped")
        assert "The source has deleted it." in skipped.inner_text()
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SCREENS)
def test_the_page_can_be_used_by_everybody(open_changes, page_of_a_run, scheme, width):
    size = {"width": width, "height": 800}
    with open_changes(page_of_a_run, color_scheme=scheme, viewport=size) as page:
        check(page)


@pytest.mark.parametrize(
    ("zone", "said"),
    [("America/New_York", r"UTC \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d here\)\.$"), ("UTC", r"UTC\.$")],
)
def test_the_time_is_told_as_it_is_here_where_that_differs(open_changes, page_of_a_run, zone, said):
    with open_changes(page_of_a_run, timezone_id=zone) as page:
        assert re.search(said, page.locator("#made").inner_text().strip())


def test_fifty_thousand_rows_are_listed_page_by_page(open_changes, tmp_path):
    path = tmp_path / "many.html"
    page = ChangesPage({"people": Tally()}, is_dry=True)
    file = ChangesFile(str(path), page)
    for n in range(50_000):
        entry = {
            "stream": "people",
            "action": "update",
            "line": n + 2,
            "source_key": {"id": n},
            "key": {"emails": [f"person{n}@fernway-foods.example.com"]},
            "id": n + 1,
            "changes": {
                "title": {"old": "Analytics Engineer", "new": f"Head of Data {n}"},
                "tags": {"old": ["newsletter"], "new": ["newsletter", "warehouse"]},
            },
        }
        file._write(page.entry(stream(), entry))
    file.close()
    with open_changes(path) as shown:
        shown.get_by_text("1 to 100 of 50,000 records").wait_for()
        paint = shown.evaluate("performance.getEntriesByName('first-paint')[0].startTime")
        print(f"{path.stat().st_size:,} bytes, first paint after {paint:.0f} ms")
        assert path.stat().st_size < 25_000_000
        assert shown.locator("tbody tr").count() == 100
        shown.get_by_role("button", name="Last").click()
        shown.get_by_text("49,901 to 50,000 of 50,000 records").wait_for()
        shown.get_by_label("Text").fill("person49999@")
        shown.get_by_text("1 to 1 of 1 records").wait_for()
