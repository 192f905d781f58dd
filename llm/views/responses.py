"""`/v1/responses/{id}`: the responses that a provider keeps for the tenant.

Invariant: only the tenant whose call made a response may see or delete it; what its provider says of it passes
unchanged.
"""

from urllib.parse import quote

from django.http import HttpRequest, HttpResponse

from llm.errors import InvalidRequest, NotFound
from llm.kept import responses as kept_responses
from llm.providers import client
from llm.providers.errors import ProviderRejected
from llm.providers.target import Target
from llm.views import schemas
from llm.views.base import AsyncAPIView
from llm.views.documented import OF_A_LOOK_UP, operation, query

ERRORS = (*OF_A_LOOK_UP, 502, 504)


class _Kept(AsyncAPIView):
    """A response that is kept for this tenant."""

    async def ask(self, method: str, response_id: str, *, below: str = "", asked: str = "") -> HttpResponse:
        """What the response's provider answers, or NotFound where it is not this tenant's or kept no more."""
        kept = await kept_responses.find(self.principal.tenant_id, response_id)
        path = f"/responses/{quote(response_id, safe='')}{below}"
        try:
            body = await client.ask(self._account(kept, response_id), method, path, query=asked)
        except ProviderRejected as rejected:
            if rejected.upstream_status == 404:
                raise NotFound(f"There is no response '{response_id}' any more.") from None
            raise
        return HttpResponse(body, content_type="application/json")

    def _account(self, kept: kept_responses.Kept, response_id: str) -> Target:
        for target in self.snapshot.catalog:
            for account in self.snapshot.catalog.accounts_of(target):
                if account.provider == kept.provider and account.kind.keeps_responses:
                    return account
        raise NotFound(f"The account that kept the response '{response_id}' is not served any more.")


class Response(_Kept):
    """`GET` and `DELETE /v1/responses/{id}`."""

    @operation(
        "getResponse", "A kept response", tag="Completions", answers=schemas.KeptResponse, errors=ERRORS
    )
    async def get(self, request: HttpRequest, response_id: str) -> HttpResponse:
        if request.GET.get("stream") == "true":
            raise InvalidRequest("A kept response is not streamed.", param="stream")
        return await self.ask("GET", response_id, asked=request.META.get("QUERY_STRING", ""))

    @operation(
        "deleteResponse",
        "Delete a kept response",
        tag="Completions",
        answers=schemas.ResponseDeleted,
        errors=ERRORS,
    )
    async def delete(self, request: HttpRequest, response_id: str) -> HttpResponse:
        answer = await self.ask("DELETE", response_id)
        await kept_responses.forget(self.principal.tenant_id, response_id)
        return answer


class CancelResponse(_Kept):
    """`POST /v1/responses/{id}/cancel`."""

    @operation(
        "cancelResponse", "Cancel a response", tag="Completions", answers=schemas.KeptResponse, errors=ERRORS
    )
    async def post(self, request: HttpRequest, response_id: str) -> HttpResponse:
        return await self.ask("POST", response_id, below="/cancel")


class InputItems(_Kept):
    """`GET /v1/responses/{id}/input_items`."""

    @operation(
        "listInputItems",
        "What a kept response was asked",
        tag="Completions",
        answers=schemas.InputItemList,
        parameters=(
            query("after", "The last item of the page before."),
            query("limit", "1 to 100, 20 by default.", kind=int),
            query("order", "Newest first by default.", "asc", "desc"),
        ),
        errors=ERRORS,
    )
    async def get(self, request: HttpRequest, response_id: str) -> HttpResponse:
        asked = request.META.get("QUERY_STRING", "")
        return await self.ask("GET", response_id, below="/input_items", asked=asked)
