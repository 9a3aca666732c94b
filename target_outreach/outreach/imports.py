"""Imports: many writes in one request, which Outreach carries out afterwards (API reference 6.2).

Nobody has published experience with ``POST /imports/actions/bulkUpsert``. It is not known whether a
record is wrapped in a member `data` of its own, how many records an import may have, what its
states are called, and how to learn the outcome of one record. So what an import says of itself
decides only when to stop waiting for it; whether a record was written must be read from the record.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from target_outreach.bounds import LONGEST_IMPORT
from target_outreach.errors import (
    CredentialsError,
    OutcomeUnknown,
    OutreachError,
    RecordFault,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from target_outreach.outreach.client import Client
    from target_outreach.outreach.pacing import Pacer

Shape = Literal["wrapped", "flat"]

#: What imports are used for: nothing, updates only, or new records too.
BulkMode = Literal["off", "updates", "all"]

#: What an import does with records that are there: it writes over those with the id, and creates
#: nothing; or it leaves them alone, and creates the others.
DupeMethod = Literal["overwriteNoCreate", "skip"]
FILE_NAME = "target-outreach.json"

#: Seconds before the first look at an import, unless earlier ones took longer, and between looks.
FIRST_LOOK = 0.5
LONGEST_PAUSE = 10.0

#: Names of states, in lower case. They are not published; those of batches are, in part (6.1).
UNDER_WAY = frozenset(
    {
        *("pending", "queued", "waiting", "scheduled", "new", "created", "started", "starting"),
        *("confirming", "validating", "processing", "progressing", "in_progress", "running"),
        *("importing", "working", "active"),
    }
)
ENDED = frozenset(
    {
        *("finished", "done", "complete", "completed", "succeeded", "success", "imported"),
        *("failed", "failure", "error", "errored", "canceled", "cancelled", "aborted"),
    }
)

#: Refusals that may be about the form or the size of what was sent.
UNFIT = frozenset({400, 413, 422})
NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class Ending:
    """How an import ended, as far as that can be known without a look at the records.

    Attributes:
        kind: It has ``ended``, which says nothing of its records; it is still at work
            (``unfinished``); whether it was begun, or goes on, cannot be known (``lost``); it was
            ``refused`` and not begun, for what was sent in it (``unfit``) or for another reason.
        words: Why, for the log; without any value of a record.
    """

    kind: Literal["ended", "unfinished", "lost", "unfit", "refused"]
    words: str = ""


class Imports:
    """Starts imports and waits for them, one at a time, on one thread.

    Attributes:
        mode: What imports are used for.
        client: Sends their requests.
    """

    def __init__(
        self,
        client: Client,
        pacer: Pacer,
        mode: BulkMode = "all",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        The pacer waits between looks, unless the run ends; the clock is monotonic, in seconds.
        """
        self.mode = mode
        self.client = client
        self._pacer = pacer
        self._clock = clock
        self._took = 0.0
        self._ends: set[str] = set()

    def run(
        self,
        records: Sequence[Mapping[str, Any]],
        dupe_method: DupeMethod,
        shape: Shape,
        is_carried_out: Callable[[], bool],
    ) -> Ending:
        """Have records written, and wait until that has ended.

        Args:
            records: For each record its JSON:API document, as a single write would have it.
            dupe_method: What happens to records that are there.
            shape: Whether each is sent as it is, ``wrapped`` in `data`, or ``flat``.
            is_carried_out: Looks whether all records are as they should be; asked only where the
                state of the import says nothing.

        Raises:
            ValueError: There are no records: such an import may be about all that Outreach holds
                (API reference 6.1).
            CredentialsError: The token is refused, or lacks a scope.
            RunError: No request may be sent any more.
        """
        if not records:
            raise ValueError("An import without records may be about all records there are.")
        sent = [dict(one if shape == "wrapped" else one["data"]) for one in records]
        ending = self._start(sent, dupe_method)
        return ending if isinstance(ending, Ending) else self._wait(ending, is_carried_out)

    def _start(self, records: list[dict[str, Any]], dupe_method: DupeMethod) -> int | Ending:
        """Return the id of a new import, or why there is none, or none that is known."""
        attributes = {"dupeMethod": dupe_method, "fileName": FILE_NAME, "records": records}
        document = {"data": {"type": "import", "attributes": attributes}}
        try:
            answer = self.client.request("POST", "/imports/actions/bulkUpsert", document)
        except OutcomeUnknown as error:
            if error.status == NOT_IMPLEMENTED:
                return Ending("refused", "Outreach has no imports (501)")
            words = str(error).rstrip(".")
            return Ending("lost", f"the outcome of an import is unknown ({words})")
        except RecordFault as fault:
            kind: Literal["unfit", "refused"] = "unfit" if fault.status in UNFIT else "refused"
            return Ending(kind, f"Outreach refuses imports{_status(fault)}")
        except OutreachError as error:
            return Ending("refused", f"Outreach refuses imports{_status(error)}")
        try:
            return int(answer.document["data"]["id"])
        except (KeyError, OverflowError, TypeError, ValueError):
            return Ending("lost", "an import was answered without its id")

    def _wait(self, number: int, is_carried_out: Callable[[], bool]) -> Ending:
        """Look at an import until it has ended, or for as long as patience lasts.

        A state of an unknown name is taken for an end where all records are as they should be and
        the next look finds the same name; it is recognised from then on.
        """
        began = self._clock()
        before: str | None = None
        is_done = False
        for pause in self._pauses():
            self._pacer.rest(pause)
            state = self._state(number)
            if state is None:
                return Ending("lost", "the state of an import cannot be read")
            if state in ENDED or state in self._ends:
                break
            if state not in UNDER_WAY:
                if is_done and state == before:
                    self._ends.add(state)
                    break
                is_done = is_done or is_carried_out()
                before = state
            if self._clock() - began > LONGEST_IMPORT:
                return Ending(
                    "unfinished", f"an import has not ended within {LONGEST_IMPORT:g} seconds"
                )
        self._took = self._clock() - began
        return Ending("ended")

    def _pauses(self) -> Iterator[float]:
        """Go through the seconds between looks: ever longer, beginning with what imports take."""
        pause = max(FIRST_LOOK, self._took / 2)
        while True:
            yield min(pause, LONGEST_PAUSE)
            pause *= 2

    def _state(self, number: int) -> str | None:
        """Return the state of an import in lower case, or None where that cannot be read."""
        try:
            attributes = self.client.get(f"/imports/{number}").document["data"]["attributes"]
            return str(attributes.get("state")).lower()
        except (RecordFault, CredentialsError, OutreachError):
            return None  # what is wrong with all requests will be said by the next one
        except (AttributeError, KeyError, TypeError):
            return ""


def _status(error: Exception) -> str:
    """Return the status in brackets, with Outreach's code, as in the text of an error."""
    found = re.search(r"\b[345]\d\d\b( [\w.]+(?=\)))?", str(error))
    return f" ({found[0]})" if found else ""
