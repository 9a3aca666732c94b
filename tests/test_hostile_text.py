"""No text can hold up a run: every expression of the package is timed with hostile text."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import time
from typing import TYPE_CHECKING

import pytest

import target_outreach
from target_outreach.outreach.probe.scrubbing import LONGEST_TEXT, Scrubber
from target_outreach.records.catalog import load_catalog
from target_outreach.records.columns import build_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

#: Seconds that one expression may take with one text, on a busy machine too.
MOST = 2.0
LENGTH = 100_000
METHODS = frozenset({"fullmatch", "match", "search", "sub", "split", "findall", "finditer"})
#: The longest text that reaches an expression, where its caller bounds it.
BOUNDED = {"target_outreach.outreach.probe.scrubbing": LONGEST_TEXT}


def _names() -> list[str]:
    found = pkgutil.walk_packages(target_outreach.__path__, "target_outreach.")
    return [one.name for one in found if not one.name.endswith("__main__")]


def _modules() -> list[ModuleType]:
    return [importlib.import_module(name) for name in _names()]


def _patterns(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _patterns(part)


def _uses(modules: list[ModuleType]) -> Iterator[tuple[str, str, str, int]]:
    """Find each expression with its flags, the way it is used, and its module."""
    for module in modules:
        names = vars(module)
        for value in names.values():
            if not isinstance(value, re.Pattern):
                for pattern in _patterns(value):
                    yield module.__name__, "search", pattern.pattern, pattern.flags
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, method = node.func.value, node.func.attr
            if method not in METHODS or not isinstance(owner, ast.Name):
                continue
            how = method if method in {"fullmatch", "match"} else "search"
            if isinstance(pattern := names.get(owner.id), re.Pattern):
                yield module.__name__, how, pattern.pattern, pattern.flags
            elif owner.id == "re" and isinstance(node.args[0], ast.Constant):
                yield module.__name__, how, str(node.args[0].value), 0


@pytest.mark.slow
def test_each_expression_of_the_package_is_among_those_that_are_timed() -> None:
    timed = {(module, text) for module, _, text, _ in _uses(_modules())}
    for module in _modules():
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "re.compile"
                and isinstance(node.args[0], ast.Constant)
            ):
                assert (module.__name__, node.args[0].value) in timed


def _hostile(length: int) -> Iterator[str]:
    for start in ("", "a.", "a@", "http://"):
        for part in (
            "a",
            "a.",
            "a-",
            "1",
            "1.",
            "-",
            "'",
            '"',
            "'a",
            "\u201c",
            " ",
            ",",
            "%",
            "a@",
        ):
            yield start + part * (length // len(part)) + "!"


@pytest.mark.slow
@pytest.mark.parametrize("name", _names())
def test_no_expression_of_a_module_is_held_up_by_hostile_text(name: str) -> None:
    for _, how, text, flags in sorted(set(_uses([importlib.import_module(name)]))):
        run = getattr(re.compile(text, flags), how)
        for hostile in _hostile(BOUNDED.get(name, LENGTH)):
            begun = time.process_time()
            run(hostile)
            assert time.process_time() - begun < MOST, (text, hostile[:10])


@pytest.mark.parametrize("domain", ["a." + "a" * LENGTH + "!", "a." * LENGTH + "com"])
def test_a_long_domain_makes_no_account_and_takes_no_time(domain: str) -> None:
    begun = time.process_time()
    mapping = build_mapping(
        load_catalog()["prospects"], ["email", "account_domain"], match_fields=["emails"]
    )
    said = mapping.apply({"email": "a@x.test", "account_domain": domain})
    assert (said.references, said.relationships) == ({}, {})
    assert said.dropped == [("account.domain", "no host name")]
    assert time.process_time() - begun < MOST


def test_a_long_error_text_is_not_repeated_and_takes_no_time() -> None:
    begun = time.process_time()
    assert Scrubber().sentence("a-" * LENGTH) == "a long text"
    assert time.process_time() - begun < MOST
