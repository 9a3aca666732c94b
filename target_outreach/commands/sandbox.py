"""``target-outreach sandbox``: serve a local Outreach."""

from __future__ import annotations

import difflib
import json
import os
import re
import sqlite3
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from filelock import FileLock, Timeout

from target_outreach.commands import Number, Whole, config_option, explained, read_config
from target_outreach.configuration import no_json
from target_outreach.errors import ExitCode
from target_outreach.plain_text import say, say_unbroken
from target_outreach.sandbox import SANDBOX_APP, Profile, serve
from target_outreach.sandbox.sample import seed_sample
from target_outreach.settings.access import LOGIN_REDIRECT_URI

if TYPE_CHECKING:
    from target_outreach.sandbox import App, Sandbox

DEFAULT_PATH = "outreach.db"

#: What a profile may say; a token of a run's own is none of it.
EXAMPLE_PROFILE = 'A profile looks like {"rate_limit": 100, "latency_seconds": 0.2}.'
ALL_SWITCHES = "docs/sandbox.md lists all switches and what they may be."

SWITCHES = [one.name for one in fields(Profile) if one.name != "only_token"]


@click.command()
@click.option("--path", help=f"File of the sandbox; else the setting sandbox, or {DEFAULT_PATH}.")
@click.option(
    "--port",
    type=Whole(0, 65535),
    default=8765,
    show_default=True,
    help="Port on this machine.",
)
@click.option("--latency", type=Number(0), help="Seconds that each answer takes.")
@click.option("--rate-limit", type=Whole(1), help="Requests of a user in an hour.")
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with more switches of how it behaves.",
)
@click.option(
    "--redirect-uri",
    default=LOGIN_REDIRECT_URI,
    show_default=True,
    help="Redirect URI of the sandbox's own app; a login with another one is refused.",
)
@click.option("--any-token", is_flag=True, help="Take tokens that it did not give, too.")
@click.option("--seed", is_flag=True, help="Begin a new file with invented records.")
@config_option
@click.pass_context
@explained
def sandbox(  # noqa: PLR0913 - one for each option
    context: click.Context,
    *,
    configs: tuple[str, ...],
    path: str | None,
    port: int,
    latency: float | None,
    rate_limit: int | None,
    profile_file: Path | None,
    redirect_uri: str,
    any_token: bool,
    seed: bool,
) -> int:
    """Serve a local Outreach from a file, with a page to look at it.

    A configuration for runs into it is printed on standard output.

    Example: target-outreach sandbox --path outreach.db --seed
    """
    file = path or _configured_path(context, configs) or DEFAULT_PATH
    profile = read_profile(profile_file) if profile_file is not None else Profile()
    if latency is not None:
        profile = replace(profile, latency_seconds=latency)
    if rate_limit is not None:
        profile = replace(profile, rate_limit=rate_limit)
    own_app = replace(SANDBOX_APP, redirect_uris=(redirect_uri,))
    if not any_token and not profile.apps:
        profile = replace(profile, apps=(own_app,))

    app = next(iter(profile.apps), own_app)

    def say_where(served: Sandbox) -> None:
        if seed and seed_sample(served.store):
            say(f"Put invented records into {file}", err=True)
        elif seed:
            say(f"{file} holds records already, so --seed adds none", err=True)
        say(f"Outreach's API is at {served.api_url}, kept in {file}", err=True)
        say(f"To look at it, open {served.url}/ in a browser", err=True)
        say("For runs, save what follows as config.json; then log in with it", err=True)
        with suppress(OSError):  # whether or not anybody reads that, others may want to be served
            say_unbroken(*json.dumps(_config_for(served, app), indent=2).split("\n"))

    lock = FileLock(f"{file}.lock")
    try:
        with lock.acquire(timeout=0):
            serve(file, port=port, profile=profile, ready=say_where)
    except Timeout:
        raise click.ClickException(
            f"{file} is served by another process already: open that one, or choose another file "
            "with --path."
        ) from None
    except OSError as error:
        raise click.ClickException(
            f"The sandbox cannot be served at port {port} ({error.strerror}): choose another with "
            "--port."
        ) from None
    except sqlite3.Error as error:
        raise click.ClickException(
            f"The sandbox cannot be kept in {file} ({error}): choose another file with --path."
        ) from None
    return ExitCode.DONE


def read_profile(path: Path) -> Profile:
    """Read switches of the sandbox from a JSON file.

    Raises:
        ClickException: It is not JSON, or not what `Profile` takes.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeError:
        raise click.ClickException(f"{path} is no text in UTF-8: save it as such.") from None
    except ValueError as error:
        raise click.ClickException(f"{no_json(str(path), error)}. {EXAMPLE_PROFILE}") from None
    if not isinstance(read, dict):
        raise click.ClickException(f"{path} holds no JSON object. {EXAMPLE_PROFILE}")
    for name in read:
        if name not in SWITCHES:
            near = difflib.get_close_matches(name, SWITCHES, n=1)
            hint = f"; is {near[0]} meant?" if near else f". {ALL_SWITCHES}"
            raise click.ClickException(f"{path}: there is no switch {name}{hint}")
    try:
        return msgspec.convert(read, Profile)
    except (ValueError, msgspec.ValidationError) as error:
        said = re.fullmatch(r"(.+) - at `\$\.?(.*)`", str(error))
        what = f"{said[2]}: {said[1]}" if said else str(error)
        raise click.ClickException(f"{path} does not fit: {what}. {ALL_SWITCHES}") from None


def _config_for(served: Sandbox, app: App) -> dict[str, str]:
    """Return a configuration for what is served, by an app that it knows."""
    return {
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "redirect_uri": next(iter(app.redirect_uris), LOGIN_REDIRECT_URI),
        "credentials_path": "credentials.json",
        "rejects_path": "rejects",
        "api_url": served.api_url,
        "oauth_url": served.oauth_url,
    }


def _configured_path(context: click.Context, configs: tuple[str, ...]) -> str | None:
    """Return the setting `sandbox`; the others need not make sense yet."""
    config = read_config(context, configs)
    named = os.environ.get("TARGET_OUTREACH_SANDBOX") if config.parse_env else None
    found: str | None = named or config.config.get("sandbox")
    return str(Path(found).expanduser()) if found else None
