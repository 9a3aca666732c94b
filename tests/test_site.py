"""The documentation site in a real browser: every page at two widths, light and dark."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import documents
import pytest
from accessibility import SCREENS, watched_page
from axe_playwright_python.sync_playwright import Axe

#: What a user may type, and the page that has the answer.
QUERIES = {
    "exit codes": "reliability",
    "custom field": "custom-fields",
    "airflow": "scheduling",
    "refresh token": "login",
    "replay": "rejects",
    "on_null": "settings",
    "superseded": "glossary",
    "allow_enrolment": "sequences",
    "401 unauthorized": "troubleshooting",
    "429 too many requests": "troubleshooting",
    "duplicates": "troubleshooting",
    "hangs": "troubleshooting",
    "unsubscribed": "questions",
    "csv excel": "mapping-exports",
    "two runs": "reliability",
    "migrate from hightouch": "comparison",
    "prometheus": "reports",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site in a folder of the name that it has at GitHub Pages, built as CI does it."""
    folder = tmp_path_factory.mktemp("pages") / "target-outreach"
    command = ["uv", "run", "--quiet", "--isolated", "--only-group", "docs", "mkdocs", "build"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [sys.executable, "-m", *command, "--strict", "--site-dir", str(folder)],
        cwd=documents.ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served on this machine."""
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=site.parent)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{site.name}"
        server.shutdown()
        thread.join()


@pytest.fixture
def open_page(browser):
    """Open pages of which no request leaves this machine, and none of which complains."""

    @contextmanager
    def _open(**options):
        with watched_page(browser, reduced_motion="reduce", **options) as seen:
            yield seen.page
        assert seen.hosts <= {"127.0.0.1", "localhost"}
        assert seen.complaints == []

    return _open


def serious(page):
    """What axe-core finds that keeps people from using a page."""
    return [
        (one["id"], node["html"][:200])
        for one in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [*zip(SCREENS, ("dark", "light"), strict=True)])
def test_every_page_can_be_read(open_page, site, address, width, scheme):
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    assert len(pages) > len(documents.PAGES)
    wrong = {}
    with open_page(color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        for name in pages:
            page.goto(f"{address}/{name}")
            shown = page.locator("body").get_attribute("data-md-color-scheme")
            assert shown == {"light": "default", "dark": "slate"}[scheme]
            found = serious(page)
            widest = page.evaluate("document.documentElement.scrollWidth")
            if found or widest > width:
                wrong[name] = (widest, found)
    assert wrong == {}


def test_an_overflow_and_a_violation_are_noticed(open_page):
    with open_page(viewport={"width": 375, "height": 800}) as page:
        page.set_content(
            '<html lang="en"><title>A</title><main><h1>A</h1><p style="width: 900px">B</p>'
            '<p style="color: #ccc; background: #fff">It is pale.</p></main></html>'
        )
        assert page.evaluate("document.documentElement.scrollWidth") > 375
        assert [name for name, _ in serious(page)] == ["color-contrast"]


@pytest.mark.parametrize("way", ["folder", "server"])
def test_the_search_finds_pages_without_a_network(open_page, site, address, way):
    start = (site / "index.html").as_uri() if way == "folder" else f"{address}/"
    missed = {}
    with open_page(viewport={"width": 1280, "height": 800}) as page:
        for query, name in QUERIES.items():
            page.goto(start)
            page.locator("input[name=query]").click()
            page.locator("input[name=query]").press_sequentially(query)
            page.locator(".md-search-result__link").first.wait_for()
            links = page.locator(".md-search-result__link").evaluate_all(
                "found => found.map(one => one.getAttribute('href'))"
            )
            names = [re.sub(r".*/|\.html.*|[?#].*", "", link) for link in links]
            found = [*dict.fromkeys(names)][:3]
            if name not in found:
                missed[query] = found
    assert missed == {}
