"""A deployment that keeps failing is left alone, and found again when it is well."""

import pytest

from config.breaker import BreakerPolicy, State
from llm.providers.errors import ProviderError, ProviderRejected, ProviderUnavailable
from llm.providers.health import Health
from llm.providers.kinds import KINDS
from llm.providers.target import Target

POLICY = BreakerPolicy(failures=3, open_seconds=10, longest_open_seconds=40, probe_seconds=30)
TARGET = Target(model="m", provider="p", kind=KINDS["openai"], base_url="", api_key="", upstream="m")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(policy=POLICY, clock=clock)


def fail(health: Health, error: Exception | None = None) -> None:
    error = error or ProviderError("no")
    with pytest.raises(type(error)), health.watch(TARGET):
        raise error


def open_it(health: Health) -> None:
    for _ in range(POLICY.failures):
        fail(health)


def test_it_works(health: Health, clock: Clock) -> None:
    open_it(health)
    assert not health.is_well(TARGET)
    with pytest.raises(ProviderUnavailable) as caught, health.watch(TARGET):
        pass
    assert caught.value.retry_after == 10
    assert not caught.value.sent
    clock.now += 10
    with health.watch(TARGET):
        pass
    assert health.is_well(TARGET)
    assert health.states() == {}


def test_one_success_forgets_the_failures(health: Health) -> None:
    for _ in range(10):
        fail(health)
        fail(health)
        with health.watch(TARGET):
            pass
    assert health.is_well(TARGET)


def test_only_one_probe_goes_at_a_time(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    with health.watch(TARGET):
        assert not health.is_well(TARGET)
        with pytest.raises(ProviderUnavailable), health.watch(TARGET):
            pass
    assert health.is_well(TARGET)


def test_each_failed_probe_doubles_the_rest(health: Health, clock: Clock) -> None:
    open_it(health)
    for rest in (10, 20, 40, 40):
        clock.now += rest - 0.001
        assert not health.is_well(TARGET)
        clock.now += 0.001
        fail(health)


def test_a_probe_that_never_ends_is_given_up(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    watch = health.watch(TARGET)
    watch.__enter__()
    clock.now += POLICY.probe_seconds
    assert health.is_well(TARGET)


def test_a_cancelled_probe_makes_room_for_another(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now += 10
    with pytest.raises(KeyboardInterrupt), health.watch(TARGET):
        raise KeyboardInterrupt
    assert health.is_well(TARGET)
    assert health.states()[("p", "m")] is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        ProviderRejected("bad field", status=400, code="invalid_request"),
        ProviderUnavailable("slow down", upstream_status=429),
        ValueError("ours"),
    ],
)
def test_faults_that_are_not_the_deployments_do_not_count(health: Health, error: Exception) -> None:
    for _ in range(10):
        fail(health, error)
    assert health.is_well(TARGET)


def test_a_stream_that_breaks_later_counts(health: Health) -> None:
    for _ in range(POLICY.failures):
        health.failed(TARGET)
    assert not health.is_well(TARGET)
