"""Streams put together by id and index as servers really tell them, for memory and in translation; or not remembered."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llm.wire import WIRE_FORMATS
from tests.llm.answers.bodies import chunk, chunks, message_events, response
from tests.llm.answers.conftest import Client
from tests.llm.answers.scripted import stream
from tests.world import Deployment

A, B = ("call_a", "read_file", {"path": "a"}), ("call_b", "read_file", {"path": "b"})


def call(
    index: Any = None, identity: Any = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    """One piece of a call; what is None is not told."""
    function = {"name": name, "arguments": arguments}
    part = {
        "index": index,
        "id": identity,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {"tool_calls": [{key: value for key, value in part.items() if value is not None}]}


def whole_calls(*indexes: Any) -> list[dict[str, Any]]:
    """Calls a and b, each in one piece, under these indexes."""
    return [
        call(index, identity, name, json.dumps(arguments))
        for index, (identity, name, arguments) in zip(indexes, (A, B), strict=True)
    ]


TWO_CALLS: dict[str, list[dict[str, Any]]] = {
    "the same index": whole_calls(0, 0),
    "no index": whole_calls(None, None),
    "indexes of text": whole_calls("0", "1"),
    "indexes from one": whole_calls(1, 2),
    "the second first": list(reversed(whole_calls(0, 1))),
    "both in one chunk": [
        {"tool_calls": [*whole_calls(0, 1)[0]["tool_calls"], *whole_calls(0, 1)[1]["tool_calls"]]}
    ],
    "pieces under the same index": [
        *(call(0, "call_a", "read_file"), call(0, None, None, '{"path":'), call(0, None, None, '"a"}')),
        *(call(0, "call_b", "read_file"), call(0, None, None, '{"path":'), call(0, None, None, '"b"}')),
    ],
    "pieces without an index": [
        *(call(None, "call_a", "read_file", ""), call(None, None, None, '{"path":"a"}')),
        *(call(None, "call_b", "read_file", '{"pa'), call(None, None, None, 'th":"b"}')),
    ],
    "an id in every piece": [
        *(call(0, "call_a", "read_file", '{"path":'), call(0, "call_a", "read_file", '"a"}')),
        *(call(0, "call_b", "read_file", '{"path":'), call(0, "call_b", "read_file", '"b"}')),
    ],
    "interleaved": [
        *(call(0, "call_a", "read_file", '{"path":'), call(1, "call_b", "read_file", '{"pat')),
        *(call(0, None, None, '"a"'), call(1, None, None, 'h":"b"'), call(0, None, None, "}")),
        call(1, None, None, "}"),
    ],
    "an empty id in pieces": [
        *(call(0, "call_a", "read_file", '{"path":'), call(0, "", "", '"a"}')),
        *(call(1, "call_b", "read_file", '{"path":'), call(1, "", "", '"b"}')),
    ],
    "arguments that are objects": [call(0, *A), call(0, *B)],
}


@pytest.mark.parametrize("case", TWO_CALLS)
def test_it_works(case: str) -> None:
    meter = WIRE_FORMATS["openai_chat"].meter()
    for payload in chunks(*TWO_CALLS[case], finish="tool_calls"):
        meter.feed(payload)
    calls = meter.response()["choices"][0]["message"]["tool_calls"]
    told = [(one["id"], one["function"]["name"], _object(one["function"]["arguments"])) for one in calls]
    assert sorted(told) == [A, B]
    assert case == "the second first" or told == [A, B]
    assert meter.is_exact
    assert not WIRE_FORMATS["openai_chat"].is_complete(meter.response())


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
@pytest.mark.parametrize("case", TWO_CALLS)
def test_clients_of_messages_get_both_calls(
    client: Client, scripted: Callable[..., Deployment], case: str, finish: str
) -> None:
    deployment = scripted(stream(chunks(*TWO_CALLS[case], finish=finish)))
    for _ in range(2):
        result = client.ask(deployment, api="messages", streamed=True)
        assert _blocks_of(result.events) == [A, B]
        (end,) = [one for one in result.events if one["type"] == "message_delta"]
        assert end["delta"]["stop_reason"] == "tool_use"
        assert result.headers["x-purser-cache"] == "miss"


@pytest.mark.parametrize(
    "odd",
    [
        [call(0, "call_a", "f", '{"a":'), call(0, None, None, "oops")],
        [call(0, "call_a", "f", "{}"), call(0, "call_a", "g", "{}")],
        [call(0, "call_a", "f", {"a": 1}), call(0, None, None, '{"b":2}')],
        [call(0, None, "f", '{"a":1}'), call(0, None, "f", '{"a":2}')],
    ],
)
def test_pieces_that_do_not_fit_are_said_not_to(odd: list[dict[str, Any]]) -> None:
    meter = WIRE_FORMATS["openai_chat"].meter()
    for payload in chunks(*odd):
        meter.feed(payload)
    assert not meter.is_exact


def test_what_cannot_be_put_together_is_neither_remembered_nor_stored(
    client: Client, scripted: Callable[..., Deployment]
) -> None:
    """A kind of delta that nobody knows: the client gets it, and no other client does."""
    odd = message_events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "mood_delta", "mood": "good"}},
        {"type": "content_block_stop", "index": 0},
    )
    deployment = scripted(stream(odd, done=False), kind="anthropic")
    for _ in range(2):
        result = client.ask(deployment, api="messages", streamed=True)
        assert result.headers["x-purser-cache"] == "miss"
        assert b"mood_delta" in result.raw
    stored = client.ask(deployment, api="chat", streamed=True, store=True)
    assert stored.status == 200
    assert client.books.log(stored.request_id).receipt["steps"][-1]["outcome"] != "stored"


def test_a_content_in_parts_is_remembered_as_it_came(
    client: Client, scripted: Callable[..., Deployment]
) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}
    said = {"type": "text", "text": "Four."}
    deployment = scripted(stream(chunks({"role": "assistant", "content": [thought]}, {"content": [said]})))
    first = client.ask(deployment, streamed=True)
    second = client.ask(deployment, streamed=True)
    assert second.headers["x-purser-cache"] == "exact"
    for result in (first, second):
        parts = [
            part
            for event in result.events
            for choice in event["choices"]
            for part in choice["delta"].get("content") or ()
        ]
        assert parts == [thought, said]
    blocks = _all_blocks(client.ask(deployment, api="messages", streamed=True).events)
    assert blocks == [("thinking", "Hmm."), ("text", "Four.")]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "Hmm."},
        {"reasoning_content": "Hmm."},
        {"reasoning": "Hmm.", "reasoning_content": "Hmm."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hmm.", "index": 0}]},
        {"reasoning": "Hmm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hmm.", "index": 0}]},
        {"content": [{"type": "thinking", "thinking": "Hmm."}]},
    ],
)
def test_reasoning_reaches_clients_of_messages_once(
    client: Client, scripted: Callable[..., Deployment], delta: dict[str, Any]
) -> None:
    deployment = scripted(stream(chunks({"role": "assistant", **delta}, {"content": "Four."})))
    result = client.ask(deployment, api="messages", streamed=True)
    assert _all_blocks(result.events) == [("thinking", "Hmm."), ("text", "Four.")]


def test_an_empty_first_chunk_names_nothing(client: Client, scripted: Callable[..., Deployment]) -> None:
    empty = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    result = client.ask(scripted(stream([empty, *chunks({"content": "Hi."})])), api="messages", streamed=True)
    begun = result.events[0]["message"]
    assert (begun["id"], begun["model"]) == ("chatcmpl-1", "fake")


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    "between",
    [
        [
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            },
            {"type": "content_block_stop", "index": 0},
        ],
        [
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "a", "name": "f"},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"x"'},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": ":1}"},
            },
        ],
    ],
)
@pytest.mark.parametrize("stop", ["tool_use", "end_turn"])
def test_the_input_of_a_tool_reaches_clients_of_openai(
    client: Client,
    scripted: Callable[..., Deployment],
    api: str,
    between: list[dict[str, Any]],
    stop: str,
) -> None:
    deployment = scripted(stream(message_events(*between, stop=stop), done=False), kind="anthropic")
    result = client.ask(deployment, api=api, streamed=True)
    if api == "responses":
        (item,) = result.events[-1]["response"]["output"]
        assert json.loads(item["arguments"]) == {"x": 1}
        return
    choices = [choice for event in result.events for choice in event["choices"]]
    parts = [part for choice in choices for part in choice["delta"].get("tool_calls") or ()]
    assert json.loads("".join(part["function"].get("arguments", "") for part in parts)) == {"x": 1}
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]


def test_blocks_under_one_index_are_blocks_of_their_own() -> None:
    meter = WIRE_FORMATS["anthropic_messages"].meter()
    for identity in ("a", "b"):
        block = {"type": "tool_use", "id": identity, "name": "f", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps({"is": identity})}
        meter.feed({"type": "content_block_start", "index": 0, "content_block": block})
        meter.feed({"type": "content_block_delta", "index": 0, "delta": delta})
    assert [block["input"] for block in meter.response()["content"]] == [{"is": "a"}, {"is": "b"}]


def test_a_response_whose_last_event_is_empty_is_what_its_events_said() -> None:
    wire = WIRE_FORMATS["openai_responses"]
    meter, answer = wire.meter(), response()
    for payload in wire.events_of(answer):
        last = payload["type"] == "response.completed"
        meter.feed({**payload, "response": {**answer, "output": []}} if last else payload)
    assert meter.has_ended
    assert meter.is_exact
    assert meter.response() == answer


def test_a_chunk_that_is_a_whole_answer_is_one() -> None:
    meter = WIRE_FORMATS["openai_chat"].meter()
    meter.feed(chunk())
    meter.feed({**chunk(), "choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}]})
    meter.feed({**chunk(), "choices": [{"index": 0, "delta": {}, "message": {"content": "Hi."}}]})
    assert meter.response()["choices"][0]["message"]["content"] == "Hi."


def _object(arguments: Any) -> Any:
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def _blocks_of(events: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """The tools' blocks, each of them told from its start to its stop before the next."""
    found: list[tuple[str, str, Any]] = []
    pieces: list[str] = []
    block: dict[str, Any] = {}
    for event in events:
        if event["type"] == "content_block_start":
            block, pieces = event["content_block"], []
        elif event["type"] == "content_block_delta":
            pieces.append(event["delta"]["partial_json"])
        elif event["type"] == "content_block_stop":
            found.append((block["id"], block["name"], json.loads("".join(pieces))))
    return found


def _all_blocks(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for event in events:
        if event["type"] == "content_block_start":
            found.append((event["content_block"]["type"], ""))
        elif event["type"] == "content_block_delta":
            kind, text = found[-1]
            found[-1] = (kind, text + event["delta"][kind])
    return found


def test_a_response_that_fails_in_the_middle_ends_as_its_provider_says(
    client: Client, scripted: Callable[..., Deployment]
) -> None:
    """Clients act on the event by its name; what came is billed by what it tells."""
    events = list(WIRE_FORMATS["openai_responses"].events_of(response()))[:-1]
    error = {"code": "rate_limit_exceeded", "message": "Wait for sk-sandbox-abcdef123456."}
    failed = response(status="failed", error=error, output=[])
    events = [*events, {"type": "response.failed", "response": failed, "sequence_number": len(events)}]
    result = client.ask(scripted(stream(events, done=False)), api="responses", streamed=True)
    last = result.events[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "rate_limit_exceeded")
    assert "sk-sandbox" not in result.raw.decode()
    assert last["purser"]["tokens"]["output"] == 10
    assert client.meters() == {"input": 100, "output": 10}
