"""Reading a list page by page, and noticing that it has no end.

The address of the next page is followed as it is given (API reference 4.2). A list whose pages lead
in a circle, or bring nothing for long, would be read for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from target_outreach.bounds import MOST_EMPTY, MOST_PAGES
from target_outreach.errors import OutreachError
from target_outreach.outreach.answers import read_resource

if TYPE_CHECKING:
    from target_outreach.outreach.answers import Answer
    from target_outreach.records.model import Resource


@dataclass(frozen=True, slots=True)
class NextPage:
    """A page of a list that has not been read yet, and how far the list has been read.

    A circle is found as Brent does it: the address of one page is kept until twice as many pages
    have been read, so that no more than one needs to be remembered.

    Attributes:
        address: A path below the API's URL with its query, or a whole address.
        read: How many pages were read before it.
        empty: How many of the last ones had no record.
        mark: The address of one of those that were read.
    """

    address: str
    read: int = 0
    empty: int = 0
    mark: str = ""

    def then(self, address: str, records: int) -> NextPage:
        """Go on to the page after this one, which has so many records.

        Raises:
            OutreachError: There is no end to it.
        """
        read = self.read + 1
        empty = 0 if records else self.empty + 1
        if address == self.mark or read >= MOST_PAGES or empty >= MOST_EMPTY:
            raise OutreachError(
                f"The pages of a list in Outreach do not end: {read} were read, and there is "
                "still a next one."
            )
        is_power_of_two = read & (read - 1) == 0
        return NextPage(address, read, empty, address if is_power_of_two else self.mark)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    Attributes:
        resources: What is on it.
        following: The next one, to be read by the same `Lookup`, or None.
        count: How many records the list has, where that was asked for and said.
        server_time: When it was answered, by Outreach's clock.
    """

    resources: list[Resource]
    following: NextPage | None
    count: int | None
    server_time: datetime


def read_page(answer: Answer, asked: NextPage, address: str) -> Page:
    """Read one page of a list, which was asked for at a whole address.

    Raises:
        OutreachError: The answer is no list of resources, or the list has no end.
    """
    document = answer.document
    try:
        resources = [read_resource(entry) for entry in document["data"]]
        links = document.get("links")
        link = links.get("next") if isinstance(links, dict) else None
        if isinstance(link, dict):  # JSON:API lets it be an object, and relative
            link = link.get("href")
        following = None
        if isinstance(link, str) and link:
            following = asked.then(urljoin(address, link), len(resources))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise OutreachError("Outreach answered with something else than a list.") from None
    meta = document.get("meta")
    count = meta.get("count") if isinstance(meta, dict) else None
    return Page(
        resources,
        following,
        count if isinstance(count, int) else None,
        answer.server_time or datetime.now(UTC),
    )
