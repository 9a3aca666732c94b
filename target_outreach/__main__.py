"""Where the process begins: ``target-outreach``, or ``python -m target_outreach``.

``--version`` is answered right here; all else takes half a second of imports. Until the target
listens for signals itself, after those imports, one ends the process without a traceback.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False  # as `typing` has it, the import of which takes time
if TYPE_CHECKING:
    from types import FrameType

#: How many new objects make the interpreter look for cycles among them; a batch of records is some
#: ten thousand, none of them in a cycle, and several batches are under way.
NEW_OBJECTS = 100_000

#: As in `configuration`, which is not imported for a word.
READER_GONE = 141


def main() -> None:
    """Run the command line and end the process."""
    if sys.argv[1:] == ["--version"]:
        _say(_version())
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    from target_outreach.cli import main as run_command_line  # noqa: PLC0415 - the slow part

    gc.freeze()  # what is imported stays, and need not be looked through again and again
    gc.set_threshold(NEW_OBJECTS)
    run_command_line()


def _say(text: str) -> None:
    """Print a text; where nobody reads it, end as SIGPIPE would."""
    try:
        print(text, flush=True)  # noqa: T201 - it is what was asked for
    except BrokenPipeError:
        os._exit(READER_GONE)


def _version() -> str:
    """Say which version this is, in the SDK's words."""
    from importlib.metadata import version  # noqa: PLC0415 - a run has no use for it here

    return f"target-outreach v{version('target-outreach')}, Meltano SDK v{version('singer-sdk')}"


def _leave(signum: int, _frame: FrameType | None) -> None:
    os._exit(128 + signum)


if __name__ == "__main__":
    main()
