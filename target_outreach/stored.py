"""An object in a store that fsspec knows, such as a bucket: read and written as a whole."""

from __future__ import annotations

import logging
import re

import fsspec

from target_outreach.errors import SettingsError

#: The extra of this package that brings what fsspec needs, by protocol.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}


#: What logs for a store: fsspec, the packages of the extras, and what those send requests with.
LIBRARIES = frozenset(
    {
        *("fsspec", "s3fs", "gcsfs", "adlfs", "paramiko", "asyncio"),
        *("aiobotocore", "botocore", "boto3", "aiohttp", "azure", "google", "smbprotocol"),
    }
)

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


def mute_stores() -> None:
    """Keep the libraries of stores from logging paths and requests, at any level.

    A path may hold user and password: not every protocol of fsspec takes them out of it.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in LIBRARIES:
            logging.getLogger(name).addFilter(_nothing)  # the same filter is added once


def _nothing(_entry: logging.LogRecord) -> bool:
    return False


class StoredObject:
    """One object, by its URL."""

    def __init__(self, url: str, setting: str) -> None:
        """Find out whether fsspec can get there; nothing is read yet.

        Args:
            url: A URL with a protocol that fsspec knows.
            setting: The setting that it comes from.

        Raises:
            SettingsError: It knows no such protocol, lacks a package for it, or ends on this
                machine, where whatever it writes could be read by all.
        """
        protocol = url.partition("://")[0]
        try:
            self._filesystem, self._path = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            if extra := EXTRAS.get(protocol):
                raise SettingsError(
                    f"{setting} begins with {protocol}://, which needs a package that is not "
                    f"installed. Install target-outreach[{extra}]; with Meltano, set that as "
                    "pip_url and run `meltano install`."
                ) from None
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

    def read(self) -> bytes:
        """Return the content, nothing where there is no such object.

        Raises:
            OSError: It cannot be read.
        """
        try:
            content: bytes = self._filesystem.cat_file(self._path)
        except FileNotFoundError:
            return b""
        except Exception as error:  # noqa: BLE001 - each store has errors of its own
            raise _failed(error) from None
        return content

    def write(self, content: bytes) -> None:
        """Replace the content.

        Raises:
            OSError: It cannot be written.
        """
        try:
            self._filesystem.makedirs(self._filesystem._parent(self._path), exist_ok=True)  # noqa: SLF001
            self._filesystem.pipe_file(self._path, content)
        except Exception as error:  # noqa: BLE001 - idem
            raise _failed(error) from None


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


def _failed(error: Exception) -> OSError:
    """Make one kind of all errors; a store's own words may hold more than a log should."""
    return error if isinstance(error, OSError) and error.strerror else OSError(type(error).__name__)
