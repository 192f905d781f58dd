"""Stored chat completions: list them, look them up, change their metadata, delete them; what was sent in them.

Invariant: a view parses and renders; `llm.kept.chats` decides what is kept, and for whom.
"""

from django.http import HttpRequest, HttpResponse
from pydantic import BaseModel, ValidationError

from llm.errors import InvalidRequest
from llm.kept import chats as stored_chats
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Metadata
from llm.views.documented import OF_A_LOOK_UP, operation
from llm.views.pages import page_of, page_parameters
from llm.wire import Body

PAGES = page_parameters("0 to 100, 20 by default.")
TAG = "Stored chat completions"


class _Update(BaseModel):
    metadata: Metadata | None


class StoredChat(AsyncAPIView):
    """`GET`, `POST` (its metadata) and `DELETE /v1/chat/completions/{id}`."""

    @operation("getChatCompletion", "A stored chat completion", tag=TAG, answers=schemas.ChatAnswer)
    async def get(self, request: HttpRequest, completion_id: str) -> HttpResponse:
        return json_response((await stored_chats.find(self.principal.tenant_id, completion_id)).answer)

    @operation(
        "updateChatCompletion",
        "Change a stored chat completion's metadata",
        tag=TAG,
        takes=schemas.MetadataUpdate,
        answers=schemas.ChatAnswer,
        example={"metadata": {"topic": "cards"}},
        errors=(*OF_A_LOOK_UP, 413),
    )
    async def post(self, request: HttpRequest, completion_id: str) -> HttpResponse:
        try:
            update = _Update.model_validate(self.read_json(request))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidRequest(first["msg"], param=".".join(map(str, first["loc"]))) from None
        found = await stored_chats.set_metadata(
            self.principal.tenant_id, completion_id, metadata=update.metadata or {}
        )
        return json_response(found.answer)

    @operation(
        "deleteChatCompletion", "Forget a stored chat completion", tag=TAG, answers=schemas.ChatDeleted
    )
    async def delete(self, request: HttpRequest, completion_id: str) -> HttpResponse:
        await stored_chats.delete(self.principal.tenant_id, completion_id)
        return json_response({"id": completion_id, "object": "chat.completion.deleted", "deleted": True})


class StoredChatMessages(AsyncAPIView):
    """`GET /v1/chat/completions/{id}/messages`."""

    @operation(
        "listChatCompletionMessages",
        "What a stored chat completion was asked",
        tag=TAG,
        answers=schemas.ChatMessageList,
        parameters=PAGES,
    )
    async def get(self, request: HttpRequest, completion_id: str) -> HttpResponse:
        found = await stored_chats.find(self.principal.tenant_id, completion_id)
        page = page_of(request, largest=100, default=20, order="asc")
        messages = [_message(turn, f"{completion_id}-{number}") for number, turn in enumerate(found.asked)]
        ordered = messages if page.is_ascending else messages[::-1]
        ids = [message["id"] for message in ordered]
        begin = ids.index(page.after) + 1 if page.after in ids else 0
        end = begin + page.limit
        return json_response(page.render(ordered[begin:end], has_more=end < len(ordered)))


async def list_stored_chats(view: AsyncAPIView, request: HttpRequest) -> HttpResponse:
    """`GET /v1/chat/completions`: oldest first, as OpenAI lists them."""
    page = page_of(request, largest=100, default=20, order="asc")
    wanted = {
        name.removeprefix("metadata[").removesuffix("]"): str(value)
        for name, value in request.GET.items()
        if name.startswith("metadata[")
    }
    found, has_more = await stored_chats.list_chats(
        view.principal.tenant_id,
        model=request.GET.get("model", ""),
        metadata=wanted,
        after=page.after,
        limit=page.limit,
        is_ascending=page.is_ascending,
    )
    return json_response(page.render(found, has_more=has_more))


def _message(turn: Body, identity: str) -> Body:
    """A message as it is listed: its text alone, or its text and its parts."""
    content = turn.get("content")
    parts = content if isinstance(content, list) else None
    listed = {"refusal": None, "name": None, **turn, "id": identity, "content_parts": parts}
    return {**listed, "content": None if parts else content}
