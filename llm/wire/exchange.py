"""One request between two protocols: the client's, and the one its model's provider speaks.

Invariant: where both are the same, what we do not need to change passes unchanged, in both directions.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

import orjson

from config.values import value_type
from llm.errors import InvalidRequest
from llm.wire import anthropic_messages, openai_chat, openai_completions, openai_embeddings, openai_responses
from llm.wire.formats import Body, WireFormat
from llm.wire.texts import fields
from llm.wire.texts.splicing import Source
from llm.wire.texts.sse import splice_purser
from llm.wire.translation import TRANSLATIONS, Translation
from llm.wire.untranslatable import Untranslatable

# by the name of their module
WIRE_FORMATS: Final[Mapping[str, WireFormat]] = {
    "openai_chat": openai_chat,
    "openai_completions": openai_completions,
    "openai_embeddings": openai_embeddings,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic_messages,
}
_BY_API: Final = {wire.api: wire for wire in WIRE_FORMATS.values()}


class Answering(Protocol):
    """A kind of provider, as far as it matters here."""

    @property
    def name(self) -> str: ...

    @property
    def answers(self) -> Mapping[str, str]:
        """Which of its APIs answers which of the client's."""
        ...


@value_type
class Exchange:
    """What goes to the provider, and how its answer becomes the client's."""

    client: WireFormat
    upstream: WireFormat
    body: Body
    translation: Translation | None
    let_go: tuple[str, ...] = ()  # hints that the provider does not get, by name
    source: Source | None = None  # what the client sent, where its protocol is the provider's

    @property
    def is_native(self) -> bool:
        """Whether the provider is asked in the client's own protocol."""
        return self.translation is None

    def limited(self, max_output_tokens: int | None) -> "Exchange":
        """The same exchange with this limit of output; itself where there is none to set."""
        if max_output_tokens is None:
            return self
        return replace(self, body=self.upstream.with_max_tokens(self.body, max_output_tokens))

    def payload(self) -> bytes:
        """The request body as it is sent: the client's bytes, but for what had to be changed. Raises InvalidRequest for
        what JSON cannot say."""
        try:
            return self.source.rewritten(self.body) if self.source else orjson.dumps(self.body)
        except orjson.JSONEncodeError as error:
            raise InvalidRequest(f"The request cannot be written as JSON: {error}.") from None

    def answer(self, reply: Body) -> Body:
        """The provider's answer in the client's protocol; the same object where they agree."""
        return self.translation.response(reply) if self.translation else reply

    def answer_bytes(self, answer: Body, raw: bytes, block: Body) -> bytes:
        """What the client gets: the provider's own bytes with our `purser` object, or the translated answer."""
        if self.translation is None:
            return splice_purser(raw, block)
        return orjson.dumps(self.client.with_purser(answer, block), default=str)


@value_type
class Translated:
    """A client's request in the protocol of a kind of provider, for whichever of its models. Serves any number of attempts."""

    client: WireFormat
    upstream: WireFormat
    body: Body
    translation: Translation | None

    def for_model(
        self, upstream_model: str, *, max_output_tokens: int | None = None, source: Source | None = None
    ) -> Exchange:
        """What goes to a model. `source` is what the client's body was made of; what is the same in both goes out byte for
        byte."""
        body = self.upstream.with_model(self.body, upstream_model)
        let_go = list(self.translation.let_go) if self.translation else []
        if self.translation and "reasoning_effort" in body and openai_chat.cannot_reason(upstream_model):
            body = fields.without(body, "reasoning_effort")
            let_go.append("reasoning_effort")
        body = self.upstream.with_usage_in_stream(body)
        source = None if self.translation else source
        exchange = Exchange(self.client, self.upstream, body, self.translation, tuple(let_go), source)
        return exchange.limited(max_output_tokens)


def translated(client: WireFormat, body: Body, *, kind: Answering) -> Translated:
    """A client's request as a kind of provider takes it, or Untranslatable naming what has no counterpart."""
    api = kind.answers.get(client.api)
    if api is None:
        raise Untranslatable("model", target=f"a provider of kind {kind.name}, which has no {client.path}")
    upstream = _BY_API[api]
    if upstream is client:
        return Translated(client, upstream, body, None)
    translation = TRANSLATIONS[client.api, api](body)
    try:
        return Translated(client, upstream, translation.request(), translation)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a field of a type that no SDK writes
        raise InvalidRequest(f"The request cannot be read ({type(error).__name__}).") from None


def prepare(
    client: WireFormat,
    body: Body,
    *,
    kind: Answering,
    upstream_model: str,
    max_output_tokens: int | None,
    source: Source | None = None,
) -> Exchange:
    """Make the provider's request of a client's, or raise Untranslatable naming what has no counterpart."""
    request = translated(client, body, kind=kind)
    return request.for_model(upstream_model, max_output_tokens=max_output_tokens, source=source)


def stored_bytes(client: WireFormat, answer: Body, block: Body) -> bytes:
    """A stored answer as a whole body."""
    return orjson.dumps(client.with_purser(answer, block), default=str)


def format_for(api: str) -> WireFormat:
    """The protocol by its name in the ledger."""
    return _BY_API[api]
