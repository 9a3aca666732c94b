"""Each line of the tables of faults, in README.md beside this file, names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
#: What the tables have at least, so that a change of their form is noticed.
FEWEST = 82


def table_lines():
    """Read the lines below the heading of faults: what happens, what is done, and the tests."""
    _, _, text = (HERE / "README.md").read_text(encoding="utf-8").partition("\n## Faults\n")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    heads = [n + 1 for n, row in enumerate(rows) if set("".join(row)) <= set("-|")]
    return [row for n, row in enumerate(rows, 1) if n not in heads and n + 1 not in heads]


@cache
def found_in(file):
    """Find the tests of a file by its text, without running it."""
    path = HERE / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


LINES = table_lines()


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0][:60])
def test_a_line_says_what_is_done_and_names_tests_that_there_are(line):
    assert len(line) == 3
    assert all(cell.strip() for cell in line)
    named = TEST.findall(line[2])
    assert named
    assert TEST.sub("", line[2]).strip(" ,") == ""
    assert [f"{file}::{name}" for file, name in named if name not in found_in(file)] == []


def test_the_tables_are_read_whole():
    assert len(LINES) >= FEWEST
    assert len({line[0] for line in LINES}) == len(LINES)
