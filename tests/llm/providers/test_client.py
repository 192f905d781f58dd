"""Calls to a real sandbox provider: answers, streams, and everything that goes wrong."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from llm.providers.classify import failure_of, retry_after
from llm.providers.client import Timeouts, call, open_stream
from llm.providers.errors import (
    ProviderError,
    ProviderFailure,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    StreamBroken,
    without_secrets,
)
from llm.providers.kinds import KINDS
from llm.providers.outgoing import Outgoing, headers_for
from llm.providers.target import Target
from llm.steps.relay import Relay
from llm.wire import WIRE_FORMATS, Exchange, prepare

CHAT = WIRE_FORMATS["openai_chat"]
MESSAGES = WIRE_FORMATS["anthropic_messages"]
ASK = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


def exchange_for(target: Target, *, stream: bool = False, **facts: Any) -> Exchange:
    wire = CHAT if target.kind.name == "openai" else MESSAGES
    body = {"model": target.model, **ASK, **facts, **({"stream": True} if stream else {})}
    return prepare(wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=200)


@dataclass
class Relayed:
    """What became of a streamed call; a stream that broke keeps what came before."""

    relay: Relay
    forwarded: bytes = b""
    broken: StreamBroken | None = None


async def relayed(target: Target, *, timeouts: Timeouts | None = None, **facts: Any) -> Relayed:
    exchange = exchange_for(target, stream=True, **facts)
    stream = await open_stream(
        target, Outgoing(exchange.payload()), wire=exchange.upstream, timeouts=timeouts
    )
    result = Relayed(Relay(exchange, wants_usage=False))
    try:
        async for piece in result.relay.run(stream):
            result.forwarded += piece
    except StreamBroken as broken:
        result.broken = broken
    return result


async def failure(
    target: Target, *, stream: bool = False, timeouts: Timeouts | None = None
) -> ProviderFailure:
    exchange = exchange_for(target, stream=stream)
    send: Callable[..., Any] = open_stream if stream else call
    with pytest.raises(ProviderFailure) as caught:
        await send(target, Outgoing(exchange.payload()), wire=exchange.upstream, timeouts=timeouts)
    return caught.value


async def test_it_works(sandbox: Any, http: Any) -> None:
    target = sandbox.target()
    exchange = exchange_for(target)
    reply = await call(target, Outgoing(exchange.payload()), wire=exchange.upstream)
    (billed,) = sandbox.calls()
    assert CHAT.usage(reply.body) == billed["usage"]
    assert reply.request_id == billed["request_id"]
    assert CHAT.answer_text(reply.body)
    assert CHAT.is_complete(reply.body)


@pytest.mark.parametrize(("kind", "model"), [("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5")])
async def test_a_stream_adds_up_to_the_whole_answer(sandbox: Any, http: Any, kind: str, model: str) -> None:
    target = sandbox.target(kind, model)
    exchange = exchange_for(target)
    whole = (await call(target, Outgoing(exchange.payload()), wire=exchange.upstream)).body
    relay = (await relayed(target)).relay
    wire = exchange.upstream
    assert wire.answer_text(relay.answer()) == wire.answer_text(whole)
    assert relay.meter.usage["output_tokens" if kind == "anthropic" else "completion_tokens"] > 0
    assert relay.meter.usage == sandbox.calls()[-1]["usage"]
    assert relay.answer().keys() >= whole.keys() - {"service_tier"}
    assert relay.meter.has_ended


async def test_events_pass_byte_for_byte(sandbox: Any, http: Any) -> None:
    target = sandbox.target()
    exchange = exchange_for(target, stream=True, stream_options={"include_usage": True})
    stream = await open_stream(target, Outgoing(exchange.payload()), wire=exchange.upstream)
    received = b""
    relay = Relay(exchange, wants_usage=True)
    forwarded = b""
    while chunk := await stream.read():
        received += chunk
        forwarded += relay.feed(chunk)[0]
    stream.close()
    closed = relay.close({"cost": "0"})
    assert (forwarded + closed).replace(b',"purser":{"cost":"0"}', b"") == received


async def test_a_client_that_did_not_ask_sees_no_usage_chunk(sandbox: Any, http: Any) -> None:
    result = await relayed(sandbox.target())
    whole = result.forwarded + result.relay.close({})
    assert b'"choices":[]' not in whole
    assert whole.endswith(b'"purser":{}}\n\ndata: [DONE]\n\n')
    assert result.relay.meter.usage is not None


async def test_a_client_that_hangs_up_stops_the_provider(sandbox: Any, http: Any) -> None:
    sandbox.control("settings", {"tokens_per_second": 20})
    target = sandbox.target()
    exchange = exchange_for(target, stream=True)
    stream = await open_stream(target, Outgoing(exchange.payload()), wire=exchange.upstream)
    relay = Relay(exchange, wants_usage=False)
    run = relay.run(stream)
    await anext(run)
    await run.aclose()
    for _ in range(100):
        (logged,) = sandbox.calls()
        if logged["outcome"] != "open":
            break
        await asyncio.sleep(0.02)
    assert logged["outcome"] == "disconnected"


async def test_the_connection_of_a_finished_stream_serves_the_next_call(
    sandbox: Any, http: Any, connections: list[Any]
) -> None:
    for _ in range(3):
        assert not (await relayed(sandbox.target())).broken
        await asyncio.sleep(0.05)
    assert len(connections) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected", "client_status", "retryable"),
    [
        (400, ProviderRejected, 400, False),
        (401, ProviderError, 502, False),
        (403, ProviderError, 502, False),
        (404, ProviderRejected, 404, False),
        (408, ProviderTimeout, 504, True),
        (409, ProviderError, 502, True),
        (413, ProviderRejected, 413, False),
        (422, ProviderRejected, 400, False),
        (429, ProviderUnavailable, 503, True),
        (500, ProviderError, 502, True),
        (502, ProviderError, 502, True),
        (503, ProviderUnavailable, 503, True),
        (529, ProviderUnavailable, 503, True),
    ],
)
async def test_a_status_becomes_its_outcome(
    sandbox: Any,
    http: Any,
    stream: bool,
    status: int,
    expected: type[ProviderFailure],
    client_status: int,
    retryable: bool,
) -> None:
    sandbox.order(f"status:{status}", message="No: sk-live-abcdef123456 is wrong")
    error = await failure(sandbox.target(), stream=stream)
    assert type(error) is expected
    assert (error.status, error.retryable, error.upstream_status) == (client_status, retryable, status)
    assert not error.may_be_billed
    assert "No: [redacted] is wrong" in error.message
    assert error.upstream_request_id == sandbox.calls()[0]["request_id"]


async def test_retry_after_is_passed_on(sandbox: Any, http: Any) -> None:
    sandbox.order("status:429", retry_after=7)
    error = await failure(sandbox.target())
    assert error.retry_after == 7
    assert error.response_headers()["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_reset_is_retryable_and_may_be_billed(
    sandbox: Any, http: Any, stream: bool
) -> None:
    sandbox.order("reset")
    error = await failure(sandbox.target(), stream=stream)
    assert isinstance(error, ProviderUnavailable)
    assert (error.retryable, error.sent, error.may_be_billed) == (True, True, True)


async def test_no_server_means_nothing_was_sent(sandbox: Any, http: Any) -> None:
    error = await failure(sandbox.target(base_url="http://127.0.0.1:9"))
    assert isinstance(error, ProviderUnavailable)
    assert (error.retryable, error.sent, error.may_be_billed) == (True, False, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["timeout", "slow_first_byte"])
async def test_a_late_first_byte_is_a_timeout(sandbox: Any, http: Any, fault: str, stream: bool) -> None:
    sandbox.order(fault, delay_ms=3_000)
    error = await failure(sandbox.target(), stream=stream, timeouts=Timeouts(connect=0.1, first_byte=0.2))
    assert isinstance(error, ProviderTimeout)
    assert (error.retryable, error.may_be_billed) == (True, True)


async def test_an_answer_that_drips_ends_with_its_total(sandbox: Any, http: Any) -> None:
    sandbox.order("drip", delay_ms=100)
    error = await failure(sandbox.target(), timeouts=Timeouts(total=0.5))
    assert isinstance(error, ProviderTimeout)


async def test_a_whole_answer_that_stalls_is_a_timeout(sandbox: Any, http: Any) -> None:
    sandbox.order("drip", delay_ms=3_000)
    error = await failure(sandbox.target(), timeouts=Timeouts(first_byte=60, idle=0.2))
    assert isinstance(error, ProviderTimeout)
    assert (error.retryable, error.may_be_billed) == (True, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_handshake_that_never_ends_is_a_timeout_and_owes_nothing(
    sandbox: Any, http: Any, stream: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = sandbox.target(base_url=f"https://127.0.0.1:{silent.getsockname()[1]}/v1")
        error = await failure(target, stream=stream, timeouts=Timeouts(connect=0.3))
    assert isinstance(error, ProviderTimeout)
    assert (error.retryable, error.sent, error.may_be_billed) == (True, False, False)


async def test_malformed_json_is_an_error_that_may_be_billed(sandbox: Any, http: Any) -> None:
    sandbox.order("malformed")
    error = await failure(sandbox.target())
    assert isinstance(error, ProviderError)
    assert (error.retryable, error.may_be_billed) == (True, True)


@pytest.mark.parametrize(("kind", "model"), [("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5")])
@pytest.mark.parametrize("fault", ["disconnect", "truncate_stream", "malformed", "error_event"])
async def test_a_broken_stream_says_so_and_knows_what_came(
    sandbox: Any, http: Any, kind: str, model: str, fault: str
) -> None:
    sandbox.order(fault, after_chunks=3)
    result = await relayed(sandbox.target(kind, model))
    assert result.broken
    assert result.broken.may_be_billed
    assert not result.relay.meter.has_ended
    assert result.relay.meter.text()[:4].encode() in result.forwarded


async def test_a_stream_that_stalls_is_a_timeout(sandbox: Any, http: Any) -> None:
    sandbox.order("drip", delay_ms=2_000)
    result = await relayed(sandbox.target(), timeouts=Timeouts(idle=0.2))
    assert result.broken
    assert result.broken.code == "provider_timeout"


async def test_a_stream_ends_with_its_total(sandbox: Any, http: Any) -> None:
    sandbox.order("drip", delay_ms=100)
    result = await relayed(sandbox.target(), timeouts=Timeouts(total=0.5))
    assert result.broken
    assert result.broken.code == "provider_timeout"


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_stream_without_usage_is_still_an_answer(sandbox: Any, http: Any, kind: str) -> None:
    sandbox.order("missing_usage")
    result = await relayed(sandbox.target(kind, "gpt-4o-mini" if kind == "openai" else "claude-haiku-4-5"))
    assert not result.broken
    assert result.relay.meter.text()
    assert result.relay.meter.usage is None


async def test_a_cancelled_call_closes_its_connection(sandbox: Any, http: Any) -> None:
    sandbox.order("slow_first_byte", delay_ms=5_000)
    target = sandbox.target()
    exchange = exchange_for(target)
    task = asyncio.create_task(call(target, Outgoing(exchange.payload()), wire=exchange.upstream))
    while not sandbox.calls():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if sandbox.calls()[0]["outcome"] != "open":
            break
        await asyncio.sleep(0.02)
    assert sandbox.calls()[0]["outcome"] == "disconnected"


def test_credentials_never_leave_in_a_message() -> None:
    told = "key sk-proj-abc_DEF123 of org-12345678abc at https://u:pw@host, Bearer abc.def, mine-is-odd"
    kept = without_secrets(told, api_key="mine-is-odd")
    assert "abc_DEF123" not in kept
    assert "12345678abc" not in kept
    assert "pw" not in kept
    assert "abc.def" not in kept
    assert "mine-is-odd" not in kept


def test_only_harmless_headers_are_passed_on() -> None:
    target = Target(
        model="m", provider="p", kind=KINDS["anthropic"], base_url="http://x/v1", api_key="ours", upstream="m"
    )
    given = {
        "Anthropic-Beta": "b1",
        "x-api-key": "theirs",
        "authorization": "theirs",
        "openai-organization": "o",
        "openai-beta": "b2",
        "anthropic-version": "2026-10-21",
        "anthropic-of-tomorrow": "on",
        "Anthropic-Api-Key": "theirs",
        "anthropic-workspace-id": "w",
        "anthropic-organization-id": "o",
        "x-anthropic-billing-header": "b",
        "cookie": "c",
    }
    sent = headers_for(target, given, streamed=False)
    assert sent["anthropic-beta"] == "b1"
    assert sent["x-api-key"] == "ours"
    assert "authorization" not in sent
    assert sent["anthropic-version"] == "2026-10-21"
    assert sent["anthropic-of-tomorrow"] == "on"
    ours = {"content-type", "accept", "accept-encoding", "user-agent", "x-api-key"}
    assert sent.keys() - ours == {"anthropic-beta", "anthropic-version", "anthropic-of-tomorrow"}
    assert target.url("/v1/messages") == "http://x/v1/messages"


def test_retry_after_is_read_in_each_of_its_forms() -> None:
    now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": "1.5"}, now=now) == 1.5
    assert retry_after({"retry-after-ms": "250"}, now=now) == 0.25
    assert retry_after({"retry-after": "Sat, 21 Nov 2026 12:00:09 GMT"}, now=now) == 9
    assert retry_after({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, now=now) == 0
    assert retry_after({"retry-after": "soon"}, now=now) is None


def test_an_exhausted_account_is_not_tried_again() -> None:
    body = b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}'
    assert not failure_of(429, body, {}, provider="openai", api_key="").retryable
    assert not failure_of(500, b"{}", {"x-should-retry": "false"}, provider="openai", api_key="").retryable


def test_a_prompt_that_is_too_long_has_its_own_code() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}'
    assert failure_of(400, body, {}, provider="anthropic", api_key="").code == "context_length_exceeded"


def test_an_html_error_page_is_not_shown_to_clients() -> None:
    error = failure_of(502, b"<html>gateway nginx 1.2</html>", {}, provider="openai", api_key="")
    assert "nginx" not in error.message


async def test_closing_a_stream_wakes_whoever_reads_it(sandbox: Any, http: Any) -> None:
    sandbox.order("drip", delay_ms=5_000)
    target = sandbox.target()
    exchange = exchange_for(target, stream=True)
    stream = await open_stream(target, Outgoing(exchange.payload()), wire=exchange.upstream)
    await stream.read()
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0.05)
    stream.close()
    async with asyncio.timeout(2):
        with pytest.raises(StreamBroken):
            await reading
