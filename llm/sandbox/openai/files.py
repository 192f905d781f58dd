"""Owns `/v1/files`: what was uploaded and what batches wrote.

Invariant: a file is seen by the key that made it and by no other.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Exchange
from llm.sandbox.state import Sandbox

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MOST_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class File:
    """A stored file."""

    id: str
    key: str
    filename: str
    purpose: str
    content: bytes = field(repr=False)
    created_at: int

    def described(self) -> dict[str, Any]:
        """The file object of the API."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


async def upload_file(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/files."""
    if not exchange.request.content_type.startswith("multipart/"):
        raise ProviderError(400, "The body must be multipart/form-data.")
    form = await exchange.request.post()
    upload, purpose = form.get("file"), form.get("purpose")
    if not isinstance(upload, web.FileField):
        raise ProviderError(400, "'file' is a required property", param="file")
    if purpose not in PURPOSES:
        raise ProviderError(400, f"'purpose' must be one of {', '.join(PURPOSES)}", param="purpose")
    content = upload.file.read()
    stored = store_file(
        exchange.sandbox,
        key=exchange.call.key,
        filename=upload.filename,
        purpose=str(purpose),
        content=content,
    )
    return await exchange.answer(stored.described())


async def list_files(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/files."""
    purpose = exchange.request.query.get("purpose")
    files = [
        file.described()
        for file in exchange.sandbox.files.values()
        if file.key == exchange.call.key and (not purpose or file.purpose == purpose)
    ]
    if exchange.request.query.get("order", "desc") == "desc":
        files.reverse()
    return await exchange.answer(page_of(files, exchange, most=MOST_LISTED))


async def retrieve_file(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/files/{id}."""
    return await exchange.answer(asked_file(exchange).described())


async def read_file(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/files/{id}/content."""
    headers = {"x-request-id": exchange.request_id}
    return web.Response(
        body=asked_file(exchange).content, content_type="application/octet-stream", headers=headers
    )


async def delete_file(exchange: Exchange) -> web.StreamResponse:
    """DELETE /v1/files/{id}."""
    file = asked_file(exchange)
    del exchange.sandbox.files[file.id]
    return await exchange.answer({"id": file.id, "object": "file", "deleted": True})


def store_file(sandbox: Sandbox, *, key: str, filename: str, purpose: str, content: bytes) -> File:
    """Keep a file for a key."""
    file = File(
        id=sandbox.ids.openai("file-"),
        key=key,
        filename=filename,
        purpose=purpose,
        content=content,
        created_at=int(time.time()),
    )
    sandbox.files[file.id] = file
    return file


def asked_file(exchange: Exchange) -> File:
    """The file the URL names; raises 404 when the key has none of that name."""
    file_id = exchange.request.match_info["file_id"]
    return file_of(exchange, file_id)


def file_of(exchange: Exchange, file_id: str) -> File:
    """A file of the caller's by its identifier; raises 404."""
    file = exchange.sandbox.files.get(file_id)
    if not isinstance(file, File) or file.key != exchange.call.key:
        raise ProviderError(404, f"No such File object: {file_id}", param="id", code="not_found")
    return file


def page_of(items: list[dict[str, Any]], exchange: Exchange, *, most: int) -> dict[str, Any]:
    """One page of a list, after the item that `after` names."""
    query = exchange.request.query
    after = query.get("after") or query.get("after_id")
    identifiers = [item["id"] for item in items]
    start = identifiers.index(after) + 1 if after in identifiers else 0
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else most
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(items),
    }
