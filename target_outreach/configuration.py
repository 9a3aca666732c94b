"""What ``--config`` names: files, and the environment; read alike by runs and by commands."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from target_outreach.errors import SettingsError
from target_outreach.running import make_target
from target_outreach.settings.problems import unread_variables
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

    import click

logger = logging.getLogger("target-outreach")

#: What the names of the variables for this target begin with.
PREFIX = "TARGET_OUTREACH_"

#: The settings of kind `object`, as Meltano calls it.
NESTED = ("stream_maps", "stream_map_config")

#: What Meltano sets for a loader, and nobody else does.
UNDER_MELTANO = "MELTANO_LOADER_NAME"

#: What stands between the parts of a name that Meltano has flattened.
DOT = re.compile(r"(?<!\\)\.")

#: What the option ``--dry-run`` does.
DRY_RUN = "Read, match and plan for real, but write nothing, whatever the configuration says."

#: The exit code where nobody reads on, as of programs that SIGPIPE ends.
READER_GONE = 141


def read_config(context: click.Context, names: Sequence[str]) -> Any:  # noqa: ANN401 - private
    """Read what ``--config`` names, into a type of the SDK's own; a later file wins.

    Raises:
        SettingsError: A file cannot be read; it says which one, and where it is wrong.
    """
    merged = TargetOutreach.cb_config(context, None, ())  # type: ignore[arg-type]
    for name in names:
        one = _read_one(context, name)
        merged.config |= one.config
        merged.parse_env |= one.parse_env
    return merged


def _read_one(context: click.Context, name: str) -> Any:  # noqa: ANN401 - idem
    """Read one file; what is wrong with it is said without a word of what stands there."""
    try:
        return TargetOutreach.cb_config(context, None, (name,))  # type: ignore[arg-type]
    except FileNotFoundError:
        why = f"there is no file {name}"
    except OSError as error:
        why = f"{name}: {error.strerror or type(error).__name__}"
    except UnicodeError:
        why = f"{name} is no text in UTF-8"
    except RuntimeError:
        why = "--config has no name behind it"
    except (TypeError, ValueError) as error:
        why = f"{name} holds no JSON object"
        if (line := getattr(error, "lineno", None)) is not None:
            why = f"{name} is no JSON at line {line}, column {getattr(error, 'colno', 1)}"
    raise SettingsError(f"The configuration cannot be read: {why}.")


def open_run(config: Any) -> TargetOutreach:  # noqa: ANN401 - idem
    """Make the target of a run, and say first of all if that is not to write anything.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    with _without_preamble():
        target = make_target(config)
    if target.settings.dry_run:
        logger.info("Dry run: nothing will be written.")
    return target


@contextmanager
def _without_preamble() -> Iterator[None]:
    """Keep the SDK from saying first whether it reads the environment: we say what it does not."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def insist_on_dry_run(config: Any, environment: MutableMapping[str, str]) -> None:  # noqa: ANN401
    """Let a run be a dry one, whatever the files and the environment say."""
    config.config["dry_run"] = True
    if config.parse_env:  # by which the SDK overrides the files
        environment[f"{PREFIX}DRY_RUN"] = "true"


def mention_unread(config: Any, environment: Mapping[str, str]) -> None:  # noqa: ANN401
    """Warn of settings that stand in the environment, but nobody reads there.

    Meltano gives a run the same settings twice, in a file and in the environment; what stands in
    both alike is not worth a word.
    """
    if config.parse_env:
        return
    schema = TargetOutreach.whole_schema()
    own = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    if UNDER_MELTANO in environment:
        nest_settings(own)
    if names := unread_variables(own, PREFIX, schema, config.config):
        logger.warning("Without --config ENV the environment is not read: %s.", ", ".join(names))


def nest_settings(environment: MutableMapping[str, str]) -> None:
    """Nest settings again that Meltano has flattened to ``{"stream.column": …}``.

    A run under Meltano is given a file instead, in which they are nested, and where Meltano has
    left out nulls; a command is to have the same configuration.
    """
    for name in NESTED:
        variable = f"{PREFIX}{name.upper()}"
        try:
            flat = json.loads(environment.get(variable, ""))
        except ValueError:  # not set, or said later
            continue
        if isinstance(flat, dict):
            environment[variable] = json.dumps(_nested(flat))


def nest_environment(config: Any) -> None:  # noqa: ANN401 - idem
    """Nest what the environment holds of a configuration, where Meltano has flattened it."""
    if config.parse_env and UNDER_MELTANO in os.environ:
        nest_settings(os.environ)


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
