"""OpenAI responses: requests and whole answers. Streams are in `openai_responses_stream`.

Invariant: pure; a body is never edited in place.
"""

from collections.abc import Iterable
from typing import Any

from billing.usage.reading import fees_of_items, unknown_items
from llm.errors import InvalidRequest
from llm.wire.formats import Body, RequestFacts
from llm.wire.openai_chat_stream import billed_texts
from llm.wire.openai_responses_stream import ResponsesMeter, ResponsesTail, output_text
from llm.wire.openai_responses_stream import events_of as events_of
from llm.wire.openai_responses_stream import replay as replay
from llm.wire.texts import fields
from llm.wire.texts.bodies import encode_named_event
from llm.wire.texts.bodies import normal as normal
from llm.wire.texts.bodies import usage as usage
from llm.wire.texts.bodies import with_model as with_model
from llm.wire.texts.bodies import with_purser as with_purser
from llm.wire.texts.bodies import with_usage_in_stream as with_usage_in_stream
from llm.wire.texts.sse import COMMENT, encode
from llm.wire.turns import Turns
from tenants.errors import Api

api = "openai.responses"
vendor = Api.OPENAI
path = "/responses"
is_chat = True
encode_event = encode_named_event

_SYSTEM_ROLES = ("system", "developer")  # a tuple: a role that is no text at all must not raise
_IMAGE_PARTS = frozenset({"input_image"})
_AUDIO_PARTS = frozenset({"input_audio"})
_KEPT_BY_THE_PROVIDER = ("previous_response_id", "prompt")


def facts(body: Body) -> RequestFacts:
    """Read a responses request, or raise InvalidRequest naming the field that is wrong."""
    _refuse_what_is_kept(body)
    turns = Turns("input")
    if isinstance(body.get("instructions"), str):
        turns.texts.append(body["instructions"])
        turns.system.append(body["instructions"])
    for item in _input_items(body):
        content = item.get("content") if "content" in item else item.get("output") or item.get("arguments")
        turns.read(item, content, system_roles=_SYSTEM_ROLES)
    text_config = body.get("text")
    text_format = text_config.get("format") if isinstance(text_config, dict) else None
    whose = fields.whose(body, "user", "safety_identifier")
    fields.at_most(body, "top_logprobs", fields.MOST_TOP_LOGPROBS)
    references = turns.references(body)
    return RequestFacts(
        model=fields.model_of(body),
        stream=fields.flag(body, "stream"),
        wants_usage=True,
        max_output_tokens=fields.positive_int(body, "max_output_tokens"),
        temperature=fields.number(body, "temperature"),
        has_tools=bool(body.get("tools")),
        has_images=turns.has(_IMAGE_PARTS),
        has_audio=turns.has(_AUDIO_PARTS),
        has_files=turns.has_files,
        wants_json=isinstance(text_format, dict)
        and text_format.get("type") in ("json_object", "json_schema"),
        system="\n".join(turns.system),
        user=whose.person,
        session=whose.session,
        last_user_text=turns.last_user_text,
        texts=tuple(turns.texts),
        message_count=turns.count,
        asks=turns.asks,
        service_tier=fields.text(body, "service_tier"),
        is_continued=bool(references) or any(body.get(name) for name in _KEPT_BY_THE_PROVIDER),
        references=references,
        continues=fields.text(body, "previous_response_id"),
    )


def with_max_tokens(body: Body, max_tokens: int) -> Body:
    return fields.replaced(body, "max_output_tokens", max_tokens)


def usage_context(response: Body) -> dict[str, Any]:
    """The tier that was served, the provider's own count of its tools, and what it put out whose fee is not in the usage."""
    tier, counted = response.get("service_tier"), response.get("tool_usage")
    output = response.get("output")
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    return {
        **({"service_tier": tier} if isinstance(tier, str) else {}),
        **({"tool_usage": counted} if counted else {}),
        **({"tool_calls": fees} if (fees := fees_of_items(items)) else {}),
        **({"unknown_items": kinds} if (kinds := unknown_items(items)) else {}),
    }


def answer_text(response: Body) -> str:
    return output_text(response)


def produced_text(response: Body) -> str:
    return "".join(billed_texts([_output_of(item) for item in response.get("output") or ()]))


def is_complete(response: Body) -> bool:
    """Whether it completed, and with text alone: a call of a tool is half an answer."""
    kinds = {item.get("type") for item in response.get("output") or ()}
    return response.get("status") == "completed" and bool(kinds) and kinds <= {"message", "reasoning"}


def meter() -> ResponsesMeter:
    return ResponsesMeter()


def tail(*, wants_usage: bool) -> ResponsesTail:
    return ResponsesTail()


def misfit(response: Body) -> str:
    output = response.get("output")
    if not isinstance(output, list):
        return "its body has no output"
    return "" if all(isinstance(item, dict) for item in output) else "an item of its output is no object"


def keep_alive() -> bytes:
    return COMMENT


def error_event(error: dict[str, Any], block: Body | None = None) -> bytes:
    """The `error` event, flat as its schema wants it, and nested as the SDKs look for it."""
    flat = {name: error.get(name) for name in ("code", "message", "param")}
    payload: Body = {"type": "error", **flat, "sequence_number": 0, "error": error}
    return encode({**payload, "purser": block} if block else payload, event="error")


def _refuse_what_is_kept(body: Body) -> None:
    """Refuse what a provider would keep or do without us knowing whose it is, or what it costs."""
    if fields.flag(body, "background"):
        raise InvalidRequest(
            "Responses are answered immediately here, not in the background.", param="background"
        )
    if body.get("conversation") is not None:
        raise InvalidRequest(
            "Conversations are not kept here: continue with 'previous_response_id'.", param="conversation"
        )
    previous = body.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise InvalidRequest("Field 'previous_response_id' must be a text.", param="previous_response_id")


def _output_of(item: Body) -> Body:
    return {name: item[name] for name in ("content", "summary", "name", "arguments", "input") if name in item}


def _input_items(body: Body) -> Iterable[dict[str, Any]]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given is None and any(body.get(name) for name in _KEPT_BY_THE_PROVIDER):
        return []
    if not isinstance(given, list):
        raise InvalidRequest("Field 'input' must be a text or a list of items.", param="input")
    return fields.each_object(body, "input")
