"""How large a memory in a bucket is, and how long it takes to get it there and back.

    python benchmarks/bucket.py 100000 1000000

The rows are copies of one that a run has remembered, with a key and hashes of their own, so that
each takes as much space as a real one. The bucket is one of moto's on this machine; what a network
adds follows from the size.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from bucket_servers import S3, S3Bucket

from target_outreach.delivery.memory import KEEP, Memory
from target_outreach.delivery.memory_object import StoredMemory
from target_outreach.sandbox import Sandbox
from target_outreach.verbatim import CONTEXT_BYTES, HASH_BYTES

COLUMNS = {
    "id": {"type": "integer"},
    **{
        name: {"type": "string"}
        for name in (
            *("emails", "first_name", "last_name", "title", "company", "phone"),
            *("linkedin_url", "city", "country", "time_zone", "source"),
        )
    },
}
ROW = {
    "id": 1,
    "emails": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Example",
    "title": "Head",
    "phone": "+493012345678",
    "linkedin_url": "https://www.linkedin.com/in/example",
    "city": "Berlin",
    "country": "Germany",
    "time_zone": "Europe/Berlin",
    "source": "a list",
}


def remembered(folder: Path) -> tuple[bytes, bytes, bytes]:
    """Let a run remember a prospect of eleven columns, and return what it keeps of it."""
    path = folder / "one.db"
    with Sandbox(":memory:") as sandbox:
        config = folder / "config.json"
        config.write_text(
            json.dumps(
                {
                    "access_token": "invented",
                    "api_url": sandbox.api_url,
                    "memory_path": str(path),
                    "change_detection": "source",
                }
            )
        )
        schema = {"properties": COLUMNS}
        lines = [
            {"type": "SCHEMA", "stream": "prospects", "schema": schema, "key_properties": ["id"]},
            {"type": "RECORD", "stream": "prospects", "record": ROW},
        ]
        command = [sys.executable, "-m", "target_outreach", "--config", str(config)]
        given = "".join(json.dumps(line) + "\n" for line in lines).encode()
        subprocess.run(command, input=given, check=True, capture_output=True)
    with closing(sqlite3.connect(path)) as memory:
        ((key, hashes),) = memory.execute("SELECT key, hashes FROM delivered")
    return key, hashes, bytes(HASH_BYTES + CONTEXT_BYTES)


def measure(rows: int, kept: tuple[bytes, bytes, bytes], folder: Path, bucket: S3Bucket) -> None:
    """Fill a memory, put it into the bucket, and copy it from there."""
    key, hashes, row = map(len, kept)
    url = bucket.url(f"{rows}/memory.db")
    first = folder / f"{rows} first"
    first.mkdir()
    stored = StoredMemory(url, first)
    stored.open("wait")
    memory = Memory(str(stored.path))
    stored.keep(memory, lambda _: None)
    some = secrets.token_bytes
    memory.change(
        (
            KEEP,
            (
                (1, some(key), number, some(hashes), 0, some(row), number << 20)
                for number in range(1, rows + 1)
            ),
        )
    )
    memory.close()
    size = stored.path.stat().st_size
    began = time.perf_counter()
    stored.close()
    put = time.perf_counter() - began
    second = folder / f"{rows} second"
    second.mkdir()
    began = time.perf_counter()
    StoredMemory(url, second).copy()
    got = time.perf_counter() - began
    print(f"{rows:,} rows: {size / 1e6:.0f} MB, put in {put:.1f} s, copied in {got:.1f} s")


def main() -> None:
    """Measure each number of rows that is given."""
    server = S3()
    os.environ.update(server.environment)
    with tempfile.TemporaryDirectory() as folder, closing(server.bucket()) as bucket:
        kept = remembered(Path(folder))
        for rows in map(int, sys.argv[1:] or ("100000", "1000000")):
            measure(rows, kept, Path(folder), bucket)
    server.close()


if __name__ == "__main__":
    main()
