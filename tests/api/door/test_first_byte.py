"""Events leave one by one, as they arrive: the client has each before the provider's next one is let through."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.tap import tapped
from tests.world import World

EVENTS = 12


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai", "/v1/chat/completions"),
        ("anthropic", "/v1/messages"),
        ("openai", "/v1/responses"),
    ],
)
def test_it_works(world: World, books: Books, make_deployment, kind: str, path: str) -> None:
    """No clock: were anything held back until more came, the next event would never be let through."""
    question = "Write 30 words. " + fresh_question()
    with tapped(world.stack.sandbox_url) as tap:
        deployment = make_deployment(kind, base_url=tap.url + ("/v1" if kind == "openai" else ""))
        world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=1)
        body = {"model": deployment.model, "stream": True}
        body |= (
            {"input": question}
            if path == "/v1/responses"
            else {"messages": turns(question), "max_tokens": 99}
        )
        content = json.dumps(body).encode()
        address = urlsplit(world.stack.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=90) as client:
            head = (
                f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {world.acme.key}\r\n"
                f"connection: close\r\ncontent-length: {len(content)}\r\n\r\n"
            )
            client.sendall(head.encode() + content)
            came, words = b"", 0
            tap.let(1)
            # the next piece is let through when the client has what it is to see of the last
            while words < EVENTS:
                before = came
                while came == before or not came.endswith((b"\n\n\r\n", b"\n\n")):
                    came += client.recv(65536)
                words += 1
                tap.let(1)
            assert tap.pieces_passed <= words + 2
            tap.open()
            while piece := client.recv(65536):
                came += piece
        assert b'"purser":' in came
    books.settled(world.acme.id)
