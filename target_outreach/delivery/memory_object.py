"""A memory that is kept in a bucket, for machines whose disk is empty at each start.

There are two kinds of objects. The head, at `memory_path`, is a few bytes of JSON that are only
ever replaced conditionally. It names the contents, an object of a name of its own that is never
replaced, and the run that uses them.

* A run puts its name into the head, copies the contents to this machine, and has others wait for as
  long as its number there goes up. One that was killed does not count any more after a while.
* A head that names a run is the mark that rows may have been written of which the contents do not
  know. Whoever finds it compares with Outreach all rows that it would skip, once: a row may have
  gone from A to B and back to A since.
* Every few minutes, and at the end, the contents are put into the bucket under a new name, and the
  head is made to name them. Where another run has replaced the head meanwhile, this one ends. If
  the head names no run by then, as an older version of it does, this one puts its mark back.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from target_outreach.delivery.memory_head import Head
from target_outreach.errors import EndedEarly, OutputError, SettingsError, reason_of
from target_outreach.object_store import Conflict, public_name
from target_outreach.private_files import NEW
from target_outreach.stores import open_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from target_outreach.delivery.memory_file import MemoryFile
    from target_outreach.delivery.policy import OnBusy

logger = logging.getLogger("target-outreach")

#: Seconds between two signs of life of a run, and those after which one without any was killed. The
#: run itself ends before that, where the bucket takes no sign of life of it.
BEAT = 10.0
LEASE = 300.0
FENCE = 150.0

#: Seconds between two looks for the end of another run.
LOOK = 2.0

#: Seconds between two times that the contents are put into the bucket.
PUT_BACK = 300.0

TAKEN_OVER = "another run has taken it over"


class StoredMemory:
    """A memory in a bucket, and its copy on this machine.

    Attributes:
        path: Where the copy is.
        name: The memory's URL, without what may be secret in it.
        is_old: Whether rows may have been written of which it does not know.
    """

    def __init__(self, url: str, folder: Path) -> None:
        """Send nothing to the bucket yet; the copy will be in a private folder.

        Raises:
            SettingsError: The URL is none of a bucket, or there are no credentials.
        """
        self.name = public_name(url)
        self.path = folder / "memory.db"
        self.is_old = False
        self._snapshot = folder / "memory to be put back.db"
        self._stored = open_object(url, "memory_path")
        self._bucket, self._object = self._stored.folder, self._stored.name
        self._head = Head()
        self._run = secrets.token_hex(8)
        self._before: str | None = None
        self._on_loss: Callable[[OutputError], None] | None = None
        self._version: Mapping[str, str] | None = None
        self._lock = threading.RLock()
        self._beats = _Repeated()
        self._puts = _Repeated()
        self._memory: MemoryFile | None = None
        self._kept_revision = 0
        self._alive_at = time.monotonic()
        self._failure: OutputError | None = None

    # The start

    def copy(self) -> None:
        """Copy the contents here and leave no sign of it, as a dry run does.

        Raises:
            OutputError: They cannot be read.
        """
        try:
            found, _ = self._read()
            while not self._download(found):
                before, (found, _) = found, self._read()
                if found.contents == before.contents:
                    return  # nothing is there to be copied
        except OSError as error:
            raise self._unusable(error) from None

    def open(self, on_busy: OnBusy) -> None:
        """Put this run into the head, and copy the contents here.

        Raises:
            EndedEarly: Another run uses the memory, and this one is not to wait for it.
            OutputError: The bucket cannot be used.
        """
        try:
            found = self._take(on_busy)
            self._beats.start(lambda: self._attempt(self._beat, is_vital=True), BEAT)
            if not self._download(found):
                logger.warning(
                    "What %s names is gone: all rows are compared with Outreach again.", self.name
                )
                self._head = replace(self._head, contents=None)
            self._remove_strays()
        except BaseException as error:
            self._beats.end()
            with suppress(OSError):
                self._leave()
            if isinstance(error, OSError):
                raise self._unusable(error) from None
            raise

    def _take(self, on_busy: OnBusy) -> Head:
        """Wait until no other run uses the memory, and name this one; return what was found."""
        seen: Head | None = None
        since = time.monotonic()
        has_said = False
        while True:
            found, version = self._read()
            now = time.monotonic()
            if found.run is None or (found == seen and now - since >= LEASE):
                ours = replace(found, run=self._run, beat=0)
                with suppress(Conflict):  # another run was faster
                    self._version = self._stored.replace(ours.to_json(), version)
                    self._before, self._head = found.run, ours
                    return found
                continue
            if found != seen:
                if seen is not None and on_busy == "end":
                    raise EndedEarly(
                        f"Another run is using the memory {self.name}, and on_busy is end: this "
                        "one has done nothing."
                    )
                if seen is not None and not has_said:
                    has_said = True
                    logger.warning(
                        "Another run is using the memory %s. This one begins when that has ended.",
                        self.name,
                    )
                seen, since = found, now
            time.sleep(min(LOOK, LEASE / 4))

    def _leave(self) -> None:
        """Put the head back as it was, if this run is in it and has written nothing."""
        if self._head.run == self._run:
            self._replace_head(run=self._before)

    def _read(self) -> tuple[Head, Mapping[str, str] | None]:
        """Return what the head says, and its version; None where there is none."""
        if (stored := self._stored.read()) is None:
            return Head(), None
        try:
            head = Head.from_json(stored.content)
            if head.contents is not None and not self._is_of_contents(head.contents):
                raise ValueError("a name that no run gives")  # noqa: TRY301
        except ValueError:
            raise SettingsError(
                f"memory_path cannot be used: {self.name} holds something else than a memory that "
                "a run has put there. Name another object."
            ) from None
        return head, stored.version

    def _download(self, found: Head) -> bool:
        """Copy the contents here; tell whether they are there."""
        self.is_old = found.run is not None
        return found.contents is None or self._bucket.download(found.contents, self.path)

    def _remove_strays(self) -> None:
        """Delete contents that no head names: those before, or what a killed run has put there."""
        strays: list[str] = []
        with suppress(OSError):  # to list them may be forbidden
            names = filter(self._is_of_contents, self._bucket.names(f"{self._object}."))
            strays += [name for name in names if name != self._head.contents]
        try:
            for name in strays:
                self._bucket.delete(name)
        except OSError as error:
            logger.warning(
                "Old contents of the memory %s cannot be deleted (%s), and take up space: let the "
                "run delete objects.",
                self.name,
                _reason(error),
            )

    def _is_of_contents(self, name: str) -> bool:
        """Tell whether a run may have given contents of this memory that name."""
        return re.fullmatch(rf"{re.escape(self._object)}\.[0-9a-f]{{16}}", name) is not None

    # While the run goes on

    def keep(self, memory: MemoryFile, on_loss: Callable[[OutputError], None]) -> None:
        """Put the memory back every few minutes from now on.

        Args:
            memory: The memory in the copy. What goes wrong makes it refuse all changes.
            on_loss: Ends the run at once, on any thread. Another run may begin soon, and what this
                one would still write could overwrite newer values.
        """
        self._memory, self._on_loss = memory, on_loss
        if self.is_old:
            logger.warning(
                "A run that used the memory %s did not end: the rows that this one would skip are "
                "compared with Outreach once.",
                self.name,
            )
            memory.doubt_everything()
        if self._failure is not None:
            memory.failure = self._failure
            on_loss(self._failure)
        self._puts.start(lambda: self._attempt(self._put_back_changes), PUT_BACK)

    def _attempt(self, do: Callable[[], None], *, is_vital: bool = False) -> bool:
        """Do something with the head; tell whether there is a point in doing it again later."""
        if self._failure is not None:
            return False
        began = time.monotonic()
        try:
            do()
        except Conflict as error:
            return self._fail(_reason(error))
        except (OSError, sqlite3.Error) as error:
            reason = _reason(error)
            if not is_vital:
                logger.warning("The memory %s cannot be put back now (%s).", self.name, reason)
            elif time.monotonic() - self._alive_at > FENCE:
                return self._fail(reason)
        else:
            self._alive_at = began if is_vital else self._alive_at
        return True

    def _fail(self, reason: str) -> bool:
        self._failure = OutputError(
            f"The memory {self.name} cannot be used any more ({reason}). The run ends; the next "
            "one compares the rows that it would skip with Outreach once."
        )
        if self._memory is not None and self._on_loss is not None:
            self._memory.failure = self._failure
            self._on_loss(self._failure)
        return False

    def _beat(self) -> None:
        with self._lock:
            if self._head.run == self._run:  # else it has left, and another run may be there
                self._replace_head(beat=self._head.beat + 1)

    def _replace_head(self, **said: Any) -> None:  # noqa: ANN401 - what of the head
        with self._lock:
            head = replace(self._head, **said)
            try:
                self._version = self._stored.replace(head.to_json(), self._version)
            except Conflict:
                there = self._still_ours()  # by an earlier change, whose answer was lost
                self._version = self._stored.replace(head.to_json(), there)
            self._head = head

    def _still_ours(self) -> Mapping[str, str] | None:
        """Return the version of a head that somebody has replaced, if it still names this run.

        Raises:
            Conflict: It does not, and says what else is there.
        """
        try:
            found, version = self._read()
        except SettingsError:
            raise Conflict(0, "something else was put there") from None
        if found.run == self._run:
            return version
        if version is None:
            raise Conflict(0, "it was deleted, or its bucket was")
        if found.run is None:  # it may be older than what this run has written
            with suppress(Conflict):
                self._stored.replace(replace(found, run=self._run).to_json(), version)
        raise Conflict(0, TAKEN_OVER)

    def _put_back_changes(self) -> None:
        assert self._memory is not None  # noqa: S101 - for the type checker
        revision = self._memory.revision
        if revision == self._kept_revision:
            return
        try:
            os.close(os.open(self._snapshot, NEW, 0o600))
            with (
                closing(sqlite3.connect(self.path)) as memory,
                closing(sqlite3.connect(self._snapshot)) as snapshot,
            ):
                memory.backup(snapshot)
            self._put_back(self._snapshot)
        finally:
            self._snapshot.unlink(missing_ok=True)
        self._kept_revision = revision

    def _put_back(self, path: Path, **said: Any) -> None:  # noqa: ANN401 - what of the head
        """Put a file into the bucket as the contents, and delete those before."""
        name = f"{self._object}.{secrets.token_hex(8)}"
        before = self._head.contents
        self._bucket.upload(path, name)
        self._replace_head(contents=name, **said)
        if before is not None:
            with suppress(OSError):  # a stray is a waste, and no fault
                self._bucket.delete(before)

    # The end

    def close(self) -> None:
        """Put the memory back, and name no run any more.

        Raises:
            OutputError: That cannot be done; the next run compares all rows once.
        """
        memory = self._memory
        self._puts.end()
        try:
            if self._failure is not None:
                return  # it is not ours any more
            if memory is None:
                self._leave()
            elif memory.revision != self._kept_revision:
                self._make_whole()
                self._put_back(self.path, run=None)
            else:
                self._replace_head(run=None)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"The memory {self.name} could not be put back ({_reason(error)}). All else is "
                "done; the next run compares the rows that it would skip with Outreach once."
            ) from None
        finally:
            self._beats.end()

    def _make_whole(self) -> None:
        """Add to the copy what SQLite keeps beside it, as where there was no space for it.

        Raises:
            OSError: Something still reads the copy.
            Error: There is no space.
        """
        with closing(sqlite3.connect(self.path)) as memory:
            ((is_busy, *_),) = memory.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if is_busy:
            raise OSError(errno.EBUSY, "its copy is in use")

    def _unusable(self, error: OSError) -> OutputError:
        is_full = error.errno == errno.ENOSPC
        what = "give the folder for temporary files more space" if is_full else "check memory_path"
        return OutputError(
            f"The memory {self.name} cannot be used ({_reason(error)}): {what}. Nothing was "
            "written to Outreach."
        )


class _Repeated:
    """Something that a thread does again and again."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, do: Callable[[], bool], pause: float) -> None:
        """Begin to do it, with a pause of seconds before each time, until it returns False."""

        def repeat() -> None:
            while not self._ended.wait(pause) and do():
                pass

        self._thread = threading.Thread(target=repeat, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Do it no more; what has begun ends before this returns."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()


def _reason(error: OSError | sqlite3.Error) -> str:
    return TAKEN_OVER if isinstance(error, Conflict) and not error.strerror else reason_of(error)
