"""What the other protocol cannot say is refused by its name."""

from typing import Any

import pytest

from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, Untranslatable, prepare
from tests.llm.wire.translating import response_to_anthropic, to_anthropic, to_openai


def parts(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(given)}]


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 0.1}, "frequency_penalty"),
        ({"temperature": 1.5}, "temperature"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "f", "odd": 1}}]}, "tools.0.function.odd"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"something_new": 1}, "something_new"),
        ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages.0.name"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages.0.role"),
        ({"messages": parts({"type": "input_audio", "input_audio": {}})}, "messages.0.content.0.type"),
        (
            {"messages": parts({"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}})},
            "messages.0.content.0.image_url.detail",
        ),
        (
            {"messages": parts({"type": "file", "file": {"file_id": "f"}})},
            "messages.0.content.0.file.file_id",
        ),
    ],
)
def test_what_anthropic_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_anthropic(**facts)
    assert caught.value.param == param
    assert caught.value.status == 400
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "between"}}, "thinking.type"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": []}]}, "tools.0.input_examples"),
        ({"output_config": {"effort": "beyond"}}, "output_config.effort"),
        (
            {"messages": parts({"type": "image", "source": {"type": "file"}})},
            "messages.0.content.0.source.type",
        ),
        ({"messages": parts({"type": "search_result"})}, "messages.0.content.0.type"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages.0.content.0.type",
        ),
        (
            {"messages": parts({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]})},
            "messages.0.content.0.content.0.source",
        ),
    ],
)
def test_what_openai_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_openai(**facts)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
    ],
)
def test_what_a_stateless_chat_cannot_do_is_refused_by_name(facts: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        response_to_anthropic(**facts)
    assert caught.value.param == param


def test_embeddings_of_an_anthropic_model_are_refused() -> None:
    with pytest.raises(Untranslatable):
        prepare(
            WIRE_FORMATS["openai_embeddings"],
            {"model": "m", "input": "x"},
            kind=KINDS["anthropic"],
            upstream_model="claude",
            max_output_tokens=None,
        )
