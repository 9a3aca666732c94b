"""A Dagster job that loads one table as several runs of Meltano at once, an op for each shard.

    MELTANO_PROJECT_ROOT=… dagster job execute -f job.py -j load_prospects

An op that failed is tried again by itself, also by "re-execute from failure".
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from dagster import Failure, RetryPolicy, job, multiprocess_executor, op

PROJECT = Path(os.environ["MELTANO_PROJECT_ROOT"])
SHARDS = 4
REJECTED = 3

# Meltano takes a run that was killed for alive until five minutes after its last sign of life.
RETRIES = RetryPolicy(max_retries=2, delay=360)


def load_shard(shard):
    """Make the op that loads one shard and returns the counts of its rows."""

    @op(name=f"load_shard_{shard}", retry_policy=RETRIES)
    def load(context):
        name = f"{shard}-of-{SHARDS}"
        folder = PROJECT / "shards" / name
        own = {
            "SHARD": f"{shard}",
            "SHARDS": f"{SHARDS}",
            "MELTANO_SYS_DIR_ROOT": f"{folder}/meltano",
        }
        command = ["meltano", "run", f"--state-id-suffix=shard-{name}"]
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [*command, "tap-people", "target-outreach"],
            cwd=PROJECT,
            env=os.environ | own,
            check=False,
        )
        about = json.loads(report.read_text("utf-8")) if report.exists() else {}
        if done.returncode != 0:
            # Rejected rows are in a file: to send them again as they are would be of no use.
            is_rejected = about.get("exit_code") == REJECTED
            raise Failure(about.get("ending", "No report."), allow_retries=not is_rejected)
        context.add_output_metadata(about["totals"])
        return about["totals"]

    return load


@op
def add_up(context, totals):
    """Add up the counts of all rows."""
    context.add_output_metadata({name: sum(one[name] for one in totals) for name in totals[0]})


@job(executor_def=multiprocess_executor.configured({"max_concurrent": SHARDS}))
def load_prospects():
    """Load all shards, and add up."""
    add_up([load_shard(shard)() for shard in range(SHARDS)])
