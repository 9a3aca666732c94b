"""Whose tokens a credentials file holds: it is for one organisation at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from target_outreach.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_outreach.outreach.tokens import Tokens

    #: Asks what stands for the organisation of tokens; nothing where that is not known.
    Whose = Callable[[Tokens], tuple[str, ...]]


OTHERWISE = "set another credentials_path for this login, or log in with --replace"


def marked(
    tokens: Tokens, keys: tuple[str, ...], held: Tokens | None, whose: Whose, path: str | None
) -> Tokens:
    """Note whose new tokens are, and let none silently take the place of another organisation's.

    Args:
        tokens: What a login brought.
        keys: What stands for their organisation; nothing where that is not known.
        held: The tokens that the file holds for this app, if any.
        whose: Asks whose the held ones are.
        path: The file, to be named in an error; None where the new tokens may be whoever's.

    Returns:
        The new tokens with their organisation.

    Raises:
        CredentialsError: Those in the file are, or may be, another organisation's.
    """
    if held is not None and path is not None:
        owner = held.organisation or _asked(held, whose)
        if owner is not None and not keys:
            raise CredentialsError(
                f"{path} holds the tokens of an organisation for this app, and Outreach does not "
                f"say whose the new ones are: {OTHERWISE}."
            )
        if owner is not None and owner not in keys:
            raise CredentialsError(
                f"{path} holds the tokens of another organisation for this app: {OTHERWISE}."
            )
    return replace(tokens, organisation=next(iter(keys), None))


def _asked(held: Tokens, whose: Whose) -> str | None:
    """Ask whose tokens in the file are, if the access token still serves."""
    return next(iter(whose(held)), None) if held.is_alive(time.time()) else None
