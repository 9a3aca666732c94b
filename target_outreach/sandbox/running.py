"""What exists only while the sandbox runs."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from target_outreach.sandbox.access import Access
from target_outreach.sandbox.server import HttpServer
from target_outreach.sandbox.store import Store

if TYPE_CHECKING:
    from target_outreach.sandbox.server import Service


class Running:
    """The file, the socket and the thread that listens.

    Args:
        service: What is served.
        path: SQLite file, created where missing; None or ``":memory:"`` for a temporary one.
        address: Host and TCP port to listen on.

    Raises:
        OSError: The port is taken.
        sqlite3.Error: The file is no database, or locked.

    Attributes:
        server: Serves requests once `thread` has been started.
        store: The records.
        access: The tokens.
        thread: Listens.
    """

    def __init__(self, service: Service, path: str | Path | None, address: tuple[str, int]) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if path is None or str(path) == ":memory:":
            self._folder = tempfile.TemporaryDirectory(prefix="outreach-sandbox-")
            path = Path(self._folder.name, "outreach.db")
        try:
            self.server = HttpServer(*address, service)
        except OSError:
            self._clean()
            raise
        try:
            self.store = Store(Path(path), service.clock)
            self.access = Access(self.store, service.clock)
        except BaseException:
            self.server.server_close()
            self._clean()
            raise
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.02,), name="sandbox-listener", daemon=True
        )

    def close(self) -> None:
        """Close all connections, threads and the file."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.store.close()
        self._clean()

    def _clean(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
