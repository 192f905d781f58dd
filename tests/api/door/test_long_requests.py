"""What one tenant sends at length holds up nobody else; and asking what it would cost counts as calling."""

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conftest import turns
from tests.stack import LOCAL, Stack
from tests.world import Member, World

CHAT, ESTIMATE = "/v1/chat/completions", "/v1/estimate"


@pytest.fixture(scope="module")
def alone(stack: Stack) -> Iterator[str]:
    """A web server of one worker: whoever stops it, stops everybody."""
    process, url = stack.start_web(workers=1)
    yield url
    process.stop()
    stack.processes.remove(process)


def ask(url: str, member: Member, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"{url}{path}", data=json.dumps(body).encode(), headers={"x-api-key": member.key, **names}
    )
    try:
        with LOCAL.open(request, timeout=300) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def longest_wait(url: str, during: Callable[[], object]) -> tuple[float, float]:
    """How long the slowest look at /healthz took while this was done, and how long that took."""
    waits: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            start = time.monotonic()
            with LOCAL.open(f"{url}/healthz", timeout=300):
                pass
            waits.append(time.monotonic() - start)

    bystander = threading.Thread(target=look)
    bystander.start()
    start = time.monotonic()
    during()
    took = time.monotonic() - start
    over.set()
    bystander.join()
    return max(waits), took


def words(size: int) -> str:
    order = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(order.choices(letters, k=order.randint(2, 9))) for _ in range(5_000)]
    return " ".join(order.choices(vocabulary, k=size // 6))


LONG: dict[str, tuple[str, Any, dict[str, str]]] = {
    "words, to any model": (CHAT, {"model": "auto", "messages": turns(words(5_000_000))}, {}),
    "words, shortened": (
        CHAT,
        {"model": "auto", "messages": turns(words(2_000_000))},
        {"x_purser_compress": "on"},
    ),
    "spaces": (CHAT, {"model": "auto", "messages": turns(" " * 4_000_000 + "x")}, {}),
    "sample calls": (
        ESTIMATE,
        {"calls": [{"model": "auto", "messages": turns(words(40_000) + str(n))} for n in range(45)]},
        {},
    ),
}


@pytest.mark.parametrize("what", LONG)
def test_a_long_request_holds_up_nobody(world: World, alone: str, what: str) -> None:
    path, body, headers = LONG[what]
    told: list[int] = []
    wait, took = longest_wait(alone, lambda: told.append(ask(alone, world.acme, path, body, **headers)[0]))
    assert told[0] in (200, 400)
    assert wait < max(0.25, took / 2)


@pytest.mark.parametrize(
    "content",
    [
        "<system-reminder>" * 3_529,
        "{\n```" + "a" * 60_000,
        "\n\n".join(" ".join(f"same{word}" for word in range(25)) + f" end{n}" for n in range(350)),
    ],
)
def test_a_hostile_text_costs_what_its_length_does(world: World, alone: str, content: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": turns(content), "max_tokens": 5}
    plain = {**body, "messages": turns(words(len(content)))}
    ask(alone, world.acme, CHAT, plain)
    start = time.monotonic()
    assert ask(alone, world.acme, CHAT, {**plain, "user": "a"}, x_purser_compress="on")[0] == 200
    usual = time.monotonic() - start
    start = time.monotonic()
    assert ask(alone, world.acme, CHAT, body, x_purser_compress="on")[0] == 200
    assert time.monotonic() - start < max(2.0, 5 * usual)


def test_what_no_model_can_read_is_refused_by_its_bytes(world: World, alone: str, make_deployment) -> None:
    deployment = make_deployment(context_window=1000)
    status, told = ask(
        alone, world.acme, CHAT, {"model": deployment.model, "messages": turns("word " * 200_000)}
    )
    assert (status, told["error"]["code"]) == (400, "context_length_exceeded")
    assert "maximum context length is 1000 tokens" in told["error"]["message"]


def test_the_sample_calls_of_an_estimate_are_bounded(world: World, alone: str) -> None:
    call = {"model": "gpt-4o-mini", "messages": turns("x" * 30_000)}
    status, told = ask(alone, world.acme, ESTIMATE, [call] * 100)
    assert (status, told["error"]["param"]) == (400, "calls")
    assert "2,097,152 bytes in all" in told["error"]["message"]
    status, told = ask(alone, world.acme, ESTIMATE, [{**call, "messages": turns("x")}] * 1_001)
    assert (status, told["error"]["param"]) == (400, "calls")
    assert "At most 1000 sample calls" in told["error"]["message"]


def test_asking_what_calls_cost_counts_as_calling(world: World, alone: str, make_tenant) -> None:
    asked = {
        ESTIMATE: {"model": "gpt-4o-mini", "messages": turns("Hello")},
        "/v1/messages/count_tokens": {"model": "claude-haiku-4-5", "messages": turns("Hello")},
        "/v1/responses/input_tokens": {"model": "gpt-4o-mini", "input": "Hello"},
    }
    for path, body in asked.items():
        member = make_tenant(rate_limits={"rpm": 2})
        statuses = [ask(alone, member, path, body)[0] for _ in range(3)]
        assert statuses == [200, 200, 429], path
    member = make_tenant(rate_limits={"rpm": 2})
    statuses = []
    for _ in range(3):
        request = urllib.request.Request(f"{alone}/v1/files", headers={"x-api-key": member.key})
        try:
            with LOCAL.open(request, timeout=60) as response:
                statuses.append(response.status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    assert statuses == [200, 200, 429]


@pytest.mark.parametrize("piece", ["{},", "[],", "1,", '{"a":{}},', '{"role":"user","content":"x"},'])
def test_a_body_of_nothing_but_values_is_refused_before_it_is_read(
    world: World, alone: str, piece: str
) -> None:
    """Twenty megabytes of empty objects would be half a gigabyte of memory, and seconds of the loop."""
    content = '{"model":"gpt-4o-mini","messages":[' + piece * (19_000_000 // len(piece)) + "{}]}"
    told: list[tuple[int, str]] = []

    def send() -> None:
        request = urllib.request.Request(
            f"{alone}{CHAT}", data=content.encode(), headers={"x-api-key": world.acme.key}
        )
        try:
            with LOCAL.open(request, timeout=60):
                pass
        except urllib.error.HTTPError as error:
            told.append((error.code, json.load(error)["error"]["message"]))

    wait, took = longest_wait(alone, send)
    assert told == [(400, "The body has more than 524,288 values.")]
    assert wait < max(0.5, took / 2)
