"""Odd histories on their way to a provider of the other protocol: one odd turn bricks no conversation."""

from typing import Any

import pytest

from llm.errors import InvalidRequest
from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, prepare

USER = {"role": "user", "content": "hi"}


def to_claude(messages: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 50, "messages": messages, **fields}
    wire = WIRE_FORMATS["openai_chat"]
    return prepare(wire, body, kind=KINDS["anthropic"], upstream_model="u", max_output_tokens=None).body


def to_openai(messages: list[Any], **fields: Any) -> list[Any]:
    body = {"model": "m", "max_tokens": 50, "messages": messages, **fields}
    wire = WIRE_FORMATS["anthropic_messages"]
    sent = prepare(wire, body, kind=KINDS["openai"], upstream_model="u", max_output_tokens=None).body[
        "messages"
    ]
    assert isinstance(sent, list)
    return sent


def calling(arguments: Any, *, identity: str = "c1") -> list[dict[str, Any]]:
    """A call of a tool with these arguments, and its result."""
    call = {"id": identity, "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": identity, "content": "r"},
    ]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        (None, {}),
        ('{"a": "b', {"_raw": '{"a": "b'}),
        ("[1]", {"_raw": "[1]"}),
        ("7", {"_raw": "7"}),
        ([1], {"_raw": [1]}),
        ("{" + '"a":{' * 300 + "}" * 301, {"_raw": "{" + '"a":{' * 300 + "}" * 301}),
    ],
)
def test_it_works(arguments: Any, given: Any) -> None:
    """No arguments are an empty object; what is no object is carried on in one."""
    sent = to_claude(calling(arguments))["messages"]
    assert sent[1]["content"] == [{"type": "tool_use", "id": "c1", "name": "f", "input": given}]


def test_an_id_is_written_in_letters_that_claude_takes() -> None:
    sent = to_claude(calling("{}", identity="functions.f:0|x"))["messages"]
    assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"] == "functions_f_0_x"


@pytest.mark.parametrize("empty", ["", " \n", [], [{"type": "text", "text": ""}], None])
def test_empty_turns_are_left_out_for_claude(empty: Any) -> None:
    sent = to_claude([USER, {"role": "assistant", "content": empty}, {"role": "user", "content": "x"}])
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "x"}]}
    ]


def test_empty_texts_are_left_out_for_claude() -> None:
    parts = [{"type": "text", "text": ""}, {"type": "text", "text": "x"}]
    sent = to_claude(
        [
            {"role": "system", "content": ""},
            {"role": "user", "content": parts},
            *calling("{}")[1:2],
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ]
    )
    assert "system" not in sent
    assert sent["messages"][0] == {"role": "user", "content": "x"}
    assert sent["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "c1"}]


def test_a_conversation_without_a_word_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_claude([{"role": "user", "content": ""}])
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "assistant", "tool_calls": 7}],
        [USER, {"role": "assistant", "tool_calls": ["x"]}],
        [USER, {"role": "assistant", "thinking_blocks": 3}],
        [USER, {"role": ["assistant"], "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}],
    ],
)
def test_fields_of_another_type_are_refused(messages: list[Any]) -> None:
    with pytest.raises(InvalidRequest):
        to_claude(messages)


def test_an_error_names_the_message() -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_claude([USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}])
    assert refused.value.param == "messages.1.tool_calls.0.type"


@pytest.mark.parametrize("kind", ["image/jpg", "IMAGE/JPG", "image/pjpeg"])
def test_a_jpeg_is_called_one(kind: str) -> None:
    url = f"data:{kind};base64,aGk="
    sent = to_claude([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert sent["messages"][0]["content"][0]["source"]["media_type"] == "image/jpeg"
    source = {"type": "base64", "media_type": kind, "data": "aGk="}
    (told,) = to_openai([{"role": "user", "content": [{"type": "image", "source": source}]}])
    assert told["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,aGk="


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": "t", "signature": "s"}],
        [{"type": "redacted_thinking", "data": "x"}],
        [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": ""}],
    ],
)
def test_a_turn_that_only_thought_is_left_out_for_openai(content: list[Any]) -> None:
    sent = to_openai([USER, {"role": "assistant", "content": content}, {"role": "user", "content": "x"}])
    assert sent == [USER, {"role": "user", "content": "x"}]


def test_what_a_tool_has_shown_follows_its_results_for_openai() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    image = {"type": "image", "source": source}
    uses = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in (1, 2)]
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": [image]},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [{"type": "text", "text": "see"}, image],
        },
        {"type": "text", "text": "go on"},
    ]
    sent = to_openai([USER, {"role": "assistant", "content": uses}, {"role": "user", "content": results}])
    assert [one["role"] for one in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert sent[2]["content"]
    assert [part["text"] for part in sent[3]["content"]] == ["The tool failed: ", "see"]
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    told = sent[4]["content"]
    assert [part for part in told if part["type"] == "image_url"] == [shown, shown]
    assert [part["text"] for part in told if part["type"] == "text"][-1] == "go on"
