"""Noticing that no record fares better than the last, before thousands are refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from target_outreach.errors import OutreachError

if TYPE_CHECKING:
    from target_outreach.errors import RecordFault

FORBIDDEN = 403
FORBIDDEN_IN_A_ROW = 10
FIRST_WRITES = 50


class Breaker:
    """Stops a run whose writes are all refused for one reason, which no record can mend."""

    def __init__(self) -> None:
        self._forbidden = 0
        self._refused: defaultdict[str, Counter[tuple[int, str, str]]] = defaultdict(Counter)
        self._succeeded: set[str] = set()

    def succeeded(self, stream: str) -> None:
        """Hear that a write was carried out."""
        self._forbidden = 0
        if stream not in self._succeeded:
            self._succeeded.add(stream)
            self._refused.pop(stream, None)

    def refused(self, stream: str, fault: RecordFault) -> None:
        """Hear that Outreach refused a write.

        Raises:
            OutreachError: It refuses all of them, as far as one can tell.
        """
        if fault.status is None:
            return
        self._forbidden = self._forbidden + 1 if fault.status == FORBIDDEN else 0
        if self._forbidden >= FORBIDDEN_IN_A_ROW:
            raise OutreachError(
                f"Outreach forbade {self._forbidden} writes in a row (403): the token's user may "
                "not write these records; check the user's role and governance profile."
            )
        if stream in self._succeeded:
            return
        reasons = self._refused[stream]
        reasons[fault.status, fault.code, fault.field or ""] += 1
        if len(reasons) == 1 and reasons.total() >= FIRST_WRITES:
            field = f" in {fault.field}" if fault.field else ""
            raise OutreachError(
                f"Outreach refused the first {FIRST_WRITES} writes of {stream} for the same reason "
                f"({fault.status} {fault.code}{field}); its words are in the rejects file."
            )
