"""Every block of README.md and `docs` does what it says: run in order, a fresh clone a page.

An HTML comment right before a block says how it is used; a block without one fails:

    <!-- run -->                     it is run, as it can be pasted: commands only
    <!-- run, exit code 3 -->        the same; it ends so
    <!-- run, with "a" as "b" -->    the same, after replacing a by b
    <!-- output -->                  what the block that ran last printed
    <!-- file: config.json -->       it is written to that file
    <!-- copy of sync.sh -->         it is the same as that file of the repository
    <!-- settings -->                JSON that the target takes as its settings, credentials apart
    <!-- not run: needs … -->        not run, for that reason
    <!-- setup … -->                 commands that a reader does not need; $PYTHON has this package

Blocks share a working folder, which is a clone at first, and exported variables. $SANDBOX_PORT and
$LOGIN_PORT are free ports. `...` stands for any text, and on a line of its own for any lines.
Times, paths and stamps may differ. The prefix of log lines is ignored.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import documents
import pytest
from logins import free_port

from target_outreach.target import TargetOutreach

SECONDS = 600
ITEM = re.compile(r"[*+-] |\d+[.)] ")
MARK = re.compile(
    r'run(?:, with "[^"]+" as "[^"]*")*(?:, exit code \d+)?|output|settings|file: \S+|copy of \S+'
    r"|not run: .+"
)
#: What is another each time, and what stands for it.
DIFFERS = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"^\S+ \S+ \| [A-Z]+ +\| \S+ +\| ", re.MULTILINE), ""),  # before a line of the log
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d{8}T\d{6}Z(?:-[0-9a-f]{8})+\b"), "<stamp>"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|seconds?|minutes?)\b"), "<duration>"),
    (re.compile(r"(?<![\w:/.~])~?/(?:[^\s/'\"]+/)+"), "<folder>/"),
)


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: Where it is, counted from one.
        mark: What the comment before it says; None where there is none.
        text: What is in it.
    """

    line: int
    mark: str | None
    text: str

    @property
    def exit_code(self):
        found = re.search(r"exit code (\d+)", self.mark)
        return int(found[1]) if found else 0

    @property
    def commands(self):
        text = self.text
        for old, new in re.findall(r'with "([^"]+)" as "([^"]*)"', self.mark):
            assert old in text, f"line {self.line}: there is no {old!r} to replace"
            text = text.replace(old, new)
        return text


def blocks(text):
    """Find all blocks of a Markdown text, and the commands that set something up for them."""
    lines = text.splitlines(keepends=True)
    found, mark, listing, at = [], None, False, 0
    while at < len(lines):
        line, first = lines[at], at
        if line.startswith("<!--"):
            at = _end(lines, at, lambda one: "-->" in one)
            comment = "".join(lines[first:at]).strip().removeprefix("<!--").removesuffix("-->")
            name, _, commands = comment.strip().partition("\n")
            if name == "setup":
                found.append(Block(first + 1, name, commands + "\n"))
            else:
                mark = comment.strip()
        elif line.startswith("```"):
            at = _end(lines, at + 1, lambda one: one.startswith("```"))
            found.append(Block(first + 1, mark, "".join(lines[first + 1 : at - 1])))
            mark = None
        elif line.startswith("    ") and not listing and (mark or not lines[at - 1].strip()):
            at = _end(lines, at, lambda one: not one.startswith("    ")) - 1
            found.append(Block(first + 1, mark, textwrap.dedent("".join(lines[first:at]))))
            mark = None
        else:
            at += 1
            mark = None
            if line.strip() and not line.startswith(" "):
                listing = ITEM.match(line) is not None
    return found


def _end(lines, start, is_last):
    """Return where the line comes that follows the first which is the last."""
    return next(at for at in range(start, len(lines) + 1) if is_last(([*lines, ""])[at])) + 1


def masked(text):
    for pattern, stand_in in DIFFERS:
        text = pattern.sub(stand_in, text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def fits(shown, line):
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), line) is not None


def difference(shown, printed):
    """Say which lines that are shown were not printed, in this order; None where all were."""
    printed = masked(printed)
    runs = [[]]
    for line in masked(shown):
        if line.strip() == "...":
            runs.append([])
        else:
            runs[-1].append(line)
    at = 0
    for number, run in enumerate(runs):
        places = range(at, len(printed) - len(run) + 1)
        if number == len(runs) - 1:  # up to the end
            places = [place for place in places if place + len(run) == len(printed)]
        if number == 0:
            places = [place for place in places if place == 0]
        for place in places:
            if all(map(fits, run, printed[place : place + len(run)])):
                at = place + len(run)
                break
        else:
            return "\n".join(["not printed (there):", *run, "", "printed:", *printed])
    return None


class Shell:
    """Runs commands one after the other, each where the last one ended."""

    def __init__(self, folder, clone, environment):
        self._folder = folder
        self._cwd = clone
        self._environment = environment
        self._groups = []
        self._number = 0

    def run(self, commands):
        """Run commands and return the exit code and all that was printed."""
        self._number += 1
        output, after = (self._folder / f"{kind} {self._number}" for kind in ("output", "after"))
        keep = f"keep() {{ {{ pwd; env -0; }} >{shlex.quote(str(after))}; }}; trap keep EXIT"
        with output.open("wb") as file:  # no pipe: what runs on in the background would hold it
            process = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", f"{keep}\n{commands}"],
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            code = process.wait(SECONDS)
        with suppress(ProcessLookupError):  # unless something runs on in the background
            os.killpg(process.pid, 0)
            self._groups.append(process.pid)
        cwd, _, variables = after.read_text(encoding="utf-8").partition("\n")
        self._cwd = cwd
        self._environment = dict(
            pair.split("=", 1) for pair in variables.split("\0") if "=" in pair
        )
        return code, output.read_text(encoding="utf-8")

    def write(self, name, text):
        Path(self._cwd, name).write_text(text, encoding="utf-8")

    def close(self):
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def copy_of_the_repository(folder):
    """Copy what git knows, or will know, of this repository into a folder."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=documents.ROOT, capture_output=True, check=True).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        source = documents.ROOT / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder


@pytest.fixture
def reader(tmp_path):
    """A fresh clone and a Python with nothing but pip; behind it, the commands of this package."""
    clone = copy_of_the_repository(tmp_path / "target-outreach")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "python")], check=True)
    with free_port() as sandbox_port, free_port() as login_port:
        environment = os.environ | {
            "PATH": f"{tmp_path}/python/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "VIRTUAL_ENV": f"{tmp_path}/python",
            "SANDBOX_PORT": str(sandbox_port),
            "LOGIN_PORT": str(login_port),
        }
        shell = Shell(tmp_path, clone, environment)
        yield shell
        shell.close()


def act(block, shell, printed, page="README.md"):
    """Do with a block what its mark says, and return what was printed last."""
    kind = re.split("[:,]", block.mark)[0]
    where = f"{page}, line {block.line}"
    if kind in ("run", "setup"):
        code, printed = shell.run(block.commands)
        assert code == block.exit_code, f"{where}: ends with {code}:\n{printed}"
    elif kind == "output":
        wrong = difference(block.text, printed)
        assert wrong is None, f"{where}: {wrong}"
    elif kind == "file":
        shell.write(block.mark.partition(": ")[2], block.text)
    return printed


def blocks_of(page):
    return blocks(page.read_text(encoding="utf-8"))


def of(*kinds):
    """All blocks of these kinds, each with its page and the rest of its mark."""
    return [
        (page.name, block, block.mark.partition(" of ")[2])
        for page in documents.PAGES
        for block in blocks_of(page)
        if block.mark and re.split("[:,]| of ", block.mark)[0] in kinds
    ]


TO_RUN = [page for page in documents.PAGES if page.name in {name for name, *_ in of("run")}]


@pytest.mark.parametrize("page", documents.PAGES, ids=lambda page: page.name)
def test_each_block_says_how_it_is_used(page):
    unmarked = [
        f"line {block.line}: {block.text.splitlines()[0]}"
        for block in blocks_of(page)
        if block.mark != "setup" and not (block.mark and MARK.fullmatch(block.mark))
    ]
    assert unmarked == [], "a comment before each block says whether it is run, and if not, why"


def test_the_settings_that_are_shown_are_settings():
    for _, block, _ in of("settings"):
        shown = json.loads(block.text)
        own = {} if {"client_id", "sandbox"} & shown.keys() else {"access_token": "invented"}
        TargetOutreach(config=own | shown)


def test_a_file_that_is_shown_is_the_one_in_the_repository():
    for page, block, name in of("copy"):
        assert block.text == (documents.ROOT / name).read_text(encoding="utf-8"), (page, name)


#: Commands that need a file of `tests`, which only a clone has: the demo is one of its own.
IN_TESTS = ["README.md: python tests/demo/run.py\n"]


def test_commands_can_be_pasted_and_need_no_file_of_the_tests():
    shown = [f"{page}: {block.text}" for page, block, _ in of("run", "not run")]
    assert [text for text in shown if re.search(r"^\$ |: \$ ", text, re.MULTILINE)] == []
    in_tests = [text for text in shown if re.search(r"(^|\s)tests/", text.partition(": ")[2])]
    assert in_tests == IN_TESTS


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.slow  # follows the pages for minutes
@pytest.mark.skipif(os.name == "nt", reason="needs bash")
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.name)
def test_a_page_does_what_it_says(reader, page):
    printed = ""
    for block in blocks_of(page):
        printed = act(block, reader, printed, page.name)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("b\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("...\nc\n...\ne\n", "b\nc\nd\ne\n", True),
        ("...\ne\n...\nc\n", "b\nc\nd\ne\n", False),
        ("...\na\n", "a\nb\na\n", True),
        ("in ... rows\n", "in 1,234 rows\n", True),
        ("in ... rows\n", "in 1,234 lines\n", False),
        ("It took 3 s, until 2026-01-01 10:00\n", "It took 12.5 s, until 2027-02-03 11:30\n", True),
        ("in /home/you/rejects/x.jsonl\n", "in /tmp/a-1/rejects/x.jsonl\n", True),
        ("in /home/you/rejects/x.jsonl\n", "in /tmp/a-1/rejects/y.jsonl\n", False),
        ("at https://example.com/a/b\n", "at https://example.com/c/b\n", False),
        ("all done\n", "2026-01-01 10:00:00,123 | INFO     | target-outreach  | all done\n", True),
        ("all done\n", "2026-01-01 10:00:00,123 | INFO     | target-outreach  | not all\n", False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_printed(shown, printed, same):
    assert (difference(shown, printed) is None) == same


DOCUMENT = """\
Text.

<!-- run -->
```bash
echo one
```

<!-- output -->
```text
one
```

    echo indented

<!-- setup
export WHO=world
-->
<!-- run, with "you" as "$WHO", exit code 3 -->
```bash
echo hello you && \\
  exit 3
```
<!-- output -->
```text
hello ...
```
* A list

  whose text goes on.
```json
{}
```
"""


def test_blocks_are_found_with_what_is_said_of_them():
    found = blocks(DOCUMENT)
    assert [(block.line, block.mark) for block in found] == [
        (4, "run"),
        (9, "output"),
        (13, None),
        (15, "setup"),
        (19, 'run, with "you" as "$WHO", exit code 3'),
        (24, "output"),
        (30, None),
    ]
    assert found[2].text == "echo indented\n"
    assert found[4].commands == "echo hello $WHO && \\\n  exit 3\n"


@pytest.fixture
def shell(tmp_path):
    shell = Shell(tmp_path, tmp_path, dict(os.environ))
    yield shell
    shell.close()


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
def test_blocks_share_a_folder_and_variables_and_are_compared(shell):
    printed = ""
    for block in blocks(DOCUMENT):
        if block.mark:
            printed = act(block, shell, printed)
    assert printed == "hello world\n"
    shell.run("mkdir below && cd below")
    act(Block(1, "file: a.json", "{}\n"), shell, "")
    assert shell.run("pwd; cat a.json")[1].endswith("/below\n{}\n")


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
def test_what_runs_on_in_the_background_ends_with_the_test(shell, tmp_path):
    code, _ = shell.run("mkfifo pipe; sleep 1000 >pipe &")
    assert code == 0
    with (tmp_path / "pipe").open("rb") as pipe:  # opens once there is a writer
        shell.close()
        assert pipe.read() == b""  # which returns once there is none


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("run", "exit 2\n"),
        ("run", "false | true\n"),
        ("run", 'echo "$NOBODY_SET_THIS"\n'),
        ("run, exit code 3", "true\n"),
        ("output", "nothing like it\n"),
    ],
)
def test_a_block_that_does_something_else_is_noticed(shell, mark, text):
    with pytest.raises(AssertionError, match=r"README\.md, line 7"):
        act(Block(7, mark, text), shell, "printed\n")
