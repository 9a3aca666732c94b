"""``target-outreach login``: get the first tokens of an OAuth app in the browser."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, explained, open_settings
from target_outreach.connection import oauth_chain, open_token_endpoint
from target_outreach.errors import ExitCode, SettingsError
from target_outreach.outreach.authorization import Authorization, Listener
from target_outreach.outreach.pacing import Pacer
from target_outreach.scopes import missing_scopes, needed_scopes
from target_outreach.settings.access import OAuthApp

if TYPE_CHECKING:
    from target_outreach.outreach.credentials_file import Chain
    from target_outreach.outreach.token_endpoint import TokenEndpoint
    from target_outreach.outreach.tokens import Tokens
    from target_outreach.settings import Settings

#: Seconds for which the browser is waited for.
PATIENCE = 600.0


@click.command()
@config_option
@click.option(
    "--no-browser",
    is_flag=True,
    help="Print the address to open anywhere, and take the address that Outreach leads to.",
)
@click.pass_context
@explained
def login(context: click.Context, configs: tuple[str, ...], *, no_browser: bool) -> int:
    """Let Outreach authorise your OAuth app in the browser, and keep the tokens.

    The app's client_id, client_secret and redirect_uri are configured; the scopes asked for are
    those that the configured sync needs.

    Example: target-outreach login --config config.json
    """
    settings = open_settings(context, configs)
    app = _app(settings)
    authorization = Authorization(
        f"{settings.oauth_url.rstrip('/')}/authorize",
        app.client_id,
        app.redirect_uri or "",
        needed_scopes(settings),
    )
    chain = oauth_chain(settings, app)
    with chain.locked():
        chain.check()  # before the user is asked for anything
    with open_token_endpoint(settings, app, Pacer()) as endpoint:
        attempt = Login(authorization, endpoint, chain)
        tokens = attempt.by_paste() if no_browser else attempt.in_browser()
    click.echo(f"Logged in. The tokens are kept in {chain.path}; runs renew them from now on.")
    for scope in missing_scopes(tokens.scopes or authorization.scopes, authorization.scopes):
        click.echo(f"Outreach did not grant the scope {scope}, which the configured sync needs.")
    return ExitCode.DONE


def _app(settings: Settings) -> OAuthApp:
    app = settings.access
    if not isinstance(app, OAuthApp):
        raise SettingsError(
            "login is for an OAuth app: set client_id, client_secret and redirect_uri, and no "
            "other credentials."
        )
    if app.redirect_uri is None:
        raise SettingsError("login needs redirect_uri, one of those that the app has in Outreach.")
    return app


@dataclass(frozen=True, slots=True)
class Login:
    """One login.

    Attributes:
        authorization: What is asked for.
        endpoint: Trades the code for tokens.
        chain: Keeps them.
    """

    authorization: Authorization
    endpoint: TokenEndpoint
    chain: Chain

    def by_paste(self) -> Tokens:
        """Have the user open the page anywhere, and paste where it led."""
        click.echo(f"Open this address in a browser:\n\n  {self.authorization.url}\n")
        return self._finish(click.prompt("Then paste the whole address that the browser ends at"))

    def in_browser(self) -> Tokens:
        """Open the browser, and wait for it to come back to this machine."""
        if not self.authorization.is_local:
            click.echo("redirect_uri is not a plain http address of this machine.")
            return self.by_paste()
        got: list[Tokens] = []

        def answer(path: str) -> tuple[str, str]:
            got.append(self._finish(path))
            return "Logged in", "target-outreach has its tokens. You can close this page."

        with Listener(self.authorization.redirect_uri) as listener:
            click.echo(
                "Opening the browser. If none opens, open this address on this machine, or use "
                f"--no-browser:\n\n  {self.authorization.url}\n"
            )
            webbrowser.open(self.authorization.url)
            listener.wait(answer, PATIENCE)
        return got[0]

    def _finish(self, redirected_to: str) -> Tokens:
        """Trade the code of the address that the browser was led to, and keep the tokens."""
        tokens = self.endpoint.exchange(self.authorization.code(redirected_to))
        with self.chain.locked():
            self.chain.write(tokens)
        return tokens
