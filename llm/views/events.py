"""`POST /v1/events`: what the tenant's product did, so that costs can be divided by it.

Invariant: an event counts once, by its id; all events of a body are counted, or none.
"""

from datetime import UTC, datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from billing.planning.events import AHEAD, MOST_AT_ONE_TIME, OLDEST, Event, record
from llm.errors import InvalidRequest
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.client_texts import Text
from llm.views.documented import operation


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Annotated[Text, Field(min_length=1, max_length=100)]
    name: Annotated[Text, Field(min_length=1, max_length=100)]
    feature: Annotated[Text, Field(max_length=200)] = ""
    quantity: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1
    at: AwareDatetime | None = None


class _Events(BaseModel):
    model_config = ConfigDict(extra="forbid")
    events: Annotated[list[_Event], Field(min_length=1, max_length=MOST_AT_ONE_TIME)]


class PostEvents(AsyncAPIView):
    """`POST /v1/events`: up to 1,000 events; sent again they are duplicates."""

    is_limited = True
    max_body_bytes = 2 * 1024 * 1024

    @operation(
        "postEvents",
        "Tell what your product did; unit costs are divided by it. An event counts once, by its id",
        tag="Figures",
        takes=schemas.EventsRequest,
        answers=schemas.EventsAnswer,
        status=201,
        example={"events": [{"id": "invoice-4711", "name": "invoice_summarised", "feature": "invoices"}]},
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        try:
            told = _Events.model_validate(self.read_json(request)).events
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidRequest(first["msg"], param=".".join(map(str, first["loc"]))) from None
        now = datetime.now(UTC)
        events = [_event(one, number, now) for number, one in enumerate(told)]
        counted = await record(self.principal.tenant_id, events)
        return json_response(
            {"object": "events", "counted": counted, "duplicates": len(events) - counted}, status=201
        )


def _event(told: _Event, number: int, now: datetime) -> Event:
    at = told.at or now
    if not now - OLDEST <= at <= now + AHEAD:
        raise InvalidRequest(
            f"An event is at most {OLDEST.days} days old, and not of the future.", param=f"events.{number}.at"
        )
    return Event(told.id, told.name, told.feature, told.quantity, at)
