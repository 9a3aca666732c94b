"""``target-outreach sandbox``: serve a local Outreach."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from target_outreach.commands import config_option, explained, read_config
from target_outreach.errors import ExitCode
from target_outreach.sandbox import SANDBOX_APP, serve
from target_outreach.settings.access import LOGIN_REDIRECT_URI

if TYPE_CHECKING:
    from target_outreach.sandbox import Sandbox

DEFAULT_PATH = "outreach.db"


@click.command()
@click.option("--path", help=f"File of the sandbox; else the setting sandbox, or {DEFAULT_PATH}.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port on this machine.",
)
@config_option
@click.pass_context
@explained
def sandbox(context: click.Context, configs: tuple[str, ...], path: str | None, port: int) -> int:
    """Serve a local Outreach from a file, with a page to look at it.

    A configuration for runs into it is printed on standard output.

    Example: target-outreach sandbox --path outreach.db --port 8765
    """
    file = path or _configured_path(context, configs) or DEFAULT_PATH

    def say_where(served: Sandbox) -> None:
        click.echo(f"Outreach's API is at {served.api_url}, kept in {file}", err=True)
        click.echo(f"To look at it, open {served.url}/ in a browser", err=True)
        click.echo("For runs, save what follows as config.json; then log in with it", err=True)
        with suppress(OSError):  # whether or not anybody reads that, others may want to be served
            click.echo(json.dumps(_config_for(served), indent=2))

    try:
        serve(file, port=port, ready=say_where)
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


def _config_for(served: Sandbox) -> dict[str, str]:
    """Return a configuration for what is served, by the app that any sandbox knows."""
    login = urlsplit(LOGIN_REDIRECT_URI)
    port = (login.port or 0) + (urlsplit(served.url).port == login.port)
    return {
        "client_id": SANDBOX_APP.client_id,
        "client_secret": SANDBOX_APP.client_secret,
        "redirect_uri": f"{login.scheme}://{login.hostname}:{port}{login.path}",
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
    return found
