"""A state machine: a tap, people in Outreach, faults and kills, in every order, against a model.

How many machines are tried follows the Hypothesis profile: a few by default, more in CI, and a
night's worth by ``--hypothesis-profile=many`` or ``HYPOTHESIS_PROFILE=many``. Each part has a seed
of its own, so that a part that fails once fails again, and prints the shortest story that does.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import (
    EVERY_FAULT,
    FEWER_THAN_TRIES,
    LONG_AGO,
    LONG_REFUSALS,
    SCALARS,
    SHORT_FRESHNESS,
    STRANGER,
    UNMAPPED,
    Draft,
    Entity,
    Kill,
    Sync,
    Tap,
)

from target_outreach.sandbox.profile import Profile

if TYPE_CHECKING:
    from target_outreach.sandbox import Fault

PROFILE = settings.get_current_profile_name()
PARTS = {"ci": 8, "many": 1000}.get(PROFILE, 2)
EXAMPLES = 3
STEPS = 7

PEOPLE = [Entity("prospects", number, is_known=number < 2) for number in range(7)]
COMPANIES = [Entity("accounts", number, is_known=number < 2) for number in range(7)]
ENTITIES = [*PEOPLE, *COMPANIES]
ENTITY = st.sampled_from(ENTITIES)
TOLD = st.sampled_from(["text", "text", "null", "blank", "absent"])
DRAFTS = st.lists(
    st.builds(
        Draft,
        entity=ENTITY,
        stream=st.sampled_from(["a", "b", "c"]),
        forms=st.frozensets(
            st.sampled_from(["upper", "second", "reversed", "text", "domain", "custom_id", "alias"])
        ),
        told=st.tuples(TOLD, TOLD),
        tags=st.sampled_from([None, "x", [], ["t1"], ["t2"], ["y", "y"]]),
        flaw=st.sampled_from([None] * 40 + list(range(6))),
    )
)
QUICK = [fault for fault in EVERY_FAULT if not fault.seconds and not fault.headers]
FAULTS = st.lists(
    st.builds(
        lambda fault, method, after: replace(fault, method=method, after=after),
        fault=st.sampled_from([*QUICK, *QUICK, *EVERY_FAULT]),
        method=st.sampled_from(["POST", "PATCH", "GET", None]),
        after=st.integers(0, 4),
    ),
    max_size=4,
)
SETTINGS = st.fixed_dictionaries(
    {
        "batch_size_rows": st.sampled_from([1, 2, 3, 7, 20]),
        "max_parallel_requests": st.sampled_from([1, 2, 4, 16]),
        "on_reject": st.sampled_from(["fail", "fail", "ignore", "hold", "abort"]),
        "max_requests": st.sampled_from([None, None, None, None, 5, 20]),
    }
)
RUN = {
    # Hypothesis writes short lists, so a run is made of three.
    "drafts": st.builds(lambda *lists: [*chain(*lists)], DRAFTS, DRAFTS, DRAFTS),
    "states": st.sets(st.integers(0, 20)),
    "is_wide": st.booleans(),
    "faults": FAULTS,
    "refusal": st.sampled_from([None, None, *LONG_REFUSALS]),
    "settings": SETTINGS,
}
KILLS = st.builds(
    Kill,
    signal=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]),
    event=st.sampled_from(["answer", "answer", "STATE"]),
    count=st.integers(1, 12),
)
PROFILES = st.builds(
    Profile,
    latency_seconds=st.sampled_from([0, 0, 0.005]),
    rate_window_seconds=st.just(1),
    limit_headers=st.sampled_from(["single", "double", "none"]),
    retry_after=st.sampled_from(["delta", "epoch", "iso", "none"]),
    list_cap=st.sampled_from([None, None, None, 1, 4]),
    list_lag_seconds=st.sampled_from([0, 0, 0.9]),
    taken_wording=st.sampled_from(["hash", "emails", "index"]),
    company_from_account=st.booleans(),
)


class Outreach(RuleBasedStateMachine):
    """What may happen between a source and Outreach, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.strikes = 0
        self.edits = 0
        self.may_refuse_long = False

    @initialize(
        profile=PROFILES,
        there=st.sets(ENTITY),
        on_null=st.sampled_from(["ignore", "ignore", "clear"]),
        remembers=st.sampled_from([False, False, True]),
    )
    def begin(self, profile: Profile, there: set[Entity], on_null: str, *, remembers: bool) -> None:
        folder = Path(self.resources.enter_context(tempfile.TemporaryDirectory(prefix="model-")))
        settings = {"on_null": on_null}
        if remembers:
            settings["change_detection"] = "source"
            settings["memory_path"] = str(folder / "memory.db")
        tap = Tap(keys=["row_key"] if remembers else [])
        self.sync = Sync(folder, profile, ENTITIES, tap, **settings)
        self.resources.callback(self.sync.close)
        self.other: Sync | None = None
        if remembers:
            self.other = Sync(folder / "other", profile, ENTITIES, tap, **settings)
            self.resources.callback(self.other.close)
            self.fill_the_other(self.other)
        self.there_for_good = [entity for entity in ENTITIES if entity.is_known]
        if profile.list_cap:  # which is only noticed where enough companies are there
            self.there_for_good += COMPANIES
        for entity in ENTITIES:
            if entity in there or entity in self.there_for_good:
                self.make(entity)

    def fill_the_other(self, other: Sync) -> None:
        """Let strangers have the ids there that others have here."""
        for entity in ENTITIES:
            name = next(iter(entity.own))
            key = f"{STRANGER}{entity.number}@x.test"
            attributes = {name: [key] if name == "emails" else key, "createdAt": LONG_AGO}
            other.sandbox.store.seed(entity.object, attributes)
        for entity in ENTITIES:
            if entity.is_known or other.sandbox.profile.list_cap:
                attributes = entity.own | {"createdAt": LONG_AGO}
                other.sandbox.store.seed(entity.object, attributes)
        other.begin_at(0)

    def make(self, entity: Entity) -> None:
        self.sync.sandbox.store.seed(entity.object, entity.own | {"createdAt": LONG_AGO})
        self.sync.begin_at(self.sync.start)

    def found(self, entity: Entity) -> dict[str, Any] | None:
        name = next(iter(entity.own))
        for resource in self.sync.sandbox.store.all(entity.object):
            value = resource["attributes"][name]
            if entity.key in [key.lower() for key in ([value] if name == "name" else value)]:
                return resource
        return None

    @rule(entity=ENTITY, what=st.sampled_from(["scalar", "tags", "emails", "unmapped"]))
    def somebody_edits(self, entity: Entity, what: str) -> None:
        self.edits += 1
        text = f"edit {self.edits}"
        edit = {
            "scalar": {next(iter(SCALARS[entity.object].values())): text},
            "tags": {"tags": [text, "x"]},
            "emails": {"emails": [entity.second, entity.key]} if entity in PEOPLE else {},
            "unmapped": {UNMAPPED[entity.object]: text},
        }
        if (resource := self.found(entity)) is not None:
            self.sync.sandbox.store.update(entity.object, resource["id"], edit[what])
            self.sync.begin_at(self.sync.start)

    @rule(entity=ENTITY)
    def somebody_deletes_or_creates(self, entity: Entity) -> None:
        resource = self.found(entity)
        if resource is None:
            self.make(entity)
        elif entity not in self.there_for_good:
            self.sync.sandbox.store.delete(entity.object, resource["id"])
            self.sync.deleted(entity)
            self.sync.begin_at(self.sync.start)

    @rule(limit=st.integers(30, 60), spent=st.integers(0, 30))
    def the_limit_shrinks(self, limit: int, spent: int) -> None:
        sandbox = self.sync.sandbox
        sandbox.profile = replace(sandbox.profile, rate_limit=limit)
        sandbox.spend(spent)

    @rule(position=st.integers(0, 60))
    def an_older_state_comes_back(self, position: int) -> None:
        last = min(position, self.sync.start)
        self.sync.begin_at(max(at for at in self.sync.tap.states if at <= last))

    @precondition(lambda self: self.other is not None)
    @rule(settings=SETTINGS)
    def the_target_runs_for_another_organisation(self, settings: dict[str, Any]) -> None:
        assert self.other is not None
        self.other.run(**settings)

    @rule(**RUN)
    def the_target_runs(self, **arrangement: Any) -> None:
        self.run(None, **arrangement)

    @rule(kill=KILLS, **RUN)
    def the_target_is_killed(self, kill: Kill, **arrangement: Any) -> None:
        self.run(kill, **arrangement)

    def run(
        self,
        kill: Kill | None,
        *,
        drafts: list[Draft],
        states: set[int],
        is_wide: bool,
        faults: list[Fault],
        refusal: Fault | None,
        settings: dict[str, Any],
    ) -> None:
        if self.sync.sandbox.profile.list_cap:
            drafts = [_without_alias(draft) for draft in drafts]
        self.sync.tap.add(drafts, states, is_wide=is_wide)
        if refusal is not None:
            faults = [refusal, *faults]
            self.may_refuse_long = True
        if self.may_refuse_long:  # a later run may meet the refusal that this one does not
            settings = settings | {"freshness": SHORT_FRESHNESS}
        self.strikes += len(faults)
        for fault in faults:
            self.sync.sandbox.add_fault(fault)
        self.sync.run(kill, may_fail=self.strikes > FEWER_THAN_TRIES, **settings)

    def teardown(self) -> None:
        with self.resources:
            if sys.exception() is None:  # else there is a failure to tell of already
                sandbox = self.sync.sandbox
                sandbox.clear_faults()
                sandbox.profile = replace(sandbox.profile, rate_limit=10_000)
                self.sync.run()
                if self.other is not None:
                    self.other.run()


def _without_alias(draft: Draft) -> Draft:
    """Let a row name its company, without which none is created that a cut list does not show."""
    if draft.stream == "c":
        draft = replace(draft, stream="a")
    if draft.entity in PEOPLE:
        return draft
    return replace(draft, forms=draft.forms - {"alias"})


@pytest.mark.slow
@pytest.mark.timeout(600)  # of which Hypothesis takes five minutes at most to shorten a failure
@pytest.mark.parametrize("part", range(PARTS))
def test_outreach_holds_what_the_model_says(part: int) -> None:
    run_state_machine_as_test(
        seed(part)(Outreach),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
