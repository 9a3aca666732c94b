"""The connection to one Outreach organisation that the settings describe.

Whatever talks to Outreach, a run or a command, does it through a `Connection`: the sandbox if
there is one, credentials of the kind that is configured, and a client that uses them.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from target_outreach.errors import CredentialsError, Interrupted, RunError, SettingsError
from target_outreach.instance_id import locate
from target_outreach.outreach.auth import BearerToken
from target_outreach.outreach.auth.signal_guard import SignalGuard
from target_outreach.outreach.client import Client
from target_outreach.outreach.organisation import Identity, ask_identity
from target_outreach.outreach.transport import LOOPBACK, Transport
from target_outreach.settings.access import Bearer, LocalOutreach, OAuthApp, ServerApp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_outreach.delivery.place import Place
    from target_outreach.outreach.auth import Credentials
    from target_outreach.outreach.auth.credentials_file import Chain
    from target_outreach.outreach.auth.installation import Installation
    from target_outreach.outreach.auth.token_endpoint import RefreshGrant, TokenEndpoint
    from target_outreach.outreach.auth.tokens import Tokens
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.settings import Settings

NAME = "target-outreach"

logger = logging.getLogger(NAME)


class Connection:
    """Opens what the settings describe, and closes it as a context manager.

    Attributes:
        api_url: The base address of the API, the sandbox's if there is one.
        credentials: Where access tokens come from.
        client: Sends requests.
        sandbox_is_new: Whether the file of the setting `sandbox` was not there yet.
    """

    def __init__(self, settings: Settings, pacer: Pacer) -> None:
        """Open it; no request is sent yet.

        Raises:
            SettingsError: The credentials cannot be used as they are configured.
            CredentialsError: There is no refresh token yet, or the file of tokens is unusable.
        """
        self._settings = settings
        with ExitStack() as opened:
            self.api_url = settings.api_url
            self.sandbox_is_new = False
            self.credentials: Credentials
            match settings.access:
                case LocalOutreach(path):
                    self.sandbox_is_new = path != ":memory:" and not Path(path).exists()
                    self.api_url, self.credentials = _open_sandbox(path, opened)
                case Bearer(access_token):
                    self.credentials = BearerToken(access_token)
                case OAuthApp() as app:
                    self.credentials = self._oauth(app, SignalGuard(pacer), opened)
                case ServerApp() as app:
                    self.credentials = self._server(app, SignalGuard(pacer), opened)
            self.client = Client(
                self.api_url,
                self.credentials,
                pacer,
                user_agent=user_agent(settings),
                parallel=settings.max_parallel_requests,
                timeout=settings.request_timeout_seconds,
            )
            opened.callback(self.client.close)
            self._resources = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._resources.close()

    @property
    def tokens(self) -> Tokens | None:
        """The tokens in use, where they renew themselves and one has been needed."""
        return getattr(self.credentials, "tokens", None)

    @cached_property
    def identity(self) -> Identity:
        """Whose token it is, as far as Outreach says it; the first look costs a request.

        Raises:
            RunError: As for any request, except where Outreach only refuses to tell.
        """
        return ask_identity(self.client)

    def scopes(self, *, ask: bool) -> tuple[str, ...] | None:
        """Return what the token may do, or None where that is not known.

        Outreach may be asked (API reference 1) where no earlier answer says it.

        Raises:
            RunError: As for any request, except where Outreach only refuses to tell.
        """
        access = self._settings.access
        if isinstance(access, LocalOutreach):
            return None
        kept = self._kept(access) if isinstance(access, OAuthApp) else None
        if kept is not None and kept.scopes is not None:
            return kept.scopes
        return self.identity.scopes if ask or "identity" in vars(self) else None

    @cached_property
    def place(self) -> Place:
        """Which organisation this connects to, from `identity`.

        Where Outreach says neither the organisation nor the user, the credentials stand for them,
        so that two organisations are never taken for one.

        Raises:
            RunError: As for any request, except where Outreach only refuses to tell.
        """
        return locate(self._settings, self.identity.keys, self._who())

    def place_of_rejects(self) -> Place:
        """Return where rejects belong: to the credentials, where nothing else can be found out."""
        if not isinstance(self._settings.access, LocalOutreach):
            with suppress(RunError):
                return self.place
        return locate(self._settings, (), self._who())

    def _who(self) -> str:
        """Return what stands for the credentials, and for no other organisation's."""
        access = self._settings.access
        if isinstance(access, OAuthApp):
            secret = f"{access.client_id} {self._origin(access)}"
        elif isinstance(access, ServerApp):
            secret = f"{access.guid} {access.install_id}"
        else:
            secret = access.access_token if isinstance(access, Bearer) else ""
        return hashlib.sha256(secret.encode()).hexdigest()

    def _origin(self, app: OAuthApp) -> str:
        """Return what the tokens of an app come from: its login, or the configured token."""
        tokens = self._kept(app)
        if tokens is not None and tokens.login is not None:
            return f"login {tokens.login}"
        return app.refresh_token or f"login in {oauth_chain(self._settings, app).path}"

    def _kept(self, app: OAuthApp) -> Tokens | None:
        """Return the newest tokens of an app, without asking for others."""
        try:
            return self.tokens or oauth_chain(self._settings, app).read()
        except CredentialsError:  # which whoever needs a token will be told
            return None

    def _oauth(self, app: OAuthApp, guard: SignalGuard, opened: ExitStack) -> Credentials:
        from target_outreach.outreach.auth.token_endpoint import LOGIN, RefreshGrant  # noqa: PLC0415

        chain = oauth_chain(self._settings, app)
        if app.refresh_token is None and chain.read() is None:
            if chain.has_others:
                raise CredentialsError(
                    f"{chain.path} holds tokens of another app or address, but none for this "
                    f"client_id at {self._settings.oauth_url}: correct these settings, or {LOGIN}."
                )
            raise CredentialsError(f"There is no refresh_token yet in {chain.path}: {LOGIN}.")
        endpoint = opened.enter_context(open_token_endpoint(self._settings, app, guard))
        return _renewed(RefreshGrant(endpoint, app.refresh_token), chain, guard, opened)

    def _server(self, app: ServerApp, guard: SignalGuard, opened: ExitStack) -> Credentials:
        from target_outreach.outreach.auth.installation import (  # noqa: PLC0415 - few runs need it
            Installation,
            read_private_key,
        )

        base = self.api_url.rstrip("/").removesuffix("/v2")
        url = f"{base}/app/installs/{app.install_id}/actions/accessToken"
        private_key = read_private_key(app.private_key)
        installation = Installation(
            url,
            opened.enter_context(closing(_transport(self._settings, url))),
            guid=app.guid,
            private_key=private_key,
            guard=guard,
        )
        chain = _chain(self._settings, url, app.guid, private_key)
        return _renewed(installation, chain, guard, opened)


def _renewed(
    minter: RefreshGrant | Installation, chain: Chain, guard: SignalGuard, opened: ExitStack
) -> Credentials:
    from target_outreach.outreach.auth.renewal import RenewedToken  # noqa: PLC0415 - few need it

    return opened.enter_context(closing(RenewedToken(minter, chain, guard=guard)))


def _transport(settings: Settings, url: str) -> Transport:
    """Return a transport for the occasional token."""
    return Transport(
        url,
        user_agent=user_agent(settings),
        setting="oauth_url" if isinstance(settings.access, OAuthApp) else "api_url",
        parallel=1,
        timeout=settings.request_timeout_seconds,
    )


def user_agent(settings: Settings) -> str:
    """Return what the target calls itself to Outreach."""
    return (settings.user_agent or "").strip() or f"{NAME}/{metadata.version(NAME)}"


def oauth_chain(settings: Settings, app: OAuthApp) -> Chain:
    """Return where the tokens of an OAuth app are kept."""
    return _chain(settings, _token_url(settings), app.client_id, app.refresh_token)


def identity_of(settings: Settings, tokens: Tokens, pacer: Pacer) -> Identity:
    """Ask whose tokens these are.

    Returns:
        What Outreach says, which is nothing where it cannot be asked.

    Raises:
        Interrupted: A signal has ended the run meanwhile.
    """
    client = Client(
        settings.api_url,
        BearerToken(tokens.access_token),
        pacer,
        user_agent=user_agent(settings),
        timeout=settings.request_timeout_seconds,
    )
    with closing(client):
        try:
            return ask_identity(client)
        except Interrupted:
            raise
        except RunError:
            return Identity()


@contextmanager
def open_token_endpoint(
    settings: Settings, app: OAuthApp, guard: SignalGuard
) -> Iterator[TokenEndpoint]:
    """Open the endpoint that trades codes and refresh tokens of an OAuth app."""
    from target_outreach.outreach.auth.token_endpoint import TokenEndpoint  # noqa: PLC0415 - few need it

    _mention_elsewhere(settings)
    url = _token_url(settings)
    with closing(_transport(settings, url)) as transport:
        yield TokenEndpoint(
            url,
            transport,
            client_id=app.client_id,
            client_secret=app.client_secret,
            redirect_uri=app.redirect_uri,
            guard=guard,
        )


def _mention_elsewhere(settings: Settings) -> None:
    """Warn where the API is on this machine, as a sandbox is, but tokens come from elsewhere."""
    oauth = urlsplit(settings.oauth_url)
    if urlsplit(settings.api_url).hostname in LOOPBACK and oauth.hostname not in LOOPBACK:
        logger.warning(
            "api_url is on this machine, but tokens are asked for at %s: set oauth_url, too, if "
            "the API is a sandbox's.",
            oauth.hostname,
        )


def _token_url(settings: Settings) -> str:
    return f"{settings.oauth_url.rstrip('/')}/token"


def _chain(settings: Settings, endpoint: str, client: str, configured: str | None) -> Chain:
    from target_outreach.outreach.auth.credentials_file import open_chain  # noqa: PLC0415 - few need it

    return open_chain(settings.credentials_path, endpoint, client, configured)


def _open_sandbox(path: str, opened: ExitStack) -> tuple[str, Credentials]:
    """Serve a sandbox for as long as the connection is open.

    Returns:
        Its address, and a token of this connection only: the port is open to all that runs on this
        machine, web pages included, and nothing else may write there.
    """
    from target_outreach.sandbox import Profile, Sandbox  # noqa: PLC0415 - few runs need it

    token = secrets.token_urlsafe(32)
    try:
        sandbox = opened.enter_context(Sandbox(path, profile=Profile(only_token=token)))
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(
            f"The file of sandbox cannot be used ({error}): {path}. Name a file of its own, in a "
            "folder that exists."
        ) from None
    return sandbox.api_url, BearerToken(token)
