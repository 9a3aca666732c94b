"""Which credentials the settings hold: exactly one kind of them, and that one whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class LocalOutreach:
    """The sandbox: a file that holds a local Outreach, which wants no credentials."""

    path: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token that is used as it is."""

    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """An OAuth app; without a refresh token, a login has left one in the credentials file."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    redirect_uri: str | None


@dataclass(frozen=True, slots=True)
class ServerApp:
    """A server-to-server app; the key is PEM, or the path of a file that holds it."""

    guid: str
    private_key: str = field(repr=False)
    install_id: str


Access = LocalOutreach | Bearer | OAuthApp | ServerApp

#: The settings of each kind; the first that are named must be there.
BEARER = ("access_token",)
OAUTH = ("client_id", "client_secret", "refresh_token", "redirect_uri")
OAUTH_NEEDS = ("client_id", "client_secret")
SERVER = ("s2s_guid", "s2s_private_key", "s2s_install_id")
ACCESS = ("sandbox", *BEARER, *OAUTH, *SERVER)

#: Where a login waits if `redirect_uri` is not set.
LOGIN_REDIRECT_URI = "https://localhost:8766/callback"

NONE = (
    "No credentials: set access_token, or client_id and client_secret and run `target-outreach "
    f"login` (redirect_uri is {LOGIN_REDIRECT_URI} by default) or set refresh_token beside them, "
    "or s2s_guid, s2s_private_key and s2s_install_id; or set sandbox to try it without an account."
)

#: What follows the client id and secret where no refresh token is set.
FIRST_TOKENS = "run `target-outreach login`, or set a refresh_token"


def read_access(values: Mapping[str, Any]) -> tuple[Access | None, list[str]]:
    """Find the credentials among the settings.

    Args:
        values: The settings; a blank one counts as unset.

    Returns:
        The credentials, or None where a problem keeps them from being whole, and the problems.
    """
    if values["sandbox"]:
        return LocalOutreach(values["sandbox"]), []
    given = {
        name: text for name in (*BEARER, *OAUTH, *SERVER) if (text := (values[name] or "").strip())
    }
    kinds = [[name for name in kind if name in given] for kind in (BEARER, OAUTH, SERVER)]
    if problems := _problems([kind for kind in kinds if kind]):
        return None, problems
    if "access_token" in given:
        return Bearer(given["access_token"]), []
    if "client_id" in given:
        return OAuthApp(
            given["client_id"],
            given["client_secret"],
            given.get("refresh_token"),
            given.get("redirect_uri"),
        ), []
    return ServerApp(*(given[name] for name in SERVER)), []


def _problems(kinds: list[list[str]]) -> list[str]:
    """Say what is wrong with the kinds of credentials that are there, by their settings."""
    if not kinds:
        return [NONE]
    if len(kinds) > 1:
        found = "; ".join(", ".join(kind) for kind in kinds)
        return [f"Credentials of {len(kinds)} kinds are set ({found}): keep those of one kind."]
    (kind,) = kinds
    needed = SERVER if kind[0] in SERVER else OAUTH_NEEDS if kind[0] in OAUTH else BEARER
    missing = [name for name in needed if name not in kind]
    if not missing:
        return []
    then = ""
    if kind[0] in OAUTH and not {"refresh_token", "redirect_uri"} & set(kind):
        then = f"; then {FIRST_TOKENS}"
    return [
        f"The credentials are not whole: beside {', '.join(kind)}, set {_listed(missing)}{then}."
    ]


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
