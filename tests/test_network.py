"""Through a company's proxy, to a server whose certificate the company signed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
from conftest import record, schema

HOST = "api.outreach.test"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificate, and is not installed"
)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for the host, which nobody knows, and its key."""
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    command = [*made, "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    return pem, key


def pump(source, sink):
    """Pass bytes on; a sandbox answers only to names of this machine."""
    try:
        while data := source.recv(65536):
            sink.sendall(data.replace(f"Host: {HOST}".encode(), b"Host: localhost"))
    except OSError:
        pass
    finally:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(sandbox, certificate):
    """A proxy that answers CONNECT and ends TLS in front of the sandbox; yields what was asked."""
    asked: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    parts = urlsplit(sandbox.url)

    def serve(connection):
        with connection:
            asked.append(connection.recv(4096).decode().partition("\r\n")[0])
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                inside = context.wrap_socket(connection, server_side=True)
            except (ssl.SSLError, OSError):
                return
            with inside, socket.create_connection((parts.hostname, parts.port)) as behind:
                threading.Thread(target=pump, args=(behind, inside), daemon=True).start()
                pump(inside, behind)

    def listen():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)


ROWS = [schema("prospects"), record("prospects", emails="a@example.test")]


@pytest.mark.slow
def test_the_proxy_and_the_certificates_of_the_environment_are_honoured(
    execute, sandbox, proxy, certificate, monkeypatch
):
    address, asked = proxy
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    run = execute(ROWS, api_url=f"https://{HOST}/api/v2")
    assert run.exit_code == 0, run.log
    assert sandbox.store.count("prospects") == 1
    assert {line.rpartition(" ")[0] for line in asked} == {f"CONNECT {HOST}:443"}


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for_is_refused(execute, sandbox, proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy[0])
    run = execute(ROWS, api_url=f"https://{HOST}/api/v2")
    assert run.exit_code == 1
    assert "TLS certificate" in run.log
    assert sandbox.request_count == 0


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_is_named_by_its_address(execute, monkeypatch):
    monkeypatch.setattr("target_outreach.outreach.outages.LONGEST_WAIT", 0.01)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        run = execute(ROWS, api_url=f"https://{HOST}:8443/api/v2")
    assert run.exit_code == 1
    where = f"https://{HOST}:8443"
    assert f"Outreach cannot be reached at {where} (the proxy does not answer): check" in run.log
    assert "sandbox running" not in run.log
    assert f"{HOST}:8443/hunter2" not in run.log
