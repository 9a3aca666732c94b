"""Looking up many records at a time: which URLs to request, and reading all their pages.

A list filter means *any of* (API reference 4.1). Its values are separated by commas, so a value
with a comma or with ``..``, which would be a range, goes in the newer ``filter[x][]=`` form. URLs
stay below 6 kB, and are halved where that is too long. Sparse fieldsets keep the answers small, and
``count=false`` keeps them cheap.

How many values a list may have is not published. If Outreach cut a list silently, accounts would be
created twice. So lists are tested before the first account is created, and shrink if they fail.
"""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode

from target_outreach.errors import (
    OutcomeUnknown,
    OutreachError,
    RecordFault,
    Retriable,
    RunError,
    UriTooLong,
)
from target_outreach.outreach.answers import read_resource
from target_outreach.outreach.filters import (
    NAMED_OR_NOT,
    chunks,
    halved,
    in_other_case,
    most_records,
    quoted,
    spellings,
    texts_to_test,
)
from target_outreach.outreach.pages import NextPage, read_page
from target_outreach.outreach.refusals import NOT_FOUND, no_such_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from target_outreach.outreach.client import Client
    from target_outreach.outreach.pages import Page
    from target_outreach.records.model import ObjectType, Resource, Value

logger = logging.getLogger("target-outreach")

LONGEST_URL = 6000
BAD_REQUEST = 400
PAGE_SIZE = 1000
ALWAYS_ASKED = ("createdAt",)

#: Hides links to unnamed accounts. It is documented for prospects, but not for lists of them
#: (API reference 2.3).
NAMED_ONLY = "&actionParams%5BwithUnnamedAccount%5D=false"

#: Values in a list, as long as Outreach is not seen to ignore some.
MOST_VALUES = 200

#: Records that lists are tested with, and characters that their values may take in a test.
TESTED_RECORDS = 50
TESTED_LENGTH = 2800


class Lookup:
    """Finds records by lists of values, and knows how long a reliable list may be."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._most: dict[tuple[str, str], int] = {}
        self._longest_url = LONGEST_URL
        self._warned: set[tuple[str, str]] = set()
        self._named_only = NAMED_ONLY
        #: Counts how often lists have shrunk: what was read before may be incomplete.
        self.version = 0

    def most(self, object_type: ObjectType, field: str) -> int:
        """Return how many values a list of this field may have."""
        return self._most.get((object_type.name, field), MOST_VALUES)

    def halve(self, object_type: ObjectType, field: str, version: int) -> None:
        """Halve the lists of a field after one missed a record.

        Args:
            object_type: What was looked up.
            field: The field that the list was of.
            version: The version under which the list was read; if it is outdated, nothing changes.
        """
        if version == self.version:
            self.shrink(object_type, field, self.most(object_type, field) // 2)

    def shrink(self, object_type: ObjectType, field: str, most: int) -> None:
        """Limit lists of this field to this number of values."""
        with self._lock:
            if most < self.most(object_type, field):
                self._most[object_type.name, field] = max(1, most)
                self.version += 1
                logger.warning(
                    "Outreach ignores some values of a long list in filter[%s]; %s are looked "
                    "up %d at a time from now on.",
                    field,
                    object_type.name,
                    max(1, most),
                )

    def paths(
        self, object_type: ObjectType, field: str, values: Iterable[str], asked: Sequence[str]
    ) -> list[str]:
        """Write the requests that look up all the values of one field.

        Args:
            object_type: What to look up.
            field: The attribute to filter by, ``id``, or that of a linked record: ``account.id``.
            values: What to look for; duplicates are looked up once.
            asked: The attributes and relationships to read.

        Returns:
            Paths with their query, each with as many values as fit.
        """
        wanted = list(dict.fromkeys(values))
        special = [value for value in wanted if "," in value or ".." in value or value[:2] == "__"]
        plain = [quoted(value) for value in wanted if value not in special]
        start, newer = f"/{object_type.name}?", "newFilterSyntax=true&"
        common = self._common(object_type, asked)
        name = quote("filter" + "".join(f"[{part}]" for part in field.split(".")), safe="")
        pairs = [f"{name}%5B%5D={quoted(value)}" for value in special]
        room = self._longest_url - len(self._client.api_url) - len(start) - len(common)
        most = self.most(object_type, field)
        return [
            f"{start}{name}={','.join(chunk)}&{common}"
            for chunk in chunks(plain, room - len(name) - 1, most)
        ] + [
            f"{start}{newer}{'&'.join(chunk)}&{common}"
            for chunk in chunks(pairs, room - len(newer), most)
        ]

    def changes_path(
        self, object_type: ObjectType, since: datetime | None, asked: Sequence[str]
    ) -> str:
        """Write the request for the records changed since a time, newest first, with their count.

        Args:
            object_type: Whose changes are requested.
            since: By Outreach's clock; None requests one record, only to learn Outreach's time.
            asked: The attributes and relationships to read.
        """
        if since is None:
            return f"/{object_type.name}?page[size]=1&count=false"
        from_then = f"{since:%Y-%m-%dT%H:%M:%SZ}..inf"
        changed = urlencode({"filter[updatedAt]": from_then, "sort": "-updatedAt"}, safe=":")
        return f"/{object_type.name}?{changed}&{self._counted(object_type, (*asked, 'updatedAt'))}"

    def whole_path(self, object_type: ObjectType, asked: Sequence[str]) -> str:
        """Write the request for all records of an object, and how many there are.

        Args:
            object_type: Whose records.
            asked: The attributes and relationships to read.
        """
        return f"/{object_type.name}?{self._counted(object_type, asked)}"

    def _common(self, object_type: ObjectType, asked: Sequence[str]) -> str:
        sparse = _fields(object_type, asked) | {"page[size]": str(PAGE_SIZE), "count": "false"}
        common = urlencode(sparse, safe=",")
        if object_type.unnamed_link in asked:
            return common + self._named_only
        if "named" in object_type.attributes and "named" in asked:
            return f"{common}&{NAMED_OR_NOT}"
        return common

    def _counted(self, object_type: ObjectType, asked: Sequence[str]) -> str:
        return self._common(object_type, asked).replace("count=false", "count=true")

    def read(self, path: str) -> list[Resource]:
        """Read a list with all its pages.

        If it has far more records than values were requested, it is requested in parts; of a single
        value that has more, some records are read.

        Raises:
            OutreachError: An answer is no list of resources, or a list has no end.
            RunError: As for any request.
        """
        parts = halved(path)
        if len(path) <= self._longest_url or len(parts) == 1:
            try:
                resources, is_whole = self._read(path)
            except UriTooLong:
                if len(parts) == 1:
                    raise
                self._longest_url = min(self._longest_url, max(map(len, parts)))
            else:
                if not is_whole and len(parts) == 1:
                    self._warn_of_more(path)
                if is_whole or len(parts) == 1:
                    return resources
        return [resource for part in parts for resource in self.read(part)]

    def _read(self, path: str) -> tuple[list[Resource], bool]:
        """Read a list to its end, or until it has more records than its values can account for."""
        most = most_records(path)
        resources: list[Resource] = []
        following: str | NextPage | None = path
        while following:
            page = self.page(following)
            resources += page.resources
            following = page.following
            if following and most is not None and len(resources) > most:
                return resources, False
        return resources, True

    def _warn_of_more(self, path: str) -> None:
        """Warn, once for each field, that one value has more records than are read."""
        name, _, query = path.lstrip("/").partition("?")
        fields = [unquote(part.partition("=")[0]) for part in query.split("&")]
        field = next(part for part in fields if part.startswith("filter")).removesuffix("[]")
        with self._lock:
            is_new = (name, field) not in self._warned
            self._warned.add((name, field))
        if is_new:
            logger.warning(
                "Outreach has more %s for one value of %s than are read; the first ones count.",
                name,
                field,
            )

    def page(self, path: str | NextPage) -> Page:
        """Read one page of a list.

        Args:
            path: The path of the first page with its query, or the page that the last one names.

        Raises:
            OutreachError: The answer is no list of resources.
            RunError: As for any request.
        """
        asked = path if isinstance(path, NextPage) else NextPage(path)
        try:
            answer = self._client.get(asked.address)
            return read_page(answer, asked, self._client.address(asked.address))
        except OutreachError as error:
            if error.status != BAD_REQUEST or NAMED_ONLY not in asked.address:
                raise
            self._named_only = ""  # it is not documented that lists know the parameter
            return self.page(replace(asked, address=asked.address.replace(NAMED_ONLY, "")))
        except (RecordFault, OutcomeUnknown) as error:
            if error.status == NOT_FOUND:  # a list exists, even if it is empty
                raise OutreachError(no_such_address(NOT_FOUND)) from None
            raise OutreachError(f"Outreach cannot be read: {error}") from None

    def has_no_named_account(self, object_type: ObjectType, resource_id: int) -> bool:
        """Read whether one prospect is linked to no account, or to an unnamed one.

        Documented for reads of one record (API reference 2.3).

        Raises:
            RunError: As for any request.
        """
        fields = f"fields%5B{object_type.type}%5D=account"
        path = f"/{object_type.name}/{resource_id}?{fields}{NAMED_ONLY}"
        try:
            resource = read_resource(self._client.get(path).document["data"])
        except (RecordFault, OutcomeUnknown, KeyError, TypeError, ValueError):
            return False
        except OutreachError as error:
            if error.status != BAD_REQUEST:
                raise
            return False
        return resource.links.get("account", resource_id) is None

    def read_one(
        self, object_type: ObjectType, resource_id: int, asked: Sequence[str]
    ) -> Resource | None:
        """Read one record by its id, not through a list; None if it does not exist.

        Args:
            object_type: What it is.
            resource_id: Its id.
            asked: The attributes and relationships to read.

        Raises:
            OutreachError: It cannot be read.
            RunError: As for any request.
        """
        path = (
            f"/{object_type.name}/{resource_id}?{urlencode(_fields(object_type, asked), safe=',')}"
        )
        if object_type.unnamed_link in asked:
            path += NAMED_ONLY  # documented for reads of one record (API reference 2.3)
        try:
            return read_resource(self._client.get(path).document["data"])
        except RecordFault as fault:
            if fault.status == NOT_FOUND:
                return None
            raise OutreachError(f"Outreach cannot be read: {fault}") from None
        except (KeyError, TypeError, ValueError):
            raise OutreachError("Outreach answered without a resource.") from None

    def page_once(self, path: str | NextPage) -> Page | None:
        """Read one page by one request, or return None if that fails for any reason."""
        asked = path if isinstance(path, NextPage) else NextPage(path)
        try:
            answer = self._client.request_once("GET", asked.address)
            return read_page(answer, asked, self._client.address(asked.address))
        except (RecordFault, Retriable, RunError):
            return None

    def find(
        self, object_type: ObjectType, field: str, value: Value, asked: Sequence[str]
    ) -> list[Resource]:
        """Look up one value in all its spellings, one request each, so that no list can be cut."""
        return [
            resource
            for text in spellings(object_type, field, value)
            for path in self.paths(object_type, field, [text], asked)
            for resource in self.read(path)
        ]

    def test(self, object_type: ObjectType, fields: Sequence[str]) -> str | None:
        """Test lists with records that exist, and shrink them until none is missed.

        One page of records is read, and their values are looked up again in another case, at the
        end of a list that is filled with invented values.

        Args:
            object_type: The object whose records are about to be created.
            fields: The match fields to test.

        Returns:
            Why lists of a field are unreliable, as part of a sentence, or None if all is well.
        """
        # A record that is renamed during the test is rightly missed: test once more.
        return self._test_once(object_type, fields) and self._test_once(object_type, fields)

    def _test_once(self, object_type: ObjectType, fields: Sequence[str]) -> str | None:
        sparse = urlencode(
            {f"fields[{object_type.type}]": ",".join(fields), "page[size]": TESTED_RECORDS},
            safe=",",
        )
        known = self.page(f"/{object_type.name}?{sparse}&count=false").resources
        for field in fields:
            if (most := self._longest_trusted(object_type, field, known)) == 0:
                as_stored = texts_to_test(object_type, field, known)
                if self._finds_all(object_type, field, as_stored, 1):
                    return f"filter[{field}] is case-sensitive"
                return f"filter[{field}] does not find what is there, not even one at a time"
            self.shrink(object_type, field, most)
        return None

    def _longest_trusted(
        self, object_type: ObjectType, field: str, known: Sequence[Resource]
    ) -> int:
        """Return the most values of a list with which no known record is missed, or 0."""
        texts = in_other_case(field, texts_to_test(object_type, field, known))
        size = self.most(object_type, field)
        while size and not self._finds_all(object_type, field, texts, size):
            size //= 2
        return size

    def _finds_all(
        self, object_type: ObjectType, field: str, texts: dict[str, set[int]], size: int
    ) -> bool:
        """Whether lists of this size find every record of these values."""
        for part in chunks(texts, TESTED_LENGTH, size):
            room = (TESTED_LENGTH - sum(len(quote(text)) + 1 for text in part)) // 9
            filler = [secrets.token_hex(4) for _ in range(min(size - len(part), room))]
            paths = self.paths(object_type, field, [*filler, *part], [field])
            found = {resource.id for path in paths for resource in self.read(path)}
            if any(not texts[value] & found for value in part):
                return False
        return True


def _fields(object_type: ObjectType, asked: Sequence[str]) -> dict[str, str]:
    # Every reader of accounts has to know which of them are unnamed.
    always = (*ALWAYS_ASKED, "named") if "named" in object_type.attributes else ALWAYS_ASKED
    return {f"fields[{object_type.type}]": ",".join(dict.fromkeys((*asked, *always)))}
