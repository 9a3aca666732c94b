"""The settings: what they are called, what they mean, and whether they make sense together.

`SETTINGS` is the one place where a setting is declared; ``--about``, `meltano.yml` and the README
follow it. `Settings.read` turns a configuration into values that the rest of the program uses.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

import jsonschema
from singer_sdk import typing as th

from target_outreach.delivery.policy import OnReject, RejectPolicy
from target_outreach.errors import SettingsError
from target_outreach.outreach.client import LOOPBACK
from target_outreach.records.schemas import broken_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from target_outreach.records.mapping import SyncMode
    from target_outreach.records.matching import OnAmbiguous
    from target_outreach.records.planning import ArrayRule, FieldRule, OnNull

SYNC_MODES = ["insert", "update", "upsert"]
ON_NULL = ["ignore", "clear"]
ARRAY_RULES = ["merge", "merge_first", "replace"]
FIELD_RULES = ["always", "on_create", "if_empty", "never"]
ON_AMBIGUOUS = ["reject", "oldest", "newest"]
ON_REJECT = ["fail", "ignore", "abort", "hold"]
OBJECTS = ["prospects", "accounts"]

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


def _choice(choices: list[str]) -> th.StringType:
    return th.StringType(allowed_values=choices, nullable=True)


STREAM_ENTRY = th.PropertiesList(
    th.Property("stream", th.StringType(nullable=False), required=True),
    th.Property("object", _choice([*OBJECTS, "none"])),
    th.Property("sync_mode", _choice(SYNC_MODES)),
    th.Property("match_on", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property(
        "columns", th.ObjectType(additional_properties=th.StringType(nullable=False), nullable=True)
    ),
    th.Property("ignore_columns", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property(
        "field_rules",
        th.ObjectType(additional_properties=_choice(FIELD_RULES), nullable=True),
    ),
    th.Property("on_null", _choice(ON_NULL)),
    th.Property("array_fields", th.StringType(nullable=True)),
    th.Property("on_ambiguous", _choice(ON_AMBIGUOUS)),
    additional_properties=False,
)

CREDENTIALS = (
    th.Property(
        "access_token",
        th.StringType(nullable=True),
        secret=True,
        title="Access token",
        description="A bearer token for Outreach's API; it is used as it is and never refreshed.",
    ),
    th.Property(
        "sandbox",
        th.StringType(nullable=True),
        title="Sandbox file",
        description=(
            "Path of a file that holds a local Outreach, which is made if it does not exist; "
            "with it no account is needed and no credentials are sent."
        ),
    ),
)
EVERYDAY = (
    th.Property(
        "outreach_object",
        _choice(OBJECTS),
        title="Outreach object",
        description=(
            "The object that all streams are for; without it the last part of a stream's name says."
        ),
    ),
    th.Property(
        "sync_mode",
        _choice(SYNC_MODES),
        default="upsert",
        title="Sync mode",
        description=(
            "Whether records are created (insert), changed where they exist (update), or both "
            "(upsert)."
        ),
    ),
    th.Property(
        "streams",
        th.ArrayType(th.CustomType(STREAM_ENTRY.to_dict()), nullable=True),
        title="Streams",
        description=(
            "What differs for single streams: a list of entries with the name or glob of a stream, "
            "its object, sync_mode, match_on, columns, ignore_columns, field_rules, on_null, "
            "array_fields and on_ambiguous; the first entry that matches wins."
        ),
    ),
    th.Property(
        "on_null",
        _choice(ON_NULL),
        default="ignore",
        title="Nulls",
        description=(
            "Whether a null leaves what Outreach holds alone (ignore) or empties it (clear)."
        ),
    ),
    th.Property(
        "array_fields",
        th.StringType(nullable=True),
        default="merge",
        title="Array fields",
        description=(
            "How emails, phones and tags are laid over what Outreach holds: appended (merge), put "
            "first (merge_first), or instead of it (replace); also as an object by attribute."
        ),
    ),
    th.Property(
        "on_reject",
        _choice(ON_REJECT),
        default="fail",
        title="Rejected records",
        description=(
            "What a rejected record means: all else is delivered and the run exits 3 (fail) or 0 "
            "(ignore), the run stops at the first (abort), or STATE stays before the first (hold)."
        ),
    ),
    th.Property(
        "dry_run",
        th.BooleanType(nullable=True),
        default=False,
        title="Dry run",
        description=(
            "Whether to read, match and plan for real but write nothing: no record, no STATE and "
            "no rejects."
        ),
    ),
)
TUNING = (
    th.Property(
        "on_ambiguous",
        _choice(ON_AMBIGUOUS),
        default="reject",
        title="Ambiguous matches",
        description=(
            "What to do with a record that fits several records in Outreach: reject it, or take "
            "the oldest or the newest of them."
        ),
    ),
    th.Property(
        "allow_opt_in",
        th.BooleanType(nullable=True),
        default=False,
        title="Allow opt-in",
        description="Whether a record may take back somebody's refusal to be contacted.",
    ),
    th.Property(
        "batch_size_rows",
        th.IntegerType(minimum=1, maximum=10_000, nullable=True),
        default=500,
        title="Batch size",
        description=(
            "How many records are looked up and written together; a batch also closes when its "
            "oldest record is 10 seconds old."
        ),
    ),
    th.Property(
        "max_parallel_requests",
        th.IntegerType(minimum=1, maximum=16, nullable=True),
        default=4,
        title="Parallel requests",
        description="How many requests may be in flight at once.",
    ),
    th.Property(
        "request_budget_percent",
        th.IntegerType(minimum=1, maximum=100, nullable=True),
        default=100,
        title="Request budget",
        description=(
            "The share of Outreach's hourly limit, in percent, that may be used up before the "
            "target waits for the reset; the rest is left to other clients of the same user."
        ),
    ),
    th.Property(
        "max_requests",
        th.IntegerType(minimum=1, nullable=True),
        title="Most requests",
        description=(
            "How many requests a run may send before it ends early with exit code 4; the next run "
            "goes on where it stopped."
        ),
    ),
    th.Property(
        "max_wait_minutes",
        th.IntegerType(minimum=0, nullable=True),
        default=60,
        title="Longest wait",
        description=(
            "The longest wait, in minutes, for Outreach's limit to reset; a longer one ends the "
            "run early with exit code 4."
        ),
    ),
    th.Property(
        "request_timeout_seconds",
        th.IntegerType(minimum=1, maximum=600, nullable=True),
        default=60,
        title="Request time-out",
        description="How many seconds to wait for an answer.",
    ),
    th.Property(
        "max_rejects",
        th.StringType(nullable=True),
        title="Most rejects",
        description=(
            "How many rejected records stop the run: a number, or a share of the records received "
            'such as "5%", which counts after 100 records.'
        ),
    ),
    th.Property(
        "rejects_path",
        th.StringType(nullable=True),
        title="Rejects folder",
        description=(
            "Folder or fsspec URL for the files with rejected records; by default it is in the "
            "user's state folder."
        ),
    ),
    th.Property(
        "retry_rejects",
        th.BooleanType(nullable=True),
        default=False,
        title="Retry rejects",
        description=(
            "Whether to send the rejected records of earlier runs first; a file of them that is "
            "done gets the ending .done."
        ),
    ),
    th.Property(
        "report_path",
        th.StringType(nullable=True),
        title="Report",
        description="Path of a .json file for the report of the run.",
    ),
    th.Property(
        "plan_path",
        th.StringType(nullable=True),
        title="Plan of a dry run",
        description=(
            "Path of a JSON Lines file for what a dry run would do with each record; it holds "
            "values of records, and only its owner may read it."
        ),
    ),
    th.Property(
        "api_url",
        th.StringType(nullable=True),
        default="https://api.outreach.io/api/v2",
        title="API address",
        description="Base address of Outreach's API; https, unless it is on this machine.",
    ),
    th.Property(
        "user_agent",
        th.StringType(nullable=True),
        title="User agent",
        description="What the target calls itself to Outreach; by default its name and version.",
    ),
)

#: The settings in the tiers in which the documentation shows them.
TIERS: Mapping[str, tuple[th.Property[Any], ...]] = {
    "Credentials": CREDENTIALS,
    "Everyday": EVERYDAY,
    "Tuning": TUNING,
}
SETTINGS = th.PropertiesList(*(setting for tier in TIERS.values() for setting in tier))


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What the settings say of one stream, the defaults filled in."""

    object: str | None = None
    mode: SyncMode = "upsert"
    match_on: tuple[str, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    field_rules: Mapping[str, FieldRule] = field(default_factory=dict)
    on_null: OnNull = "ignore"
    array_fields: ArrayRule | Mapping[str, ArrayRule] = "merge"
    on_ambiguous: OnAmbiguous = "reject"


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of `streams`: a name or glob, and what it says of the streams that it fits."""

    pattern: str
    settings: StreamSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that is known to make sense; times are in seconds."""

    access_token: str | None = field(repr=False)
    sandbox: str | None
    outreach_object: Literal["prospects", "accounts"] | None
    defaults: StreamSettings
    streams: tuple[StreamEntry, ...]
    allow_opt_in: bool
    batch_size_rows: int
    max_parallel_requests: int
    request_budget_percent: int
    max_requests: int | None
    max_wait: float
    request_timeout: float
    on_reject: OnReject
    reject_policy: RejectPolicy
    rejects_path: str | None
    retry_rejects: bool
    report_path: str | None
    dry_run: bool
    plan_path: str | None
    api_url: str
    user_agent: str | None
    validate_records: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Read a configuration that fits the schema.

        Raises:
            SettingsError: Two settings contradict each other, or one lacks another.
        """
        values = {name: prop.get("default") for name, prop in _properties().items()}
        values |= without_nulls(config)
        problems = [*_credential_problems(values), *_address_problems(values)]
        problems += [*_path_problems(values), *_header_problems(values)]
        if problems:
            raise SettingsError(*problems)
        defaults = _stream_settings(values, StreamSettings())
        return cls(
            access_token=(values["access_token"] or "").strip() or None,
            sandbox=values["sandbox"],
            outreach_object=values["outreach_object"],
            defaults=defaults,
            streams=tuple(
                StreamEntry(entry["stream"], _stream_settings(entry, defaults))
                for entry in values["streams"] or ()
            ),
            allow_opt_in=values["allow_opt_in"],
            batch_size_rows=values["batch_size_rows"],
            max_parallel_requests=values["max_parallel_requests"],
            request_budget_percent=values["request_budget_percent"],
            max_requests=values["max_requests"],
            max_wait=60.0 * values["max_wait_minutes"],
            request_timeout=float(values["request_timeout_seconds"]),
            on_reject=values["on_reject"],
            reject_policy=_reject_policy(values["on_reject"], values["max_rejects"]),
            rejects_path=values["rejects_path"],
            retry_rejects=values["retry_rejects"],
            report_path=values["report_path"],
            dry_run=values["dry_run"],
            plan_path=values["plan_path"],
            api_url=values["api_url"],
            user_agent=values["user_agent"],
            validate_records=config.get("validate_records") is not False,
        )


def _properties() -> dict[str, Any]:
    properties: dict[str, Any] = SETTINGS.to_dict()["properties"]
    return properties


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


def _stream_settings(values: Mapping[str, Any], defaults: StreamSettings) -> StreamSettings:
    match_on = values.get("match_on")
    return StreamSettings(
        object=values.get("object"),
        mode=values.get("sync_mode", defaults.mode),
        match_on=tuple(match_on) if match_on is not None else None,
        columns=values.get("columns", {}),
        ignore_columns=tuple(values.get("ignore_columns", ())),
        field_rules=values.get("field_rules", {}),
        on_null=values.get("on_null", defaults.on_null),
        array_fields=_array_fields(values.get("array_fields", defaults.array_fields)),
        on_ambiguous=values.get("on_ambiguous", defaults.on_ambiguous),
    )


def _array_fields(value: Any) -> Any:  # noqa: ANN401 - the schema has checked it
    """Read an object that came as text, as it does from the environment."""
    if not isinstance(value, str) or value in ARRAY_RULES:
        return value
    try:
        rules = json.loads(value)
    except ValueError:
        rules = None
    if not isinstance(rules, dict) or not set(map(str, rules.values())) <= set(ARRAY_RULES):
        raise SettingsError(f"array_fields must be one of {', '.join(ARRAY_RULES)}, or an object.")
    return rules


def _credential_problems(values: Mapping[str, Any]) -> list[str]:
    if values["sandbox"] or values["access_token"]:
        return []
    return ["No credentials: set access_token, or sandbox to try it without an account."]


def _header_problems(values: Mapping[str, Any]) -> list[str]:
    """Refuse what cannot stand in an HTTP header."""
    return [
        f"{name} must be printable ASCII text on one line."
        for name in ("access_token", "user_agent")
        if (text := (values[name] or "").strip()) and not (text.isascii() and text.isprintable())
    ]


def _address_problems(values: Mapping[str, Any]) -> list[str]:
    """Insist on TLS, unless the address is on this machine."""
    try:
        parts = urlsplit(values["api_url"])
    except ValueError:
        return ["api_url is no address."]
    if parts.scheme == "https" and parts.hostname:
        return []
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return []
    return ["api_url must begin with https://, so that the token is never sent in the clear."]


def _path_problems(values: Mapping[str, Any]) -> list[str]:
    report = values["report_path"]
    if report is not None and not report.endswith(".json"):
        return ["report_path must end in .json."]
    if values["retry_rejects"] and "://" in (values["rejects_path"] or ""):
        return ["retry_rejects needs a rejects_path on this machine."]
    if values["plan_path"] is not None and not values["dry_run"]:
        return ["plan_path is for a dry run: set dry_run too."]
    return []


def _reject_policy(on_reject: OnReject, most: str | None) -> RejectPolicy:
    if most is None:
        return RejectPolicy(on_reject)
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", most, re.ASCII)
    if number is None or (not number[2] and "." in number[1]):
        raise SettingsError('max_rejects must be a number of records, or a share such as "5%".')
    if number[2]:
        return RejectPolicy(on_reject, most_percent=float(number[1]))
    return RejectPolicy(on_reject, most=int(number[1]))
