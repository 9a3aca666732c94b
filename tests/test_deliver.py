"""A record's life, step by step: what is done next, and what is done when Outreach surprises.

No socket and no thread: Outreach is a dictionary here, so that every change to the decisions is
noticed within milliseconds. Other tests go through the same over real sockets.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from target_outreach import bounds
from target_outreach.delivery.breaker import Breaker
from target_outreach.delivery.stream import Item, Stream
from target_outreach.engine.batch import Batch, Read, Stage
from target_outreach.engine.deliver import Delivery
from target_outreach.engine.job import Found, Gone
from target_outreach.engine.tasks import Tasks
from target_outreach.engine.tools import Tools
from target_outreach.engine.writing import delivered
from target_outreach.errors import OutreachError, RecordFault
from target_outreach.records.catalog import load_catalog
from target_outreach.records.folding import fold
from target_outreach.records.matching import RemoteSnapshot, comparable
from target_outreach.records.model import Create, Desired, Reference, Resource, Update
from target_outreach.records.rules import Rules

CATALOG = load_catalog()
PROSPECTS, ACCOUNTS = CATALOG["prospects"], CATALOG["accounts"]
ANN = "ann@x.test"
SECONDS = 5


class Pages:
    """Outreach as lookups see it; requests are counted."""

    def __init__(self):
        self.version = 0
        self.records = {}
        self.asked = []
        self.failing = None
        self.tests = 0

    def hold(self, number, object_type=PROSPECTS, account=None, **attributes):
        resource = Resource(number, attributes, {"account": account})
        self.records[object_type.name, number] = resource
        return resource

    def paths(self, object_type, name, values, asked):
        del asked
        return [(object_type, name, tuple(values))] if values else []

    def read(self, path):
        object_type, name, values = path
        self.asked.append((name, values))
        return [
            one
            for (kind, number), one in self.records.items()
            if kind == object_type.name
            and (str(number) in values if name == "id" else _has(object_type, one, name, values))
        ]

    def read_one(self, object_type, number, asked):
        del asked
        return self.records.get((object_type.name, number))

    def test(self, object_type, fields):
        del object_type, fields
        self.tests += 1
        return self.failing

    def has_no_named_account(self, object_type, number):
        del object_type, number
        return False


def _has(object_type, resource, name, values):
    held = comparable(object_type, name, resource.attributes.get(name))
    return any(held & comparable(object_type, name, value) for value in values)


class Writer:
    """Writes into the pages, unless it is told what else comes of the next writes."""

    is_dry = False

    def __init__(self, pages):
        self.pages = pages
        self.surprises = []
        self.jobs = []

    def recall(self, snapshot, items):
        pass

    def write(self, job):
        self.jobs.append(job)
        if self.surprises:
            surprise = self.surprises.pop(0)
            if callable(surprise):
                surprise = surprise()
            if isinstance(surprise, Exception):
                raise surprise
            if surprise != "as it should be":
                return surprise
        decided, held = job.decided, {}
        number = 100 + len(self.jobs)
        if isinstance(decided, Update):
            number, held = decided.resource.id, decided.resource.attributes
        written = self.pages.hold(number, job.object, **{**held, **decided.attributes})
        return delivered(
            "updated" if isinstance(decided, Update) else "created", job.object, written, decided
        )


class Requests:
    """Carries calls out at once, after the others have had their turn."""

    def __init__(self):
        self.are_quiet = asyncio.Event()
        self.are_quiet.set()
        self.in_flight = 0
        self.held_up = None

    async def read(self, task):
        await asyncio.sleep(0)
        return task()

    async def write(self, task):
        await asyncio.sleep(0)
        if self.held_up is not None:
            await self.held_up.wait()
        return task()


class Outcomes:
    """Notes the outcome of records, and knows whether they are still needed."""

    stops_at_rejects = False

    def __init__(self):
        self.heard = {}
        self.breaker = Breaker()
        self.aborted_from = None
        self.without = []

    def is_aborted_before(self, item):
        return self.aborted_from is not None and item.number >= self.aborted_from

    def delivered_without(self, stream, left_out):
        self.without.append((stream.name, left_out))

    def delivered(self, stream, deliveries):
        for group, one in deliveries:
            for item in group.members:
                self.heard[item.number] = stream.name, one.outcome, one.resource.id

    def skipped(self, stream, items, reason):
        self.heard.update(dict.fromkeys((item.number for item in items), (stream.name, reason)))

    def rejected(self, stream, item, fault):
        self.heard[item.number] = stream.name, fault.code, fault


@dataclass
class Life:
    """A delivery with all that it is given, and the errors that end its tasks."""

    pages: Pages = field(default_factory=Pages)
    outcomes: Outcomes = field(default_factory=Outcomes)
    errors: list[BaseException] = field(default_factory=list)
    now: float = 1000.0
    object: object = PROSPECTS
    rules: Rules = field(default_factory=lambda: Rules(match_fields=("emails",)))
    parallel: int = 4

    def __post_init__(self):
        self.writer = Writer(self.pages)
        self.requests = Requests()
        self.tasks = Tasks(lambda error: self.errors.append(error) if error else None)
        tools = Tools(
            lookup=self.pages,
            writer=self.writer,
            enrolments=None,
            pacer=SimpleNamespace(outages=None),
            settlement=self.outcomes,
            objects=CATALOG,
            parallel=self.parallel,
            clock=lambda: self.now,
        )
        self.delivery = Delivery(tools, self.requests, self.tasks, None)
        self.ordering = self.delivery.ordering

    def begin(self, *records, **more):
        """Hand over a batch, without delivering it."""
        stream = Stream("people", "people", "", self.object, self.rules)
        snapshot = RemoteSnapshot(self.object, self.rules.match_fields)
        batch = Batch(next(self.ordering.numbers), stream, snapshot, self.outcomes, **more)
        numbered = [(Item(number, "", one), one) for number, one in enumerate(records)]
        items = fold(self.object, numbered, self.rules, batch.item)
        self.ordering.begin(batch, items)
        return batch, items

    async def finish(self, items):
        """Deliver work items to their ends, or to the end of the run."""
        for item in items:
            self.tasks.start(self.delivery.deliver(item), item)
        await asyncio.wait_for(self.tasks.all_ended(), SECONDS)

    def said(self):
        return {number: one[1:] for number, one in self.outcomes.heard.items()}

    def sent(self):
        return [job.decided for job in self.writer.jobs]


def person(*addresses, **attributes):
    return Desired(attributes={"emails": list(addresses or (ANN,)), **attributes})


def deliver_all(*records, before=None, **given):
    """Deliver records of one batch; ``before`` prepares what they meet."""

    async def scenario():
        life = Life(**given)
        if before is not None:
            before(life)
        _, items = life.begin(*records)
        await life.finish(items)
        return life, items

    return asyncio.run(scenario())


def ann_is_there(life):
    life.pages.hold(7, emails=[ANN], title="Clerk")


def test_what_is_not_there_is_created_and_what_differs_is_updated():
    life, items = deliver_all(
        person("new@x.test"),
        person(title="Head"),
        person("bob@x.test", title="Cook"),
        before=lambda life: (
            ann_is_there(life),
            life.pages.hold(8, emails=["bob@x.test"], title="Cook"),
        ),
    )
    assert life.errors == []
    assert life.said()[1] == ("updated", 7)
    assert life.said()[2] == ("unchanged", 8)
    assert life.said()[0][0] == "created"
    assert [item.stage for item in items] == [Stage.SETTLED] * 3
    assert {type(decided): dict(decided.attributes) for decided in life.sent()} == {
        Create: {"emails": ["new@x.test"]},
        Update: {"title": "Head"},
    }
    assert [name for name, _ in life.pages.asked] == ["emails"]
    assert {one[0] for one in life.outcomes.heard.values()} == {"people"}


def test_what_the_settings_leave_alone_is_skipped():
    life, (item,) = deliver_all(person(), rules=Rules(match_fields=("emails",), sync_mode="update"))
    assert life.said() == {0: ("no_match",)}
    assert item.stage is Stage.SETTLED
    assert life.writer.jobs == []


def test_a_record_that_fits_several_is_rejected():
    def two(life):
        ann_is_there(life)
        life.pages.hold(8, emails=[ANN])

    life, _ = deliver_all(person(title="Head"), before=two)
    assert life.said()[0][0] == "ambiguous_match"
    assert life.writer.jobs == []
    life, _ = deliver_all(
        person(title="Head"),
        before=two,
        rules=Rules(match_fields=("emails",), on_ambiguous="newest"),
    )
    assert life.said() == {0: ("updated", 8)}


def surprised(*surprises):
    def before(life):
        ann_is_there(life)
        life.writer.surprises = list(surprises)

    return before


def test_a_refusal_is_the_fault_of_its_record():
    fault = RecordFault("rejected_by_outreach", "No.")
    life, (item,) = deliver_all(person(title="Head"), before=surprised(fault))
    assert life.said() == {0: ("rejected_by_outreach", fault)}
    assert item.stage is Stage.SETTLED


def test_of_records_that_were_folded_each_is_sent_by_itself_after_a_refusal():
    fault = RecordFault("rejected_by_outreach", "No.")
    life, (folded,) = deliver_all(
        person(title="Head"), person(title="Cook"), before=surprised(fault)
    )
    assert folded.stage is Stage.SPLIT
    assert [dict(decided.attributes) for decided in life.sent()] == [
        {"title": "Cook"},
        {"title": "Head"},
        {"title": "Cook"},
    ]
    assert life.said() == {0: ("updated", 7), 1: ("updated", 7)}


def test_a_record_that_was_deleted_meanwhile_is_looked_for_again():
    def goes(life):
        def gone():
            del life.pages.records["prospects", 7]
            return Gone(7)

        ann_is_there(life)
        life.writer.surprises = [gone]

    life, _ = deliver_all(person(title="Head"), before=goes)
    assert life.said()[0][0] == "created"
    assert len(life.pages.asked) == 2


def test_a_record_that_lists_go_on_showing_is_given_up_after_a_few_times():
    life, _ = deliver_all(person(title="Head"), before=surprised(*[Gone(7)] * 9))
    code, fault = life.said()[0]
    assert code == "record_not_found"
    assert str(fault) == (
        "Outreach's lists show this record, but to write to it is answered by 404: it may "
        "be in the trash, or merged into another one."
    )
    assert len(life.writer.jobs) == bounds.MOST_GONE + 1


def test_a_record_that_was_there_unseen_is_updated_and_not_created():
    unseen = Resource(9, {"emails": [ANN], "title": "Clerk"}, {})
    life, _ = deliver_all(
        person(title="Head"),
        before=lambda life: setattr(life.writer, "surprises", [Found((unseen,), 1000.0)]),
    )
    assert life.said() == {0: ("updated", 9)}
    assert [type(decided) for decided in life.sent()] == [Create, Update]
    assert life.sent()[1].resource == unseen


def test_what_was_written_since_a_late_look_is_not_overwritten_by_it():
    async def scenario():
        life = Life()
        batch, (item,) = life.begin(person(title="Head"))
        batch.written[9] = 1001.0
        newer = Resource(9, {"emails": [ANN], "title": "Head"}, {})
        older = Resource(9, {"emails": [ANN], "title": "Clerk"}, {})

        def found():
            batch.snapshot.put(newer)
            return Found((older,), 1000.0)

        life.writer.surprises = [found]
        await life.finish([item])
        return life

    life = asyncio.run(scenario())
    assert life.said() == {0: ("unchanged", 9)}


def test_a_record_that_is_found_late_twice_is_rejected():
    other = Resource(9, {"emails": ["other@x.test"]}, {})
    found = Found((other,), 1000.0)
    life, _ = deliver_all(
        person(), before=lambda life: setattr(life.writer, "surprises", [found, found])
    )
    code, fault = life.said()[0]
    assert code == "already_taken"
    assert str(fault) == "Another record has what should be unique, and does not fit this one."


def test_a_record_that_a_cut_list_hides_again_is_updated_when_it_is_found_late_twice():
    async def scenario():
        life = Life()
        batch, (item,) = life.begin(person(title="Head"))
        unseen = Resource(9, {"emails": [ANN], "title": "Clerk"}, {})
        found = Found((unseen,), 1000.0)

        def hidden():
            batch.snapshot.forget(9)

        def found_after_another_row_has_written_it():
            batch.snapshot.put(unseen)
            return found

        life.writer.surprises = [found, hidden, found_after_another_row_has_written_it]
        await life.finish([item])
        return life

    life = asyncio.run(scenario())
    assert [type(decided) for decided in life.sent()] == [Create, Update, Create, Update]
    assert life.said() == {0: ("updated", 9)}


def test_a_run_ends_where_nothing_that_was_read_stays_true():
    life, (item,) = deliver_all(person(title="Head"), before=surprised(*[None] * 99))
    (error,) = life.errors
    assert isinstance(error, OutreachError)
    assert "before it could be written; the next run goes on from STATE." in str(error)
    assert len(life.writer.jobs) == bounds.MOST_ROUNDS - 1  # one round has looked it up
    assert item.is_open


def test_what_comes_after_a_reject_that_aborts_is_left():
    life, items = deliver_all(
        person("a@x.test"),
        person("b@x.test"),
        before=lambda life: setattr(life.outcomes, "aborted_from", 1),
    )
    assert [item.stage for item in items] == [Stage.SETTLED, Stage.LEFT]
    assert list(life.said()) == [0]


def test_nothing_is_begun_once_the_run_stops():
    async def scenario():
        life = Life()
        _, (item,) = life.begin(person())
        life.tasks.is_stopping = True
        await life.delivery.deliver(item)
        return life, item

    life, item = asyncio.run(scenario())
    assert item.stage is Stage.LEFT
    assert (life.pages.asked, life.writer.jobs, life.said()) == ([], [], {})


def test_what_was_being_written_when_the_run_stops_waits_for_nobody_who_was_cancelled():
    """Its answer shows that an earlier record, which goes on no more, may be about the same one."""

    async def scenario():
        life = Life()
        both = life.pages.hold(7, emails=["a@x.test", "b@x.test"], title="Clerk")
        batch, (earlier, later) = life.begin(person("a@x.test"), person("b@x.test"))
        life.requests.held_up = asyncio.Event()
        life.writer.surprises = [Found((both,), 1000.0)]
        batch.snapshot.put(Resource(1, {"emails": ["z@x.test"]}, {}))
        earlier.read = later.read = Read(1000.0, 0)
        earlier.is_complete = later.is_complete = True
        life.tasks.start(life.delivery.deliver(later), later)
        while later.stage is not Stage.WRITING:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        life.tasks.stop()
        life.requests.held_up.set()
        await asyncio.wait_for(life.tasks.all_ended(), SECONDS)
        return life, earlier, later

    life, earlier, later = asyncio.run(scenario())
    assert earlier.is_open
    assert later.stage is Stage.LEFT
    assert life.errors == []


@pytest.mark.parametrize("way", ["read", "read_one"])
def test_what_was_read_during_a_write_does_not_undo_what_is_known_of_it(way):
    newer = Resource(7, {"emails": [ANN], "title": "Head"}, {})

    async def scenario():
        life = Life()
        ann_is_there(life)
        batch, (item,) = life.begin(person(title="Head"))
        if way == "read_one":  # by its id, since a list shows something else than was written
            before = Resource(7, {"emails": [ANN], "title": "Cook"}, {})
            life.delivery.resolver.remember(PROSPECTS, before)
        genuine = getattr(life.pages, way)

        def read(*asked):
            found = genuine(*asked)
            life.now += 1
            batch.snapshot.put(newer)
            batch.written[7] = life.now
            return found

        if way == "read_one":
            life.pages.read_one = lambda *given, asked: read(*given, asked)
        else:
            life.pages.read = read
        await life.delivery.resolver.find_one(item)
        return batch.snapshot.get(7)

    assert asyncio.run(scenario()) == newer


def test_whoever_waits_for_a_write_goes_on_after_it_although_it_has_brought_no_end():
    """A later record is written; then an earlier one turns out to be about the same one."""

    async def scenario():
        life = Life()
        both = Resource(7, {"emails": ["a@x.test", "b@x.test"], "title": "Clerk"}, {})
        batch, (earlier, later) = life.begin(
            person("a@x.test", title="Head"), person("b@x.test", title="Cook")
        )
        batch.snapshot.put(Resource(7, {"emails": ["b@x.test"], "title": "Clerk"}, {}))
        life.pages.hold(7, **both.attributes)
        earlier.read = later.read = Read(1000.0, 0)
        life.requests.held_up = asyncio.Event()
        life.writer.surprises = [None]  # it has grown too old, and is planned anew
        life.tasks.start(life.delivery.deliver(later), later)
        while later.stage is not Stage.WRITING:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        batch.snapshot.put(both)
        life.tasks.start(life.delivery.deliver(earlier), earlier)
        while earlier.stage is not Stage.WAITING:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        life.requests.held_up.set()
        await asyncio.wait_for(life.tasks.all_ended(), SECONDS)
        return life

    life = asyncio.run(scenario())
    assert life.said() == {0: ("updated", 7), 1: ("updated", 7)}
    assert [decided.attributes["title"] for decided in life.sent()] == ["Cook", "Head", "Cook"]


def test_what_is_written_while_accounts_are_asked_for_is_not_forgotten():
    async def scenario(meanwhile):
        life = Life()
        life.pages.hold(50, ACCOUNTS, named=False)
        batch, (item,) = life.begin(person(title="Clerk", company="New"))
        batch.snapshot.put(Resource(7, {"emails": [ANN], "title": "Clerk"}, {"account": 50}))
        asking = asyncio.create_task(life.delivery.named_accounts.resolve(batch, [item]))
        await asyncio.sleep(0)
        meanwhile(batch.snapshot)
        await asking
        return batch.snapshot.get(7)

    def written(account):
        return Resource(7, {"emails": [ANN], "title": "Head"}, {"account": account})

    assert asyncio.run(scenario(lambda snapshot: snapshot.put(written(50)))) == written(None)
    assert asyncio.run(scenario(lambda snapshot: snapshot.put(written(60)))) == written(60)
    assert asyncio.run(scenario(lambda snapshot: snapshot.forget(7))) is None


def test_a_plan_that_waited_for_its_place_is_made_again():
    async def scenario():
        life = Life(parallel=1)
        for number in range(3):
            life.pages.hold(number + 1, emails=[f"p{number}@x.test"])
        batch, items = life.begin(*(person(f"p{n}@x.test", title="Head") for n in range(3)))
        life.requests.held_up = asyncio.Event()
        for item in items:
            life.tasks.start(life.delivery.deliver(item), item)
        while items[2].stage is not Stage.QUEUED:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        # Meanwhile somebody has given it a title and a nickname.
        batch.snapshot.put(
            Resource(3, {"emails": ["p2@x.test"], "title": "Head", "nickname": "N"}, {})
        )
        life.requests.held_up.set()
        await asyncio.wait_for(life.tasks.all_ended(), SECONDS)
        return life

    life = asyncio.run(scenario())
    assert life.said() == {0: ("updated", 1), 1: ("updated", 2), 2: ("unchanged", 3)}
    assert len(life.writer.jobs) == 2


def test_what_waited_for_its_place_lets_an_earlier_one_go_first_that_is_about_the_same_by_now():
    async def scenario():
        life = Life(parallel=1)
        for number in range(4):
            life.pages.hold(number + 1, emails=[f"p{number}@x.test"])
        batch, items = life.begin(*(person(f"p{n}@x.test", title=f"T{n}") for n in range(4)))
        life.requests.held_up = asyncio.Event()
        for item in (*items[:2], items[3]):
            life.tasks.start(life.delivery.deliver(item), item)
        while items[3].stage is not Stage.QUEUED:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        # Meanwhile somebody has merged the two.
        merged = life.pages.hold(4, emails=["p3@x.test", "p2@x.test"])
        batch.snapshot.put(merged)
        life.requests.held_up.set()
        while items[3].stage is Stage.QUEUED:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        del life.pages.records["prospects", 3]
        life.tasks.start(life.delivery.deliver(items[2]), items[2])
        await asyncio.wait_for(life.tasks.all_ended(), SECONDS)
        return life

    life = asyncio.run(scenario())
    assert [life.said()[n] for n in (2, 3)] == [("updated", 4)] * 2
    assert [decided.attributes["title"] for decided in life.sent()] == ["T0", "T1", "T2", "T3"]


def test_what_is_no_longer_wanted_gives_its_place_back():
    async def scenario():
        life = Life(parallel=1)
        _, items = life.begin(*(person(f"p{n}@x.test") for n in range(4)))
        life.requests.held_up = asyncio.Event()
        for item in items:
            life.tasks.start(life.delivery.deliver(item), item)
        while items[3].stage is not Stage.QUEUED:  # noqa: ASYNC110 - a stage is no event
            await asyncio.sleep(0)
        life.outcomes.aborted_from = 2
        life.requests.held_up.set()
        await asyncio.wait_for(life.tasks.all_ended(), SECONDS)
        return life, items

    life, items = asyncio.run(scenario())
    assert [item.stage for item in items] == [Stage.SETTLED, Stage.SETTLED, Stage.LEFT, Stage.LEFT]
    assert sorted(life.said()) == [0, 1]


def test_records_that_may_be_about_the_same_one_are_written_in_their_order():
    life, _ = deliver_all(
        person(title="Head"), person(ANN, "b@x.test", title="Cook"), before=ann_is_there
    )
    assert [dict(decided.attributes) for decided in life.sent()] == [
        {"title": "Head"},
        {"emails": [ANN, "b@x.test"], "title": "Cook"},
    ]
    assert life.said() == {0: ("updated", 7), 1: ("updated", 7)}


def test_a_plan_that_has_grown_too_old_rests_on_a_new_lookup():
    async def scenario():
        life = Life()
        life.pages.hold(7, emails=[ANN], optedOut=False)
        _, (item,) = life.begin(person(title="Head", optedOut=False, emailOptedOut=False))
        await life.delivery.resolver.find_one(item)
        life.now += 61.0
        life.pages.hold(7, emails=[ANN], optedOut=True)
        await life.finish([item])
        return life

    life = asyncio.run(scenario())
    assert [name for name, _ in life.pages.asked] == ["emails", "emails"]
    assert dict(life.sent()[0].attributes) == {"title": "Head"}


@pytest.mark.parametrize("is_there", [True, False], ids=["still there", "gone"])
def test_a_record_that_is_being_read_again_stays_known_meanwhile(is_there):
    """A row that finds it by another address must not take it for a new one."""

    async def scenario():
        life = Life()
        life.pages.hold(7, emails=[ANN, "b@x.test"], title="Clerk")
        batch, (item, other) = life.begin(person(title="Head"), person("b@x.test", title="Cook"))
        async for _ in life.delivery.resolver.find(batch, [item, other]):
            pass
        meanwhile = []
        genuine = life.pages.read

        def read(path):
            meanwhile.extend(found.id for found in other.matches())
            return genuine(path)

        life.pages.read = read
        life.pages.records.clear()
        if is_there:
            life.pages.hold(7, emails=[ANN, "b@x.test"], title="Clerk")
        await life.delivery.resolver.find_one(item, is_outdated=lambda _: False)
        return meanwhile, [found.id for found in item.matches()]

    assert asyncio.run(scenario()) == ([7], [7] if is_there else [])


def test_what_this_run_has_written_is_known_after_it_was_read_again_by_a_list_that_lags():
    async def scenario():
        life = Life()
        ours = life.pages.hold(7, emails=[ANN], title="Clerk")
        batch, (item,) = life.begin(person(title="Head"))
        async for _ in life.delivery.resolver.find(batch, [item]):
            pass
        life.delivery.resolver.remember(PROSPECTS, ours)
        life.pages.read = lambda _: []
        await life.delivery.resolver.find_one(item, is_outdated=lambda _: False)
        return [found.id for found in item.matches()]

    assert asyncio.run(scenario()) == [7]


def account(**attributes):
    return Desired(attributes={"name": "Acme", **attributes})


BY_NAME = Rules(match_fields=("domain", "name"))


def test_an_account_is_created_only_after_a_test_of_the_lookup():
    life, _ = deliver_all(account(), object=ACCOUNTS, rules=BY_NAME)
    assert life.said()[0][0] == "created"
    assert life.pages.tests == 1


def test_an_account_is_not_created_by_a_lookup_that_leaves_records_out():
    life, _ = deliver_all(
        account(),
        object=ACCOUNTS,
        rules=BY_NAME,
        before=lambda life: setattr(life.pages, "failing", "a list leaves records out"),
    )
    code, fault = life.said()[0]
    assert code == "lookup_untrusted"
    assert str(fault).startswith("a list leaves records out in Outreach's lookup of accounts")
    assert life.writer.jobs == []


ACME = Reference("account", (("id", "5"),), {"id": "id"})


def linked(*, refers):
    links = {"relationships": {"account": 5}}
    return replace(person(), **links, **({"references": {"account": ACME}} if refers else {}))


@pytest.mark.parametrize(
    ("policy", "code", "without"),
    [("skip", "created", [("people", "account.id")]), ("reject", "relation_not_found", [])],
)
def test_a_link_of_which_outreach_says_that_it_is_not_there_is_dropped_by_policy(
    policy, code, without
):
    fault = RecordFault("relation_not_found", "No such account.", field="account")
    life, _ = deliver_all(
        linked(refers=False),
        before=lambda life: setattr(life.writer, "surprises", [fault]),
        rules=Rules(match_fields=("emails",), on_missing_relation=policy),
    )
    assert life.said()[0][0] == code
    assert life.outcomes.without == without
    if policy == "skip":
        assert [decided.relationships for decided in life.sent()] == [{"account": 5}, {}]


def test_a_missing_link_that_the_record_does_not_have_rejects_it():
    fault = RecordFault("relation_not_found", "No such owner.", field="owner")
    life, _ = deliver_all(
        linked(refers=False),
        before=lambda life: setattr(life.writer, "surprises", [fault]),
        rules=Rules(match_fields=("emails",), on_missing_relation="skip"),
    )
    assert life.said()[0] == ("relation_not_found", fault)


def test_what_was_found_to_link_to_is_looked_for_once_more_when_it_has_gone():
    async def scenario():
        life = Life()
        _, (item,) = life.begin(linked(refers=True))
        fault = RecordFault("relation_not_found", "No such account.", field="account")
        assert not life.delivery.refuse(item, fault)
        assert (item.is_linked_anew, item.desired.relationships) == (True, {})
        item.desired = linked(refers=True)
        assert life.delivery.refuse(item, fault)
        return life, item

    life, item = asyncio.run(scenario())
    assert life.said()[0][0] == "relation_not_found"
    assert item.stage is Stage.SETTLED


def test_what_waits_for_the_end_of_the_input_keeps_later_ones_waiting():
    async def scenario():
        life = Life()
        _, (first,) = life.begin(person())
        fault = RecordFault("relation_not_found", "No such account.", field="account")
        life.delivery.defer(first, fault)
        assert first.stage is Stage.DEFERRED
        _, later = life.begin(person(ANN, "b@x.test"), person("c@x.test"))
        await life.finish(later)
        assert [item.stage for item in later] == [Stage.DEFERRED, Stage.SETTLED]
        ((_, lost, why),) = life.delivery.deferred.give_up()
        assert (lost.number, why) == (0, fault)
        return life

    life = asyncio.run(scenario())
    assert list(life.said()) == [1]


def test_what_is_written_is_known_to_all_batches_of_its_object():
    async def scenario():
        life = Life()
        ann_is_there(life)
        _, first = life.begin(person(title="Head"))
        later, _ = life.begin(person("b@x.test"))
        life.now = 1007.0
        await life.finish(first)
        return later

    later = asyncio.run(scenario())
    assert later.snapshot.get(7).attributes["title"] == "Head"
    assert later.written == {7: 1007.0}


def test_a_job_says_what_the_plan_rests_on():
    life, (item,) = deliver_all(person(title="Head"), before=ann_is_there)
    (job,) = life.writer.jobs
    assert (job.object, job.desired, job.rules) == (PROSPECTS, item.desired, life.rules)
    assert job.read == item.read == Read(1000.0, 0)
    assert job.asked == ()
