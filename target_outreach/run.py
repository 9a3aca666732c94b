"""The life of a run, from the first message to the last STATE."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from target_outreach.collecting import OpenBatches
from target_outreach.delivery.earlier_rejects import (
    EarlierRejects,
    announce,
    left_over,
    refuse_foreign,
    unresolved,
)
from target_outreach.delivery.rejects import RejectsFile
from target_outreach.delivery.resolved_rejects import ResolvedRejects, mention
from target_outreach.errors import (
    EndedEarly,
    InputError,
    Interrupted,
    RunError,
    SettingsError,
)
from target_outreach.instance_id import folder_glob
from target_outreach.object_store import Conflict, StoredObject, local_path, public_name
from target_outreach.report import Report
from target_outreach.settings.entries import EntryUse, entry_problems, name_labels
from target_outreach.stores import open_folder
from target_outreach.verbatim import Shortcut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.memory import Memory
    from target_outreach.messages import MessageReader
    from target_outreach.parts import Parts
    from target_outreach.verbatim import RowSink

logger = logging.getLogger("target-outreach")


class Run:
    """One run: what is done before, between and after its messages.

    Attributes:
        parts: What it is made of.
        settings: Its settings.
        entries: The entries of `streams`, and which of them are of use.
        batches: The records that wait to be handed over.
        interrupted: What a signal raised while there was nothing to be ended first, or None. The
            libraries of stores make another error of it.
    """

    def __init__(self, parts: Parts, reader: MessageReader, direct: Mapping[str, RowSink]) -> None:
        """Begin; nothing is opened before it is needed.

        `direct` has the sinks of the streams whose records come as they are; they may change.
        """
        self.parts = parts
        self.settings = parts.settings
        self.entries = EntryUse(parts.settings.streams)
        self.batches = OpenBatches(parts)
        self._reader = reader
        self._direct = direct
        self._replayed: list[EarlierRejects] = []
        self._left_over: list[EarlierRejects] = []
        self._inputs: set[Path] = set()
        self._discarding = False
        self.interrupted: Interrupted | None = None
        reader.tick = self.tick

    # Before

    def replay(self, *files: EarlierRejects) -> None:
        """Read rejects files before the input, and mark them done when all is settled.

        Raises:
            OutputError: One of them cannot be read from its store.
        """
        for file in files:
            file.fetch()
        announce(files)
        self._replayed = list(files)
        self._reader.first = self._replayed

    def retry_rejects(self) -> None:
        """Replay what earlier runs have rejected, if the settings say so."""
        if not self.settings.retry_rejects:
            return
        try:
            place, copies = (lambda: self.parts.connection.place), (lambda: self.parts.copies)
            self.replay(*unresolved(self.settings.rejects_path or None, place, copies))
        except (RunError, SettingsError) as error:
            logger.warning("What earlier runs rejected is not sent again: %s", error)

    def refuse_to_overwrite(self, file_input: IO[str]) -> None:
        """Refuse an input that is also where the report, the changes or STATE would be written.

        Raises:
            SettingsError: It is one.
        """
        outputs = {
            "report_path": self.settings.report_path,
            "changes_path": self.settings.changes_path,
            "Standard output": "/dev/fd/1",
        }
        inputs = [*(file.path for file in self._replayed), *_path_of(file_input)]
        self._inputs = {Path(path).resolve() for path in inputs}
        for name, output in outputs.items():
            if output is None or not Path(output).exists():
                continue
            if any(_is_same(output, path) for path in inputs):
                raise SettingsError(f"{name} is the file that is being read; name another one.")

    def prepare(self) -> None:
        """Find out before anything is read whether the run can begin, and tell of it from now on.

        Raises:
            SettingsError: A setting cannot be used, or rejects are another organisation's.
            CredentialsError: There are no tokens yet.
            RunError: It cannot be found out whose rejects may be sent.
        """
        if self.settings.rejects_path is not None and not self.settings.dry_run:
            _try_folder(self.settings.rejects_path)
        _ = self.parts.connection
        refuse_foreign(self._replayed, lambda: self.parts.connection.place.tags)
        _ = self.parts.memory
        self._drop_changed()
        folder, own = self.settings.rejects_path or None, folder_glob(self.settings)
        self._left_over = [
            file
            for file in left_over(folder, own, lambda: self.parts.copies)
            if file.path.resolve() not in self._inputs  # which stay as they are
        ]
        self.parts.resolved_rejects = ResolvedRejects.of(self._left_over)
        if (memory := self.parts.memory_reader) is not None:
            self._reader.shortcut = Shortcut(memory, self.parts, self._direct)
        self.parts.progress.start()

    def _drop_changed(self) -> None:
        """Send no rejects again that another run has delivered while this one waited for it.

        Raises:
            OutputError: They cannot be read again.
        """
        path = self.settings.memory_path
        if path is None or local_path(path) is not None:
            return  # no run waits
        for file in [file for file in self._replayed if not file.is_current()]:
            logger.warning("%s was changed meanwhile, and is not sent again.", file)
            self._replayed.remove(file)  # which is also the reader's list

    def check_entries(self) -> None:
        """Check what `streams` says before any record is read.

        Raises:
            SettingsError: All that is wrong with its entries, as far as their object is known.
            RunError: Labels of custom fields had to be asked for, and no request can succeed.
        """
        organisation = self.parts.organisation
        if name_labels(self.settings, organisation.objects):
            try:
                organisation.learn_custom_fields()
            except EndedEarly:
                return  # the first record says so too, when there is input to be read to its end
        if problems := entry_problems(self.settings, organisation.objects):
            raise SettingsError(*problems)

    # Between lines

    def tick(self) -> None:
        """Look around: has the run failed, is a batch old enough?"""
        if self.interrupted is not None:
            raise self.interrupted
        if (engine := self.parts.started_engine) is not None:
            engine.raise_error()
            if self.parts.settlement.is_aborting:  # all that was received is to be settled
                self.deliver_rest()
        self.batches.hand_over_due()

    def stop(self, signum: int) -> None:
        """Begin to end the run; safe in a signal handler.

        Raises:
            Interrupted: Nothing is under way that would have to be ended first.
        """
        error = Interrupted(signum)
        engine = self.parts.started_engine
        if self._discarding or engine is None:
            self.interrupted = error
            raise error
        engine.stop(error)
        self._reader.inbox.wake()

    # The end

    def deliver_rest(self) -> None:
        """Settle all that was received, and emit the STATE that this allows."""
        self.batches.hand_over_all()
        if (engine := self.parts.started_engine) is not None:
            engine.finish()

    def finish(self) -> None:
        """End a run of which all is settled."""
        if not self._replayed:
            self._remark_on_input()
        if not self.settings.dry_run:
            for file in self._replayed:
                file.mark_done()
        self._end_rejects()
        self.parts.close()

    def _end_rejects(self) -> None:
        """Mark what is resolved or rejected again in earlier rejects, and mention the others."""
        rejects = self.parts.rejects
        if isinstance(rejects, RejectsFile):  # a dry run has delivered nothing
            self.parts.resolved_rejects.resolve(rejects)
        if not self.settings.retry_rejects:
            mention(self._left_over)

    def _remark_on_input(self) -> None:
        """Say what was to be expected of the tap and did not come."""
        if unused := self.entries.unused():
            logger.warning("Unused entries in streams: %s.", ", ".join(unused))
        counts = self._reader.counts
        if not counts.total():
            logger.warning("Nothing arrived, not even a SCHEMA: did the tap fail?")
        elif not counts["RECORD"]:
            logger.info("The tap sent no records.")
        elif not counts["STATE"] and not self.settings.dry_run:
            logger.info("The tap sent no STATE: the next run begins where this one did.")

    def cause_of(self, raised: Exception) -> Exception:
        """Return why the run ends: what stopped it comes before what only followed from that."""
        if self.interrupted is not None:
            return self.interrupted
        engine = self.parts.started_engine
        if engine is not None and engine.error is not None and isinstance(raised, EndedEarly):
            return engine.error
        return raised

    def wind_up(self, error: Exception) -> None:
        """After an error, settle what can be settled and emit the STATE that this allows.

        A bad line of input stops the reading only: what came before it is delivered.

        Raises:
            Exception: Why not all of it could be.
        """
        engine = self.parts.started_engine
        try:
            if isinstance(error, InputError):
                self.deliver_rest()
            elif engine is not None:
                engine.stop(error)
                engine.finish()
        finally:
            if engine is not None or isinstance(error, InputError):
                self._end_rejects()

    def discard_rest(self) -> None:
        """Read the input to its end, so that the tap does not break, and do nothing with it.

        Raises:
            Interrupted: A signal asks not to wait for that.
        """
        self._discarding = True
        self._reader.discard()

    def report(self) -> Report:
        """Return the figures of the run; some are only found out where a file is to hold them."""
        parts, tallies = self.parts, dict(self.parts.tallies)
        end = parts.status.point()
        memory: Memory | None = vars(parts).get("memory")  # it is not to be opened for this
        if memory is not None:
            for name, tally in tallies.items():
                tally.edited_by_others = memory.edits[name]
        has_file = any(tally.outcomes["rejected"] for tally in tallies.values())
        has_file = has_file and not self.settings.dry_run
        report = Report(
            streams=tallies,
            unsettled={name: parts.ledger.unsettled(name) for name in tallies},
            requests=end.requests,
            seconds=end.seconds,
            waited=end.waited,
            rejects_file=public_name(parts.rejects.path) if has_file else None,
            dry_run=self.settings.dry_run,
            started_at=parts.status.started_at,
        )
        if self.settings.report_path is None:
            return report
        return replace(
            report,
            points=parts.progress.timeline.up_to(end),
            destination=parts.destination,
            configuration=self.settings.shown(),
        )


def _try_folder(folder: str) -> None:
    """See whether a rejects file could be written; in a store, an empty object stays behind.

    Raises:
        SettingsError: It could not.
    """
    local = local_path(folder)
    try:
        if local is None:
            _try_store(folder)
            return
        place = Path(local)
        while not place.exists():
            place = place.parent
        TemporaryFile(dir=place).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"rejects_path cannot be used ({reason}): {public_name(folder)}; name another folder."
        ) from None


def _try_store(url: str) -> None:
    trial = StoredObject(open_folder(url, "rejects_path"), ".target-outreach")
    there = trial.read()
    with suppress(Conflict):  # a run beside this one tries the same
        trial.replace(b"", None if there is None else there.version)


def _is_same(output: str, path: str | Path) -> bool:
    with suppress(FileNotFoundError):  # such as rejects that another run has just sent again
        return Path(output).samefile(path)
    return False


def _path_of(file: IO[str]) -> list[str | Path]:
    """Return the path of a file on disk; a pipe and text in memory have none."""
    name = getattr(file, "name", None)
    if isinstance(name, str) and Path(name).is_file():
        return [name]
    redirected = Path(f"/dev/fd/{file.fileno()}") if name == "<stdin>" else None
    return [redirected] if redirected is not None and redirected.is_file() else []
