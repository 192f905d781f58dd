"""Groups: what waits goes together, and who fails, fails alone."""

import asyncio
import time
from typing import Any

import pytest

from billing.errors import LedgerUnavailable, Stalled
from billing.ledger import group_commit
from billing.ledger.group_commit import GroupCommit


async def test_it_works() -> None:
    groups: list[list[int]] = []

    async def execute(numbers: list[int]) -> list[Any]:
        groups.append(numbers)
        await asyncio.sleep(0)
        return [number * 2 for number in numbers]

    group: GroupCommit[int, int] = GroupCommit(execute, max_size=8)
    assert await asyncio.gather(*(group.submit(number) for number in range(20))) == [n * 2 for n in range(20)]
    assert [number for numbers in groups for number in numbers] == list(range(20))
    assert max(map(len, groups)) <= 8
    assert len(groups) <= 4


@pytest.mark.parametrize(("requests", "at_once"), [(8, 1), (15, 1), (16, 2), (40, 2)])
async def test_a_second_group_goes_beside_the_first_only_when_it_is_full(requests: int, at_once: int) -> None:
    under_way: list[int] = []
    seen: list[int] = []
    sizes: list[int] = []

    async def execute(numbers: list[int]) -> list[Any]:
        under_way.append(len(numbers))
        seen.append(len(under_way))
        sizes.append(len(numbers))
        await asyncio.sleep(0.01)
        under_way.remove(len(numbers))
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute, max_size=8)
    assert await asyncio.gather(*(group.submit(number) for number in range(requests))) == list(
        range(requests)
    )
    assert max(seen) == at_once
    assert sizes == [8] * (requests // 8) + [7] * (requests % 8 > 0)
    assert await group.submit(1) == 1, "and it goes on"


async def test_a_reply_that_is_an_exception_is_for_its_own_request() -> None:
    async def execute(numbers: list[int]) -> list[Any]:
        return [ValueError(number) if number == 1 else number for number in numbers]

    group: GroupCommit[int, int] = GroupCommit(execute)
    replies = await asyncio.gather(*(group.submit(number) for number in range(3)), return_exceptions=True)
    assert [type(reply) for reply in replies] == [int, ValueError, int]


async def test_what_a_group_raises_reaches_everybody_in_it() -> None:
    async def execute(numbers: list[int]) -> list[Any]:
        raise RuntimeError("no")

    group: GroupCommit[int, int] = GroupCommit(execute)
    replies = await asyncio.gather(*(group.submit(number) for number in range(3)), return_exceptions=True)
    assert {type(reply) for reply in replies} == {RuntimeError}
    with pytest.raises(RuntimeError):
        await group.submit(4)


async def test_a_request_at_fault_does_not_fail_its_group() -> None:
    async def execute(numbers: list[int]) -> list[Any]:
        if 1 in numbers:
            raise ValueError("one is not a number here")
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute, apart_on=(ValueError,))
    replies = await asyncio.gather(*(group.submit(number) for number in range(4)), return_exceptions=True)
    assert [type(reply) for reply in replies] == [int, ValueError, int, int]


async def test_a_caller_that_is_cancelled_leaves_its_request_to_be_executed() -> None:
    executed: list[int] = []
    may_go_on = asyncio.Event()

    async def execute(numbers: list[int]) -> list[Any]:
        await may_go_on.wait()
        executed.extend(numbers)
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute)
    gone, stays = asyncio.create_task(group.submit(1)), asyncio.create_task(group.submit(2))
    await asyncio.sleep(0)
    gone.cancel()
    may_go_on.set()
    assert await stays == 2
    assert executed == [1, 2]


async def test_who_stalls_is_tried_again_alone_while_the_others_go_on() -> None:
    groups: list[list[int]] = []

    async def execute(numbers: list[int]) -> list[Any]:
        groups.append(numbers)
        await asyncio.sleep(0)
        if 1 in numbers and len(groups) < 9:
            raise Stalled
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute, patience_of=lambda _: 60)
    stuck = asyncio.create_task(group.submit(1))
    neighbours = [asyncio.create_task(group.submit(number)) for number in (2, 3)]
    assert await asyncio.gather(*neighbours) == [2, 3]
    assert not stuck.done()
    for number in range(4, 10):  # who comes later goes in groups of its own
        assert await group.submit(number) == number
    assert await stuck == 1


async def test_who_stalls_beyond_the_patience_is_told() -> None:
    async def execute(numbers: list[int]) -> list[Any]:
        if 1 in numbers:
            raise Stalled
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute)
    replies = await asyncio.gather(*(group.submit(number) for number in range(3)), return_exceptions=True)
    assert [type(reply) for reply in replies] == [int, Stalled, int]


async def test_a_busy_process_gathers_what_its_other_calls_are_about_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 5)
    groups: list[list[int]] = []

    async def execute(numbers: list[int]) -> list[Any]:
        groups.append(numbers)
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute)

    async def call(turns: int) -> int:
        for _ in range(turns):
            time.sleep(0.001)
            await asyncio.sleep(0)
        return await group.submit(turns)

    assert await asyncio.gather(*(call(turns) for turns in (0, 2, 4))) == [0, 2, 4]
    assert groups == [[0, 2, 4]]
    assert await group.submit(1) == 1  # nothing else to do: it waits for nothing


async def test_those_with_patience_outlive_an_outage_and_the_others_know_at_once() -> None:
    groups: list[list[int]] = []

    async def execute(numbers: list[int]) -> list[Any]:
        groups.append(numbers)
        if len(groups) <= 2:
            raise LedgerUnavailable
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute, patience_of=lambda number: 60 * number)
    replies = await asyncio.gather(*(group.submit(number) for number in range(3)), return_exceptions=True)
    assert [type(reply) for reply in replies] == [LedgerUnavailable, int, int]
    assert groups == [[0, 1, 2], [1, 2], [1, 2]]


async def test_who_rides_goes_with_the_next_group() -> None:
    groups: list[list[int]] = []

    async def execute(numbers: list[int]) -> list[Any]:
        groups.append(numbers)
        return list(numbers)

    group: GroupCommit[int, int] = GroupCommit(execute)
    riding = asyncio.create_task(group.submit(1, rides=True))
    await asyncio.sleep(0)
    assert await asyncio.gather(riding, group.submit(2)) == [1, 2]
    assert await group.submit(3, rides=True) == 3
    assert groups == [[2, 1], [3]]
