#!/usr/bin/env python
"""A tap in the place of yours: reads the table `people` of a SQLite file, the oldest row first."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from singer_sdk import Stream, Tap
from singer_sdk import typing as th

COLUMNS = ("id", "email", "first_name", "title")


class People(Stream):
    """The table, from the last row of the STATE on."""

    name = "marts-prospects"
    primary_keys = ("id",)
    replication_key = "id"
    is_sorted = True
    STATE_MSG_FREQUENCY = 100  # rows
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType),
        *(th.Property(name, th.StringType) for name in COLUMNS[1:]),
    ).to_dict()

    def get_records(self, context):
        """Yield the rows behind the one that was delivered last."""
        after = self.get_starting_replication_key_value(context) or 0
        self.logger.info("Reading from behind row %s", after)
        query = f"SELECT {', '.join(COLUMNS)} FROM people WHERE id > ? ORDER BY id"  # noqa: S608
        uri = Path(self.config["path"]).absolute().as_uri() + "?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as table:
            for row in table.execute(query, (after,)):
                yield dict(zip(COLUMNS, row, strict=True))


class TapPeople(Tap):
    """Reads the table `people`."""

    name = "tap-people"
    config_jsonschema = th.PropertiesList(th.Property("path", th.StringType)).to_dict()

    def discover_streams(self):
        """Return the one stream that there is."""
        return [People(self)]


if __name__ == "__main__":
    TapPeople.cli()
