"""``target-outreach sandbox``: serve a local Outreach."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import click

from target_outreach.commands import config_option, explained, read_config
from target_outreach.errors import ExitCode
from target_outreach.sandbox import serve

if TYPE_CHECKING:
    from target_outreach.sandbox import Sandbox

DEFAULT_PATH = "outreach.db"


@click.command()
@click.option("--path", help=f"File of the sandbox; else the setting sandbox, or {DEFAULT_PATH}.")
@click.option("--port", default=8765, show_default=True, help="Port on this machine.")
@config_option
@click.pass_context
@explained
def sandbox(context: click.Context, configs: tuple[str, ...], path: str | None, port: int) -> int:
    """Serve a local Outreach from a file, with a page to look at it.

    Example: target-outreach sandbox --path outreach.db --port 8765
    """
    file = path or _configured_path(context, configs) or DEFAULT_PATH

    def say_where(served: Sandbox) -> None:
        click.echo(f"Outreach's API is at {served.api_url}, kept in {file}", err=True)
        click.echo(f"To look at it, open {served.url}/ in a browser", err=True)

    try:
        serve(file, port=port, ready=say_where)
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"The sandbox cannot be served: {error}") from None
    return ExitCode.DONE


def _configured_path(context: click.Context, configs: tuple[str, ...]) -> str | None:
    """Return the setting `sandbox`; the others need not make sense yet."""
    config = read_config(context, configs)
    named = os.environ.get("TARGET_OUTREACH_SANDBOX") if config.parse_env else None
    found: str | None = named or config.config.get("sandbox")
    return found
