"""What is wrong with a configuration, in words that never repeat a value of it."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema

from target_outreach.records.routing import object_names
from target_outreach.records.schemas import broken_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What settings of other targets, and of the SDK, are called here.
OTHER_NAMES = {
    "load_method": "sync_mode",
    "action": "sync_mode",
    "dead_letter_path": "rejects_path",
    "base_url": "api_url",
    "token": "access_token",
    "api_key": "access_token",
    "max_parallelism": "max_parallel_requests",
    "lookup_fields": "streams",
    "match_fields": "streams",
}

#: The settings that name an object, in the singular too.
OF_OBJECTS = ("outreach_object", "object")

#: What the types of JSON Schema are called; a null counts as unset, so it need not be offered.
TYPES = {
    "array": "a list",
    "object": "a map",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

#: What the SDK takes for true in an environment variable.
TRUTHY = ("true", "1", "yes", "on")


def without_nulls(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop settings that are null, which count as unset, also in the entries of `streams`.

    In `stream_maps` a null means something: it drops a column or a stream.
    """
    kept = {name: value for name, value in config.items() if value is not None}
    if isinstance(entries := kept.get("streams"), list):
        kept["streams"] = [
            _plain({name: value for name, value in entry.items() if value is not None})
            if isinstance(entry, dict)
            else entry
            for entry in entries
        ]
    return _plain(kept)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Write in one way what may be given in several.

    The environment has only text, so a number or a map that may also be text becomes that; objects
    are called by their plural.
    """
    for name in OF_OBJECTS:
        if isinstance(given := config.get(name), str):
            config[name] = object_names().get(given.strip().lower(), given)
    if isinstance(config.get("max_rejects"), int):
        config["max_rejects"] = str(config["max_rejects"])
    if isinstance(config.get("array_fields"), dict):
        config["array_fields"] = json.dumps(config["array_fields"])
    return config


def find_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a configuration, without repeating a value of it.

    Args:
        config: The configuration.
        schema: Its JSON Schema, the SDK's settings included.

    Returns:
        One sentence for each problem.
    """
    known = schema["properties"]
    problems = [
        f"There is no setting {unknown_name(name, known)}" for name in config if name not in known
    ]
    body = {"type": "object", "properties": known}
    checked = without_nulls(config)
    for error in jsonschema.Draft202012Validator(body).iter_errors(checked):
        problems += _worded(error, checked)
    return problems


def _worded(error: jsonschema.ValidationError, config: Mapping[str, Any]) -> list[str]:
    """Word what breaks the schema, in the terms of a setting or of an entry of `streams`."""
    place, rule = broken_rule(error)
    if error.validator in {"type", "enum"}:
        rule = f"must be {_choices(error.validator_value)}"
    match list(error.absolute_path):
        case ["streams", int(index), *_]:
            place = ".".join(place.split(".")[2:]) or "it"
            where = f"{_entry(index, config['streams'][index])}: "
        case _:
            where = ""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema["properties"] if isinstance(error.schema, dict) else {}
        strange = (name for name in error.instance if name not in known)
        return [f"{where}there is no setting {unknown_name(name, known)}" for name in strange]
    return [f"{where}{place} {rule}."]


def _entry(index: int, entry: Any) -> str:  # noqa: ANN401 - as it was configured
    """Name an entry of `streams` by its number, from 1, and the streams that it is for."""
    stream = entry.get("stream") if isinstance(entry, dict) else None
    return f"Entry {index + 1} of streams" + (f" ({stream!r})" if isinstance(stream, str) else "")


def _choices(allowed: Any) -> str:  # noqa: ANN401 - one, or a list of them
    choices = allowed if isinstance(allowed, list) else [allowed]
    named = (TYPES.get(str(choice), str(choice)) for choice in choices)
    return " or ".join(
        name for name, choice in zip(named, choices, strict=True) if choice not in {None, "null"}
    )


def environment_problems(
    environment: Mapping[str, str], prefix: str, schema: Mapping[str, Any]
) -> list[str]:
    """Say which environment variables cannot be read as their settings.

    Args:
        environment: The variables of the process.
        prefix: What the names of those for this target begin with.
        schema: The JSON Schema of the configuration.
    """
    problems = []
    for name, setting in schema["properties"].items():
        variable = f"{prefix}{name.upper()}"
        text, types = environment.get(variable), setting.get("type", ())
        if text is None:
            continue
        if "integer" in types and not re.fullmatch(r"\s*[+-]?\d+\s*", text, re.ASCII):
            problems.append(f"{variable} must be a whole number.")
        if not {"array", "object"}.isdisjoint(types) and "string" not in types:
            try:
                json.loads(text)
            except ValueError:
                problems.append(f"{variable} must be JSON.")
    return problems


def unread_variables(
    environment: Mapping[str, str],
    prefix: str,
    schema: Mapping[str, Any],
    config: Mapping[str, Any],
) -> list[str]:
    """List the environment variables whose settings have another value in a configuration.

    Args:
        environment: The variables of the process; a blank one counts as unset.
        prefix: What the names of those for this target begin with.
        schema: The JSON Schema of the configuration.
        config: What is read instead of the environment.
    """
    return [
        variable
        for name, setting in schema["properties"].items()
        if (text := environment.get(variable := f"{prefix}{name.upper()}", "").strip())
        and not _means(text, config.get(name, setting.get("default")))
    ]


def _means(text: str, value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    """Whether a text in the environment means what a configuration has."""
    if isinstance(value, bool):
        return (text.lower() in TRUTHY) is value
    if text == str(value).strip():
        return True
    try:
        read = json.loads(text)
        return bool(read == (json.loads(value) if isinstance(value, str) else value))
    except ValueError:
        return False


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Name a setting that there is not, and say which one may be meant."""
    names = list(known)
    meant = OTHER_NAMES.get(name)
    if meant not in names:
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        meant = close[0] if close else None
    hint = f"; is {meant} meant?" if meant else "; see `target-outreach --about`."
    return f"{name}{hint}"
