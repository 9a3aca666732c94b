"""The command line: the Singer target, and the commands beside it.

The SDK's own command ends with a traceback or with exit code 0 where a user needs a sentence and a
code, so the target runs inside `main`, which turns each error into both.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.plugin_base import SingerCommand

from target_outreach.configuration import (
    DRY_RUN,
    READER_GONE,
    insist_on_dry_run,
    mention_unread,
    open_run,
    read_config,
)
from target_outreach.errors import ExitCode
from target_outreach.running import explain, run
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The commands beside the target, each in the module of `commands` that is named like it.
COMMANDS = ("check", "cost", "fields", "login", "replay", "sandbox")

HELP = "Write what a Singer tap prints, on standard input, into Outreach."


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


class CommandLine(SingerCommand):
    """The target's own command, which knows of those beside it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a word that is no option, and say which command may be meant."""
        rest = super().parse_args(ctx, args)
        if ctx.args:
            ctx.fail(_no_command(ctx.args[0]))
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands below the options."""
        with formatter.section(f"Commands ({ctx.command_path} COMMAND --help says more)"):
            formatter.write_dl([(name, _load(name).get_short_help_str(200)) for name in COMMANDS])
        super().format_epilog(ctx, formatter)


def _no_command(word: str) -> str:
    """Say what is wrong with a word that is no option."""
    if word in COMMANDS:
        return f"A command comes first: target-outreach {word} …"
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"There is no command {word}" + (f"; is {near[0]} meant?" if near else ".")


def _command_line() -> click.Command:
    """Return the SDK's command with our words, and with what it lacks."""
    command: click.Command = TargetOutreach.cli  # sets up logging
    for option in command.params:
        if option.name == "config":
            option.callback = lambda context, _option, names: read_config(context, names)
    return CommandLine(
        name=command.name,
        callback=_invoke,
        context_settings={**command.context_settings, "allow_extra_args": True},
        params=[*command.params, click.Option(["--dry-run"], is_flag=True, help=DRY_RUN)],
        help=HELP,
        logger=TargetOutreach.logger,
    )


def _run_target(words: list[str]) -> int:
    try:
        outcome = _command_line().main(words, prog_name=TargetOutreach.name, standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except SystemExit as error:
        return int(error.code or 0)
    except BrokenPipeError:  # as of `--about | head`; a run words it itself
        return READER_GONE
    except Exception as error:  # noqa: BLE001 - `run` lets none through, so there is no run yet
        return explain(error)
    return int(outcome or 0)


def _invoke(
    *,
    about: bool,
    about_format: str | None,
    config: Any,  # noqa: ANN401 - a private type of the SDK
    file_input: IO[str] | None,
    dry_run: bool,
) -> int:
    """Do what the options of the SDK's command ask for."""
    if about:
        TargetOutreach.print_about(about_format)
        sys.stdout.flush()
        return ExitCode.DONE
    if dry_run:
        insist_on_dry_run(config, os.environ)
    mention_unread(config, os.environ)
    try:
        target = open_run(config)
    except ConfigValidationError as error:  # the SDK's command would word it once more
        return explain(error)
    target.run.retry_rejects()
    return run(target, file_input)


def _load(name: str) -> click.Command:
    module = importlib.import_module(f"target_outreach.commands.{name}")
    command: click.Command = getattr(module, name)
    return command


def _command(words: list[str]) -> int:
    try:
        _load(words[0]).main(words[1:], prog_name=f"target-outreach {words[0]}")
    except SystemExit as error:
        return int(error.code or 0)
