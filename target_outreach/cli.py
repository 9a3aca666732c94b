"""The command line: the Singer target, and the commands beside it.

The SDK's own command ends with a traceback or with exit code 0 where a user needs a sentence and a
code, so the target runs inside `main`, which turns each error into both.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click
from singer_sdk.exceptions import ConfigValidationError

from target_outreach.errors import ExitCode
from target_outreach.running import explain, make_target, run
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("target-outreach")

#: The commands beside the target, each in the module of `commands` that is named like it.
COMMANDS = ("check", "cost", "fields", "login", "replay", "sandbox")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process.

    Args:
        arguments: What follows the name of the program; by default the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    code = _command(words) if words[:1] and words[0] in COMMANDS else _run_target(words)
    _leave(code)


def _leave(code: int) -> None:
    """End the process even where a thread still waits for an answer or for input."""
    # Standard output is flushed at each STATE; a flush here could wait for a reader for ever.
    with contextlib.suppress(AttributeError, OSError, ValueError):  # None where it was closed
        sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


def _run_target(words: list[str]) -> int:
    # The SDK sets up logging as it hands out the command.
    command: click.Command = TargetOutreach.cli
    command.callback = _invoke
    try:
        outcome = command.main(words, prog_name=TargetOutreach.name, standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except SystemExit as error:
        return int(error.code or 0)
    except (OSError, ValueError) as error:  # `run` lets none through, so it is the configuration
        what = type(error).__name__
        logger.error("The configuration cannot be read (%s).", what)  # noqa: TRY400 - a sentence
        return ExitCode.FAILED
    return int(outcome or 0)


def _invoke(
    *,
    about: bool,
    about_format: str | None,
    config: Any,  # noqa: ANN401 - a private type of the SDK
    file_input: IO[str] | None,
) -> int:
    """Do what the options of the SDK's command ask for."""
    if about:
        TargetOutreach.print_about(about_format)
        sys.stdout.flush()
        return ExitCode.DONE
    try:
        target = make_target(config)
    except ConfigValidationError as error:  # the SDK's command would word it once more
        return explain(error)
    target.retry_rejects()
    return run(target, file_input)


def _command(words: list[str]) -> int:
    module = importlib.import_module(f"target_outreach.commands.{words[0]}")
    command: click.Command = getattr(module, words[0])
    try:
        command.main(words[1:], prog_name=f"target-outreach {words[0]}")
    except SystemExit as error:
        return int(error.code or 0)
