"""Buckets of S3, Google Cloud Storage and Azure, with writes that nobody else can have overtaken.

S3 and Azure compare an ETag, Google Cloud Storage a generation. Credentials, regions and addresses
come from where the tools of each cloud look for them; no setting holds any.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from target_outreach.errors import SettingsError
from target_outreach.object_store import Conflict, Stored
from target_outreach.private_files import NEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from obstore import PutMode, UpdateVersion
    from obstore.store import ClientConfig, GCSCredential, ObjectStore, RetryConfig

#: A request is given up after the first, and not tried again after the second, which comes before
#: there were so many tries.
TIMEOUT = timedelta(seconds=60)
RETRIES: RetryConfig = {"max_retries": 1000, "retry_timeout": timedelta(seconds=60)}

#: Bytes that are held of a large object at a time, and how many such pieces there are at once.
PIECE = 8 << 20
PIECES_AT_ONCE = 2

#: What each error means for the user; what a store says may name keys, and stays out of logs.
MEANINGS: tuple[tuple[type[BaseException], int, str], ...] = (
    (FileNotFoundError, errno.ENOENT, "there is no such bucket"),
    (exceptions.PermissionDeniedError, errno.EACCES, "access is denied"),
    (exceptions.UnauthenticatedError, errno.EACCES, "the credentials are not accepted"),
)

#: What obstore says of other errors, and what that means.
CAUSES = (
    ("ExpiredToken", "the credentials have expired"),
    ("incorrectly configured region", "it is in another region"),
    ("403 Forbidden", "access is denied"),
    ("error sending request", "no answer"),
)


@contextmanager
def _worded() -> Iterator[None]:
    """Make one kind of all errors.

    Raises:
        Conflict: Somebody else has written the object.
        OSError: Anything else, in a few words.
    """
    try:
        yield
    except (exceptions.PreconditionError, exceptions.AlreadyExistsError):
        raise Conflict from None
    except Exception as error:  # each store has errors of its own
        if isinstance(error, OSError) and error.strerror:
            raise  # of the file beside it
        for kind, number, words in MEANINGS:
            if isinstance(error, kind):
                raise OSError(number, words) from None
        raise OSError(errno.EIO, _cause(error)) from None


def _cause(error: Exception) -> str:
    """Say what went wrong in a few words, without what a store says beside them."""
    text = str(error).partition("\nDebug source")[0]
    for said, words in CAUSES:
        if said in text:
            return words
    answer = re.search(r"status code: (\d{3}[ \w]*)", text)
    return f"no usable answer, {answer[1].strip() if answer else type(error).__name__}"


class Bucket:
    """Objects in a bucket, below one prefix."""

    def __init__(self, url: str, setting: str) -> None:
        """Send nothing yet, but for what the tools of a cloud send to find credentials.

        Args:
            url: The bucket and the prefix.
            setting: The setting that it comes from.

        Raises:
            ImportError: The package of an extra is missing.
            SettingsError: The URL is none of a bucket, or there are no credentials.
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        has_odd_part = prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/"))
        has_odd_character = re.search(r"[?#:\\\x00-\x1f\x7f]", rest)
        has_user = "@" in bucket and scheme[0] == "s"
        if not bucket or has_odd_part or has_odd_character or has_user:
            raise SettingsError(
                f"{setting} is no URL of a bucket: give protocol, bucket and path, without user, "
                "port or query, and no empty part, . or .. in the path."
            )
        open_store = {"s": _open_s3, "g": _open_gcs, "a": _open_azure}[scheme[0]]
        try:
            self._store = open_store(bucket, prefix or None)
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - each cloud has errors of its own
            what = str(error) if isinstance(error, _NoCredentialsError) else type(error).__name__
            raise SettingsError(f"{setting} cannot be used: {what}.") from None

    @_worded()
    def read(self, name: str) -> Stored | None:
        """Return what an object holds, as `Folder.read` does."""
        try:
            found = obstore.get(self._store, name)
        except FileNotFoundError:
            return None
        return Stored(bytes(found.bytes()), _version(found.meta))

    @_worded()
    def replace(
        self, name: str, content: bytes, version: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        """Replace what an object holds, as `Folder.replace` does."""
        mode: PutMode = "create"
        if version is not None:
            mode = cast("UpdateVersion", dict(version))
        return _version(obstore.put(self._store, name, content, mode=mode))

    @_worded()
    def delete(self, name: str) -> None:
        """Delete an object, as `Folder.delete` does."""
        with suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    @_worded()
    def names(self, prefix: str) -> list[str]:
        """List the names that begin with a text, in order."""
        found = obstore.list_with_delimiter(self._store)["objects"]
        names = (one["path"].rpartition("/")[2] for one in found)
        return sorted(name for name in names if name.startswith(prefix))

    @_worded()
    def rename(self, name: str, new: str) -> None:
        """Give an object another name."""
        obstore.rename(self._store, name, new)

    @_worded()
    def download(self, name: str, path: Path) -> bool:
        """Copy an object into a new file piece by piece; tell whether it is there."""
        try:
            size = obstore.head(self._store, name)["size"]
        except FileNotFoundError:
            return False
        try:
            with os.fdopen(os.open(path, NEW, 0o600), "wb") as file:
                for start in range(0, size, PIECE):  # each of which has its own time
                    end = min(start + PIECE, size)
                    file.write(obstore.get_range(self._store, name, start=start, end=end))
        except FileNotFoundError:  # it was deleted meanwhile
            path.unlink(missing_ok=True)
            return False
        return True

    @_worded()
    def upload(self, path: Path, name: str) -> None:
        """Copy a file into a new object, piece by piece.

        Raises:
            OSError: The file cannot be read, or the object not be written.
        """
        obstore.put(self._store, name, path, chunk_size=PIECE, max_concurrency=PIECES_AT_ONCE)


class _NoCredentialsError(Exception):
    """There are none where the tools of a cloud look for them."""


def _client(address: str) -> ClientConfig:
    """Say how requests are sent: in the clear only where an address asks for that."""
    return {"timeout": TIMEOUT, "allow_http": address.startswith("http://")}


def _open_s3(bucket: str, prefix: str | None) -> ObjectStore:
    """Open a bucket of S3, or of a server that speaks its protocol, as AWS's own tools would."""
    import boto3  # noqa: PLC0415 - few runs need it
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - idem

    session = boto3.Session()
    if session.get_credentials() is None:
        raise _NoCredentialsError("there are no credentials where AWS's tools look for them")
    region = session.region_name or "us-east-1"
    address = session.client("s3", region_name=region).meta.endpoint_url
    return S3Store(
        bucket,
        prefix=prefix,
        config={"region": region, "endpoint": address},
        credential_provider=Boto3CredentialProvider(session),
        client_options=_client(address),
        retry_config=RETRIES,
    )


def _open_gcs(bucket: str, prefix: str | None) -> ObjectStore:
    """Open a bucket of Google Cloud Storage, or of an emulator, as Google's own tools would."""
    import google.auth.exceptions  # noqa: PLC0415 - few runs need it
    from obstore.auth.google import GoogleCredentialProvider  # noqa: PLC0415 - idem

    options: Any = {"prefix": prefix, "retry_config": RETRIES}
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        address = emulator if "://" in emulator else f"http://{emulator}"
        config: Any = {"base_url": address}
        return GCSStore(
            bucket,
            config=config,
            credential_provider=_emulated,  # else obstore asks for a token before it writes
            client_options=_client(address),
            **options,
        )
    try:
        scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
        credentials, _ = google.auth.default(scopes=scopes)
    except google.auth.exceptions.DefaultCredentialsError:
        words = "there are no credentials where Google's tools look for them"
        raise _NoCredentialsError(words) from None
    provider = GoogleCredentialProvider(credentials)
    return GCSStore(bucket, credential_provider=provider, client_options=_client(""), **options)


def _emulated() -> GCSCredential:
    return {"token": "emulated", "expires_at": None}


def _open_azure(container: str, prefix: str | None) -> ObjectStore:
    """Open a container of Azure, with what the environment says of the account."""
    container, _, host = container.partition("@")
    config = _connection(os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    if host:
        config["account_name"] = host.partition(".")[0]
    if not config and "AZURE_STORAGE_ACCOUNT_NAME" not in os.environ:
        raise _NoCredentialsError("AZURE_STORAGE_ACCOUNT_NAME does not say which account it is in")
    client = _client(config.get("endpoint", os.environ.get("AZURE_ENDPOINT", "")))
    return AzureStore(
        container, prefix=prefix, config=config, client_options=client, retry_config=RETRIES
    )


def _connection(said: str) -> Any:  # noqa: ANN401 - the configuration of a store
    """Read a connection string of Azure, which may name an address, an account, or both."""
    parts = dict(part.split("=", 1) for part in said.split(";") if "=" in part)
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_key",
    }
    config: dict[str, Any] = {ours: parts[name] for name, ours in names.items() if name in parts}
    address = parts.get("BlobEndpoint", "").rstrip("/")
    if not address and "AccountName" in parts and "EndpointSuffix" in parts:  # of a national cloud
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        address = f"{protocol}://{parts['AccountName']}.blob.{parts['EndpointSuffix']}"
    if address:
        config["endpoint"] = address
        config.setdefault("account_name", re.split(r"[./]", address.partition("://")[2])[0])
    return config


def _version(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what a store compares, without what it does not say."""
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name) is not None}
