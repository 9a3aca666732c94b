"""Takes the pictures of the sandbox's page anew, of invented records that real runs have written.

python tests/screenshots.py
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from target_outreach.cli import run
from target_outreach.sandbox import Profile, Sandbox
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

IMAGES = Path(__file__).resolve().parents[1] / ".github" / "images"
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
    """Take a picture, which must be small."""
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


def main() -> None:
    """Fill a sandbox on two days, and look at it."""
    IMAGES.mkdir(exist_ok=True)
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
