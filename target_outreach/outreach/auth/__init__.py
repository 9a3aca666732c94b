"""Where the access token comes from.

One small interface, `Credentials`, so that the client knows nothing of OAuth: it asks for a token
before each request and says when one was refused. `BearerToken` knows just one answer;
`renewal.RenewedToken` gets new tokens.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from requests.auth import AuthBase

if TYPE_CHECKING:
    from requests import PreparedRequest


class Successor(enum.Enum):
    """What there is after a token that Outreach refused."""

    NONE = enum.auto()

    #: A token that another thread or process has got; it may be dead, too.
    SHARED = enum.auto()

    #: A token that was issued because of this refusal.
    ISSUED = enum.auto()


class Credentials(Protocol):
    """Gives access tokens, from any number of threads.

    Attributes:
        advice: What to do about a token that Outreach refuses for good; the end of a sentence.
    """

    advice: str

    def token(self) -> str | None:
        """Return a valid access token, or None where none is needed.

        Raises:
            RunError: None is available.
        """

    def refused(self, token: str | None) -> Successor:
        """Hear that Outreach refused a token, and say whether there is a newer one.

        Raises:
            RunError: There should be one, and it could not be obtained.
        """


class BearerToken:
    """A token that the user gave: used as it is, never refreshed."""

    advice = "it has expired or was revoked; set a new access_token."

    def __init__(self, token: str) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "BearerToken(…)"

    def token(self) -> str:
        """Return the token that was given."""
        return self._token

    def refused(self, token: str | None) -> Successor:
        """Say that there is no other."""
        del token
        return Successor.NONE


class Authorization(AuthBase):
    """Puts the token on a request; an `AuthBase`, so that no ``.netrc`` takes its place."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Set the header, unless no token is needed."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request
