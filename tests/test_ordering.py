"""Which work item is written before which, without any Outreach."""

from __future__ import annotations

import asyncio

import pytest

from target_outreach.delivery.stream import Item, Stream
from target_outreach.engine.batch import Batch, Read, Stage, WorkItem
from target_outreach.engine.ordering import Ordering, WriteQueue
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import fold
from target_outreach.records.matching import Picture
from target_outreach.records.model import Desired, Resource
from target_outreach.records.rules import Rules

PROSPECTS = load_catalog()["prospects"]
LOOKED_UP = Read(0.0, 0)


class Listener:
    def delivered(self, *_):
        pass

    skipped = rejected = delivered


def batch(ordering, *records, match_fields=("emails",), mode="upsert"):
    """Hand over a batch; each record is its number and its addresses."""
    rules = Rules(sync_mode=mode, match_fields=match_fields)
    stream = Stream("people", "people", "", PROSPECTS, rules)
    one = Batch(ordering.number(), stream, Picture(PROSPECTS, match_fields), Listener())
    said = [
        (Item(number, "", desired), desired)
        for number, *emails in records
        for desired in [Desired(attributes={"emails": emails})]
    ]
    items = fold(PROSPECTS, said, rules, one.item)
    for item in items:
        item.read = LOOKED_UP
    ordering.begin(one, items)
    return one, items


def numbers(item):
    return [one.number for one in item.members]


@pytest.fixture
def ordering():
    return Ordering()


def test_work_items_without_a_common_key_wait_for_nothing(ordering):
    _, items = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
    _, (later,) = batch(ordering, (2, "c@x.test"))
    assert [ordering.blocker(item) for item in [*items, later]] == [None, None, None]


def test_a_shared_address_makes_the_later_one_wait(ordering):
    _, (first, second) = batch(ordering, (0, "a@x.test"), (1, "a@x.test", "b@x.test"))
    assert ordering.blocker(first) is None
    assert ordering.blocker(second) is first
    ordering.leave([first], Stage.SETTLED)
    assert ordering.blocker(second) is None


def test_a_work_item_waits_for_one_of_an_earlier_batch(ordering):
    _, (first,) = batch(ordering, (0, "a@x.test"))
    _, (second,) = batch(ordering, (1, "a@x.test"))
    assert ordering.blocker(second) is first
    assert ordering.blocker(first) is None


def test_a_work_item_waits_for_the_last_of_those_that_come_before_it(ordering):
    _, (first, second) = batch(ordering, (0, "a@x.test"), (1, "a@x.test", "b@x.test"))
    _, (third,) = batch(ordering, (2, "a@x.test", "c@x.test"))
    assert ordering.blocker(third) is second
    ordering.leave([second], Stage.SETTLED)
    assert ordering.blocker(third) is first


def test_keys_of_other_fields_say_nothing_so_that_all_earlier_ones_come_first(ordering):
    _, (first,) = batch(ordering, (0, "a@x.test"))
    _, (second,) = batch(ordering, (1, "b@x.test"), match_fields=("emails", "linkedInId"))
    assert ordering.blocker(second) is first
    ordering.leave([first], Stage.SETTLED)
    assert ordering.blocker(second) is None


def test_two_addresses_of_one_person_in_outreach_are_one_record(ordering):
    one, (first, second) = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
    person = Resource(7, {"emails": ["a@x.test", "b@x.test"]}, {})
    assert ordering.blocker(second) is None
    one.snapshot.put(person)
    assert ordering.blocker(second) is first
    assert ordering.blocker(first) is None


def test_what_is_being_written_is_waited_for_by_earlier_ones_too(ordering):
    one, (first, second) = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
    person = Resource(7, {"emails": ["a@x.test", "b@x.test"]}, {})
    with ordering.writing(second, person):
        one.snapshot.put(person)
        assert ordering.blocker(first) is second
        assert ordering.blocker(second) is first
    assert ordering.blocker(first) is None


def test_a_create_keeps_no_record_from_being_written(ordering):
    _, (first, second) = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
    with ordering.writing(first, None):
        assert ordering.blocker(second) is None


def test_what_the_memory_knows_is_ordered_by_its_id(ordering):
    _, (first, second) = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
    for item in (first, second):
        item.read = None
        item.desired = item.desired.with_remembered(7)
    with ordering.writing(first, Resource(7, {}, {})):
        assert ordering.blocker(second) is first


def test_a_folded_work_item_spans_a_record_that_came_between(ordering):
    one, items = batch(ordering, (0, "a@x.test"), (1, "b@x.test"), (2, "a@x.test"))
    folded, between = items
    assert numbers(folded) == [0, 2]
    person = Resource(7, {"emails": ["a@x.test", "b@x.test"]}, {})
    assert not ordering.spans_others(folded, person)
    one.snapshot.put(person)
    assert ordering.spans_others(folded, person)
    assert not ordering.spans_others(between, person)
    ordering.leave([between], Stage.SETTLED)
    assert not ordering.spans_others(folded, person)


def test_a_folded_work_item_whose_records_all_came_first_spans_nothing(ordering):
    one, items = batch(ordering, (0, "a@x.test"), (1, "a@x.test"), (2, "b@x.test"))
    person = Resource(7, {"emails": ["a@x.test", "b@x.test"]}, {})
    one.snapshot.put(person)
    assert not ordering.spans_others(items[0], person)


def test_records_of_a_split_work_item_keep_their_order_and_what_was_found(ordering):
    one, (folded, last) = batch(
        ordering, (0, "a@x.test"), (1, "a@x.test"), (2, "a@x.test", "b@x.test")
    )
    folded.is_complete = folded.is_single = folded.is_found_late = folded.is_linked_anew = True
    folded.gone = 1
    first, second = ordering.split(folded)
    assert (numbers(first), numbers(second)) == ([0], [1])
    assert (folded.stage, folded in one.open) == (Stage.SPLIT, False)
    assert {first, second, last} == one.open
    assert ordering.blocker(first) is None
    assert ordering.blocker(second) is first
    assert ordering.blocker(last) is second
    for single in (first, second):
        assert (single.read, single.is_complete, single.is_single) == (LOOKED_UP, True, True)
        assert (single.is_found_late, single.is_linked_anew, single.gone) == (False, False, 0)


def test_a_work_item_leaves_once(ordering):
    one, (item,) = batch(ordering, (0, "a@x.test"))
    ordering.leave([item], Stage.DEFERRED)
    ordering.leave([item], Stage.SETTLED)
    assert item.stage is Stage.DEFERRED
    assert not one.open


def test_a_turn_comes_when_what_is_waited_for_has_left(ordering):
    async def scenario():
        _, (first, second) = batch(ordering, (0, "a@x.test"), (1, "a@x.test", "b@x.test"))
        turn = asyncio.create_task(ordering.turn(second))
        await asyncio.sleep(0)
        assert (turn.done(), second.stage) == (False, Stage.WAITING)
        ordering.leave([first], Stage.SETTLED)
        await asyncio.wait_for(turn, 1)

    asyncio.run(scenario())


def test_all_earlier_ones_can_be_waited_for(ordering):
    async def scenario():
        _, (first, second, third) = batch(
            ordering, (0, "a@x.test"), (1, "b@x.test"), (2, "c@x.test")
        )
        turn = asyncio.create_task(ordering.after_all(third))
        await asyncio.sleep(0)
        ordering.leave([second], Stage.SETTLED)
        await asyncio.sleep(0)
        assert (turn.done(), third.stage) == (False, Stage.WAITING)
        ordering.leave([first], Stage.SETTLED)
        await asyncio.wait_for(turn, 1)

    asyncio.run(scenario())


def test_later_ones_are_not_waited_for(ordering):
    async def scenario():
        _, (first, _) = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
        batch(ordering, (2, "c@x.test"))
        await asyncio.wait_for(ordering.after_all(first), 1)

    asyncio.run(scenario())


def test_a_batch_that_comes_after_all_others_waits_for_the_earlier_ones_only(ordering):
    async def scenario():
        earlier, _ = batch(ordering, (0, "a@x.test"))
        last, _ = batch(ordering)
        later, _ = batch(ordering, (1, "b@x.test"))
        first = asyncio.create_task(ordering.first(last))
        await asyncio.sleep(0)
        ordering.end(later)
        await asyncio.sleep(0)
        assert not first.done()
        ordering.end(earlier)
        await asyncio.wait_for(first, 1)

    asyncio.run(scenario())


def test_a_batch_has_ended_when_no_work_item_is_open(ordering):
    async def scenario():
        one, items = batch(ordering, (0, "a@x.test"), (1, "b@x.test"))
        ended = asyncio.create_task(one.ended())
        await asyncio.sleep(0)
        ordering.leave(items[:1], Stage.SETTLED)
        await asyncio.sleep(0)
        assert not ended.done()
        ordering.leave(items[1:], Stage.SETTLED)
        await asyncio.wait_for(ended, 1)
        await one.ended()

    asyncio.run(scenario())


async def write(queue, item, written, go_on):
    async with queue.place(item) as has_waited:
        written.append((item.number, has_waited))
        await go_on.wait()


def test_the_write_that_arrived_first_is_next(ordering):
    async def scenario():
        queue, go_on, written = WriteQueue(2), asyncio.Event(), []
        _, items = batch(ordering, *((n, f"p{n}@x.test") for n in range(6)))
        tasks = [
            asyncio.create_task(write(queue, items[n], written, go_on)) for n in (5, 4, 3, 0, 2, 1)
        ]
        await asyncio.sleep(0)
        assert written == [(5, False), (4, False)]
        assert items[0].stage is Stage.QUEUED
        go_on.set()
        await asyncio.gather(*tasks)
        assert written[2:] == [(0, True), (1, True), (2, True), (3, True)]
        async with queue.place(items[0]) as first, queue.place(items[1]) as second:
            assert (first, second) == (False, False)
            third = asyncio.create_task(write(queue, items[2], written, go_on))
            await asyncio.sleep(0)
            assert items[2].stage is Stage.QUEUED
        await third
        assert written[-1] == (2, True)

    asyncio.run(scenario())


@pytest.mark.parametrize("is_granted", [False, True], ids=["while it waits", "as it is granted"])
def test_a_place_that_nobody_takes_any_more_goes_to_the_next(ordering, is_granted):
    async def scenario():
        queue, go_on, written = WriteQueue(1), asyncio.Event(), []
        _, items = batch(ordering, *((n, f"p{n}@x.test") for n in range(3)))
        tasks = [asyncio.create_task(write(queue, item, written, go_on)) for item in items]
        await asyncio.sleep(0)
        if is_granted:
            go_on.set()
            await asyncio.sleep(0)
        tasks[1].cancel()
        go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [number for number, _ in written] == [0, 2]

    asyncio.run(scenario())


def test_a_work_item_names_the_records_that_it_may_be_about(ordering):
    one, (item,) = batch(ordering, (0, "a@x.test"))
    one.snapshot.put(Resource(7, {"emails": ["a@x.test", "z@x.test"]}, {}))
    assert item.record_ids == [7]
    assert {key.value for key in item.all_keys()} == {7, "a@x.test", "z@x.test"}
    assert isinstance(item, WorkItem)


def test_insert_is_about_no_record_that_is_there(ordering):
    one, (item,) = batch(ordering, (0, "a@x.test"), mode="insert")
    one.snapshot.put(Resource(7, {"emails": ["a@x.test"]}, {}))
    assert item.matches() == []
