"""A client that reads nothing costs the gateway a bounded memory, however much its provider has to say."""

import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.api.conftest import turns
from tests.books import Books, eventually
from tests.tap import Tap, tapped
from tests.world import Deployment, Member, World

FLOOD_BYTES = 64 * 1024 * 1024
# a chunk, aiohttp's buffer, the server's, and what the tap has written and not sent: 2.5 MB were seen
BOUND_BYTES = 6 * 1024 * 1024
LOOKS = 10


def unread_stream(world: World, member: Member, deployment: Deployment) -> socket.socket:
    """A stream whose client does not read, and has little room to receive."""
    body = {"model": deployment.model, "messages": turns("Write 30 words."), "stream": True, "max_tokens": 99}
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {member.key}\r\n"
        f"connection: close\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    address = urlsplit(world.stack.base_url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    client.settimeout(120)
    client.connect((address.hostname, address.port))
    client.sendall(head.encode() + content)
    return client


def held_by_the_gateway(tap: Tap, client: socket.socket) -> int:
    """What has gone into the gateway and is in no queue of the kernel, once no more goes in."""
    eventually(lambda: tap.bytes_of_flood, patience_seconds=90)
    taken, looks = -1, 0
    while looks < LOOKS:
        looks = looks + 1 if tap.bytes_of_flood == taken else 0
        taken = tap.bytes_of_flood
        assert taken < FLOOD_BYTES, "all of it was taken"
        time.sleep(0.1)
    return taken - in_the_kernel({urlsplit(tap.url).port, client.getsockname()[1]})


def in_the_kernel(ports: set[int]) -> int:
    """What waits to be sent or read on connections of these ports, at both their ends."""
    size = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, to_send, to_read = re.match(
            r"\s*\d+: \w+:(\w+) \w+:(\w+) \w+ (\w+):(\w+)", line
        ).groups()
        if ports & {int(local, 16), int(remote, 16)}:
            size += int(to_send, 16) + int(to_read, 16)
    return size


def test_it_works(world: World, books: Books, make_deployment) -> None:
    """The provider is slowed down instead; and the client, when it reads at last, gets every byte."""
    with tapped(world.stack.sandbox_url) as tap:
        deployment = make_deployment(base_url=f"{tap.url}/v1")
        world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1)
        tap.flood(FLOOD_BYTES)
        tap.open()
        with unread_stream(world, world.acme, deployment) as client:
            assert held_by_the_gateway(tap, client) < BOUND_BYTES
            size, end = 0, b""
            while piece := client.recv(1 << 20):
                size += len(piece)
                end = (end + piece)[-4096:]
        assert size > tap.bytes_of_flood > FLOOD_BYTES * 0.99
        assert b"data: [DONE]" in end
        assert b'"purser":' in end
    books.settled(world.acme.id)
    books.check_invoice(world.acme.id, books.ended_calls(count=1, key=deployment.account_key))


def test_a_client_that_goes_without_having_read_leaves_nothing_behind(
    world: World, books: Books, make_deployment
) -> None:
    with tapped(world.stack.sandbox_url) as tap:
        deployment = make_deployment(base_url=f"{tap.url}/v1")
        world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1)
        tap.flood(FLOOD_BYTES)
        tap.open()
        with unread_stream(world, world.acme, deployment) as client:
            held_by_the_gateway(tap, client)
        (attempt,) = books.settled(world.acme.id)
    assert attempt.state in ("captured", "estimated")  # read on for a while; how far depends on the machine
    books.check_windows(world.acme.id)
