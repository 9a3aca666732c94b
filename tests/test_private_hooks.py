"""What this target has of the SDK beyond its public promise, and that the SDK still keeps to it.

The tables below list all of it. A use that they lack fails, and so does one that is
gone. Each has a test that says which hook has moved: the signature as it was, a call in a real run
through the SDK's own loop, or what it does for us.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import logging
import signal
import sys
import textwrap
from collections import defaultdict
from contextlib import contextmanager, redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lines, record, schema, state
from singer_sdk import Target
from singer_sdk.helpers import capabilities
from singer_sdk.mapper import (
    CustomStreamMap,
    PluginMapper,
    RemoveRecordTransform,
    SameRecordTransform,
)
from singer_sdk.singerlib.encoding import SimpleSingerReader
from singer_sdk.singerlib.json import deserialize_json, serialize_json
from singer_sdk.sinks import Sink

import target_outreach
from target_outreach.cli import run
from target_outreach.errors import Interrupted
from target_outreach.messages import MessageReader
from target_outreach.sinks import OutreachSink
from target_outreach.target import TargetOutreach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Message = dict[str, Any]

PACKAGE = Path(target_outreach.__file__).parent

#: The modules that meet the SDK's classes.
FACES = (
    *("singer", "messages", "sinks", "target", "cli", "configuration"),
    *("running", "commands.__init__", "commands.fields"),
)
#: Our classes below the SDK's.
HEIRS = {TargetOutreach: Target, OutreachSink: Sink, MessageReader: SimpleSingerReader}

#: What is overridden: the parameters that the SDK declares, and the module that calls ours in a
#: run. `messages` calls the callbacks that the SDK hands to the reader.
MESSAGE = "self, message_dict"
OVERRIDDEN: dict[tuple[type, str], tuple[str | None, str]] = {
    (TargetOutreach, "append_builtin_config"): ("cls, config_jsonschema", "singer_sdk.plugin_base"),
    (TargetOutreach, "config_jsonschema"): (None, ""),
    (TargetOutreach, "get_sink"): (
        "self, stream_name, *, record, schema, key_properties",
        "singer_sdk.target_base",
    ),
    (TargetOutreach, "message_reader_class"): (None, ""),
    (TargetOutreach, "process_endofpipe"): ("self", "singer_sdk.plugin_base"),
    (TargetOutreach, "_handle_termination"): ("self, signum, frame", "test_private_hooks"),
    (TargetOutreach, "_process_activate_version_message"): (MESSAGE, "target_outreach.messages"),
    (TargetOutreach, "_process_batch_message"): (MESSAGE, "target_outreach.messages"),
    (TargetOutreach, "_process_record_message"): (MESSAGE, "target_outreach.messages"),
    (TargetOutreach, "_process_schema_message"): (MESSAGE, "target_outreach.messages"),
    (TargetOutreach, "_process_state_message"): (MESSAGE, "target_outreach.messages"),
    (TargetOutreach, "_validate_config"): ("self, *, raise_errors", "singer_sdk.plugin_base"),
    (OutreachSink, "clean_up"): ("self", "target_outreach.target"),
    (OutreachSink, "current_size"): (None, "singer_sdk.target_base"),
    (OutreachSink, "get_validator"): ("self", "singer_sdk.sinks.core"),
    (OutreachSink, "process_batch"): ("self, context", "singer_sdk.target_base"),
    (OutreachSink, "process_record"): ("self, record, context", "singer_sdk.target_base"),
    (MessageReader, "deserialize_json"): ("self, line", "singer_sdk.singerlib.encoding.base"),
    (MessageReader, "process_lines"): ("self, file_input, callbacks", "singer_sdk.plugin_base"),
}
INITIALS = {
    TargetOutreach: "config, parse_env_config, validate_config, setup_mapper, message_reader",
    OutreachSink: "target, stream_name, schema, key_properties",
    MessageReader: "",
}

#: What is imported from the SDK, by module.
IMPORTED = {
    "singer_sdk": {"Target"},
    "singer_sdk.exceptions": {
        *("ConfigValidationError", "FatalSyncError", "MappingError", "MissingKeyPropertiesError"),
        *("RecordsWithoutSchemaException", "RetriableSyncError", "SkippableSyncError"),
    },
    "singer_sdk.helpers.capabilities": {
        *("FLATTENING_CONFIG", "STREAM_MAPS_CONFIG", "TARGET_VALIDATE_RECORDS_CONFIG"),
    },
    "singer_sdk.mapper": {"RemoveRecordTransform", "SameRecordTransform", "StreamMap"},
    "singer_sdk.logging": {"ConsoleFormatter"},
    "singer_sdk.metrics": {"Counter", "Metric", "Point", "Tag", "get_metrics_logger", "log"},
    "singer_sdk.plugin_base": {"SingerCommand"},
    "singer_sdk.singerlib.encoding": {"SimpleSingerReader"},
    "singer_sdk.singerlib.json": {"deserialize_json", "serialize_json"},
    "singer_sdk.sinks": {"Sink"},
}

MAPS = {
    "mapped": {"id": "id", "emails": "emails", "__else__": None, "__alias__": "mapped-prospects"}
}
MESSAGES = [
    schema("prospects"),
    record("prospects", id=1, emails="a@x.test", title="T"),
    {"type": "ACTIVATE_VERSION", "stream": "prospects", "version": 1},
    state({"at": 1.5}),
    schema("prospects", {"id": {"type": "integer"}, "emails": {"type": "string"}}),
    record("prospects", id=2, emails="b@x.test", _sdc_sequence=1),
    schema("mapped"),
    record("mapped", id=3, emails="c@x.test", title="left out"),
]
BATCH = {"type": "BATCH", "stream": "prospects", "encoding": {"format": "jsonl"}, "manifest": []}


@contextmanager
def listening(name: str) -> Iterator[list[str]]:
    """Hear what a logger says."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda entry: heard.append(entry.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


class Seen:
    """What real runs have shown.

    Attributes:
        target: The target of the first run.
        callers: The modules that called what is overridden.
        codes: The exit codes of the runs.
        states: What they have printed.
        metrics: What the first one has counted for Meltano.
        about: What `--about` says.
    """

    def __init__(self, config: Message) -> None:
        self.config = config
        self.callers: defaultdict[tuple[type, str], set[str]] = defaultdict(set)
        self.target = self.make()
        self.codes: list[int] = []
        self.states = ""
        self.metrics: list[Message] = []
        self.about: Message = {}

    def make(self, **settings: Any) -> TargetOutreach:
        return TargetOutreach(config=self.config | settings)

    def spy(self, patch: pytest.MonkeyPatch) -> None:
        """Take note of each call of what is overridden."""
        for owner, name in OVERRIDDEN:
            found = inspect.getattr_static(owner, name)
            if isinstance(found, classmethod):
                spied: Any = classmethod(self._spied(owner, name, found.__func__))
            elif isinstance(found, property):
                spied = property(self._spied(owner, name, found.fget))
            elif inspect.isfunction(found):
                spied = self._spied(owner, name, found)
            else:
                continue
            patch.setattr(owner, name, spied)

    def _spied(self, owner: type, name: str, function: Any) -> Callable[..., Any]:
        def spied(*arguments: Any, **options: Any) -> Any:
            self.callers[owner, name].add(sys._getframe(1).f_globals["__name__"])
            return function(*arguments, **options)

        return spied

    def watch(self) -> None:
        """Run targets, and let the SDK do what it would do itself."""
        self.target = self.make()
        with redirect_stdout(io.StringIO()) as stdout:
            with listening("singer_sdk.metrics") as heard:
                self.codes.append(run(self.target, io.StringIO(lines(MESSAGES))))
            self.codes.append(run(self.make(), io.StringIO(lines([schema("prospects"), BATCH]))))
        self.metrics = [json.loads(one.partition("METRIC: ")[2]) for one in heard]
        self.states = stdout.getvalue()
        self._loop()
        self._read()
        self._signal()
        with redirect_stdout(io.StringIO()) as about:
            TargetOutreach.print_about("json")
        self.about = json.loads(about.getvalue())

    def _loop(self) -> None:
        """Have a record handled as the SDK does it where nothing is overridden."""
        target = self.make()
        target._process_schema_message(schema("prospects"))
        Target._process_record_message(target, record("prospects", id=4, emails="d@x.test"))
        target.drain_one(target.sink("prospects"))
        target.run.deliver_rest()
        target.run.parts.close()

    def _read(self) -> None:
        """Have a line read as the SDK does it."""
        reader = MessageReader()
        SimpleSingerReader.process_lines(reader, io.StringIO(lines([BATCH])), {"BATCH": str})

    def _signal(self) -> None:
        """Have the SDK's signal handler called, in a run that has nothing to end."""
        self.make()
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        with pytest.raises(Interrupted):
            handler(signal.SIGTERM, None)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("hooks")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    config = {
        "sandbox": str(folder / "outreach.db"),
        "rejects_path": str(folder / "rejects"),
        "stream_maps": MAPS,
    }
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(config)
        seen.spy(patch)
        seen.watch()
        yield seen
    for number, handler in handlers.items():
        signal.signal(number, handler)


# What is overridden


def name_of(hook: tuple[type, str]) -> str:
    return f"{hook[0].__name__}.{hook[1]}"


def parameters(function: Any) -> str:
    """Write the names of parameters, with a star before those that are given by name only."""
    signature = inspect.signature(function)
    names: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(parameter.name)
    return ", ".join(names)


@pytest.mark.parametrize("hook", OVERRIDDEN, ids=name_of)
def test_the_sdk_declares_what_is_overridden_as_it_did(hook):
    owner, name = hook
    base = HEIRS[owner]
    assert hasattr(base, name), f"{base.__name__}.{name} is gone from the SDK"
    declared, _ = OVERRIDDEN[hook]
    if declared is not None:
        found = inspect.getattr_static(base, name)
        function = getattr(found, "__func__", None) or found
        assert parameters(function) == declared, f"{base.__name__}.{name} takes something else now"


@pytest.mark.parametrize("owner", HEIRS, ids=lambda owner: owner.__name__)
def test_the_sdk_makes_what_we_inherit_from_as_it_did(owner):
    made = parameters(HEIRS[owner]).removeprefix("*, ")
    assert made == INITIALS[owner], f"{HEIRS[owner].__name__} is made of something else now"


@pytest.mark.parametrize("hook", [hook for hook, row in OVERRIDDEN.items() if row[1]], ids=name_of)
def test_what_is_overridden_is_called_in_a_real_run(seen, hook):
    owner, name = hook
    callers = seen.callers[hook]
    assert callers, f"nobody calls {owner.__name__}.{name} any more"
    assert OVERRIDDEN[hook][1] in callers, f"{owner.__name__}.{name} is called from {callers}"


def test_the_real_run_has_delivered_what_it_was_given(seen):
    assert seen.codes == [0, 1]  # a BATCH is refused
    assert [json.loads(line) for line in seen.states.splitlines()] == [{"at": 1.5}]
    counts = seen.target.run.parts.tallies
    assert {name: tally.received for name, tally in counts.items()} == {
        "prospects": 2,
        "mapped-prospects": 1,
    }


# What is used


def sink_of(seen: Seen) -> OutreachSink:
    return seen.target.sink("prospects")


def map_of(seen: Seen, stream: str) -> Any:
    return seen.target.mapper.stream_maps[stream][0]


def removes(seen: Seen, stream: str) -> bool:
    target = seen.make(stream_maps={stream: None})
    target._process_schema_message(schema(stream))
    return type(target.mapper.stream_maps[stream][0]) is RemoveRecordTransform


def flattens(seen: Seen, **settings: Any) -> bool:
    target = seen.make(**settings)
    target._process_schema_message(schema("prospects"))
    return target.mapper.stream_maps["prospects"][0].flattening_enabled


def counted(seen: Seen) -> int:
    """How many records of a stream the SDK has counted for Meltano, in all."""
    return sum(
        point["value"]
        for point in seen.metrics
        if point["metric"] == "record_count" and point["tags"]["stream"] == "mapped-prospects"
    )


#: What is used, and whether it does what it is used for.
USED: dict[str, Callable[[Seen], bool]] = {
    "cli": lambda _: "config" in {one.name for one in TargetOutreach.cli.params},
    "logger": lambda _: TargetOutreach.logger.name == "target-outreach",
    "print_about": lambda seen: seen.about["name"] == "target-outreach",
    "cb_config": lambda _: (
        vars(TargetOutreach.cb_config(None, None, ("ENV",))) == {"config": {}, "parse_env": True}
    ),
    "_config": lambda seen: seen.make(on_null=None).config.keys() == seen.config.keys(),
    "_env_var_prefix": lambda _: TargetOutreach._env_var_prefix == "TARGET_OUTREACH_",
    "_sinks_active": lambda seen: [*seen.target._sinks_active] == ["prospects", "mapped-prospects"],
    "flattening_enabled": lambda seen: (
        not flattens(seen) and flattens(seen, flattening_enabled=True, flattening_max_depth=1)
    ),
    "key_properties": lambda seen: [*sink_of(seen).key_properties] == ["id"],
    "mapper": lambda seen: isinstance(seen.target.mapper, PluginMapper),
    "stream_alias": lambda seen: map_of(seen, "mapped").stream_alias == "mapped-prospects",
    "stream_maps": lambda seen: {*seen.target.mapper.stream_maps} == {"prospects", "mapped"},
    "transform": lambda seen: (
        map_of(seen, "mapped").transform({"id": 1, "emails": "a", "b": 1})
        == {"id": 1, "emails": "a"}
    ),
    "original_schema": lambda seen: (
        [*sink_of(seen).original_schema["properties"]] == ["id", "emails"]
    ),
    "plugin_version": lambda _: bool(TargetOutreach.plugin_version),
    "record_counter_metric": lambda seen: counted(seen) == 1,
    "listen": lambda seen: seen.callers[MessageReader, "process_lines"] != set(),
    "stream_name": lambda seen: sink_of(seen).stream_name == "prospects",
}

#: What is imported, and is more than a name to raise, inherit from or annotate with.
WORKS: dict[str, Callable[[Seen], bool]] = {
    "FLATTENING_CONFIG": lambda _: (
        "flattening_enabled" in capabilities.FLATTENING_CONFIG["properties"]
    ),
    "STREAM_MAPS_CONFIG": lambda _: "stream_maps" in capabilities.STREAM_MAPS_CONFIG["properties"],
    "TARGET_VALIDATE_RECORDS_CONFIG": lambda _: (
        [*capabilities.TARGET_VALIDATE_RECORDS_CONFIG["properties"]] == ["validate_records"]
    ),
    "RemoveRecordTransform": lambda seen: removes(seen, "prospects"),
    "SameRecordTransform": lambda seen: (
        [type(map_of(seen, stream)) is SameRecordTransform for stream in ("prospects", "mapped")]
        == [True, False]
    ),
    "serialize_json": lambda _: serialize_json({"at": Decimal("1.50")}) == '{"at":1.50}',
    "deserialize_json": lambda _: deserialize_json('{"at":1.5}') == {"at": 1.5},
}


@pytest.mark.parametrize("name", USED)
def test_what_is_used_of_the_sdk_does_what_it_is_used_for(seen, name):
    assert USED[name](seen), f"{name} is not what it was"


@pytest.mark.parametrize("name", WORKS)
def test_what_is_imported_from_the_sdk_does_what_it_is_used_for(seen, name):
    assert WORKS[name](seen), f"{name} is not what it was"


@pytest.mark.parametrize("module", IMPORTED)
def test_the_sdk_has_all_that_is_imported_where_it_was(module):
    missing = IMPORTED[module] - set(dir(importlib.import_module(module)))
    assert not missing, f"{missing} is gone from {module}"


# That the tables are whole


def tree_of(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def names_of_the_sdk() -> set[str]:
    """List what the SDK's classes have, and what their methods set."""
    heads = (*HEIRS.values(), PluginMapper, SameRecordTransform, CustomStreamMap)
    classes = {one for head in heads for one in head.__mro__ if of_the_sdk(one)}
    names = {name for one in classes for name in vars(one)}
    for one in classes:
        names |= set_in(ast.parse(textwrap.dedent(inspect.getsource(one))))
    return {name for name in names if not name.startswith("__")}


def of_the_sdk(one: type) -> bool:
    return one.__module__.split(".")[0] == "singer_sdk"


def set_in(tree: ast.AST) -> set[str]:
    """List the attributes that are set anywhere."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in found if isinstance(node.ctx, ast.Store)}


def our_own() -> set[str]:
    """List what our own classes define, by whichever name the SDK may know it too."""
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= set_in(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return names


@pytest.mark.slow
def test_the_table_has_each_name_of_the_sdk_that_is_used():
    known, own = names_of_the_sdk(), our_own()
    overridden = {name for _, name in OVERRIDDEN}
    used = {
        node.attr
        for module in FACES
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and node.attr in known - overridden
        if node.attr.startswith("_") or node.attr not in own
    }
    assert used == USED.keys()


def test_the_table_has_each_name_of_the_sdk_that_is_overridden():
    defined = {
        (heir, name)
        for heir, base in HEIRS.items()
        for one in heir.__mro__
        if not of_the_sdk(one) and one.__module__.startswith("target_outreach")
        for node in ast.walk(tree_of(one.__module__.partition(".")[2]))
        if isinstance(node, ast.ClassDef) and node.name == one.__name__
        for name in defined_in(node)
        if any(name in vars(sdk) for sdk in base.__mro__ if of_the_sdk(sdk))
    }
    assert defined == OVERRIDDEN.keys()


def defined_in(node: ast.ClassDef) -> set[str]:
    """List the methods and attributes of a class."""
    names: set[str] = set()
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            names.add(one.name)
        elif isinstance(one, ast.Assign):
            names |= {target.id for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value:
            names.add(one.target.id)
    return {name for name in names if not name.startswith("__")}


def test_the_table_has_each_name_that_is_imported_from_the_sdk():
    imported: defaultdict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("singer_sdk"):
                imported[node.module or ""] |= {one.name for one in node.names}
            elif isinstance(node, ast.Import):
                assert not [one for one in node.names if one.name.startswith("singer_sdk")]
    assert imported == IMPORTED
