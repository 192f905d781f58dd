"""Streams and their clients: one who hangs up, one who reads slowly, and many at one time."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tests.api.conftest import fresh_question, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

MANY = 200


def post(world: World, path: str, body: dict, *, key: str) -> socket.socket:
    """A bare connection with the request on its way, to hang up when the test likes."""
    address = urlsplit(world.stack.base_url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def read_a_little_and_hang_up(
    world: World, member: Member, deployment: Deployment, *, words: int, max_tokens: int, delay_ms: int
) -> None:
    """A stream whose pieces come `delay_ms` after each other, left behind once it has begun."""
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=delay_ms)
    body = {
        "model": deployment.model,
        "messages": turns(f"Write {words} words."),
        "stream": True,
        "max_tokens": max_tokens,
    }
    connection = post(world, "/v1/chat/completions", body, key=member.key)
    assert b"200 OK" in connection.recv(4096)
    connection.close()


def test_it_works(world: World, books: Books, member: Member, make_deployment) -> None:
    """A stream whose client hangs up is read on for a while and billed by the provider's own figures."""
    deployment = make_deployment()
    read_a_little_and_hang_up(world, member, deployment, words=60, max_tokens=200, delay_ms=10)
    (attempt,) = books.settled(member.id)
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    assert (attempt.state, call["outcome"]) == ("captured", "completed")
    books.check_invoice(member.id, [call])
    books.check_windows(member.id)


def test_a_long_stream_without_a_reader_is_stopped_and_billed_for_what_came(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    read_a_little_and_hang_up(world, member, deployment, words=300, max_tokens=900, delay_ms=300)
    (attempt,) = books.settled(member.id)
    (call,) = books.ended_calls(count=1, key=deployment.account_key)
    (row,) = books.rows(member.id)
    assert (attempt.state, row.usage_source, row.reason) == ("estimated", "estimated", "client_gone")
    assert call["outcome"] == "disconnected"
    # what the provider wrote last may not have reached us when we closed
    assert 0 < row.output_tokens <= call["billed"]["output"] <= row.output_tokens + 2
    assert row.output_tokens < 900
    assert books.log(row.request_id).error_code == "client_gone"
    books.check_windows(member.id)


def test_a_plain_call_whose_client_hangs_up_is_billed_and_remembered(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=400)
    text = fresh_question()
    body = {"model": deployment.model, "messages": turns(text), "max_tokens": 200}
    connection = post(world, "/v1/chat/completions", body, key=member.key)
    eventually(lambda: books.calls(key=deployment.account_key))
    connection.close()
    (attempt,) = books.settled(member.id)
    assert attempt.state == "captured"
    books.check_invoice(member.id, books.calls(key=deployment.account_key))
    status, _ = eventually(
        lambda: world.request("POST", "/v1/chat/completions", body, member=member),
        until=lambda answer: answer[1]["purser"]["cache"] == "exact",
    )
    assert status == 200
    assert len(books.calls(key=deployment.account_key)) >= 1


def test_a_stream_that_nobody_began_to_read_is_ended(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    """The client goes while the provider still thinks: the stream begins with nobody there."""
    deployment = make_deployment()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=400)
    body = {"model": deployment.model, "messages": turns("Write 20 words."), "stream": True, "max_tokens": 90}
    connection = post(world, "/v1/chat/completions", body, key=member.key)
    eventually(lambda: books.calls(key=deployment.account_key))
    connection.close()
    (attempt,) = books.settled(member.id)
    assert attempt.state == "captured"
    books.check_invoice(member.id, books.ended_calls(count=1, key=deployment.account_key))
    books.check_windows(member.id)


def test_a_slow_reader_gets_every_byte(world: World, books: Books, member: Member, make_deployment) -> None:
    deployment = make_deployment()
    body = {
        "model": deployment.model,
        "messages": turns("Write 200 words."),
        "stream": True,
        "max_tokens": 500,
    }
    connection = post(world, "/v1/chat/completions", body, key=member.key)
    told = b""
    while not told.endswith(b"0\r\n\r\n"):
        time.sleep(0.01)
        told += connection.recv(1024)
    connection.close()
    assert b"data: [DONE]" in told
    assert b'"purser":' in told
    books.settled(member.id)
    books.check_invoice(member.id, books.calls(key=deployment.account_key))


def test_a_slot_is_free_again_when_its_client_is_gone(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=30, times=1)
    member = make_tenant(rate_limits={"concurrency": 1})
    body = {"model": deployment.model, "messages": turns("Write 30 words."), "stream": True, "max_tokens": 90}
    connection = post(world, "/v1/chat/completions", body, key=member.key)
    assert b"200 OK" in connection.recv(4096)
    plain = {**body, "stream": False}
    status, answer = world.request("POST", "/v1/chat/completions", plain, member=member)
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    connection.close()
    status, _ = eventually(
        lambda: world.request("POST", "/v1/chat/completions", plain, member=member),
        until=lambda answer: answer[0] == 200,
    )
    assert status == 200


def test_many_streams_are_open_on_few_threads(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="slow_first_byte", match={"key": deployment.account_key}, delay_ms=1500, times=MANY)
    web = next(process for process in world.stack.processes if process.name == "web")
    threads: list[int] = []

    async def one(client) -> int:
        stream = await client.chat.completions.create(
            model=deployment.model,
            messages=turns("Say hello."),
            stream=True,
            max_tokens=20,
            extra_headers={"x-purser-cache": "off"},
        )
        return len([chunk async for chunk in stream])

    async def count() -> None:
        while len(books_calls := await asyncio.to_thread(books.calls, key=deployment.account_key)) < MANY:
            assert len(books_calls) <= MANY
            await asyncio.sleep(0.05)
        threads.extend(threads_of(web.popen.pid))

    async def all_of_them() -> list[int]:
        async with world.async_openai(member) as client:
            watcher = asyncio.create_task(count())
            counts = await asyncio.gather(*(one(client) for _ in range(MANY)))
            await watcher
            return counts

    counts = asyncio.run(all_of_them())
    assert len(counts) == MANY
    assert min(counts) > 2
    assert len(threads) >= 3  # the server and its two workers
    assert max(threads) < 40
    books.settled(member.id, count=MANY)
    books.check_invoice(member.id, books.ended_calls(count=MANY, key=deployment.account_key))
    books.check_windows(member.id)


def threads_of(pid: int) -> list[int]:
    """How many threads a process and each of its children have."""
    counts = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if status.parent.name == str(pid) or f"\nPPid:\t{pid}\n" in text:
            counts.append(int(re.search(r"^Threads:\t(\d+)", text, re.MULTILINE)[1]))
    return counts
