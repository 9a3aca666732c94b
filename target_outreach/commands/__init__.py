"""The commands beside the Singer target, each in a module of its own that only it loads.

A command's errors are those of a run: one sentence in the log, and an exit code.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, ParamSpec

import click
from singer_sdk.exceptions import ConfigValidationError

from target_outreach.errors import RunError
from target_outreach.running import explain, make_target
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
    help="Configuration file, or ENV for environment variables; can be given more than once.",
)


def open_target(context: click.Context, configs: tuple[str, ...]) -> TargetOutreach:
    """Make a target from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    _ = TargetOutreach.cli  # sets up logging
    config: Any = TargetOutreach.cb_config(context, None, configs)  # type: ignore[arg-type]
    return make_target(config)


def open_settings(context: click.Context, configs: tuple[str, ...]) -> Settings:
    """Read the settings from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    logging.getLogger(TargetOutreach.name).setLevel(logging.WARNING)  # the command itself speaks
    return open_target(context, configs).settings


def explained(command: Callable[P, int]) -> Callable[P, None]:
    """Let a command return its exit code, and have its errors said in a sentence."""

    @functools.wraps(command)
    def run(*args: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*args, **options)
        except (ConfigValidationError, RunError) as error:
            code = explain(error)
        click.get_current_context().exit(code)

    return run
