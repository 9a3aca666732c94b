"""The columns by which tools mark a row as deleted in the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from target_outreach.records.lists import NOTHING
from target_outreach.records.scalars import BOOLEAN_TEXT, plain, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Of Singer taps, Fivetran, Airbyte, Debezium and Salesforce; the last also as Fivetran writes it.
DELETION_COLUMNS = frozenset(
    {
        *("_sdc_deleted_at", "_fivetran_deleted", "_ab_cdc_deleted_at", "__deleted"),
        *("isdeleted", "is_deleted"),
    }
)

#: Columns that mark deleted rows in some sources, and others in the next.
DOUBTFUL_COLUMNS = frozenset({"archived", "isarchived"})

#: How tools write that there is nothing, or no time, in a text.
NO_MARKS = frozenset({"", "0.0", *NOTHING, "0000-00-00", "0000-00-00 00:00:00"})


def is_deletion_column(column: str, named: Iterable[str]) -> bool:
    """Whether a column marks rows as deleted.

    Args:
        column: The name of the column.
        named: Columns that the settings name, in whatever spelling.
    """
    if visible(column).strip().lower() in DELETION_COLUMNS:
        return True
    return plain(column) in {plain(name) for name in named}


def may_mark_deletion(column: str) -> bool:
    """Whether a column is one that marks rows as deleted in some sources."""
    return plain(column) in DOUBTFUL_COLUMNS


def is_deleted(mark: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    """Whether the value of a deletion column says that the row is deleted: true, or a time."""
    if not mark:
        return False
    text = str(mark).strip().lower()
    return text not in NO_MARKS and BOOLEAN_TEXT.get(text, True)
