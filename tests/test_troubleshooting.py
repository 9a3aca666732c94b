"""The tables of messages and of reject codes in `docs`, held against the code that says them.

The messages are found in the source: what the errors are made of that end a run or a command, what
is wrong with settings, and what the log warns of. What is known only at run time is `…` in both.
"""

from __future__ import annotations

import ast
import re
import socket
import sys
from dataclasses import dataclass
from functools import cache, partial
from itertools import product

import documents
import processes
import pytest

from target_outreach import errors
from target_outreach.errors import Retriable, RunError, SettingsError
from target_outreach.records.schemas import RULES

SOURCE = documents.ROOT / "target_outreach"
HOLE = "…"
#: The errors that a user gets to see, by name, and those of click.
SEEN = {"UsageError", "ClickException", "fail"} | {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, (RunError, SettingsError, Retriable))
}
#: Variables that hold such an error.
PASSED_IN = {"kind", "error"}
#: Functions that word problems, or return what others put into an error.
WORDS_PROBLEMS = re.compile(r"problem|sentences|verdict|unknown_name")
#: Where the messages say only what is wrong with a stream, which is named before it.
OF_A_STREAM = ("records/", "settings/entries.py")
#: What no user sees, and why.
UNSEEN = {
    "The run ends.": "stops the other threads after an error that is said",
    "Outreach refuses the code or the refresh token (…).": "login and renewal reword it",
    "there is no setting ……": "comes behind the name of an entry",
    "Line … of … ……": "is around others",
    "Stream …: ….": "is around others",
    "Nothing is ever sent to Outreach's batches (docs/adr/0005).": "no code asks for that",
    "… answered ….": "a part of the message that no access token is available",
}
FAULTS = {"RecordFault", "AddressTaken"}


@dataclass(frozen=True)
class Said:
    """A message, and where the code says it."""

    text: str
    place: str


class Source:
    """One module, its constants and its functions."""

    def __init__(self, path):
        self.name = path.relative_to(SOURCE).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef)]
        self.constants = dict(_assigned(self.tree.body))
        imports = [n for n in ast.walk(self.tree) if isinstance(n, ast.ImportFrom)]
        self.imports = {alias.name for one in imports for alias in one.names}

    def texts(self, node, function=None):
        """All texts that an expression can be, with `…` for what only a run knows."""
        texts = partial(self.texts, function=function)
        found = []
        match node:
            case ast.Constant(value=str(text)):
                found = [text]
            case ast.JoinedStr():
                parts = [self._part(part, function) for part in node.values]
                found = ["".join(chosen) for chosen in product(*parts)]
            case ast.Name(id=name):
                found = [text for one in self.values(name, node, function) for text in texts(one)]
            case ast.Call():
                found = [
                    text
                    for source in (self, *sources())
                    for one in source.functions
                    if one.name == called(node) and (source is self or called(node) in self.imports)
                    for returned in ast.walk(one)
                    if isinstance(returned, ast.Return)
                    for text in source.texts(returned.value, one)
                ]
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                found = [text for part in parts for text in texts(part)]
            case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
                found = texts(part)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                before, behind = texts(left), texts(right)
                found = [*before, *behind] if behind else [text + HOLE for text in before]
        return found

    def _part(self, part, function):
        """All texts that a part of an f-string can be."""
        if isinstance(part, ast.Constant):
            return [part.value]
        found = [] if isinstance(part.value, ast.Constant) else self.texts(part.value, function)
        return found or [HOLE]

    def values(self, name, node, function):
        """What a name can stand for where it is used.

        That is the last assignment before it; where that is the empty text, the one before it too.
        """
        body = [] if function is None else ast.walk(function)
        before = sorted(
            ((value.lineno, value) for known, value in _assigned(body) if known == name),
            key=lambda pair: -pair[0],
        )
        values = [value for line, value in before if line <= node.lineno][:2]
        if not values and name in self.constants:
            return [self.constants[name]]
        is_empty = bool(values) and isinstance(values[0], ast.Constant) and not values[0].value
        return values if is_empty else values[:1]

    def calls(self):
        """Each call, with the function that contains it."""
        within = {node: one for one in self.functions for node in ast.walk(one)}  # the innermost
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, within.get(node)


def _assigned(statements):
    for one in statements:
        if isinstance(one, ast.Assign):
            for target in one.targets:
                if isinstance(target, ast.Name):
                    yield target.id, one.value


def called(node):
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


@cache
def sources():
    paths = sorted(SOURCE.rglob("*.py"))
    return [Source(path) for path in paths if (SOURCE / "sandbox") not in path.parents]


def errors_of(source):
    """The texts of the errors that a module makes."""
    for call, function in source.calls():
        name = called(call)
        is_passed_in = name in PASSED_IN and isinstance(call.func, ast.Name)
        is_own = source.name == "errors.py" and name == "__init__" and len(call.args) == 1
        if name in SEEN or is_passed_in or is_own:
            for argument in call.args:
                yield from source.texts(argument, function)
        elif name == "bad_line":
            for text in source.texts(call.args[0], function):
                yield f"Line {HOLE} of the input {text}."


def problems_of(source):
    """The texts of what is wrong with settings, which become one error."""
    for function in source.functions:
        words = WORDS_PROBLEMS.search(function.name) is not None
        for node in ast.walk(function):
            match node:
                case ast.Return(value=value) if words and value is not None:
                    yield from source.texts(value, function)
                case ast.Call(func=ast.Attribute(value=ast.Name(id="problems"), attr="append")):
                    yield from source.texts(node.args[0], function)
                case ast.AugAssign(target=ast.Name(id="problems"), value=value):
                    yield from source.texts(value, function)
                case ast.Assign(targets=[ast.Name(id="problems")], value=value):
                    yield from source.texts(value, function)


def logged(source, *levels):
    """The texts that a module logs at these levels."""
    for call, function in source.calls():
        is_log = isinstance(call.func, ast.Attribute) and call.func.attr in levels
        if is_log and call.args:
            for text in source.texts(call.args[0], function):
                yield re.sub(r"%\.?\d*[sdf]", HOLE, text)


def is_sentence(text):
    return len(text.replace(HOLE, "").split()) > 1


@cache
def said():
    """All that the code says when something is wrong, in the order of the modules."""
    found = {}
    for source in sources():
        texts = [*errors_of(source), *problems_of(source)]
        if source.name.startswith(OF_A_STREAM):
            texts = [
                text if text.startswith("Entry") else f"Stream {HOLE}: {text}" for text in texts
            ]
        for text in [*texts, *logged(source, "warning", "error")]:
            if is_sentence(text) and text not in UNSEEN:
                found.setdefault(text, Said(text, source.name))
    rules = [re.sub(r"\{\d\}", HOLE, rule) for rule in RULES.values()]
    found |= {text: Said(text, "settings") for rule in rules for text in [f"{HOLE} {rule}."]}
    return list(found.values())


@cache
def notes():
    """All that the code logs when nothing is wrong."""
    return [text for source in sources() for text in logged(source, "info")]


@cache
def codes():
    """All codes that the rejects file can have."""
    found = set()
    for source in sources():
        for call, function in source.calls():
            name = called(call)
            is_own = source.name == "errors.py" and name == "__init__" and len(call.args) > 1
            if (name in FAULTS or is_own) and call.args:
                found |= set(_words(source, call.args[0], function))
            found |= {
                word
                for keyword in call.keywords
                if name == "RecordSchema" and keyword.arg == "code"
                for word in _words(source, keyword.value, function)
            }
    return found


def _words(source, node, function):
    """All texts in an expression, also those of the names in it."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.Name):
            for value in source.values(part.id, part, function):
                yield from _words(source, value, None)


MESSAGES_PAGE = documents.DOCS / "messages.md"
REJECTS_PAGE = documents.DOCS / "rejects.md"
CODES = "\n## Codes\n"


def tables(text):
    """The rows of all tables of a text, as lists of cells."""
    lines = text.splitlines()
    heads = {n for n, line in enumerate(lines) if set(line) == set("|-")}
    return [
        line.strip("| ").split(" | ")
        for n, line in enumerate(lines)
        if line.startswith("|") and not heads & {n, n + 1}
    ]


@cache
def shown():
    """The rows of the tables of messages, and of the table of codes."""
    _, found, rejected = REJECTS_PAGE.read_text(encoding="utf-8").partition(CODES)
    assert found
    return tables(MESSAGES_PAGE.read_text(encoding="utf-8")), tables(rejected)


def in_code(cell):
    return re.findall(r"`([^`]+)`", cell)


def is_beginning(message, text):
    """Whether a message as it is shown is how a text begins."""
    fixed = map(str.strip, message.removesuffix(HOLE).split(HOLE))
    return re.match(".*".join(map(re.escape, fixed)), text) is not None


MESSAGES = [message for row in shown()[0] for message in in_code(row[0])]


def test_each_row_says_what_to_do():
    messages, rejected = shown()
    assert {len(row) for row in messages} == {2}
    assert {len(row) for row in rejected} == {3}
    assert all(cell.strip() for row in [*messages, *rejected] for cell in row)


@pytest.mark.slow
@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_shown_is_how_one_in_the_code_begins(message):
    assert is_sentence(message)
    assert any(is_beginning(message, text) for text in [*(one.text for one in said()), *notes()])


def test_all_that_stops_a_run_is_shown_with_what_to_do():
    missing = [
        f"{one.place}: {one.text}"
        for one in said()
        if not any(is_beginning(message, one.text) for message in MESSAGES)
    ]
    assert missing == [], "each needs a row, or a place in UNSEEN with the reason"


def test_no_message_is_shown_twice():
    assert len(MESSAGES) == len(set(MESSAGES))


def test_all_codes_of_the_rejects_file_are_shown_and_no_others():
    listed = [code for row in shown()[1] for code in in_code(row[0])]
    assert sorted(listed) == sorted(codes())


def test_what_is_not_shown_is_still_in_the_code():
    every = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    for text in UNSEEN:
        longest = max(text.split(HOLE), key=len)
        assert longest in every, text


def test_no_other_module_has_errors_of_its_own_so_that_none_is_overlooked():
    elsewhere = [
        node.name
        for source in sources()
        if source.name != "errors.py"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        and {base.id for base in node.bases if isinstance(base, ast.Name)} & (SEEN | FAULTS)
    ]
    assert elsewhere == ["RecordBeforeSchemaError", "MissingKeyError"]  # which `bad_line` words


SNIPPET = """
WHY = "is set"

def outer(stream, value):
    msg = f"no column of {stream}"
    if value:
        raise SettingsError(f"{msg} fits; {WHY}")
    raise bad_line("is odd")

def find_problems(names):
    problems = [f"{name} is unknown" for name in names]
    problems.append("two of " + names)
    return problems
"""


def test_messages_are_found_in_source(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    path = tmp_path / "some.py"
    path.write_text(SNIPPET, encoding="utf-8")
    found = Source(path)
    assert {*errors_of(found), *problems_of(found)} == {
        "no column of … fits; is set",
        "Line … of the input is odd.",
        "… is unknown",
        "two of …",
    }


def serve_sandbox(*options):
    return processes.run(["sandbox", *map(str, options)], encoding="utf-8")


@pytest.mark.slow
def test_a_sandbox_at_a_port_that_is_taken_says_which_option_to_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve_sandbox("--path", tmp_path / "outreach.db", "--port", port)
    assert done.returncode == 1
    assert f"The sandbox cannot be served at port {port} (" in done.stderr
    assert done.stderr.endswith("choose another with --port.\n")


@pytest.mark.slow
def test_a_sandbox_in_a_file_of_something_else_says_which_option_to_use(tmp_path):
    (tmp_path / "notes.txt").write_text("no database, " * 100, encoding="utf-8")
    done = serve_sandbox("--path", tmp_path / "notes.txt", "--port", 0)
    assert done.returncode == 1
    assert "The sandbox cannot be kept in " in done.stderr
    assert done.stderr.endswith("choose another file with --path.\n")


@pytest.mark.slow
def test_a_port_that_there_is_not_is_refused_in_a_sentence():
    done = serve_sandbox("--port", 70000)
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
