"""A query arrives as it was written, whatever its length and characters."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest
import requests

from target_outreach.outreach.transport import Transport
from target_outreach.sandbox import Sandbox

ADDRESSES = ",".join(f"first%20{number}.o%27neil@example.com" for number in range(150))


@pytest.fixture
def seen():
    """The requests that arrived, oldest first."""
    return []


@pytest.fixture
def api_url(seen):
    """The address of a sandbox that records the requests that arrive."""
    with Sandbox(observer=seen.append) as sandbox:
        yield sandbox.api_url


@pytest.fixture
def transport(api_url):
    transport = Transport(api_url, user_agent="test")
    yield transport
    transport.close()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?a=b",
        f"?filter%5Bemails%5D={ADDRESSES}&fields%5Bprospect%5D=emails,title",
        "?page[size]=1&count=false",
        "?a=b c",
        "?a=b%7ec%2f%2F",
        "?a=%",
        "?a=%zz",
        "?a=%4",
        "?a=ü",
        "?a=%C3%BC%F0%9F%90%9D",
        "?a=b?c=d",
        "?a=b#c",
        "?a=b\n",
        "?filter%5BupdatedAt%5D=2026-03-31T09:30:00Z..inf&sort=-updatedAt",
    ],
)
def test_a_query_arrives_as_requests_would_send_it(transport, api_url, seen, query):
    for _ in range(2):  # over a new connection, and over the one that is kept
        transport.send(requests.Request("GET", f"{api_url}/nosuch{query}"))
    requests.get(f"{api_url}/nosuch{query}", timeout=5)
    ours, again, theirs = [exchange.url for exchange in seen]
    assert ours == again == theirs


def test_no_header_goes_out_that_was_not_given(transport, api_url, seen):
    headers = {"Accept": "text/plain"}
    transport.send(requests.Request("GET", f"{api_url}/nosuch?a={ADDRESSES}", headers))
    transport.send(requests.Request("GET", f"{api_url}/nosuch", headers))
    with_query, without = [dict(exchange.request_headers) for exchange in seen]
    assert with_query == without
    assert headers == {"Accept": "text/plain"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_query_arrives_over_tls(tmp_path, monkeypatch):
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    command = [*made, "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"https://localhost:{server.server_port}/api?a={ADDRESSES}"
        transport = Transport(url, user_agent="test")
        try:
            answer = transport.send(requests.Request("GET", url))
        finally:
            transport.close()
            thread.join()
    parts = urlsplit(url)
    assert answer.status == 204
    assert asked == [f"{parts.path}?{parts.query}"]
