"""``target-outreach check --probe``: facts about Outreach that its documentation leaves open."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from target_outreach.connection import NAME, user_agent
from target_outreach.errors import OutputError
from target_outreach.outreach.probe.client import ProbeClient
from target_outreach.outreach.probe.questions import probe
from target_outreach.outreach.transport import Transport
from target_outreach.plain_text import say_unbroken
from target_outreach.records.catalog import load_catalog, stream_objects
from target_outreach.scopes import needed_scopes

if TYPE_CHECKING:
    from target_outreach.connection import Connection
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.settings import Settings

#: Which facts there are, and in which form; raised when an older reader would misread them.
FORMAT = 1

#: The host whose name tells nothing about anybody.
KNOWN_HOST = "api.outreach.io"

#: Seconds that one answer may take at most, so that a silent server does not take for ever.
LONGEST_ANSWER = 30.0


def write_facts(connection: Connection, settings: Settings, pacer: Pacer, path: str | None) -> None:
    """Ask for the facts, and write them as JSON to a file, or to standard output.

    Raises:
        OutputError: The file cannot be written.
        Interrupted: A signal asks to end.
    """
    text = json.dumps(_facts(connection, settings, pacer), indent=2)
    if path is None:
        say_unbroken(*text.split("\n"))
        return
    try:
        Path(path).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The facts cannot be written ({type(error).__name__}).") from None


def _objects(settings: Settings) -> list[str]:
    """List the objects that every organisation has, and those that the settings name."""
    needed = needed_scopes(settings)
    return [
        name
        for name in stream_objects()
        if not load_catalog()[name].sold_apart or f"{name}.read" in needed
    ]


def _facts(connection: Connection, settings: Settings, pacer: Pacer) -> dict[str, Any]:
    version = metadata.version(NAME)
    transport = Transport(
        connection.api_url,
        user_agent=user_agent(settings),
        parallel=1,
        timeout=min(settings.request_timeout_seconds, LONGEST_ANSWER),
    )
    with closing(transport):
        asker = ProbeClient(transport, connection.api_url, connection.credentials, pacer)
        facts = probe(asker, _objects(settings))
    host, last = urlsplit(connection.api_url).hostname, connection.api_url.rpartition("/")[2]
    return {
        "format": FORMAT,
        "product": f"{NAME} {version}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "api": {
            "host": host if host == KNOWN_HOST else "another",
            "version": last if last in {"v2", "v3"} else "another",
        },
        "requests": asker.sent,
        **facts,
    }
