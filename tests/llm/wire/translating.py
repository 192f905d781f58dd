"""Requests in one protocol, prepared for a provider that speaks another."""

from typing import Any

from llm.providers.kinds import KINDS
from llm.wire import WIRE_FORMATS, Exchange, prepare

CHAT = WIRE_FORMATS["openai_chat"]
MESSAGES = WIRE_FORMATS["anthropic_messages"]
RESPONSES = WIRE_FORMATS["openai_responses"]
USER = {"role": "user", "content": "Hi"}


def to_anthropic(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [USER], **facts}
    return prepare(CHAT, body, kind=KINDS["anthropic"], upstream_model="claude", max_output_tokens=9).body


def to_openai(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **facts}
    return prepare(MESSAGES, body, kind=KINDS["openai"], upstream_model="gpt-4o", max_output_tokens=9).body


def response_to_anthropic(**facts: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "Hi", **facts}
    return prepare(
        RESPONSES, body, kind=KINDS["anthropic"], upstream_model="claude", max_output_tokens=9
    ).body


def exchange(wire: Any, kind: str) -> Exchange:
    body = {"model": "m", "messages": [USER], "max_tokens": 9}
    if wire is RESPONSES:
        body = {"model": "m", "input": "Hi"}
    return prepare(wire, body, kind=KINDS[kind], upstream_model="u", max_output_tokens=9)
