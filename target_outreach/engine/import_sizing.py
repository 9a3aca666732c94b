"""How far imports can be trusted, as earlier ones of the run went.

Nothing is known of their limits (API reference 6.2). So they begin small, grow while that works,
change their form or shrink where they write nothing, and end for the rest of the run where that
does not help. The log says so once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from target_outreach.outreach.imports import Ending, Shape

logger = logging.getLogger("target-outreach")

#: Records of the first import.
FIRST_SIZE = 10

#: Records of the largest import. With a thousand, starting it and waiting for it cost some 0.005
#: requests a record, as does reading it back; larger ones would save little and risk more.
MOST = 1000

#: Imports in a row that may go wrong after others have worked.
MOST_FAILURES = 3


class ImportSizing:
    """How large the next import is and in what form, as earlier ones went.

    Attributes:
        size: The most records that it may have.
        shape: The form of a record.
        is_lost: Whether there are to be no more imports.
    """

    _what = "updated"

    def __init__(self) -> None:
        self.size = FIRST_SIZE
        self.shape: Shape = "wrapped"
        self.is_lost = False
        self._most = MOST
        self._has_worked = False
        self._failures = 0

    def learn(self, count: int, kept: int, ending: Ending) -> bool:
        """Take in how an import went.

        Args:
            count: How many records it had.
            kept: How many of them were read back as they should be.
            ending: How it ended.

        Returns:
            Whether the rest is worth another import, smaller or of another form.
        """
        if kept == 0 and ending.kind in {"unfit", "ended"} and self._try_otherwise(count):
            return True
        has_worked, self._has_worked = self._has_worked, self._has_worked or kept > 0
        lost = count - kept
        is_failure = lost * 2 > count or (lost > 0 and ending.kind in {"lost", "unfinished"})
        self._failures = self._failures + 1 if is_failure else 0
        may_fail = has_worked and self._failures < MOST_FAILURES
        if ending.kind in {"refused", "unfinished"}:
            self._lose(ending.words)
        elif is_failure and not may_fail:
            self._lose(ending.words or "imports ignore too many of their records")
        else:
            self._adapt(count, lost)
        return False

    def _try_otherwise(self, count: int) -> bool:
        """After an import that wrote nothing, change what may be the reason, if anything may."""
        if not self._has_worked:
            tried, self.shape = self.shape, "flat"
            return tried != "flat"
        if count > FIRST_SIZE:
            self.size = self._most = count // 2
            return True
        self._most = MOST  # not their number, but one of the records is at fault
        return False

    def _adapt(self, count: int, lost: int) -> None:
        if lost * 10 > count:
            self.size = max(FIRST_SIZE, self.size // 2)
        elif count >= self.size:
            self.size = min(2 * self.size, self._most)

    def _lose(self, words: str) -> None:
        self.is_lost = True
        logger.warning(
            "bulk_writes is switched off for the rest of this run, and records are %s one at a "
            "time: %s.",
            self._what,
            words,
        )


class CreateSizing(ImportSizing):
    """The same of imports of new records, which end for good with the first that goes wrong.

    Only a first request that was refused as a whole, so that nothing of it was begun, is sent once
    more in the other form.
    """

    _what = "created"

    def learn(self, count: int, kept: int, ending: Ending) -> bool:
        """Take in how an import went; all of its records must be there, once, as they were sent.

        Args:
            count: How many records it had.
            kept: How many of them were found so.
            ending: How it ended.

        Returns:
            Whether the rest is worth another import, of another form.
        """
        if ending.kind == "unfit" and not self._has_worked and self._try_otherwise(count):
            return True
        if kept < count or ending.kind == "unfinished":
            self._lose(ending.words or "an import has not created each record once, as it was sent")
        self._has_worked = True
        self._adapt(count, 0)
        return False
