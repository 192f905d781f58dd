"""Nothing before the key, and never more of a body than is taken, or for longer than it needs."""

import http.client
import json
import select
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import turns
from tests.config.door.test_call_queue import gauge
from tests.stack import LOCAL, Stack
from tests.world import World

CHAT = "/v1/chat/completions"
BODY_SECONDS = 2


@pytest.fixture(scope="module")
def hasty(stack: Stack) -> Iterator[str]:
    """A web server of one worker that waits for bodies for a moment only, and takes few strangers at one time."""
    process, url = stack.start_web(
        workers=1,
        environment={"BODY_SECONDS": str(BODY_SECONDS), "MAX_STRANGERS": "2", "MAX_CALLS_IN_FLIGHT": "8"},
    )
    yield url
    process.stop()
    stack.processes.remove(process)


def ask(url: str, key: str) -> int:
    body = json.dumps({"model": "gpt-4o-mini", "messages": turns("Hello")}).encode()
    request = urllib.request.Request(f"{url}{CHAT}", data=body, headers={"x-api-key": key})
    with LOCAL.open(request, timeout=60) as response:
        return int(response.status)


class Sender:
    """A raw connection: what is sent, and when, is up to the test."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        address = urlsplit(url)
        self.began = time.monotonic()
        self.socket = stack.enter_context(
            closing(socket.create_connection((address.hostname, address.port), timeout=60))
        )

    def head(self, path: str, **headers: str) -> "Sender":
        lines = [f"POST {path} HTTP/1.1", "host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self

    def send(self, content: bytes) -> "Sender":
        self.socket.sendall(content)
        return self

    def answer(self) -> tuple[int, str, dict[str, str]]:
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        content = json.loads(response.read() or b'{"error": {"code": ""}}')
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, content["error"]["code"], headers

    def is_closed(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def test_who_shows_no_good_key_is_refused_before_the_body(world: World, hasty: str) -> None:
    for headers in (
        {},
        {"authorization": "Bearer psr_0000000000000000_" + "x" * 40},
        {"x_api_key": "no key"},
    ):
        for length in ({"content_length": "53687091200"}, {"transfer_encoding": "chunked"}):
            with ExitStack() as stack:
                sender = Sender(hasty, stack).head(CHAT, **headers, **length)
                assert sender.answer()[:2] == (401, "invalid_api_key")
                assert sender.seconds < 5
                assert sender.is_closed()


def test_a_stranger_s_body_is_not_taken(world: World, hasty: str) -> None:
    """Three hundred megabytes in chunks: what is taken of them is little."""
    with ExitStack() as stack:
        sender = Sender(hasty, stack).head(CHAT, transfer_encoding="chunked")
        sent = 0
        with suppress(OSError):
            while sent < 300:
                sender.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
                sent += 1
        assert sent < 100


def test_who_waits_for_leave_to_send_a_body_gets_none_without_a_key(world: World, hasty: str) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "messages": turns("Hello")}).encode()
    waiting = {"expect": "100-continue", "content_length": str(len(body))}
    with ExitStack() as stack:
        sender = Sender(hasty, stack).head(CHAT, **waiting)
        assert sender.socket.recv(12) == b"HTTP/1.1 401"
        assert sender.seconds < 5
    with ExitStack() as stack:
        sender = Sender(hasty, stack).head(CHAT, x_api_key=world.acme.key, **waiting)
        assert sender.socket.recv(12) == b"HTTP/1.1 100"
        sender.send(body)
        response = http.client.HTTPResponse(sender.socket)
        while sender.socket.recv(1) != b"\n":
            pass
        assert sender.socket.recv(2) == b"\r\n"
        response.begin()
        assert response.status == 200


def test_a_refused_caller_may_call_again_on_the_same_connection(world: World, hasty: str) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "messages": turns("Hello")}).encode()
    with ExitStack() as stack:
        sender = Sender(hasty, stack)
        for headers, status in (({}, 401), ({"x_api_key": world.acme.key}, 200)):
            sender.head(CHAT, content_length=str(len(body)), **headers).send(body)
            response = http.client.HTTPResponse(sender.socket)
            response.begin()
            assert (response.status, bool(response.read())) == (status, True)


def test_a_body_that_announces_too_much_is_refused_at_once(world: World, hasty: str) -> None:
    for path, length in (
        (CHAT, 20 * 1024**2 + 1),
        ("/v1/files", 201 * 1024**2),
        ("/v1/estimate", 10**9),
    ):
        with ExitStack() as stack:
            sender = Sender(hasty, stack).head(path, x_api_key=world.acme.key, content_length=str(length))
            assert sender.answer()[:2] == (413, "request_too_large"), (path, length)
            assert sender.seconds < 5


def test_bytes_are_counted_while_they_come(world: World, hasty: str) -> None:
    with ExitStack() as stack:
        sender = Sender(hasty, stack).head(CHAT, x_api_key=world.acme.key, transfer_encoding="chunked")
        for _ in range(24):
            sender.send(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        assert sender.answer()[:2] == (413, "request_too_large")


def test_a_body_that_stands_still_or_trickles_is_given_up(world: World, hasty: str) -> None:
    """Calls of a tenant that send a byte and then nothing, or one now and then: 408 for each, and room for others."""
    with ExitStack() as stack:
        still = [
            Sender(hasty, stack).head(CHAT, x_api_key=world.acme.key, content_length="1000").send(b"{")
            for _ in range(7)
        ]
        trickling = Sender(hasty, stack).head(CHAT, x_api_key=world.acme.key, content_length="1000")
        while not select.select([trickling.socket], [], [], 0.1)[0]:
            trickling.send(b" ")
            assert trickling.seconds < BODY_SECONDS + 8
        for sender in (*still, trickling):
            assert sender.answer()[:2] == (408, "request_timeout")
            assert sender.is_closed()
        assert gauge(hasty, "purser_calls_in_flight") == 0
    assert ask(hasty, world.acme.key) == 200


def test_strangers_do_not_stand_in_the_tenants_way(world: World, hasty: str) -> None:
    """Sixty strangers who send nothing: a tenant's call goes through as ever, and none of them counts as a call."""
    with ExitStack() as stack:
        strangers = [Sender(hasty, stack).head(CHAT, content_length="100000") for _ in range(60)]
        assert ask(hasty, world.acme.key) == 200
        assert gauge(hasty, "purser_calls_in_flight") == 0
        assert {sender.answer()[:2] for sender in strangers} == {(401, "invalid_api_key")}


def test_the_site_bounds_bodies_too(world: World, hasty: str) -> None:
    for length, content, status in (("40000000", b"", 413), ("1000", b"username=", 408)):
        with ExitStack() as stack:
            sender = Sender(hasty, stack).head("/admin/login/", content_length=length).send(content)
            response = http.client.HTTPResponse(sender.socket)
            response.begin()
            assert response.status == status
            assert sender.seconds < BODY_SECONDS + 5
    with LOCAL.open(f"{hasty}/admin/login/", timeout=60) as response:
        assert response.status == 200
