"""The command line: the Singer target, and the commands beside it.

The SDK's own command ends with a traceback or with exit code 0 where a user needs a sentence and a
code, so the target runs inside `main`, which turns each error into both.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sqlite3
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from singer_sdk.exceptions import ConfigValidationError

from target_outreach.errors import EndedEarly, ExitCode, RunError
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("target-outreach")


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
    with contextlib.suppress(OSError, ValueError):
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
        return _explain(error)
    target.retry_rejects()
    return run(target, file_input)


def make_target(config: Any) -> TargetOutreach:  # noqa: ANN401 - a private type of the SDK
    """Make a target from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    if config.parse_env:
        TargetOutreach.check_environment(os.environ)
    return TargetOutreach(config=config.config, parse_env_config=config.parse_env)


def run(target: TargetOutreach, file_input: IO[str] | None) -> ExitCode:
    """Run a target to its end, whatever happens, and say how it ended."""
    failure: ExitCode | None = None
    try:
        target.refuse_to_overwrite(file_input or sys.stdin)
    except ConfigValidationError as error:
        return _explain(error)  # not even the report may be written
    try:
        target.listen(file_input)
    except Exception as error:  # noqa: BLE001 - the last one who can say what happened
        failure = _explain(error)
        try:
            target.wind_up(error)
        except Exception as later:  # noqa: BLE001 - idem
            if later is not error:
                _explain(later)
    code = _conclude(target, failure)
    if code == ExitCode.ENDED_EARLY:
        try:
            target.discard_rest()
        except RunError as signal:
            code = signal.exit_code
    try:
        target.close()
    except RunError as error:
        code = _explain(error)
    return code


def _conclude(target: TargetOutreach, failure: ExitCode | None) -> ExitCode:
    """Report on the run, whatever became of it."""
    report = target.report()
    code = target.exit_code(report, failure)
    if not report.adds_up:
        logger.error("The counts do not add up; please report this as a fault of target-outreach.")
    report.log()
    if target.settings.report_path:
        try:
            report.write(target.settings.report_path, code)
        except RunError as error:
            code = _explain(error)
    return code


def _explain(error: Exception) -> ExitCode:
    """Say in one sentence what stopped the run."""
    if isinstance(error, ConfigValidationError):
        for problem in error.errors:
            logger.error("%s", problem)
        return ExitCode.FAILED
    if isinstance(error, EndedEarly):
        logger.warning("%s", error)
        return error.exit_code
    if isinstance(error, RunError):
        logger.error("%s", error)
        return error.exit_code
    logger.error(
        "The run stopped at a fault of target-outreach itself, %s at %s; please report it.",
        type(error).__name__,
        _place(error),
    )
    return ExitCode.FAILED


def _place(error: Exception) -> str:
    """Name the line of code where an error came up."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "no known line"


@click.command()
@click.option("--path", default="outreach.db", show_default=True, help="File of the sandbox.")
@click.option("--port", default=8765, show_default=True, help="Port on this machine.")
def sandbox(path: str, port: int) -> None:
    """Serve a local Outreach from a file.

    Example: target-outreach sandbox --path outreach.db --port 8765
    """
    from target_outreach.sandbox import Sandbox, serve  # noqa: PLC0415 - few runs need it

    def say_where(served: Sandbox) -> None:
        click.echo(f"Outreach's API is at {served.api_url}, kept in {path}", err=True)

    try:
        serve(path, port=port, ready=say_where)
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"The sandbox cannot be served: {error}") from None


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--config", "configs", multiple=True, help="Configuration file, or ENV.", metavar="FILE|ENV"
)
@click.pass_context
def replay(context: click.Context, file: Path, configs: tuple[str, ...]) -> None:
    """Send the records of a rejects file again; when all are settled it is renamed to .done.

    Example: target-outreach replay rejects/20260331T093000Z-1f2e3d4c.jsonl --config config.json
    """
    _ = TargetOutreach.cli  # sets up logging
    config = TargetOutreach.cb_config(context, None, configs)  # type: ignore[arg-type]
    try:
        target = make_target(config)
    except ConfigValidationError as error:
        context.exit(_explain(error))
    target.replay(file)
    context.exit(run(target, io.StringIO()))


COMMANDS: dict[str, click.Command] = {"sandbox": sandbox, "replay": replay}


def _command(words: list[str]) -> int:
    try:
        COMMANDS[words[0]].main(words[1:], prog_name=f"target-outreach {words[0]}")
    except SystemExit as error:
        return int(error.code or 0)
