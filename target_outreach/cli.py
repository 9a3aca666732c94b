"""The command line: a group of commands, which without one is the Singer target.

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
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.plugin_base import SingerCommand

from target_outreach.configuration import (
    DRY_RUN,
    FAIL_ON_REJECTS,
    READER_GONE,
    insist_on,
    insist_on_some,
    mention_unread,
    open_run,
    read_config,
)
from target_outreach.errors import ExitCode
from target_outreach.plain_text import keep_log_plain, say
from target_outreach.running import explain, run, set_up_logging
from target_outreach.target import TargetOutreach

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The commands beside the target, each in the module of `commands` that is named like it.
COMMANDS = ("check", "cost", "fields", "init", "login", "replay", "sandbox")

HELP = """Write what a Singer tap prints, on standard input, into Outreach.

Example: your-tap | target-outreach --config config.json
"""

#: Options that taps have, and no target.
OF_TAPS = frozenset({"--catalog", "--discover", "--properties", "--state"})

EXIT_CODES = (
    ("0", "Done."),
    ("1", "Wrong configuration or credentials, or an error; the log says what to do."),
    ("2", "A wrong option or command."),
    ("3", "Done, but records were rejected."),
    ("4", "Ended early by a limit of the settings; the next run goes on."),
    ("130, 143", "Ended by Ctrl-C or SIGTERM; the next run goes on."),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default with the arguments of the process, and end the process."""
    keep_log_plain()
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    # Standard output is flushed at each STATE; a flush here could wait for a reader for ever.
    with contextlib.suppress(AttributeError, OSError, ValueError):  # None where it was closed
        sys.stderr.flush()
    logging.shutdown()
    os._exit(code)  # even where a thread still waits for an answer or for input


class CommandLine(SingerCommand, click.Group):
    """The SDK's command as a group, whose commands are imported when they are needed."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"target_outreach.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse a word that is no command, and options of a run before a command."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if args[0].endswith(".json"):
                near = [f"--config {args[0]}"]
            elif any(f"--{args[0]}" in param.opts for param in self.get_params(ctx)):
                near = [f"--{args[0]}"]
            elif Path(args[0]).is_file():
                near = [f"--input {args[0]}"]
            hint = f"; is {near[0]} meant?" if near else "."
            ctx.fail(f"There is no command {args[0]}{hint}")
        if ParameterSource.COMMANDLINE in map(ctx.get_parameter_source, ctx.params):
            ctx.fail(f"A command comes first: {ctx.command_path} {args[0]} …")
        return super().resolve_command(ctx, args)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say what exit codes mean, where more is said, and what each command is for."""
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)
        links = metadata.metadata(TargetOutreach.name).get_all("Project-URL", [])
        addresses = dict(link.split(", ", 1) for link in links)
        with formatter.section("Documentation"):
            formatter.write_text(addresses["Documentation"])
        commands = [(name, self.get_command(ctx, name)) for name in COMMANDS]
        with formatter.section(f"Commands ({ctx.command_path} COMMAND --help says more)"):
            formatter.write_dl(
                [(name, one.get_short_help_str(200)) for name, one in commands if one is not None]
            )


def _command_line() -> click.Command:
    """Return the SDK's command with our words, and with what it lacks."""
    command = set_up_logging()
    for option in command.params:
        if option.name == "config":
            option.callback = lambda context, _option, names: read_config(context, names)
            option.type = click.Path()  # so that a shell completes names of files
    return CommandLine(
        name=command.name,
        callback=_invoke,
        context_settings=command.context_settings,
        invoke_without_command=True,
        params=[
            *command.params,
            click.Option(["--dry-run"], is_flag=True, help=DRY_RUN),
            click.Option(["--fail-on-rejects"], is_flag=True, help=FAIL_ON_REJECTS),
        ],
        help=HELP,
        logger=TargetOutreach.logger,
    )


def _run(words: list[str]) -> int:
    try:
        outcome = _command_line().main(words, prog_name=TargetOutreach.name, standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in OF_TAPS:
            name = error.option_name
            error = click.UsageError(f"{name} is for the tap: a target reads what that prints.")
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C where a command asks for something
        say("", "Stopped.", err=True)
        return ExitCode.INTERRUPTED
    except SystemExit as error:
        return int(error.code or 0)
    except BrokenPipeError:  # as of `--about | head`; a run words it itself
        return READER_GONE
    except Exception as error:  # noqa: BLE001 - `run` lets none through, so there is no run yet
        return explain(error)
    return int(outcome or 0)


@click.pass_context
def _invoke(  # noqa: PLR0913 - an option each
    context: click.Context,
    *,
    about: bool,
    about_format: str | None,
    config: Any,  # noqa: ANN401 - a private type of the SDK
    file_input: IO[str] | None,
    dry_run: bool,
    fail_on_rejects: bool,
) -> int:
    """Do what the options of the SDK's command ask for, unless a command follows."""
    if context.invoked_subcommand is not None:
        return ExitCode.DONE
    if about:
        TargetOutreach.print_about(about_format)
        sys.stdout.flush()
        return ExitCode.DONE
    for name, is_given in {"dry_run": dry_run, "fail_on_rejects": fail_on_rejects}.items():
        if is_given:
            insist_on(name, config, os.environ)
    mention_unread(config, os.environ)
    try:
        if context.get_parameter_source("config") is not ParameterSource.COMMANDLINE:
            insist_on_some(())
        target = open_run(config)
    except ConfigValidationError as error:  # the SDK's command would word it once more
        return explain(error)
    target.run.retry_rejects()
    return run(target, file_input)
