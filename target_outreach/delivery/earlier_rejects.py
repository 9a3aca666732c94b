"""What earlier runs have rejected: which files there are, whose they are, and which are done.

Files in a store, such as a bucket, are copied into a private folder of this machine to be read, and
get the ending ``.done`` where they are.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from target_outreach.delivery.place import tag
from target_outreach.delivery.rejects import (
    default_folder,
    home,
    in_use,
    mark_of,
)
from target_outreach.delivery.tally import counted
from target_outreach.errors import OutputError, SettingsError, reason_of
from target_outreach.object_store import Conflict, StoredObject, local_path, public_name
from target_outreach.private_files import APPENDED, is_ours, replace_file
from target_outreach.stores import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from target_outreach.delivery.place import Place
    from target_outreach.object_store import Folder

logger = logging.getLogger("target-outreach")

#: The ending of files whose records are all settled.
DONE = ".done"

#: Files in a store that a run reads to find out which of their rows it delivers: the newest ones.
MOST_READ = 5

#: From here on, rejects that are sent again are worth a warning.
STALE = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class EarlierRejects:
    """A rejects file of an earlier run.

    Attributes:
        path: Where it is on this machine, or its copy.
        url: Where it is in a store, if it is there.
        folder: The folder of the store that it is in.
    """

    path: Path
    url: str | None = None
    folder: Folder | None = None

    def __str__(self) -> str:
        return str(self.path) if self.url is None else public_name(self.url)

    @property
    def name(self) -> str:
        """Its name without a folder."""
        return self.path.name

    @property
    def done_name(self) -> str:
        """What it is called once its records are all settled."""
        return self.name + DONE

    def fetch(self) -> None:
        """Copy it to this machine, unless it is there.

        Raises:
            OutputError: It cannot be read.
        """
        if self.folder is None or self.path.exists():
            return
        try:
            if not self.folder.download(self.name, self.path):
                raise FileNotFoundError(0, "it is gone")
        except OSError as error:
            raise OutputError(f"{self} cannot be read ({reason_of(error)}).") from None

    def is_current(self) -> bool:
        """Tell whether it still holds what was copied from its store.

        Raises:
            OutputError: It cannot be read.
        """
        if self.folder is None:
            return True
        try:
            there = self.folder.read(self.name)
        except OSError as error:
            raise OutputError(f"{self} cannot be read ({reason_of(error)}).") from None
        return there is not None and there.content == self.path.read_bytes()

    def is_done(self) -> bool:
        """Tell whether it has another name by now."""
        if self.folder is None:
            return not self.path.exists()
        return self.name not in _names(self.folder, self.name, str(self))

    def mark_done(self) -> None:
        """Give it the ending ``.done``, now that its records are all settled.

        One that a run still writes keeps its name, since more can follow in it. An object in a
        store is whole when it is there. What is in a file of the new name already stays in it.

        Raises:
            OutputError: It cannot be renamed in its store.
        """
        if self.folder is not None:
            if not self.is_current():
                logger.warning("%s is left as it is, since it has been changed meanwhile.", self)
                return
            try:
                if self.folder.read(self.done_name) is None:
                    self.folder.rename(self.name, self.done_name)
                else:
                    self.add_to_done(self.path.read_bytes())
                    self.folder.delete(self.name)
            except OSError as error:
                raise OutputError(
                    f"{self} was sent again, and cannot be renamed to end in {DONE} "
                    f"({reason_of(error)}): rename it, or it is sent once more."
                ) from None
        elif in_use(self.path):
            logger.warning("%s keeps its name, since another run still writes it.", self)
        else:
            with suppress(FileNotFoundError):  # another run has sent it again at the same time
                if self.path.with_name(self.done_name).exists():  # with rows resolved before
                    self.add_to_done(self.path.read_bytes())
                    self.path.unlink()
                else:
                    self.path.rename(self.path.with_name(self.done_name))

    def add_to_done(self, lines: bytes) -> None:
        """Add lines of the file to those of the same file that are done.

        Raises:
            OSError: They cannot be written.
        """
        if self.folder is not None:
            there = self.folder.read(self.done_name)
            before, version = (b"", None) if there is None else there
            StoredObject(self.folder, self.done_name).replace(before + lines, version)
            return
        place = self.path.with_name(self.done_name)
        with os.fdopen(os.open(place, APPENDED, 0o600), "ab") as opened:
            opened.write(lines)

    def keep_only(self, lines: bytes) -> None:
        """Replace what is in the file by those lines of it that are not done.

        Raises:
            OSError: It cannot be written, or somebody has changed it since it was copied.
        """
        if self.folder is None:
            written = self.path.stat()
            replace_file(self.path, lines)
            # Its rows are as old as they were; a file that is newer than a run may be another's.
            os.utime(self.path, ns=(written.st_atime_ns, written.st_mtime_ns))
            return
        there = self.folder.read(self.name)
        if there is None or there.content != self.path.read_bytes():
            raise Conflict(0, "it has been changed meanwhile")
        StoredObject(self.folder, self.name).replace(lines, there.version)


def _names(folder: Folder, prefix: str, shown: str) -> list[str]:
    try:
        names = folder.names(prefix)
    except OSError as error:
        raise OutputError(f"{shown} cannot be listed ({reason_of(error)}).") from None
    jsonl = (name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl"))
    return [f"{name}.jsonl" for name in sorted(jsonl)]  # the first part of a run before the others


def find(place: str, copies: Callable[[], Path]) -> list[EarlierRejects]:
    """Find the rejects files that a path or URL names.

    Args:
        place: A path, or the URL of an object, with ``*`` for any part of its name. All parts of
            a run belong to its first.
        copies: Makes a private folder of this machine for copies.

    Returns:
        The files in order; none where a store has none of that name.

    Raises:
        OutputError: The store cannot be listed.
        SettingsError: The URL cannot be used.
    """
    local = local_path(place)
    if local is not None:
        return [EarlierRejects(Path(local))]
    parent, _, pattern = place.rpartition("/")
    folder = open_folder(parent, "The URL")
    parts = f"{pattern.removesuffix('.jsonl')}.[0-9][0-9][0-9][0-9][0-9][0-9].jsonl"
    names = _names(folder, re.split(r"[*?\[]", pattern.removesuffix(".jsonl"))[0], place)
    return [
        EarlierRejects(copies() / name, f"{parent}/{name}", folder)
        for name in names
        if fnmatchcase(name, pattern) or fnmatchcase(name, parts)
    ]


def unresolved(
    folder: str | None, whose: Callable[[], Place], copies: Callable[[], Path]
) -> list[EarlierRejects]:
    """List the rejects files of earlier runs that are not done, the oldest first.

    Those of other organisations and other users are none of these, nor are those that a run still
    writes. Files without a mark of their organisation count in a folder of the user's choice; in
    the user's state folder they are named in a warning.

    Args:
        folder: The folder that is configured, if one is, or its URL.
        whose: Finds out whose rejects are wanted; called only where there are any.
        copies: Makes a private folder of this machine for copies.

    Raises:
        RunError: It cannot be found out, or a store cannot be listed.
    """
    found = _not_in_use(folder, copies)
    if not found or (folder is not None and not any(mark_of(file.name) for file in found)):
        return found
    place = whose()
    ours = [file for file in found if (mark_of(file.name) or tag(place.folders[0])) in place.tags]
    if folder is not None:
        if foreign := [file for file in found if file not in ours]:
            logger.warning(
                "Ignored, since they are rejects of another organisation: %s. Send them with the "
                "configuration that they were written with.",
                ", ".join(map(str, foreign)),
            )
        return ours
    shared = (home(), home() / place.shared)
    if unplaced := [file for file in found if file.path.parent in shared]:
        logger.warning(
            "Left alone, since they do not say which Outreach they are for: %s. Send them by "
            "`target-outreach replay FILE`, or move them to %s.",
            ", ".join(map(str, unplaced)),
            default_folder(place.folders[0]),
        )
    return [file for file in ours if file.path.parent.name in place.folders]


def _not_in_use(folder: str | None, copies: Callable[[], Path]) -> list[EarlierRejects]:
    """List files that are not done, and that no run writes any more."""
    local = folder if folder is None else local_path(folder)
    if folder is not None and local is None:
        return find(f"{folder.rstrip('/')}/*.jsonl", copies)
    found = (
        [*home().glob("*.jsonl"), *home().glob("*/*.jsonl")]
        if local is None
        else [*Path(local).glob("*.jsonl")]
    )
    found.sort(key=_by_age)
    if planted := [file for file in found if not is_ours(file)]:
        logger.warning(
            "Ignored, since they belong to other users of this machine: %s.",
            ", ".join(map(str, planted)),
        )
    return [EarlierRejects(file) for file in found if file not in planted and not in_use(file)]


def left_over(folder: str | None, own: str, copies: Callable[[], Path]) -> list[EarlierRejects]:
    """List the rejects files that are not done, without asking whose they are.

    Args:
        folder: The folder that is configured, if one is, or its URL.
        own: A glob for the names that folders of this Outreach have in the user's state folder.
        copies: Makes a private folder of this machine for copies.

    Returns:
        The files, the oldest first. Of those in a store the newest are copied; there are none where
        they may be written and not be read.
    """
    local = folder if folder is None else local_path(folder)
    if folder is None or local is not None:
        found = home().glob(f"{own}/*.jsonl") if local is None else Path(local).glob("*.jsonl")
        return [EarlierRejects(file) for file in sorted(found, key=_by_age)]
    try:
        files = find(f"{folder.rstrip('/')}/*.jsonl", copies)
        for file in files[-MOST_READ:]:
            file.fetch()
    except OutputError:
        return []
    return files


def refuse_foreign(files: Sequence[EarlierRejects], tags: Callable[[], Collection[str]]) -> None:
    """Refuse rejects files of another organisation.

    Args:
        files: The files; it is unknown whose those without a mark are.
        tags: Returns the marks of this one; called only where there is a mark to compare.

    Raises:
        SettingsError: One of them is another's.
        RunError: It cannot be found out.
    """
    for file in files:
        if (mark := mark_of(file.name)) is not None and mark not in tags():
            raise SettingsError(
                f"{file} holds what another organisation, or other credentials, were to get: use "
                f"the configuration that it was written with. If it is meant for this one, take "
                f"{mark}- out of its name."
            )


def _by_age(file: Path) -> tuple[str, str]:
    return file.name, str(file)


def announce(files: Sequence[EarlierRejects]) -> None:
    """Say that rejects files are sent again, and how old the oldest, which is the first, is."""
    if not files:
        return
    age = datetime.now(UTC) - _written_at(files[0].path)
    others = f" and {counted(len(files) - 1, 'later file')}" if len(files) > 1 else ""
    logger.log(
        logging.INFO if age < STALE else logging.WARNING,
        "Sending again what is in %s%s (%s): its values overwrite newer values of the same rows "
        "that were delivered since.",
        files[0],
        others,
        _ago(age),
    )


def _written_at(file: Path) -> datetime:
    """Read from the name of a rejects file when its run began; an edit changes the file's time."""
    if (stamp := re.match(r"\d{8}T\d{6}Z", file.name)) is not None:
        try:
            return datetime.strptime(f"{stamp[0][:-1]}+0000", "%Y%m%dT%H%M%S%z")
        except ValueError:  # such as the 99th of a month
            pass
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _ago(age: timedelta) -> str:
    hours = int(age / timedelta(hours=1))
    if hours < 1:
        return "less than an hour ago"
    return f"{counted(hours, 'hour') if age < STALE else counted(age.days, 'day')} ago"
