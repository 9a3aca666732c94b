"""The stream of invented people that several benchmarks send."""

from __future__ import annotations

from typing import Any


def people_schema(**more: dict[str, Any]) -> dict[str, Any]:
    """Return the SCHEMA message of a stream of people.

    Args:
        more: The JSON Schemas of further columns, by name.
    """
    text = {"type": "string"}
    columns = {"id": {"type": "integer"}, "email": text, "first_name": text, "title": text}
    return {
        "type": "SCHEMA",
        "stream": "prospects",
        "schema": {"type": "object", "properties": columns | more},
        "key_properties": ["id"],
    }
