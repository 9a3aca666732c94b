"""Takes the pictures of the documentation again, of invented records that real runs have written.

Chromium takes those of the sandbox's page; the one of a dry run is drawn from its plan.

python -m uv run nox --session screenshots
"""

from __future__ import annotations

import html
import io
import json
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from target_outreach.cli import run
from target_outreach.sandbox import Profile, Sandbox
from target_outreach.sandbox.server import PAUSE_SECONDS
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
MOST_BYTES = 150_000
SIZE = {"width": 1200, "height": 600}
MONDAY = 1_772_444_460.0  # 2026-03-02T09:41:00Z
DAY = 86_400.0
FIRST_NAMES = ("Amara", "Bjarne", "Chiara", "Dmitri", "Elif", "Farah", "Goran", "Hana", "Ines")
LAST_NAMES = ("Okafor", "Lindqvist", "Moretti", "Sorokin", "Demir", "Haddad", "Kovač", "Sato")
TITLES = ("Head of Data", "Analytics Engineer", "VP Sales", "Revenue Operations", "CTO")
COMPANIES = ("Fernway", "Tidal", "Brightmoor", "Kestrel", "Oakline", "Pinegate", "Solvane")
TRADES = (("Logistics", "Logistics"), ("Foods", "Food"), ("Robotics", "Machinery"))


def companies() -> list[dict[str, Any]]:
    """Invent companies."""
    return [
        {
            "custom_id": f"C-{1001 + n}",
            "name": f"{first} {second}",
            "domain": f"{first}-{second}.example.com".lower(),
            "industry": industry,
        }
        for n, (first, (second, industry)) in enumerate(
            (first, trade) for trade in TRADES for first in COMPANIES
        )
    ]


def people(day: int) -> list[dict[str, Any]]:
    """Invent people of these companies; some have another title on another day."""
    names = [(first, last) for last in LAST_NAMES for first in FIRST_NAMES]
    known = companies()
    return [
        {
            "email": f"{first}@{known[n % len(known)]['domain']}".lower(),
            "first_name": first,
            "last_name": last,
            "title": TITLES[(n + day * (n % 10 == 3)) % len(TITLES)],
            "tags": ["warehouse", "newsletter"] if n % 2 else ["warehouse"],
            "account_custom_id": known[n % len(known)]["custom_id"],
            "owner_email": "grace@example.com" if n % 3 else "ada@example.com",
        }
        for n, (first, last) in enumerate(names)
    ]


def messages(stream: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write rows as a tap does."""
    properties: dict[str, Any] = {name: {"type": ["null", "string"]} for name in rows[0]}
    if "tags" in properties:
        properties["tags"] = {"type": ["null", "array"]}
    declared = {"type": "object", "properties": properties}
    yield json.dumps({"type": "SCHEMA", "stream": stream, "schema": declared, "key_properties": []})
    for row in rows:
        yield json.dumps({"type": "RECORD", "stream": stream, "record": row})


def sync(sandbox: Sandbox, folder: str, day: int) -> None:
    """Send the companies and people of a day."""
    settings = {
        "api_url": sandbox.api_url,
        "access_token": "invented",
        "rejects_path": folder,
        "max_parallel_requests": 4,
    }
    given = [*messages("accounts", companies()), *messages("prospects", people(day))]
    with redirect_stdout(io.StringIO()):
        code = run(TargetOutreach(config=settings), io.StringIO("\n".join(given) + "\n"))
    assert code == 0


def shoot(page: Page, name: str) -> None:
    """Take a snapshot, which must be small."""
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"{path.name} is larger than {MOST_BYTES:,} bytes")


def take(page: Page, url: str, person: int) -> None:
    """Take all pictures."""
    page.goto(f"{url}/#/prospects")
    page.get_by_role("link", name="Next page").wait_for()
    shoot(page, "sandbox-list")
    page.goto(f"{url}/#/prospects/{person}")
    page.get_by_role("heading", name="History").wait_for()
    shoot(page, "sandbox-record")
    page.goto(f"{url}/#/requests")
    page.locator(".log tbody tr").first.wait_for()
    shoot(page, "sandbox-requests")


#: What Outreach holds of some people, and what the warehouse says now.
HELD = [
    {"emails": ["amara@fernway-foods.example.com"], "title": "Head of Data"},
    {"emails": ["bjarne@tidal-robotics.example.com"], "title": "Analytics Engineer"},
    {"emails": ["chiara@kestrel-foods.example.com"], "title": "CTO", "tags": ["newsletter"]},
]
NOW = [
    {"email": "amara@fernway-foods.example.com", "title": "VP Data", "tags": None},
    {"email": "bjarne@tidal-robotics.example.com", "title": "Analytics Engineer", "tags": None},
    {"email": "chiara@kestrel-foods.example.com", "title": "CTO", "tags": ["warehouse"]},
    {"email": "dmitri@oakline-logistics.example.com", "title": "VP Sales", "tags": None},
    {"email": "elif.at.pinegate", "title": "CTO", "tags": None},
]
STYLE = """\
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #24292f; }
.card { fill: #f6f8fa; stroke: #d0d7de; } .quiet { fill: #57606a; }
.old { fill: #b42318; } .new { fill: #116329; } .head { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .card { fill: #161b22; stroke: #30363d; } .quiet { fill: #9198a1; }
  .old { fill: #ff8a80; } .new { fill: #7ee787; }
}"""


def plan_of_a_dry_run(folder: str) -> list[dict[str, Any]]:
    """Let the target plan what it would write of `NOW` where Outreach has `HELD`."""
    path = Path(folder, "plan.jsonl")
    with Sandbox() as sandbox:
        for one in HELD:
            sandbox.store.seed("prospects", one)
        settings = {
            "api_url": sandbox.api_url,
            "access_token": "invented",
            "rejects_path": folder,
            "dry_run": True,
            "changes_path": str(path),
        }
        given = "\n".join(messages("crm-prospects", NOW)) + "\n"
        with redirect_stdout(io.StringIO()):
            run(TargetOutreach(config=settings), io.StringIO(given))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def changes_of(entry: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Say class, text, old and new value of each change of an entry of a plan."""
    for name, pair in entry.get("changes", {}).items():
        yield name, *("" if one is None else json.dumps(one) for one in pair.values())
    if "reason" in entry:
        yield entry["field"], f"{entry['reason']}: {entry['message'].partition(',')[0]}", ""


def draw(plan: list[dict[str, Any]]) -> str:
    """Draw a plan, with old and new values."""
    rows: list[str] = []

    def add(x: int, text: str, kind: str = "") -> None:
        y = 62 + 22 * len(rows)
        lines.append(f'<text x="{x}" y="{y}" class="{kind}">{html.escape(text)}</text>')

    lines: list[str] = []
    for entry in sorted(plan, key=lambda one: one["line"]):
        who = NOW[entry["line"] - 2]["email"]
        changes = [*changes_of(entry)] or [("", "", "")]
        for number, (name, old, new) in enumerate(changes):
            if number == 0:
                add(20, entry["action"], "head")
                add(110, str(who), "" if entry.get("changes") else "quiet")
            add(420, name)
            if entry["action"] == "reject":
                add(490, old, "old")
            elif name:
                add(490, old or "(empty)", "old")
                add(490 + 8 * (len(old or "(empty)") + 1), "→ " + new, "new")
            rows.append(name)
    height = 62 + 22 * len(rows)
    title = "What a dry run would change in Outreach, from its plan"
    said = "A dry run: what would change in Outreach, with the old and the new value of each field"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 940 {height}" role="img"\n'
        f' aria-label="{said}">\n<style>\n{STYLE}\n</style>\n'
        f'<rect class="card" x="0.5" y="0.5" width="939" height="{height - 1}" rx="8"/>\n'
        f'<text x="20" y="30" class="quiet">{title}</text>\n' + "\n".join(lines) + "\n</svg>\n"
    )


def main() -> None:
    """Draw a plan; fill a sandbox on two days, and look at it."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(plan_of_a_dry_run(folder))
    (IMAGES / "dry-run.svg").write_text(drawn, encoding="utf-8")
    now = [MONDAY]
    profile = Profile(latency_seconds=0.1)
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(profile=profile, clock=lambda: now[0]) as sandbox,
        sync_playwright() as playwright,
    ):
        sync(sandbox, folder, 0)
        now[0] += DAY
        sandbox.spend(2_345)  # by others
        time.sleep(PAUSE_SECONDS + 0.5)  # so that it is another run
        sync(sandbox, folder, 1)
        changed = [
            one["id"]
            for one in sandbox.store.all("prospects")
            if len(sandbox.store.writes("prospects", one["id"])) > 1
        ]
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        take(page, sandbox.url, changed[0])
        browser.close()


if __name__ == "__main__":
    main()
