"""A hook of MkDocs: the search shows answers before reference and decisions."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

#: How much the words of a page count, by its path; other pages count 1.
BOOSTS = {
    "questions*.md": 2.0,
    "troubleshooting.md": 2.0,
    "messages.md": 2.0,  # texts that users paste
    "sandbox.md": 0.5,
    "outreach-api*.md": 0.2,
    "adr/*.md": 0.2,
    "architecture.md": 0.2,
    "contributing.md": 0.5,
}


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Set the boost of a page; its text stays as it is."""
    for pattern, boost in BOOSTS.items():
        if fnmatch.fnmatch(page.file.src_uri, pattern):
            page.meta["search"] = {"boost": boost}
    return markdown
