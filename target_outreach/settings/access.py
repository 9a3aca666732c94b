"""The credentials in the settings: exactly one kind, with all of its settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from target_outreach.records.rules import CREDENTIALS, setting


@dataclass(frozen=True, slots=True)
class LocalOutreach:
    """The sandbox: a file that holds a local Outreach, which needs no credentials."""

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
    f"login` (redirect_uri is {LOGIN_REDIRECT_URI} by default) or also set refresh_token, "
    "or s2s_guid, s2s_private_key and s2s_install_id; or set sandbox to try it without an account."
)

#: What follows the client id and secret where no refresh token is set.
FIRST_TOKENS = "run `target-outreach login`, or set a refresh_token"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The settings that hold credentials, and say where tokens are kept."""

    access_token: str | None = setting(
        CREDENTIALS,
        "Access token",
        "A bearer token for Outreach's API; it is used as it is and never renewed.",
        is_secret=True,
    )
    client_id: str | None = setting(
        CREDENTIALS, "Client id", "The id of your OAuth app in Outreach."
    )
    client_secret: str | None = setting(
        CREDENTIALS, "Client secret", "The secret of your OAuth app.", is_secret=True
    )
    refresh_token: str | None = setting(
        CREDENTIALS,
        "Refresh token",
        "The first refresh token; newer ones are kept at credentials_path. It is not needed after "
        "`target-outreach login`.",
        is_secret=True,
    )
    redirect_uri: str | None = setting(
        CREDENTIALS,
        "Redirect URI",
        "The redirect URI of your OAuth app in Outreach, which accepts only https; by default "
        f"{LOGIN_REDIRECT_URI}. If it is on this machine, `target-outreach login` waits "
        "there for the browser.",
    )
    s2s_guid: str | None = setting(
        CREDENTIALS, "S2S GUID", "The GUID of your server-to-server app."
    )
    s2s_private_key: str | None = setting(
        CREDENTIALS,
        "S2S private key",
        "The RSA private key of your server-to-server app in PEM: as text, also with \\n for "
        "line ends, or the path of a file.",
        is_secret=True,
    )
    s2s_install_id: str | None = setting(
        CREDENTIALS,
        "S2S installation id",
        "The id of the installation of your server-to-server app in your organisation.",
    )
    credentials_path: str | None = setting(
        CREDENTIALS,
        "Credentials file",
        "File or fsspec URL where the newest tokens are kept between runs, readable by its "
        "owner only; by default it is in the user's state folder.",
    )
    sandbox: str | None = setting(
        CREDENTIALS,
        "Sandbox file",
        "Path of a file for a local Outreach, which is created if it does not exist; it needs no "
        "account, and no credentials are sent.",
    )

    @property
    def access(self) -> Access:
        """The credentials, which `access_problems` has checked."""
        if self.sandbox:
            return LocalOutreach(self.sandbox)
        given = self._given()
        if "access_token" in given:
            return Bearer(given["access_token"])
        if "client_id" in given:
            return OAuthApp(
                given["client_id"],
                given["client_secret"],
                given.get("refresh_token"),
                given.get("redirect_uri"),
            )
        return ServerApp(*(given[name] for name in SERVER))

    def access_problems(self) -> list[str]:
        """Say what is missing, or which kinds of credentials are mixed."""
        given = self._given()
        kinds = [[name for name in kind if name in given] for kind in (BEARER, OAUTH, SERVER)]
        return [] if self.sandbox else _problems([kind for kind in kinds if kind])

    def _given(self) -> dict[str, str]:
        """Return the settings that are set; a blank one counts as unset."""
        texts = {name: (getattr(self, name) or "").strip() for name in (*BEARER, *OAUTH, *SERVER)}
        return {name: text for name, text in texts.items() if text}


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
        f"The credentials are incomplete: with {', '.join(kind)}, set {_listed(missing)}{then}."
    ]


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
