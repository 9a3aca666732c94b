"""Turns a configuration into values that the rest of the program uses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from target_outreach.delivery.policy import OnReject, RejectPolicy
from target_outreach.errors import SettingsError
from target_outreach.outreach.wire import LOOPBACK
from target_outreach.records.catalog import load_catalog
from target_outreach.records.rules import BY_MEMORY, StreamSettings
from target_outreach.records.values import domain_key
from target_outreach.settings.access import BEARER, OAUTH, Access, read_access
from target_outreach.settings.declared import ARRAY_RULES, SETTINGS
from target_outreach.settings.problems import without_nulls
from target_outreach.stored import local_path

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of `streams`: a name or glob, and what it says of the streams that it fits."""

    pattern: str
    settings: StreamSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration that is known to make sense; times are in seconds."""

    access: Access
    credentials_path: str | None
    outreach_object: str | None
    defaults: StreamSettings
    streams: tuple[StreamEntry, ...]
    allow_opt_in: bool
    allow_enrolment: bool
    memory_path: str | None
    bulk_updates: bool
    batch_size_rows: int
    max_parallel_requests: int
    request_budget_percent: int
    max_requests: int | None
    max_wait: float
    max_outage: float
    request_timeout: float
    on_reject: OnReject
    reject_policy: RejectPolicy
    rejects_path: str | None
    retry_rejects: bool
    report_path: str | None
    dry_run: bool
    plan_path: str | None
    api_url: str
    oauth_url: str
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
        access, problems = read_access(values)
        problems += [*_address_problems(values), *_path_problems(values), *_header_problems(values)]
        problems += [*_enrolment_problems(values), *_shared_domain_problems(values)]
        if problems or access is None:
            raise SettingsError(*problems)
        defaults = _stream_settings(values, StreamSettings())
        entries = values["streams"] or ()
        derived = {
            "access": access,
            "defaults": defaults,
            "streams": tuple(
                StreamEntry(entry["stream"], _stream_settings(entry, defaults)) for entry in entries
            ),
            "max_wait": 60.0 * values["max_wait_minutes"],
            "max_outage": 60.0 * values["max_outage_minutes"],
            "request_timeout": float(values["request_timeout_seconds"]),
            "reject_policy": _reject_policy(values["on_reject"], values["max_rejects"]),
            "validate_records": config.get("validate_records") is not False,
        }
        said = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        return cls(**said | derived)


def _properties() -> dict[str, Any]:
    properties: dict[str, Any] = SETTINGS.to_dict()["properties"]
    return properties


def _stream_settings(values: Mapping[str, Any], defaults: StreamSettings) -> StreamSettings:
    """Read what a configuration or an entry of `streams` says of streams; the rest is inherited."""
    if _is_enrolment(values):
        values, defaults = {**values, "sync_mode": "insert"}, StreamSettings()
    names = (one.name for one in fields(StreamSettings))
    said = {name: values[name] for name in names if values.get(name) is not None}
    if "array_fields" in said:
        said["array_fields"] = _array_fields(said["array_fields"])
    if "shared_domains" in said:
        said["shared_domains"] = [*map(domain_key, said["shared_domains"])]
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return replace(defaults, **said | lists)


def _is_enrolment(values: Mapping[str, Any]) -> bool:
    object_type = load_catalog().get(values.get("object") or "")
    return object_type is not None and object_type.is_enrolment


#: What an entry may say of a stream of enrolments, which are only ever added.
OF_ENROLMENTS = frozenset(
    {"stream", "object", "sync_mode", "columns", "ignore_columns", "column_prefixes"}
)


def _enrolment_problems(values: Mapping[str, Any]) -> list[str]:
    """Insist on the permission to enrol people, and on entries that ask for no more."""
    problems = []
    for number, entry in enumerate(values["streams"] or (), 1):
        if not _is_enrolment(entry):
            continue
        object_name = entry["object"]
        name = f"Entry {number} of streams ({entry['stream']!r})"
        if not values["allow_enrolment"]:
            problems.append(
                f"{name}: {object_name} puts prospects into sequences, by which they get mail: "
                "set allow_enrolment too."
            )
        if entry.get("sync_mode", "insert") != "insert":
            problems.append(f"{name}: {object_name} can only have the sync_mode insert.")
        if others := sorted(entry.keys() - OF_ENROLMENTS):
            problems.append(f"{name}: {object_name} has no use for {', '.join(others)}.")
    return problems


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


def _shared_domain_problems(values: Mapping[str, Any]) -> list[str]:
    return [
        f"shared_domains names {domain!r}, which is no host name."
        for domain in values["shared_domains"] or ()
        if not domain_key(domain)
    ]


def _header_problems(values: Mapping[str, Any]) -> list[str]:
    """Refuse what cannot stand in an HTTP header; only `user_agent` is sent with blanks around."""
    texts = {
        name: (values[name] or "").strip()
        for name in (*BEARER, *OAUTH, "s2s_guid", "s2s_install_id")
    }
    texts["user_agent"] = values["user_agent"] or ""
    return [
        f"{name} must be printable ASCII text on one line."
        for name, text in texts.items()
        if not (text.isascii() and text.isprintable())
    ]


def _address_problems(values: Mapping[str, Any]) -> list[str]:
    """Insist on TLS, unless the address is on this machine, whoever reads the address."""
    return [
        problem
        for name in ("api_url", "oauth_url")
        if (problem := _address_problem(name, values[name])) is not None
    ]


def _address_problem(name: str, address: str) -> str | None:
    if not (address.isascii() and address.isprintable()) or set(address) & set(" \\@?#"):
        return (
            f"{name} must be scheme, host and path in ASCII: no user, query or fragment, no "
            "backslash, no white space."
        )
    try:
        parts = parse_url(address)  # as the connection is made
        other = urlsplit(address)
    except (LocationParseError, ValueError):
        return f"{name} is no address."
    host = (parts.host or "").strip("[]")
    is_clear = (host, parts.scheme) == (other.hostname, other.scheme)
    if is_clear and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        return None
    return f"{name} must begin with https://, so that no secret is ever sent in the clear."


def _path_problems(values: Mapping[str, Any]) -> list[str]:
    report = values["report_path"]
    if report is not None and not report.endswith((".json", ".html")):
        return ["report_path must end in .json or .html."]
    if values["retry_rejects"] and local_path(values["rejects_path"] or "") is None:
        return ["retry_rejects needs a rejects_path on this machine."]
    detections = {values["change_detection"]}
    detections |= {entry.get("change_detection") for entry in values["streams"] or ()}
    if values["memory_path"] is None and (by_memory := detections & BY_MEMORY):
        return [f"change_detection {' and '.join(sorted(by_memory))} needs memory_path."]
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
