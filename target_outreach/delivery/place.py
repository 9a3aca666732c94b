"""The organisation that records go to, by names for what is kept about it."""

from __future__ import annotations

from dataclasses import dataclass

#: Letters of the hash at the end of a name, which tells names apart.
DIGITS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """One organisation of one Outreach, by its names.

    Attributes:
        memory: Its name in a memory.
        earlier: Names in a memory under which earlier runs kept what belongs to it: those of
            earlier versions, and those of the credentials where the organisation was not known.
            All of them come from the present credentials or the present answer, so that none is
            another organisation's.
        folders: Its names for folders of rejects, the present one first.
        shared: The name that earlier versions gave to a folder of rejects, which may hold those of
            several organisations.
        is_known: Whether it is the organisation or the user that it is named after, and not the
            credentials.
    """

    memory: str
    earlier: tuple[str, ...]
    folders: tuple[str, ...]
    shared: str
    is_known: bool

    @property
    def tags(self) -> frozenset[str]:
        """What marks the rejects files that belong here."""
        return frozenset(map(tag, self.folders))


def tag(folder: str) -> str:
    """Return the short mark that a name of a folder ends with."""
    return folder[-DIGITS:]
