"""Who gets in: the paths that issue tokens, and what each request may do with its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from target_outreach.sandbox.consent import answer_authorize
from target_outreach.sandbox.discovery import USER_ID
from target_outreach.sandbox.issued import Grant, IssuedTokens
from target_outreach.sandbox.messages import page_answer
from target_outreach.sandbox.oauth import TokenEndpoint, everything, join_scopes, known_apps
from target_outreach.sandbox.s2s import S2SEndpoint
from target_outreach.sandbox.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from target_outreach.sandbox.database import Database
    from target_outreach.sandbox.messages import Answer, Request, TokenRequest
    from target_outreach.sandbox.profile import Profile
    from target_outreach.sandbox.tokens import Permit

_INSTALLATION = re.compile(r"/api/app/installs/([^/]+)/actions/accessToken")


class Access:
    """OAuth, server to server, and the bearer tokens of both.

    Args:
        database: The file of the sandbox.
        clock: Returns epoch seconds.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._issued = IssuedTokens(database, clock)
        self._tokens = Tokens(self._issued, clock, database.organisation())
        self._oauth = TokenEndpoint(self._tokens, self._issued, clock)
        self._s2s = S2SEndpoint(self._tokens, self._issued, clock)

    def answer(self, request: Request, profile: Profile) -> Answer | None:
        """Answer what has to do with getting tokens; None where it is a matter of the API.

        Nothing of it counts against the rate limit of the API, whose headers it does not have (5).
        """
        installation = _INSTALLATION.fullmatch(request.path)
        match request.method, request.path:
            case "POST", _ if installation is not None:
                return self._s2s.answer(installation[1], request, profile)
            case "GET" | "HEAD" | "POST", "/oauth/authorize":
                user = self._database.find("users", USER_ID)
                attributes = {} if user is None else user.attributes
                return answer_authorize(request, profile, self._issued, attributes)
            case "POST", "/oauth/token":
                return self._oauth.answer(request, profile)
        return page_answer(404, "Not Found") if request.path.startswith("/oauth/") else None

    def permit(self, request: Request, profile: Profile) -> Permit | None:
        """Return what the request may do; None where it carries no token that is good."""
        return self._tokens.permit(request, profile)

    def revoke(self, token: str) -> None:
        """Refuse this access or refresh token from now on."""
        self._issued.kill(token)

    def revoke_all(self) -> None:
        """Refuse every access token but those that are issued from now on."""
        self._issued.kill_all_access()

    def issue_refresh_token(
        self, scopes: Iterable[str] | None, client_id: str | None, profile: Profile
    ) -> str:
        """Issue a refresh token; None stands for all scopes, and for the first app."""
        scope = everything() if scopes is None else join_scopes(scopes)
        grant = Grant(client_id or next(iter(known_apps(profile))), scope)
        return self._oauth.issue_refresh_token(grant, profile)

    def count_refresh_tokens(self) -> int:
        """Return how many refresh tokens are good."""
        return self._issued.count_refresh_tokens()

    def token_requests(self) -> list[TokenRequest]:
        """Return the requests for access tokens, the oldest first."""
        return self._issued.requests()
