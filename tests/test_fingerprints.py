"""The memory of a record shows what has changed in it, also by the quick comparison."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from target_outreach.records.fingerprints import ENTRY_BYTES, Remembered, changes, remember
from target_outreach.records.model import Desired, Resource
from target_outreach.records.rules import Rules

TEXTS = st.text(st.characters(codec="utf-8"), max_size=3)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 1.0, 10**30, "", "0", "1", "None"]),
    TEXTS,
    st.lists(TEXTS, max_size=2),
)
RECORDS = st.builds(
    Desired,
    attributes=st.dictionaries(st.sampled_from(["emails", "title", "tags", "score"]), VALUES),
    relationships=st.dictionaries(st.just("account"), st.none() | st.integers(1, 3)),
)
RULES = st.builds(
    Rules,
    on_null=st.sampled_from(["ignore", "clear"]),
    array_fields=st.sampled_from(["merge", "replace"]),
    field_rules=st.dictionaries(st.just("title"), st.sampled_from(["if_empty", "never"])),
    allow_opt_in=st.booleans(),
)
NOTHING = Resource(7, {}, {})


@given(RECORDS, RULES, RECORDS | st.none(), RULES | st.none())
def test_the_quick_look_at_the_whole_finds_what_a_look_at_each_attribute_does(
    before, old, now, new
):
    now, new = now or replace(before), new or old
    remembered = remember(before, old, NOTHING, None)
    without_whole = Remembered(7, remembered.packed[len(remembered.whole) :])
    assert without_whole.whole == b""
    assert len(without_whole.packed) % ENTRY_BYTES == 0
    assert changes(now, new, remembered) == changes(now, new, without_whole)
    assert changes(before, old, remembered) == []


@given(RECORDS, RULES)
def test_what_outreach_held_is_kept_until_it_says_something_else(said, rules):
    held = remember(said, rules, Resource(7, {"title": "Head"}, {"account": 1}), None)
    later = remember(said, rules, NOTHING, held)
    assert later.held == held.held
    assert later.said == held.said
    assert later == held
