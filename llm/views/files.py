"""`/v1/files`: upload, list, read, delete.

Invariant: a view parses and renders; what happens to a file happens in `llm.files`.
"""

from typing import Final

from django.http import HttpRequest, HttpResponse

from config.door.requests import GatewayRequest
from config.door.responses import Pieces, PlainResponse
from llm.batches.checking import Check
from llm.errors import NotFound
from llm.files import stored, transfers, uploads
from llm.views import schemas
from llm.views.base import AsyncAPIView, api_of, json_response
from llm.views.documented import OF_A_LOOK_UP, OF_EVERY_CALL, operation, query
from llm.views.pages import page_of, page_parameters
from tenants.errors import Api

_FORM_BYTES: Final = 64 * 1024  # what a form may be larger than its file


class _OfOpenAI(AsyncAPIView):
    """A page of OpenAI's API, whose address Anthropic's has, too."""

    is_limited = True

    async def initial_checks(self, request: HttpRequest) -> None:
        await super().initial_checks(request)
        if api_of(request) == Api.ANTHROPIC:
            raise NotFound("Anthropic's Files API is not here: send the file's content in the message.")


class Files(_OfOpenAI):
    """`POST /v1/files` (multipart: `file`, `purpose`) and `GET /v1/files?purpose=&after=&limit=&order=`."""

    max_body_bytes = stored.MAX_FILE_BYTES + _FORM_BYTES
    is_body_streamed = True

    @operation(
        "uploadFile",
        "Upload a file, such as a batch's lines",
        tag="Files and batches",
        takes=schemas.FileForm,
        request_type="multipart/form-data",
        answers=schemas.FileObject,
        errors=(*OF_EVERY_CALL, 400, 403, 413, 429),
    )
    async def post(self, request: GatewayRequest) -> HttpResponse:
        tenant_id, snapshot = self.principal.tenant_id, self.snapshot
        key_id, at = self.principal.key_id, self.received_at
        with transfers.transfer(tenant_id):
            created = await uploads.upload(
                request.pieces(),
                content_type=request.headers.get("content-type", ""),
                place=stored.Place.of(tenant_id, key_id=key_id, quotas=snapshot.policy.quotas),
                check_of=lambda pieces: Check(pieces, snapshot=snapshot, key_id=key_id, at=at),
            )
        return json_response(created)

    @operation(
        "listFiles",
        "The tenant's files",
        tag="Files and batches",
        answers=schemas.FileList,
        parameters=(
            *page_parameters("1 to 10000, 10000 by default."),
            query("purpose", "Only files of this purpose."),
        ),
        errors=(*OF_EVERY_CALL, 400, 429),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        page = page_of(request, largest=10_000, default=10_000)
        found, has_more = await stored.list_files(
            self.principal.tenant_id,
            purpose=request.GET.get("purpose", ""),
            after=page.after,
            limit=page.limit,
            is_ascending=page.is_ascending,
        )
        return json_response(page.render(found, has_more=has_more))


class File(_OfOpenAI):
    """`GET` and `DELETE /v1/files/{id}`."""

    @operation(
        "getFile",
        "One file",
        tag="Files and batches",
        answers=schemas.FileObject,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest, file_id: str) -> HttpResponse:
        return json_response(await stored.find_file(self.principal.tenant_id, public_id=file_id))

    @operation(
        "deleteFile",
        "Delete a file",
        tag="Files and batches",
        answers=schemas.FileDeleted,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def delete(self, request: HttpRequest, file_id: str) -> HttpResponse:
        await stored.delete_file(self.principal.tenant_id, public_id=file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})


class FileContent(_OfOpenAI):
    """`GET /v1/files/{id}/content`: the bytes as they were uploaded or written."""

    @operation(
        "readFile",
        "A file's bytes",
        tag="Files and batches",
        content_type="application/octet-stream",
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest, file_id: str) -> PlainResponse:
        size, content = await transfers.download(self.principal.tenant_id, public_id=file_id)
        return PlainResponse(
            Pieces(content), content_type="application/octet-stream", headers={"content-length": str(size)}
        )
