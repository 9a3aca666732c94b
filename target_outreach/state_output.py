"""Where STATE goes: to standard output, or in a dry run nowhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from singer_sdk.singerlib.json import serialize_json

from target_outreach.errors import OutputError

if TYPE_CHECKING:
    from target_outreach.delivery.ledger import State


class StateOutput:
    """Prints STATE messages.

    Attributes:
        has_emitted: Whether it has printed one.
    """

    has_emitted = False

    def emit(self, state: State) -> None:
        """Print a STATE message.

        Raises:
            OutputError: Standard output is closed or full.
        """
        try:
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
