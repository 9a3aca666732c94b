"""Two of a hundred requests fail, in every way there is; nothing is lost and nothing is doubled."""

from __future__ import annotations

import os
import random
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from conftest import record, schema, state
from model import EVERY_FAULT, LONG_AGO, Draft, Entity, Object, Sync

from target_outreach.sandbox import Fault
from target_outreach.sandbox.faults import FaultPlan
from target_outreach.sandbox.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_outreach.sandbox.messages import Request

SEEDS = range(6 if os.environ.get("CI") else 2)
OBJECTS: list[list[Object]] = [["prospects"], ["accounts"], ["prospects", "accounts"]]
ROWS = 450
ONE_OF = 50

#: How a server says when to come back.
RETRY_AFTER: list[Callable[[float], str]] = [
    lambda _moment: "1",
    lambda moment: f"{moment:.0f}",
    lambda moment: datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds"),
    lambda moment: formatdate(moment, usegmt=True),
]
WAYS: list[tuple[Fault, Callable[[float], str] | None]] = [
    *((fault, None) for fault in EVERY_FAULT if not fault.headers),
    *((Fault("status", status=status), say) for status in (429, 503) for say in RETRY_AFTER),
]


class Chaos(FaultPlan):
    """Lets two of a hundred requests fail: one of each fifty, in all ways in turn.

    Args:
        chance: Decides which of the fifty, and the order of the ways.
        clock: Outreach's, in epoch seconds.

    Attributes:
        struck: How many have failed.
    """

    def __init__(self, chance: random.Random, clock: Callable[[], float]) -> None:
        super().__init__()
        self.struck = 0
        self._chance = chance
        self._clock = clock
        self._ways: list[tuple[Fault, Callable[[float], str] | None]] = []
        self._arrived = 0
        self._unlucky = 0

    def strike(self, _request: Request) -> Fault | None:
        """Return the fault that happens to the request, or None."""
        with self._lock:
            place = self._arrived % ONE_OF
            self._arrived += 1
            if place == 0:
                self._unlucky = self._chance.randrange(ONE_OF)
            if place != self._unlucky:
                return None
            self.struck += 1
            self._ways = self._ways or self._chance.sample(WAYS, len(WAYS))
            fault, say = self._ways.pop()
        headers = (("Retry-After", say(self._clock() + 0.5)),) if say else ()
        return replace(fault, headers=headers)


def draft(entity: Entity, chance: random.Random) -> Draft:
    forms = ["upper", "second", "reversed", "text", "domain", "custom_id"]
    return Draft(
        entity,
        stream=chance.choice(["a", "b"]),
        forms=frozenset(form for form in forms if chance.random() < 0.3),
        told=tuple(chance.choices(["text", "null", "blank", "absent"], [4, 1, 1, 1], k=2)),
        tags=chance.choice([None, None, ["t1"], "t2", []]),
        flaw=chance.randrange(6) if chance.random() < 0.02 else None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled_where_one_request_of_fifty_fails(tmp_path: Path, seed: int):
    chance = random.Random(seed)  # noqa: S311 - seeded, to be repeatable
    objects = OBJECTS[seed % len(OBJECTS)]
    entities = [Entity(name, number) for name in objects for number in range(300 // len(objects))]
    there = [entity for entity in entities if chance.random() < 0.4]
    settings = {
        "batch_size_rows": chance.choice([10, 50, 200]),
        "max_parallel_requests": chance.choice([2, 4, 8]),
    }
    with closing(Sync(tmp_path, Profile(), entities, **settings)) as sync:
        for entity in there:
            sync.sandbox.store.seed(entity.object, entity.own | {"createdAt": LONG_AGO})
        drafts = [draft(chance.choice(entities), chance) for _ in range(ROWS)]
        sync.tap.add(drafts, range(0, ROWS, 30), is_wide=False)
        sync.sandbox.faults = chaos = Chaos(chance, sync.sandbox.clock)
        ending = sync.run()  # which compares all that Outreach holds with all that was sent
        assert ending.exit_code == 3  # for the flawed rows
        assert chaos.struck >= sync.sandbox.request_count // ONE_OF >= 4


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["upsert", "insert"])
def test_a_prospect_of_the_same_id_does_not_claim_an_account_whose_answer_is_lost(
    sync, sandbox, mode
):
    sandbox.profile = replace(sandbox.profile, company_account="none")
    sandbox.add_fault(Fault("reset_after", method="POST", path="/accounts"))
    rows = [record("prospects", emails="a@x.test"), record("accounts", name="Acme")]
    run = sync([schema("prospects"), schema("accounts"), *rows], sync_mode=mode, batch_size_rows=1)
    assert [sandbox.store.all(name)[0]["id"] for name in ("prospects", "accounts")] == [1, 1]
    assert run.counts("accounts") == {"received": 1, "created": 1}
    assert sandbox.store.count("accounts") == 1


@pytest.mark.parametrize("rows_a_batch", [1, 2, 3, 500])
@pytest.mark.parametrize(
    "keys",
    [
        [{"custom_id": "C1"}, {"name": "Acme"}],
        [{"custom_id": "C1"}, {"domain": "acme.test"}, {"name": "Acme"}],
        [{"domain": "acme.test"}, {"name": "Acme"}, {"custom_id": "C1"}],
    ],
)
def test_the_last_row_about_a_company_wins_by_whichever_field(sync, sandbox, keys, rows_a_batch):
    own = {"name": "Acme", "domain": "acme.test", "customId": "C1"}
    sandbox.store.seed("accounts", own | {"createdAt": LONG_AGO})
    rows = [record("accounts", **key, industry=str(at)) for at, key in enumerate([*keys, keys[0]])]
    run = sync([schema("accounts"), *rows, state({"n": 1})], batch_size_rows=rows_a_batch)
    assert run.exit_code == 0
    (company,) = sandbox.store.all("accounts")
    assert company["attributes"]["industry"] == str(len(rows) - 1)
    assert run.states == [{"n": 1}]
