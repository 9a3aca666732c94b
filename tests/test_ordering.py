"""Which work item is written before which, without any Outreach."""

from __future__ import annotations

import asyncio

import pytest

from target_outreach.delivery.breaker import Breaker
from target_outreach.delivery.stream import Item, Stream
from target_outreach.engine.batch import Batch, Read, Stage, WorkItem
from target_outreach.engine.ordering import Ordering, Together, WriteQueue
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import fold
from target_outreach.records.matching import RemoteSnapshot
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
    stream = stream_of(match_fields, mode)
    said = [(number, {"emails": emails}) for number, *emails in records]
    return handed_over(ordering, stream, Together(next(ordering.numbers), [stream]), *said)


def stream_of(match_fields, mode="upsert"):
    rules = Rules(sync_mode=mode, match_fields=match_fields)
    return Stream("people", "people", "", PROSPECTS, rules)


def handed_over(ordering, stream, together, *records):
    """Hand over a batch; each record is its number and its attributes."""
    snapshot = RemoteSnapshot(PROSPECTS, together.match_fields)
    one = Batch(together.order, stream, snapshot, Listener())
    said = [
        (Item(number, "", desired), desired)
        for number, attributes in records
        for desired in [Desired(attributes=attributes)]
    ]
    items = fold(PROSPECTS, said, stream.rules, one.item, together.match_fields)
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


@pytest.fixture
def pair(ordering):
    """Two streams that are handed over together; one matches by addresses, one by another id."""
    by_mail, by_id = stream_of(("emails",)), stream_of(("linkedInId",))
    together = Together(next(ordering.numbers), [by_mail, by_id])
    said = [(0, {"emails": ["a@x.test"]}), (2, {"emails": ["b@x.test"], "linkedInId": "B"})]
    one, mailed = handed_over(ordering, by_mail, together, *said)
    said = [(1, {"linkedInId": "A"}), (3, {"linkedInId": "B"}), (4, {"linkedInId": "A"})]
    other, linked = handed_over(ordering, by_id, together, *said)
    return one, mailed, other, linked


def test_streams_that_match_by_different_fields_are_compared_by_what_outreach_holds(ordering, pair):
    _, (first, second), other, (folded, last) = pair
    assert (numbers(folded), numbers(last)) == ([1, 4], [3])
    assert [ordering.blocker(item) for item in (first, second, folded)] == [None, None, None]
    assert ordering.blocker(last) is second  # which may give its record that id
    other.snapshot.put(Resource(7, {"emails": ["a@x.test"], "linkedInId": "A"}, {}))
    assert ordering.blocker(folded) is first
    assert ordering.blocker(first) is None
    ordering.leave([first], Stage.SETTLED)
    assert ordering.blocker(folded) is None
    other.snapshot.put(Resource(7, {"emails": ["b@x.test"], "linkedInId": "A"}, {}))
    assert ordering.blocker(folded) is None  # the other one came later
    assert ordering.spans_others(folded, other.snapshot.get(7))


def test_what_only_a_memory_knows_waits_for_what_may_be_about_its_record(ordering, pair):
    one, (first, second), _, (folded, last) = pair
    for item in (first, second, folded):
        item.read = None
    assert ordering.blocker(folded) is None  # it is to be looked up
    assert not ordering.spans_others(folded, None)
    folded.desired = folded.desired.with_remembered(7)
    assert ordering.blocker(folded) is first
    assert ordering.spans_others(folded, None)
    second.desired = second.desired.with_remembered(8)
    assert not ordering.spans_others(folded, None)
    second.desired = second.desired.with_remembered(7)
    assert ordering.spans_others(folded, None)
    second.desired = second.desired.with_remembered(None)
    second.read = LOOKED_UP
    assert not ordering.spans_others(folded, None)
    first.read, first.stage = LOOKED_UP, Stage.LOOKING_UP
    assert ordering.blocker(folded) is first
    first.stage = Stage.WAITING
    assert ordering.blocker(folded) is None
    one.snapshot.put(Resource(7, {"emails": ["a@x.test"]}, {}))
    assert ordering.blocker(folded) is first
    assert ordering.blocker(last) is second
    folded.read = LOOKED_UP
    assert ordering.blocker(folded) is None  # what was looked up says by what it is found


def test_rows_of_one_stream_wait_only_for_those_of_their_keys_under_a_memory(ordering):
    stream = stream_of(("emails",))
    _, (first,) = handed_over(
        ordering, stream, Together(next(ordering.numbers), [stream]), (0, {"emails": ["a@x.test"]})
    )
    _, (second,) = handed_over(
        ordering, stream, Together(next(ordering.numbers), [stream]), (1, {"emails": ["b@x.test"]})
    )
    first.read = second.read = None
    second.desired = second.desired.with_remembered(7)
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


async def write(queue, item, written, go_on, *, is_update=False):
    async with queue.place(item, is_update=is_update) as has_waited:
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


def test_where_outreach_refuses_all_the_latest_update_is_next_and_then_the_latest_create(ordering):
    async def scenario():
        breaker = Breaker()
        queue, go_on, written = WriteQueue(1, breaker), asyncio.Event(), []
        _, items = batch(ordering, *((n, f"p{n}@x.test") for n in range(8)))
        updates = {1, 2, 6}
        tasks = [
            asyncio.create_task(
                write(queue, items[n], written, go_on, is_update=n in updates),
            )
            for n in (0, 5, 1, 7, 3, 6, 2, 4)
        ]
        await asyncio.sleep(0)
        breaker.is_in_doubt = True
        go_on.set()
        await asyncio.gather(*tasks)
        assert [number for number, _ in written] == [0, 6, 2, 1, 7, 5, 4, 3]
        assert breaker.places == 1
        assert not queue.is_used

    asyncio.run(scenario())


def test_the_batches_of_an_object_are_those_that_are_being_delivered(ordering):
    one, _ = batch(ordering, (0, "a@x.test"))
    two, _ = batch(ordering, (1, "b@x.test"))
    assert list(ordering.of(PROSPECTS)) == [one, two]
    assert list(ordering.of(load_catalog()["accounts"])) == []


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


def test_streams_that_are_handed_over_together_wait_for_the_last_of_them_to_begin():
    async def scenario():
        people, others = (
            Stream(name, name, "", PROSPECTS, Rules(match_fields=fields))
            for name, fields in (("people", ("linkedInId", "emails")), ("others", ("emails",)))
        )
        together = Together(order=3, streams=[people, others])
        assert together.order == 3
        assert together.match_fields == ("emails", "linkedInId")
        waiting = asyncio.create_task(together.all_begun())
        together.begun(people)
        together.begun(people)  # the same stream again is not another one
        await asyncio.sleep(0)
        assert not waiting.done()
        together.begun(others)
        await asyncio.wait_for(waiting, 1)
        await asyncio.wait_for(together.all_begun(), 1)

    asyncio.run(scenario())


def test_nothing_is_waited_for_where_all_have_begun():
    async def scenario():
        stream = Stream("people", "people", "", PROSPECTS, Rules(match_fields=("emails",)))
        together = Together(order=0, streams=[stream])
        together.begun(stream)
        await asyncio.wait_for(together.all_begun(), 1)

    asyncio.run(scenario())
