"""What is said of the columns of a stream, each thing once a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from target_outreach.plain_text import printable
from target_outreach.records.columns import suspicious
from target_outreach.records.deletion import may_mark_deletion
from target_outreach.records.goals import near
from target_outreach.records.scalars import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_outreach.context import RunContext
    from target_outreach.records.mapping import StreamMapping
    from target_outreach.records.model import Dropped
    from target_outreach.records.rules import StreamSettings

logger = logging.getLogger("target-outreach")

#: Names that a message lists.
MOST_NAMED = 20


def named(names: Sequence[str]) -> str:
    """Name some of what there may be many of."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(map(printable, names[:MOST_NAMED]))}{more}"


def remark_on_columns(stream: str, mapping: StreamMapping, settings: StreamSettings) -> None:
    """Report what should not be lost unnoticed, and what an entry of `columns` would deliver."""
    column = mapping.id_column
    is_chosen = settings.match_on is not None or column in settings.columns
    if column is not None and plain(column) == "id" and not is_chosen:
        logger.info(
            "%s: in %s mode column %s is taken for the id in Outreach, and records are found by "
            "it. If it is the id of another system, name it under ignore_columns.",
            stream,
            settings.sync_mode,
            printable(column),
        )
    for problem in mapping.missing.values():
        logger.warning("%s: its entry does not fit: %s.", stream, problem)
    there = [*mapping.goals(), *mapping.unmapped]
    for name in settings.deleted_columns:
        if plain(name) not in map(plain, there) and (close := near(name, there)):
            logger.warning(
                "%s: deleted_columns names %r, which the stream does not have; nearest: %s.",
                stream,
                name,
                printable(close[0]),
            )
    for what, columns in suspicious(mapping, settings.deleted_columns).items():
        logger.warning(
            "%s: ignored, although by its name it may be %s: %s. Name it under columns in "
            "streams, or under ignore_columns.",
            stream,
            what,
            ", ".join(columns),
        )
    if mapping.suggested:
        pairs = (f"{column} → {goal}" for column, goal in mapping.suggested.items())
        logger.info(
            "%s: more columns could be mapped by an entry of columns: %s",
            stream,
            ", ".join(pairs),
        )


def remark_on_unknown(
    log: logging.Logger, stream: str, columns: Iterable[str], context: RunContext
) -> None:
    """Say which columns come although the SCHEMA does not have them."""
    if fresh := context.notices.new(stream, columns):
        log.warning(
            "%s: columns that the SCHEMA does not have are ignored: %s (line %s of the input). "
            "Let the tap discover its columns again.",
            stream,
            named(fresh),
            f"{context.reader.line_number:,}",
        )


def remark_on_deletion(stream: str, columns: Iterable[str], context: RunContext) -> None:
    """Say which columns that are not delivered mark deleted rows in some sources."""
    for column in filter(may_mark_deletion, columns):
        if context.notices.new(stream, [f"{column} marks"]):
            logger.info(
                "%s: rows with a mark in %r are delivered; if it means that they are deleted, "
                "name the column under deleted_columns.",
                stream,
                column,
            )


def say_dropped(
    stream: str, dropped: Sequence[Dropped], mapping: StreamMapping, context: RunContext
) -> None:
    """Say what is not delivered of a row, once for each attribute and reason."""
    for name, why in dict.fromkeys(dropped):
        if context.notices.new(stream, [f"{name}: {why}"]):
            logger.warning(
                "%s: a value for %s (column %s, line %s of the input) is not delivered: %s. "
                "Others are only counted.",
                stream,
                name,
                ", ".join(map(repr, mapping.columns_of(name))),
                f"{context.reader.line_number:,}",
                why,
            )
