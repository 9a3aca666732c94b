"""Which object a stream is for."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol, TypeVar

from target_outreach.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

OBJECT_NAMES = {
    "prospect": "prospects",
    "prospects": "prospects",
    "account": "accounts",
    "accounts": "accounts",
}


class Patterned(Protocol):
    """Anything that is for the streams that fit a name or glob."""

    @property
    def pattern(self) -> str:
        """The name or glob."""


E = TypeVar("E", bound=Patterned)


def first_match(stream: str, entries: Iterable[E]) -> E | None:
    """Return the first entry whose name or glob fits a stream."""
    return next(
        (
            entry
            for entry in entries
            if stream == entry.pattern or fnmatchcase(stream.lower(), entry.pattern.lower())
        ),
        None,
    )


def route(stream: str, by_entry: str | None, by_setting: str | None) -> str | None:
    """Say which object a stream is for.

    Args:
        stream: The name of the stream.
        by_entry: The `object` of its entry in `streams`, if there is one.
        by_setting: The setting `outreach_object`.

    Returns:
        ``prospects``, ``accounts``, or None where the stream is to be skipped.

    Raises:
        SettingsError: Nothing says it.
    """
    if by_entry == "none":
        return None
    last = re.split(r"-|\.|__|/", stream)[-1].strip().lower()
    name = by_entry or by_setting or OBJECT_NAMES.get(last)
    if name is None:
        raise SettingsError(
            "its name does not say whether it holds prospects or accounts; set "
            'outreach_object, or an entry in streams with its object ("none" leaves it out).'
        )
    return name
