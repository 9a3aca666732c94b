"""The settings of a stream: each with its type, its default and what it bears upon, said once.

`StreamSettings` is what the configuration says, in the words of the configuration; `Rules` is the
same for one stream, once it is known what the stream is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal, Self

import msgspec

SyncMode = Literal["insert", "update", "upsert"]
OnNull = Literal["ignore", "clear"]
ArrayRule = Literal["merge", "merge_first", "replace"]
FieldRule = Literal["always", "on_create", "if_empty", "never"]
OnAmbiguous = Literal["reject", "oldest", "newest"]
#: What a record is linked to if nothing fits: nothing, so that it is rejected or goes without; or
#: a new account.
OnMissing = Literal["reject", "skip", "create"]
#: What becomes of a record with a value that does not fit its attribute.
OnInvalid = Literal["reject", "skip_field"]
ChangeDetection = Literal["outreach", "source", "drift", "none"]

#: The ways of knowing what has changed that rest on what was delivered before.
BY_MEMORY: frozenset[ChangeDetection] = frozenset({"source", "drift"})

#: Marks a setting that shapes what is written: when it changes, what was delivered counts no more.
SHAPES = {"shapes_what_is_written": True}


@dataclass(frozen=True)
class StreamSettings:
    """What the settings say of one stream.

    The fields are called as the settings are; one that both a configuration and an entry of
    `streams` can say has here the default of both.
    """

    object: str | None = None
    sync_mode: SyncMode = "upsert"
    match_on: tuple[str, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    ignore_columns: tuple[str, ...] = ()
    column_prefixes: tuple[str, ...] = ("property_", "properties__")
    on_null: OnNull = field(default="ignore", metadata=SHAPES)
    array_fields: ArrayRule | Mapping[str, ArrayRule] = field(default="merge", metadata=SHAPES)
    field_rules: Mapping[str, FieldRule] = field(default_factory=dict, metadata=SHAPES)
    on_ambiguous: OnAmbiguous = "reject"
    on_missing_relation: OnMissing = "reject"
    on_invalid_value: OnInvalid = "reject"
    deleted_columns: tuple[str, ...] = ()
    shared_domains: tuple[str, ...] = ()
    change_detection: ChangeDetection = "outreach"


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


#: The settings that shape what is written, each with what holds for attributes that it leaves out.
SHAPING: Mapping[str, str | None] = {
    one.name: one.default if isinstance(one.default, str) else None
    for one in fields(StreamSettings)
    if one.metadata == SHAPES
}
