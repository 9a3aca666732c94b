"""``target-outreach check``: may the configured sync do what it does, and on what budget?"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, explained, open_settings
from target_outreach.commands.probe import write_facts
from target_outreach.connection import Connection
from target_outreach.errors import (
    CredentialsError,
    EndedEarly,
    ExitCode,
    Interrupted,
    RecordFault,
    RunError,
    SettingsError,
)
from target_outreach.outreach.auth.tokens import DAY, REFRESH_LIFETIME
from target_outreach.outreach.organisation import ask_custom_fields
from target_outreach.outreach.pacing import Pacer, clock_time
from target_outreach.outreach.refusals import NOT_FOUND, no_such_address
from target_outreach.plain_text import say
from target_outreach.records.custom_fields import OwnObjects
from target_outreach.scopes import missing_scopes, needed_scopes
from target_outreach.settings.access import Bearer, LocalOutreach, OAuthApp, ServerApp
from target_outreach.settings.entries import (
    entry_problems,
    for_object,
    known_object,
    name_custom_fields,
    name_labels,
    resolved,
)

if TYPE_CHECKING:
    from target_outreach.outreach.auth.tokens import Tokens
    from target_outreach.outreach.organisation import Identity
    from target_outreach.settings import Settings

#: Seconds that a check waits for Outreach at most: it issues one access token a minute.
PATIENCE = 75.0

#: What has scopes, but of which Outreach has no list to read (API reference 6.2).
UNLISTED = frozenset({"imports"})

#: Days before the end of a refresh token at which that becomes a problem.
TOO_FEW_DAYS = 2

#: Seconds by which this machine's clock may differ from Outreach's without a word.
CLOCK_TOLERANCE = 60.0


@click.command()
@config_option
@click.option(
    "--probe",
    is_flag=True,
    help="Also find out how this Outreach behaves where its documentation is silent, and print "
    "that as JSON; the findings go to standard error.",
)
@click.option(
    "--facts",
    metavar="FILE",
    help="Write the JSON of --probe to a file; the findings stay on standard output.",
)
@click.pass_context
@explained
def check(
    context: click.Context, configs: tuple[str, ...], *, probe: bool, facts: str | None
) -> int:
    """Check credentials, scopes, the budget, and that the objects can be reached.

    One line is printed for each finding; the exit code is 1 if one of them is a problem. A few
    requests are sent, which only read. A probe sends 40 more at most; what it prints holds no
    names, no addresses and no ids, and can be attached to an issue.

    Example: target-outreach check --config config.json

    Example: target-outreach check --config config.json --probe --facts facts.json
    """
    if facts is not None and not probe:
        raise click.UsageError("--facts needs --probe.")
    settings = open_settings(context, configs)
    pacer = Pacer(max_wait=min(60 * settings.max_wait_minutes, PATIENCE))
    findings = Findings(aside=probe and facts is None)
    began = time.time()
    with Connection(settings, pacer) as connection:
        findings.note(f"Asking {_place(settings, connection)}.")
        if connection.sandbox_is_new:
            findings.note("There was no such file: it was made, and the sandbox in it is empty.")
        try:
            identity = _check_token(connection, settings, findings)
            _mention_untried(connection, settings, began, findings)
            _check_scopes(identity, connection, settings, findings)
            _check_entries(connection, settings, findings)
            _check_objects(connection, settings, findings)
            _check_budget(pacer, settings, findings)
            _check_clock(connection, findings)
        except Interrupted:
            raise
        except EndedEarly:
            findings.problem(_throttled(pacer))
        except RunError as error:  # there is nothing else to ask
            findings.problem(str(error))
        if probe:
            write_facts(connection, settings, pacer, facts)
    return ExitCode.FAILED if findings.problems else ExitCode.DONE


class Findings:
    """Prints what is found, a line each.

    Args:
        aside: Whether to print to standard error, since standard output is for something else.

    Attributes:
        problems: How many of them keep the sync from working.
    """

    def __init__(self, *, aside: bool = False) -> None:
        self.problems = 0
        self._aside = aside

    def fine(self, text: str) -> None:
        """Print what is as it should be."""
        self._print("ok", text)

    def note(self, text: str) -> None:
        """Print what is good to know."""
        self._print("note", text)

    def problem(self, text: str) -> None:
        """Print what keeps the sync from working."""
        self.problems += 1
        self._print("problem", text)

    def _print(self, kind: str, text: str) -> None:
        say(f"{kind:<9}{text}", err=self._aside)


def _place(settings: Settings, connection: Connection) -> str:
    """Say where we ask, and as whom."""
    match settings.access:
        case LocalOutreach(path):
            return f"the sandbox in {path}, which needs no credentials"
        case Bearer():
            who = "access_token"
        case OAuthApp():
            who = "the tokens of the OAuth app"
        case ServerApp():
            who = "the tokens of the server-to-server app"
    return f"{connection.api_url} with {who}"


def _throttled(pacer: Pacer) -> str:
    """Say until when there is nothing more to be asked, where that is known."""
    budget = pacer.budget
    if budget is None or budget.remaining:
        return "Outreach asks to wait, so no more can be checked now: try again in a few minutes."
    return (
        f"All {budget.limit:,} requests of this Outreach user are used up until "
        f"{clock_time(budget.resets_in)}, so no more can be checked before."
    )


def _check_token(connection: Connection, settings: Settings, findings: Findings) -> Identity:
    """Ask whose token it is.

    Raises:
        RunError: There is no answer.
    """
    identity = connection.identity
    if identity.refusal is not None:
        findings.note(f"Outreach does not say whose token it is ({identity.refusal}).")
    elif not isinstance(settings.access, LocalOutreach):
        findings.fine(_whose(identity))
    if (tokens := connection.tokens) is not None:
        _check_lifetime(tokens, findings)
    return identity


def _whose(identity: Identity) -> str:
    """Say whose token it is, as far as the answer tells."""
    said = [f"of {identity.user}"] if identity.user else []
    said += [f"in the organisation {identity.organisation}"] if identity.organisation else []
    return f"Outreach accepts the token {' '.join(said)}".rstrip() + "."


def _mention_untried(
    connection: Connection, settings: Settings, began: float, findings: Findings
) -> None:
    """Say if the token was there before the check, so that what brings the next one is untried.

    The check began at so many seconds since the epoch.
    """
    tokens = connection.tokens
    if tokens is None or tokens.issued_at >= began:
        return
    secret = "client_secret" if isinstance(settings.access, OAuthApp) else "s2s_private_key"
    findings.note(
        f"{secret} was not tried, since the access token that is kept still serves; it is when "
        "that is renewed."
    )


def _check_lifetime(tokens: Tokens, findings: Findings) -> None:
    now = time.time()
    minutes = max(0.0, tokens.expires_at - now) / 60
    findings.fine(f"The access token lives for another {minutes:,.0f} minutes, and is renewed.")
    if not tokens.refresh_tokens:
        return
    issued_at = tokens.refresh_issued_at or tokens.issued_at
    age = max(0.0, now - issued_at) / DAY
    left = REFRESH_LIFETIME / DAY - age
    dies = datetime.fromtimestamp(issued_at + REFRESH_LIFETIME, UTC)
    say = findings.fine if left > TOO_FEW_DAYS else findings.problem
    say(
        f"The refresh token is {age:.1f} days old; it dies on {dies:%Y-%m-%d} unless a run "
        "renews it before."
    )


def _check_scopes(
    identity: Identity, connection: Connection, settings: Settings, findings: Findings
) -> None:
    """Compare what the token may do with what the sync needs.

    ``GET /`` tells it of every kind of token, the token endpoint only of an OAuth app's (API
    reference 1 and 7).
    """
    if isinstance(settings.access, LocalOutreach):
        return
    needed = [
        scope
        for scope in needed_scopes(settings)
        if not (settings.dry_run and scope.endswith(".write"))
    ]
    granted = identity.scopes
    if granted is None and connection.tokens is not None:
        granted = connection.tokens.scopes
    if granted is None:
        findings.note(
            f"Outreach does not say which scopes this token has; needed: {' '.join(needed)}."
        )
        return
    missing = missing_scopes(granted, needed)
    for scope in missing:
        findings.problem(
            f"The scope {scope} is missing: give it to the app in Outreach, and "
            f"{_renewal(settings)}."
        )
    if not missing:
        findings.fine(f"All scopes that the sync needs are there: {' '.join(needed)}.")


def _renewal(settings: Settings) -> str:
    """Say how to get a token that has a new scope."""
    if isinstance(settings.access, OAuthApp):
        return "log in with `target-outreach login`, or set a new refresh_token"
    return "get a new token"


def _check_entries(connection: Connection, settings: Settings, findings: Findings) -> None:
    """Hold the names of attributes in `streams` and `array_fields` against their objects.

    Raises:
        RunError: Labels of custom fields had to be asked for, and no request can succeed.
    """
    objects = OwnObjects()
    general = objects[settings.outreach_object or "prospects"]
    defaults = for_object(general, settings.defaults, settings.defaults)
    if name_labels(settings, objects) or name_custom_fields(general, defaults):
        objects.learn(ask_custom_fields(connection.client))
    problems = entry_problems(settings, objects)
    try:
        resolved(objects[general.name], defaults)
    except SettingsError as error:
        problems += (f"{problem}." for problem in error.errors)
    for problem in problems:
        findings.problem(problem)
    if settings.streams and not problems:
        findings.fine("All names that streams mentions are known.")
    for number, entry in enumerate(settings.streams, 1):
        is_known = known_object(entry, settings.outreach_object) is not None
        if not is_known and entry.settings.object != "none":
            findings.note(
                f"Entry {number} of streams ({entry.pattern!r}) was not checked, since it does not "
                "say its object. `target-outreach fields --schema` checks it with a SCHEMA."
            )


def _check_objects(connection: Connection, settings: Settings, findings: Findings) -> None:
    """Read one record of each object, which shows at least that reading is allowed."""
    for name in dict.fromkeys(scope.partition(".")[0] for scope in needed_scopes(settings)):
        if name in UNLISTED:
            continue
        try:
            connection.client.get(f"/{name}?page[size]=1&count=false")
        except (CredentialsError, RecordFault) as error:
            why = no_such_address(NOT_FOUND) if error.status == NOT_FOUND else error
            findings.problem(f"{name} cannot be read: {why}")
        else:
            findings.fine(f"{name} can be read.")


def _check_budget(pacer: Pacer, settings: Settings, findings: Findings) -> None:
    budget = pacer.budget
    if budget is None:
        findings.note("Outreach does not say how many requests are left.")
        return
    findings.fine(
        f"{budget.remaining:,} of {budget.limit:,} requests are left until "
        f"{clock_time(budget.resets_in)} for all that uses this Outreach user."
    )
    percent = settings.request_budget_percent
    if budget.remaining <= budget.limit * (100 - percent) // 100:
        findings.note(
            f"request_budget_percent ({percent}) leaves these to others: a run would wait until "
            f"{clock_time(budget.resets_in)}."
        )


def _check_clock(connection: Connection, findings: Findings) -> None:
    ahead = connection.client.clock_offset.total_seconds()
    if abs(ahead) > CLOCK_TOLERANCE:
        findings.note(f"This machine's clock and Outreach's differ by {abs(ahead):,.0f} seconds.")
