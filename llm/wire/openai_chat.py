"""OpenAI chat completions: requests and whole answers. Streams are in `openai_chat_stream`.

Invariant: pure; a body is never edited in place.
"""

import re
from typing import Any

from llm.errors import InvalidRequest
from llm.wire.formats import Body, RequestFacts
from llm.wire.openai_chat_stream import ChatMeter, ChatTail, billed_texts
from llm.wire.openai_chat_stream import events_of as events_of
from llm.wire.openai_chat_stream import replay as replay
from llm.wire.texts import fields
from llm.wire.texts.bodies import normal as normal
from llm.wire.texts.bodies import usage as usage
from llm.wire.texts.bodies import with_model as with_model
from llm.wire.texts.bodies import with_purser as with_purser
from llm.wire.texts.message_texts import text_of, without_repeated_reasoning
from llm.wire.texts.sse import COMMENT, encode
from llm.wire.turns import Turns
from tenants.errors import Api

api = "openai.chat"
vendor = Api.OPENAI
path = "/chat/completions"
is_chat = True

_SYSTEM_ROLES = ("system", "developer")  # a tuple: a role that is no text at all must not raise
_IMAGE_PARTS = frozenset({"image_url"})
_AUDIO_PARTS = frozenset({"input_audio"})
# models that take only `max_completion_tokens`; the older name is all that many compatible servers know
_WITHOUT_REASONING = re.compile(r"(?:ft:)?(?:gpt-[34]|chatgpt-4)")  # refuse an effort
_NEW_LIMIT_FIELD = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))")


def facts(body: Body) -> RequestFacts:
    """Read a chat request, or raise InvalidRequest naming the field that is wrong."""
    turns = Turns("messages")
    for message in fields.each_object(body, "messages", required=True):
        turns.read(message, message.get("content"), system_roles=_SYSTEM_ROLES)
    response_format = body.get("response_format")
    whose = fields.whose(body, "user", "safety_identifier")
    fields.at_most(body, "top_logprobs", fields.MOST_TOP_LOGPROBS)
    references = turns.references(body)
    return RequestFacts(
        model=fields.model_of(body),
        stream=fields.flag(body, "stream"),
        wants_usage=_wants_usage(body),
        max_output_tokens=fields.limit(body, "max_completion_tokens") or fields.limit(body, "max_tokens"),
        n=fields.positive_int_up_to(body, "n", fields.MOST_ANSWERS) or 1,
        temperature=fields.number(body, "temperature"),
        has_tools=bool(body.get("tools") or body.get("functions")),
        has_images=turns.has(_IMAGE_PARTS),
        has_audio=turns.has(_AUDIO_PARTS),
        has_files=turns.has_files,
        wants_json=isinstance(response_format, dict)
        and response_format.get("type") in ("json_object", "json_schema"),
        system="\n".join(turns.system),
        user=whose.person,
        session=whose.session,
        last_user_text=turns.last_user_text,
        texts=tuple(turns.texts),
        message_count=turns.count,
        asks=turns.asks,
        service_tier=fields.text(body, "service_tier"),
        is_continued=bool(references),
        references=references,
    )


def with_max_tokens(body: Body, max_tokens: int) -> Body:
    """Set the limit under the name that the body's model takes; the client's own name stays where both do."""
    takes_new_name = bool(_NEW_LIMIT_FIELD.match(str(body.get("model", "")).rpartition("/")[2]))
    if takes_new_name or body.get("max_completion_tokens") is not None:
        return fields.replaced(fields.without(body, "max_tokens"), "max_completion_tokens", max_tokens)
    return fields.replaced(fields.without(body, "max_completion_tokens"), "max_tokens", max_tokens)


def cannot_reason(model: str) -> bool:
    """Whether a model is known to refuse `reasoning_effort`."""
    return _WITHOUT_REASONING.match(model) is not None


def with_usage_in_stream(body: Body) -> Body:
    if not body.get("stream") or _wants_usage(body):
        return body
    return {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}


def usage_context(response: Body) -> dict[str, Any]:
    tier = response.get("service_tier")
    return {"service_tier": tier} if isinstance(tier, str) else {}


def answer_text(response: Body) -> str:
    """The text of the first choice."""
    choices = response.get("choices") or [{}]
    return text_of(choices[0].get("message") or {})


def produced_text(response: Body) -> str:
    messages = [choice.get("message") or {} for choice in response.get("choices") or ()]
    return "".join(billed_texts([without_repeated_reasoning(message) for message in messages]))


def is_complete(response: Body) -> bool:
    choices = response.get("choices") or []
    return bool(choices) and all(
        choice.get("finish_reason") == "stop" and not calls_tools(choice.get("message") or {})
        for choice in choices
    )


def calls_tools(message: Body) -> bool:
    """Whether it is half an answer, with any finish reason."""
    return bool(message.get("tool_calls") or message.get("function_call"))


def misfit(response: Body) -> str:
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        return "its body has no choices"
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            return "a choice has no message"
        calls = choice["message"].get("tool_calls")
        if calls and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            return "its calls of tools are no objects"
    return ""


def meter() -> ChatMeter:
    return ChatMeter()


def tail(*, wants_usage: bool) -> ChatTail:
    return ChatTail(wants_usage=wants_usage)


def encode_event(payload: Body) -> bytes:
    return encode(payload)


def keep_alive() -> bytes:
    return COMMENT


def error_event(error: dict[str, Any], block: Body | None = None) -> bytes:
    return encode({"error": error, **({"purser": block} if block else {})})


def _wants_usage(body: Body) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidRequest("Field 'stream_options' must be an object.", param="stream_options")
    return options.get("include_usage") is True
