"""The settings as they are declared: name, type, default, title and meaning, in three tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from singer_sdk import typing as th

from target_outreach.delivery.policy import OnReject
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.records.rules import (
    ArrayRule,
    ChangeDetection,
    FieldRule,
    OnAmbiguous,
    OnInvalid,
    OnMissing,
    OnNull,
    SyncMode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SYNC_MODES = [*get_args(SyncMode)]
ON_NULL = [*get_args(OnNull)]
ARRAY_RULES = [*get_args(ArrayRule)]
FIELD_RULES = [*get_args(FieldRule)]
ON_MISSING_RELATION = [*get_args(OnMissing)]
ON_AMBIGUOUS = [*get_args(OnAmbiguous)]
ON_INVALID_VALUE = [*get_args(OnInvalid)]
CHANGE_DETECTION = [*get_args(ChangeDetection)]
ON_REJECT = [*get_args(OnReject)]
OBJECTS = [*stream_objects()]
BY_ENTRY = [name for name, one in load_catalog().items() if one.stream == "by_entry"]


def _choice(choices: list[str]) -> th.StringType:
    return th.StringType(allowed_values=choices, nullable=True)


STREAM_ENTRY = th.PropertiesList(
    th.Property("stream", th.StringType(nullable=False), required=True),
    th.Property("object", _choice([*OBJECTS, *BY_ENTRY, "none"])),
    th.Property("sync_mode", _choice(SYNC_MODES)),
    th.Property("match_on", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property(
        "columns", th.ObjectType(additional_properties=th.StringType(nullable=False), nullable=True)
    ),
    th.Property("ignore_columns", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property("column_prefixes", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property(
        "field_rules",
        th.ObjectType(additional_properties=_choice(FIELD_RULES), nullable=True),
    ),
    th.Property("on_null", _choice(ON_NULL)),
    th.Property("array_fields", th.StringType(nullable=True)),
    th.Property("on_ambiguous", _choice(ON_AMBIGUOUS)),
    th.Property("on_missing_relation", _choice(ON_MISSING_RELATION)),
    th.Property("on_invalid_value", _choice(ON_INVALID_VALUE)),
    th.Property("deleted_columns", th.ArrayType(th.StringType(nullable=False), nullable=True)),
    th.Property("change_detection", _choice(CHANGE_DETECTION)),
    additional_properties=False,
)


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"


CREDENTIALS = (
    th.Property(
        "access_token",
        th.StringType(nullable=True),
        secret=True,
        title="Access token",
        description="A bearer token for Outreach's API; it is used as it is and never refreshed.",
    ),
    th.Property(
        "client_id",
        th.StringType(nullable=True),
        title="Client id",
        description="The id of your OAuth app in Outreach.",
    ),
    th.Property(
        "client_secret",
        th.StringType(nullable=True),
        secret=True,
        title="Client secret",
        description="The secret of your OAuth app.",
    ),
    th.Property(
        "refresh_token",
        th.StringType(nullable=True),
        secret=True,
        title="Refresh token",
        description=(
            "The refresh token that access tokens are first got with; the newer ones are kept at "
            "credentials_path. It is not needed if `target-outreach login` was run without it."
        ),
    ),
    th.Property(
        "redirect_uri",
        th.StringType(nullable=True),
        title="Redirect URI",
        description=(
            "The redirect URI that your OAuth app has in Outreach, which takes only https ones; "
            "without it, `target-outreach login` uses https://localhost:8766/callback. If it is on "
            "this machine, login waits there for the browser."
        ),
    ),
    th.Property(
        "s2s_guid",
        th.StringType(nullable=True),
        title="S2S GUID",
        description="The GUID of your server-to-server app.",
    ),
    th.Property(
        "s2s_private_key",
        th.StringType(nullable=True),
        secret=True,
        title="S2S private key",
        description=(
            "The RSA private key of your server-to-server app in PEM: as text, also with \\n for "
            "the ends of lines, or the path of a file."
        ),
    ),
    th.Property(
        "s2s_install_id",
        th.StringType(nullable=True),
        title="S2S installation id",
        description="The id of the installation of your server-to-server app in your organisation.",
    ),
    th.Property(
        "credentials_path",
        th.StringType(nullable=True),
        title="Credentials file",
        description=(
            "File or fsspec URL where the newest tokens are kept between runs, readable by its "
            "owner only; by default it is in the user's state folder."
        ),
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
            f"its {_listed(name for name in STREAM_ENTRY.wrapped if name != 'stream')}; the first "
            "entry that matches wins."
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
        "on_missing_relation",
        _choice(ON_MISSING_RELATION),
        default="reject",
        title="Missing relations",
        description=(
            "What to do with a record that is to be linked to an account, owner, stage or persona "
            "that is not in Outreach or not the only one that fits: reject it, deliver it without "
            "the link and count that (skip), or create the account (create); other links are then "
            "handled as by reject."
        ),
    ),
    th.Property(
        "on_invalid_value",
        _choice(ON_INVALID_VALUE),
        default="reject",
        title="Invalid values",
        description=(
            "What to do with a row that has a value which does not fit its attribute: reject the "
            "row, or deliver it without that value and count it (skip_field)."
        ),
    ),
    th.Property(
        "deleted_columns",
        th.ArrayType(th.StringType(nullable=False), nullable=True),
        title="Deletion columns",
        description=(
            "Columns that mark a row as deleted in the source, by true or by a time, beside "
            "_sdc_deleted_at, _fivetran_deleted, _ab_cdc_deleted_at, __deleted and IsDeleted; such "
            "a row is not written."
        ),
    ),
    th.Property(
        "shared_domains",
        th.ArrayType(th.StringType(nullable=False), nullable=True),
        title="Shared domains",
        description=(
            "Hosts that many companies share, beside the known ones of free mail, social networks "
            "and site builders: they identify no account and are not written as a domain."
        ),
    ),
    th.Property(
        "change_detection",
        _choice(CHANGE_DETECTION),
        default="outreach",
        title="Change detection",
        description=(
            "How a row that needs no write is known: by comparing it with what Outreach holds "
            "(outreach), by what was last delivered, which costs no request (source), by that and "
            "by asking Outreach what others have edited since (drift), or not at all (none); "
            "source and drift need memory_path."
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
        "column_prefixes",
        th.ArrayType(th.StringType(nullable=False), nullable=True),
        default=["property_", "properties__"],
        title="Prefixes of columns",
        description=(
            "What a column whose name says nothing is also looked at without; a column that has "
            "the name already wins."
        ),
    ),
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
        "allow_enrolment",
        th.BooleanType(nullable=True),
        default=False,
        title="Allow enrolment",
        description=(
            "Whether a stream whose entry in streams has the object sequenceStates may put "
            "prospects into sequences, by which Outreach sends them mail."
        ),
    ),
    th.Property(
        "memory_path",
        th.StringType(nullable=True),
        title="Memory",
        description=(
            "Path of a SQLite file that remembers, as hashes, what was delivered; needed by "
            "change_detection source and drift."
        ),
    ),
    th.Property(
        "bulk_updates",
        th.BooleanType(nullable=True),
        default=False,
        title="Bulk updates",
        description=(
            "Whether records are updated many at a time, by an endpoint of Outreach of which no "
            "experience is published; each record is read back, and what was not written is "
            "written by itself."
        ),
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
        "max_outage_minutes",
        th.IntegerType(minimum=0, nullable=True),
        default=5,
        title="Longest outage",
        description=(
            "For how many minutes at least a request is tried again while Outreach cannot be "
            "reached or gives no usable answer, before the run ends with exit code 1; 0 for eight "
            "tries."
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
        description=(
            "Path of a file for the report of the run: .html for a page to look at, .json for "
            "programs."
        ),
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
        "oauth_url",
        th.StringType(nullable=True),
        default="https://api.outreach.io/oauth",
        title="OAuth address",
        description=(
            "Base address of Outreach's OAuth, with /authorize and /token under it; https, unless "
            "it is on this machine."
        ),
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
