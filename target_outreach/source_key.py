"""The key of a row in its source, as text by which a memory knows it again."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

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
