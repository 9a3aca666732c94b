"""The commands beside the Singer target, each in a module of its own that only it loads.

A command's errors are those of a run: one sentence in the log, and an exit code.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from target_outreach.errors import Interrupted, SettingsError
from target_outreach.running import explain, make_target
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from target_outreach.settings import Settings

P = ParamSpec("P")

#: The settings of kind `object`, as Meltano calls it.
NESTED = ("stream_maps", "stream_map_config")

#: What Meltano sets for a loader, and nobody else does.
UNDER_MELTANO = "MELTANO_LOADER_NAME"

#: What stands between the parts of a name that Meltano has flattened.
DOT = re.compile(r"(?<!\\)\.")

#: The option by which a command is given its configuration, as the target is.
config_option = click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE|ENV",
    help="Configuration file, or ENV for environment variables; can be given more than once.",
)


def read_config(context: click.Context, configs: tuple[str, ...]) -> Any:  # noqa: ANN401 - private
    """Read what ``--config`` names, into a type of the SDK's own.

    Raises:
        SettingsError: A file cannot be read.
    """
    _ = TargetOutreach.cli  # sets up logging
    try:
        return TargetOutreach.cb_config(context, None, configs)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        what = type(error).__name__
        raise SettingsError(f"The configuration cannot be read ({what}).") from None


def open_target(context: click.Context, configs: tuple[str, ...]) -> TargetOutreach:
    """Make a target from what ``--config`` says.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong, or a file is unreadable.
    """
    return make_target(_read_nested(context, configs))


def merge_config(context: click.Context, configs: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that ``--config`` names, whether or not they are whole.

    Raises:
        SettingsError: An environment variable cannot be read, or a file.
    """
    config = _read_nested(context, configs)
    if config.parse_env:
        TargetOutreach.check_environment(os.environ)
    target = TargetOutreach(
        config=config.config, parse_env_config=config.parse_env, validate_config=False
    )
    return dict(target.config)


def _read_nested(context: click.Context, configs: tuple[str, ...]) -> Any:  # noqa: ANN401 - private
    config = read_config(context, configs)
    if config.parse_env and UNDER_MELTANO in os.environ:
        nest_settings(os.environ)
    return config


def nest_settings(environment: MutableMapping[str, str]) -> None:
    """Nest settings again that Meltano has flattened to ``{"stream.column": …}``.

    A run under Meltano is given a file instead, in which they are nested, and where Meltano has
    left out nulls; a command is to have the same configuration.
    """
    for name in NESTED:
        variable = f"TARGET_OUTREACH_{name.upper()}"
        try:
            flat = json.loads(environment.get(variable, ""))
        except ValueError:  # not set, or said later
            continue
        if isinstance(flat, dict):
            environment[variable] = json.dumps(_nested(flat))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None:
            continue
        *parents, last = (part.replace("\\.", ".") for part in DOT.split(path))
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


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
            click.echo("Stopped.", err=True)
            code = signal.exit_code
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:  # noqa: BLE001 - the last one who can say what happened
            code = explain(error)
        click.get_current_context().exit(code)

    return run
