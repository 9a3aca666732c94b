"""The page on which a user lets an app in, or does not (API reference 7)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from target_outreach.sandbox.issued import Grant
from target_outreach.sandbox.messages import Answer
from target_outreach.sandbox.oauth import join_scopes, known_apps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.sandbox.apps import App
    from target_outreach.sandbox.issued import IssuedTokens
    from target_outreach.sandbox.messages import Request
    from target_outreach.sandbox.profile import Profile

CODE_SECONDS = 600

# Neither `@` nor `\`: browsers and servers do not agree where the host ends then.
_LOOPBACK = re.compile(
    r"http(?P<tls>s?)://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?(?:[/?][!$-?A-\[\]-~]*)?"
)
# What the method S256 of RFC 7636 makes of a verifier.
_CHALLENGE = re.compile(r"[\w-]{43}", re.ASCII)

# What the page hands on to the decision.
_PARAMETERS = (
    *("client_id", "redirect_uri", "response_type", "scope", "state"),
    *("code_challenge", "code_challenge_method"),
)
_HEADERS = (
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
)
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 32rem; margin: 8vh auto; padding: 0 1rem }
h1 { line-height: 1.2 }
h1, p, code { overflow-wrap: anywhere }
form { display: flex; flex-wrap: wrap; gap: .5rem }
.who { border: 1px solid; border-radius: .5rem; padding: .75rem 1rem }
button { font: inherit; padding: .5rem 1.5rem; border: 1px solid; border-radius: .375rem;
  background: none; color: inherit; cursor: pointer }
.primary { background: #4a2fc4; border-color: #4a2fc4; color: #fff; font-weight: 600 }
:focus-visible { outline: 3px solid #7a63e0; outline-offset: 2px }
"""

# What a scope lets an app do, by the part behind the point.
_RIGHTS = {
    "all": "read, create, change and delete",
    "read": "read",
    "write": "create and change",
    "delete": "delete",
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an app asks a user for."""

    app: App
    scope: str
    redirect_uri: str
    state: str | None
    challenge: str


class _WrongWishError(Exception):
    """A request that must not be answered by a redirect, for nobody knows whom it would reach."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.answer = _page(status, "This request cannot be granted", f"<p>{escape(sentence)}</p>")


def answer_authorize(
    request: Request, profile: Profile, issued: IssuedTokens, user: Mapping[str, object]
) -> Answer:
    """Ask the user on a GET; on a POST of the page's form send the answer to the app.

    Args:
        request: The request.
        profile: How the sandbox behaves.
        issued: Where codes are kept.
        user: The attributes of the user who is asked.
    """
    is_decision = request.method == "POST"
    text = request.body.decode("utf-8", "replace") if is_decision else request.query
    parameters = dict(parse_qsl(text, keep_blank_values=True))
    try:
        wish = _read_wish(parameters, profile)
        if is_decision:
            return _redirect(wish, _decide(wish, parameters.get("decision"), issued))
    except _WrongWishError as error:
        return error.answer
    who = f"{user.get('name') or 'A user'} ({user.get('email')})"
    return _ask(wish, parameters, f"{who} in the organisation {profile.organisation_name}")


def _read_wish(parameters: Mapping[str, str], profile: Profile) -> _Wish:
    app = known_apps(profile).get(parameters.get("client_id", ""))
    if app is None:
        raise _WrongWishError("No app has this client_id.", 401)
    redirect_uri = parameters.get("redirect_uri", "")
    if not _is_registered(redirect_uri, app, profile):
        known = " or ".join(app.redirect_uris) or "an https address of this machine"
        raise _WrongWishError(
            f"The redirect_uri is not one that is registered for the app, which is {known}."
        )
    if parameters.get("response_type") != "code":
        raise _WrongWishError("The response_type must be code.")
    scopes = parameters.get("scope", "").split()
    if not scopes or (app.scopes is not None and not set(scopes) <= set(app.scopes)):
        raise _WrongWishError("The requested scope is invalid, unknown, or malformed.")
    challenge = parameters.get("code_challenge", "")
    if challenge and not (
        parameters.get("code_challenge_method") == "S256" and _CHALLENGE.fullmatch(challenge)
    ):
        raise _WrongWishError("The code_challenge must be one of the method S256.")
    return _Wish(app, join_scopes(scopes), redirect_uri, parameters.get("state"), challenge)


def _is_registered(redirect_uri: str, app: App, profile: Profile) -> bool:
    if app.redirect_uris:
        return redirect_uri in app.redirect_uris
    local = _LOOPBACK.fullmatch(redirect_uri)
    return local is not None and (bool(local["tls"]) or profile.http_redirects)


def _decide(wish: _Wish, decision: str | None, issued: IssuedTokens) -> dict[str, str]:
    if decision == "deny":
        return {"error": "access_denied"}
    if decision != "authorize":
        raise _WrongWishError("The decision must be authorize or deny.")
    code = secrets.token_urlsafe(32)
    grant = Grant(wish.app.client_id, wish.scope, wish.redirect_uri, wish.challenge)
    issued.add(code, "code", grant, CODE_SECONDS)
    return {"code": code}


def _redirect(wish: _Wish, result: dict[str, str]) -> Answer:
    if wish.state is not None:
        result["state"] = wish.state
    glue = "&" if "?" in wish.redirect_uri else "?"
    location = wish.redirect_uri + glue + urlencode(result)
    headers = (("Location", location), ("Cache-Control", "no-store"))
    return Answer(302, headers=headers, media_type="text/html; charset=utf-8")


def _ask(wish: _Wish, parameters: Mapping[str, str], who: str) -> Answer:
    hidden = "\n".join(
        f'<input type="hidden" name="{name}" value="{escape(parameters[name])}">'
        for name in _PARAMETERS
        if name in parameters
    )
    scopes = "\n".join(
        f"<li>{escape(_in_words(scope))} <code>{escape(scope)}</code></li>"
        for scope in wish.scope.split()
    )
    content = f"""<p class="who">You are {escape(who)}.
This is a sandbox: nothing reaches Outreach.</p>
<p>{escape(wish.app.name)} will be able to do this as you:</p>
<ul>
{scopes}
</ul>
<p>You will be sent to <code>{escape(wish.redirect_uri)}</code>.</p>
<form method="post" action="/oauth/authorize">
{hidden}
<button class="primary" name="decision" value="authorize">Authorize</button>
<button name="decision" value="deny">Deny</button>
</form>"""
    return _page(200, f"{wish.app.name} asks for access", content)


def _in_words(scope: str) -> str:
    """Say what a scope lets an app do, such as ``Prospects: read``."""
    name, _, right = scope.partition(".")
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return f"{spaced.capitalize()}: {_RIGHTS.get(right, right)}"


def _page(status: int, title: str, content: str) -> Answer:
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{content}
</main>
</body>
</html>
"""
    return Answer(status, page.encode(), _HEADERS, "text/html; charset=utf-8")
