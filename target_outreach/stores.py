"""Opening what is not on this machine, by its URL: a bucket, or wherever else fsspec gets."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import fsspec

from target_outreach.errors import SettingsError
from target_outreach.object_store import EXTRAS, LOCAL, Conflict, Stored, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from target_outreach.object_store import Folder

#: What logs for a store: fsspec, the packages of the extras, and what those send requests with.
LIBRARIES = frozenset(
    {
        *("fsspec", "s3fs", "gcsfs", "adlfs", "paramiko", "asyncio"),
        *("aiobotocore", "botocore", "boto3", "aiohttp", "azure", "google", "smbprotocol"),
    }
)


def mute_stores() -> None:
    """Keep the libraries of stores from logging paths and requests, at any level.

    A path may hold user and password: not every protocol of fsspec takes them out of it.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in LIBRARIES:
            logging.getLogger(name).addFilter(_nothing)  # the same filter is added once


def _nothing(_entry: logging.LogRecord) -> bool:
    return False


def open_object(url: str, setting: str) -> StoredObject:
    """Open one object of a store, by its URL; nothing is read yet.

    Raises:
        SettingsError: As `open_folder` raises it.
    """
    parent, _, name = url.rpartition("/")
    if not name or parent.endswith(("/", ":")) or "::" in name:
        raise SettingsError(f"{setting} names no object: a bucket needs a path behind its name.")
    return StoredObject(open_folder(parent, setting), name)


def open_folder(url: str, setting: str) -> Folder:
    """Open the objects of a store below a URL; nothing is read yet.

    Args:
        url: A URL of a bucket, or any other that fsspec knows.
        setting: The setting that it comes from.

    Raises:
        SettingsError: It cannot be used: no such protocol is known, a package for it or
            credentials are missing, or it ends on this machine, where whatever it writes could be
            read by all.
    """
    protocol = url.partition("://")[0]
    if (extra := EXTRAS.get(protocol)) is None:
        return _Files(url, setting)
    try:
        from target_outreach.buckets import Bucket  # noqa: PLC0415 - an extra brings what it needs

        return Bucket(url, setting)
    except ImportError:
        raise SettingsError(
            f"{setting} begins with {protocol}://, which needs a package that is not installed. "
            f"Install target-outreach[{extra}]; with Meltano, set that as pip_url and run "
            "`meltano install`."
        ) from None
    finally:
        mute_stores()


@contextmanager
def _worded() -> Iterator[None]:
    """Make one kind of all errors; a store's own words may hold more than a log should.

    Raises:
        Conflict: Somebody else has written the object.
        OSError: Anything else.
    """
    try:
        yield
    except Conflict:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise OSError(type(error).__name__) from None


class _Files:
    """Files wherever fsspec gets, below one URL."""

    def __init__(self, url: str, setting: str) -> None:
        protocol = url.partition("://")[0]
        try:
            self._filesystem, self._path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise SettingsError(f"{setting} cannot be used: {error}") from None
        except ValueError as error:
            known = protocol in fsspec.available_protocols()
            words = "fsspec cannot read this URL." if known or "::" in url else str(error)
            raise SettingsError(f"{setting} cannot be used: {words}") from None
        except Exception as error:  # noqa: BLE001 - some stores are asked at once
            what = type(error).__name__
            raise SettingsError(f"{setting} cannot be used: no answer ({what}).") from None
        mute_stores()
        if _ends_here(url, self._filesystem):
            raise SettingsError(
                f"{setting} must not lead to files of this machine through a chain or another "
                "protocol, since these would be readable by all: name the path itself."
            )

    def _at(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    @_worded()
    def read(self, name: str) -> Stored | None:
        try:
            content: bytes = self._filesystem.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        return Stored(content, _digest(content))

    @_worded()
    def replace(
        self, name: str, content: bytes, version: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        there = self.read(name)
        if (None if there is None else there.version) != version:
            raise Conflict
        self._filesystem.makedirs(self._path, exist_ok=True)
        self._filesystem.pipe_file(self._at(name), content)
        return _digest(content)

    @_worded()
    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(self._at(name))

    @_worded()
    def names(self, prefix: str) -> list[str]:
        try:
            found = self._filesystem.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rstrip("/").rpartition("/")[2] for path in found)
        return sorted(name for name in names if name.startswith(prefix))

    @_worded()
    def rename(self, name: str, new: str) -> None:
        self._filesystem.mv(self._at(name), self._at(new))

    @_worded()
    def download(self, name: str, path: Path) -> bool:
        try:
            self._filesystem.get_file(self._at(name), str(path))
        except FileNotFoundError:
            return False
        return True

    @_worded()
    def upload(self, path: Path, name: str) -> None:
        self._filesystem.makedirs(self._path, exist_ok=True)
        self._filesystem.put_file(str(path), self._at(name))


def _digest(content: bytes) -> Mapping[str, str]:
    return {"sha256": hashlib.sha256(content).hexdigest()}


def _ends_here(url: str, filesystem: object) -> bool:
    """Tell whether a store, or one that it is made of, keeps files on this machine."""
    from fsspec.implementations.cached import CachingFileSystem  # noqa: PLC0415 - few runs need it
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415 - idem

    protocol, separator, _ = url.rpartition("::")[2].partition("://")
    if not separator or protocol in LOCAL:
        return True
    while filesystem is not None:
        if isinstance(filesystem, LocalFileSystem | CachingFileSystem):
            return True
        filesystem = getattr(filesystem, "fs", None)
    return False
