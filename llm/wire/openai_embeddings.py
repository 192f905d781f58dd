"""OpenAI embeddings: requests and answers. There is no stream.

Invariant: pure; a body is never edited in place.
"""

from collections.abc import Iterator
from typing import Any

from llm.errors import InvalidRequest
from llm.wire.formats import Body, RequestFacts
from llm.wire.openai_chat import encode_event as encode_event
from llm.wire.openai_chat import error_event as error_event
from llm.wire.openai_chat import keep_alive as keep_alive
from llm.wire.openai_chat_stream import ChatMeter, ChatTail
from llm.wire.texts import fields
from llm.wire.texts.bodies import normal as normal
from llm.wire.texts.bodies import usage as usage
from llm.wire.texts.bodies import with_model as with_model
from llm.wire.texts.bodies import with_purser as with_purser
from llm.wire.texts.bodies import with_usage_in_stream as with_usage_in_stream
from tenants.errors import Api

api = "openai.embeddings"
vendor = Api.OPENAI
path = "/embeddings"
is_chat = False


def facts(body: Body) -> RequestFacts:
    """Read an embeddings request, or raise InvalidRequest naming the field that is wrong."""
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        raise InvalidRequest("Field 'input' must be a text, a list of texts or tokens.", param="input")
    texts = tuple(fields.part_texts(given))
    whose = fields.whose(body, "user")
    return RequestFacts(
        model=fields.model_of(body),
        user=whose.person,
        session=whose.session,
        last_user_text=texts[-1] if texts else "",
        texts=texts,
        message_count=len(given) if isinstance(given, list) else 1,
    )


def with_max_tokens(body: Body, max_tokens: int) -> Body:
    return body  # an embedding has no output tokens


def usage_context(response: Body) -> dict[str, Any]:
    return {}


def answer_text(response: Body) -> str:
    return ""


def produced_text(response: Body) -> str:
    return ""


def is_complete(response: Body) -> bool:
    return bool(response.get("data"))


def misfit(response: Body) -> str:
    return "" if isinstance(response.get("data"), list) else "its body has no data"


def events_of(response: Body) -> Iterator[Body]:
    raise InvalidRequest("Embeddings are not streamed.", param="stream")


def meter() -> ChatMeter:
    raise InvalidRequest("Embeddings are not streamed.", param="stream")


def tail(*, wants_usage: bool) -> ChatTail:
    raise InvalidRequest("Embeddings are not streamed.", param="stream")


def replay(response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
    raise InvalidRequest("Embeddings are not streamed.", param="stream")
