"""Server-to-server apps: a signed JWT, traded for an access token of one hour (API reference 7).

There is no refresh token. What the app may do is fixed by Outreach; stages and personas, for
example, are not among it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import requests

from target_outreach.errors import CredentialsError, Retriable, SettingsError
from target_outreach.outreach.auth import Authorization
from target_outreach.outreach.auth.token_retry import ask_patiently, check_for_delay
from target_outreach.outreach.auth.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth.signal_guard import SignalGuard
    from target_outreach.outreach.transport import Transport

#: Seconds that a JWT is good for; Outreach takes an hour at most.
JWT_LIFETIME = 600

#: Seconds that the access token lives.
TOKEN_LIFETIME = 3600.0

#: Seconds by which two clocks may differ before that is the likely cause of a refusal.
CLOCK_TOLERANCE = 30.0


class Installation:
    """Gets access tokens for an app that is installed in an organisation."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        url: str,
        transport: Transport,
        *,
        guid: str,
        private_key: str,
        guard: SignalGuard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask for nothing yet.

        The private key is an RSA key in PEM; the clock tells seconds since the epoch.
        """
        self._url = url
        self._transport = transport
        self._guid = guid
        self._private_key = private_key
        self._guard = guard
        self._clock = clock

    def mint(self, held: Tokens | None) -> Tokens:
        """Trade a new JWT for an access token.

        Raises:
            CredentialsError: The app is refused.
            OutreachError: The endpoint does not answer.
        """
        minted_at = held.issued_at if held is not None else None
        guard = self._guard
        return ask_patiently(
            self._asked, guard.rest_before_retry, self._clock, minted_at, guard.outages
        )

    def _asked(self) -> Tokens:
        now = self._clock()
        answer = self._sent(now)
        server = answer.server_time
        ahead = 0.0 if server is None else server.timestamp() - now
        if answer.status == 401 and abs(ahead) > CLOCK_TOLERANCE:  # noqa: PLR2004
            answer = self._sent(now + ahead)  # sign by the server's clock instead of ours
        _raise_refusal(answer)
        try:
            return Tokens.read(_flat(answer.document), used=None, asked_at=now)
        except ValueError:
            raise Retriable("The installation's endpoint answered without a token.") from None

    def _sent(self, at: float) -> Answer:
        claims = {"iss": self._guid, "iat": int(at), "exp": int(at) + JWT_LIFETIME}
        signed = jwt.encode(claims, self._private_key, algorithm="RS256")
        headers = {"Accept": "application/json"}
        return self._transport.send(
            requests.Request("POST", self._url, headers, auth=Authorization(signed))
        )


def _raise_refusal(answer: Answer) -> None:
    """Say what it means that the endpoint gave no token."""
    status = answer.status
    if 200 <= status < 300:  # noqa: PLR2004 - the successes of HTTP
        return
    check_for_delay(answer, "The installation's endpoint")
    if status == 404:  # noqa: PLR2004
        raise CredentialsError(
            f"Outreach knows no such installation ({status}): check s2s_install_id and api_url."
        )
    raise CredentialsError(
        f"Outreach refuses the server-to-server app ({status}): check s2s_guid, s2s_private_key "
        "and s2s_install_id, and that the app is still installed."
    )


def _flat(document: object) -> dict[str, object]:
    """Find the token in ``data.meta``, where it is documented, or in ``meta``."""
    found: dict[str, object] = {}
    if isinstance(document, dict):
        data = document.get("data")
        for part in (document, data if isinstance(data, dict) else {}):
            if isinstance(meta := part.get("meta"), dict):
                found |= meta
    return {"access_token": found.get("accessToken"), "expires_in": TOKEN_LIFETIME}


def read_private_key(setting: str) -> str:
    r"""Read an RSA key from a setting.

    Args:
        setting: The key in PEM, also on one line with ``\n`` for line ends, or a path.

    Returns:
        The key in PEM.

    Raises:
        SettingsError: It is none of these.
    """
    text = _with_line_ends(setting)
    if "-----BEGIN" not in text:
        path = setting.strip().strip("'\"").removeprefix("file://")
        try:
            text = _with_line_ends(Path(path).expanduser().read_text(encoding="utf-8-sig"))
        except (OSError, RuntimeError, ValueError):
            raise SettingsError(
                "s2s_private_key is neither an RSA key in PEM nor the path of a file with one."
            ) from None
    try:
        jwt.encode({}, text, algorithm="RS256")
    except Exception:  # noqa: BLE001 - the libraries below raise many kinds
        raise SettingsError(
            "s2s_private_key is no RSA private key in PEM, or it is encrypted; "
            "give an RSA private key without a password."
        ) from None
    return text


def _with_line_ends(text: str) -> str:
    return text.strip().strip("'\"").replace("\\r", "").replace("\\n", "\n").strip()
