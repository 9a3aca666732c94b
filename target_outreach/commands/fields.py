"""``target-outreach fields``: what columns can go to, and where those of a SCHEMA would."""

from __future__ import annotations

import csv
import io
import json
from contextlib import contextmanager
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from target_outreach.commands import config_option, explained, merge_config, speak_alone
from target_outreach.errors import CredentialsError, ExitCode, InputError, SettingsError
from target_outreach.parts import Organisation
from target_outreach.records.catalog import stream_objects
from target_outreach.records.mapping import UNKNOWN, links_of, names_of, near
from target_outreach.records.model import CUSTOM_NAME, Attribute, ObjectType
from target_outreach.records.routing import first_match, likely_object, route
from target_outreach.records.rules import StreamSettings
from target_outreach.settings.access import ACCESS
from target_outreach.settings.entries import match_fields
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.parts import Parts
    from target_outreach.records.mapping import StreamMapping
    from target_outreach.settings import Settings
    from target_outreach.sinks import OutreachSink

Fields = dict[str, Any]

#: Minutes that the command waits for Outreach at most.
PATIENCE = 1

KINDS = {
    "texts": "list of texts",
    "emails": "list of email addresses",
    "phones": "list of phone numbers",
}
HEADER = ("attribute", "type", "longest", "written", "match_on", "label and options")
#: Stands for credentials, which settings must have, where nothing is sent.
NO_TOKEN = {"access_token": "-"}
#: What may stand between the names in the header line of a CSV file.
DELIMITERS = ",;\t|"
UNKNOWN_LABELS = "the labels, types and options of custom fields are not known here"


@click.command()
@click.argument("object_name", metavar=f"[{'|'.join(stream_objects())}]", required=False)
@config_option
@click.option("--offline", is_flag=True, help="Do not ask Outreach for custom fields.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--schema",
    "schema_file",
    metavar="FILE",
    help="Say where the columns of this JSON Schema, of the SCHEMA messages in this file, or of "
    "this CSV file, would go; - for standard input.",
)
@click.option(
    "--stream",
    metavar="NAME",
    help="The stream of a JSON Schema or CSV file, by default the name of the file.",
)
@click.pass_context
@explained
def fields(  # noqa: PLR0913 - each is an option
    context: click.Context,
    object_name: str | None,
    configs: tuple[str, ...],
    *,
    offline: bool,
    as_json: bool,
    schema_file: str | None,
    stream: str | None,
) -> int:
    """List what columns can go to: attributes, links, and custom fields with their labels.

    With --schema it says for each stream where its columns would go by the same settings and code
    as in a run, and ends with entries to paste under streams. The exit code is 1 where a stream
    could not be delivered, or lacks a column that the settings name. One request is sent.

    Example: target-outreach fields prospects --config config.json

    Example: target-outreach fields --config config.json --schema marts-prospects.singer

    Example: target-outreach fields --schema contacts.csv --stream contacts-prospects
    """
    if object_name not in {None, *stream_objects()}:
        raise click.UsageError(f"There are {', '.join(stream_objects())} only.")
    if schema_file is not None and object_name is not None:
        raise click.UsageError("With --schema the settings say which object a stream is for.")
    speak_alone()
    config = merge_config(context, configs)
    messages = None if schema_file is None else read_schemas(schema_file, stream)
    with _opened(config, offline=offline) as target:
        if messages is None:
            names = [object_name] if object_name is not None else list(stream_objects())
            return _list_objects(target, names, as_json=as_json)
        return _list_streams(target, messages, as_json=as_json)


class Acquaintance(Organisation):
    """An organisation that need not be asked: a description is content with less than a run.

    Attributes:
        unasked: Why it is not asked for its custom fields, where it is not.
    """

    def __init__(self, parts: Parts, unasked: str | None) -> None:
        """Know what all organisations have alike.

        Args:
            parts: Have the connection to it.
            unasked: Why it is not to be asked.
        """
        super().__init__(parts)
        self.unasked = unasked
        self._matters = False

    def learn_custom_fields(self) -> None:
        """Ask for its custom fields, as far as the credentials allow it."""
        self._matters = True
        try:
            if self.unasked is None:
                super().learn_custom_fields()
        except CredentialsError as error:
            self.unasked = str(error).rstrip(".")

    def excuse(self) -> None:
        """Say on standard error what is missing, if anything is."""
        if self._matters and self.unasked is not None:
            click.echo(f"{self.unasked}: {UNKNOWN_LABELS}.", err=True)


class Describer(TargetOutreach):
    """A target that says what it would do."""

    def read(self, message: dict[str, Any]) -> list[OutreachSink]:
        """Take in a SCHEMA message, and return the sinks that its stream leads to.

        Raises:
            SettingsError: The settings do not fit the stream.
            InputError: It is no SCHEMA message that a tap may send.
        """
        stream = message.get("stream")
        try:
            self._process_schema_message(message)
        except SettingsError:
            self.mapper.stream_maps.pop(str(stream), None)  # it has no sink
            raise
        return [self.sink(one.stream_alias) for one in self.mapper.stream_maps[str(stream)]]


@contextmanager
def _opened(config: Fields, *, offline: bool) -> Iterator[Describer]:
    """Make a target of the settings, with credentials or without.

    Raises:
        SettingsError: A setting is wrong.
    """
    unasked = "--offline" if offline else None
    if not offline and not any(str(config.get(name) or "").strip() for name in ACCESS):
        unasked = "No credentials are configured"
    if unasked is not None:
        config = {name: value for name, value in config.items() if name not in ACCESS} | NO_TOKEN
    target = Describer(config=config | {"max_wait_minutes": PATIENCE, "max_outage_minutes": 0})
    parts = target.run.parts
    parts.organisation = organisation = Acquaintance(parts, unasked)
    try:
        target.run.check_entries()
        yield target
    finally:
        organisation.excuse()
        target.run.close()


# Objects


def _list_objects(target: Describer, names: Sequence[str], *, as_json: bool) -> int:
    organisation = target.run.parts.organisation
    organisation.learn_custom_fields()
    objects = [organisation.objects[name] for name in names]
    if as_json:
        _print_json({one.name: [*_attributes(one), *_links(one)] for one in objects})
        return ExitCode.DONE
    for position, one in enumerate(objects):
        click.echo(f"{'' if position == 0 else chr(10)}{one.name}\n")
        _print_table([HEADER, *map(_row, _without_idle(_attributes(one))), *map(_row, _links(one))])
    return ExitCode.DONE


def _attributes(object_type: ObjectType) -> list[Fields]:
    """Describe the attributes of an object, the curated ones first."""
    found_by = match_fields(object_type)
    ordered = sorted(object_type.attributes.values(), key=lambda one: not one.curated)
    return [
        {
            "name": one.name,
            "type": _type(one),
            "max_length": one.max_length,
            "written": _written(one),
            "match_on": one.name in found_by,
            "label": one.label,
            "choices": list(one.custom.choices) if one.custom is not None else [],
            "required": one.name in {*object_type.required, object_type.required_attribute},
            "description": one.description,
        }
        for one in ordered
    ]


def _type(attribute: Attribute) -> str:
    if attribute.custom is not None:
        return attribute.custom.type
    return KINDS.get(attribute.kind, attribute.kind)


def _written(attribute: Attribute) -> str:
    if attribute.read_only:
        return "read-only"
    return "by columns" if attribute.explicit_only else "yes"


def _links(object_type: ObjectType) -> list[Fields]:
    """Describe the columns that link a record to others."""
    links = [object_type.relationships[name] for name in links_of(object_type)]
    names = ("id", *(f"{link.name}.{part}" for link in links for part in link.linked_by))
    return [
        {
            "name": name,
            "type": "Outreach id" if name.rpartition(".")[2] == "id" else "text",
            "max_length": None,
            "written": "finds" if name == "id" else "yes",
            "match_on": False,
            "label": None,
            "choices": [],
            "required": False,
            "description": "Which record it is." if name == "id" else "Links to another record.",
        }
        for name in names
    ]


def _without_idle(described: Iterable[Fields]) -> list[Fields]:
    """Put the custom fields of which nothing is known into one line."""
    known: list[Fields] = []
    idle: list[Fields] = []
    for one in described:
        is_idle = one["type"] == "text" and CUSTOM_NAME.fullmatch(one["name"]) and not one["label"]
        (idle if is_idle else known).append(one)
    if idle:
        first, last = idle[0]["name"], idle[-1]["name"]
        known.append(idle[0] | {"name": f"{first} … {last}", "label": f"({len(idle)} fields)"})
    return known


def _row(one: Fields) -> tuple[str, ...]:
    label = one["label"] or ""
    if one["choices"]:
        label += f": {' | '.join(one['choices'])}"
    return (
        one["name"],
        one["type"],
        "" if one["max_length"] is None else f"{one['max_length']:,}",
        one["written"],
        "yes" if one["match_on"] else "",
        f"{label} [required]" if one["required"] else label,
    )


# Streams


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


def _list_streams(target: Describer, messages: Iterable[Fields], *, as_json: bool) -> int:
    described = [one for message in messages for one in _streams(target, message)]
    if as_json:
        _print_json(described)
    else:
        for position, one in enumerate(described):
            click.echo("" if position == 0 else "\n", nl=False)
            _print_stream(one)
        if entries := [one["entry"] for one in described if one["entry"]]:
            click.echo("\nTo paste under streams:\n")
            shown = (json.dumps(entry, ensure_ascii=False) for entry in entries)
            click.echo("[\n  " + ",\n  ".join(shown) + "\n]")
    return ExitCode.FAILED if any(one["problems"] for one in described) else ExitCode.DONE


def _streams(target: Describer, message: Fields) -> list[Fields]:
    """Describe what a SCHEMA leads to: one stream, or as many as stream maps make of it."""
    try:
        sinks = target.read({"key_properties": [], **message})
        return [_stream(sink, target.run.settings) for sink in sinks]
    except (SettingsError, InputError) as error:
        stream = message.get("stream")
        described = {"stream": stream, "object": None, "entry": None}
        if not isinstance(error, SettingsError):
            return [described | {"problems": [str(error)]}]
        entry = _entry(str(stream), _object_of(str(stream), target.run.settings), {})
        return [described | {"problems": list(error.errors), "entry": entry}]


def _object_of(stream: str, settings: Settings) -> str:
    """Say which object a stream is for, or likely to be for."""
    entry = first_match(stream, settings.streams)
    try:
        by_entry = entry.settings.object if entry is not None else None
        name = route(stream, by_entry, settings.outreach_object)
    except SettingsError:
        name = None
    return name or likely_object(stream)


def _entry(stream: str, object_name: str, rest: Fields) -> Fields:
    return {"stream": stream, "object": object_name, **rest}


def _entry_of(stream: str, mapping: StreamMapping, settings: Settings) -> Fields:
    """Write an entry of `streams` that says what the settings say, and takes what is suggested.

    Links are not taken, since a row whose link leads nowhere may be rejected.
    """
    chosen = first_match(stream, settings.streams)
    said = chosen.settings if chosen is not None else settings.defaults
    rest = {
        one.name: list(value) if isinstance(value := getattr(said, one.name), tuple) else value
        for one in fields_of(StreamSettings)
        if one.name not in {"object", "columns"}
        and getattr(said, one.name) != getattr(settings.defaults, one.name)
    }
    columns = {
        column: goal for column, goal in said.columns.items() if column not in mapping.missing
    }
    taken = set(mapping.attributes)
    known = mapping.object.writable.keys()
    lists = {name for name, attribute in mapping.object.attributes.items() if attribute.is_array}
    for column, goal in mapping.suggested.items():
        if column in mapping.unmapped and goal in known and goal not in taken - lists:
            columns[column] = goal
            taken.add(goal)
    return _entry(stream, mapping.object.name, rest | ({"columns": columns} if columns else {}))


def _stream(sink: OutreachSink, settings: Settings) -> Fields:
    described: Fields = {
        "stream": sink.stream_name,
        "object": None,
        "problems": [],
        "entry": None,
    }
    mapping, rules = sink.mapping, sink.stream.rules
    if mapping is None:
        return described
    problems = [f"Stream {sink.stream_name!r}: {one}." for one in mapping.missing.values()]
    columns = mapping.goals()
    missing = set(mapping.object.required) - set(mapping.attributes)
    attributes = mapping.object.attributes
    return described | {
        "object": mapping.object.name,
        "sync_mode": rules.sync_mode,
        "match_on": list(rules.match_fields),
        "columns": [
            {
                "column": column,
                "goal": goal,
                "label": attributes[goal].label if goal in attributes else None,
                "type": _type(attributes[goal]) if goal in attributes else "link",
            }
            for column, goal in columns.items()
        ],
        "left_out": dict(mapping.unmapped),
        "suggested": dict(mapping.suggested),
        "nearest": _nearest(mapping),
        "problems": problems,
        "entry": _entry_of(sink.stream_name, mapping, settings),
        "required": sorted(missing) if rules.sync_mode != "update" else [],
    }


def _nearest(mapping: StreamMapping) -> dict[str, str]:
    """Name for columns of which nothing is known the attribute whose name is nearest."""
    known = [name for name in names_of(mapping.object) if not CUSTOM_NAME.fullmatch(name)]
    found = {
        column: near(column, known)
        for column, why in mapping.unmapped.items()
        if why == UNKNOWN and column not in mapping.suggested
    }
    return {column: names[0] for column, names in found.items() if names}


def _print_stream(one: Fields) -> None:
    for problem in one["problems"]:
        click.echo(f"problem  {problem}")
    if one["problems"] and one["object"] is None:
        return
    if one["object"] is None:
        click.echo(f"{one['stream']} is left out (object: none)")
        return
    way = ", by ".join(filter(None, (one["sync_mode"], ", ".join(one["match_on"]))))
    click.echo(f"{one['stream']} → {one['object']} ({way})\n")
    rows = [("column", "goes to", "type"), *map(_column_row, one["columns"])]
    rows += [(column, "", _left_out(one, column, why)) for column, why in one["left_out"].items()]
    _print_table(rows)
    for column in one["suggested"].keys() - one["left_out"].keys():
        click.echo(f"note     {column} could go to {one['suggested'][column]} instead.")
    for name in one["required"]:
        click.echo(f"note     A new record needs a value in {name}, to which no column goes.")


def _left_out(one: Fields, column: str, why: str) -> str:
    if column in one["suggested"]:
        return f"left out: {why}; could go to {one['suggested'][column]}"
    if column in one["nearest"]:
        return f"left out: {why}; nearest: {one['nearest'][column]}"
    return f"left out: {why}"


def _column_row(one: Fields) -> tuple[str, ...]:
    goal = one["goal"] if one["label"] is None else f"{one['goal']} ({one['label']})"
    return one["column"], goal, one["type"]


# Printing


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their cells under each other, the first as a header."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [*rows[:1], ["-" * width for width in widths], *rows[1:]]
    for row in lines:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_json(document: Any) -> None:  # noqa: ANN401 - JSON
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
