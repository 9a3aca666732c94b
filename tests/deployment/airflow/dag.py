"""An Airflow DAG that loads one table as several runs of Meltano at once, a task for each shard.

A task that failed is tried again by itself, also where it is cleared by hand.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag, task

PROJECT = Path(os.environ.get("MELTANO_PROJECT_ROOT", "/opt/project"))
SHARDS = 4

# Meltano takes a run that was killed for alive until five minutes after its last sign of life.
RETRIES = {"retries": 2, "retry_delay": timedelta(minutes=6)}


def load_shard(shard):
    """Make the task that loads one shard."""
    name = f"{shard}-of-{SHARDS}"
    return BashOperator(
        task_id=f"load_shard_{shard}",
        bash_command=f"meltano run --state-id-suffix=shard-{name} tap-people target-outreach",
        cwd=str(PROJECT),
        env={
            "SHARD": str(shard),
            "SHARDS": str(SHARDS),
            "MELTANO_SYS_DIR_ROOT": str(PROJECT / "shards" / name / "meltano"),
        },
        append_env=True,
    )


@task
def add_up():
    """Add up the counts of all rows."""
    folders = [PROJECT / "shards" / f"{shard}-of-{SHARDS}" for shard in range(SHARDS)]
    reports = [json.loads((folder / "report.json").read_text("utf-8")) for folder in folders]
    totals = [report["totals"] for report in reports]
    return {name: sum(one[name] for one in totals) for name in totals[0]}


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=RETRIES,
)
def load_prospects():
    """Load all shards, and add up."""
    [load_shard(shard) for shard in range(SHARDS)] >> add_up()


load_prospects()
