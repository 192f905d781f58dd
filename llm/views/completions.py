"""The endpoints that answer with a model's output: parse, run the pipeline, render.

Invariant: every one of them goes through the same pipeline; the wire format is the only difference.
"""

from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from llm import pipeline
from llm.answers import Answer, StreamedAnswer
from llm.call import Call
from llm.headers import parse_headers
from llm.views.base import AsyncAPIView
from llm.wire import format_for
from tenants.outcomes import ClientError

# what chooses a provider's features is passed on to it; the provider client has the last word
PASSED_ON = ("openai-beta", "anthropic-beta", "anthropic-version")


class Completions(AsyncAPIView):
    """One of the completion endpoints; `api` names the protocol its clients speak."""

    api = "openai.chat"

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        wire = format_for(self.api)
        body = self.read_json(request)
        call = Call(
            request_id=self.request_id,
            received_at=self.received_at,
            endpoint=request.path,
            wire=wire,
            body=body,
            body_bytes=len(request.body),
            facts=wire.facts(body),
            headers=parse_headers(request.headers),
            passed_on={name: value for name in PASSED_ON if (value := request.headers.get(name))},
            principal=self.principal,
            snapshot=self.snapshot,
        )
        try:
            answer = await pipeline.answer(call)
        except ClientError as error:
            error.headers.setdefault("x-purser-cache", call.cache_state)
            raise
        return _render(answer)


class ChatCompletions(Completions):
    """`POST /v1/chat/completions`."""


class LegacyCompletions(Completions):
    """`POST /v1/completions`."""

    api = "openai.completions"


class Messages(Completions):
    """`POST /v1/messages`."""

    api = "anthropic.messages"


class Responses(Completions):
    """`POST /v1/responses`."""

    api = "openai.responses"


class Embeddings(Completions):
    """`POST /v1/embeddings`."""

    api = "openai.embeddings"


def _render(answer: Answer | StreamedAnswer) -> HttpResponseBase:
    if isinstance(answer, Answer):
        return HttpResponse(answer.body, content_type="application/json", headers=answer.headers)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **answer.headers}
    return StreamingHttpResponse(_closing(answer), content_type="text/event-stream", headers=headers)


async def _closing(answer: StreamedAnswer) -> AsyncIterator[bytes]:
    """The chunks, with the stream closed at once when the client is gone."""
    try:
        async for chunk in answer.chunks:
            yield chunk
    finally:
        await answer.chunks.aclose()
