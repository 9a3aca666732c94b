#!/usr/bin/env python3
"""Print the rows of a CSV file as Singer messages, unless the file is as it was in the last run.

python3 csv_tap.py --key id --state state.json contacts.csv
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path


def main() -> None:
    """Read the file, and print SCHEMA, RECORD and STATE messages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", default="id", help="the column that identifies a row")
    parser.add_argument("--state", type=Path, help="the STATE of the last run")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    stream = options.file.stem
    known = json.loads(options.state.read_text(encoding="utf-8")) if options.state else {}
    about = options.file.stat()
    now = {"bytes": about.st_size, "modified": about.st_mtime}
    if known.get(stream) != now:
        with options.file.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=max(",;\t", key=header.count))
            columns = {name: {"type": ["null", "string"]} for name in rows.fieldnames or ()}
            if options.key not in columns:
                parser.error(f"{options.file} has no column {options.key!r}; name one with --key.")
            say(
                "SCHEMA",
                stream=stream,
                schema={"properties": columns},
                key_properties=[options.key],
            )
            for row in rows:
                say("RECORD", stream=stream, record=row)
    say("STATE", value=known | {stream: now})


def say(kind: str, **members: object) -> None:
    """Print a message."""
    print(json.dumps({"type": kind, **members}, ensure_ascii=False))


if __name__ == "__main__":
    main()
