"""What the tests of the sandbox share: a client of its API, a clock, and its switches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import requests

if TYPE_CHECKING:
    from target_outreach.sandbox import Sandbox

JSON_API = "application/vnd.api+json"
NOON = 1_722_592_612.0  # 2024-08-02T09:56:52Z


class Clock:
    """Tells the sandbox a time that only the test changes.

    Attributes:
        now: Seconds since 1970.
    """

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ApiClient:
    """Has a session that is logged in to the sandbox; the classes of single files add requests."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.headers.update({"Authorization": "Bearer token", "Content-Type": JSON_API})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.session.close()


def adjust(sandbox: Sandbox, **switches: Any) -> None:
    """Change switches of a sandbox that is running."""
    sandbox.profile = replace(sandbox.profile, **switches)
