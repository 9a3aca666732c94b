"""What would be done with each record, written into a file; a dry run keeps no rejects."""

from __future__ import annotations

import contextlib
import json
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from target_outreach.errors import OutputError
from target_outreach.json_reader import read_json
from target_outreach.private_files import Replacement
from target_outreach.records.model import Create, Desired, Resource, Unchanged, Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_outreach.delivery.outcome import Delivered
    from target_outreach.delivery.stream import Item, Stream
    from target_outreach.errors import RecordFault
    from target_outreach.records.folding import Group

#: What Outreach would set itself.
CREATED = "createdAt"


class NoRejects:
    """Takes rejected records and keeps none of them."""

    path = ""

    def add(self, stream: str, schema_line: str, record_line: str, fault: RecordFault) -> int:
        """Forget it."""
        del stream, schema_line, record_line, fault
        return 0

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlanFile:
    """Writes one line for each record: where it stands, what would be done with it, and why.

    It holds values of records, so only its owner may read it.
    """

    def __init__(self, path: str) -> None:
        """Open the file.

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
        self._failed = False
        self._key_properties: dict[str, list[str]] = {}

    def commit(self) -> None:
        """Do nothing: a plan is written when the run ends, and no STATE rests on it."""

    def close(self) -> None:
        """Write all that was noted, and put the file into its place.

        Raises:
            OutputError: It cannot be written, and no note has said so.
        """
        try:
            if not self._failed:
                self._file.flush()
                self._replacement.finish()
        except OSError as error:
            raise _unwritable(error) from None
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._replacement.drop()

    def delivered(self, stream: Stream, group: Group[Item], delivered: Delivered) -> None:
        """Note a create, an update, or that nothing is to be done."""
        for item in group.members[:-1]:
            self._note(stream, "superseded", item, item.desired)
        action = {"created": "create", "updated": "update"}.get(delivered.outcome, "unchanged")
        resource_id = delivered.resource.id  # below zero where it would be created; of enrolments 0
        changes = _changes(delivered.decided)
        held_back = dict(delivered.decided.held_back)
        self._note(
            stream,
            action,
            group.members[-1],
            group.desired,
            **({"id": resource_id} if resource_id else {}),
            **({"changes": changes} if changes else {}),
            **({"held_back": held_back} if held_back else {}),
        )

    def skipped(self, stream: Stream, items: Sequence[Item], reason: str) -> None:
        """Note that records are left out."""
        for item in items:
            self._note(stream, "skip", item, item.desired, reason=reason)

    def rejected(self, stream: Stream, item: Item, fault: RecordFault) -> None:
        """Note that a record would be rejected."""
        reason = {"reason": fault.code, "field": fault.field, "message": fault.message}
        self._note(stream, "reject", item, item.desired, **reason)

    def made(self, stream: Stream, relationship: str, resource: Resource) -> None:
        """Note a record that would be made for others to be linked to, by its negative id."""
        self._write(
            {
                "stream": stream.name,
                "action": "create",
                "relationship": relationship,
                "key": {"id": resource.id},
                "id": resource.id,
                "changes": _pairs(
                    {}, {k: v for k, v in resource.attributes.items() if k != CREATED}
                ),
            }
        )

    def _note(
        self,
        stream: Stream,
        action: str,
        item: Item,
        desired: Desired | None,
        **more: Any,  # noqa: ANN401 - JSON
    ) -> None:
        source_key = self._source_key(stream, item)
        self._write(
            {
                "stream": stream.name,
                "action": action,
                "line": item.line_number,
                **({"source_key": source_key} if source_key else {}),
                "key": _key(stream, desired),
                **more,
            }
        )

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

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            self._failed = True
            raise _unwritable(error) from None


def _read(line: str) -> dict[str, Any]:
    """Read a message that was read before."""
    message: dict[str, Any] = read_json(line.encode("utf-8", "surrogatepass"))
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


def _changes(decided: Create | Update | Unchanged) -> dict[str, dict[str, Any]]:
    """Return old and new value of each attribute and link that would be written."""
    if isinstance(decided, Unchanged):
        return {}
    old = decided.resource if isinstance(decided, Update) else Resource(0, {}, {})
    return _pairs(old.attributes, decided.attributes) | _pairs(old.links, decided.relationships)


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"old": old.get(name), "new": value} for name, value in new.items()}


def _unwritable(error: OSError) -> OutputError:
    return OutputError(f"The plan cannot be written ({error.strerror}): check plan_path.")
