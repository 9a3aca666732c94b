"""What is wrong with a configuration, in words that never repeat a secret of it."""

from __future__ import annotations

import difflib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import jsonschema

from target_outreach.records.routing import LIKELY, object_names
from target_outreach.records.schemas import broken_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What settings of other targets, and of the SDK, are called here.
OTHER_NAMES = {
    "load_method": "sync_mode",
    "action": "sync_mode",
    "bulk_updates": "bulk_writes",
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

#: The settings that name a file or a folder; the key of a server-to-server app may do so, too.
PATHS = (
    "sandbox",
    "credentials_path",
    "memory_path",
    "rejects_path",
    "report_path",
    "changes_path",
)

#: What the types of JSON Schema are called; a null counts as unset, so it need not be offered.
TYPES = {
    "array": "a list",
    "object": "a map",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

#: Characters of a value that is shown; it is never a secret.
LONGEST_SHOWN = 40

#: Problems that are said at once.
MOST_PROBLEMS = 10

#: Values to type, for settings whose defaults are none.
EXAMPLES: Mapping[str, Any] = {
    "array_fields": {"tags": "replace"},
    "changes_path": "changes.html",
    "client_id": "abc123",
    "column_prefixes": ["crm_"],
    "columns": {"work_email": "emails"},
    "credentials_path": "tokens.json",
    "deleted_columns": ["is_deleted"],
    "field_rules": {"title": "if_empty"},
    "flattening_max_depth": 1,
    "ignore_columns": ["internal_*"],
    "match_on": ["emails"],
    "max_rejects": "5%",
    "max_requests": 5000,
    "memory_path": "memory.db",
    "object": "prospects",
    "outreach_object": "prospects",
    "redirect_uri": "https://localhost:8766/callback",
    "rejects_path": "rejects",
    "report_path": "run.html",
    "s2s_install_id": "12345",
    "s2s_private_key": "key.pem",
    "sandbox": "outreach.db",
    "shared_domains": ["portal.example.com"],
    "stream": "crm-contacts",
    "stream_maps": {"crm-contacts": {"title": "title.strip()"}},
    "streams": [{"stream": "crm-contacts", "object": "prospects"}],
    "user_agent": "my-sync/1.0",
}

#: The types whose values JSON writes without quotes.
UNQUOTED = frozenset(TYPES[name] for name in ("boolean", "integer", "number"))

#: What the SDK takes for true in an environment variable; all else is false to it.
TRUTHY = ("true", "1", "yes", "on")
FALSY = ("false", "0", "no", "off", "")


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
    are called by their plural. JSON knows no difference between 7 and 7.0, and YAML none between
    `off` and false. A path may begin with ~, the home folder.
    """
    if str(config.get("bulk_writes")).lower() == "false":
        config["bulk_writes"] = "off"
    for name, given in config.items():
        if isinstance(given, float) and given.is_integer():
            config[name] = int(given)
    for name in OF_OBJECTS:
        if isinstance(given := config.get(name), str):
            config[name] = object_names().get(given.strip().lower(), given)
    for name in PATHS:
        if isinstance(given := config.get(name), str):
            config[name] = os.path.expanduser(given)  # noqa: PTH111 - it may be a URL
    if isinstance(config.get("max_rejects"), int):
        config["max_rejects"] = str(config["max_rejects"])
    if isinstance(config.get("array_fields"), dict):
        config["array_fields"] = json.dumps(config["array_fields"])
    return config


def find_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a configuration, and show only values that are not a choice.

    Args:
        config: The configuration.
        schema: Its JSON Schema, the SDK's settings included.
    """
    known = schema["properties"]
    problems = [
        f"There is no setting {unknown_name(name, known)}" for name in config if name not in known
    ]
    body = {"type": "object", "properties": known}
    checked = without_nulls(config)
    errors = list(jsonschema.Draft202012Validator(body).iter_errors(checked))
    choices = [error.absolute_path for error in errors if error.validator == "enum"]
    for error in errors:
        # The choices say of what type they are.
        if error.validator != "type" or error.absolute_path not in choices:
            problems += _worded(error, checked, known)
    return problems


def foreign(config: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """Say what a file seems to be if it is none for this target, whose settings the schema has."""
    then = "--config takes the settings of target-outreach, which `target-outreach init` writes."
    streams = config.get("streams")
    entries = streams if isinstance(streams, list) else []
    if any(isinstance(one, dict) and "tap_stream_id" in one for one in entries):
        return f"The configuration looks like a catalog, which is for the tap: {then}"
    if not {"bookmarks", "currently_syncing"}.isdisjoint(config):
        return f"The configuration looks like a STATE, which is for the tap: {then}"
    if len(config) > 1 and set(schema["properties"]).isdisjoint(config):
        return f"The configuration looks like one of another program: {then}"
    return None


def first_of(problems: Sequence[str]) -> list[str]:
    """Return so many problems as can be taken in at once, and how many more there are."""
    some = list(dict.fromkeys(problems))
    if (more := len(some) - MOST_PROBLEMS) > 0:
        some[MOST_PROBLEMS:] = [f"There are {more:,} more problems like these."]
    return some


def faultless(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that fit the schema, each by itself."""
    known = schema["properties"]
    return {
        name: value
        for name, value in without_nulls(config).items()
        if name in known and jsonschema.Draft202012Validator(known[name]).is_valid(value)
    }


def _worded(
    error: jsonschema.ValidationError, config: Mapping[str, Any], known: Mapping[str, Any]
) -> list[str]:
    """Word what breaks the schema, in the terms of a setting or of an entry of `streams`."""
    place, rule = broken_rule(error)
    path = list(error.absolute_path)
    name = next((str(step) for step in reversed(path) if isinstance(step, str)), "")
    of_top = known.get(str(path[0]) if path else "", {})
    given = shown_value(error.instance, is_secret=bool(of_top.get("secret")))
    if error.validator in {"type", "enum"}:
        choices = _choices(error.validator_value)
        rule = f"must be {choices}"
        if error.validator == "enum" and isinstance(error.instance, str):
            rule = f"is {given}; use {choices}"
            rule += _meaning(place.split(".")[-1], error.instance)
        else:
            example = _example(name, error.schema if isinstance(error.schema, dict) else {})
            if isinstance(error.instance, str) and choices in UNQUOTED:
                rule += ", without quotes"
            rule += f"{example}; it is {given}"
    elif error.validator == "required":
        rule += _example("stream" if place.endswith("stream") else name, {})
    elif error.validator in {"minimum", "maximum"}:
        rule += f"; it is {given}"
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


def shown_value(value: Any, *, is_secret: bool = False) -> str:  # noqa: ANN401 - as configured
    """Name a value that does not fit: scalars as JSON writes them, of others only the kind.

    Of a secret, not even a scalar is to be seen.
    """
    if isinstance(value, dict | list):
        return TYPES["object"] if isinstance(value, dict) else TYPES["array"]
    if is_secret:
        kinds = {str: "string", bool: "boolean", int: "integer", float: "number"}
        return TYPES[kinds.get(type(value), "string")]
    if isinstance(value, str) and "://" in value:  # there may be a password in it
        return "a URL"
    if isinstance(value, str):
        return json.dumps(value[:LONGEST_SHOWN], ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _example(name: str, schema: Mapping[str, Any]) -> str:
    """Return what may be typed for a setting, as JSON, if an example is known."""
    example = EXAMPLES.get(name, schema.get("default"))
    if example is None or isinstance(example, bool):
        return ""
    return f", such as {json.dumps(example, ensure_ascii=False)}"


def _meaning(setting: str, given: str) -> str:
    """Say what another program's word for a choice is here."""
    if setting in OF_OBJECTS and (name := LIKELY.get(given.strip().lower())) is not None:
        return f". Outreach calls {given.strip()[:LONGEST_SHOWN].lower()} {name}: set {name}"
    if setting == "sync_mode":
        return ". No mode deletes records"
    return ""


def _entry(index: int, entry: Any) -> str:  # noqa: ANN401 - as it was configured
    """Name an entry of `streams` by its number, from 1, and the streams that it is for."""
    stream = entry.get("stream") if isinstance(entry, dict) else None
    return f"Entry {index + 1} of streams" + (f" ({stream!r})" if isinstance(stream, str) else "")


def _choices(allowed: Any) -> str:  # noqa: ANN401 - one, or a list of them
    choices = allowed if isinstance(allowed, list) else [allowed]
    named = (TYPES.get(str(choice), str(choice)) for choice in choices)
    shown = [
        name for name, choice in zip(named, choices, strict=True) if choice not in {None, "null"}
    ]
    return " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def environment_problems(
    environment: Mapping[str, str], prefix: str, schema: Mapping[str, Any]
) -> list[str]:
    """Say which environment variables, all with a prefix, cannot be read as their settings."""
    problems = []
    for name, setting in schema["properties"].items():
        variable = f"{prefix}{name.upper()}"
        text, types = environment.get(variable), setting.get("type", ())
        if text is None:
            continue
        given = shown_value(text, is_secret=bool(setting.get("secret")))
        unquoted = ", without quotes" if text.strip()[:1] in {"'", '"'} else ""
        if "boolean" in types and text.strip().lower() not in {*TRUTHY, *FALSY}:
            problems.append(f"{variable} must be true or false{unquoted}; it is {given}.")
        if "integer" in types and not re.fullmatch(r"\s*[+-]?\d+\s*", text, re.ASCII):
            rule = f"must be a whole number{unquoted}{_example(name, setting)}"
            problems.append(f"{variable} {rule}; it is {given}.")
        if not {"array", "object"}.isdisjoint(types) and "string" not in types:
            try:
                json.loads(text)
            except ValueError:
                problems.append(f"{variable} must be JSON{_example(name, setting)}.")
    return problems


def unread_variables(
    environment: Mapping[str, str],
    prefix: str,
    schema: Mapping[str, Any],
    config: Mapping[str, Any],
) -> list[str]:
    """List the environment variables whose settings have another value in a configuration.

    That is read instead of them. A blank variable counts as unset.
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
