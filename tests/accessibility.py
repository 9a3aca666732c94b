"""Whether a page can be used by everybody: axe-core finds nothing, and nothing sticks out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

#: Widths of a telephone and of a desk, in CSS pixels.
SCREENS = (375, 1280)

#: Words that are broken, although they would fit into a line of their own.
BROKEN = """() => {
    const broken = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    while (walker.nextNode()) {
        const node = walker.currentNode;
        const box = node.parentElement.getBoundingClientRect();
        if (!node.parentElement.checkVisibility() || box.width < 16) continue; // for readers only
        for (const word of node.data.matchAll(/[A-Za-z]{2,24}/g)) {
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            const tops = new Set([...range.getClientRects()].map((one) => Math.round(one.top)));
            const around = node.data.slice(0, word.index).match(/[^\\s]*$/)[0] +
                node.data.slice(word.index).match(/^[^\\s]*/)[0];
            if (tops.size > 1 && around.length <= 24) broken.push(around);
        }
    }
    return broken;
}"""


@dataclass
class Watched:
    """A page, and what the browser saw of it.

    Attributes:
        page: The page; nothing is open in it yet.
        requested: The addresses that were requested, without those that are data themselves.
        complaints: What was written to the console, and errors of scripts.
    """

    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def hosts(self) -> set[str]:
        """The hosts from which something was requested."""
        return {urlsplit(url).hostname or "localhost" for url in self.requested}


@contextmanager
def watched_page(browser: Browser, **options: Any) -> Iterator[Watched]:
    """Open an empty page in a context of its own, and watch what it requests and complains of.

    Args:
        browser: The browser of the tests.
        options: For the context, such as `viewport`, in CSS pixels, and `color_scheme`.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(30_000)
    seen = Watched(context.new_page())

    def note(url: str) -> None:
        if not url.startswith("data:"):
            seen.requested.append(url)

    context.on("request", lambda request: note(request.url))
    context.on("console", lambda message: seen.complaints.append(message.text))
    context.on("weberror", lambda failure: seen.complaints.append(str(failure.error)))
    yield seen
    context.close()


def check(page: Page) -> None:
    """Insist that axe-core has nothing to say, that nothing sticks out, and that words are whole.

    Args:
        page: The page, open and still.
    """
    found = Axe().run(page, options=None).response["violations"]
    said = [
        (one["id"], node["html"][:200], node["failureSummary"])
        for one in found
        for node in one["nodes"]
    ]
    assert said == []
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
    broken = page.evaluate(BROKEN)
    assert broken == [], broken
