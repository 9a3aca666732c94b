"""Run SQL from standard input in the warehouse that the demo's `tap-snowflake` reads."""

from __future__ import annotations

import sys
from pathlib import Path

import fakesnow
import snowflake.connector
from demo_warehouse import DATABASE

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
with fakesnow.patch(db_path=folder), snowflake.connector.connect(database=DATABASE) as session:
    session.execute_string(sys.stdin.read())
