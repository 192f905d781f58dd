"""Long stable prefixes are marked for Anthropic's cache, and nothing else is touched."""

from typing import Any

from llm.tokens.counting import count_messages
from llm.wire.cache_marks import with_cache_marks

LONG = "All our rules, at length. " * 300
MARK = {"type": "ephemeral"}
ASK = {"role": "user", "content": "Hi"}


def marked(**facts: Any) -> dict[str, Any]:
    body = {"model": "claude-sonnet-4-5", "messages": [ASK], **facts}
    return with_cache_marks(body, count=lambda part: count_messages(part, "claude-sonnet-4-5"))


def test_it_works() -> None:
    body = marked(system=LONG)
    assert body["system"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert body["messages"] == [ASK]


def test_a_short_prefix_is_left_alone() -> None:
    assert marked(system="Be brief.") == {
        "model": "claude-sonnet-4-5",
        "messages": [ASK],
        "system": "Be brief.",
    }


def test_the_clients_own_marks_win() -> None:
    turn = {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": MARK}]}
    assert marked(system=LONG, messages=[turn])["system"] == LONG
    assert marked(system=LONG, cache_control=MARK)["system"] == LONG


def test_tools_without_a_system_prompt_are_marked() -> None:
    tools = [{"name": "a", "input_schema": {}}, {"name": "b", "description": LONG, "input_schema": {}}]
    body = marked(tools=tools)
    assert "cache_control" not in body["tools"][0]
    assert body["tools"][1]["cache_control"] == MARK
    assert "cache_control" not in tools[1]


def test_a_long_conversation_is_marked_at_its_end() -> None:
    turns = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Yes."}, ASK]
    body = marked(messages=turns)
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "Hi", "cache_control": MARK}]
    assert body["messages"][:-1] == turns[:-1]
    assert turns[-1] is ASK
    assert ASK["content"] == "Hi"
