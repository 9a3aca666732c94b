"""OAuth's token endpoint: a code or a refresh token in, new tokens out (API reference 7).

Nothing here repeats a request that was refused. One whose answer was lost is sent again with the
same refresh token, which works where it survives its use, or lives on until the new one is first
used. Where it is good for one use only, a login is the way out.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import requests

from target_outreach.errors import CredentialsError, GrantRefused, OutcomeUnknown, Retriable
from target_outreach.outreach.auth import Authorization
from target_outreach.outreach.auth.token_retry import ask_patiently, check_for_delay
from target_outreach.outreach.auth.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.answers import Answer
    from target_outreach.outreach.auth.signal_guard import SignalGuard
    from target_outreach.outreach.transport import Transport

#: Statuses of requests that were turned away.
NOT_CARRIED_OUT = frozenset({425, 429})

LOGIN = "log in with `target-outreach login`, or set a new refresh_token"


class TokenEndpoint:
    """Trades codes and refresh tokens of one app for new tokens."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        url: str,
        transport: Transport,
        *,
        client_id: str,
        client_secret: str,
        redirect_uri: str | None,
        guard: SignalGuard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask for nothing yet; the clock tells seconds since the epoch.

        Clients send the redirect URI with a refresh as well.
        """
        self._url = url
        self._transport = transport
        self._form = {"client_id": client_id, "client_secret": client_secret}
        if redirect_uri is not None:
            self._form["redirect_uri"] = redirect_uri
        self._guard = guard
        self._clock = clock

    def exchange(self, code: str, verifier: str) -> Tokens:
        """Trade the code that a login brought.

        The verifier is the secret whose hash the login began with (PKCE, RFC 7636); a server that
        does not know it ignores it.

        Raises:
            CredentialsError: The code or the app is refused.
            OutreachError: The endpoint does not answer.
        """
        grant = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        return replace(self._asked(grant, None, None), login=secrets.token_hex(8))

    def refresh(self, refresh_token: str, *, minted_at: float | None = None) -> Tokens:
        """Trade a refresh token.

        `minted_at` is when the last access token was issued, in seconds since the epoch.

        Raises:
            GrantRefused: The refresh token is not accepted any more.
            CredentialsError: The app is refused.
            OutreachError: The endpoint does not answer.
        """
        grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._asked(grant, refresh_token, minted_at)

    def _asked(self, grant: dict[str, str], used: str | None, minted_at: float | None) -> Tokens:
        form = self._form | grant
        lost = False

        def ask() -> Tokens:
            nonlocal lost
            try:
                return self._asked_once(form, used)
            except Retriable as error:
                # What was not turned away may have used up its refresh token.
                was_turned_away = error.status in {None, *NOT_CARRIED_OUT}
                lost = lost or isinstance(error, OutcomeUnknown) or not was_turned_away
                raise
            except GrantRefused as refusal:
                refusal.after_lost_answer = lost
                raise

        guard = self._guard
        return ask_patiently(ask, guard.rest_before_retry, self._clock, minted_at, guard.outages)

    def _asked_once(self, form: dict[str, str], used: str | None) -> Tokens:
        asked_at = self._clock()
        headers = {"Accept": "application/json"}
        # Without an `auth` of ours, requests would send what .netrc has for the host.
        request = requests.Request("POST", self._url, headers, data=form, auth=Authorization(None))
        answer = self._transport.send(request)
        _raise_refusal(answer)
        try:
            return Tokens.read(answer.document, used=used, asked_at=asked_at)
        except ValueError:
            raise Retriable(
                "The token endpoint answered without a token.", status=answer.status
            ) from None


class RefreshGrant:
    """Gets new tokens for a refresh token, or for the one before it."""

    def __init__(self, endpoint: TokenEndpoint, configured: str | None) -> None:
        """Ask for nothing yet; the user may have configured a refresh token."""
        self._endpoint = endpoint
        self._configured = configured

    def mint(self, held: Tokens | None) -> Tokens:
        """Trade the newest refresh token, and if it is refused, those before it.

        The configured one is the last of them, unless a login has taken its place.

        Raises:
            GrantRefused: None of them is accepted any more.
            RunError: No tokens are available.
        """
        known = held.refresh_tokens if held is not None else ()
        minted_at = held.issued_at if held is not None else None
        was_lost = False
        is_login = held is not None and (held.login or held.organisation) is not None
        # After a login, the configured token may be another organisation's.
        for token in dict.fromkeys([*known, None if is_login else self._configured]):
            if token is None:
                continue
            try:
                tokens = self._endpoint.refresh(token, minted_at=minted_at)
            except GrantRefused as refusal:
                was_lost = was_lost or refusal.after_lost_answer
                continue
            if held is None:
                return tokens
            return replace(
                tokens,
                refresh_issued_at=tokens.refresh_issued_at or held.refresh_issued_at,
                organisation=held.organisation,
                login=held.login,
            )
        if was_lost:
            raise GrantRefused(
                "The answer with a new refresh token was lost on the way, and Outreach does not "
                f"accept the one before it a second time; {LOGIN}."
            )
        raise GrantRefused(
            "Outreach refuses the refresh token: it has expired (14 days after it was issued), was "
            f"revoked, or is mistyped, or the one that came after it could not be kept; {LOGIN}."
        )


def _raise_refusal(answer: Answer) -> None:
    """Say what it means that the endpoint gave no tokens."""
    status = answer.status
    if 200 <= status < 300 and answer.error.id != "invalid_grant":  # noqa: PLR2004 - HTTP's success
        return
    check_for_delay(answer, "The token endpoint")
    code, said = answer.error.name, answer.said
    if code == "invalid_client" or (status == 401 and code != "invalid_grant"):  # noqa: PLR2004
        raise CredentialsError(
            f"Outreach does not know the app ({said}): check client_id and client_secret."
        )
    if code == "invalid_grant" or (status == 400 and not code):  # noqa: PLR2004
        raise GrantRefused(f"Outreach refuses the code or the refresh token ({said}).")
    raise CredentialsError(
        f"The token endpoint answered {said}: check oauth_url, redirect_uri and the app's settings."
    )
