"""OAuth's authorization in the browser: the address to open, and the answer that comes back.

Outreach sends the browser to the app's redirect URI with a code, or with the reason why there is
none (API reference 7). If that URI is on this machine, `listener` waits there.

Each request has a code challenge (PKCE, RFC 7636): a server that knows PKCE gives tokens for the
code only to whoever has the verifier, so that a code of another login is worth nothing here.
Outreach's documentation says nothing of it. A server that does not know it has to ignore these
parameters (RFC 6749, 3.1 and 3.2), and then the `state` alone protects the login.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from target_outreach.errors import CredentialsError
from target_outreach.outreach.transport import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What to do about a refusal; without an entry, its name alone has to do (RFC 6749, 4.1.2.1). One
#: scope that the app lacks, or an app that is not published, fails the whole request (API reference
#: 7).
ADVICE = {
    "invalid_scope": (
        "give the app all of these scopes in Outreach: {scopes}. A single one that is not ticked "
        "there is enough for this, and so are production credentials of an app that is not "
        "published yet. Then log in again."
    ),
    "unauthorized_client": (
        "publish the app in Outreach, or use its development credentials, and log in again."
    ),
    "server_error": "try again later.",
    "temporarily_unavailable": "try again later.",
}

#: A page that leads to another one, by itself or by its link.
REDIRECT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>Log in to Outreach</title>
</head>
<body><p><a href="{address}">Go on to Outreach</a></p></body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Authorization:
    """One request for an authorization.

    Attributes:
        authorize_url: The address of Outreach's consent page, without its query.
        client_id: The app's id.
        redirect_uri: Where Outreach sends the browser afterwards.
        scopes: The requested scopes.
        state: A secret that must come back, so that nobody can slip us a code of theirs.
        verifier: A secret that is sent with the code, and whose hash is sent here (RFC 7636).
    """

    authorize_url: str
    client_id: str
    redirect_uri: str
    scopes: Sequence[str]
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)

    @property
    def url(self) -> str:
        """The address to open in the browser."""
        query = {
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "response_type": "code",
            "scope": " ".join(self.scopes),
            "state": self.state,
            "code_challenge": _challenge(self.verifier),
            "code_challenge_method": "S256",
        }
        return f"{self.authorize_url}?{urlencode(query, quote_via=quote)}"

    @property
    def page(self) -> str:
        """A page of HTML that leads to the address.

        A browser is told on its command line what to open, which all users of a machine can read.
        Given the path of this page, it does not show them the state there.
        """
        return REDIRECT.format(address=html.escape(self.url))

    @property
    def is_local(self) -> bool:
        """Whether the browser comes back to this machine, where we can listen."""
        return urlsplit(self.redirect_uri).hostname in LOOPBACK

    @property
    def is_https(self) -> bool:
        """Whether the browser comes back over https."""
        return urlsplit(self.redirect_uri).scheme == "https"

    def is_answered_by(self, redirected_to: str) -> bool:
        """Say whether an address that a browser was sent to contains the state of this request."""
        state = _query(redirected_to).get("state", "")
        return hmac.compare_digest(state.encode(errors="replace"), self.state.encode())

    def code(self, redirected_to: str) -> str:
        """Take the code from the address that the browser was sent to, or from its path and query.

        Raises:
            CredentialsError: There is no code, or it is not for this request.
        """
        query = _query(redirected_to)
        if not query:
            raise CredentialsError(
                "That is not the address that the browser ended at, which has a code and a state "
                "in it; log in again, and copy the whole of it."
            )
        if not self.is_answered_by(redirected_to):
            raise CredentialsError(
                "That address is not of this login (its state is another one), so it was not "
                "used; log in again."
            )
        if query.get("error") == "access_denied":
            raise CredentialsError(
                "The authorization was denied in the browser; nothing is kept. To try again, run "
                "`target-outreach login`."
            )
        if "error" in query or "code" not in query:
            raise CredentialsError(self._refusal(query.get("error", "")))
        return query["code"]

    def _refusal(self, error: str) -> str:
        reason = error if error.isascii() and error.isidentifier() else "no code"
        advice = ADVICE.get(reason, "check the app's settings in Outreach, and log in again.")
        return f"Outreach gave no authorization ({reason}): " + advice.format(
            scopes=" ".join(self.scopes)
        )


def _challenge(verifier: str) -> str:
    """Return the code challenge of a verifier by the method S256 (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _query(address: str) -> dict[str, str]:
    """Read the query of an address; of what is there twice, the first counts."""
    try:
        query = parse_qs(urlsplit(address.strip()).query)
    except ValueError:
        return {}
    return {name: values[0] for name, values in query.items()}
