"""The small object of a memory in a bucket: which contents are valid, and which run uses them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

KIND = "target-outreach memory"


@dataclass(frozen=True, slots=True)
class Head:
    """What the object at `memory_path` says.

    Attributes:
        contents: The name of the object with the SQLite file; None where there is none yet.
        run: Stands for the run that uses the memory, or that was killed while it did.
        beat: Goes up as long as that run lives.
    """

    contents: str | None = None
    run: str | None = None
    beat: int = 0

    def to_json(self) -> bytes:
        """Return it as it is kept."""
        said = {"kind": KIND, "contents": self.contents, "run": self.run, "beat": self.beat}
        return json.dumps(said).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Head:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            said: dict[str, Any] = json.loads(content)
            names = said["contents"], said["run"]
            if said["kind"] == KIND and all(isinstance(name, str | None) for name in names):
                return cls(*names, int(said["beat"]))
        except (KeyError, TypeError, OverflowError, RecursionError):
            pass
        raise ValueError("something else")
