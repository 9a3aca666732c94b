"""Run Airbyte's own runner of manifests, and let it speak to this machine only."""

from __future__ import annotations

import sys

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def keep_home(event, arguments):
    """Refuse connections, and questions for the addresses of hosts, that lead off this machine."""
    host = None
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if host not in LOOPBACK | {None}:
        print(f"This leads off this machine: {host}", file=sys.stderr, flush=True)
        raise ConnectionRefusedError(host)


sys.addaudithook(keep_home)

from airbyte_cdk.cli.source_declarative_manifest import run  # noqa: E402 - watched from the start

run()
