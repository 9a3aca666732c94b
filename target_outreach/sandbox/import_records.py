"""One record of an import: how it is read, and what is made of it (API reference 6.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.records.catalog import load_catalog
from target_outreach.sandbox import errors
from target_outreach.sandbox.database import EmailTakenError
from target_outreach.sandbox.discovery import USER_ID
from target_outreach.sandbox.prospects import completed
from target_outreach.sandbox.resources import Change, blank_attributes, object_type
from target_outreach.sandbox.rights import check_governance
from target_outreach.sandbox.validation import members, read_members

if TYPE_CHECKING:
    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.resources import Record

DupeMethod = Literal["overwriteNoCreate", "overwrite", "skip", "missing"]
ImportOutcome = Literal["updated", "created", "skipped", "failed", "lost"]

_IMPORTABLE = {one.type: name for name, one in load_catalog().items() if one.importable}
_OPT_OUTS = frozenset({"optedOut", "emailOptedOut", "callOptedOut"})
_SECTIONS = ("attributes", "relationships")


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as it was sent: plural name, id or None, and the resource object."""

    name: str
    id: int | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a record: the truth, even if the counts of the import say something else."""

    outcome: ImportOutcome
    existed: bool = False
    reason: str | None = None


def unwrap(record: object, profile: Profile) -> Sent:
    """Read the outer form of a record.

    Raises:
        ApiError: 422 where it is no resource object in the form that the profile requires.
    """
    wrapped = isinstance(record, dict) and "data" in record
    data = record["data"] if isinstance(record, dict) and wrapped else record
    if profile.import_shape not in {"both", "wrapped" if wrapped else "flat"}:
        raise _invalid(f"is not {profile.import_shape}")
    name = _IMPORTABLE.get(str(data.get("type"))) if isinstance(data, dict) else None
    if not isinstance(data, dict) or name is None:
        raise _invalid("has no type that can be imported")
    record_id = data.get("id")
    if record_id is not None and (not isinstance(record_id, int) or isinstance(record_id, bool)):
        raise _invalid("has an id that is no integer")
    return Sent(name, record_id, data)


def _invalid(what: str) -> errors.ApiError:
    return errors.invalid(f"A record {what}.", "/data/attributes/records")


class RecordWriter:
    """Writes the records of an import, inside the caller's transaction.

    Args:
        database: The records.
        profile: The rules that are switchable.
    """

    def __init__(self, database: Database, profile: Profile) -> None:
        self._database = database
        self._profile = profile

    def check(self, record: object) -> None:
        """Check a record as far as that can be done when it is sent.

        Raises:
            ApiError: As a PATCH would be refused.
        """
        sent = unwrap(record, self._profile)
        read_members(sent.name, sent.data, self._profile, self._database, new=False)

    def write(self, record: object, position: int, at: float, dupe_method: str) -> Result:
        """Write one record.

        Args:
            record: As it was sent.
            position: Its place in the import, from 0.
            at: When it is written, in epoch seconds.
            dupe_method: What happens to a record that is there.
        """
        existed = False
        try:
            sent = unwrap(record, self._profile)
            before = None if sent.id is None else self._database.find(sent.name, sent.id)
            existed = before is not None
            if _falls(position, self._profile.import_lost_share):
                return Result("lost", existed)
            # Half a step off, so that it happens to other records than those that are lost.
            if _falls(position, self._profile.import_failed_share, 0.5):
                return Result("failed", existed, "Internal error.")
            if before is None:
                return Result(self._write_absent(sent, at, dupe_method))
            return Result(self._write_present(sent, before, at, dupe_method), existed)
        except errors.ApiError as error:
            return Result("failed", existed, str(error))

    def _write_absent(self, sent: Sent, at: float, dupe_method: str) -> ImportOutcome:
        does: str = self._profile.import_new
        if dupe_method == "overwriteNoCreate":
            does = self._profile.import_unknown
        if does in {"skipped", "ignored"}:
            return "skipped" if does == "skipped" else "lost"
        if does != "created":
            raise errors.not_found(object_type(sent.name).type, str(sent.id))
        check_governance(sent.name, None, self._profile)
        change = self._change(sent, at, new=True)
        self._save(sent.name, None, change)
        if self._profile.import_twice:
            self._save(sent.name, None, replace(change, shared_emails=True))
        return "created"

    def _write_present(
        self, sent: Sent, before: Record, at: float, dupe_method: str
    ) -> ImportOutcome:
        if dupe_method == "skip":
            return "skipped"
        check_governance(sent.name, before.id, self._profile)
        change = self._change(sent, at, new=False)
        if dupe_method == "missing":
            change = _only_missing(sent.name, change, before)
        if not self._profile.import_opts_in:
            change = _without_opt_ins(change, before)
        self._save(sent.name, before, change)
        return "updated"

    def _change(self, sent: Sent, at: float, *, new: bool) -> Change:
        data = self._valid_part(sent) if self._profile.import_invalid == "attribute" else sent.data
        change = read_members(sent.name, data, self._profile, self._database, new=new)
        return replace(
            change,
            method="import",
            attributes=self._kept(change.attributes),
            relationships=self._kept(change.relationships),
            author=USER_ID,
            at=at,
        )

    def _kept(self, sent: Any) -> dict[str, Any]:  # noqa: ANN401 - both kinds of members
        ignored = self._profile.import_ignored
        return {name: value for name, value in sent.items() if name not in ignored}

    def _valid_part(self, sent: Sent) -> dict[str, Any]:
        """Remove each member for which a PATCH of it alone would be refused."""
        kept: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
        for section in _SECTIONS:
            for name, value in members(sent.data, section).items():
                alone = {section: {name: value}}
                try:
                    read_members(sent.name, alone, self._profile, self._database, new=False)
                except errors.ApiError:
                    continue
                kept[section][name] = value
        return kept

    def _save(self, name: str, before: Record | None, change: Change) -> None:
        """Write a change as a whole or not at all.

        Raises:
            ApiError: 422 where an address is taken.
        """
        with self._database.transaction() as connection:
            connection.execute("SAVEPOINT record")
            try:
                if name == "prospects":
                    change = completed(change, before, self._database, self._profile)
                if before is None:
                    self._database.create(name, change)
                else:
                    self._database.modify(name, before.id, change)
            except EmailTakenError:
                connection.execute("ROLLBACK TO record")
                raise errors.taken(
                    self._profile.taken_wording, self._profile.taken_status
                ) from None
            finally:
                connection.execute("RELEASE record")


def _falls(position: int, share: float, offset: float = 0.0) -> bool:
    """Tell whether a record is among a share of all that is evenly spread."""
    before, after = (floor(round(n * share + offset, 9)) for n in (position, position + 1))
    return before != after


def _only_missing(name: str, change: Change, before: Record) -> Change:
    """Remove what the record has."""
    blank = blank_attributes(name)
    return replace(
        change,
        attributes={
            attribute: value
            for attribute, value in change.attributes.items()
            if before.attributes.get(attribute, blank[attribute]) == blank[attribute]
        },
        relationships={
            link: related
            for link, related in change.relationships.items()
            if link not in before.relationships
        },
    )


def _without_opt_ins(change: Change, before: Record) -> Change:
    """Remove what would undo an opt-out."""
    kept = {
        name: value
        for name, value in change.attributes.items()
        if name not in _OPT_OUTS or value or not before.attributes.get(name)
    }
    return replace(change, attributes=kept)
