"""Where client and provider speak the same protocol, what need not change passes byte for byte, both ways."""

import http.client
import json
import random
import re
import secrets
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.json_text import written_oddly
from tests.stack import LOCAL
from tests.world import Deployment, World

# what a gateway that writes JSON anew would lose
PECULIAR = {
    "a_number": 1.0,
    "a_large_number": 2**53 + 1,
    "a_small_number": 1e-7,
    "a_text": "é\u2028/\x7f\U0001f600",
    "an_object": {"b": 1, "a": [1.0, None, {}, []]},
}
EVERY_FIELD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "gpt-4o-mini",
        "messages": turns("Hi!"),
        "max_tokens": 20,
        "temperature": 1.0,
    },
    "/v1/responses": {"model": "gpt-4o-mini", "input": "Hi!", "max_output_tokens": 20, "top_p": 1.0},
    "/v1/completions": {"model": "gpt-4o-mini", "prompt": "Hi!", "max_tokens": 20},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "Hi!"},
    "/v1/messages": {
        "model": "claude-haiku-4-5",
        "messages": turns("Hi!"),
        "max_tokens": 20,
        "temperature": 1.0,
    },
}
# what answers a body with fields that the sandbox's models refuse, as their providers do
LENIENT = {"/v1/chat/completions": "fields_of_a_server", "/v1/messages": "message_tier_standard"}
unknown_fields = st.dictionaries(
    st.sampled_from(["x_one", "x_two", "x_\u00e9"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**40), 2**60)
        | st.floats(-1e6, 1e6)
        | st.text('aé"\\/\n', max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\u00e9", max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)


def send(world: World, path: str, raw: bytes) -> tuple[dict[str, str], bytes]:
    """POST these very bytes; the answer's headers and its bytes."""
    headers = {
        "authorization": f"Bearer {world.acme.key}",
        "content-type": "application/json",
        "x-purser-cache": "off",
    }
    with LOCAL.open(
        urllib.request.Request(f"{world.stack.base_url}{path}", data=raw, headers=headers), timeout=60
    ) as answer:
        return dict(answer.headers), answer.read()


def named(world: World, body: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The body with a user of its own, by whom the sandbox's log finds the call, and knows that it takes any field."""
    user = f"user-{secrets.token_hex(6)}"
    if path in LENIENT:
        world.fault(fault=f"behaviour:{LENIENT[path]}", match={"tag": user}, times=-1)
    return body | ({"metadata": {"user_id": user}} if path == "/v1/messages" else {"user": user}), user


def received(world: World, books: Books, user: str) -> bytes:
    """What the provider got, byte for byte."""
    (call,) = books.calls(tag=user)
    with LOCAL.open(f"{world.stack.control_url}/calls/{call['id']}/body", timeout=60) as answer:
        return answer.read()


@pytest.mark.parametrize("path", EVERY_FIELD)
def test_it_works(world: World, books: Books, path: str) -> None:
    """A body in which nothing has to change arrives as it was sent."""
    body, user = named(world, EVERY_FIELD[path] | PECULIAR, path)
    raw = f" {written_oddly(body, random.Random(1))}\r\n".encode()
    send(world, path, raw)
    assert received(world, books, user) == raw


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(list(EVERY_FIELD)),
    unknown=unknown_fields,
    seed=st.integers(0, 2**32),
    has_limit=st.booleans(),
)
def test_whatever_is_sent_arrives(
    world: World, books: Books, path: str, unknown: dict[str, Any], seed: int, has_limit: bool
) -> None:
    """Without a limit one is set, because the hold must bound the bill; that is all that changes."""
    body, user = named(world, EVERY_FIELD[path] | unknown, path)
    limit = next((name for name in body if name.startswith("max_")), "")
    if not has_limit:
        body.pop(limit, None)
    raw = written_oddly(body, random.Random(seed)).encode()
    send(world, path, raw)
    arrived = received(world, books, user)
    if limit and not has_limit:
        arrived, count = re.subn(rb'\s*,\s*"%b":\d+' % limit.encode(), b"", arrived)
        assert count == 1
    assert arrived == raw


def test_a_model_of_another_name_is_all_that_changes(world: World, books: Books, make_deployment) -> None:
    model = make_deployment().model
    body, user = named(
        world,
        {"n": 1, "model": model, "messages": turns("Hi!"), "max_tokens": 9} | PECULIAR,
        "/v1/chat/completions",
    )
    raw = written_oddly(body, random.Random(2)).encode()
    send(world, "/v1/chat/completions", raw)
    assert received(world, books, user) == raw.replace(model.encode(), b"gpt-4o-mini")


@pytest.mark.parametrize(
    ("options", "becomes"),
    [
        (b"", b', "stream_options":{"include_usage":true}'),
        (b', "stream_options": {"x": 1.0}', b', "stream_options": {"x": 1.0,"include_usage":true}'),
        (b', "stream_options": {"include_usage": false}', b', "stream_options": {"include_usage": true}'),
        (b', "stream_options": {"include_usage" :true}', b', "stream_options": {"include_usage" :true}'),
    ],
)
def test_usage_is_asked_for_and_nothing_else_changes(
    world: World, books: Books, options: bytes, becomes: bytes
) -> None:
    user = f"user-{secrets.token_hex(6)}"
    raw = (
        b'{"model": "gpt-4o-mini", "max_tokens": 5, "temperature": 1.0, "stream": true, "user": "%b",'
        b' "messages": [{"role": "user", "content": "Hi \\u00e9"}]%b}'
    )
    _, told = send(world, "/v1/chat/completions", raw % (user.encode(), options))
    assert received(world, books, user) == raw % (user.encode(), becomes)
    chunks = [json.loads(line[6:]) for line in told.splitlines() if line.startswith(b"data: {")]
    assert any(chunk.get("usage") for chunk in chunks) == (b":true" in options)


# ------------------------------------------------------------------------------------------ answers
WHOLE = (
    b'{ "id":"chatcmpl-1","object":"chat.completion",\n"created":1,"model":"gpt-4o-mini-2024-07-18", "x":1.0,"y":1e5 ,'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"h\\u00e9\\/","odd":12345678901234567890123}, '
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"z":0.10} }\n'
)
EVENTS = [
    b": a comment\n\n",
    b'data: {"id":"c", "object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"h\\u00e9"}}],"x":1.0}\n\n',
    b'event: message\r\ndata: {"id":"c","choices":[{"index":0,"delta":{"content":"\\/"}}], "y":1e5}\r\n\r\n',
    b'id: 7\ndata: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n',
    b"data: [DONE]\n\n",
]


@dataclass
class Provider:
    """A compatible server with a hand of its own; it sends an event once the one before was seen by the client."""

    server: ThreadingHTTPServer
    seen: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def provider() -> Iterator[Provider]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            if not asked.get("stream"):
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(WHOLE)))
                self.end_headers()
                self.wfile.write(WHOLE)
                return
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for number, event in enumerate(EVENTS):
                if 0 < number < 4:  # the last ones wait for each other: the facts stand in the last
                    assert running.seen.acquire(timeout=60)
                self.wfile.write(event)
                self.wfile.flush()
            self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    running = Provider(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    thread = threading.Thread(target=running.server.serve_forever, daemon=True)
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


@pytest.fixture
def deployment(provider: Provider, make_deployment) -> Deployment:
    return make_deployment(base_url=provider.base_url)


def test_an_answer_keeps_its_bytes(world: World, deployment: Deployment) -> None:
    body = {"model": deployment.model, "messages": turns(fresh_question()), "max_tokens": 9}
    _, told = send(world, "/v1/chat/completions", json.dumps(body).encode())
    head, spliced, tail = told.partition(b',"purser":')
    assert spliced
    assert WHOLE.startswith(head)
    assert WHOLE.removeprefix(head) == tail[-len(WHOLE.removeprefix(head)) :]
    json.loads(tail[: -len(WHOLE.removeprefix(head))])


def test_each_event_keeps_its_bytes_and_leaves_as_it_comes(
    world: World, provider: Provider, deployment: Deployment
) -> None:
    body = {"model": deployment.model, "messages": turns(fresh_question()), "max_tokens": 9, "stream": True}
    address = urlsplit(world.stack.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    headers = {"authorization": f"Bearer {world.acme.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    for event in EVENTS[:3]:  # the provider sends the next one only now
        assert response.read(len(event)) == event
        provider.seen.release()
    rest = response.read()
    connection.close()
    end = EVENTS[3].removesuffix(b"}\n\n")
    assert rest.startswith(end + b',"purser":')
    assert rest.endswith(b"}\n\n" + EVENTS[5])
    assert b"usage" not in rest.partition(b'"purser"')[0]  # nobody asked for it
