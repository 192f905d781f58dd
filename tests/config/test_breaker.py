"""The circuit breaker of deployments and of the cache's dependencies, without either."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from config.breaker import Breaker, BreakerPolicy, State

POLICY = BreakerPolicy(failures=3, open_seconds=10, longest_open_seconds=40, probe_seconds=30)


def test_it_works() -> None:
    breaker = Breaker()
    for _ in range(POLICY.failures):
        assert breaker.permits(0.0)
        breaker = breaker.failed(0.0, POLICY)
    assert not breaker.permits(9.9)
    probing = breaker.begun(10.0, POLICY)
    assert (probing.state, probing.permits(10.0)) == (State.HALF_OPEN, False)
    assert probing.succeeded() == Breaker()


def test_a_failure_that_leaves_no_doubt_opens_at_once() -> None:
    breaker = Breaker().opened(0.0, POLICY)
    assert (breaker.state, breaker.until) == (State.OPEN, 10.0)
    assert breaker.opened(5.0, POLICY) == breaker  # a late failure does not prolong the rest


def test_an_outage_of_days_is_probed_to_its_end() -> None:
    breaker, now = Breaker().opened(0.0, POLICY), 0.0
    for _ in range(3_000):
        now = breaker.until
        breaker = breaker.begun(now, POLICY).failed(now, POLICY)
    assert breaker.until - now == POLICY.longest_open_seconds


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, an open breaker rests and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker()

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        if self.breaker.permits(self.now):
            self.breaker = self.breaker.begun(self.now, POLICY)
            assert self.breaker.state is not State.OPEN

    @rule(end=st.sampled_from(["succeeded", "failed", "opened", "abandoned"]))
    def a_call_ends(self, end: str) -> None:
        arguments: dict[str, tuple[Any, ...]] = {
            "failed": (self.now, POLICY),
            "opened": (self.now, POLICY),
            "abandoned": (self.now,),
        }
        self.breaker = getattr(self.breaker, end)(*arguments.get(end, ()))

    @invariant()
    def it_always_comes_back(self) -> None:
        assert self.breaker.permits(self.now + POLICY.longest_open_seconds)
        assert self.breaker.state is not State.CLOSED or self.breaker.failures < POLICY.failures


TestAnyHistory = AnyHistory.TestCase
