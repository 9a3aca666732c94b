"""Access tokens for servers: a signed JWT against a token of one hour (API reference 7)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from target_outreach.sandbox import errors
from target_outreach.sandbox.issued import ISSUED, S2S, Grant
from target_outreach.sandbox.messages import Answer, json_answer
from target_outreach.sandbox.oauth import join_scopes
from target_outreach.sandbox.signatures import decode_base64url, is_signed, read_public_key
from target_outreach.sandbox.tokens import bearer

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.sandbox.apps import Installation
    from target_outreach.sandbox.issued import IssuedTokens
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Tokens

HOUR = 3600
_LEEWAY = 60  # the clocks of two machines


class S2SEndpoint:
    """Issues the access tokens of installations.

    Args:
        tokens: Where access tokens come from.
        issued: The tokens in the file.
        clock: Returns epoch seconds.
    """

    def __init__(self, tokens: Tokens, issued: IssuedTokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._issued = issued
        self._clock = clock

    def answer(self, install_id: str, request: Request, profile: Profile) -> Answer:
        """Answer a request for a token; that all refusals are 401 is an assumption."""
        known = {str(each.install_id): each for each in profile.installations}
        installation = known.get(install_id)
        if installation is None or not _is_good(bearer(request), installation, self._clock()):
            self._issued.log(S2S, install_id, "unauthorized")
            return errors.unauthorized(profile.unauthorized_style)
        grant = Grant(install_id, join_scopes(installation.scopes))
        with self._issued.transaction():
            token = self._tokens.mint("s2s", grant, HOUR)
            self._issued.log(S2S, install_id, ISSUED)
        return json_answer(200, {"data": {"meta": {"accessToken": token}}})


def _is_good(token: str, installation: Installation, now: float) -> bool:
    """Tell whether the JWT is signed by the installation's app and lives for an hour at most."""
    signed, _, signature = token.rpartition(".")
    try:
        header, claims = (_read(part) for part in signed.split("."))
        seal = decode_base64url(signature)
    except ValueError:
        return False
    return (
        header.get("alg") == "RS256"
        and is_signed(signed.encode(), seal, read_public_key(installation.public_key))
        and claims.get("iss") == installation.guid
        and _is_timely(claims.get("iat"), claims.get("exp"), now)
    )


def _is_timely(issued_at: Any, expires_at: Any, now: float) -> bool:  # noqa: ANN401 - any JSON
    times = (issued_at, expires_at)
    if any(isinstance(time, bool) or not isinstance(time, (int, float)) for time in times):
        return False
    return bool(issued_at <= now + _LEEWAY and now < expires_at <= issued_at + HOUR)


def _read(part: str) -> dict[str, Any]:
    content = json.loads(decode_base64url(part))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - as malformed JSON
    return content
