"""When the next request may be sent, on a clock that the test turns."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from target_outreach.errors import EndedEarly
from target_outreach.outreach.answers import seconds_until
from target_outreach.outreach.pacing import Pacer

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


class Clock:
    """Server and client share it; what waits turns it on."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    @property
    def server(self):
        return NOON + timedelta(seconds=int(self.seconds))


@pytest.fixture
def clock():
    return Clock()


def answer(pacer, clock, remaining, window_ends, limit=100):
    reset = int((NOON + timedelta(seconds=window_ends)).timestamp())
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(reset),
    }
    pacer.release(headers, clock.server)


def wait_of(pacer):
    return pacer._wait_now()


class Server:
    """A window of requests, and answers under way that each say what was left when they were made.

    Time moves from one arrival or answer to the next; how long each takes is drawn, and the same in
    each run of the test.
    """

    LIMIT, WINDOW = 400, 60

    def __init__(self, clock):
        self.clock = clock
        self._chance = random.Random(7)  # noqa: S311 - drawn, but no secret
        self.refused = Counter()
        self.used = Counter()
        self.answered = Counter()
        self._counted = 0
        self._due = []

    def send(self, pacer):
        self._later(lambda: self._arrive(pacer))

    def pass_time(self):
        """Go on to what comes next, at most by a second."""
        at, _, action = heapq.heappop(self._due) if self._due else (self.clock.seconds + 1, 0, None)
        self.clock.seconds = max(self.clock.seconds, at)
        if action is not None:
            action()

    def _later(self, action):
        self._counted += 1  # of two at the same moment the earlier goes first
        at = self.clock.seconds + self._chance.uniform(0.1, 0.4)
        heapq.heappush(self._due, (at, self._counted, action))

    def _arrive(self, pacer):
        window = int(self.clock.seconds // self.WINDOW)
        self.used[window] += 1
        self.refused[window] += self.used[window] > self.LIMIT
        left = max(0, self.LIMIT - self.used[window])
        ends = (window + 1) * self.WINDOW
        self._later(lambda: self._answer(pacer, left, ends))

    def _answer(self, pacer, left, ends):
        self.answered[pacer] += 1
        answer(pacer, self.clock, left, ends, self.LIMIT)


def test_no_request_is_delayed_while_there_is_budget(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 50, 3600)
    assert wait_of(pacer) <= 0


def test_a_spent_window_is_waited_out_once_and_no_longer_than_it_lasts(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 0, 10)
    assert 10 <= wait_of(pacer) <= 10.5
    clock.seconds = 10.3
    assert wait_of(pacer) <= 0


def test_an_answer_that_was_overtaken_does_not_give_budget_back(clock):
    pacer = Pacer(clock=clock)
    for remaining in (5, 9, 0, 7):
        pacer.acquire()
        answer(pacer, clock, remaining, 10)
        clock.seconds += 0.1
        if remaining == 0:
            break
    answer(pacer, clock, 7, 10)
    assert wait_of(pacer) > 9


def test_a_new_window_counts_by_its_own_end_even_while_the_old_one_seems_open(clock):
    # The clock in the Date header is cut to whole seconds, so the old window seems to last longer.
    clock.seconds = 1.9
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 30, 2)
    clock.seconds = 2.1
    pacer.acquire()
    answer(pacer, clock, 0, 4)
    assert 1.9 <= wait_of(pacer) <= 2.3


def test_a_late_answer_of_an_old_window_is_no_news(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 80, 3600)
    answer(pacer, clock, 0, 0)
    assert wait_of(pacer) <= 0


def test_requests_in_flight_count_as_spent_until_they_are_answered(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 2, 3600)
    pacer.acquire()
    pacer.acquire()
    assert 0 < wait_of(pacer) < 1
    answer(pacer, clock, 50, 7200)
    assert wait_of(pacer) <= 0


def test_a_share_of_the_limit_is_left_to_others(clock):
    pacer = Pacer(budget_percent=80, clock=clock)
    pacer.acquire()
    answer(pacer, clock, 20, 60)
    assert wait_of(pacer) >= 60


def test_what_another_client_spends_is_seen(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 90, 60)
    pacer.acquire()
    answer(pacer, clock, 0, 60)
    assert wait_of(pacer) >= 60


def run_together(clock, runs, windows):
    """Let several runs send all that their pacers grant, each with four requests in flight."""
    server = Server(clock)
    pacers = [Pacer(clock=clock) for _ in range(runs)]
    while clock.seconds < windows * server.WINDOW:
        for pacer in pacers:
            while pacer.sent - server.answered[pacer] < 4 and wait_of(pacer) <= 0:
                pacer.acquire()
                server.send(pacer)
        server.pass_time()
    return server


@pytest.mark.parametrize("runs", [1, 2, 4, 8])
def test_runs_that_share_a_window_leave_to_each_other_what_is_in_flight(clock, runs):
    server = run_together(clock, runs, windows=6)
    # In the first window each finds out that it is not alone.
    assert server.refused.pop(0) <= (runs - 1) * 4
    assert max(server.refused.values()) <= runs // 2
    assert min(server.used[window] for window in range(6)) >= 0.9 * server.LIMIT


def test_what_others_spend_meanwhile_is_left_to_them(clock):
    pacer = Pacer(clock=clock)
    for remaining in range(90, 10, -2):
        pacer.acquire()
        answer(pacer, clock, remaining, 60)
    pacer.acquire()
    pacer.acquire()
    answer(pacer, clock, 4, 60)
    assert 0 < wait_of(pacer) < 1  # one of ours and one of theirs are under way
    answer(pacer, clock, 2, 60)
    assert wait_of(pacer) >= 60


def test_one_that_is_alone_spends_its_window_to_the_end(clock):
    pacer = Pacer(clock=clock)
    for remaining in range(99, 0, -1):
        pacer.acquire()
        answer(pacer, clock, remaining, 60)
        assert wait_of(pacer) <= 0


def test_a_client_that_spends_much_at_once_does_not_hold_us_back_for_long(clock):
    pacer = Pacer(clock=clock)
    pacer.acquire()
    answer(pacer, clock, 9_000, 3600, limit=10_000)
    pacer.acquire()
    answer(pacer, clock, 40, 3600, limit=10_000)
    assert wait_of(pacer) <= 0


def test_a_wait_longer_than_max_wait_minutes_ends_the_run(clock):
    pacer = Pacer(max_wait=60, clock=clock)
    pacer.pause(61)
    with pytest.raises(EndedEarly, match="max_wait_minutes"):
        pacer.acquire()


def test_no_more_than_max_requests_are_granted(clock):
    pacer = Pacer(max_requests=2, clock=clock)
    pacer.acquire()
    pacer.acquire()
    with pytest.raises(EndedEarly, match="max_requests"):
        pacer.acquire()
    assert pacer.sent == 2


def test_a_stopped_pacer_grants_nothing(clock):
    pacer = Pacer(clock=clock)
    pacer.stop()
    with pytest.raises(EndedEarly):
        pacer.acquire()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("5.5", 5.5),
        (str(int(NOON.timestamp()) + 90), 90),
        (str(int(NOON.timestamp()) - 90), 0),
        ("2026-03-31T12:01:00", 60),
        ("2026-03-31T12:01:00Z", 60),
        ("2026-03-31T14:01:00+02:00", 60),
        ("Tue, 31 Mar 2026 12:01:00 GMT", 60),
        ("30, 90", 30),
        ("", None),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_a_time_to_wait_is_read_in_every_form_met(header, seconds):
    assert seconds_until(header, NOON) == seconds


@pytest.mark.parametrize("reset", ["999999999999999", "9999-12-31T23:59:59Z"])
def test_an_end_of_the_limit_that_cannot_be_right_is_ignored(reset):
    pacer = Pacer(max_wait=60.0)
    pacer.acquire()
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "10000"}
    pacer.release(headers | {"X-RateLimit-Reset": reset}, datetime.now(UTC))
    pacer.acquire()
    assert pacer.budget is None


def test_an_end_of_the_limit_may_be_said_in_milliseconds():
    now = datetime.now(UTC)
    assert seconds_until(str(int(now.timestamp() * 1000) + 2000), now) == pytest.approx(2, abs=0.1)
