"""Anthropic messages: requests and whole answers. Streams are in `anthropic_messages_stream`.

Invariant: pure; a body is never edited in place. `max_tokens` is required by the protocol and always set.
"""

from typing import Any

from llm.errors import ThreadUnsupported
from llm.wire.anthropic_messages_stream import MessagesMeter, MessagesTail, block_text
from llm.wire.anthropic_messages_stream import events_of as events_of
from llm.wire.anthropic_messages_stream import replay as replay
from llm.wire.formats import Body, RequestFacts
from llm.wire.texts import fields
from llm.wire.texts.bodies import encode_named_event
from llm.wire.texts.bodies import usage as usage
from llm.wire.texts.bodies import with_model as with_model
from llm.wire.texts.bodies import with_purser as with_purser
from llm.wire.texts.bodies import with_usage_in_stream as with_usage_in_stream
from llm.wire.texts.sse import encode
from llm.wire.turns import Turns
from tenants.errors import Api

api = "anthropic.messages"
vendor = Api.ANTHROPIC
path = "/v1/messages"
is_chat = True
encode_event = encode_named_event

FAST = "fast"  # a speed of its own, at several times the price: billed as a tier

_IMAGE_PARTS = frozenset({"image"})
_COMPLETE = frozenset({"end_turn", "stop_sequence"})


def facts(body: Body) -> RequestFacts:
    """Read a messages request, or raise InvalidRequest naming the field that is wrong."""
    # what the provider keeps can neither be held for nor be a tenant's own
    if body.get("thread") is not None:
        raise ThreadUnsupported("Send the whole conversation: threads are not kept here.", param="thread")
    turns = Turns("messages")
    turns.system += fields.part_texts(body.get("system"))
    turns.texts += turns.system
    last_user_text = ""
    for message in fields.each_object(body, "messages", required=True):
        turns.read(message, message.get("content"), system_roles=("system",))
        if message.get("role") == "user":
            last_user_text = _own_text(message) or last_user_text
    whose = fields.whose(body.get("metadata"), "user_id")
    output_config = body.get("output_config")
    references = turns.references(body)
    return RequestFacts(
        model=fields.model_of(body),
        stream=fields.flag(body, "stream"),
        wants_usage=True,
        max_output_tokens=fields.positive_int(body, "max_tokens"),
        temperature=fields.number(body, "temperature"),
        has_tools=bool(body.get("tools")),
        has_images=turns.has(_IMAGE_PARTS),
        has_files=turns.has_files,
        wants_json=isinstance(output_config, dict) and bool(output_config.get("format")),
        system="\n".join(turns.system),
        user=whose.person,
        session=whose.session,
        last_user_text=last_user_text,
        texts=tuple(turns.texts),
        message_count=turns.count,
        asks=turns.asks,
        service_tier=FAST if body.get("speed") == FAST else fields.text(body, "service_tier"),
        is_continued=bool(references),
        references=references,
    )


def with_max_tokens(body: Body, max_tokens: int) -> Body:
    return fields.replaced(body, "max_tokens", max_tokens)


def usage_context(response: Body) -> dict[str, Any]:
    """How it was served: the tier, the speed and the region that its usage names."""
    reported = usage(response)
    return {
        name: reported[name]
        for name in ("service_tier", "speed", "inference_geo")
        if isinstance(reported.get(name), str)
    }


def answer_text(response: Body) -> str:
    return "".join(
        block.get("text") or "" for block in response.get("content") or () if block.get("type") == "text"
    )


def produced_text(response: Body) -> str:
    return "".join(block_text(block) for block in response.get("content") or ())


def is_complete(response: Body) -> bool:
    """Whether the model said all it wanted to: a tool call is half an answer, with any stop reason."""
    kinds = {block.get("type") for block in response.get("content") or ()}
    return response.get("stop_reason") in _COMPLETE and "tool_use" not in kinds


def normal(response: Body) -> Body:
    """Some servers give a text where the blocks of the content belong."""
    text = response.get("content")
    return {**response, "content": [{"type": "text", "text": text}]} if isinstance(text, str) else response


def misfit(response: Body) -> str:
    content = response.get("content")
    if not isinstance(content, list):
        return "its body has no content"
    return "" if all(isinstance(block, dict) for block in content) else "a block of its content is no object"


def meter() -> MessagesMeter:
    return MessagesMeter()


def tail(*, wants_usage: bool) -> MessagesTail:
    return MessagesTail()


def keep_alive() -> bytes:
    return encode({"type": "ping"}, event="ping")


def error_event(error: dict[str, Any], block: Body | None = None) -> bytes:
    payload: Body = {"type": "error", "error": error}
    return encode({**payload, "purser": block} if block else payload, event="error")


def _own_text(message: Body) -> str:
    """What the person wrote in a user message: its text parts, not its tool results."""
    content = message.get("content")
    if isinstance(content, list):
        content = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(fields.part_texts(content))
