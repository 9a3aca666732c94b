"""What is wrong with a configuration, in words that never repeat a value of it."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema

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
    """Write as text what may be given as text or otherwise, as the environment has only text."""
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
    problems = [unknown_name(name, known) for name in config if name not in known]
    body = {"type": "object", "properties": known}
    for error in jsonschema.Draft202012Validator(body).iter_errors(without_nulls(config)):
        place, rule = broken_rule(error)
        problems.append(f"{place} {rule}.")
    return problems


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


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say that there is no such setting, and which one may be meant."""
    meant = OTHER_NAMES.get(name)
    if meant is None:
        close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
        meant = close[0] if close else None
    hint = f"; is {meant} meant?" if meant else "; see `target-outreach --about`."
    return f"There is no setting {name}{hint}"
