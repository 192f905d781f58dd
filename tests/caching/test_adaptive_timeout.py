"""How long a request waits for a dependency of the cache: a few milliseconds where that is usual."""

import asyncio

import pytest

from caching.circuit import AdaptiveTimeout, Circuit, Unavailable
from config.breaker import State


def test_it_becomes_small_where_calls_are_quick() -> None:
    timeout = AdaptiveTimeout(least_seconds=0.005, most_seconds=0.1)
    for _ in range(200):
        timeout.note(0.001)
    assert timeout.seconds == 0.005


def test_it_is_three_times_what_nearly_all_calls_took() -> None:
    timeout = AdaptiveTimeout(least_seconds=0.005, most_seconds=0.1)
    for number in range(200):
        timeout.note(0.5 if number == 7 else 0.02)
    assert timeout.seconds == pytest.approx(0.06)


def test_a_late_call_doubles_it_and_it_stays_so_for_a_while() -> None:
    timeout = AdaptiveTimeout(least_seconds=0.005, most_seconds=0.1)
    for _ in range(200):
        timeout.note(0.001)
    timeout.note_timeout()
    assert timeout.seconds == 0.01
    for _ in range(49):
        timeout.note(0.001)
    assert timeout.seconds == 0.01
    timeout.note(0.001)
    assert timeout.seconds == 0.005


def test_it_never_passes_its_bounds() -> None:
    timeout = AdaptiveTimeout(least_seconds=0.005, most_seconds=0.1)
    for _ in range(10):
        timeout.note_timeout()
    assert timeout.seconds == 0.1


async def test_three_late_calls_open_the_circuit_and_then_nothing_is_even_begun() -> None:
    begun = 0

    async def hang() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(60)

    circuit = Circuit(
        "hanging", timeout_seconds=0.02, least_seconds=0.005, probe=hang, outages=(OSError,), rest_seconds=60
    )
    for _ in range(200):
        circuit.timeout.note(0.0001)
    for _ in range(20):
        with pytest.raises(Unavailable):
            await circuit.call(hang)
    assert begun == 3


async def test_an_open_circuit_is_probed_once_at_a_time_and_rests_between() -> None:
    at, probes = 0.0, 0
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def refuse() -> None:
        raise OSError

    async def probe() -> None:
        nonlocal probes
        probes += 1
        await asyncio.shield(answer)

    circuit = Circuit(
        "away", timeout_seconds=1, probe=probe, outages=(OSError,), rest_seconds=10, clock=lambda: at
    )

    async def ask(times: int = 3) -> State:
        for _ in range(times):
            with pytest.raises(Unavailable):
                await circuit.call(refuse)
            await asyncio.sleep(0)
        return circuit.state

    assert (await ask(), probes) == (State.OPEN, 0)
    at = 10.0
    assert (await ask(), probes) == (State.HALF_OPEN, 1)
    answer.set_exception(OSError())
    assert (await ask(), probes) == (State.OPEN, 1)  # the rest begins again with the probe's start
    at, answer = 20.0, asyncio.get_running_loop().create_future()
    assert (await ask(), probes) == (State.HALF_OPEN, 2)
    answer.set_result(None)
    await asyncio.sleep(0.01)
    assert circuit.state is State.CLOSED
