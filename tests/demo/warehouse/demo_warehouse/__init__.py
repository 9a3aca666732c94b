"""A Snowflake made of DuckDB, and the real `tap-snowflake` reading it."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import fakesnow
import snowflake.connector
from tap_snowflake.tap import TapSnowflake

DATABASE = "DEMO"
SEED = Path(__file__).with_name("seed.sql")


def tap() -> None:
    """Run `tap-snowflake` unchanged, its connector led to a DuckDB file in the Meltano project."""
    warnings.filterwarnings("ignore", module="fakesnow")
    folder = Path(os.environ["MELTANO_PROJECT_ROOT"], ".meltano", "demo", "warehouse")
    if not (folder / f"{DATABASE}.db").exists():
        fill(folder)
    with fakesnow.patch(db_path=folder):
        TapSnowflake.cli()


def fill(folder: Path) -> None:
    """Make the warehouse from `seed.sql`; it appears in `folder` whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        with (
            fakesnow.patch(db_path=draft),
            snowflake.connector.connect(database=DATABASE) as session,
        ):
            session.execute_string(SEED.read_text(encoding="utf-8"))
        Path(draft, f"{DATABASE}.db").rename(folder / f"{DATABASE}.db")
