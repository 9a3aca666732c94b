"""One request over the network: servers that are slow on purpose, or send too much."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from target_outreach.errors import OutcomeUnknown, OutreachError, Retriable
from target_outreach.outreach.transport import Transport

TIMEOUT = 1.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def serve():
    """Serve each connection by a function, which is called again for each of its requests."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept(talk, context):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threading.Thread(target=serve_one, args=(connection, talk, context)).start()

    def serve_one(connection, talk, context):
        with suppress(OSError):
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                while connection.recv(65536):
                    talk(connection, ended)

    def start(talk, context=None):
        threading.Thread(target=accept, args=(talk, context)).start()
        scheme = "http" if context is None else "https"
        return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    ended.set()
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    for connection in [listener, *connections]:
        connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The path of a certificate for this machine, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def slowly(pieces, pause=0.1):
    """Send one piece after the other, each well within the time-out."""

    def talk(connection, ended):
        for piece in pieces():
            connection.sendall(piece)
            if ended.wait(pause):
                return

    return talk


def forever(start, piece):
    def pieces():
        yield start
        while True:
            yield piece

    return pieces


SLOW = {
    "status line": forever(b"HTTP/1.1 200 ", b"O"),
    "headers": forever(HEAD, b"X-A: b\r\n"),
    "one header": forever(HEAD + b"X-Long: ", b"x"),
    "100 Continue": forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": forever(HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
    "body to the end": forever(HEAD + b"\r\n", b" "),
    "chunks": forever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "head of a chunk": forever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "trailers": forever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
    "nothing": forever(b"", b""),
}


def ask(url, method="GET", timeout=TIMEOUT):
    with closing(Transport(url, user_agent="test", timeout=timeout)) as transport:
        return transport.send(requests.Request(method, f"{url}/api/v2/prospects"))


@pytest.mark.slow
@pytest.mark.parametrize("what", SLOW)
def test_no_slow_answer_takes_longer_than_the_time_out(serve, what):
    url = serve(slowly(SLOW[what]))
    began = time.monotonic()
    with pytest.raises(Retriable, match=r"No answer from Outreach \(time-out\)\."):
        ask(url)
    assert time.monotonic() - began < TIMEOUT + 1


@pytest.mark.slow
def test_after_a_post_a_slow_answer_is_an_unknown_outcome(serve):
    url = serve(slowly(SLOW["headers"]))
    with pytest.raises(OutcomeUnknown, match="time-out"):
        ask(url, "POST")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["headers", "body"])
def test_the_same_holds_over_tls(serve, certificate, monkeypatch, what):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url = serve(slowly(SLOW[what]), context)
    began = time.monotonic()
    with pytest.raises(Retriable, match="time-out"):
        ask(url)
    assert time.monotonic() - began < TIMEOUT + 1


@pytest.mark.slow
def test_a_tls_handshake_that_never_ends_takes_no_longer_than_the_time_out(serve):
    url = serve(slowly(SLOW["nothing"])).replace("http:", "https:")
    began = time.monotonic()
    with pytest.raises(Retriable, match="time-out"):
        ask(url)
    assert time.monotonic() - began < TIMEOUT + 1


@pytest.mark.slow
def test_a_connection_that_was_slow_once_has_all_its_time_again(serve):
    """The time that is left of one answer is not all that the next request on it has."""
    answers = iter([0.8, 0.8, 0.8])

    def talk(connection, ended):
        ended.wait(next(answers))
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n")
        ended.wait(0.05)
        connection.sendall(b"{}")

    url = serve(talk)
    with closing(Transport(url, user_agent="test", timeout=TIMEOUT)) as transport:
        for _ in range(3):
            assert transport.send(requests.Request("GET", url)).document == {}


# Answers that are too large


def bomb(size):
    """An answer of JSON that is small when packed: blanks around an empty object."""
    body = gzip.compress(b"{" + b" " * (size - 2) + b"}")
    length = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    return HEAD + length.encode() + body


def test_no_more_than_32_mib_of_an_answer_are_unpacked(serve):
    answer = bomb(33 << 20)
    assert len(answer) < 50_000
    url = serve(lambda connection, _: connection.sendall(answer))
    with pytest.raises(Retriable, match=r"Outreach answered 200 with more than 32 MiB\.") as caught:
        ask(url, timeout=20)
    assert not isinstance(caught.value, OutcomeUnknown)
    with pytest.raises(OutcomeUnknown, match="more than 32 MiB"):
        ask(url, "POST", timeout=20)


def test_an_answer_of_32_mib_is_read(serve):
    answer = bomb(32 << 20)
    url = serve(lambda connection, _: connection.sendall(answer))
    assert ask(url, timeout=20).document == {}


# Connections that are not made


def refused(_monkeypatch):
    """The address of a port that nobody listens on."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{nobody.getsockname()[1]}"


def unknown_host(monkeypatch):
    def nobody(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", nobody)
    return "https://api.outreach.test"


def firewall(monkeypatch):
    def silent(*_arguments, **_options):
        raise TimeoutError

    monkeypatch.setattr("urllib3.util.connection.create_connection", silent)
    return "https://api.outreach.test"


def no_network(monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("urllib3.util.connection.create_connection", fail)
    return "https://api.outreach.test"


def refused_elsewhere(monkeypatch):
    def fail(*_arguments, **_options):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", fail)
    return "https://api.outreach.test"


def refused_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", refused(monkeypatch))
    return "https://api.outreach.test"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (refused, "Connection refused at {}; is the sandbox running?"),
        (unknown_host, "at {} (unknown host name): check api_url, and the network."),
        (firewall, "at {} (no connection in 10 seconds): check api_url, the network, and whether"),
        (no_network, "at {} (Network is unreachable): check the network."),
        (refused_elsewhere, "at {} (connection refused): check api_url, and whether a firewall"),
        (refused_proxy, "at {} (the proxy does not answer): check HTTPS_PROXY, and NO_PROXY."),
    ],
)
def test_a_connection_that_is_not_made_says_where_why_and_what_to_check(monkeypatch, broken, words):
    url = broken(monkeypatch)
    with pytest.raises(Retriable) as raised:
        ask(url, "POST")
    assert not isinstance(raised.value, OutcomeUnknown)
    assert words.format(url) in str(raised.value)


def test_a_server_without_tls_is_no_matter_of_its_certificate(serve):
    url = serve(slowly(SLOW["headers"])).replace("http:", "https:")
    with pytest.raises(OutreachError, match=r"does not speak TLS \(.*\): check api_url\."):
        ask(url)


def test_a_certificate_of_nobody_is_named_with_what_to_do(serve, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url = serve(slowly(SLOW["body"]), context)
    with pytest.raises(OutreachError, match=r"TLS certificate.*\(.*\): check.*REQUESTS_CA_BUNDLE"):
        ask(url)
