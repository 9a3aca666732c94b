"""Where STATE goes: to standard output, or in a dry run nowhere."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from singer_sdk.singerlib.json import serialize_json

from target_outreach.errors import OutputError

if TYPE_CHECKING:
    from target_outreach.delivery.display import Display
    from target_outreach.delivery.ledger import State


class StateOutput:
    """Prints STATE messages.

    Attributes:
        has_emitted: Whether it has printed one.
    """

    def __init__(self, display: Display | None = None) -> None:
        """Have printed nothing yet; a display on a terminal makes room for what is printed."""
        self.has_emitted = False
        self._display = display

    def emit(self, state: State) -> None:
        """Print a STATE message.

        Raises:
            OutputError: Standard output is closed or full.
        """
        try:
            with self._display.cleared() if self._display is not None else nullcontext():
                sys.stdout.write(serialize_json(state) + "\n")
                sys.stdout.flush()
            self.has_emitted = True
        except (AttributeError, OSError, ValueError):  # there is no sys.stdout where it was closed
            raise OutputError(
                "STATE cannot be written to standard output, which is closed or full; "
                "the next run repeats what this one has delivered since."
            ) from None


class NoStateOutput(StateOutput):
    """Prints nothing, since nothing has been written."""

    def emit(self, state: State) -> None:
        """Let a STATE be."""
