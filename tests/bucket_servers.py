"""Stores of objects on this machine, which can be slow, deny everything, or lose their bucket.

`S3` is moto's server, `Azure` is Azurite, which Microsoft makes. Both are behind the same front,
which counts the requests and damages them. No emulator of Google's answers what obstore sends:
fake-gcs-server and gcp-storage-emulator know the JSON API, and Google's own storage-testbench
answers a write without ETag and generation. So `GCS` is moto's server too, with generations as
Google documents them: it shows what is sent, and not that Google answers so.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

import boto3
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient
from clients.environment import npm_program
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

NUMBERS = count(1)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
AZURITE = Path(__file__).parent / "clients" / "azurite" / "package.json"
#: The account that Azurite has, and its key, which is public.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SECONDS_TO_START = 60
AS_MOTO_WANTS_IT = (
    "AWS4-HMAC-SHA256 Credential=invented/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=invented"
)
#: What belongs to one connection, and is not passed on.
OF_CONNECTIONS = frozenset({"connection", "keep-alive", "transfer-encoding"})


class Silent(WSGIRequestHandler):
    def log(self, *_):
        """Say nothing of requests."""


class Front:
    """A server on a port of its own, in front of the one that knows what to answer.

    Attributes:
        delay: Seconds that each request takes longer.
        is_denied: Whether each request is refused.
        damage: Called with what each request does (`read`, `write`, `delete` or `list`) and its
            path; refuses it by returning true.
        requests: Method and path of each request.
    """

    def __init__(self, app):
        self.app = app
        self.reset()
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Silent)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def reset(self):
        """Damage nothing, and forget what was counted."""
        self.delay, self.is_denied, self.requests = 0.0, False, []
        self.damage = lambda _what, _path: False

    def __call__(self, environ, start_response):
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(request)
        time.sleep(self.delay)
        if self.damage(_done_by(environ), environ["PATH_INFO"]) or self.is_denied:
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [DENIED]
        return self.app(environ, start_response)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _done_by(environ):
    """Say what a request does; what deletes may be a batch of deletions."""
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    if method == "DELETE" or query.startswith("delete") or "comp=batch" in query:
        return "delete"
    if method in {"GET", "HEAD"}:
        return "list" if "list-type" in query or "comp=list" in query else "read"
    return "write"


class S3(Front):
    """A server of moto."""

    def __init__(self):
        super().__init__(DomainDispatcherApplication(create_backend_app))

    @property
    def environment(self):
        """What AWS's tools look at."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "invented",
            "AWS_SECRET_ACCESS_KEY": "invented",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self):
        """Make a bucket."""
        return S3Bucket(self)


class GCS(Front):
    """The S3 of moto, where versions are numbers, as in Google's XML API."""

    def __init__(self):
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._generations, self._numbers, self._lock = {}, count(1), threading.Lock()
        super().__init__(self._numbered)

    @property
    def environment(self):
        """What Google's tools look at, and the owner of the bucket."""
        return S3.environment.fget(self) | {"STORAGE_EMULATOR_HOST": self.url}

    def bucket(self):
        """Make a bucket."""
        return GCSBucket(self)

    def _numbered(self, environ, start_response):
        is_bearer = environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer ")
        if is_bearer:
            environ["HTTP_AUTHORIZATION"] = AS_MOTO_WANTS_IT
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        # What is escaped without need is no longer so.
        query = f"?{environ['QUERY_STRING']}" * bool(environ["QUERY_STRING"])
        environ["RAW_URI"] = environ["REQUEST_URI"] = quote(path) + query
        wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        if source := environ.get("HTTP_X_GOOG_COPY_SOURCE"):
            environ["HTTP_X_AMZ_COPY_SOURCE"] = source

        def start(status, headers, *rest):
            if status.startswith("2"):
                if method == "PUT" and "uploadId" not in environ["QUERY_STRING"]:
                    self._generations[path] = next(self._numbers)
                elif method == "DELETE":
                    self._generations.pop(path, None)
                if is_bearer and path in self._generations:
                    headers = [*headers, ("x-goog-generation", str(self._generations[path]))]
            return start_response(status, headers, *rest)

        with self._lock:
            if wanted is not None and int(wanted) != self._generations.get(path, 0):
                start_response("412 Precondition Failed", [("Content-Type", "application/xml")])
                return [b"<Error><Code>PreconditionFailed</Code></Error>"]
            return self._moto(environ, start)


class Azure(Front):
    """A process of Azurite."""

    def __init__(self):
        program = npm_program(AZURITE, "azurite-blob")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        command = [program, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort"]
        self._process = subprocess.Popen(
            [*command, str(self._port), "--location", self._folder.name],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + SECONDS_TO_START
        while not self._is_up():
            assert self._process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        super().__init__(self._pass_on)

    def _is_up(self):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port), 1).close()
            return True
        return False

    @property
    def environment(self):
        """What Azure's tools look at."""
        return {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                f"BlobEndpoint={self.url}/{ACCOUNT};"
            )
        }

    def bucket(self):
        """Make a container."""
        return AzureContainer(self)

    def _pass_on(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or (name in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value)
        }
        azurite = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            azurite.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            answer = azurite.getresponse()
            content = answer.read()
        finally:
            azurite.close()
        given = [one for one in answer.getheaders() if one[0].lower() not in OF_CONNECTIONS]
        start_response(f"{answer.status} {answer.reason}", given)
        return [content]

    def close(self):
        super().close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class S3Bucket:
    """A bucket of its own in a server, as its owner sees it."""

    def __init__(self, server):
        self.server = server
        self.name = f"bucket-{next(NUMBERS)}"
        self._client = boto3.client("s3", endpoint_url=server.url)
        self._client.create_bucket(Bucket=self.name)

    def url(self, path=""):
        return f"s3://{self.name}/{path}"

    def names(self, prefix=""):
        listed = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for one in listed.get("Contents", [])]

    def read(self, name):
        return self._client.get_object(Bucket=self.name, Key=name)["Body"].read()

    def write(self, name, content):
        self._client.put_object(Bucket=self.name, Key=name, Body=content)

    def upload(self, path, name):
        self._client.upload_file(str(path), self.name, name)

    def remove(self, name):
        self._client.delete_object(Bucket=self.name, Key=name)

    def delete(self):
        for name in self.names():
            self.remove(name)
        self._client.delete_bucket(Bucket=self.name)

    def close(self):
        self._client.close()


class GCSBucket(S3Bucket):
    """The same, by its name at Google."""

    def url(self, path=""):
        return f"gs://{self.name}/{path}"


class AzureContainer:
    """The same in Azurite."""

    def __init__(self, server):
        self.server = server
        self.name = f"container-{next(NUMBERS)}"
        (said,) = server.environment.values()
        self._client = ContainerClient.from_connection_string(said, self.name, retry_total=0)
        self._client.create_container()

    def url(self, path=""):
        return f"az://{self.name}/{path}"

    def names(self, prefix=""):
        return [one.name for one in self._client.list_blobs(name_starts_with=prefix)]

    def read(self, name):
        return self._client.download_blob(name).readall()

    def write(self, name, content):
        self._client.upload_blob(name, content, overwrite=True)

    def upload(self, path, name):
        with open(path, "rb") as file:  # noqa: PTH123 - read piece by piece
            self._client.upload_blob(name, file)

    def remove(self, name):
        with suppress(ResourceNotFoundError):
            self._client.delete_blob(name)

    def delete(self):
        self._client.delete_container()

    def close(self):
        self._client.close()
