"""Rejects of earlier runs in a store, such as a bucket: found, and mentioned, with few requests."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from target_outreach.delivery.earlier_rejects import find
from target_outreach.delivery.tally import counted
from target_outreach.errors import OutputError
from target_outreach.object_store import public_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from target_outreach.delivery.earlier_rejects import EarlierRejects

logger = logging.getLogger("target-outreach")

#: Files in a store that a run reads to find out which of their rows it delivers: the newest ones.
MOST_READ = 5


def left_in_store(url: str, copies: Callable[[], Path]) -> list[EarlierRejects]:
    """List the rejects files in a store that are not done, and copy the newest of them.

    Args:
        url: The folder for rejects.
        copies: Makes a private folder of this machine for copies.

    Returns:
        The files, the oldest first; none where they may be written and not be read.
    """
    try:
        files = find(f"{url.rstrip('/')}/*.jsonl", copies)
        for file in files[-MOST_READ:]:
            file.fetch()
    except OutputError:
        return []
    return files


def mention_stored(url: str, files: Sequence[EarlierRejects]) -> None:
    """Say how many rejects files of earlier runs still wait in a store.

    Args:
        url: The folder for rejects.
        files: Those that have waited when the run began.
    """
    if not files or (folder := files[0].folder) is None:
        return
    try:
        left = {file.name for file in files}.intersection(folder.names(""))
    except OSError:
        return
    if left:
        logger.warning(
            "What earlier runs rejected, in %s, is not resolved yet. Fix what is wrong with it, "
            "and send it with the options of this run by: target-outreach replay %s",
            counted(len(left), "object"),
            shlex.quote(f"{public_name(url).rstrip('/')}/*.jsonl"),
        )
