"""Where the process begins: ``target-outreach``, or ``python -m target_outreach``.

Until the target listens for signals itself, after half a second of imports, one ends the process
without a traceback.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from target_outreach.cli import main as run_command_line  # noqa: PLC0415 - the slow part

    run_command_line()


def _leave(signum: int, _frame: FrameType | None) -> None:
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
