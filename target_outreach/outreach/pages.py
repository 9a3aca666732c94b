"""Going from page to page of a list, and noticing that it has no end.

The address of the next page is followed as it is given (API reference 4.2). A list whose pages lead
in a circle, or bring nothing for long, would be read for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from target_outreach.errors import OutreachError

#: Pages of one list; `meta.count` is said up to 2,000,000 records, and a page has 1,000 of them
#: (API reference 4.2).
MOST_PAGES = 2000

#: Pages without any record that may follow each other.
MOST_EMPTY = 10


@dataclass(frozen=True, slots=True)
class Walk:
    """How far a list has been read.

    A circle is found as Brent does it: the address of one page is kept until twice as many pages
    have been read, so that no more than one needs to be remembered.

    Attributes:
        pages: How many pages were read.
        empty: How many of the last ones had no record.
        mark: The address of one of those that were read.
    """

    pages: int = 0
    empty: int = 0
    mark: str = ""

    def onwards(self, address: str, records: int) -> Walk:
        """Go on to the next page.

        Args:
            address: Its address.
            records: How many records the page before it has.

        Raises:
            OutreachError: There is no end to it.
        """
        pages = self.pages + 1
        empty = 0 if records else self.empty + 1
        if address == self.mark or pages >= MOST_PAGES or empty >= MOST_EMPTY:
            raise OutreachError(
                f"The pages of a list in Outreach do not end: {pages} were read, and there is "
                "still a next one."
            )
        is_power_of_two = pages & (pages - 1) == 0
        return Walk(pages, empty, address if is_power_of_two else self.mark)


class NextPage(str):
    """The address of a next page, which knows how many pages came before it."""

    __slots__ = ("walk",)

    walk: Walk


def next_page(links: Any, page: str, address: str, records: int) -> NextPage | None:  # noqa: ANN401 - JSON
    """Read which page comes after one, or return None where it is the last.

    Args:
        links: The links of the page; JSON:API lets each be relative, or an object with ``href``.
        page: The page as it was asked for, perhaps itself a `NextPage`.
        address: The whole address that it was read from.
        records: How many records it has.

    Raises:
        ValueError: The link is no address.
        OutreachError: The list has no end.
    """
    link = links.get("next") if isinstance(links, dict) else None
    if isinstance(link, dict):
        link = link.get("href")
    if not isinstance(link, str) or not link:
        return None
    following = NextPage(urljoin(address, link))
    walk = page.walk if isinstance(page, NextPage) else Walk()
    following.walk = walk.onwards(following, records)
    return following
