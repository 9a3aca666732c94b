"""Which records are settled (delivered, skipped or rejected), and which STATE may be emitted.

Every record gets a sequence number as it is received. A STATE is released when all records received
before it are settled. STATEs are released in the order in which they came.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

State = dict[str, Any]


class Ledger:
    """Sequence numbers and STATEs.

    One thread receives records and STATEs, another one settles and releases them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._floor = 0
        self._settled: set[int] = set()
        self._states: deque[tuple[int, State]] = deque()
        self._held_at: int | None = None
        # Each is changed by one thread only, so that a record needs no lock to be received.
        self._received: Counter[str] = Counter()
        self._done: Counter[str] = Counter()

    def receive(self, stream: str) -> int:
        """Give a record its sequence number."""
        number = self._next
        self._next = number + 1
        self._received[stream] += 1
        return number

    def settle(self, stream: str, numbers: Iterable[int]) -> None:
        """Note that records of a stream are settled.

        Raises:
            ValueError: One of them was settled before.
        """
        with self._lock:
            settled, before = self._settled, len(self._settled)
            for number in numbers:
                if number < self._floor or number in settled:
                    raise ValueError("A record has a second outcome.")
                settled.add(number)
            self._done[stream] += len(settled) - before
            while self._floor in settled:
                settled.discard(self._floor)
                self._floor += 1

    def hold(self, number: int) -> None:
        """Release no STATE that covers this record, settled or not."""
        with self._lock:
            self._held_at = number if self._held_at is None else min(number, self._held_at)

    def checkpoint(self, state: State) -> None:
        """Receive a STATE, which covers all records received so far."""
        with self._lock:
            self._states.append((self._next, state))

    def release(self) -> State | None:
        """Return the newest STATE that may be emitted and was not emitted yet, or None."""
        with self._lock:
            newest = None
            safe = self._floor if self._held_at is None else min(self._floor, self._held_at)
            while self._states and self._states[0][0] <= safe:
                newest = self._states.popleft()[1]
            return newest

    @property
    def floor(self) -> int:
        """The first sequence number that is not settled."""
        with self._lock:
            return self._floor

    def has_settled_all_before(self, number: int) -> bool:
        """Whether every record that was received before this one is settled."""
        with self._lock:
            return self._floor >= number

    def unsettled(self, stream: str) -> int:
        """Count the records of a stream that are received and not settled."""
        return self._received[stream] - self._done[stream]
