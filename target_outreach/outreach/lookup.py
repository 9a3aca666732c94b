"""Looking up many records at a time: which URLs to ask, and reading all their pages.

A list filter means *any of* (API reference 4.1). Its values are separated by commas, so a value
with a comma or with ``..``, which would be a range, goes in the newer ``filter[x][]=`` form. URLs
stay below 6 kB, and are halved where that is too long. Sparse fieldsets keep the answers small, and
``count=false`` keeps them cheap.

How many values a list may have is not published. A list that is cut silently would make second
accounts, so lists are tested before the first account is created, and shrink where they fail.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
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
from target_outreach.outreach.pages import next_page
from target_outreach.outreach.refusals import NOT_FOUND, no_such_address
from target_outreach.records.matching import comparable
from target_outreach.records.values import domain_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.client import Client
    from target_outreach.outreach.pages import NextPage
    from target_outreach.records.model import ObjectType, Resource, Value

logger = logging.getLogger("target-outreach")

LONGEST_URL = 6000
BAD_REQUEST = 400
PAGE_SIZE = 1000
ALWAYS_ASKED = ("createdAt",)

#: Lets Outreach show no link to an unnamed account. It is documented for prospects; that lists
#: honour it is not (API reference 2.3).
NAMED_ONLY = "&actionParams%5BwithUnnamedAccount%5D=false"

#: Lets lists of accounts show unnamed ones too, which are said not to be there (API reference 2.3).
NAMED_OR_NOT = "filter%5Bnamed%5D=__notnull__"

#: Values in a list, as long as none is seen to be left out.
MOST_VALUES = 200

#: Records that one value of a filter may have, on average, before a list is divided.
RECORDS_A_VALUE = 10

#: A value that goes into a query as it is.
PLAIN = re.compile(r"[\w.~@-]*", re.ASCII)

#: Records that lists are tested with, and characters that their values may take in a test.
TESTED_RECORDS = 50
TESTED_LENGTH = 2800


def spellings(object_type: ObjectType, field: str, value: Value) -> Iterator[str]:
    """Spell a value of a match field in each way that Outreach may hold it.

    Whether filters mind the case is not known (API reference 4.1), so an address is asked for as
    given and in lower case; a domain as given, bare, and with ``www.``.
    """
    kind = object_type.attributes[field].kind if field != "id" else "integer"
    for text in value if isinstance(value, list) else [str(value).strip()]:
        forms = [text]
        if kind == "emails":
            if (lower := text.lower()) != text:
                forms.append(lower)
            yield from forms
            continue
        if kind == "domain":
            bare = domain_key(text)
            forms += [bare, f"www.{bare}"] if bare else []
        elif field != "customId":
            forms.append(" ".join(text.split()))
        yield from dict.fromkeys(forms)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    Attributes:
        resources: What is on it.
        following: The address of the next one, to be read by the same `Lookup`, or None.
        count: How many records the list has, where that was asked for and said.
        server_time: When it was answered, by Outreach's clock.
    """

    resources: list[Resource]
    following: NextPage | None
    count: int | None
    server_time: datetime


class Lookup:
    """Finds records by lists of values, and knows how long a list it may trust."""

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
        """Hear that a list missed a record.

        Args:
            object_type: What was looked up.
            field: The field that the list was of.
            version: The version under which the list was read; a later one has shrunk already.
        """
        if version == self.version:
            self.shrink(object_type, field, self.most(object_type, field) // 2)

    def shrink(self, object_type: ObjectType, field: str, most: int) -> None:
        """Let lists of this field have no more values than this."""
        with self._lock:
            if most < self.most(object_type, field):
                self._most[object_type.name, field] = max(1, most)
                self.version += 1
                logger.warning(
                    "Outreach leaves out some values of a long list in filter[%s]; %s are looked "
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
            values: What to look for; the same twice is asked once.
            asked: The attributes and relationships to read.

        Returns:
            Paths with their query, each with as many values as fit.
        """
        wanted = list(dict.fromkeys(values))
        special = [value for value in wanted if "," in value or ".." in value or value[:2] == "__"]
        plain = [_quoted(value) for value in wanted if value not in special]
        start, newer = f"/{object_type.name}?", "newFilterSyntax=true&"
        common = self._common(object_type, asked)
        name = quote("filter" + "".join(f"[{part}]" for part in field.split(".")), safe="")
        pairs = [f"{name}%5B%5D={_quoted(value)}" for value in special]
        room = self._longest_url - len(self._client.api_url) - len(start) - len(common)
        most = self.most(object_type, field)
        return [
            f"{start}{name}={','.join(chunk)}&{common}"
            for chunk in _chunks(plain, room - len(name) - 1, most)
        ] + [
            f"{start}{newer}{'&'.join(chunk)}&{common}"
            for chunk in _chunks(pairs, room - len(newer), most)
        ]

    def changes_path(
        self, object_type: ObjectType, since: datetime | None, asked: Sequence[str]
    ) -> str:
        """Write the request for what has changed since some time, the newest first, and its count.

        Args:
            object_type: Whose changes are asked for.
            since: By Outreach's clock; None asks for nothing but what time it is there.
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
        common = _common(object_type, asked)
        if object_type.unnamed_link in asked:
            return common + self._named_only
        if "named" in object_type.attributes and "named" in asked:
            return f"{common}&{NAMED_OR_NOT}"
        return common

    def _counted(self, object_type: ObjectType, asked: Sequence[str]) -> str:
        return self._common(object_type, asked).replace("count=false", "count=true")

    def read(self, path: str) -> list[Resource]:
        """Read a list with all its pages, as far as it can have been asked for.

        A list with far more records than values were asked for is asked for in parts; of one value
        that has more, some are read.

        Raises:
            OutreachError: An answer is no list of resources, or a list has no end.
            RunError: As for any request.
        """
        parts = _halved(path)
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
        """Read a list to its end, or until it has more than can have been asked for."""
        most = _most_records(path)
        resources: list[Resource] = []
        following: str | None = path
        while following:
            page = self.page(following)
            resources += page.resources
            following = page.following
            if following and most is not None and len(resources) > most:
                return resources, False
        return resources, True

    def _warn_of_more(self, path: str) -> None:
        """Say, once for each field, that one value has more records than are read."""
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

    def page(self, path: str) -> Page:
        """Read one page of a list.

        Raises:
            OutreachError: The answer is no list of resources.
            RunError: As for any request.
        """
        try:
            return _page(self._client.get(path), path, self._client.address(path))
        except OutreachError as error:
            if error.status != BAD_REQUEST or NAMED_ONLY not in path:
                raise
            self._named_only = ""  # that lists know the parameter is not documented
            return self.page(path.replace(NAMED_ONLY, ""))
        except (RecordFault, OutcomeUnknown) as error:
            if error.status == NOT_FOUND:  # a list is there, even where it is empty
                raise OutreachError(no_such_address(NOT_FOUND)) from None
            raise OutreachError(f"Outreach cannot be read: {error}") from None

    def has_no_named_account(self, object_type: ObjectType, resource_id: int) -> bool:
        """Read whether one prospect is linked to no account, or to an unnamed one.

        Single reads are documented to tell (API reference 2.3).

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

    def page_once(self, path: str) -> Page | None:
        """Read one page by one request, or return None where that fails for whatever reason."""
        try:
            answer = self._client.request_once("GET", path)
            return _page(answer, path, self._client.address(path))
        except (RecordFault, Retriable, RunError):
            return None

    def find(
        self, object_type: ObjectType, field: str, value: Value, asked: Sequence[str]
    ) -> list[Resource]:
        """Look up one value in all its spellings, one at a time, so that no list can be cut."""
        return [
            resource
            for text in spellings(object_type, field, value)
            for path in self.paths(object_type, field, [text], asked)
            for resource in self.read(path)
        ]

    def test(self, object_type: ObjectType, fields: Sequence[str]) -> str | None:
        """Test lists with records that are known to be there, and shrink them until none is missed.

        One page of records is read, and their values are looked up again in another case, at the
        end of a list that is filled up with values that nobody has.

        Args:
            object_type: The object whose records are about to be created.
            fields: The match fields to test.

        Returns:
            Why lists of a field are not to be trusted, in words, or None where all is well.
        """
        # A record that is renamed during the test is missed for good reason: test once more.
        return self._test_once(object_type, fields) and self._test_once(object_type, fields)

    def _test_once(self, object_type: ObjectType, fields: Sequence[str]) -> str | None:
        sparse = urlencode(
            {f"fields[{object_type.type}]": ",".join(fields), "page[size]": TESTED_RECORDS},
            safe=",",
        )
        known = self.page(f"/{object_type.name}?{sparse}&count=false").resources
        for field in fields:
            if (most := self._longest_trusted(object_type, field, known)) == 0:
                as_stored = _texts_to_test(object_type, field, known, _unchanged)
                if self._finds_all(object_type, field, as_stored, 1):
                    return f"filter[{field}] minds the case"
                return f"filter[{field}] does not find what is there, not even one at a time"
            self.shrink(object_type, field, most)
        return None

    def _longest_trusted(
        self, object_type: ObjectType, field: str, known: Sequence[Resource]
    ) -> int:
        """Return how many values a list may have so that no known record is missed, 0 for none."""
        texts = _texts_to_test(object_type, field, known, _other_case)
        size = self.most(object_type, field)
        while size and not self._finds_all(object_type, field, texts, size):
            size //= 2
        return size

    def _finds_all(
        self, object_type: ObjectType, field: str, texts: dict[str, set[int]], size: int
    ) -> bool:
        """Whether lists of this size find every record of these values."""
        for part in _chunks(texts, TESTED_LENGTH, size):
            room = (TESTED_LENGTH - sum(len(quote(text)) + 1 for text in part)) // 9
            filler = [secrets.token_hex(4) for _ in range(min(size - len(part), room))]
            paths = self.paths(object_type, field, [*filler, *part], [field])
            found = {resource.id for path in paths for resource in self.read(path)}
            if any(not texts[value] & found for value in part):
                return False
        return True


def _page(answer: Answer, path: str, address: str) -> Page:
    """Read one page of a list, which was asked for by a path and read from an address.

    Raises:
        OutreachError: The answer is no list of resources, or the list has no end.
    """
    document = answer.document
    try:
        resources = [read_resource(entry) for entry in document["data"]]
        following = next_page(document.get("links"), path, address, len(resources))
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


def _most_records(path: str) -> int | None:
    """Return how many records a list can have been asked for; None for a list without a filter."""
    query = unquote(path.partition("?")[2])
    filters = [part.partition("=") for part in query.split("&") if part.startswith("filter")]
    values = sum(1 + text.count(",") for _, _, text in filters)
    is_by_id = all(name in {"filter[id]", "filter[id][]"} for name, _, _ in filters)
    return (values if is_by_id else values * RECORDS_A_VALUE) or None


def _halved(path: str) -> list[str]:
    """Divide a lookup into two with half of its values each, if it has several."""
    start, _, query = path.partition("?")
    parts = query.split("&")
    lists = [part for part in parts if part.startswith("filter") and part != NAMED_OR_NOT]
    others = [part for part in parts if part not in lists]
    if len(lists) == 1:
        name, _, values = lists[0].partition("=")
        texts = values.split(",")
        halves = [texts[: len(texts) // 2], texts[len(texts) // 2 :]]
        found = [[f"{name}={','.join(half)}"] for half in halves if half]
    else:
        found = [half for half in (lists[: len(lists) // 2], lists[len(lists) // 2 :]) if half]
    return [f"{start}?{'&'.join([*half, *others])}" for half in found]


def _quoted(text: str) -> str:
    """Encode a value for a query; `quote` goes letter by letter through those with an ``@``."""
    return text if PLAIN.fullmatch(text) else quote(text, safe="@")


def _unchanged(text: str) -> str:
    return text


def _other_case(text: str) -> str:
    """Swap the case of ASCII letters, whose case nobody disagrees about."""
    return "".join(letter.swapcase() if letter.isascii() else letter for letter in text)


def _texts_to_test(
    object_type: ObjectType,
    field: str,
    known: Sequence[Resource],
    spelling: Callable[[str], str],
) -> dict[str, set[int]]:
    """Take the records' values of a field, respelt, with the ids that have each.

    Values with odd blanks are left out: how filters take those is another question.
    """
    texts: dict[str, set[int]] = {}
    for resource in known:
        value = resource.attributes.get(field)
        if isinstance(value, list):
            value = value[0] if value else None
        if not isinstance(value, str) or value != " ".join(value.split()):
            continue
        if comparable(object_type, field, value):
            text = value if field == "customId" else spelling(value)
            texts.setdefault(text, set()).add(resource.id)
    return texts


def _common(object_type: ObjectType, asked: Sequence[str]) -> str:
    # Which accounts are unnamed is to be known whatever they are read for.
    always = (*ALWAYS_ASKED, "named") if "named" in object_type.attributes else ALWAYS_ASKED
    fields = ",".join(dict.fromkeys((*asked, *always)))
    sparse = {f"fields[{object_type.type}]": fields, "page[size]": PAGE_SIZE, "count": "false"}
    return urlencode(sparse, safe=",")


def _chunks(texts: Iterable[str], room: int, most: int) -> Iterator[list[str]]:
    """Cut into chunks of at most so many texts that fit the room, with a separator for each."""
    chunk: list[str] = []
    used = 0
    for text in texts:
        if chunk and (used + len(text) + 1 > room or len(chunk) >= most):
            yield chunk
            chunk, used = [], 0
        chunk.append(text)
        used += len(text) + 1
    if chunk:
        yield chunk
