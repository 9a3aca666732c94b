"""The keys of rows in their source, and rows that are nothing special, read from their line.

Most rows have all columns that are delivered, and in each a value of a type that the SCHEMA has. A
decoder that is made for the stream checks that while it parses. It has no answer for
any other row, whatever is special about it: such a row is read as JSON, checked by
the rules of the SCHEMA and mapped column by column.
"""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from target_outreach.errors import RecordFault
from target_outreach.records.schemas import RecordSchema, plain_types

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from target_outreach.records.mapping import StreamMapping
    from target_outreach.records.model import Desired, Dropped, Value
    from target_outreach.records.schemas import JsonSchema
    from target_outreach.records.values import Coercion

#: As `json.dumps` does it, which would make an encoder for each record.
_encode = json.JSONEncoder(default=str).encode


class SourceKey:
    """Words the keys of the rows of one stream.

    Attributes:
        names: Its key properties, if it has any.
    """

    def __init__(self, stream: str, key_properties: Sequence[str]) -> None:
        """Prepare for a stream.

        Args:
            stream: Its name.
            key_properties: Its key properties, if it has any.
        """
        self.names = tuple(key_properties)
        self._start = _encode([stream, [*key_properties]])[:-1]

    def of(self, values: Sequence[Any]) -> str | None:
        """Return the key of a row, or None where one of its values is null."""
        if not values or None in values:
            return None
        return f"{self._start}, {', '.join(map(_as_json, values))}]"


def _as_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Write a value as `_encode` does, which takes longer for what most keys are."""
    if type(value) is int:
        return repr(value)
    return encode_basestring_ascii(value) if type(value) is str else _encode(value)


#: The types by which the decoder tells values apart as JSON Schema does.
DECODED = frozenset({str, int, bool, type(None)})

#: What a column may hold for which there is no rule.
ANY_TEXT = {"type": ["string", "null"]}

#: Columns of a stream for which a decoder is worth its making.
MOST_COLUMNS = 1_000

#: How many more rows than plain ones may be special before no more plain ones are looked for.
MOST_IN_VAIN = 1_000


class PlainRows:
    """Reads the plain rows of one stream."""

    def __init__(
        self,
        described: tuple[str, JsonSchema, JsonSchema],
        mapping: StreamMapping,
        keys: Sequence[str],
        deletion_columns: Collection[str],
    ) -> None:
        """Make a decoder for a stream.

        Args:
            described: Its name as received, its SCHEMA as received, and what is used of that to
                check rows, with `properties`.
            mapping: Where its columns go; to each attribute goes one.
            keys: Its key properties.
            deletion_columns: Columns that are null in each row that is not deleted.

        Raises:
            ValueError: There is none for such columns.
        """
        stream, schema, rules = described
        self._in_vain = 0
        self._mapping = mapping
        self._names = [*mapping.attributes]
        checked = rules["properties"]
        columns = [column for (column,) in mapping.attributes.values()]
        columns += [*mapping.goals(), *checked, *rules.get("required", ()), *keys]
        fields: dict[str, Any] = dict.fromkeys(columns, Any)
        for column, one in checked.items():
            if (types := plain_types(one)) and types <= DECODED:
                fields[column] = Union[tuple(types)]  # noqa: UP007 - of types known at run time
        typed: dict[str, frozenset[type]] = {}
        self._texts: list[str] = []
        self._others: list[tuple[str, frozenset[type], Coercion, int]] = []
        for _, name, column, plain, longest, coerce, _ in mapping.steps:
            types = plain_types(checked.get(column, ANY_TEXT))
            if plain and str in types:
                text = Annotated[str, Meta(max_length=plain)]
                nothing = types & {type(None)}
                fields[column] = Union[(text, *nothing)]
                self._texts.append(name)
            else:
                typed[column] = plain_types(checked.get(column))
                self._others.append((name, typed[column], coerce, longest))
        rest = {
            column: one
            for column, one in checked.items()
            if fields[column] is Any and not typed.get(column)
        }
        self._rest: RecordSchema | None = None
        if rest or dict not in plain_types({"type": rules.get("type", "object")}):
            whole = {key: one for key, one in rules.items() if key != "required"}
            self._rest = RecordSchema({**whole, "properties": rest}, code="schema_violation")
        links = [one.values() for one in mapping.relationships.values()]
        texts = {mapping.attributes[name][0] for name in self._texts}.difference(keys, *links)
        self._places = [(one, place) for place, one in enumerate(fields) if one not in texts]
        self._decode = _decoder(stream, fields, schema["properties"], deletion_columns)

    def read(self, line: bytes) -> tuple[str, dict[str, Any], Desired] | None:
        """Read a line.

        Returns:
            The line as text, the delivered columns of its row but those of plain text that are no
            key, and what this says; None where the line is no plain row.
        """
        if self._in_vain >= MOST_IN_VAIN:
            return None
        try:
            values = msgspec.structs.astuple(self._decode(line).record)
            record = {column: values[place] for column, place in self._places}
            if self._rest is not None:
                self._rest.check(record)
            attributes: dict[str, Value] = dict(zip(self._names, values, strict=False))
            desired = self._mapping.complete(record, *self._coerced(attributes))
            text = line.decode("utf-8")
        except (ValueError, ArithmeticError, RecursionError, RecordFault):
            self._in_vain += 1
            return None
        self._in_vain = max(0, self._in_vain - 1)
        return None if desired.too_long else (text, record, desired)

    def _coerced(
        self, attributes: dict[str, Value]
    ) -> tuple[dict[str, Value], list[Dropped], list[str]]:
        """Turn what is not plain text yet into what the attributes take.

        Raises:
            ValueError: A value is of another type than the SCHEMA says.
            RecordFault: It does not fit.
        """
        dropped: list[Dropped] = []
        too_long: list[str] = []
        for name in self._texts:
            text: Any = attributes[name]
            if not text or text.isspace():
                attributes[name] = None
        for name, types, coerce, longest in self._others:
            value = attributes[name]
            if types and type(value) not in types:
                raise ValueError
            if value is not None:
                attributes[name] = read = coerce(value, dropped)
                if type(read) is str and len(read) > longest:
                    too_long.append(name)
        return attributes, dropped, too_long


def _decoder(
    stream: str, needed: dict[str, Any], known: Collection[str], deletion_columns: Collection[str]
) -> Callable[[bytes], Any]:
    """Return what decodes the RECORD messages of a stream, and nothing else.

    It needs columns of some types, knows others, and takes no row that is deleted.
    """
    if len(known) > MOST_COLUMNS or not needed.keys().isdisjoint(deletion_columns):
        raise ValueError
    columns = dict.fromkeys([*needed, *deletion_columns, *known])
    names = {f"column{number}": column for number, column in enumerate(columns)}
    fields: list[Any] = []
    for name, column in names.items():
        if column in needed:
            fields.append((name, needed[column]))
        else:
            fields.append((name, None if column in deletion_columns else Any, None))
    record = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True)
    message: list[Any] = [("type", Literal["RECORD"]), ("stream", Literal[stream])]
    message += [("record", record), ("time_extracted", Any, None), ("version", Any, None)]
    kind = msgspec.defstruct("Message", message, forbid_unknown_fields=True)
    return msgspec.json.Decoder(kind, float_hook=Decimal).decode
