"""``target-outreach login``: get the first tokens of an OAuth app in the browser."""

from __future__ import annotations

import dataclasses
import sys
import threading
import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from target_outreach.commands import config_option, explained, open_settings
from target_outreach.connection import oauth_chain, open_token_endpoint, organisation_of
from target_outreach.errors import CredentialsError, ExitCode, GrantRefused, SettingsError
from target_outreach.outreach.authorization import Authorization
from target_outreach.outreach.deferral import Deferral
from target_outreach.outreach.listener import Listener, Page
from target_outreach.outreach.pacing import Pacer
from target_outreach.scopes import missing_scopes, needed_scopes
from target_outreach.settings.access import SERVER, Bearer, LocalOutreach, OAuthApp

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.credentials_file import Chain
    from target_outreach.outreach.token_endpoint import TokenEndpoint
    from target_outreach.outreach.tokens import Tokens
    from target_outreach.settings import Settings

#: Seconds for which the browser is waited for, and that a code may be worth trading.
PATIENCE = 600.0


@click.command()
@config_option
@click.option(
    "--no-browser",
    is_flag=True,
    help="Print the address to open anywhere, and take the address that Outreach leads to.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Let this login take the place of one to another organisation.",
)
@click.option(
    "--scope",
    "more_scopes",
    multiple=True,
    help="Ask for this scope too, such as users.read; can be given more than once.",
)
@click.pass_context
@explained
def login(
    context: click.Context,
    configs: tuple[str, ...],
    *,
    no_browser: bool,
    replace: bool,
    more_scopes: tuple[str, ...],
) -> int:
    """Let Outreach authorise your OAuth app in the browser, and keep the tokens.

    The app's client_id, client_secret and redirect_uri are configured; the scopes asked for are
    those that the configured sync needs, as far as the configuration tells, and those of --scope:
    what a column such as owner_email links to is not known before it comes.

    Example: target-outreach login --config config.json
    """
    settings = open_settings(context, configs)
    app = _app(settings)
    authorization = Authorization(
        f"{settings.oauth_url.rstrip('/')}/authorize",
        app.client_id,
        app.redirect_uri or "",
        tuple(dict.fromkeys((*needed_scopes(settings), *more_scopes))),
    )
    chain = oauth_chain(settings, app)
    with chain.locked():
        chain.check()  # before the user is asked for anything
    pacer = Pacer(max_wait=PATIENCE)
    deferral = Deferral(pacer)
    with open_token_endpoint(settings, app, deferral) as endpoint:
        attempt = Login(
            authorization,
            endpoint,
            chain,
            deferral,
            organisation=lambda tokens: organisation_of(settings, tokens, pacer),
            may_replace=replace,
        )
        tokens = attempt.by_paste() if no_browser else attempt.in_browser()
    click.echo(f"Logged in. The tokens are kept in {chain.path}; runs renew them from now on.")
    if app.refresh_token is not None:
        click.echo("Leave refresh_token configured as it is: the new tokens are found by it.")
    for scope in missing_scopes(tokens.scopes or authorization.scopes, authorization.scopes):
        click.echo(
            f"But Outreach did not grant the scope {scope}, which the configured sync needs: give "
            "it to the app in Outreach, and log in again."
        )
    return ExitCode.DONE


def _app(settings: Settings) -> OAuthApp:
    app = settings.access
    if isinstance(app, LocalOutreach):
        raise SettingsError(
            "login is for an OAuth app, and sandbox is set, which wants no credentials: leave it "
            "out, or log in to what `target-outreach sandbox` serves."
        )
    if not isinstance(app, OAuthApp):
        others = "access_token" if isinstance(app, Bearer) else ", ".join(SERVER)
        raise SettingsError(
            "login is for an OAuth app: set client_id, client_secret and redirect_uri instead of "
            f"{others}."
        )
    if app.redirect_uri is None:
        raise SettingsError("login needs redirect_uri, one of those that the app has in Outreach.")
    if not _is_address(app.redirect_uri):
        raise SettingsError(
            "redirect_uri must be a whole address such as http://localhost:8765/callback, letter "
            "for letter one of those that the app has in Outreach."
        )
    return app


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # also where the port is no number that there can be
        return False


@dataclass(frozen=True, slots=True)
class Login:
    """One login.

    Attributes:
        authorization: What is asked for.
        endpoint: Trades the code for tokens.
        chain: Keeps them.
        deferral: Lets signals wait until they are kept.
        organisation: Finds out whose they are, if that is to be had.
        may_replace: Whether they may take the place of another organisation's.
    """

    authorization: Authorization
    endpoint: TokenEndpoint
    chain: Chain
    deferral: Deferral
    organisation: Callable[[Tokens], str | None]
    may_replace: bool

    def by_paste(self) -> Tokens:
        """Have the user open the page anywhere, and paste where it led."""
        click.echo(
            f"Open this address in a browser, on any machine:\n\n  {self.authorization.url}\n"
        )
        click.echo(
            "Once you have authorized the app, the browser ends at an address that begins with\n"
            f"{self.authorization.redirect_uri} (it may show an error there, which does not "
            "matter).\nCopy the whole of it from the address bar, and paste it here:"
        )
        return self._finish(_pasted())

    def in_browser(self) -> Tokens:
        """Open the browser, and wait for it to come back to this machine."""
        if not self.authorization.is_local:
            return self.by_paste()
        got: list[Tokens] = []

        def answer(path: str) -> Page:
            click.echo("The browser is back; getting the tokens.")
            got.append(self._finish(path))
            return Page("Logged in", "target-outreach has its tokens. You can close this page.")

        with Listener(self.authorization.redirect_uri) as listener:
            click.echo(
                "Opening the browser. If none opens, open this address on this machine, or use "
                f"--no-browser:\n\n  {self.authorization.url}\n"
            )
            # A browser for the terminal comes back only when it is left.
            url = self.authorization.url
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
            listener.wait(self.authorization, answer, _mention_stranger, PATIENCE)
        return got[0]

    def _finish(self, redirected_to: str) -> Tokens:
        """Trade the code of the address that the browser was led to, and keep the tokens."""
        tokens = self._exchanged(self.authorization.code(redirected_to))
        tokens = dataclasses.replace(tokens, organisation=self.organisation(tokens))
        with self.deferral, self.chain.locked(self.deferral.rest):
            self._refuse_another(self.chain.read(), tokens)
            self.chain.write(tokens)
        return tokens

    def _refuse_another(self, held: Tokens | None, tokens: Tokens) -> None:
        """Let no login silently change the organisation that runs with this file write to."""
        if held is None or self.may_replace or held.organisation is None:
            return
        if held.organisation != tokens.organisation:
            raise CredentialsError(
                f"{self.chain.path} holds the tokens of another organisation for this app: set "
                "another credentials_path for this one, or log in with --replace."
            )

    def _exchanged(self, code: str) -> Tokens:
        try:
            return self.endpoint.exchange(code)
        except GrantRefused:
            raise CredentialsError(
                "Outreach does not take the code of this login, which is good for one use within "
                "minutes: log in again."
            ) from None


def _pasted() -> str:
    """Read the first line of standard input that is not blank."""
    for line in () if sys.stdin is None else sys.stdin.buffer:
        if text := line.decode(errors="replace").strip():
            return text
    raise CredentialsError("No address was pasted, so there is no login.")


def _mention_stranger() -> None:
    click.echo("An answer to another login came, and was not used; still waiting for this one's.")
