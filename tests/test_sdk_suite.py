"""The SDK's own tests of a target, under settings with which each of their records lands."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from singer_sdk.testing import get_target_test_class

from target_outreach.sandbox import Sandbox
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterator

# The streams of the suite are about neither people nor companies, so a stream map gives each
# record a name, by which it becomes an account.
CONFIG = {
    "access_token": "invented",
    "streams": [
        {
            "stream": "*",
            "object": "accounts",
            "columns": {"account_title": "name"},
            "ignore_columns": ["*"],
        }
    ],
    "stream_maps": {"*": {"account_title": "'Account ' + md5(str(record))"}},
}
MESSAGES = resources.files("singer_sdk.testing").joinpath("target_test_streams")
BROKEN = {"invalid_schema", "record_before_schema", "record_missing_key_property"}
BROKEN |= {"record_missing_required_property"}


@pytest.fixture(scope="module")
def sandbox_of_the_suite() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        CONFIG["api_url"] = sandbox.api_url
        yield sandbox


@pytest.mark.usefixtures("sandbox_of_the_suite")
class TestTargetOutreach(get_target_test_class(TargetOutreach, config=CONFIG)):
    """All that the SDK asks of a target."""


def names() -> list[str]:
    files = (entry.name for entry in MESSAGES.iterdir())
    return sorted(name.removesuffix(".singer") for name in files if name.endswith(".singer"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name not in BROKEN])
def test_every_message_file_of_the_sdk_is_delivered_whole(execute, name):
    text = MESSAGES.joinpath(f"{name}.singer").read_text(encoding="utf-8")
    run = execute(text.encode(), **{key: CONFIG[key] for key in ("streams", "stream_maps")})
    messages = [json.loads(line) for line in text.splitlines() if line.strip()]
    received = sum(message["type"] == "RECORD" for message in messages)
    assert run.exit_code == 0, run.log
    total = sum(counts["received"] for counts in run.report["streams"].values())
    landed = sum(
        counts[outcome]
        for counts in run.report["streams"].values()
        for outcome in ("created", "unchanged", "superseded")
    )
    assert total == landed == received
    states = [message["value"] for message in messages if message["type"] == "STATE"]
    assert run.states[-1:] == states[-1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BROKEN & set(names())))
def test_a_broken_message_file_ends_in_one_sentence(execute, name):
    text = MESSAGES.joinpath(f"{name}.singer").read_text(encoding="utf-8")
    run = execute(text.encode(), **{key: CONFIG[key] for key in ("streams", "stream_maps")})
    assert run.exit_code in {1, 3}
    assert "Traceback" not in run.log
