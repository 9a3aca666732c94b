"""RS256 signatures checked with integers, so that the sandbox needs no cryptography package.

This is for the sandbox only: it takes no care of timing and knows one scheme, PKCS#1 v1.5 with
SHA-256 (RFC 8017, 8.2.2), on keys in the forms that people have them in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import TypeAlias

PublicKey: TypeAlias = tuple[int, int]

_PEM = re.compile(r"-----BEGIN (RSA )?PUBLIC KEY-----([\sA-Za-z0-9+/=]+)-----END \1?PUBLIC KEY")
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
_INTEGER, _BITS, _SEQUENCE = 0x02, 0x03, 0x30
_LONG_FORM = 0x80


def read_public_key(key: str | Mapping[str, object] | tuple[int, int]) -> PublicKey:
    """Return modulus and exponent of an RSA public key.

    Args:
        key: PEM text (``PUBLIC KEY`` or ``RSA PUBLIC KEY``), a JWK, or both numbers.

    Raises:
        ValueError: It is no such key.
    """
    try:
        modulus, exponent = _read(key)
    except ValueError as error:
        raise ValueError(f"no RSA public key: {error}") from None
    if modulus <= 1 or exponent <= 1:
        raise ValueError("no RSA public key: its numbers are too small")
    return modulus, exponent


def is_signed(message: bytes, signature: bytes, key: PublicKey) -> bool:
    """Tell whether this signature of the message was made with the private half of the key."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    tail = b"\x00" + _SHA256 + hashlib.sha256(message).digest()
    number = int.from_bytes(signature, "big")
    if len(signature) != size or number >= modulus:
        return False
    # Compared as a whole: whoever parses the padding lets forgeries through.
    expected = b"\x00\x01" + b"\xff" * (size - 2 - len(tail)) + tail
    return pow(number, exponent, modulus).to_bytes(size, "big") == expected


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        ValueError: It is none.
    """
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("no base64url") from None


def encode_base64url(content: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _read(key: str | Mapping[str, object] | tuple[int, int]) -> PublicKey:
    if isinstance(key, Mapping):
        return _big(key.get("n")), _big(key.get("e"))
    if not isinstance(key, str):
        return key
    match = _PEM.search(key)
    if match is None:
        raise ValueError("the PEM has no such part")
    der = base64.b64decode(match[2])
    return _numbers(der if match[1] else _inner_key(der))


def _big(text: object) -> int:
    if not isinstance(text, str):
        raise ValueError("the JWK lacks n or e")  # noqa: TRY004 - the key is at fault
    return int.from_bytes(decode_base64url(text), "big")


def _inner_key(der: bytes) -> bytes:
    """Unwrap the key from a SubjectPublicKeyInfo: an algorithm, then the key as a bit string."""
    content, _ = _element(der, _SEQUENCE)
    _, rest = _element(content, _SEQUENCE)
    bits, _ = _element(rest, _BITS)
    return bits[1:]


def _numbers(der: bytes) -> PublicKey:
    content, _ = _element(der, _SEQUENCE)
    modulus, rest = _element(content, _INTEGER)
    exponent, _ = _element(rest, _INTEGER)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _element(der: bytes, tag: int) -> tuple[bytes, bytes]:
    """Split the first DER element from what follows it."""
    if len(der) < len("tl") or der[0] != tag:
        raise ValueError("the PEM holds something else")
    start, length = 2, der[1]
    if length & _LONG_FORM:
        start += length - _LONG_FORM
        length = int.from_bytes(der[2:start], "big")
    if len(der) < start + length:
        raise ValueError("the PEM is cut off")
    return der[start : start + length], der[start + length :]
