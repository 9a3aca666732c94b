"""Measuring what the sources about Outreach disagree on, or do not say.

`probe` answers the open questions of the API reference (4.1, 4.2, 5 and 10) with a few requests
that only read, some of them wrong on purpose. Each question becomes a fact, whatever the answer is:
a value, or ``{"unknown": reason}``. The facts hold words of this file, numbers of
Outreach's limits, and scrubbed sentences of errors: no name, no address, no id, no token.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote, urlencode, urlsplit

from target_outreach.outreach.answers import read_resource
from target_outreach.outreach.organisation import read_identity
from target_outreach.outreach.probe.client import (
    NoAnswer,
    ProbeClient,
    Unknown,
    headers_seen,
    rate_limit,
)
from target_outreach.outreach.probe.scrubbing import Scrubber
from target_outreach.outreach.refusals import ERROR
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.model import FieldType, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from target_outreach.outreach.answers import Answer

#: The filters that are tried, by object: the match fields without ids of other systems, which few
#: organisations have.
FILTERS = {
    name: fields
    for name in stream_objects()
    if (fields := tuple(one for one in load_catalog()[name].match_fields if one != "customId"))
}

#: Records that are read to find one with values that can be looked up.
SAMPLE = 50

#: Values in a list, and bytes of a path with its query.
LIST_LENGTHS = (8, 32, 50, 64, 100, 128, 200, 250, 400, 500, 800)
URL_BYTES = (2048, 4096, 6144, 8192, 12_288, 16_384)

MAX_PAGE = 1000

#: Hides links of prospects to unnamed accounts (API reference 2.3).
NAMED_ONLY = "actionParams%5BwithUnnamedAccount%5D=false"

#: Characters of a value that is looked up.
LONGEST_VALUE = 200
OK = 200

#: What custom fields may be declared as, and of which objects (API reference 1.1).
FIELD_TYPES = frozenset(get_args(FieldType))
OBJECTS = frozenset(
    {
        "account",
        "opportunity",
        "opportunitylineitem",
        "opportunityprospectrole",
        "product",
        "prospect",
        "purchase",
    }
)

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that some record has, and the record's id."""

    value: str
    id: int


def probe(asker: ProbeClient, objects: Collection[str]) -> Facts:
    """Ask everything about some objects, in at most `MOST_REQUESTS` requests that only read.

    Returns:
        Facts by question, to be written as JSON.

    Raises:
        Interrupted: A signal asks to end.
    """
    filters = {name: fields for name, fields in FILTERS.items() if name in objects}
    return _Probe(asker, filters).facts()


class _Probe:
    def __init__(self, asker: ProbeClient, filters: Mapping[str, tuple[str, ...]]) -> None:
        self._asker = asker
        self._filters = filters
        self._scrub = Scrubber()
        self._lists: dict[str, Answer | str] = {}
        self._found: dict[tuple[str, str], Sample] = {}

    def facts(self) -> Facts:
        identity = self._answered("/")
        if not isinstance(identity, str):
            self._scrub.learn(identity.document)
        for name, fields in self._filters.items():
            asked = {f"fields[{_type(name)}]": ",".join(fields), "page[size]": SAMPLE}
            asked["count"] = "true"
            self._lists[name] = self._answered(f"/{name}?{urlencode(asked, safe=',')}")
            self._take_samples(name, fields)
        tried = [(name, field) for name, fields in self._filters.items() for field in fields]
        facts: Facts = {
            "identity": _identity(identity),
            "objects": {name: _fact(self._object, name) for name in self._filters},
            "case": {_key(*one): _fact(self._case, *one) for one in tried},
            "list_length": {_key(*one): _fact(self._list, *one) for one in tried},
            "page_size": _fact(self._page_size),
            "unnamed_accounts": _fact(self._unnamed_accounts),
            "errors": self._errors(),
            "types": _fact(self._types),
            "url_bytes": _fact(self._url_bytes),
        }
        # Last, so that its headers are not mistaken for the limit of the user.
        facts["errors"]["invented_token"] = _fact(
            lambda: self._scrub.refusal(self._asker.ask_as_nobody("/"))
        )
        facts["headers"] = headers_seen(self._asker.headers)
        facts["rate_limit"] = rate_limit(self._asker.headers)
        return facts

    def _answered(self, path: str) -> Answer | str:
        """Return an answer, or why there is none."""
        try:
            return self._asker.ask(path)
        except Unknown as reason:
            return str(reason)

    def _take_samples(self, name: str, fields: Iterable[str]) -> None:
        answer = self._lists[name]
        if isinstance(answer, str):
            return
        try:
            resources = _resources(answer)
        except (Unknown, KeyError, TypeError, ValueError):
            return
        for resource in resources:
            self._scrub.learn(list(resource.attributes.values()))
            for field in fields:
                if (value := _testable(resource.attributes.get(field))) is not None:
                    self._found.setdefault((name, field), Sample(value, resource.id))

    def _object(self, name: str) -> Facts:
        answer = self._lists[name]
        if isinstance(answer, str):
            raise Unknown(answer)
        if answer.status != OK:
            return {"readable": False, "refusal": self._scrub.refusal(answer)}
        meta = answer.document.get("meta")
        count = meta.get("count") if isinstance(meta, dict) else None
        return {
            "readable": True,
            "empty": not answer.document["data"],
            "count_given": isinstance(count, int),
        }

    def _sample(self, name: str, field: str) -> Sample:
        """Return a value that can be looked up.

        Raises:
            Unknown: There is none.
        """
        answer = self._lists[name]
        if isinstance(answer, str):
            raise Unknown(answer)
        if answer.status != OK:
            raise Unknown(f"{name} cannot be read")
        if (name, field) not in self._found:
            raise Unknown("no record has a value to try it with")
        return self._found[name, field]

    def _finds(self, name: str, field: str, texts: Iterable[str], wanted: int) -> str:
        """Look up a list, and say whether the record is among what it finds, or how it fails."""
        values = ",".join(quote(text, safe="@") for text in texts)
        asked = urlencode({f"fields[{_type(name)}]": field, "page[size]": 100, "count": "false"})
        try:
            answer = self._asker.ask(f"/{name}?{asked}&filter%5B{field}%5D={values}")
        except NoAnswer:
            return "no answer"
        if answer.status != OK:
            return f"status {answer.status}"
        return "" if any(one.id == wanted for one in _resources(answer)) else "not found"

    def _case(self, name: str, field: str) -> str:
        sample = self._sample(name, field)
        if failure := self._finds(name, field, [sample.value], sample.id):
            raise Unknown(f"not even a value as it is stored is found ({failure})")
        failure = self._finds(name, field, [sample.value.swapcase()], sample.id)
        if failure not in {"", "not found"}:
            raise Unknown(failure)
        return "case-sensitive" if failure else "case-insensitive"

    def _list(self, name: str, field: str) -> Facts:
        """Find how many values a list may have, all but the last of them invented."""
        sample = self._sample(name, field)

        def failure(size: int) -> str:
            texts = [*(f"zq{n:03}" for n in range(size - 1)), sample.value]
            return self._finds(name, field, texts, sample.id)

        return _largest(LIST_LENGTHS, failure)

    def _readable(self) -> str:
        for name, answer in self._lists.items():
            if not isinstance(answer, str) and answer.status == OK:
                return name
        raise Unknown("nothing can be read")

    def _page_size(self) -> Facts:
        name = self._readable()
        found: Facts = {}
        for size in (MAX_PAGE, MAX_PAGE + 1):
            asked = {f"fields[{_type(name)}]": "createdAt", "page[size]": size, "count": "false"}
            answer = self._asker.ask(f"/{name}?{urlencode(asked)}")
            if answer.status != OK:
                found[str(size)] = "refused"
                found["refusal"] = self._scrub.refusal(answer)
            else:
                found[str(size)] = _fullness(size, len(answer.document["data"]))
        return found

    def _unnamed_accounts(self) -> Facts:
        """Find out whether lists of prospects can be read without links to unnamed accounts."""
        path = f"/prospects?fields%5Bprospect%5D=account&page%5Bsize%5D={SAMPLE}&count=false"
        linked = _linked(_resources(self._asker.ask(path)))
        if not linked:
            raise Unknown("no prospect has an account")
        answer = self._asker.ask(f"{path}&{NAMED_ONLY}")
        if answer.status != OK:
            return {"in_lists": "refused", "refusal": self._scrub.refusal(answer)}
        shown = _linked(_resources(answer))
        if linked.keys() - shown.keys():
            return {"in_lists": "honoured"}
        ids = ",".join(map(str, dict.fromkeys(shown.values())))
        asked = f"fields%5Baccount%5D=named&page%5Bsize%5D={MAX_PAGE}&count=false"
        accounts = _resources(self._asker.ask(f"/accounts?filter%5Bid%5D={ids}&{asked}"))
        named = {one.id for one in accounts if one.attributes.get("named") is not False}
        for prospect in [one for one, account in shown.items() if account not in named][:1]:
            single = f"/prospects/{prospect}?fields%5Bprospect%5D=account&{NAMED_ONLY}"
            document = self._asker.ask(single).document
            if read_resource(document["data"]).links["account"] is None:
                return {"in_lists": "ignored"}
        raise Unknown(f"none of {len(shown)} prospects has an unnamed account")

    def _errors(self) -> Facts:
        """Read what cannot be read, to see how that is refused."""
        questions = {
            "unknown_filter": "/{}?page%5Bsize%5D=1&filter%5BinventedName%5D=x",
            "bad_filter_value": "/{}?page%5Bsize%5D=1&filter%5BupdatedAt%5D=yesterday",
            "unknown_field": "/{}?page%5Bsize%5D=1&fields%5B{type}%5D=inventedName",
            "bad_page_size": "/{}?page%5Bsize%5D=many",
            "unknown_id": "/{}/2147483647?fields%5B{type}%5D=createdAt",
            "unknown_route": "/inventedNames",
        }
        return {kind: _fact(self._error, path) for kind, path in questions.items()}

    def _error(self, path: str) -> Facts:
        name = self._readable()
        return self._scrub.refusal(self._asker.ask(path.format(name, type=_type(name))))

    def _types(self) -> Facts:
        answer = self._asker.ask("/types")
        if answer.status != OK:
            return self._scrub.refusal(answer)
        fields: Facts = {}
        for entry in answer.document["data"]:
            rules = entry["meta"]["validations"].values()
            declared = Counter(_among(FIELD_TYPES, rule["type"]) for rule in rules)
            fields[_among(OBJECTS, entry["type"])] = dict(sorted(declared.items()))
        return {"status": OK, "custom_fields": fields}

    def _url_bytes(self) -> Facts:
        name = self._readable()
        start = f"/{name}?page%5Bsize%5D=1&count=false&filter%5B{FILTERS[name][0]}%5D="
        room = len(urlsplit(self._asker.api_url).path) + len(start)
        filler = f"zq{'x' * 200},"

        def failure(size: int) -> str:
            values = (filler * (size // len(filler) + 1))[: size - room - 1]
            try:
                answer = self._asker.ask(f"{start}{values}x")
            except NoAnswer:
                return "no answer"
            return "" if answer.status == OK else f"status {answer.status}"

        return _largest(URL_BYTES, failure)


def _identity(answer: Answer | str) -> Facts:
    """Say where Outreach tells whose a token is, and what it may do (API reference 1)."""
    if isinstance(answer, str):
        return {"unknown": answer}
    if answer.status >= ERROR:
        return {"refused": answer.status}
    told = read_identity(answer.document)
    places = (place for place in ("data", "meta") if _organisation_in(place, answer.document))
    return {
        "organisation": next(places, None),
        "user": told.user is not None,
        "scopes": told.scopes is not None,
    }


def _organisation_in(place: str, document: Any) -> bool:  # noqa: ANN401 - JSON
    part = document.get(place) if isinstance(document, dict) else None
    members = part.items() if isinstance(part, dict) else ()
    others = {name: value for name, value in members if name != "user"}
    return bool(read_identity({place: others}).keys)


def _fact(question: Callable[..., Any], *about: str) -> Any:  # noqa: ANN401 - a value of JSON
    """Answer a question with a value, or with the reason why there is none."""
    try:
        return question(*about)
    except Unknown as reason:
        return {"unknown": str(reason)}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {"unknown": "the answer has another form than expected"}


def _largest(sizes: Sequence[int], failure: Callable[[int], str]) -> Facts:
    """Find the largest size that does not fail, beginning with the largest of all."""
    low, high, reason = -1, len(sizes), ""
    middle = high - 1
    while high - low > 1:
        if failed := failure(sizes[middle]):
            high, reason = middle, failed
        else:
            low = middle
        middle = (low + high) // 2
    return {
        "largest_that_works": sizes[low] if low >= 0 else None,
        "smallest_that_fails": sizes[high] if high < len(sizes) else None,
        "failure": reason or None,
    }


def _type(name: str) -> str:
    return load_catalog()[name].type


def _key(name: str, field: str) -> str:
    return f"{name}.{field}"


def _resources(answer: Answer) -> list[Resource]:
    if answer.status != OK:
        raise Unknown(f"status {answer.status}")
    return [read_resource(entry) for entry in answer.document["data"]]


def _testable(value: Any) -> str | None:  # noqa: ANN401 - JSON
    """Return a value that means the same in every filter and has another case, or None."""
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str) or not text.isascii() or len(text) > LONGEST_VALUE:
        return None
    odd = "," in text or ".." in text or text[:2] == "__" or text != " ".join(text.split())
    return None if odd or text == text.swapcase() else text


def _fullness(size: int, count: int) -> str:
    if count >= size:
        return "full"
    return "clamped" if count == MAX_PAGE else "accepted"  # there may be no more records


def _linked(prospects: Iterable[Resource]) -> dict[int, int]:
    """Return the account of each prospect that has one."""
    links = {one.id: one.links.get("account") for one in prospects}
    return {prospect: account for prospect, account in links.items() if account is not None}


def _among(known: frozenset[str], text: str) -> str:
    return text if text.lower() in known else "other"
