"""``target-outreach fields``: what columns can go to, and where those of a SCHEMA would."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from target_outreach.commands import config_option, explained, merge_config, speak_alone
from target_outreach.errors import CredentialsError, ExitCode, InputError, SettingsError
from target_outreach.parts import Organisation
from target_outreach.records.catalog import stream_objects
from target_outreach.records.mapping import links_of
from target_outreach.records.model import CUSTOM_NAME, Attribute, ObjectType
from target_outreach.settings.access import ACCESS
from target_outreach.settings.entries import match_fields
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.parts import Parts
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
    help="Say where the columns of this JSON Schema, or of the SCHEMA messages in this file, would "
    "go; - for standard input.",
)
@click.option("--stream", metavar="NAME", help="The stream of a JSON Schema, by default its file.")
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
    as in a run; the exit code is 1 where one could not be delivered. One request is sent.

    Example: target-outreach fields prospects --config config.json

    Example: target-outreach fields --config config.json --schema marts-prospects.singer
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
    """Read the first SCHEMA of each stream, or a JSON Schema as that of one.

    Args:
        file: A path, or ``-`` for standard input.
        stream: The stream of a JSON Schema; by default the name of the file.

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
        found = list(_messages(content, file))
    else:
        is_message = isinstance(document, dict) and document.get("type") == "SCHEMA"
        found = [document if is_message else {"type": "SCHEMA", "stream": name, "schema": document}]
    if not found:
        raise InputError(f"{file} holds no SCHEMA.")
    return found


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
    return ExitCode.FAILED if any(one["problems"] for one in described) else ExitCode.DONE


def _streams(target: Describer, message: Fields) -> list[Fields]:
    """Describe what a SCHEMA leads to: one stream, or as many as stream maps make of it."""
    try:
        return [_stream(sink) for sink in target.read({"key_properties": [], **message})]
    except (SettingsError, InputError) as error:
        problems = error.errors if isinstance(error, SettingsError) else [str(error)]
        return [{"stream": message.get("stream"), "object": None, "problems": list(problems)}]


def _stream(sink: OutreachSink) -> Fields:
    described: Fields = {"stream": sink.stream_name, "object": None, "problems": []}
    mapping, rules = sink.mapping, sink.stream.rules
    if mapping is None:
        return described
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
        "required": sorted(missing) if rules.sync_mode != "update" else [],
    }


def _print_stream(one: Fields) -> None:
    if one["problems"]:
        for problem in one["problems"]:
            click.echo(f"problem  {problem}")
        return
    if one["object"] is None:
        click.echo(f"{one['stream']} is left out (object: none)")
        return
    way = ", by ".join(filter(None, (one["sync_mode"], ", ".join(one["match_on"]))))
    click.echo(f"{one['stream']} → {one['object']} ({way})\n")
    rows = [("column", "goes to", "type"), *map(_column_row, one["columns"])]
    rows += [(column, "", f"left out: {why}") for column, why in one["left_out"].items()]
    _print_table(rows)
    for name in one["required"]:
        click.echo(f"note     A new record needs a value in {name}, to which no column goes.")


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
