"""Reading lines from standard input, without being deaf while none come.

A thread reads, so that the main one can close batches by age and hear that the run must end while
the tap is silent.
"""

from __future__ import annotations

import select
import threading
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING

from target_outreach.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 256 * 1024
CHUNKS_AHEAD = 4
TICK_SECONDS = 0.5


class Inbox:
    """Chunks of lines from a file, read ahead by a thread, and wake-up calls between them.

    Attributes:
        torn: The last line, where it does not end as lines do.
    """

    def __init__(self) -> None:
        self.torn: bytes | None = None
        self._chunks: SimpleQueue[list[bytes] | Exception | None] = SimpleQueue()
        self._room = threading.Semaphore(CHUNKS_AHEAD)

    def wake(self) -> None:
        """Let the reader look around now; safe in a signal handler."""
        self._chunks.put([])

    def read(self, file: IO[str]) -> None:
        """Begin to read a file on a thread of its own."""
        threading.Thread(target=self._read, args=(file.fileno(),), daemon=True).start()

    def _read(self, descriptor: int) -> None:
        pieces: list[bytes] = []
        try:
            # A raw read holds no lock that the interpreter would wait for at its end.
            with open(descriptor, "rb", buffering=0, closefd=False) as raw:
                while (chunk := raw.read(CHUNK_BYTES)) != b"":
                    if chunk is None:  # a pipe that does not block, and has nothing yet
                        select.select([raw], [], [], TICK_SECONDS)
                        continue
                    head, newline, tail = chunk.rpartition(b"\n")
                    if newline:
                        self._hand_over(b"".join((*pieces, head)).split(b"\n"))
                        pieces = [tail] if tail else []
                    else:
                        pieces.append(chunk)
            if pieces:
                self.torn = b"".join(pieces)
                self._hand_over([self.torn])
        except OSError as error:
            self._chunks.put(InputError(f"Standard input cannot be read ({error.strerror})."))
        except MemoryError:
            what = "A line of standard input is too long: there is not enough RAM for it."
            self._chunks.put(InputError(what))
        self._chunks.put(None)

    def _hand_over(self, lines: list[bytes]) -> None:
        self._room.acquire()
        self._chunks.put(lines)

    def chunks(self) -> Iterator[list[bytes]]:
        """Yield the lines as they come, and an empty list whenever there is time to look around."""
        while True:
            try:
                chunk = self._chunks.get(timeout=TICK_SECONDS)
            except Empty:
                chunk = []
            if chunk is None:
                return
            if isinstance(chunk, Exception):
                raise chunk
            if chunk:
                self._room.release()
            yield chunk


def lines_of(path: Path) -> Iterator[list[bytes]]:
    """Yield the lines of a file, some at a time."""
    with path.open("rb") as file:
        while lines := file.readlines(CHUNK_BYTES):
            yield lines
