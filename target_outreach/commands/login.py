"""``target-outreach login``: get the first tokens of an OAuth app in the browser."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import threading
import webbrowser
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from target_outreach.commands import config_option, explained, open_settings
from target_outreach.connection import identity_of, oauth_chain, open_token_endpoint
from target_outreach.errors import CredentialsError, ExitCode, GrantRefused, SettingsError
from target_outreach.outreach.auth.authorization import Authorization
from target_outreach.outreach.auth.credentials_file import marked
from target_outreach.outreach.auth.listener import Listener, Page
from target_outreach.outreach.auth.signal_guard import SignalGuard
from target_outreach.outreach.pacing import Pacer
from target_outreach.plain_text import printable, say
from target_outreach.scopes import missing_scopes, needed_scopes
from target_outreach.settings.access import (
    LOGIN_REDIRECT_URI,
    SERVER,
    Bearer,
    LocalOutreach,
    OAuthApp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_outreach.outreach.auth.credentials_file import Chain
    from target_outreach.outreach.auth.token_endpoint import TokenEndpoint
    from target_outreach.outreach.auth.tokens import Tokens
    from target_outreach.outreach.organisation import Identity
    from target_outreach.settings import Settings

#: Seconds for which the browser is waited for, and that a code may be worth trading.
PATIENCE = 600.0

#: Columns that a name may take which Outreach tells.
NAME_COLUMNS = 80

LOGGED_IN = Page("Logged in", "target-outreach has its tokens. You can close this page.")
ASKING = Page(
    "One more step", "Go back to the terminal, which asks whether to keep the tokens of this login."
)


@click.command()
@config_option
@click.option(
    "--no-browser",
    is_flag=True,
    help="For a server: print the address to open on any machine, and take the address at which "
    "the browser ends. Nothing listens, so any redirect_uri will do.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Let this login take the place of one to another organisation.",
)
@click.option(
    "--yes", "is_sure", is_flag=True, help="Keep the tokens without asking whose they should be."
)
@click.option(
    "--scope",
    "more_scopes",
    multiple=True,
    help="Ask for this scope too, such as users.read; can be given more than once.",
)
@click.pass_context
@explained
def login(  # noqa: PLR0913 - an option each
    context: click.Context,
    configs: tuple[str, ...],
    *,
    no_browser: bool,
    replace: bool,
    is_sure: bool,
    more_scopes: tuple[str, ...],
) -> int:
    """Let Outreach authorise your OAuth app in the browser, and keep the tokens.

    The app's client_id and client_secret are configured, and its redirect_uri unless it is
    https://localhost:8766/callback. The scopes asked for are those that the configured sync needs,
    as far as the configuration tells, and those of --scope: what a column such as owner_email links
    to is not known before it comes.

    Before tokens are kept, the user and the organisation are named. On a terminal you are asked
    whether they are right, unless the tokens that are kept already are of the same organisation.

    Example: target-outreach login --config config.json
    """
    settings = open_settings(context, configs)
    app = _app(settings)
    redirect_uri = _redirect_uri(app)
    app = dataclasses.replace(app, redirect_uri=redirect_uri)
    authorization = Authorization(
        f"{settings.oauth_url.rstrip('/')}/authorize",
        app.client_id,
        redirect_uri,
        tuple(dict.fromkeys((*needed_scopes(settings), *more_scopes))),
    )
    chain = oauth_chain(settings, app)
    with chain.locked():
        chain.check()  # before the user has to do anything
    is_at_terminal = all(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)
    )
    pacer = Pacer(max_wait=PATIENCE)
    guard = SignalGuard(pacer)
    with open_token_endpoint(settings, app, guard) as endpoint:
        attempt = Login(
            authorization,
            endpoint,
            chain,
            guard,
            identify=lambda tokens: identity_of(settings, tokens, pacer),
            may_replace=replace,
            may_ask=not is_sure and is_at_terminal,
        )
        tokens = attempt.by_paste() if no_browser else attempt.in_browser()
    say(f"Logged in. The tokens are kept in {chain.path}; runs renew them from now on.")
    say("Next, run `target-outreach check` with the same configuration.")
    if app.refresh_token is not None:
        say("Leave refresh_token configured as it is: the new tokens are found by it.")
    for scope in missing_scopes(tokens.scopes or authorization.scopes, authorization.scopes):
        say(
            f"But Outreach did not grant the scope {scope}, which the configured sync needs: give "
            "it to the app in Outreach, and log in again."
        )
    return ExitCode.DONE


def _app(settings: Settings) -> OAuthApp:
    app = settings.access
    if isinstance(app, LocalOutreach):
        raise SettingsError(
            "login is for an OAuth app, and sandbox is set, which needs no credentials: leave it "
            "out, or log in to what `target-outreach sandbox` serves."
        )
    if not isinstance(app, OAuthApp):
        others = "access_token" if isinstance(app, Bearer) else ", ".join(SERVER)
        raise SettingsError(
            "login is for an OAuth app: set client_id, client_secret and redirect_uri instead of "
            f"{others}."
        )
    return app


def _redirect_uri(app: OAuthApp) -> str:
    redirect_uri = app.redirect_uri or LOGIN_REDIRECT_URI
    if not _is_address(redirect_uri):
        raise SettingsError(
            f"redirect_uri must be a whole address such as {LOGIN_REDIRECT_URI}, letter for letter "
            "one of those that the app has in Outreach."
        )
    return redirect_uri


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
        authorization: What is requested.
        endpoint: Trades the code for tokens.
        chain: Keeps them.
        guard: Lets signals wait until they are kept.
        identify: Finds out whose they are, where Outreach says it.
        may_replace: Whether they may take the place of another organisation's.
        may_ask: Whether somebody at a terminal can be asked whether they are the right ones.
    """

    authorization: Authorization
    endpoint: TokenEndpoint
    chain: Chain
    guard: SignalGuard
    identify: Callable[[Tokens], Identity]
    may_replace: bool
    may_ask: bool

    def by_paste(self) -> Tokens:
        """Have the user open the page anywhere, and paste where it led."""
        url = self.authorization.url
        say("Open this address in a browser, on any machine:", "", f"  {url}", "")
        self._mention_errors()
        say(
            "Once you have authorized the app, the browser ends at an address that begins with",
            f"{self.authorization.redirect_uri} (it may show an error there, which does not "
            "matter).",
            "Copy the whole of it from the address bar, and paste it here:",
        )
        tokens, is_expected = self._exchanged(_pasted())
        if not is_expected:
            _confirm()
        self._keep(tokens)
        return tokens

    def in_browser(self) -> Tokens:
        """Open the browser, and wait for it to come back to this machine."""
        if not self.authorization.is_local:
            return self.by_paste()
        got: list[tuple[Tokens, bool]] = []

        def answer(path: str) -> Page:
            say("The browser is back; getting the tokens.")
            tokens, is_expected = self._exchanged(path)
            if is_expected:
                self._keep(tokens)
            got.append((tokens, is_expected))
            return LOGGED_IN if is_expected else ASKING

        asked = self.authorization
        with Listener(asked.redirect_uri) as listener, _page(asked) as page:
            say(
                "Opening the browser. If none opens, or if it does not find the page, open this "
                "address on this",
                "machine, or log in with --no-browser:",
                "",
                f"  {asked.url}",
                "",
            )
            self._mention_errors()
            if asked.is_https:
                self._mention_certificate()
            # A browser for the terminal comes back only when it is left.
            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
            listener.wait(asked, answer, _mention_stranger, PATIENCE)
        ((tokens, is_expected),) = got
        if not is_expected:
            _confirm()
            self._keep(tokens)
        return tokens

    def _mention_errors(self) -> None:
        """Say what to look at where Outreach does not ask for the authorization at all."""
        say(
            "If Outreach shows an error instead of asking you, open the app in Outreach, tab API "
            "access:",
            f"* The redirect URI must be {self.authorization.redirect_uri}, letter for letter.",
            f"* All of these scopes must be ticked: {' '.join(self.authorization.scopes)}",
            "  If one is not, Outreach says that the scope is invalid, unknown, or malformed.",
            "* Production credentials work only once the app is published.",
            "",
        )

    def _mention_certificate(self) -> None:
        """Say why the browser will warn."""
        host = urlsplit(self.authorization.redirect_uri).hostname
        say(
            "After you have authorized the app, the browser will warn that the connection is not "
            "private.",
            f"That is expected: it then talks to this machine ({host}), for which no authority "
            "issues",
            "certificates, so this login has made one of its own. Go on to the page: Advanced, "
            "Proceed to",
            f"{host} (Chrome, Edge); Advanced, Accept the Risk and Continue (Firefox); Show "
            "Details, visit",
            "this website (Safari).",
            "",
        )

    def _exchanged(self, redirected_to: str) -> tuple[Tokens, bool]:
        """Trade the code that the browser was led to, and say whose tokens it brings.

        Returns:
            The tokens, which are not kept yet, and whether they can be kept without a question.
        """
        tokens = self._traded(self.authorization.code(redirected_to))
        identity = self.identify(tokens)
        say(_whose(identity))
        held = self.chain.read()
        path = None if self.may_replace else self.chain.path
        tokens = marked(tokens, identity.keys, held, lambda one: self.identify(one).keys, path)
        before = held.organisation if held is not None else None
        return tokens, not self.may_ask or (before is not None and before == tokens.organisation)

    def _keep(self, tokens: Tokens) -> None:
        with self.guard, self.chain.locked(self.guard.rest):
            self.chain.write(tokens)

    def _traded(self, code: str) -> Tokens:
        try:
            return self.endpoint.exchange(code, self.authorization.verifier)
        except GrantRefused:
            raise CredentialsError(
                "Outreach does not take the code of this login, which is good for one use within "
                "minutes: log in again."
            ) from None


@contextmanager
def _page(authorization: Authorization) -> Iterator[str]:
    """Write a page that leads to Outreach, which only this user can read; return its address."""
    with tempfile.TemporaryDirectory(prefix="target-outreach-") as folder:
        path = Path(folder) / "login.html"
        path.touch(mode=0o600)
        path.write_text(authorization.page, encoding="utf-8")
        yield path.as_uri()


def _whose(identity: Identity) -> str:
    """Say whose tokens a login has brought, as far as Outreach tells."""
    user, organisation = identity.user, identity.organisation
    said = [f"as {printable(user, NAME_COLUMNS)}"] if user else []
    if organisation:
        said.append(f"in organisation {printable(organisation, NAME_COLUMNS)}")
    if not said:
        return "Outreach accepts the login, but does not say of which user and organisation it is."
    return f"Logged in {' '.join(said)}."


def _confirm() -> None:
    """Ask at the terminal whether the user and the organisation that were named are right.

    Raises:
        CredentialsError: They are not.
    """
    # By hand, since Python itself writes the question of a prompt to standard error.
    say("Should runs write to Outreach with this login? [y/n]: ", nl=False)
    if not _is_yes():
        raise CredentialsError("The tokens of this login were not kept: log in again.")


def _is_yes() -> bool:
    """Read yes or no from standard input, whose end means no."""
    for line in sys.stdin.buffer:
        answer = line.decode(errors="replace").strip().casefold()
        if answer in {"y", "yes", "n", "no"}:
            return answer.startswith("y")
        say("Type y or n: ", nl=False)
    return False


def _pasted() -> str:
    """Read the first line of standard input that is not blank."""
    for line in () if sys.stdin is None else sys.stdin.buffer:
        if text := line.decode(errors="replace").strip():
            return text
    raise CredentialsError("No address was pasted, so there is no login.")


def _mention_stranger() -> None:
    say("An answer to another login came, and was not used; still waiting for this one's.")
