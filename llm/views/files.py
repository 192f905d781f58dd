"""`/v1/files`: upload, list, read, delete.

Invariant: a view parses and renders; what happens to a file happens in `llm.batches.files`.
"""

import asyncio
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError

from llm.batches import files
from llm.errors import InvalidRequest, NotFound, RequestTooLarge
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

    max_body_bytes = files.MAX_FILE_BYTES + _FORM_BYTES

    @operation(
        "uploadFile",
        "Upload a file, such as a batch's lines",
        tag="Files and batches",
        takes=schemas.FileForm,
        request_type="multipart/form-data",
        answers=schemas.FileObject,
        errors=(*OF_EVERY_CALL, 400, 403, 413, 429),
    )
    async def post(self, request: HttpRequest) -> HttpResponse:
        filename, purpose, content = await asyncio.to_thread(_read_form, request)
        if purpose not in files.PURPOSES:
            raise InvalidRequest(f"'purpose' must be one of {', '.join(files.PURPOSES)}.", param="purpose")
        created = await files.store_file(
            self.principal.tenant_id,
            key_id=self.principal.key_id,
            purpose=purpose,
            filename=filename,
            content=content,
            quotas=self.snapshot.policy.quotas,
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
        found, has_more = await files.list_files(
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
        return json_response(await files.find_file(self.principal.tenant_id, public_id=file_id))

    @operation(
        "deleteFile",
        "Delete a file",
        tag="Files and batches",
        answers=schemas.FileDeleted,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def delete(self, request: HttpRequest, file_id: str) -> HttpResponse:
        await files.delete_file(self.principal.tenant_id, public_id=file_id)
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
    async def get(self, request: HttpRequest, file_id: str) -> HttpResponse:
        _, content = await files.read_file(self.principal.tenant_id, public_id=file_id)
        return HttpResponse(content, content_type="application/octet-stream")


def _read_form(request: HttpRequest) -> tuple[str, str, bytes]:
    """The file's name, its purpose and its content, or InvalidRequest naming the part that is missing."""
    try:
        upload = request.FILES.get("file")
        purpose = request.POST.get("purpose", "")
    except MultiPartParserError as error:
        raise InvalidRequest(f"The form cannot be read: {error}.") from None
    if upload is None:
        raise InvalidRequest("A multipart form with a 'file' is needed.", param="file")
    if (upload.size or 0) > files.MAX_FILE_BYTES:
        raise RequestTooLarge(f"The file is larger than {files.MAX_FILE_BYTES} bytes.", param="file")
    return upload.name or "file", purpose, upload.read()
