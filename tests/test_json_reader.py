"""The quick reader of JSON reads what the standard library reads, and every digit of it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_outreach.json_reader import read_exact_json, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
DIGITS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,60})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
PIECES = st.lists(
    st.sampled_from(
        [
            *'{}[]",:-.eE+ \t\n\\0123456789/',
            "null",
            "true",
            "NaN",
            '"a"',
            "\\u",
            "\\ud800",
            "ü",
            "\ufeff",
        ]
    )
).map("".join)


def outcome(read, *arguments):
    """What comes out, with the type of each number, or the kind of error."""
    try:
        return repr(read(*arguments))
    except (ValueError, ArithmeticError, RecursionError) as error:
        return next(
            kind
            for kind in (RecursionError, ArithmeticError, ValueError)
            if isinstance(error, kind)
        )


@given(VALUES.map(json.dumps) | DIGITS | PIECES)
@example("9" * 4300)
@example("9" * 4301)
@example("1e400")
@example("-0")
@example("-0.0")
@example("1E-400")
@example("0.10")
@example("1e99999999999999999999")
@example("123456789012345678901234567890")
@example('{"a": 1, "a": 2}')
@example('"\\ud83d\\ude00 \\ud83d"')
def test_a_text_is_read_as_by_the_standard_library(text):
    body = text.encode()
    assert outcome(read_json, body) == outcome(json.loads, body)
    exact = outcome(lambda: json.loads(text, parse_float=Decimal))
    assert outcome(read_exact_json, body, text) == exact


@given(st.binary(max_size=8) | st.tuples(st.just(b'"'), st.binary(max_size=6)).map(b'"'.join))
def test_bytes_are_read_as_by_the_standard_library(body):
    assert outcome(read_json, body) == outcome(json.loads, body)


@pytest.mark.parametrize("brackets", [10, 500, 100_000])
def test_what_is_nested_too_deep_is_refused_as_ever(brackets):
    text = "[" * brackets + "]" * brackets
    expected = outcome(lambda: json.loads(text, parse_float=Decimal))
    assert outcome(read_exact_json, text.encode(), text) == expected
