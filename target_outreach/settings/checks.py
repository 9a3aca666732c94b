"""What settings must not say together, and the few that are more than they look like."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from target_outreach.delivery.policy import OnReject, RejectPolicy
from target_outreach.errors import SettingsError
from target_outreach.object_store import EXTRAS
from target_outreach.outreach.transport import LOOPBACK
from target_outreach.records.catalog import load_catalog
from target_outreach.records.contacts import domain_key
from target_outreach.records.rules import BY_MEMORY, ArrayRule
from target_outreach.settings.access import BEARER, OAUTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


ARRAY_RULES = get_args(ArrayRule)

NO_MEMORY = (
    "memory_path must be a path of this machine, or the URL of an object in a bucket (s3://, gs:// "
    "or az://), which can be written conditionally."
)


def contradictions(values: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which settings, and which entries of `streams`, make no sense, alone or together."""
    problems = [
        problem
        for name in ("api_url", "oauth_url")
        if (problem := _address_problem(name, values[name])) is not None
    ]
    memory = values["memory_path"] or ""
    if "://" in memory and memory.partition("://")[0] not in EXTRAS:
        problems.append(NO_MEMORY)
    problems += _path_problems(values, entries)
    texts = {
        name: (values[name] or "").strip()
        for name in (*BEARER, *OAUTH, "s2s_guid", "s2s_install_id")
    }
    texts["user_agent"] = values["user_agent"] or ""  # which is sent with the blanks around it
    problems += (
        f"{name} must be printable ASCII text on one line."
        for name, text in texts.items()
        if not (text.isascii() and text.isprintable())  # it is sent in an HTTP header
    )
    if texts["access_token"].lower().startswith("bearer "):
        problems.append("access_token must be the token alone, without the word Bearer before it.")
    problems += (
        f"shared_domains names {domain!r}, which is no host name."
        for domain in values.get("shared_domains", ())
        if not domain_key(domain)
    )
    return problems


def is_enrolment(values: Mapping[str, Any]) -> bool:
    """Whether an entry of `streams` is for an object that puts people into sequences."""
    object_type = load_catalog().get(values.get("object") or "")
    return object_type is not None and object_type.is_enrolment


#: What an entry may say of a stream of enrolments, which are only ever added.
OF_ENROLMENTS = frozenset(
    {"stream", "object", "sync_mode", "columns", "ignore_columns", "column_prefixes"}
)


def enrolment_problems(entries: Sequence[Mapping[str, Any]], *, is_allowed: bool) -> list[str]:
    """Insist on the permission to enrol people, and on entries that ask for no more."""
    problems = []
    for number, entry in enumerate(entries, 1):
        if not is_enrolment(entry):
            continue
        object_name = entry["object"]
        name = f"Entry {number} of streams ({entry['stream']!r})"
        if not is_allowed:
            problems.append(
                f"{name}: {object_name} puts prospects into sequences, by which they get mail: "
                "set allow_enrolment too."
            )
        if entry.get("sync_mode", "insert") != "insert":
            problems.append(f"{name}: {object_name} can only have the sync_mode insert.")
        if others := sorted({*entry} - OF_ENROLMENTS):
            problems.append(f"{name}: {object_name} has no use for {', '.join(others)}.")
    return problems


def array_fields(value: Any) -> Any:  # noqa: ANN401 - the schema has checked it
    """Read an object that came as text, as it does from the environment.

    Raises:
        SettingsError: It is none.
    """
    if not isinstance(value, str) or value in ARRAY_RULES:
        return value
    try:
        rules = json.loads(value)
    except ValueError:
        rules = None
    if not isinstance(rules, dict) or not set(map(str, rules.values())) <= set(ARRAY_RULES):
        raise SettingsError(
            f"array_fields must be one of {', '.join(ARRAY_RULES)}, or an object such as "
            f'{{"tags": "replace"}}; it is {json.dumps(value[:40])}.'
        )
    return rules


def _address_problem(name: str, address: str) -> str | None:
    """Insist on TLS, unless the address is on this machine, whoever reads the address."""
    if not (address.isascii() and address.isprintable()) or set(address) & set(" \\@?#"):
        return (
            f"{name} must be scheme, host and path in ASCII: no user, query or fragment, no "
            "backslash, no white space. It looks like https://api.outreach.io/…."
        )
    try:
        parts = parse_url(address)  # as the connection is made
        other = urlsplit(address)
    except (LocationParseError, ValueError):
        return f"{name} is no address: it looks like https://api.outreach.io/api/v2."
    host = (parts.host or "").strip("[]")
    is_clear = (host, parts.scheme) == (other.hostname, other.scheme)
    if is_clear and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        return None
    return (
        f"{name} must begin with https://, so that no secret is ever sent in the clear; http:// is "
        "for this machine only, such as http://127.0.0.1:8765/…."
    )


def _path_problems(values: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    problems = [
        f"{name} must be a path of this machine, not a URL."
        for name in ("changes_path", "report_path", "sandbox")
        if "://" in (values[name] or "")  # a password in it would be part of file names
    ]
    report = values["report_path"]
    if report is not None and "://" not in report and not report.endswith((".json", ".html")):
        problems.append(f"report_path must end in .json or .html; it is {json.dumps(report)}.")
    by_memory = BY_MEMORY.intersection(one.get("change_detection") for one in (values, *entries))
    if values["memory_path"] is None and by_memory:
        named = " and ".join(sorted(by_memory))
        problems.append(f'change_detection {named} needs memory_path, such as "memory.db".')
    return problems


def reject_policy(on_reject: OnReject, most: str | None) -> RejectPolicy:
    """Read `max_rejects`.

    Raises:
        SettingsError: It is neither a number nor a share.
    """
    if most is None:
        return RejectPolicy(on_reject)
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", most, re.ASCII)
    if number is None or (not number[2] and "." in number[1]):
        raise SettingsError(
            'max_rejects must be a number of records, or a share such as "5%"; it is '
            f"{json.dumps(most[:40])}."
        )
    if number[2]:
        return RejectPolicy(on_reject, most_percent=float(number[1]))
    return RejectPolicy(on_reject, most=int(number[1]))
