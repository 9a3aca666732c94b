"""What a sink needs of the run that it is part of."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from singer_sdk import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_outreach.collecting import OpenBatches
    from target_outreach.messages import MessageReader
    from target_outreach.parts import Organisation
    from target_outreach.settings import Settings
    from target_outreach.settings.entries import EntryUse


class Notices:
    """What has been said of a stream, so that it is said once although its SCHEMA may change."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def new(self, stream: str, what: Iterable[str]) -> list[str]:
        """Return those that have not been said of a stream yet, and count them as said."""
        fresh = [one for one in what if (stream, one) not in self._said]
        self._said.update((stream, one) for one in fresh)
        return fresh


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a sink needs of the run.

    Attributes:
        settings: The settings of the run.
        entries: The entries of `streams`.
        organisation: Knows the objects as the organisation has them.
        reader: Knows the line under way, and what settles rows that need not be read.
        batches: Take in the records.
        notices: Know what has been said of a stream.
        version: The version of this program.
    """

    settings: Settings
    entries: EntryUse
    organisation: Organisation
    reader: MessageReader
    batches: OpenBatches
    notices: Notices
    version: str


class TargetWithContext(Target):
    """A target of the SDK, which makes the sinks itself, that has a context for them."""

    @property
    @abstractmethod
    def context(self) -> RunContext:
        """What the sinks need of the run."""
