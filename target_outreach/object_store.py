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

    Args:
        url: A path, a URL, or a chain of URLs as fsspec has them, such as ``zip://a::s3://b``.
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
    """Return the path that a path or URL names on this machine, or None where it is elsewhere.

    Args:
        place: A path, or a URL that fsspec knows.
    """
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


class Replaced(Protocol):
    """An object that is replaced as a whole, conditionally."""

    def read(self) -> Stored | None:
        """Return what it holds, None where it is not there.

        Raises:
            OSError: It cannot be read.
        """

    def replace(self, content: bytes, version: Mapping[str, str] | None) -> Mapping[str, str]:
        """Replace what it holds.

        Args:
            content: What it is to hold.
            version: What it was when it was read; None where it was not there.

        Returns:
            The new version.

        Raises:
            Conflict: It is not that version any more.
            OSError: It cannot be written.
        """

    def delete(self) -> None:
        """Delete it; fine where it is not there.

        Raises:
            OSError: It cannot be deleted.
        """


class Folder(Protocol):
    """Objects of a store below one prefix, by their names."""

    def read(self, name: str) -> Stored | None:
        """Return what an object holds, as `Replaced.read` does."""

    def replace(
        self, name: str, content: bytes, version: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        """Replace what an object holds, as `Replaced.replace` does."""

    def delete(self, name: str) -> None:
        """Delete an object, as `Replaced.delete` does."""

    def names(self, prefix: str) -> list[str]:
        """List the names that begin with a text, in order.

        Raises:
            OSError: They cannot be listed.
        """

    def rename(self, name: str, new: str) -> None:
        """Give an object another name.

        Raises:
            OSError: That cannot be done.
        """

    def download(self, name: str, path: Path) -> bool:
        """Copy an object into a new file piece by piece; tell whether it is there.

        Raises:
            OSError: It cannot be read, or the file not be written.
        """

    def upload(self, path: Path, name: str) -> None:
        """Copy a file into a new object piece by piece.

        Raises:
            OSError: The file cannot be read, or the object not be written.
        """


class StoredObject:
    """One object of a folder, as `Replaced` has it.

    Attributes:
        folder: The folder.
        name: Its name there.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        """Read nothing yet."""
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
