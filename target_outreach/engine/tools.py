"""What a run delivers with, as one value."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_outreach.delivery.memory import Memory
    from target_outreach.delivery.settlement import Settlement
    from target_outreach.engine.enrolment import Enrols
    from target_outreach.engine.job import Deliverer
    from target_outreach.outreach.imports import Imports
    from target_outreach.outreach.lookup import Lookup
    from target_outreach.outreach.pacing import Pacer
    from target_outreach.records.model import ObjectType


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run delivers with.

    Attributes:
        lookup: Finds records in Outreach.
        writer: Writes them, or does as if.
        enrolments: Puts prospects into sequences, or does as if.
        pacer: Grants requests; told to grant none when the run must end.
        settlement: Settles records.
        objects: The objects as the organisation has them, the same ones as those of streams.
        imports: Carries out many writes at a time, if that is to be done.
        memory: Knows what was delivered before, if a memory is kept.
        parallel: The most requests in flight.
        clock: A monotonic clock in seconds.
    """

    lookup: Lookup
    writer: Deliverer
    enrolments: Enrols
    pacer: Pacer
    settlement: Settlement
    objects: Mapping[str, ObjectType]
    imports: Imports | None = None
    memory: Memory | None = None
    parallel: int = 4
    clock: Callable[[], float] = time.monotonic
