"""A server that is told to stop: nothing new comes in, open streams end properly, and every one of them is settled."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.api.conftest import fresh_question, turns
from tests.books import Books, eventually
from tests.stack import Process, Stack
from tests.tap import Tap, tapped
from tests.world import Deployment, Member, World

STREAMS = 6
PATIENCE_SECONDS = 90
PATHS = ("/v1/chat/completions", "/v1/messages")


@contextmanager
def server(stack: Stack, *, drain_seconds: int) -> Iterator[tuple[Process, str]]:
    """A web server of the test's own, to stop."""
    process, url = stack.start_web(workers=2, drain_seconds=drain_seconds)
    try:
        yield process, url
    finally:
        process.stop()
        stack.processes.remove(process)


def open_streams(
    url: str, member: Member, deployment: Deployment, tap: Tap, stack: ExitStack
) -> list[tuple[str, socket.socket, bytes]]:
    """Streams that have begun and are held by the tap: their paths, connections, and what came so far."""
    streams = []
    tap.let(5)
    for number in range(STREAMS):
        path = PATHS[number % len(PATHS)]
        body: dict[str, Any] = {
            "model": deployment.model,
            "messages": turns("Write 30 words. " + fresh_question()),
            "stream": True,
            "max_tokens": 99,
        }
        content = json.dumps(body).encode()
        address = urlsplit(url)
        connection = stack.enter_context(
            socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS)
        )
        head = (
            f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {member.key}\r\n"
            f"x-purser-cache: off\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        connection.sendall(head.encode() + content)
        came = b""
        while came.count(b"data: ") < 3:
            came += connection.recv(65536)
        streams.append((path, connection, came))
    return streams


def rest_of(connection: socket.socket, came: bytes) -> bytes:
    while piece := connection.recv(65536):
        came += piece
    return came


def refuses(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS).close()
    except ConnectionError:
        return True
    return False


def test_it_works(world: World, books: Books, member: Member, make_deployment) -> None:
    """Streams that end within the time end as ever, while nobody new comes in."""
    with (
        tapped(world.stack.sandbox_url) as tap,
        server(world.stack, drain_seconds=300) as (process, url),
        ExitStack() as stack,
    ):
        deployment = make_deployment(base_url=f"{tap.url}/v1")
        world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1, times=-1)
        streams = open_streams(url, member, deployment, tap, stack)
        process.popen.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(url), patience_seconds=PATIENCE_SECONDS)
        tap.open()
        for path, connection, came in streams:
            whole = rest_of(connection, came)
            assert (b"data: [DONE]" if path == PATHS[0] else b"message_stop") in whole
            assert b'"purser":' in whole
        process.popen.wait(PATIENCE_SECONDS)
        assert process.popen.returncode == 0
        attempts = books.attempts(member.id)  # all of it was written before the process ended
        assert [attempt.state for attempt in attempts] == ["captured"] * STREAMS
        books.check_invoice(member.id, books.ended_calls(count=STREAMS, key=deployment.account_key))
        books.check_windows(member.id)


def test_streams_beyond_the_time_end_with_an_error_and_are_billed_for_what_came(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    with (
        tapped(world.stack.sandbox_url) as tap,
        server(world.stack, drain_seconds=1) as (process, url),
        ExitStack() as stack,
    ):
        deployment = make_deployment(base_url=f"{tap.url}/v1")
        world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1, times=-1)
        streams = open_streams(url, member, deployment, tap, stack)
        process.popen.send_signal(signal.SIGTERM)
        for path, connection, came in streams:
            whole = rest_of(connection, came).decode()
            assert "event: error" in whole or path == PATHS[0]
            last = [line for line in whole.splitlines() if line.startswith("data: ")][-1]
            told = json.loads(last.removeprefix("data: "))
            assert told["error"]["code"] == "service_unavailable"
            assert told["purser"]["cost_usd"] > "0"
        process.popen.wait(PATIENCE_SECONDS)
        assert process.popen.returncode == 0
        attempts = books.attempts(member.id)
        assert [attempt.state for attempt in attempts] == ["estimated"] * STREAMS
        rows = books.rows(member.id)
        assert {(row.usage_source, row.reason) for row in rows} == {("estimated", "service_unavailable")}
        assert all(0 < row.output_tokens < 30 for row in rows)  # what came, not the hold
        books.check_windows(member.id)
