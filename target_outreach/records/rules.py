"""The settings of a stream, with type, default and effect in one place.

`StreamSettings` is what the configuration says, in the words of the configuration; `Rules` is the
same for one stream, once it is known what the stream is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, Self

import msgspec

SyncMode = Literal["insert", "update", "upsert"]
OnNull = Literal["ignore", "clear"]
ArrayRule = Literal["merge", "merge_first", "replace"]
FieldRule = Literal["always", "on_create", "if_empty", "never"]
OnAmbiguous = Literal["reject", "oldest", "newest"]
#: What a record is linked to if nothing fits: nothing, so that it is rejected or has no link; or
#: a new account.
OnMissing = Literal["reject", "skip", "create"]
#: What happens to a record with a value that does not fit its attribute.
OnInvalid = Literal["reject", "skip_field"]
#: What happens to a row about a record that a row with another source key has already.
OnDuplicate = Literal["reject", "last"]
ChangeDetection = Literal["outreach", "source", "drift", "none"]

#: The ways of knowing what has changed that rest on what was delivered before.
BY_MEMORY: frozenset[ChangeDetection] = frozenset({"source", "drift"})

#: The tiers in which the documentation shows the settings.
CREDENTIALS, EVERYDAY, TUNING = TIERS = ("Credentials", "Everyday", "Tuning")

#: Marks a setting that shapes what is written: when it changes, what was delivered counts no more.
SHAPES = {"shapes_what_is_written": True}

#: Marks a setting that a configuration says for all streams, and no entry of `streams` for one.
FOR_ALL = {"for_all_streams": True}


def setting(  # noqa: PLR0913 - each is a part of a declaration
    tier: str,
    title: str,
    description: str,
    default: Any = None,  # noqa: ANN401 - of the type that the field has
    marks: Mapping[str, bool] | None = None,
    *,
    is_secret: bool = False,
) -> Any:  # noqa: ANN401 - what a dataclass takes for a default
    """Declare a setting of the configuration, as a field of a dataclass.

    Its name and type are those of the field; JSON Schema, documentation and values follow from it.

    Args:
        tier: One of `TIERS`.
        title: What forms call it.
        description: What it means, in full sentences.
        default: Its default.
        marks: `SHAPES` or `FOR_ALL`, for a setting of streams.
        is_secret: Whether it is never to be shown.
    """
    said = {"tier": tier, "title": title, "description": description, "secret": is_secret}
    return field(default=default, repr=not is_secret, metadata={**said, **(marks or {})})


@dataclass(frozen=True)
class StreamSettings:
    """What the settings say of one stream.

    The fields are called as the settings are. One that is declared as a `setting` can be said for
    all streams by a configuration, and for single ones by the entries of `streams`; the others
    only by those entries.
    """

    object: str | None = None
    sync_mode: SyncMode = setting(
        EVERYDAY,
        "Sync mode",
        "Whether records are created (insert), changed where they exist (update), or both "
        "(upsert).",
        "upsert",
    )
    match_on: tuple[str, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    column_prefixes: tuple[str, ...] = setting(
        TUNING,
        "Prefixes of columns",
        "Prefixes that are ignored at the start of a column's name, if the whole name is unknown "
        "and no other column has the name without the prefix.",
        ("property_", "properties__"),
    )
    field_rules: Mapping[str, FieldRule] = field(default_factory=dict, metadata=SHAPES)
    on_null: OnNull = setting(
        EVERYDAY,
        "Nulls",
        "Whether a null leaves what Outreach holds alone (ignore) or empties it (clear).",
        "ignore",
        SHAPES,
    )
    array_fields: ArrayRule | Mapping[str, ArrayRule] = setting(
        EVERYDAY,
        "Array fields",
        "How emails, phones and tags change the lists in Outreach: new values are appended "
        "(merge) or put first (merge_first), or the list is replaced (replace); also as an "
        "object by attribute.",
        "merge",
        SHAPES,
    )
    on_ambiguous: OnAmbiguous = setting(
        TUNING,
        "Ambiguous matches",
        "What to do with a record that fits several records in Outreach: reject it, or take the "
        "oldest or the newest of them.",
        "reject",
    )
    on_missing_relation: OnMissing = setting(
        EVERYDAY,
        "Missing relations",
        "What to do if the account, owner, stage or persona to link to is not in Outreach, or "
        "several fit: reject the record, deliver it without the link and count that (skip), or "
        "create the account (create); for other links, create does the same as reject.",
        "reject",
    )
    on_invalid_value: OnInvalid = setting(
        EVERYDAY,
        "Invalid values",
        "What to do if a value does not fit its attribute: reject the row, or deliver it without "
        "that value and count it (skip_field).",
        "reject",
    )
    on_duplicate: OnDuplicate = setting(
        EVERYDAY,
        "Duplicate rows",
        "What to do if another row of the stream, with other key properties, has had the same "
        "Outreach record in this run: reject the row, or give the record to the last row, "
        "without the values of the earlier one (last).",
        "reject",
    )
    deleted_columns: tuple[str, ...] = setting(
        EVERYDAY,
        "Deletion columns",
        "Columns that mark a row as deleted in the source, by true or by a time, besides "
        "_sdc_deleted_at, _fivetran_deleted, _ab_cdc_deleted_at, __deleted and IsDeleted; such "
        "a row is not written.",
        (),
    )
    shared_domains: tuple[str, ...] = setting(
        EVERYDAY,
        "Shared domains",
        "Hosts that many companies share, besides the known ones of free mail, social networks "
        "and site builders: they identify no account and are not written as a domain.",
        (),
        FOR_ALL,
    )
    change_detection: ChangeDetection = setting(
        EVERYDAY,
        "Change detection",
        "How unchanged rows are recognised: by comparing them with Outreach (outreach), with "
        "what was last delivered, which costs no request (source), with that and with what "
        "others have edited in Outreach since (drift), or not at all (none); source and drift "
        "need memory_path.",
        "outreach",
    )


@dataclass(frozen=True)
class Rules(StreamSettings):
    """The settings of a stream with the object's own names, and what else decides for it.

    Attributes:
        match_fields: The attributes that records are matched by.
        allow_opt_in: Whether a record may take back somebody's refusal to be contacted.
    """

    match_fields: tuple[str, ...] = ()
    allow_opt_in: bool = False

    @classmethod
    def of(
        cls, settings: StreamSettings, match_fields: tuple[str, ...], *, allow_opt_in: bool
    ) -> Self:
        """Take over the settings of a stream, whose names are those of the object already."""
        said = {one.name: getattr(settings, one.name) for one in fields(StreamSettings)}
        return cls(**said, match_fields=match_fields, allow_opt_in=allow_opt_in)

    def field_rule(self, name: str) -> FieldRule:
        """Return when an attribute or a link is written over what Outreach holds."""
        return self.field_rules.get(name, "always")

    def array_rule(self, attribute: str) -> ArrayRule:
        """Return how an array attribute is laid over what Outreach holds."""
        rules = self.array_fields
        return rules if isinstance(rules, str) else rules.get(attribute, "merge")

    @cached_property
    def shaping(self) -> bytes:
        """The settings that shape what is written of a record, as JSON."""
        return msgspec.json.encode((*(getattr(self, name) for name in SHAPING), self.allow_opt_in))

    def shaping_of(self, attribute: str) -> tuple[str | None, ...]:
        """Return what the settings that shape what is written say of one attribute."""
        if (known := self._shaping_of.get(attribute)) is None:
            said = ((getattr(self, name), default) for name, default in SHAPING.items())
            known = self._shaping_of[attribute] = tuple(
                rule.get(attribute, default) if isinstance(rule, Mapping) else rule
                for rule, default in said
            )
        return known

    @cached_property
    def _shaping_of(self) -> dict[str, tuple[str | None, ...]]:
        return {}


#: The settings that shape what is written, each with the default for attributes without an entry.
SHAPING: Mapping[str, str | None] = {
    one.name: one.default if isinstance(one.default, str) else None
    for one in fields(StreamSettings)
    if SHAPES.items() <= one.metadata.items()
}
