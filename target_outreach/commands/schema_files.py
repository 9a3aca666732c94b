"""SCHEMA messages from a tap's output, from a JSON Schema, or from the header of a CSV file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from target_outreach.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_outreach.commands.described import Fields

#: What may be between the names in the header line of a CSV file.
DELIMITERS = ",;\t|"


def read_schemas(file: str, stream: str | None) -> list[Fields]:
    """Read the first SCHEMA of each stream, or a JSON Schema or the header of a CSV file as one.

    Args:
        file: A path, or ``-`` for standard input.
        stream: The stream of a JSON Schema or CSV file; by default the name of the file.

    Raises:
        InputError: There is no SCHEMA.
    """
    try:
        with click.open_file(file, "rb") as opened:
            content: bytes = opened.read()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    name = stream or ("stdin" if file == "-" else Path(file).stem)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and document.get("type") == "SCHEMA":
        found = [document]
    elif isinstance(document, dict | list):
        found = [{"type": "SCHEMA", "stream": name, "schema": document}]
    elif _has_messages(content):
        found = list(_messages(content, file))
    else:
        found = list(_header(content, name))
    if not found:
        raise InputError(f"{file} holds no SCHEMA.")
    return found


def _has_messages(content: bytes) -> bool:
    """Whether a file is what a tap prints: its first line is JSON, or a later one is a SCHEMA."""
    lines = content.removeprefix(b"\xef\xbb\xbf").lstrip().splitlines()
    is_json = [line.lstrip().startswith(b"{") for line in lines]
    return is_json[:1] == [True] or any(
        is_it and b'"SCHEMA"' in line for line, is_it in zip(lines, is_json, strict=True)
    )


def _header(content: bytes, name: str) -> Iterator[Fields]:
    """Read the header line of a CSV file as the SCHEMA of a stream of texts."""
    text = _text(content).lstrip("\r\n")
    line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=line.count)
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    columns = {column.strip(): {"type": ["null", "string"]} for column in header if column.strip()}
    if columns:
        yield {"type": "SCHEMA", "stream": name, "schema": {"properties": columns}}


def _text(content: bytes) -> str:
    """Decode a CSV file: UTF-8 or UTF-16, or what spreadsheets write without saying so."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _messages(content: bytes, file: str) -> Iterator[Fields]:
    """Go through the lines of a tap's output; most of them need not be read."""
    seen = set()
    for number, line in enumerate(content.splitlines(), 1):
        if b"SCHEMA" not in line:
            continue
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"Line {number} of {file} is not valid JSON.") from None
        if not isinstance(message, dict) or message.get("type") != "SCHEMA":
            continue
        name = str(message.get("stream"))
        if name not in seen:
            seen.add(name)
            yield message
