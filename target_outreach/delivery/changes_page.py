"""The changes of a run as one self-contained page: nothing is fetched, and nothing sent."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from target_outreach.delivery.reasons import REJECTED, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_outreach.delivery.stream import Stream
    from target_outreach.delivery.tally import Tally

#: Records of each stream and action that are listed; more are counted.
MOST = 50_000

#: What is done with a record, by the word in an entry.
DONE = {
    "create": "Created",
    "update": "Updated",
    "unchanged": "Unchanged",
    "superseded": "Superseded",
    "skip": "Skipped",
    "reject": "Rejected",
}

#: What would be done with it.
PLANNED = DONE | {"create": "Create", "update": "Update", "skip": "Skip", "reject": "Reject"}

#: What the template has in the place of the entries.
ROWS = "@@rows@@"


class ChangesPage:
    """Entries as lines of JSON within a page, which lists them by a script of its own."""

    def __init__(self, tallies: Mapping[str, Tally], *, is_dry: bool) -> None:
        """Begin without an entry; the counts of the run go on changing."""
        self._tallies = tallies
        self._is_dry = is_dry
        self._counts: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[str] = Counter()
        self._streams: dict[str, Mapping[str, str]] = {}

    def begin(self) -> str:
        """Return the page up to its entries."""
        return self._render({}).partition(ROWS)[0]

    def entry(self, stream: Stream, entry: Mapping[str, Any]) -> str:
        """Return an entry as a line, or nothing where there are too many like it."""
        self._streams[stream.name] = stream.titles
        action = entry["action"]
        self._counts[stream.name, action] += 1
        if self._counts[stream.name, action] > MOST:
            self._left_out[action] += 1
            return ""
        return f"{_json(entry)},\n"

    def end(self) -> str:
        """Return the page from the end of its entries on."""
        about = {
            "version": metadata.version("target-outreach"),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "actions": PLANNED if self._is_dry else DONE,
            "reasons": REJECTED | SKIPPED,
            "streams": [*self._streams],
            "titles": self._streams,
            "labels": {
                stream: {name: title.rpartition(" → ")[2] for name, title in titles.items()}
                for stream, titles in self._streams.items()
            },
            "left_out": self._left_out,
            "most": MOST,
            "unsettled": sum(one.received - one.outcomes.total() for one in self._tallies.values()),
        }
        return self._render(about).partition(ROWS)[2]

    def _render(self, about: Mapping[str, Any]) -> str:
        environment = Environment(
            loader=PackageLoader("target_outreach.delivery", "page"),
            autoescape=True,
            undefined=StrictUndefined,
        )
        script = _read("changes.js")
        return environment.get_template("changes.html").render(
            title="What a run would change" if self._is_dry else "What the run changed",
            is_dry=self._is_dry,
            style=_read("changes.css"),
            script=script,
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            about=_json(about),
        )


def _read(name: str) -> str:
    folder = resources.files("target_outreach.delivery")
    return folder.joinpath("page", name).read_text(encoding="utf-8")


def _json(content: object) -> str:
    """Write JSON that can end no element of a page."""
    return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
