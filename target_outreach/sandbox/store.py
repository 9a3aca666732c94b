"""The store that tests see: seeding, looking and editing past the API."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox.accounts import NAMED, UNNAMED
from target_outreach.sandbox.database import Database
from target_outreach.sandbox.resources import Change, object_type, render, timestamp
from target_outreach.sandbox.values import moment

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from target_outreach.records.model import FieldType
    from target_outreach.sandbox.database import Condition
    from target_outreach.sandbox.import_records import ImportOutcome

LOOK_SECONDS = 5.0
_LOOK_STEPS = 100_000  # of SQLite's machine, some milliseconds


@dataclass(frozen=True, slots=True)
class Write:
    """One accepted write: what was sent, and whether anything differed; `at` is a timestamp.

    `method` is ``POST``, ``PATCH``, ``DELETE``, ``import``, ``company`` (an account that the name
    of a prospect's company made), or ``seed`` and ``edit`` for writes past the API.
    """

    method: str
    at: str
    attributes: dict[str, Any]
    relationships: dict[str, int | None]
    changed: bool


@dataclass(frozen=True, slots=True)
class ImportRun:
    """One import that was accepted, as it really went; what the API tells of it may be a lie.

    Attributes:
        id: Its id.
        at: When it was accepted; a timestamp.
        dupe_method: ``overwriteNoCreate``, ``overwrite``, ``skip`` or ``missing``.
        file_name: As sent.
        total: How many records it was about.
        everything: Whether it was sent without records, and so meant ALL of them.
        state: ``pending``, ``processing``, ``finished`` or ``failed``, whatever the profile calls
            them.
        error: Why it failed as a whole.
        outcomes: How many records were ``updated``, ``created``, ``skipped``, ``failed`` or
            ``lost`` (not written, and counted as if).
    """

    id: int
    at: str
    dupe_method: str
    file_name: str | None
    total: int
    everything: bool
    state: str
    error: str | None
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class ImportedRecord:
    """One record of an import: as sent, its outcome (None before there is one), and why."""

    sent: Any
    outcome: ImportOutcome | None
    reason: str | None


class Store(Database):
    """The records of the sandbox, with direct access for tests and demonstrations."""

    def seed(
        self,
        object_name: str,
        attributes: Mapping[str, Any],
        relationships: Mapping[str, int | None] | None = None,
    ) -> int:
        """Put a record into Outreach past the API; read-only attributes may be given.

        Args:
            object_name: Plural name, as ``prospects``.
            attributes: Values by attribute.
            relationships: Related ids by relationship, as ``{"account": 3}``.

        Returns:
            The id of the new record.

        Raises:
            ValueError: No such object, attribute or relationship, or a time that is none.
        """
        values = _as_kept(object_name, attributes)
        change = Change("seed", values, relationships or {}, shared_emails=True)
        return self.create(object_name, change).id

    def seed_many(self, object_name: str, rows: Iterable[Mapping[str, Any]]) -> list[int]:
        """Seed many records at once, in one transaction.

        Args:
            object_name: Plural name.
            rows: The attributes of each record.

        Returns:
            The ids of the new records.

        Raises:
            ValueError: No such object or attribute, or a time that is none; then nothing is seeded.
        """
        with self.transaction():
            return [self.seed(object_name, attributes) for attributes in rows]

    def update(
        self,
        object_name: str,
        record_id: int,
        attributes: Mapping[str, Any],
        relationships: Mapping[str, int | None] | None = None,
    ) -> None:
        """Edit a record as a person would in Outreach's own pages.

        Raises:
            KeyError: No such record.
            ValueError: No such object, attribute or relationship, or a time that is none.
        """
        values = _as_kept(object_name, attributes)
        change = Change("edit", values, relationships or {}, shared_emails=True)
        self.modify(object_name, record_id, change)

    def all(self, object_name: str) -> list[dict[str, Any]]:
        """Return all records as JSON:API resources in the order of their ids.

        Of accounts these are the named ones, as on the pages of Outreach.
        """
        found = self.select(object_name, _shown(object_name))
        return [render(object_name, record) for record in found]

    def unnamed_accounts(self) -> list[dict[str, Any]]:
        """Return the accounts that prospects have brought about, likewise (2.3)."""
        return [render("accounts", record) for record in self.select("accounts", [UNNAMED])]

    @override
    def count(self, object_name: str, where: Iterable[Condition] | None = None) -> int:
        """Return how many records meet all conditions; without any, how many `all` returns."""
        return super().count(object_name, _shown(object_name) if where is None else where)

    def get(self, object_name: str, record_id: int) -> dict[str, Any]:
        """Return one record as a JSON:API resource.

        Raises:
            KeyError: No such record.
        """
        record = self.find(object_name, record_id)
        if record is None:
            raise KeyError(record_id)
        return render(object_name, record)

    def writes(self, object_name: str, record_id: int) -> list[Write]:
        """Return the accepted writes of a record, the oldest first; also after its deletion."""
        rows = self.rows(
            "SELECT method, at, sent, changed FROM writes WHERE object = ? AND record = ?"
            " ORDER BY number",
            (object_name, record_id),
        )
        return [_write(*row) for row in rows]

    def last_write(self) -> int:
        """Return the number of the last accepted write of all; they count from 1."""
        found = self.rows("SELECT number FROM writes ORDER BY number DESC LIMIT 1")
        return int(found[0][0]) if found else 0

    @contextmanager
    def look(self) -> Iterator[Store]:
        """Open the file once more for reading, so that a long look keeps nobody from writing.

        What takes longer than `LOOK_SECONDS` ends with sqlite3.OperationalError.
        """
        ((_, _, path),) = self.rows("PRAGMA database_list")
        with closing(_Reader(Path(path), self._clock)) as reader:
            yield reader

    def imports(self) -> list[ImportRun]:
        """Return the imports that were accepted, the oldest first."""
        runs = self.rows(
            "SELECT id, at, dupe_method, file_name, total, everything, state, error FROM imports"
            " ORDER BY id"
        )
        return [
            ImportRun(
                number,
                timestamp(at),
                method,
                name,
                total,
                bool(everything),
                state,
                error,
                self._outcomes(number),
            )
            for number, at, method, name, total, everything, state, error in runs
        ]

    def _outcomes(self, import_id: int) -> dict[str, int]:
        return dict(
            self.rows(
                "SELECT outcome, count(*) FROM import_records WHERE import = ?"
                " AND outcome IS NOT NULL GROUP BY outcome",
                (import_id,),
            )
        )

    def import_records(self, import_id: int) -> list[ImportedRecord]:
        """Return the records of an import in the order in which they were sent."""
        rows = self.rows(
            "SELECT sent, outcome, reason FROM import_records WHERE import = ? ORDER BY position",
            (import_id,),
        )
        return [ImportedRecord(json.loads(sent), *rest) for sent, *rest in rows]

    def define_custom_field(  # noqa: PLR0913, PLR0917 - the members that `/types` shows
        self,
        object_name: str,
        number: int,
        label: str,
        type: FieldType = "string",  # noqa: A002 - Outreach's word
        definition: str | Sequence[str] | None = None,
        required: bool = False,  # noqa: FBT001, FBT002 - a value that is stored, no switch
    ) -> None:
        """Give a custom field its label and rules (API reference 1.1).

        Args:
            object_name: ``prospects`` or ``accounts``.
            number: Number of the custom field.
            label: What people call it.
            type: Kind of value.
            definition: Options of a pick list, or the currency.
            required: Whether a new record needs it.
        """
        validation = {"type": type, "required": required, "label": label, "definition": definition}
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO custom_fields VALUES (?, ?, ?)",
                (object_type(object_name).name, f"custom{number}", json.dumps(validation)),
            )


def _shown(object_name: str) -> Sequence[Condition]:
    return [NAMED] if object_name == "accounts" else ()


class _Reader(Store):
    """The records as they are in the file, to look at only."""

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA query_only = ON")
        until = time.monotonic() + LOOK_SECONDS
        self._connection.set_progress_handler(lambda: time.monotonic() > until, _LOOK_STEPS)


def _as_kept(object_name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Write times as Outreach does, whoever put them there (API reference 1)."""
    known = object_type(object_name).attributes
    times = {
        name: moment(value)
        for name, value in attributes.items()
        if isinstance(value, str) and name in known and known[name].kind == "date-time"
    }
    return {**attributes, **times}


def _write(method: str, at: str, sent: str, changed: int) -> Write:
    attributes, relationships = json.loads(sent)
    return Write(method, at, attributes, relationships, bool(changed))
