"""An object in a store that fsspec knows, such as a bucket: read and written as a whole."""

from __future__ import annotations

from urllib.parse import urlsplit

import fsspec

from target_outreach.errors import SettingsError

#: The extra of this package that brings what fsspec needs, by protocol.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}


def public_name(url: str) -> str:
    """Name a path or URL without what may be secret in it: user, password and query."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class StoredObject:
    """One object, by its URL."""

    def __init__(self, url: str, setting: str) -> None:
        """Find out whether fsspec can get there; nothing is read yet.

        Args:
            url: A URL with a protocol that fsspec knows.
            setting: The setting that it comes from.

        Raises:
            SettingsError: It knows no such protocol, or lacks a package for it.
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
            raise SettingsError(f"{setting} cannot be used: {error}") from None
        except Exception as error:  # noqa: BLE001 - some stores are asked at once
            what = type(error).__name__
            raise SettingsError(f"{setting} cannot be used: no answer ({what}).") from None

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


def _failed(error: Exception) -> OSError:
    """Make one kind of all errors; a store's own words may hold more than a log should."""
    return error if isinstance(error, OSError) and error.strerror else OSError(type(error).__name__)
