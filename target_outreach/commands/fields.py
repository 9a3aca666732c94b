"""``target-outreach fields``: what columns can go to, and where those of a SCHEMA would."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from singer_sdk.exceptions import ConfigValidationError

from target_outreach.commands import config_option, explained, merge_config, speak_alone
from target_outreach.commands.described import (
    attributes_of,
    describe_stream,
    likely_object_of,
    link_columns,
)
from target_outreach.commands.schema_files import read_schemas
from target_outreach.commands.tables import print_table
from target_outreach.errors import CredentialsError, ExitCode, InputError, SettingsError
from target_outreach.parts import Organisation
from target_outreach.plain_text import say, say_unbroken, terminal_columns
from target_outreach.records.catalog import stream_objects
from target_outreach.records.model import CUSTOM_NAME
from target_outreach.records.routing import LIKELY
from target_outreach.running import explain
from target_outreach.settings.access import ACCESS
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from target_outreach.commands.described import Fields
    from target_outreach.parts import Parts
    from target_outreach.sinks import OutreachSink


#: Minutes that the command waits for Outreach at most.
PATIENCE = 1

HEADER = ("attribute", "type", "longest", "written", "match_on", "label and options")
#: Stands for credentials, which settings must have, where nothing is sent.
NO_TOKEN = {"access_token": "-"}
#: What leads to an organisation.
TO_CONNECT = (*ACCESS, "api_url", "oauth_url", "credentials_path", "request_timeout_seconds")
UNKNOWN_LABELS = "the labels, types and options of custom fields are not known here"


@click.command()
@click.argument(
    "object_name",
    metavar=f"[{'|'.join(stream_objects())}]",
    required=False,
    shell_complete=lambda *words: [name for name in stream_objects() if name.startswith(words[-1])],
)
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
    if object_name is not None and object_name not in stream_objects():
        meant = LIKELY.get(object_name.lower())
        hint = f" Outreach calls {object_name.lower()} {meant}." if meant else ""
        raise click.UsageError(f"There are {', '.join(stream_objects())} only.{hint}")
    if schema_file is not None and object_name is not None:
        raise click.UsageError("With --schema the settings say which object a stream is for.")
    speak_alone()
    config = merge_config(context, configs)
    messages = None if schema_file is None else read_schemas(schema_file, stream)
    if messages is not None:
        with _opened(config, offline=offline) as target:
            target.run.check_entries()
            return _list_streams(target, messages, as_json=as_json)
    names = [object_name] if object_name is not None else list(stream_objects())
    try:
        with _opened(config, offline=offline) as target:
            target.run.check_entries()
            return _list_objects(target, names, as_json=as_json)
    except ConfigValidationError as error:
        code = explain(error)  # the names are shown all the same: they help to correct it
    config = {name: config[name] for name in TO_CONNECT if name in config}
    with _opened(config, offline=offline) as target:
        _list_objects(target, names, as_json=as_json)
    return code


class Acquaintance(Organisation):
    """An organisation that need not be asked: a description is content with less than a run.

    Attributes:
        unasked: Why it is not asked for its custom fields, where it is not.
    """

    def __init__(self, parts: Parts, unasked: str | None) -> None:
        """Know what all organisations have alike."""
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

    def check_scopes(self, stream: str, object_name: str, needed: Sequence[str]) -> None:
        """Describe a stream whatever the token may do."""

    def excuse(self) -> None:
        """Say on standard error what is missing, if anything is."""
        if self._matters and self.unasked is not None:
            say(f"{self.unasked}: {UNKNOWN_LABELS}.", err=True)


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
        yield target
    finally:
        organisation.excuse()
        target.run.parts.close()


# Objects


def _list_objects(target: Describer, names: Sequence[str], *, as_json: bool) -> int:
    organisation = target.run.parts.organisation
    organisation.learn_custom_fields()
    objects = [organisation.objects[name] for name in names]
    if as_json:
        _print_json({one.name: [*attributes_of(one), *link_columns(one)] for one in objects})
        return ExitCode.DONE
    for position, one in enumerate(objects):
        say(*[""] * bool(position), one.name, "")
        print_table(
            [HEADER, *map(_row, _without_idle(attributes_of(one))), *map(_row, link_columns(one))]
        )
    return ExitCode.DONE


def _without_idle(described: Iterable[Fields]) -> list[Fields]:
    """Put the unused custom fields into one line."""
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


def _list_streams(target: Describer, messages: Iterable[Fields], *, as_json: bool) -> int:
    described = [one for message in messages for one in _streams(target, message)]
    if as_json:
        _print_json(described)
    else:
        for position, one in enumerate(described):
            if position:
                say("")
            _print_stream(one)
        if entries := [one["entry"] for one in described if one["entry"]]:
            say("", "To paste under streams:", "")
            shown = ",\n  ".join(map(_entry_as_json, entries))
            say_unbroken("[", *f"  {shown}".split("\n"), "]")
    return ExitCode.FAILED if any(one["problems"] for one in described) else ExitCode.DONE


def _entry_as_json(entry: Fields) -> str:
    """Write an entry of `streams` on one line, or on several where the terminal is narrower."""
    text, columns = json.dumps(entry, ensure_ascii=False), terminal_columns(sys.stdout)
    if columns is None or len(text) + len("  ,") <= columns:
        return text
    return json.dumps(entry, ensure_ascii=False, indent=2).replace("\n", "\n  ")


def _streams(target: Describer, message: Fields) -> list[Fields]:
    """Describe what a SCHEMA leads to: one stream, or as many as stream maps make of it."""
    try:
        sinks = target.read({"key_properties": [], **message})
        return [describe_stream(sink, target.run.settings) for sink in sinks]
    except (SettingsError, InputError) as error:
        stream = message.get("stream")
        described = {"stream": stream, "object": None, "entry": None}
        if not isinstance(error, SettingsError):
            return [described | {"problems": [str(error)]}]
        likely = likely_object_of(str(stream), target.run.settings)
        entry = {"stream": str(stream), "object": likely}
        return [described | {"problems": list(error.errors), "entry": entry}]


def _print_stream(one: Fields) -> None:
    for problem in one["problems"]:
        say(f"problem  {problem}")
    if one["problems"] and one["object"] is None:
        return
    if one["object"] is None:
        say(f"{one['stream']} is ignored (object: none)")
        return
    way = ", by ".join(filter(None, (one["sync_mode"], ", ".join(one["match_on"]))))
    say(f"{one['stream']} → {one['object']} ({way})", "")
    rows = [("column", "goes to", "type"), *map(_column_row, one["columns"])]
    rows += [(column, "", _ignored(one, column, why)) for column, why in one["left_out"].items()]
    print_table(rows)
    for column in one["suggested"].keys() - one["left_out"].keys():
        say(f"note     {column} could go to {one['suggested'][column]} instead.")
    for name in one["required"]:
        say(f"note     A new record needs a value in {name}, to which no column goes.")


def _ignored(one: Fields, column: str, why: str) -> str:
    if column in one["suggested"]:
        return f"ignored: {why}; could go to {one['suggested'][column]}"
    if column in one["nearest"]:
        return f"ignored: {why}; nearest: {one['nearest'][column]}"
    return f"ignored: {why}"


def _column_row(one: Fields) -> tuple[str, ...]:
    goal = one["goal"] if one["label"] is None else f"{one['goal']} ({one['label']})"
    return one["column"], goal, one["type"]


# Printing


def _print_json(document: Any) -> None:  # noqa: ANN401 - JSON
    say_unbroken(*json.dumps(document, indent=2, ensure_ascii=False).split("\n"))
