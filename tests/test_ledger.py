"""Which STATE may be emitted: the newest that covers only settled records, each once."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_outreach.delivery.ledger import Ledger

STREAM = "prospects"


def ledger_with(*moments):
    """A ledger that received these: a number is a STATE, None a record."""
    ledger = Ledger()
    for moment in moments:
        if moment is None:
            ledger.receive(STREAM)
        else:
            ledger.checkpoint({"n": moment})
    return ledger


def test_records_are_numbered_in_arrival_order_across_streams():
    ledger = Ledger()
    assert [ledger.receive(stream) for stream in ("a", "b", "a")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("moments", "settled", "released"),
    [
        ([], [], None),
        ([None], [0], None),
        ([7], [], {"n": 7}),
        ([None, 7], [], None),
        ([None, 7], [0], {"n": 7}),
        ([7, None], [], {"n": 7}),
        ([None, None, 7], [1], None),
        ([None, None, 7], [1, 0], {"n": 7}),
        ([None, 7, None, 8], [0], {"n": 7}),
        ([None, 7, None, 8], [1], None),
        ([None, 7, None, 8], [0, 1], {"n": 8}),
        ([None, 7, 8], [0], {"n": 8}),
    ],
)
def test_the_newest_state_is_released_whose_records_are_all_settled(moments, settled, released):
    ledger = ledger_with(*moments)
    for number in settled:
        ledger.settle(STREAM, [number])
    assert ledger.release() == released
    assert ledger.release() is None


def test_a_state_waits_for_the_records_of_all_streams():
    ledger = Ledger()
    first, second = ledger.receive("prospects"), ledger.receive("accounts")
    ledger.checkpoint({"n": 1})
    ledger.settle("accounts", [second])
    assert ledger.release() is None
    ledger.settle("prospects", [first])
    assert ledger.release() == {"n": 1}


@pytest.mark.parametrize("again", [[0], [2], [1, 1]])
def test_a_record_that_is_settled_twice_is_an_error(again):
    ledger = ledger_with(None, None, None)
    ledger.settle(STREAM, [0, 2])
    with pytest.raises(ValueError, match=r"^A record has a second outcome\.$"):
        ledger.settle(STREAM, again)


@pytest.mark.parametrize(
    ("held", "released"),
    [([], 3), ([2], 2), ([1], 1), ([0], 0), ([1, 2], 1), ([2, 1], 1), ([1, 1], 1)],
)
def test_no_state_passes_a_held_record_though_it_is_settled(held, released):
    ledger = ledger_with(0, None, 1, None, 2, None, 3)
    for number in held:
        ledger.hold(number)
    ledger.settle(STREAM, [0, 1, 2])
    assert ledger.release() == {"n": released}
    ledger.checkpoint({"n": 4})
    assert ledger.release() == (None if held else {"n": 4})


def test_a_held_record_lets_no_unsettled_one_pass():
    ledger = ledger_with(0, None, 1, None, 2)
    ledger.hold(1)
    assert ledger.release() == {"n": 0}


def test_what_arrived_before_a_record_is_settled_whatever_follows():
    ledger = ledger_with(None, None, None)
    assert [ledger.has_settled_all_before(number) for number in range(3)] == [True, False, False]
    ledger.settle(STREAM, [1])
    assert [ledger.has_settled_all_before(number) for number in range(3)] == [True, False, False]
    ledger.settle(STREAM, [0])
    assert [ledger.has_settled_all_before(number) for number in range(4)] == [
        *(True, True, True),
        False,
    ]


def test_unsettled_records_are_counted_by_stream():
    ledger = Ledger()
    people = [ledger.receive("prospects") for _ in range(4)]
    ledger.receive("accounts")
    ledger.settle("prospects", people[2:])
    assert [ledger.unsettled(name) for name in ("prospects", "accounts", "none")] == [2, 1, 0]


def test_the_count_of_unsettled_records_falls_with_each_call_also_behind_one_that_is_open():
    ledger = Ledger()
    for _ in range(5):
        ledger.receive("prospects")
    counts = []
    for numbers in ([1, 2], [4], [0], [3]):
        ledger.settle("prospects", numbers)
        counts.append(ledger.unsettled("prospects"))
    assert counts == [3, 2, 1, 0]


def test_settled_records_take_no_memory():
    ledger = Ledger()
    tracemalloc.start()
    try:
        for _ in range(5_000):
            ledger.settle(STREAM, [ledger.receive(STREAM)])
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 50_000


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "settle", "settle", "hold", "checkpoint", "release"]),
        st.integers(0, 7),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_ledger_agrees_with_a_list_of_all_that_it_heard(steps):
    ledger = Ledger()
    settled, covered, held, emitted = [], [], set(), -1
    for step, choice in steps:
        unsettled = [number for number, done in enumerate(settled) if not done]
        if step == "receive":
            assert ledger.receive(STREAM) == len(settled)
            settled.append(False)
        elif step == "settle" and unsettled:
            number = unsettled[choice % len(unsettled)]
            ledger.settle(STREAM, [number])
            settled[number] = True
        elif step == "hold" and settled:
            held.add(choice % len(settled))
            ledger.hold(choice % len(settled))
        elif step == "checkpoint":
            ledger.checkpoint({"n": len(covered)})
            covered.append(len(settled))
        elif step == "release":
            free = [
                number
                for number, count in enumerate(covered)
                if all(settled[:count]) and held.isdisjoint(range(count))
            ]
            newest = free[-1] if free and free[-1] > emitted else None
            assert ledger.release() == (None if newest is None else {"n": newest})
            emitted = emitted if newest is None else newest
    assert ledger.unsettled(STREAM) == settled.count(False)
