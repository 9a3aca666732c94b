"""Objects that are replaced as a whole, and only if nobody else has replaced them meanwhile.

Tokens, the memory and rejects are kept so. There are three kinds: files of this machine
(`private_files.LocalFile`), objects in a bucket of S3, Google Cloud Storage or Azure (`buckets`),
and files wherever else fsspec gets. The last kind compares right before it writes, since fsspec
knows no conditional writes. `stores` opens the last two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

import fsspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The protocols of buckets, and the extra of this package that each needs.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}


#: The protocols of fsspec for files of this machine.
LOCAL = frozenset({"file", "local"})


def public_name(url: str) -> str:
    """Name a path or URL without what may be secret in it: user, password and query.

    A URL may be a chain, as fsspec has them, such as ``zip://a::s3://b``.
    """
    return "::".join(map(_public_part, url.split("::")))


def _public_part(url: str) -> str:
    protocol, separator, rest = url.partition("://")
    if not separator:
        return url
    name = re.split("[?#]", rest, maxsplit=1)[0]
    query = rest[len(name) :]
    user, at, host = name.rpartition("@")
    if "@" in query and (":" in name or "/" not in name):  # a password with a question mark in it
        return f"{protocol}://…"
    return f"{protocol}://{host if at and (':' in user or '/' not in user) else name}"


def local_path(place: str) -> str | None:
    """Return the path that a path or URL names on this machine, or None where it is elsewhere."""
    first, chain, _ = place.partition("::")
    if chain and ("://" in place or first in fsspec.available_protocols()):
        return None
    protocol, separator, rest = place.partition("://")
    if not separator:
        return place
    return rest if protocol in LOCAL else None


class Stored(NamedTuple):
    """What an object holds, with the version of that."""

    content: bytes
    version: Mapping[str, str]


class Conflict(OSError):  # noqa: N818 - named for what happened
    """Somebody else has made, replaced or deleted an object since it was read."""


class Folder(Protocol):
    """Objects of a store below one prefix, by their names.

    Each method raises `OSError` where it cannot do what it is for.
    """

    def read(self, name: str) -> Stored | None:
        """Return what an object holds, None where it is not there."""

    def replace(
        self, name: str, content: bytes, version: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        """Replace what an object holds.

        Args:
            name: The object.
            content: What it is to hold.
            version: What it was when it was read; None where it was not there.

        Returns:
            The new version.

        Raises:
            Conflict: It is not that version any more.
        """

    def delete(self, name: str) -> None:
        """Delete an object; fine where it is not there."""

    def names(self, prefix: str) -> list[str]:
        """List the names that begin with a text, in order."""

    def rename(self, name: str, new: str) -> None:
        """Give an object another name."""

    def download(self, name: str, path: Path) -> bool:
        """Copy an object into a new file piece by piece; tell whether it is there."""

    def upload(self, path: Path, name: str) -> None:
        """Copy a file into a new object piece by piece."""


class StoredObject:
    """One object of a folder; its methods do what those of `Folder` do.

    Attributes:
        folder: The folder.
        name: Its name there.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder = folder
        self.name = name

    def read(self) -> Stored | None:
        """Return what it holds, None where it is not there."""
        return self.folder.read(self.name)

    def replace(self, content: bytes, version: Mapping[str, str] | None) -> Mapping[str, str]:
        """Replace what it holds, if it is still the version that was read."""
        try:
            return self.folder.replace(self.name, content, version)
        except Conflict:
            # Where an answer was lost, the same request was sent again, and finds what it wrote.
            there = self.read()
            if there is None or there.content != content:
                raise
            return there.version

    def delete(self) -> None:
        """Delete it; fine where it is not there."""
        self.folder.delete(self.name)
