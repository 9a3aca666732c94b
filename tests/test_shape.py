"""The package stays easy to follow: no circles, and no more functions on the way of a row."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
shape = pytest.importorskip("shape")

ROOT = Path(__file__).parents[1]
#: The folders whose files the map in CONTRIBUTING names.
MAPPED = ("engine", "delivery", "outreach", "outreach/auth", "outreach/probe", "records")

MOST_FUNCTIONS = 502
MOST_FILES = 89
WIDEST = 8
MOST_CALLBACKS = 12


@pytest.fixture(scope="module")
def parsed():
    return shape.modules()


def test_no_modules_import_each_other(parsed):
    assert shape.circles(shape.imports(parsed)) == []


def test_a_circle_of_imports_would_be_noticed():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    (circle,) = shape.circles(graph)
    assert set(circle) == {"a", "b", "c"}


def test_constructors_are_given_few_things_and_hardly_any_functions(parsed):
    own = {name: one for name, one in parsed.items() if ".sandbox" not in name}
    built = shape.constructors(own)
    assert max(built)[0] <= WIDEST
    assert sum(called for _, called, _ in built) <= MOST_CALLBACKS


def test_an_updated_row_passes_no_more_functions_than_it_did():
    entered = shape.functions_of_a_row()
    assert 100 < len(entered) <= MOST_FUNCTIONS
    assert len({file for file, _ in entered}) <= MOST_FILES


@pytest.fixture(scope="module")
def mapped():
    """What the map in CONTRIBUTING names, by folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawing = text[text.index("cli.py  configuration.py") : text.index("sandbox/    a local")]
    folders = {folder.rpartition("/")[2]: folder for folder in MAPPED}
    found = {folder: [] for folder in MAPPED}
    folder = None
    for line in drawing.splitlines():
        if heading := re.match(r" *([a-z]+)/", line):
            folder = folders.get(heading[1])
        parts = re.split(r" {2,}", line.strip())
        names = (re.fullmatch(r"(?:[a-z]+/ )?([a-z_]+)(?:\(\.json\))?", one) for one in parts)
        found.setdefault(folder, []).extend(one[1] for one in names if one is not None)
    return found


@pytest.mark.parametrize("folder", MAPPED)
def test_the_map_in_contributing_names_each_file_and_nothing_that_is_gone(mapped, folder):
    files = {one.stem for one in (ROOT / "target_outreach" / folder).glob("*.py")}
    assert sorted(mapped[folder]) == sorted(files - {"__init__"})
