"""Where records go, by a name for files about it that needs no request and holds no secret."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from target_outreach.settings.access import LocalOutreach, OAuthApp, ServerApp

if TYPE_CHECKING:
    from target_outreach.settings import Settings

#: Letters of an address or a file that make a name readable; the hash tells names apart.
READABLE = 40

STANDARD_PORTS = {"https": 443, "http": 80}


def destination(settings: Settings) -> str:
    """Name what tells one Outreach from another, as far as the settings say it.

    That is the file of the sandbox, or else the address of the API with the id of the OAuth app or
    of the installation. An access token says nothing: the next one is for the same organisation.

    Returns:
        A name for a file or folder, such as ``api.outreach.io-1f2e3d4c``.
    """
    access = settings.access
    if isinstance(access, LocalOutreach):
        path = os.path.realpath(access.path)
        return _named(f"sandbox-{Path(path).stem}", "sandbox", path)
    scheme, host, port, path = _address(settings.api_url)
    shown = host if port == STANDARD_PORTS.get(scheme) else f"{host}-{port}"
    who: tuple[str, ...] = ()
    if isinstance(access, OAuthApp):
        who = ("client_id", access.client_id)
    elif isinstance(access, ServerApp):
        who = ("s2s", access.guid, access.install_id)
    return _named(shown, scheme, host, str(port), path, *who)


def _address(url: str) -> tuple[str, str, int | None, str]:
    """Take an address apart, without who asks there."""
    parts = urlsplit(url)
    port = parts.port or STANDARD_PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/")


def _named(shown: str, *parts: str) -> str:
    letters = re.sub(r"[^a-z0-9.]+", "-", shown.lower())[:READABLE].strip("-.")
    told_apart = "\0".join(parts).encode("utf-8", "surrogateescape")
    return f"{letters}-{blake2b(told_apart, digest_size=4).hexdigest()}"
