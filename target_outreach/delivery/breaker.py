"""Ending a run early if Outreach accepts nothing at all."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from target_outreach.errors import OutreachError

if TYPE_CHECKING:
    from collections.abc import Collection

    from target_outreach.errors import RecordFault

FORBIDDEN = 403
#: Creates; updates count for nothing, since all of a table may be records of another team.
FORBIDDEN_IN_A_ROW = 20
FIRST_WRITES = 50

#: Further writes that must be refused too. They are taken from the end of what has been read, and
#: updates come first.
LATER_WRITES = 2

#: Faults of single rows, whatever field Outreach names.
ROW_FAULTS = frozenset(
    {"already_taken", "excluded_address", "owner_not_visible", "record_not_found"}
)


class Breaker:
    """Ends a run of which Outreach accepts nothing, for one reason that all rows share.

    Once a record of the run is accepted or found unchanged, refusals are faults of the rows:
    then they are rejects, however many follow each other. Refusals of a field that identifies a
    record, such as an excluded address, are rejects too, since it differs in every row.

    After half of the refusals that would end the run, it is in doubt: then rows are tried that
    arrived later. Rows that an earlier run rejected do not count. The more of them there are, the
    further the run tries, so that no run ends where the one before did.
    """

    def __init__(self) -> None:
        self._forbidden: Counter[bool] = Counter()
        self._refused: defaultdict[str, Counter[tuple[int, str, str]]] = defaultdict(Counter)
        self._accepted: set[str] = set()
        self._known = 0
        #: Whether all writes were refused up to now, so that the run may be about to end.
        self.is_in_doubt = False
        #: How many writes may be under way when the doubt begins.
        self.places = 0

    @property
    def forbidden(self) -> int:
        """How many writes Outreach forbade, if that was all and ended no run; else 0."""
        if self._accepted or self._forbidden[False] >= self._most(FORBIDDEN_IN_A_ROW):
            return 0
        return self._forbidden.total()

    @property
    def has_accepted(self) -> bool:
        """Whether a record of any stream was accepted or found unchanged."""
        return bool(self._accepted)

    def accepted(self, stream: str) -> None:
        """Note that a record was accepted or found unchanged."""
        if stream not in self._accepted:
            self._accepted.add(stream)
            self._refused.pop(stream, None)
            self.is_in_doubt = False

    def refused(
        self,
        stream: str,
        fault: RecordFault,
        identity: Collection[str],
        *,
        was_rejected: bool = False,
    ) -> None:
        """Note that Outreach refused a write.

        Args:
            stream: The stream of the record.
            fault: Outreach's refusal.
            identity: The fields that identify a record of the stream.
            was_rejected: Whether an earlier run has rejected the same row.

        Raises:
            OutreachError: It seems to refuse all of them.
        """
        if fault.status is None or stream in self._accepted:
            return
        if was_rejected:
            self._known += 1
            return
        if fault.status == FORBIDDEN:
            self._forbidden[fault.is_of_update] += 1
            count = 0 if self._accepted else self._forbidden[False]
            if self._is_too_many(count, FORBIDDEN_IN_A_ROW):
                raise OutreachError(
                    "The token may write nothing: Outreach forbade the first "
                    f"{self._forbidden.total()} writes of the run (403). Check the role and the "
                    "governance profile of the token's user."
                )
            return
        self._forbidden.clear()
        if fault.code in ROW_FAULTS or fault.field in identity:
            return
        reasons = self._refused[stream]
        reasons[fault.status, fault.code, fault.field or ""] += 1
        count = reasons.total() if len(reasons) == 1 else 0
        if self._is_too_many(count, FIRST_WRITES):
            what = f"the field {fault.field}, which every row has," if fault.field else "every row"
            raise OutreachError(
                f"Outreach accepts nothing of {stream}: it refused {what} in the first "
                f"{FIRST_WRITES} writes of {stream}, and in later ones ({fault.status} "
                f"{fault.code}); its words are in the rejects file."
            )

    def _most(self, first: int) -> int:
        under_way = max(0, self.places - first // 2)
        return max(first, self._known) + under_way + LATER_WRITES

    def _is_too_many(self, count: int, first: int) -> bool:
        self.is_in_doubt = count >= first // 2
        return count >= self._most(first)
