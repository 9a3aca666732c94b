"""How many rejects are too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OnReject = Literal["fail", "ignore", "abort", "hold"]

#: What to do where another run uses the memory.
OnBusy = Literal["wait", "end"]

FEWEST_RECEIVED = 100


@dataclass(frozen=True, slots=True)
class RejectPolicy:
    """The settings `on_reject` and `max_rejects`.

    Attributes:
        on_reject: What a rejected record does to the run.
        most: The most rejected records, or None.
        most_percent: The most rejected records in percent of those received, or None.
    """

    on_reject: OnReject = "fail"
    most: int | None = None
    most_percent: float | None = None

    def verdict(self, rejected: int, received: int) -> str | None:
        """Say in one sentence why the run must stop after so many rejects, or return None."""
        if self.most is not None and rejected > self.most:
            return f"More than max_rejects ({self.most}) records were rejected."
        if self.most_percent is not None and received > FEWEST_RECEIVED:
            share = 100 * rejected / received
            if share > self.most_percent:
                limit = f"max_rejects allows {self.most_percent:g} %"
                return f"{share:.1f} % of the records were rejected; {limit}."
        return None
