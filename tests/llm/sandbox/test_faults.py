"""Every fault the sandbox can be ordered to make, as the SDKs see it and as the invoice says."""

import json
import socket
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest

from tests.books import eventually
from tests.llm.sandbox.conftest import Provider, start

LONG = "Write 300 words about rivers."


def ask(provider: Provider, question: str = "Hello", *, client: openai.OpenAI | None = None, **options):
    messages = [{"role": "user", "content": question}]
    client = client or provider.openai()
    return client.chat.completions.create(model="gpt-4o-mini", messages=messages, **options)


def message(provider: Provider, **options):
    return provider.anthropic().messages.create(
        model="claude-haiku-4-5", max_tokens=900, messages=[{"role": "user", "content": LONG}], **options
    )


def test_it_works(provider: Provider) -> None:
    provider.order("status:429", retry_after=3, times=2)
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            ask(provider)
    assert caught.value.response.headers["retry-after"] == "3"
    assert ask(provider).choices
    assert [call["status"] for call in provider.calls()] == [429, 429, 200]
    assert [call["fault"] for call in provider.calls()] == ["status:429", "status:429", ""]
    assert [call["billed"] for call in provider.calls()][:2] == [{}, {}]


def test_the_sdk_retries_and_the_log_counts_it(provider: Provider) -> None:
    provider.order("status:500", times=2)
    assert ask(
        provider, client=provider.openai(max_retries=3, default_headers={"idempotency-key": "once"})
    ).choices
    assert [call["retry_count"] for call in provider.calls()] == [0, 1, 2]
    assert {call["idempotency_key"] for call in provider.calls()} == {"once"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 529])
def test_any_status_has_the_providers_envelope(provider: Provider, status: int) -> None:
    provider.order(f"status:{status}", times=2, message="ordered", code="some_code")
    with pytest.raises(openai.APIStatusError) as seen_by_openai:
        ask(provider)
    assert (seen_by_openai.value.status_code, seen_by_openai.value.code) == (status, "some_code")
    with pytest.raises(anthropic.APIStatusError) as seen_by_anthropic:
        message(provider)
    assert seen_by_anthropic.value.status_code == status
    assert seen_by_anthropic.value.body["error"] == {"type": "some_code", "message": "ordered"}


def test_overload_is_529_at_anthropic_and_503_at_openai(provider: Provider) -> None:
    provider.order("overload", times=2)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(provider)
    assert caught.value.status_code == 503
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        message(provider)
    assert (overloaded.value.status_code, overloaded.value.body["error"]["type"]) == (529, "overloaded_error")


def test_a_timeout_never_answers(provider: Provider) -> None:
    provider.order("timeout")
    with pytest.raises(openai.APITimeoutError):
        ask(provider, client=provider.openai(timeout=0.3))
    call = settled(provider)
    assert (call["outcome"], call["billed"]) == ("disconnected", {})


def test_a_reset_breaks_the_connection_at_once(provider: Provider) -> None:
    provider.order("reset")
    with pytest.raises(openai.APIConnectionError):
        ask(provider)
    assert settled(provider)["billed"] == {}


def test_a_refusal_can_be_billed_all_the_same(provider: Provider) -> None:
    provider.order("status:500", billed=True, times=2)
    with pytest.raises(openai.InternalServerError):
        ask(provider)
    with pytest.raises(openai.InternalServerError):
        ask(provider, stream=True)
    plain, streamed = provider.calls()
    assert plain["billed"] == streamed["billed"]
    assert plain["billed"]["output"] > 0


def settled(provider: Provider) -> dict:
    """The test's only call once its entry is closed."""
    return eventually(provider.only_call, until=lambda call: call["status"] is not None)


@pytest.mark.parametrize("fault", ["disconnect", "truncate_stream"])
def test_a_broken_stream_is_billed_for_what_came(provider: Provider, fault: str) -> None:
    provider.order(fault, after_chunks=5)
    received = []
    try:
        for chunk in ask(provider, LONG, stream=True, stream_options={"include_usage": True}):
            received += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        assert fault == "truncate_stream"
    except (openai.APIConnectionError, httpx2.RemoteProtocolError, httpx2.ReadError):
        assert fault == "disconnect"
    assert len(received) == 5
    call = settled(provider)
    assert (call["outcome"], call["billed"]["output"]) == ("broken", 5)


def test_a_plain_answer_is_broken_too_and_billed_in_full(provider: Provider) -> None:
    provider.order("disconnect")
    provider.order("truncate_stream")
    for _ in range(2):
        with pytest.raises(openai.APIConnectionError):
            ask(provider, LONG)
    assert all(call["billed"]["output"] > 300 for call in provider.calls())


def test_an_anthropic_stream_breaks_too(provider: Provider) -> None:
    provider.order("truncate_stream", after_chunks=4)
    events = [event.type for event in message(provider, stream=True)]
    assert events.count("content_block_delta") == 4
    assert "message_stop" not in events
    assert 0 < settled(provider)["billed"]["output"] <= 5


def test_malformed_answers_are_no_json(provider: Provider) -> None:
    provider.order("malformed", times=2)
    with pytest.raises((json.JSONDecodeError, openai.APIError)):
        ask(provider)
    with pytest.raises((json.JSONDecodeError, openai.APIError)):
        list(ask(provider, LONG, stream=True))


def test_an_error_event_ends_a_stream(provider: Provider) -> None:
    provider.order("error_event", after_chunks=2, times=3)
    with pytest.raises(openai.APIError, match="server had an error"):
        list(ask(provider, LONG, stream=True))
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        list(message(provider, stream=True))
    events = list(provider.openai().responses.create(model="gpt-4o", input=LONG, stream=True))
    assert events[-1].type == "error"


def test_missing_usage_is_missing_but_billed(provider: Provider) -> None:
    provider.order("missing_usage", times=4)
    assert ask(provider).usage is None
    chunks = list(ask(provider, stream=True, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in chunks)
    assert provider.openai().responses.create(model="gpt-4o", input="Hello").usage is None
    final = list(message(provider, stream=True))[-2]
    assert final.usage.output_tokens == 0
    assert all(call["billed"]["output"] > 0 for call in provider.calls())


@pytest.mark.parametrize("fault", ["slow", "slow_first_byte", "drip"])
def test_slow_answers_come_complete(provider: Provider, fault: str) -> None:
    provider.order(fault, delay_ms=10, times=2)
    plain = ask(provider, "Count from 1 to 5.").choices[0].message.content
    streamed = ask(provider, "Count from 1 to 5.", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == plain == "1, 2, 3, 4, 5"


def test_slowness_is_felt_where_it_is_ordered(provider: Provider) -> None:
    provider.order("slow", delay_ms=5_000)
    with pytest.raises(openai.APITimeoutError):
        ask(provider, stream=True, client=provider.openai(timeout=0.2))
    provider.order("slow_first_byte", delay_ms=5_000)
    stream = ask(provider, stream=True, client=provider.openai(timeout=0.2))  # the headers come at once
    with pytest.raises((httpx2.ReadTimeout, openai.APITimeoutError)):
        list(stream)


def test_a_client_that_hangs_up_is_billed_for_what_was_made(provider: Provider) -> None:
    provider.order("drip", delay_ms=20)
    stream = ask(provider, LONG, stream=True)
    for count, _ in enumerate(stream):
        if count == 4:
            break
    stream.close()
    call = settled(provider)
    assert call["outcome"] == "disconnected"
    assert 3 <= call["billed"]["output"] <= 12


def test_a_plain_call_whose_client_hangs_up_is_billed_in_full(provider: Provider) -> None:
    provider.order("slow", delay_ms=5_000)
    with pytest.raises(openai.APITimeoutError):
        ask(provider, client=provider.openai(timeout=0.2))
    call = settled(provider)
    assert call["outcome"] == "disconnected"
    assert call["billed"]["output"] > 0


def test_faults_strike_only_what_they_match(provider: Provider) -> None:
    provider.order("status:500", match={"model": "gpt-4o"})
    provider.order("status:503", match={"contains": "magic word"})
    provider.order("status:502", match={"tag": "tagged"})
    assert ask(provider).choices
    with pytest.raises(openai.APIStatusError) as caught:
        ask(provider, "the magic word")
    assert caught.value.status_code == 503
    with pytest.raises(openai.APIStatusError) as caught:
        ask(provider, user="tagged")
    assert caught.value.status_code == 502
    with pytest.raises(openai.APIStatusError):
        provider.openai().chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])


def test_calls_are_found_by_tag_and_forgotten_by_match(provider: Provider) -> None:
    tag = uuid.uuid4().hex
    ask(provider, metadata={"case": tag}, store=True)
    ask(provider, user=tag)
    ask(provider)
    assert len(provider.control(f"calls?tag={tag}")["calls"]) == 2
    provider.control("reset", {"match": {"tag": tag}})
    assert len(provider.calls()) == 1


def test_a_bad_order_is_refused_and_names_the_field(provider: Provider) -> None:
    for order in (
        {"fault": "explode"},
        {"fault": "slow", "speed": 3},
        {"fault": "slow", "match": {"planet": "x"}},
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            provider.control("faults", order)
        assert caught.value.code == 400
        assert json.load(caught.value)["error"]


def test_webhooks_can_be_received(provider: Provider) -> None:
    name = uuid.uuid4().hex
    request = urllib.request.Request(
        f"{provider.url}/control/hooks/{name}", data=b'{"message": "80 %"}', headers={"x-signature": "s"}
    )
    urllib.request.urlopen(request).close()
    (hook,) = provider.control(f"hooks?name={name}")["hooks"]
    assert hook["body"] == {"message": "80 %"}
    assert hook["raw"] == '{"message": "80 %"}'


def answered(provider: Provider) -> int:
    try:
        ask(provider)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def test_settings_limit_requests_and_models_and_the_log_survives_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    process, url = start("--known-models-only", "--log", str(log), "--latency-ms", "1")
    try:
        provider = Provider(url, "sk-own")
        with pytest.raises(openai.NotFoundError) as caught:
            provider.openai().chat.completions.create(
                model="gpt-none", messages=[{"role": "user", "content": "x"}]
            )
        assert caught.value.code == "model_not_found"
        assert provider.control("settings", {"requests_per_minute": 3})["latency_ms"] == 1
        statuses = [answered(provider) for _ in range(8)]
        assert {200, 429} == set(statuses)
    finally:
        process.kill()
        process.wait(10)
    written = [json.loads(entry) for entry in log.read_text().splitlines()]
    assert next(entry["status"] for entry in written) == 404
    assert {entry["status"] for entry in written} == {404, 200, 429}
    assert sum(entry["billed"].get("output", 0) for entry in written) > 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) != 0
