"""The endpoints that answer with a model's output: parse, run the pipeline, render.

Invariant: every one of them goes through the same pipeline; the wire format is the only difference.
"""

from functools import partial

from django.http import HttpRequest, HttpResponse

from config.door.responses import PlainResponse, Response
from llm import long_work, pipeline
from llm.calls.answers import Answer, StreamedAnswer
from llm.calls.call import Call
from llm.calls.headers import parse_headers
from llm.calls.own_calls import OnBehalfOf
from llm.deferred import accepting
from llm.learning.learner import CallLearner
from llm.providers.passed_on import passed_on_headers
from llm.views import schemas
from llm.views.base import AsyncAPIView
from llm.views.documented import CALL, OF_A_COMPLETION, OF_EVERY_CALL, operation, query
from llm.views.stored_chats import PAGES, TAG, list_stored_chats
from llm.wire import Source, format_for
from tenants.errors import ClientError


class Completions(AsyncAPIView):
    """One of the completion endpoints; `api` names the protocol its clients speak."""

    api = "openai.chat"

    async def post(self, request: HttpRequest) -> Response:
        wire = format_for(self.api)
        given = self.read_json(request)
        model = request.scope.get("model_of_the_path")  # type: ignore[attr-defined]
        body = {"model": model, **given} if model and not given.get("model") else given
        call = Call(
            request_id=self.request_id,
            received_at=self.received_at,
            endpoint=request.path,
            wire=wire,
            source=Source(request.body, given),
            body=body,
            facts=await long_work.done(
                partial(wire.facts, body), size=len(request.body), tenant_id=self.principal.tenant_id
            ),
            headers=parse_headers(request.headers),
            passed_on=passed_on_headers(request.headers, api=self.api),
            principal=self.principal,
            snapshot=self.snapshot,
            learner=CallLearner(OnBehalfOf(self.principal, self.snapshot, self.request_id)),
        )
        accepting.check(call)
        self.is_logged = True  # the pipeline sees to it from here
        try:
            answer = await pipeline.answer(call)
        except ClientError as error:
            error.headers.setdefault("x-purser-cache", call.cache_state)
            raise
        return _accepted(answer) if call.headers.urgency.may_wait else _render(answer)


class ChatCompletions(Completions):
    """`POST /v1/chat/completions`, and `GET` of those that were stored."""

    @operation(
        "createChatCompletion",
        "A chat completion, as OpenAI's",
        tag="Completions",
        takes=schemas.ChatRequest,
        answers=schemas.ChatAnswer,
        example={
            "model": "auto",
            "messages": [{"role": "user", "content": "How do I activate my new card?"}],
        },
        parameters=CALL,
        errors=OF_A_COMPLETION,
        streams=True,
        is_completion=True,
        may_wait=True,
    )
    async def post(self, request: HttpRequest) -> Response:
        return await super().post(request)

    @operation(
        "listChatCompletions",
        "The tenant's stored chat completions",
        tag=TAG,
        answers=schemas.ChatList,
        parameters=(*PAGES, query("model", "Only those that asked for this model.")),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        return await list_stored_chats(self, request)


@operation(
    "createCompletion",
    "A text completion, as OpenAI's older API",
    tag="Completions",
    takes=schemas.CompletionRequest,
    answers=schemas.CompletionAnswer,
    example={"model": "gpt-4o-mini", "prompt": "Name three fruits.", "max_tokens": 40},
    parameters=CALL,
    errors=OF_A_COMPLETION,
    streams=True,
    is_completion=True,
)
class LegacyCompletions(Completions):
    """`POST /v1/completions`."""

    api = "openai.completions"


@operation(
    "createMessage",
    "A message, as Anthropic's",
    tag="Completions",
    takes=schemas.MessagesRequest,
    answers=schemas.MessagesAnswer,
    example={
        "model": "claude-haiku-4-5",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "How do I activate my new card?"}],
    },
    parameters=CALL,
    errors=OF_A_COMPLETION,
    streams=True,
    is_completion=True,
    may_wait=True,
    is_anthropic=True,
)
class Messages(Completions):
    """`POST /v1/messages`."""

    api = "anthropic.messages"


@operation(
    "createResponse",
    "A response, as OpenAI's",
    tag="Completions",
    takes=schemas.ResponsesRequest,
    answers=schemas.ResponsesAnswer,
    example={"model": "gpt-4o-mini", "input": "How do I activate my new card?"},
    parameters=CALL,
    errors=OF_A_COMPLETION,
    streams=True,
    is_completion=True,
    may_wait=True,
)
class Responses(Completions):
    """`POST /v1/responses`."""

    api = "openai.responses"


@operation(
    "createEmbeddings",
    "Vectors of texts, as OpenAI's",
    tag="Completions",
    takes=schemas.EmbeddingsRequest,
    answers=schemas.EmbeddingsAnswer,
    example={"model": "text-embedding-3-small", "input": ["first text", "second text"]},
    parameters=CALL,
    errors=OF_A_COMPLETION,
    is_completion=True,
)
class Embeddings(Completions):
    """`POST /v1/embeddings`."""

    api = "openai.embeddings"


def _accepted(job: Answer | StreamedAnswer) -> HttpResponse:
    """A job in place of an answer."""
    assert isinstance(job, Answer)
    return HttpResponse(job.body, status=202, content_type="application/json", headers=job.headers)


def _render(answer: Answer | StreamedAnswer) -> PlainResponse:
    if isinstance(answer, Answer):
        return PlainResponse(answer.body, content_type="application/json", headers=answer.headers)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no", **answer.headers}
    return PlainResponse(answer.chunks, content_type="text/event-stream", headers=headers)
