"""Noticing that Outreach accepts nothing at all, before thousands of records are refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from target_outreach.errors import OutreachError

if TYPE_CHECKING:
    from collections.abc import Collection

    from target_outreach.errors import RecordFault

FORBIDDEN = 403
FORBIDDEN_IN_A_ROW = 20
FIRST_WRITES = 50

#: Faults that lie in single rows, whatever field Outreach names.
ROW_FAULTS = frozenset(
    {"already_taken", "excluded_address", "owner_not_visible", "record_not_found"}
)


class Breaker:
    """Ends a run of which Outreach accepts nothing, for one reason that lies in no single row.

    A record that is in Outreach as it should be, written or found so, shows that refusals lie in
    the rows: then they are rejects, however many follow each other. So are refusals of what
    identifies a record, such as an excluded address, since that differs in every row.
    """

    def __init__(self) -> None:
        self._forbidden = 0
        self._refused: defaultdict[str, Counter[tuple[int, str, str]]] = defaultdict(Counter)
        self._accepted: set[str] = set()

    def accepted(self, stream: str) -> None:
        """Hear that a record is in Outreach as it should be."""
        if stream not in self._accepted:
            self._accepted.add(stream)
            self._refused.pop(stream, None)

    def refused(self, stream: str, fault: RecordFault, identity: Collection[str]) -> None:
        """Hear that Outreach refused a write.

        Args:
            stream: The stream of the record.
            fault: Outreach's refusal.
            identity: The fields that identify a record of the stream.

        Raises:
            OutreachError: It refuses all of them, as far as one can tell.
        """
        if fault.status is None or stream in self._accepted:
            return
        if fault.status == FORBIDDEN:
            self._forbidden += 1
            if not self._accepted and self._forbidden >= FORBIDDEN_IN_A_ROW:
                raise OutreachError(
                    "The token may write nothing: Outreach forbade the first "
                    f"{self._forbidden} writes of the run (403). Check the role and the "
                    "governance profile of the token's user."
                )
            return
        self._forbidden = 0
        if fault.code in ROW_FAULTS or fault.field in identity:
            return
        reasons = self._refused[stream]
        reasons[fault.status, fault.code, fault.field or ""] += 1
        if len(reasons) == 1 and reasons.total() >= FIRST_WRITES:
            what = f"the field {fault.field}, which every row has," if fault.field else "every row"
            raise OutreachError(
                f"Outreach accepts nothing of {stream}: it refused {what} in the first "
                f"{FIRST_WRITES} writes of {stream} ({fault.status} {fault.code}); its words are "
                "in the rejects file."
            )
