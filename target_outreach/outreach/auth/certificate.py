"""A certificate for one login, so that this machine can answer the browser over https.

Outreach takes only redirect URIs that begin with ``https``, also for this machine (API reference
7). No authority issues certificates for ``localhost``, so each login makes its own, and browsers
warn about it.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: How long the certificate is valid: longer than a login waits for the browser.
LIFETIME = timedelta(hours=1)

#: What the certificate calls itself.
NAME = "target-outreach login on this machine"

_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)


def make_server_context() -> ssl.SSLContext:
    """Make a key and a certificate for this machine, and return a TLS context that uses them.

    The key is not kept. On its way into the context, which reads files only, it is encrypted with
    a password that nobody else has, in a private file that is deleted at once.

    Raises:
        OSError: No temporary file can be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    password = secrets.token_bytes(32)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    pem += _sign(key, datetime.now(UTC)).public_bytes(Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="target-outreach-") as folder:
        path = Path(folder) / "login.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path, password=password)
    return context


def _sign(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return a certificate for this machine, signed by its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages, critical=False)
        .sign(key, hashes.SHA256())
    )
