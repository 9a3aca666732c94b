"""Reading a memory on the main thread, to recognize rows by their exact text in the input."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from target_outreach.delivery.memory_file import BUSY, checksum, parts
from target_outreach.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_outreach.delivery.memory_file import MemoryFile
    from target_outreach.delivery.stream import Stream


class MemoryReader:
    """Reads a memory on a thread of its own, as it was kept last."""

    def __init__(self, memory: MemoryFile) -> None:
        """Open the file once more, for another thread.

        Raises:
            SettingsError: It cannot be opened.
        """
        self._memory = memory
        self._scopes: dict[str, tuple[int, ...]] = {}
        try:
            self._connection = sqlite3.connect(memory.path, timeout=BUSY)
        except sqlite3.Error as error:
            raise SettingsError(f"memory_path cannot be used ({error}).") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def rows(self, stream: Stream, keys: Sequence[bytes]) -> dict[bytes, tuple[int, bytes]]:
        """Return the ids of rows and what stands for them, by what stands for their keys.

        Nothing is known of a row whose record others may have changed, or if the file cannot be
        read: what is wrong with it is said when the row is looked up.
        """
        rows: dict[bytes, tuple[int, bytes]] = {}
        try:
            scope = self._scope(stream)
            for part, marks in parts(keys if scope else ()):
                sql = f"SELECT key, id, row, hashes, checksum FROM delivered WHERE scope = ? AND edited = 0 AND row NOT NULL AND key IN ({marks})"  # noqa: E501, S608 - only marks
                for key, resource_id, row, hashes, kept in self._connection.execute(
                    sql, (*scope, *part)
                ):
                    if kept == checksum(key, resource_id, hashes, 0):
                        rows[key] = resource_id, row
        except sqlite3.Error:
            return {}
        return rows

    def _scope(self, stream: Stream) -> tuple[int, ...]:
        name = self._memory.scope_name(stream)
        if not self._scopes.get(name):
            found = self._connection.execute("SELECT number FROM scopes WHERE name = ?", (name,))
            self._scopes[name] = found.fetchone() or ()
        return self._scopes[name]
