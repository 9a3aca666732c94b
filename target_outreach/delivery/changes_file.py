"""What is done with each record, or would be by a real run, written into a file."""

from __future__ import annotations

import contextlib
import json
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from target_outreach.delivery.stream import Journal
from target_outreach.errors import OutputError
from target_outreach.json_reader import read_in_part, read_json
from target_outreach.private_files import Replacement
from target_outreach.records.model import Unchanged, Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.delivery.changes_page import ChangesPage
    from target_outreach.delivery.stream import Delivered, Item, Stream
    from target_outreach.delivery.tally import Tally
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group
    from target_outreach.records.model import Create, Desired, Resource

#: What Outreach would set itself.
CREATED = "createdAt"


class Lines:
    """JSON Lines: an object for each entry."""

    def begin(self) -> str:
        """Return nothing: each line is complete in itself."""
        return ""

    def entry(self, stream: Stream, entry: Mapping[str, Any]) -> str:
        """Return a line, in which the stream is named already."""
        del stream
        return json.dumps(entry, ensure_ascii=False) + "\n"

    def end(self) -> str:
        """Return nothing."""
        return ""


def form_of(path: str, tallies: Mapping[str, Tally], *, is_dry: bool) -> Lines | ChangesPage:
    """Return the form of a file by its name: a page if that ends in ``.html``, else JSON Lines."""
    if not path.endswith(".html"):
        return Lines()
    # Imported here, since it takes time and most files are none.
    from target_outreach.delivery.changes_page import ChangesPage  # noqa: PLC0415

    return ChangesPage(tallies, is_dry=is_dry)


class ChangesFile(Journal):
    """Writes an entry for each record: its place, what is done with it, and why.

    It holds values of records, so only its owner may read it. It gets into its place when the run
    ends, and no STATE rests on it: where the run is killed, that of an earlier one is still there.
    """

    def __init__(self, path: str, form: Lines | ChangesPage) -> None:
        """Open the file; the form says how entries are written.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._replacement = Replacement(Path(path))
        except OSError as error:
            raise _unwritable(error) from None
        # Half a surrogate pair becomes the escape that JSON has for it.
        self._file = TextIOWrapper(
            cast("BinaryIO", self._replacement.file), "utf-8", "backslashreplace"
        )
        self._form = form
        self._failed = False
        self._key_properties: dict[str, list[str]] = {}
        self._write(form.begin())

    def close(self) -> None:
        """Write all that was noted, and put the file into its place.

        Raises:
            OutputError: It cannot be written, and no note has said so.
        """
        try:
            if not self._failed:
                self._file.write(self._form.end())
                self._file.flush()
                self._replacement.finish()
        except OSError as error:
            raise _unwritable(error) from None
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._replacement.drop()

    def delivered(self, stream: Stream, group: Group[Item], delivered: Delivered) -> None:
        """Note a create, an update, or that there is nothing to be done."""
        for item in group.members[:-1]:
            self._note(stream, "superseded", item, item.desired)
        action = {"created": "create", "updated": "update"}.get(delivered.outcome, "unchanged")
        self._note(stream, action, group.members[-1], group.desired, **_done(delivered))

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Note that records are skipped."""
        for item in items:
            self._note(stream, "skip", item, item.desired, reason=reason)

    def rejected(
        self, stream: Stream, item: Item, fault: RecordFault, opt_out: Delivered | None = None
    ) -> None:
        """Note that a record is rejected, and what is delivered of it all the same."""
        more: dict[str, Any] = {
            "reason": fault.code,
            "field": fault.field,
            "message": fault.message,
        }
        if opt_out is not None:
            more["opt_out"] = _done(opt_out)
        self._note(stream, "reject", item, item.desired, **more)

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Note a record that is made for others to be linked to."""
        made = {name: value for name, value in resource.attributes.items() if name != CREATED}
        entry = {
            "stream": stream.name,
            "action": "create",
            "relationship": relationship,
            "key": {"id": resource.id},
            "id": resource.id,
            "changes": {name: {"old": None, "new": value} for name, value in made.items()},
        }
        self._write(self._form.entry(stream, entry))

    def _note(
        self,
        stream: Stream,
        action: str,
        item: Item,
        desired: Desired | None,
        **more: Any,  # noqa: ANN401 - JSON
    ) -> None:
        source_key = self._source_key(stream, item)
        entry = {
            "stream": stream.name,
            "action": action,
            "line": item.line_number,
            **({"source_key": source_key} if source_key else {}),
            "key": _key(stream, desired),
            **more,
        }
        self._write(self._form.entry(stream, entry))

    def _source_key(self, stream: Stream, item: Item) -> dict[str, Any]:
        """Return the key properties of a record as received, none where its stream has none."""
        names = self._key_properties.get(stream.schema_line)
        if names is None:
            names = _read(stream.schema_line).get("key_properties") or []
            self._key_properties = {stream.schema_line: names}
        if not names:
            return {}
        values = _read(item.line).get("record") or {}
        return {name: values.get(name) for name in names}

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            self._failed = True
            raise _unwritable(error) from None


def _read(line: str) -> dict[str, Any]:
    """Read a message that was read before, at least in part."""
    try:
        message: dict[str, Any] = read_json(line.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        message = read_in_part(line)
    return message


def _key(stream: Stream, desired: Desired | None) -> dict[str, Any]:
    """Return what identifies a record: its id, the values of its match fields, or its links."""
    if desired is None:
        return {}
    if desired.id is not None:
        return {"id": desired.id}
    fields = stream.rules.match_fields
    if fields:
        return {name: desired.attributes[name] for name in fields if desired.attributes.get(name)}
    links: dict[str, Any] = {f"{name}.id": link for name, link in desired.relationships.items()}
    for reference in desired.references.values():
        links.pop(f"{reference.relationship}.id", None)
        links |= dict(zip(reference.parts, (text for _, text in reference.values), strict=True))
    return links


def _done(delivered: Delivered) -> dict[str, Any]:
    """Describe what is done, without empty entries."""
    held = delivered.resource.attributes
    said = {
        "id": delivered.resource.id,  # below zero where it would be created; of enrolments 0
        "changes": _changes(delivered.decided),
        "held_back": dict(delivered.decided.held_back),
        "kept": {name: held.get(name) for name in delivered.kept_differently},
        "by": "import" if delivered.is_imported else None,
    }
    return {name: value for name, value in said.items() if value}


def _changes(decided: Create | Update | Unchanged) -> dict[str, dict[str, Any]]:
    """Return old and new value of each attribute and link that is written.

    There is no old value where nobody asked for it, since a memory knew that the row had changed.
    """
    if isinstance(decided, Unchanged):
        return {}
    new: dict[str, Any] = {**decided.attributes, **decided.relationships}
    if not isinstance(decided, Update):
        return {name: {"old": None, "new": value} for name, value in new.items()}
    held: dict[str, Any] = {**decided.resource.links, **decided.resource.attributes}
    was_seen = bool(held)
    return {
        name: ({"old": held.get(name)} if was_seen else {}) | {"new": value}
        for name, value in new.items()
    }


def _unwritable(error: OSError) -> OutputError:
    return OutputError(f"The changes cannot be written ({error.strerror}): check changes_path.")
