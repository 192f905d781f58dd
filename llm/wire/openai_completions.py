"""OpenAI's legacy completions: a prompt and its continuation.

Invariant: pure; a body is never edited in place. Streams share their shape with chat: choices, a finish,
usage, an end mark.
"""

from collections.abc import Iterator
from typing import Any

from billing.usage.reading import merged, reported_usage
from llm.errors import InvalidRequest
from llm.wire.formats import Body, RequestFacts
from llm.wire.openai_chat import encode_event as encode_event
from llm.wire.openai_chat import error_event as error_event
from llm.wire.openai_chat import keep_alive as keep_alive
from llm.wire.openai_chat import usage_context as usage_context
from llm.wire.openai_chat import with_usage_in_stream as with_usage_in_stream
from llm.wire.openai_chat_stream import ChatTail, cut_usage
from llm.wire.texts import fields
from llm.wire.texts.bodies import normal as normal
from llm.wire.texts.bodies import usage as usage
from llm.wire.texts.bodies import with_model as with_model
from llm.wire.texts.bodies import with_purser as with_purser
from llm.wire.texts.sse import DONE, encode
from tenants.errors import Api

api = "openai.completions"
vendor = Api.OPENAI
path = "/completions"
is_chat = False

MOST_OF = 20
_CHUNK_FIELDS = ("id", "created", "model", "system_fingerprint")


def facts(body: Body) -> RequestFacts:
    """Read a completion request, or raise InvalidRequest naming the field that is wrong."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str | list) or not prompt:
        raise InvalidRequest("Field 'prompt' must be a text, a list of texts or tokens.", param="prompt")
    texts = tuple(fields.part_texts(prompt))
    options = body.get("stream_options")
    prompts = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    fields.at_most(body, "best_of", MOST_OF)
    answers = max(
        fields.positive_int_up_to(body, "n", fields.MOST_ANSWERS) or 1, fields.limit(body, "best_of") or 1
    )
    whose = fields.whose(body, "user")
    return RequestFacts(
        model=fields.model_of(body),
        stream=fields.flag(body, "stream"),
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_output_tokens=fields.positive_int(body, "max_tokens"),
        n=answers * prompts,
        temperature=fields.number(body, "temperature"),
        user=whose.person,
        session=whose.session,
        last_user_text=texts[-1] if texts else "",
        texts=texts,
        message_count=prompts,
    )


def with_max_tokens(body: Body, max_tokens: int) -> Body:
    return fields.replaced(body, "max_tokens", max_tokens)


def answer_text(response: Body) -> str:
    choices = response.get("choices") or [{}]
    return choices[0].get("text") or ""


def produced_text(response: Body) -> str:
    return "".join(choice.get("text") or "" for choice in response.get("choices") or ())


def is_complete(response: Body) -> bool:
    choices = response.get("choices") or []
    return bool(choices) and all(choice.get("finish_reason") == "stop" for choice in choices)


def meter() -> "CompletionMeter":
    return CompletionMeter()


def tail(*, wants_usage: bool) -> ChatTail:
    return ChatTail(wants_usage=wants_usage)


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    """Send a stored answer as a stream, one chunk per choice; then usage if asked for."""
    chunks = _chunks(response, wants_usage=wants_usage)
    yield from (encode(chunk) for chunk in chunks[:-1])
    yield encode({**chunks[-1], "purser": block}) + DONE


def events_of(response: Body) -> Iterator[Body]:
    yield from _chunks(response, wants_usage=True)


def misfit(response: Body) -> str:
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        return "its body has no choices"
    return "" if all(isinstance(choice, dict) for choice in choices) else "a choice is no object"


def _chunks(response: Body, *, wants_usage: bool) -> list[Body]:
    envelope = {
        "object": "text_completion",
        **{name: response[name] for name in _CHUNK_FIELDS if name in response},
    }
    chunks = [{**envelope, "choices": [choice]} for choice in response.get("choices") or ()]
    if wants_usage:
        chunks.append({**envelope, "choices": [], "usage": response.get("usage")})
    return chunks


class CompletionMeter:
    """Follows a stream of a legacy completion."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.is_usage_final = True
        self.finish_reason: str | None = None
        self.has_output = False
        self._envelope: Body = {}
        self._texts: dict[int, list[str]] = {}
        self._ends: dict[int, Body] = {}
        self._is_finished = False

    def feed(self, payload: Body) -> None:
        if reported := reported_usage(payload):
            self.usage = merged(self.usage or {}, reported)
        self._envelope.update(
            (name, payload[name]) for name in _CHUNK_FIELDS if payload.get(name) is not None
        )
        for part in payload.get("choices") or ():
            index = part.get("index") or 0
            text = part.get("text") or ""
            self._texts.setdefault(index, []).append(text)
            self.has_output = self.has_output or bool(text)
            if part.get("finish_reason"):
                self.finish_reason = part["finish_reason"]
                self._ends[index] = {name: value for name, value in part.items() if name != "text"}

    @property
    def has_ended(self) -> bool:
        return self._is_finished or (bool(self._texts) and self._texts.keys() == self._ends.keys())

    @property
    def is_exact(self) -> bool:
        return True

    def end(self) -> None:
        self._is_finished = bool(self._texts)

    def text(self) -> str:
        return "".join(piece for pieces in self._texts.values() for piece in pieces)

    def response(self) -> Body:
        choices = [
            {
                "index": index,
                "finish_reason": None,
                "logprobs": None,
                **self._ends.get(index, {}),
                "text": "".join(pieces),
            }
            for index, pieces in sorted(self._texts.items())
        ]
        whole: Body = {"object": "text_completion", **self._envelope, "choices": choices}
        return {**whole, "usage": self.usage} if self.usage is not None else whole

    def cut_short(self, *, input_tokens: int, output_tokens: int) -> list[Body]:
        envelope: Body = {"object": "text_completion", **self._envelope}
        ends = [
            {"index": index, "text": "", "logprobs": None, "finish_reason": "length"}
            for index in sorted(self._texts.keys() - self._ends.keys()) or [0]
        ]
        usage = cut_usage(input_tokens, output_tokens)
        return [{**envelope, "choices": [end]} for end in ends] + [
            {**envelope, "choices": [], "usage": usage}
        ]
