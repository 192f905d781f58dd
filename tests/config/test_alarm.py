"""One timer for many waits."""

import asyncio

from config.alarm import Alarm

SOON = 0.02
LONG = 3600.0


async def test_it_works() -> None:
    rung: list[float] = []
    clock = asyncio.get_running_loop().time
    alarm = Alarm(lambda: rung.append(clock()))
    began = clock()
    alarm.set(SOON)
    while not rung:
        await asyncio.sleep(SOON)
    assert rung[0] >= began + SOON
    await asyncio.sleep(3 * SOON)
    assert len(rung) == 1  # once for a wait


async def test_a_wait_that_has_ended_rings_nothing() -> None:
    rung: list[int] = []
    alarm = Alarm(lambda: rung.append(1))
    alarm.set(SOON)
    alarm.clear()
    await asyncio.sleep(3 * SOON)
    assert not rung


async def test_a_later_wait_is_timed_from_its_own_beginning() -> None:
    rung: list[float] = []
    clock = asyncio.get_running_loop().time
    alarm = Alarm(lambda: rung.append(clock()))
    alarm.set(SOON)
    await asyncio.sleep(SOON / 2)
    began = clock()
    alarm.set(2 * SOON)
    while not rung:
        await asyncio.sleep(SOON)
    assert rung[0] >= began + 2 * SOON


async def test_a_shorter_wait_after_a_longer_one_rings_in_time() -> None:
    rung: list[int] = []
    alarm = Alarm(lambda: rung.append(1))
    alarm.set(LONG)
    alarm.set(SOON)
    while not rung:
        await asyncio.sleep(SOON)
    alarm.set(LONG, latest=asyncio.get_running_loop().time() + SOON)
    while len(rung) < 2:
        await asyncio.sleep(SOON)


async def test_a_closed_one_never_rings() -> None:
    rung: list[int] = []
    alarm = Alarm(lambda: rung.append(1))
    alarm.set(SOON)
    alarm.close()
    await asyncio.sleep(3 * SOON)
    assert not rung
