"""Equal requests that come at the same time are sent once, whichever worker takes them."""

import asyncio
import signal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.api.conftest import ask, events_of, fresh_question, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

MANY = 12
LONG_MS = 2_000


async def ask_at_once(
    clients: list[Any], model: str, text: str, *, calls: int = MANY, **options: Any
) -> list[Any]:
    """Equal requests over connections of their own, spread over the clients."""
    return await asyncio.gather(
        *(
            clients[number % len(clients)].chat.completions.with_raw_response.create(
                model=model, messages=turns(text), **options
            )
            for number in range(calls)
        )
    )


def test_equal_requests_at_once_are_sent_once(
    world: World, books: Books, make_deployment: Callable[..., Deployment]
) -> None:
    deployment, text = make_deployment(), fresh_question()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=LONG_MS, times=-1)
    _, other_url = world.stack.start_web(workers=1)  # so that several processes are certain to take part
    clients = [world.async_openai(), world.async_openai(base_url=other_url)]
    answers = asyncio.run(ask_at_once(clients, deployment.model, text))
    assert len({answer.parse().choices[0].message.content for answer in answers}) == 1
    assert len(books.calls(key=deployment.account_key)) == 1
    states = sorted(answer.headers["x-purser-cache"] for answer in answers)
    assert states == ["exact"] * (MANY - 1) + ["miss"]
    rows = [books.row(answer.headers["x-request-id"]) for answer in answers]
    assert sorted(row.usage_source for row in rows) == ["gateway_cache"] * (MANY - 1) + ["provider"]
    [bought] = [row for row in rows if row.usage_source == "provider"]
    saved = [row for row in rows if row.usage_source == "gateway_cache"]
    assert {(row.billed_cost, row.list_cost) for row in saved} == {(Decimal(0), bought.list_cost)}


def test_a_stream_that_waited_is_told_as_a_stream(
    world: World, books: Books, make_deployment: Callable[..., Deployment]
) -> None:
    deployment, text = make_deployment(), fresh_question()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=LONG_MS, times=-1)

    async def scenario() -> list[str]:
        client = world.async_openai()
        options = {"model": deployment.model, "messages": turns(text), "stream": True}

        async def told() -> str:
            async with client.chat.completions.with_streaming_response.create(**options) as response:
                return (await response.read()).decode()

        return list(await asyncio.gather(*(told() for _ in range(4))))

    streams = asyncio.run(scenario())
    texts = {
        "".join(
            event["choices"][0]["delta"].get("content") or "" for event in events_of(told) if event["choices"]
        )
        for told in streams
    }
    assert len(texts) == 1
    assert len(books.calls(key=deployment.account_key)) == 1
    assert all(told.endswith("data: [DONE]\n\n") for told in streams)


def test_a_leader_without_an_answer_to_share_is_not_waited_for_twice(
    world: World, books: Books, make_deployment: Callable[..., Deployment]
) -> None:
    deployment, text = make_deployment(), "Write 200 words about " + fresh_question()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=500, times=-1)
    answers = asyncio.run(ask_at_once([world.async_openai()], deployment.model, text, calls=4, max_tokens=5))
    assert {answer.headers["x-purser-cache"] for answer in answers} == {"miss"}
    assert len(books.calls(key=deployment.account_key)) == 4


def test_a_leader_that_dies_is_replaced(
    world: World, books: Books, make_deployment: Callable[..., Deployment]
) -> None:
    deployment, text = make_deployment(), fresh_question()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=60_000, times=1)
    process, doomed_url = world.stack.start_web(workers=1)

    async def scenario() -> list[Any]:
        leader = asyncio.create_task(
            ask_at_once([world.async_openai(base_url=doomed_url)], deployment.model, text, calls=1)
        )
        await asyncio.to_thread(
            eventually, lambda: books.calls(key=deployment.account_key), pause_seconds=0.1
        )
        followers = asyncio.create_task(ask_at_once([world.async_openai()], deployment.model, text, calls=6))
        await asyncio.sleep(0.3)
        process.stop(with_signal=signal.SIGKILL)
        await asyncio.gather(leader, return_exceptions=True)
        return await followers

    answers = asyncio.run(scenario())
    # the dead one's call, and one more
    assert len(books.calls(key=deployment.account_key)) == 2
    assert [answer.headers["x-purser-cache"] for answer in answers].count("miss") == 1


def test_what_is_not_equal_does_not_wait(
    world: World, books: Books, make_deployment: Callable[..., Deployment], make_tenant: Callable[..., Member]
) -> None:
    deployment, text = make_deployment(), fresh_question()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=500, times=-1)
    impatient = make_tenant(policy={"cache": {"semantic": "off", "single_flight_seconds": 0}})

    async def scenario() -> None:
        acme, outsider, alone = (
            world.async_openai(member) for member in (world.acme, world.outsider, impatient)
        )
        await asyncio.gather(
            ask_at_once([acme, outsider], deployment.model, text, calls=2),
            ask_at_once([acme], deployment.model, text, calls=1, seed=7),
            ask_at_once([alone], deployment.model, text, calls=2),
        )

    asyncio.run(scenario())
    assert len(books.calls(key=deployment.account_key)) == 5
    assert ask(world.openai(), text, model=deployment.model).headers["x-purser-cache"] == "exact"
