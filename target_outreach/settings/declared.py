"""The settings, each declared once: its name, type, default and description.

Those of credentials are in `access`, those of streams in `records.rules`. `schema` makes one JSON
Schema of all, which the SDK uses to check the configuration and to read the environment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from msgspec import Meta

from target_outreach.delivery.policy import OnBusy, OnReject, RejectPolicy
from target_outreach.errors import SettingsError
from target_outreach.outreach.imports import BulkMode  # noqa: TC001 - read by the schema
from target_outreach.records.contacts import domain_key
from target_outreach.records.rules import EVERYDAY, FOR_ALL, TUNING, StreamSettings, setting
from target_outreach.settings.access import Credentials
from target_outreach.settings.checks import (
    array_fields,
    contradictions,
    enrolment_problems,
    is_enrolment,
    reject_policy,
)
from target_outreach.settings.problems import first_of, without_nulls

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The addresses that are known to hold no user, password or query.
CHECKED = frozenset({"api_url", "oauth_url"})

#: The settings that an entry of `streams` can have, besides the name of its streams.
OF_ENTRIES = [
    one.name for one in fields(StreamSettings) if not FOR_ALL.items() <= one.metadata.items()
]


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of `streams`: a name or glob, and the settings of the streams that it fits."""

    pattern: str
    settings: StreamSettings


@dataclass(frozen=True, kw_only=True)
class Settings(Credentials):
    """A configuration that was checked for contradictions.

    Attributes:
        defaults: The settings of all streams.
        reject_policy: When rejected records end the run.
        validate_records: A setting of the SDK.
    """

    outreach_object: str | None = setting(
        EVERYDAY,
        "Outreach object",
        "The object of all streams; by default the last part of each stream's name decides.",
    )
    defaults: StreamSettings = StreamSettings()
    streams: tuple[StreamEntry, ...] = setting(
        EVERYDAY,
        "Streams",
        "Settings for single streams: a list of entries with the name or glob of a stream, "
        f"its {', '.join(OF_ENTRIES[:-1])} and {OF_ENTRIES[-1]}; the first entry that matches "
        "wins.",
        (),
    )
    on_reject: OnReject = setting(
        EVERYDAY,
        "Rejected records",
        "What a rejected record does to the run: all others are delivered and the exit code is 3 "
        "(fail) or 0 (ignore), the run stops at the first one (abort), or STATE stays before the "
        "first one (hold).",
        "fail",
    )
    dry_run: bool = setting(
        EVERYDAY,
        "Dry run",
        "Whether to read, match and plan as in a real run but write nothing: no record, no STATE "
        "and no rejects.",
        default=False,
    )
    allow_opt_in: bool = setting(
        TUNING,
        "Allow opt-in",
        "Whether a record may undo an opt-out.",
        default=False,
    )
    allow_enrolment: bool = setting(
        TUNING,
        "Allow enrolment",
        "Whether streams of the object sequenceStates may put prospects into sequences, so that "
        "Outreach sends them mail.",
        default=False,
    )
    memory_path: str | None = setting(
        TUNING,
        "Memory",
        "Path of a SQLite file that remembers, as hashes, what was delivered, or its URL in a "
        "bucket (s3://, gs:// or az://); needed by change_detection source and drift.",
    )
    on_busy: OnBusy = setting(
        TUNING,
        "Memory in use",
        "What to do if another run is using the memory in a bucket: wait until that has ended, "
        "or end this one with exit code 4.",
        "wait",
    )
    bulk_writes: BulkMode = setting(
        TUNING,
        "Bulk writes",
        "What is written many records at a time, by an endpoint of Outreach that was never tried "
        "on a live account: nothing (off), updates, or also new prospects that have an address "
        "(all). Each record is read back, and what was not written is written by itself.",
        "off",
    )
    batch_size_rows: Annotated[int, Meta(ge=1, le=10_000)] = setting(
        TUNING,
        "Batch size",
        "How many records are looked up and written together; a batch also closes when its "
        "oldest record is 10 seconds old.",
        500,
    )
    max_parallel_requests: Annotated[int, Meta(ge=1, le=16)] = setting(
        TUNING, "Parallel requests", "How many requests may be in flight at once.", 4
    )
    request_budget_percent: Annotated[int, Meta(ge=1, le=100)] = setting(
        TUNING,
        "Request budget",
        "The share of Outreach's hourly limit, in percent, that may be used before the target "
        "waits for the reset; the rest is for other clients of the same user.",
        100,
    )
    max_requests: Annotated[int, Meta(ge=1)] | None = setting(
        TUNING,
        "Most requests",
        "How many requests a run may send before it ends early with exit code 4; the next run "
        "continues where it stopped.",
    )
    max_wait_minutes: Annotated[int, Meta(ge=0)] = setting(
        TUNING,
        "Longest wait",
        "The longest wait, in minutes, for Outreach's limit to reset; a longer one ends the run "
        "early with exit code 4.",
        60,
    )
    max_outage_minutes: Annotated[int, Meta(ge=0)] = setting(
        TUNING,
        "Longest outage",
        "How many minutes a request is repeated, at least, while Outreach cannot be reached or "
        "gives no usable answer, before the run ends with exit code 1; 0 for eight tries.",
        5,
    )
    request_timeout_seconds: Annotated[int, Meta(ge=1, le=600)] = setting(
        TUNING, "Request time-out", "How many seconds to wait for an answer.", 60
    )
    max_rejects: str | None = setting(
        TUNING,
        "Most rejects",
        "How many rejected records a run may have before it stops: a number, or a share of the "
        'records received such as "5%", which counts after 100 records.',
    )
    rejects_path: str | None = setting(
        TUNING,
        "Rejects folder",
        "Folder or fsspec URL for the files with rejected records; by default it is in the "
        "user's state folder.",
    )
    retry_rejects: bool = setting(
        TUNING,
        "Retry rejects",
        "Whether to send the rejected records of earlier runs first; a file of them that is done "
        "gets the ending .done.",
        default=False,
    )
    report_path: str | None = setting(
        TUNING,
        "Report",
        "Path of a file for the report of the run: .html for a page to look at, .json for "
        "programs.",
    )
    changes_path: str | None = setting(
        TUNING,
        "Changes",
        "Path of a file for what the run did with each record, or would do if it is a dry run: "
        ".html for a page to look at, else JSON Lines; it holds values of records, and only its "
        "owner may read it.",
    )
    fail_on_rejects: bool = setting(
        TUNING,
        "Fail on rejects",
        "Whether a dry run ends with exit code 3 where records would be rejected.",
        default=False,
    )
    api_url: str = setting(
        TUNING,
        "API address",
        "Base address of Outreach's API; https, unless it is on this machine.",
        "https://api.outreach.io/api/v2",
    )
    oauth_url: str = setting(
        TUNING,
        "OAuth address",
        "Base address of Outreach's OAuth, with /authorize and /token under it; https, unless it "
        "is on this machine.",
        "https://api.outreach.io/oauth",
    )
    user_agent: str | None = setting(
        TUNING,
        "User agent",
        "The User-Agent header of requests; by default the target's name and version.",
    )
    reject_policy: RejectPolicy = RejectPolicy()
    validate_records: bool = True

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Read a configuration that fits the schema.

        Raises:
            SettingsError: Two settings contradict each other, or one lacks another.
        """
        given = without_nulls(config)
        entries = given.pop("streams", [])
        settings = msgspec.convert(given, cls)
        values = {one.name: getattr(settings, one.name) for one in fields(cls)} | given
        problems = [*settings.access_problems(), *contradictions(values, entries)]
        problems += enrolment_problems(entries, is_allowed=settings.allow_enrolment)
        policy, defaults = RejectPolicy(), StreamSettings()
        streams: tuple[StreamEntry, ...] = ()
        try:
            policy = reject_policy(settings.on_reject, settings.max_rejects)
        except SettingsError as error:
            problems += error.errors
        try:
            defaults = _of_streams(given, defaults)
            streams = tuple(
                StreamEntry(one["stream"], _of_streams(one, defaults)) for one in entries
            )
        except SettingsError as error:
            problems += error.errors
        if problems:
            raise SettingsError(*first_of(problems))
        return replace(settings, defaults=defaults, streams=streams, reject_policy=policy)

    def shown(self) -> dict[str, str]:
        """Return the settings that differ from their defaults, as texts by name.

        Of secrets they say only that they are set, of a URL that may hold a password only its
        scheme.
        """
        found = {}
        for declared, of in ((StreamSettings, self.defaults), (Settings, self)):
            for one in fields(declared):
                value = getattr(of, one.name)
                if "tier" in one.metadata and value != one.default and value is not None:
                    found[one.name] = "set" if one.metadata["secret"] else _text(one.name, value)
        return found


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        scheme, separator, _ = value.partition("://")
        return value if name in CHECKED or not separator else f"{scheme}://…"
    if isinstance(value, tuple | list):
        # Entries of `streams` are named by the streams that they are for.
        return ", ".join(str(getattr(one, "pattern", one)) for one in value)
    return json.dumps(value, default=str)


def _of_streams(given: Mapping[str, Any], defaults: StreamSettings) -> StreamSettings:
    """Read the settings of streams from a configuration or an entry; the rest is inherited."""
    if is_enrolment(given):
        given, defaults = {**given, "sync_mode": "insert"}, StreamSettings()
    if "array_fields" in given:
        given = {**given, "array_fields": array_fields(given["array_fields"])}
    if "shared_domains" in given:
        given = {**given, "shared_domains": [*map(domain_key, given["shared_domains"])]}
    read = msgspec.convert(given, StreamSettings)
    names = (one.name for one in fields(StreamSettings) if one.name in given)
    return replace(defaults, **{name: getattr(read, name) for name in names})
