"""What ``--config`` names: files, and the environment; read alike by runs and by commands."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_outreach.errors import SettingsError
from target_outreach.report.resend import CONFIGS
from target_outreach.settings.problems import unread_variables
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    import click

logger = logging.getLogger("target-outreach")

#: What the names of the variables for this target begin with.
PREFIX = "TARGET_OUTREACH_"

#: The settings of kind `object`, as Meltano calls it.
NESTED = ("stream_maps", "stream_map_config")

#: What Meltano sets for a loader, and nobody else does.
UNDER_MELTANO = "MELTANO_LOADER_NAME"

#: What is between the parts of a name that Meltano has flattened.
DOT = re.compile(r"(?<!\\)\.")

#: A file that has a name and a colon where JSON would have a brace.
YAML = re.compile(r"[A-Za-z_][\w-]*:(?:\s|$)")

#: A comma behind which nothing follows.
TRAILING = re.compile(r",\s*[}\]]")

#: What the option ``--dry-run`` does.
DRY_RUN = "Read, match and plan for real, but write nothing, whatever the configuration says."

#: What the option ``--fail-on-rejects`` does.
FAIL_ON_REJECTS = "End a dry run with exit code 3 if records would be rejected."

#: The exit code where nobody reads on, as of programs that SIGPIPE ends.
READER_GONE = 141


def read_config(context: click.Context, names: Sequence[str]) -> Any:  # noqa: ANN401 - private
    """Read what ``--config`` names, into a type of the SDK's own; a later file wins.

    Raises:
        SettingsError: A file cannot be read; it says which one, and where it is wrong.
    """
    context.meta[CONFIGS] = tuple(names)
    merged = TargetOutreach.cb_config(context, None, ())  # type: ignore[arg-type]
    for name in names:
        one = _read_one(context, name)
        merged.config |= one.config
        merged.parse_env |= one.parse_env
    return merged


def insist_on_some(names: Sequence[str]) -> None:
    """Refuse to begin where ``--config`` names nothing.

    Raises:
        SettingsError: It says how to name something.
    """
    if not names:
        raise SettingsError(
            "No configuration is named: add --config config.json, which `target-outreach init` "
            "writes, or --config ENV for environment variables."
        )


def _read_one(context: click.Context, name: str) -> Any:  # noqa: ANN401 - idem
    """Read one file; an error message about it contains nothing of its contents."""
    try:
        read = TargetOutreach.cb_config(context, None, (name,))  # type: ignore[arg-type]
        if not (twice := _named_twice(Path(name))):
            return read
        why = f"{name} has {twice!r} twice in one object. Remove one of the two"
    except FileNotFoundError:
        why = f"there is no file {name}"
        if name.lower() == "env":
            why += "; environment variables are read by --config ENV, in capitals"
    except IsADirectoryError:
        why = f"{name} is a folder; name the JSON file in it, such as config.json"
    except OSError as error:
        why = f"{name}: {error.strerror or type(error).__name__}"
    except UnicodeError:
        why = f"{name} is no text in UTF-8: save it as such"
    except RuntimeError:
        why = "--config has no name behind it"
    except (TypeError, ValueError) as error:
        why = no_json(name, error)
    raise SettingsError(f"The configuration cannot be read: {why}.")


def _named_twice(path: Path) -> str | None:
    """Return a name that an object in a JSON file has twice, of which the SDK takes the last.

    Returns:
        None where there is none, and for what is no file that can be read a second time.
    """
    if not path.is_file():
        return None
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        twice.extend(name for name, count in counts.items() if count > 1)
        return dict(pairs)

    json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=note)
    return twice[0] if twice else None


def no_json(name: str, error: Exception) -> str:
    """Say where a file is no JSON object, and what it probably is instead."""
    text, at = getattr(error, "doc", None), getattr(error, "pos", 0)
    if not isinstance(text, str):
        return f"{name} is JSON, but no object: it must begin with {{ and hold settings by name"
    if not text.strip():
        return f"{name} is empty; `target-outreach init` writes a whole one"
    lines = (line for line in map(str.strip, text.splitlines()) if line.strip("-"))
    if YAML.match(next((line for line in lines if not line.startswith("#")), "")):
        return (
            f"{name} looks like YAML, and must be JSON; settings in a meltano.yml are read by "
            "`meltano run` only"
        )
    before = text[:at].rstrip()
    if before.endswith(",") and text[at : at + 1] in {"}", "]"}:
        at = len(before) - 1  # which newer versions of Python name
    line, column, rest = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), text[at:]
    where = f"{name} is no JSON at line {line}, column {column}"
    for is_it, what in (
        (TRAILING.match(rest), "a comma too many"),
        (rest[:1] == "'", "texts need double quotes"),
        (rest.startswith(("//", "#", "/*")), "JSON has no comments"),
    ):
        if is_it:
            return f"{where} ({what})"
    return where


def open_run(config: Any) -> TargetOutreach:  # noqa: ANN401 - idem
    """Make the target of a run, and say first of all if that is not to write anything.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    level = logger.level
    # Else the SDK says first whether it reads the environment: we say what it does not.
    logger.setLevel(max(level, logging.WARNING))
    try:
        target = make_target(config)
    finally:
        logger.setLevel(level)
    if target.settings.dry_run:
        logger.info("Dry run: nothing will be written.")
    return target


def make_target(config: Any, *, validate: bool = True) -> TargetOutreach:  # noqa: ANN401 - idem
    """Make a target from what `read_config` returned, by default of settings that are whole.

    Raises:
        SettingsError: A setting, or its environment variable, is wrong.
    """
    if config.parse_env:
        TargetOutreach.check_environment(os.environ)
    return TargetOutreach(
        config=config.config, parse_env_config=config.parse_env, validate_config=validate
    )


def insist_on(name: str, config: Any, environment: MutableMapping[str, str]) -> None:  # noqa: ANN401
    """Switch a setting on, whatever the files and the environment say."""
    config.config[name] = True
    if config.parse_env:  # by which the SDK overrides the files
        environment[f"{PREFIX}{name.upper()}"] = "true"


def mention_unread(config: Any, environment: Mapping[str, str]) -> None:  # noqa: ANN401
    """Warn of settings in the environment that are not read.

    Meltano gives a run the same settings twice, in a file and in the environment; what is in
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

    A run under Meltano is given a file instead, in which they are nested and
    without nulls; a command must have the same configuration.
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
