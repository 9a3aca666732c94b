"""Which object a stream is for."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from target_outreach.errors import SettingsError
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.scalars import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What other systems call what an object of Outreach is likely to hold; only to word a mistake.
LIKELY = {
    **dict.fromkeys(("contact", "contacts", "lead", "leads"), "prospects"),
    **dict.fromkeys(("person", "persons", "people"), "prospects"),
    **dict.fromkeys(("company", "companies", "organization", "organizations"), "accounts"),
    **dict.fromkeys(("organisation", "organisations", "firm", "firms"), "accounts"),
    **dict.fromkeys(("customer", "customers", "client", "clients"), "accounts"),
    **dict.fromkeys(("deal", "deals", "opp", "opps", "pipeline"), "opportunities"),
}


@cache
def object_names() -> Mapping[str, str]:
    """Return the objects that a name can say, by their names in the singular and the plural."""
    plurals = {name: name for name in stream_objects()}
    return {load_catalog()[name].type: name for name in plurals} | plurals


class Patterned(Protocol):
    """Anything that is for the streams that fit a name or glob."""

    @property
    def pattern(self) -> str:
        """The name or glob."""


E = TypeVar("E", bound=Patterned)


def first_match(stream: str, entries: Iterable[E]) -> E | None:
    """Return the first entry whose name or glob fits a stream, as far as names are visible."""
    stream = visible(stream)
    return next(
        (
            entry
            for entry in entries
            if stream == (pattern := visible(entry.pattern))
            or fnmatchcase(stream.lower(), pattern.lower())
        ),
        None,
    )


def route(
    stream: str,
    by_entry: str | None,
    by_setting: str | None,
    patterns: Sequence[str] = (),
) -> str | None:
    """Say which object a stream is for.

    Args:
        stream: The name of the stream.
        by_entry: The `object` of its entry in `streams`, if there is one.
        by_setting: The setting `outreach_object`.
        patterns: The names and globs of all entries; none fits where the object is unknown.

    Returns:
        The plural name of the object, or None where the stream is to be skipped.

    Raises:
        SettingsError: It is unknown.
    """
    if by_entry == "none":
        return None
    stream = visible(stream)
    last = re.split(r"-|\.|__|/", stream)[-1].strip().lower()
    name = by_entry or by_setting or object_names().get(last)
    if name is None:
        *others, last_one = stream_objects()
        raise SettingsError(
            f"its name does not say whether it holds {', '.join(others)} or {last_one}"
            f"{_missed(stream, patterns)}; set outreach_object, or add an entry to streams: "
            f'{entry_for(stream)} ("none" ignores it).'
        )
    return name


def entry_for(stream: str) -> str:
    """Write the entry of `streams` that a stream needs whose name does not say what it holds.

    Args:
        stream: The name of the stream.

    Returns:
        JSON to paste, with the likely object.
    """
    return json.dumps({"stream": stream, "object": likely_object(stream)}, ensure_ascii=False)


def likely_object(stream: str) -> str:
    """Say what a stream is likely to hold, by the last of its words that tells; else people."""
    known = {**LIKELY, **object_names()}
    words = re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", stream)
    found = [known[word.lower()] for word in words if word.lower() in known]
    return found[-1] if found else stream_objects()[0]


def _missed(stream: str, patterns: Sequence[str]) -> str:
    """Name the entry that may have been meant for a stream, but does not fit it."""
    import difflib  # noqa: PLC0415 - only to word a mistake

    if any(stream == one or fnmatchcase(stream.lower(), one.lower()) for one in patterns):
        return ""
    folded = {_folded(one): one for one in reversed(patterns)}
    near = [one for one in folded if fnmatchcase(_folded(stream), one)]
    near += difflib.get_close_matches(_folded(stream), folded, n=1)
    return f"; the entry {folded[near[0]]!r} of streams does not fit it" if near else ""


def _folded(name: str) -> str:
    """Write a name or glob without what is easily mixed up in it."""
    return re.sub(r"[-_./ ]+", "-", name.lower())
