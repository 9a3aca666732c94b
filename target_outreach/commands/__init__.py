"""The commands beside the Singer target, each in a module of its own that only it loads.

A command's errors are those of a run: one sentence in the log, and an exit code.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from target_outreach import configuration
from target_outreach.errors import Interrupted
from target_outreach.plain_text import say
from target_outreach.running import explain
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.settings import Settings

P = ParamSpec("P")

#: The option by which a command is given its configuration, as the target is.
config_option = click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE|ENV",
    type=click.Path(),
    help="Configuration file, or ENV for environment variables; can be given more than once.",
)


def read_config(context: click.Context, configs: tuple[str, ...]) -> Any:  # noqa: ANN401 - private
    """Read what ``--config`` names, into a type of the SDK's own, and list what is missing in it.

    Raises:
        SettingsError: A file cannot be read.
    """
    config = configuration.read_config(context, configs)
    configuration.mention_unread(config, os.environ)
    configuration.nest_environment(config)
    return config


#: The option by which a command that writes is to write nothing.
dry_run_option = click.option("--dry-run", is_flag=True, help=configuration.DRY_RUN)


def open_target(
    context: click.Context, configs: tuple[str, ...], *, dry_run: bool = False
) -> TargetOutreach:
    """Make a target from what ``--config`` says; a dry run writes nothing, whatever that says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong, or a file is unreadable.
    """
    config = read_config(context, configs)
    configuration.insist_on_some(configs)
    if dry_run:
        configuration.insist_on("dry_run", config, os.environ)
    return configuration.open_run(config)


def merge_config(context: click.Context, configs: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that ``--config`` names, whether or not they are whole.

    Raises:
        SettingsError: An environment variable cannot be read, or a file.
    """
    target = configuration.make_target(read_config(context, configs), validate=False)
    return dict(target.config)


def open_settings(context: click.Context, configs: tuple[str, ...]) -> Settings:
    """Read the settings from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    speak_alone()
    return open_target(context, configs).settings


def speak_alone() -> None:
    """Let the log say no more than warnings, since the command itself speaks.

    What the terminal's encoding lacks is shown as a question mark, instead of ending the command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    for name in (TargetOutreach.name, "singer_sdk"):
        logging.getLogger(name).setLevel(logging.WARNING)


def explained(command: Callable[P, int]) -> Callable[P, None]:
    """Let a command return its exit code, and have its errors said in a sentence."""

    @functools.wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*args, **options)
        except Interrupted as signal:  # unlike a run, there is nothing to settle
            say("Stopped.", err=True)
            code = signal.exit_code
        except BrokenPipeError:  # as of `fields | head`: whoever read has read enough
            code = configuration.READER_GONE
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:  # noqa: BLE001 - the last one who can say what happened
            code = explain(error)
        click.get_current_context().exit(code)

    return run


class Whole(click.IntRange):
    """A whole number, also as people write it: ``200,000``."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - click's
        """Read it, without the commas between thousands."""
        if isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}(,\d{3})+\s*", value, re.ASCII):
            value = value.replace(",", "")
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number."""

    name = "number"
