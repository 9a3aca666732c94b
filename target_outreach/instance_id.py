"""Where records go, by names for what is kept about it; none of them holds a secret."""

from __future__ import annotations

import glob
import os
import re
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from target_outreach.delivery.place import DIGITS, Place
from target_outreach.settings.access import LocalOutreach, OAuthApp, ServerApp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.settings import Settings

#: Letters of an address or a file that make a name readable; the hash tells names apart.
READABLE = 40

STANDARD_PORTS = {"https": 443, "http": 80}


def locate(settings: Settings, keys: Sequence[str], credentials: str) -> Place:
    """Name the organisation that the settings lead to.

    Args:
        settings: Say where the API is.
        keys: What stands for the organisation, as `Identity.keys` has it.
        credentials: What stands for the credentials; no secret, and never the same for two
            organisations.
    """
    names = tuple(dict.fromkeys((*keys, credentials)))
    access = settings.access
    if isinstance(access, LocalOutreach):
        memory, *others = (f"sandbox {name}" for name in names)
        own = instance_id(settings)
        return Place(memory, tuple(others), (own,), shared="", is_known=True)
    shown, scheme, host, port, path = _address(settings.api_url)
    address = f"{scheme}://{shown}{path}"
    written = dict.fromkeys((address, f"{address}/", settings.api_url))
    memory, *earlier = (f"{name} {url}" for name in names for url in written)
    folders = [
        _named(shown, scheme, host, port, path, "organisation", name)
        for name in dict.fromkeys((names[0], credentials))
    ]
    shared = instance_id(settings)
    if isinstance(access, ServerApp):  # an installation is of one organisation
        folders.append(shared)
        shared = ""
    return Place(memory, tuple(earlier), tuple(folders), shared, is_known=bool(keys))


def instance_id(settings: Settings) -> str:
    """Name what the settings alone say of where records go, as earlier versions named all of it.

    That is the file of the sandbox, or else the address of the API with the id of the OAuth app or
    of the installation. Several organisations can share it where it is no sandbox or installation.

    Returns:
        A name for a file or folder, such as ``api.outreach.io-1f2e3d4c``.
    """
    access = settings.access
    if isinstance(access, LocalOutreach):
        path = os.path.realpath(access.path)
        return _named(f"sandbox-{Path(path).stem}", "sandbox", path)
    shown, scheme, host, port, path = _address(settings.api_url)
    who: tuple[str, ...] = ()
    if isinstance(access, OAuthApp):
        who = ("client_id", access.client_id)
    elif isinstance(access, ServerApp):
        who = ("s2s", access.guid, access.install_id)
    return _named(shown, scheme, host, port, path, *who)


def folder_glob(settings: Settings) -> str:
    """Return a glob for the names of the folders of rejects that belong to this Outreach.

    Those of other organisations at the same address fit it too.
    """
    name = instance_id(settings)
    if isinstance(settings.access, LocalOutreach):
        return name
    return glob.escape(name[:-DIGITS]) + "?" * DIGITS


def _address(url: str) -> tuple[str, str, str, str, str]:
    """Take an address apart, without who asks there; its host is first as it is shown."""
    parts = urlsplit(url)
    scheme, host, standard = parts.scheme, parts.hostname or "", STANDARD_PORTS.get(parts.scheme)
    port = parts.port or standard
    shown = f"[{host}]" if ":" in host else host
    shown = shown if port == standard else f"{shown}:{port}"
    return shown, scheme, host, str(port), parts.path.rstrip("/")


def _named(shown: str, *parts: str) -> str:
    letters = re.sub(r"[^a-z0-9.]+", "-", shown.lower())[:READABLE].strip("-.")
    told_apart = "\0".join(parts).encode("utf-8", "surrogateescape")
    return f"{letters}-{blake2b(told_apart, digest_size=DIGITS // 2).hexdigest()}"
