"""Operations on a body that most protocols share; a wire module uses these unless it has its own.

Invariant: pure; a body is never edited in place.
"""

from typing import Any

from billing.usage.reading import reported_usage
from llm.wire.formats import Body
from llm.wire.texts import fields
from llm.wire.texts.sse import encode


def with_model(body: Body, model: str) -> Body:
    return fields.replaced(body, "model", model)


def with_usage_in_stream(body: Body) -> Body:
    return body  # it always is


def usage(response: Body) -> dict[str, Any]:
    return reported_usage(response)


def normal(response: Body) -> Body:
    return response  # written as the protocol wants it


def with_purser(response: Body, block: Body) -> Body:
    return {**response, "purser": block}


def encode_named_event(payload: Body) -> bytes:
    """An event whose name is its payload's type."""
    return encode(payload, event=payload["type"])
