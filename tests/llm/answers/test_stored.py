"""What no database can keep, in what a provider answers: the client gets it as it came, and every row is written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from config.database import storable
from tests.books import Books
from tests.llm.answers.bodies import (
    CLAUDE_USAGE,
    USAGE,
    chat,
    chunk,
    chunks,
    message,
    message_events,
    response,
)
from tests.llm.answers.conftest import Client
from tests.llm.answers.scripted import Script, stream, whole
from tests.world import Deployment

NUL = "a\x00b"
DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]
ODD_USAGE = {**USAGE, "note": NUL, "x\x00": {"y": [NUL]}}
ODD: dict[str, tuple[str, str, Any]] = {
    "id": ("openai", "chat", chat(id=NUL)),
    "content": ("openai", "chat", chat({"content": NUL})),
    "usage": ("openai", "chat", chat(usage=ODD_USAGE)),
    "tier": ("openai", "chat", chat(service_tier="de\x00f")),
    "model": ("openai", "chat", chat(model=NUL, system_fingerprint=NUL)),
    "deep usage": ("openai", "chat", chat(usage={**USAGE, "note": DEEP})),
    "a response's id": ("openai", "responses", response(id=NUL)),
    "a message's id": ("anthropic", "messages", message(id=NUL, usage={**CLAUDE_USAGE, "note": NUL})),
    "translated": ("anthropic", "chat", message({"type": "text", "text": NUL}, id=NUL)),
}


def told_as_stream(api: str, kind: str, body: dict[str, Any]) -> Script:
    """The same oddities in a stream."""
    if kind == "anthropic":
        text = {"type": "text_delta", "text": body["content"][0]["text"]}
        events = message_events(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": text},
            {"type": "content_block_stop", "index": 0},
        )
        events[0]["message"]["id"] = body["id"]
        events[-2]["usage"] = body["usage"]
        return stream(events, done=False)
    if api == "responses":
        begun = {**body, "status": "in_progress", "output": [], "usage": None}
        return stream(
            [
                {"type": "response.created", "response": begun},
                {"type": "response.completed", "response": body},
            ],
            done=False,
        )
    named = {name: body[name] for name in body if name not in ("choices", "usage", "object")}
    events = [{**one, **named} for one in chunks(body["choices"][0]["message"])]
    events[-1]["usage"] = body["usage"]
    return stream(events)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", ODD)
def test_it_works(
    client: Client, books: Books, scripted: Callable[..., Deployment], case: str, streamed: bool
) -> None:
    kind, api, body = ODD[case]
    deployment = scripted(told_as_stream(api, kind, body) if streamed else whole(body), kind=kind)
    asks_for_usage = {"stream_options": {"include_usage": True}} if streamed and api == "chat" else {}
    # what cannot be written again is not remembered
    for state in ("miss", "miss" if "deep" in case else "exact"):
        result = client.ask(deployment, api=api, streamed=streamed, **asks_for_usage)
        assert (result.status, result.headers["x-purser-cache"]) == (200, state)
        if "deep" not in case and not (streamed and case == "tier"):
            assert ("\\u0000" in json.dumps(result.body if not streamed else result.events)) or case == "tier"
        assert books.log(result.request_id).status == 200
        # a note in the usage may mean anything, and a tier that is not known has no price: either makes a call unread
        is_read = case not in ("usage", "tier", "a message's id")
        assert set(client.states()) == {"captured" if is_read else "estimated"}
        row = books.row(result.request_id)
        assert state != "miss" or row.certainty == ("exact" if is_read else "unread")
        if state == "miss" and is_read:
            assert books.meters(row) == {"input": 100, "output": 10}
    books.check_windows(client.member.id)


def test_a_request_id_of_odd_bytes_is_kept_as_far_as_it_goes(
    client: Client, books: Books, scripted: Callable[..., Deployment]
) -> None:
    deployment = scripted(whole(chat(), headers=(("x-request-id", "\xff" * 300),)))
    assert client.ask(deployment).status == 200
    assert client.states() == ["captured"]
    assert len(client.row().upstream_id) == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_with_a_nul_is_told_and_kept_under_its_idempotency_key(
    client: Client, books: Books, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    deployment = scripted(whole({"error": {"message": NUL, "code": NUL}}, status=400))
    refused = client.ask(deployment, streamed=streamed, headers={"idempotency-key": "one"})
    assert refused.status == 400
    assert "\\u0000" in refused.raw.decode()
    assert books.log(refused.request_id).status == 400


def test_a_stream_that_cannot_be_ended_ends_all_the_same(
    client: Client, books: Books, scripted: Callable[..., Deployment]
) -> None:
    """A usage block of a kind that no code foresaw."""
    events = [
        chunk({"content": "Hi."}),
        chunk(finish="stop"),
        chunk(usage=[["prompt_tokens", 7]], finish="stop"),
    ]
    deployment = scripted(stream(events))
    result = client.ask(deployment, streamed=True)
    assert result.status == 200
    assert "purser" in result.events[-1]
    assert client.states() == ["estimated"]
    assert books.log(result.request_id).cost_usd > 0
    books.check_windows(client.member.id)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/budgets/raise-requests",
            {
                "scope": "tenant",
                "unit": "usd",
                "period": "month",
                "amount": "1",
                "until": "2099-01-01T00:00:00Z",
                "reason": NUL,
            },
        ),
        (
            "/v1/feedback",
            {"request_id": "01a1fe3e-7615-75f3-b4d6-816f46b2caca", "rating": 1, "reason": NUL},
        ),
    ],
)
def test_a_text_of_the_clients_with_a_nul_is_refused(client: Client, path: str, body: Any) -> None:
    refused = client.post(path, body)
    assert refused.status == 400, refused.raw
    assert b"null character" in refused.raw


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": "b"}, {"a": "b"}),
        ({"a\x00": ["\x00", "\\u0000", "\\\x00"]}, {"a\ufffd": ["\ufffd", "\\u0000", "\\\ufffd"]}),
        (["\ud83d", "\ude00x", "😀"], ["\ufffd", "\ufffdx", "😀"]),
        ([1 << 70, float("nan"), float("inf"), -1.5], [str(1 << 70), None, None, -1.5]),
        ({"\ud83d": True, 1: None}, {"\ufffd": True, "1": None}),
    ],
)
def test_what_is_stored_is_as_near_as_it_can_be(value: Any, stored: Any) -> None:
    assert json.loads(storable.json_text(value)) == stored
    assert storable.json_value(value) == stored


def test_what_is_nested_too_deep_is_stored_as_far_as_it_goes() -> None:
    assert "nested too deep" in storable.json_text(DEEP)
