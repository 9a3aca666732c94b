"""``target-outreach sandbox``: serve a local Outreach."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import click

from target_outreach.sandbox import serve

if TYPE_CHECKING:
    from target_outreach.sandbox import Sandbox


@click.command()
@click.option("--path", default="outreach.db", show_default=True, help="File of the sandbox.")
@click.option("--port", default=8765, show_default=True, help="Port on this machine.")
def sandbox(path: str, port: int) -> None:
    """Serve a local Outreach from a file.

    Example: target-outreach sandbox --path outreach.db --port 8765
    """

    def say_where(served: Sandbox) -> None:
        click.echo(f"Outreach's API is at {served.api_url}, kept in {path}", err=True)

    try:
        serve(path, port=port, ready=say_where)
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"The sandbox cannot be served: {error}") from None
