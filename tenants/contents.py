"""The contents of files: in Django's storage `files`, streamed both ways.

Invariant: a content's name begins with its tenant and goes on with what nobody guesses; under another tenant's number it is
not read and not removed. What is still arriving is a temporary file without a name, which ends with its process.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Final, TypeVar

import structlog
from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages

T = TypeVar("T")

PIECE_BYTES: Final = 256 * 1024
THREADS: Final = 4

log = structlog.get_logger(__name__)
_threads = ThreadPoolExecutor(THREADS, "files")


class ContentMissing(Exception):
    """The storage does not have the content that the database names."""


def new_location(tenant_id: int) -> str:
    """The name of a content to come."""
    return f"{tenant_id}/{secrets.token_hex(16)}"


def spool() -> IO[bytes]:
    """A temporary file without a name, beside the storage and not in memory."""
    return tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)


def save(tenant_id: int, location: str, content: IO[bytes]) -> None:
    """Keep all of a file, from its start, under this name."""
    _check(tenant_id, location)
    content.seek(0)
    name = _storage().save(location, File(content, name=location))
    if name != location:
        _storage().delete(name)
        raise FileExistsError(location)


def pieces_of(tenant_id: int, location: str) -> Iterator[bytes]:
    """A content, piece by piece. Raises ContentMissing."""
    with opened_now(tenant_id, location) as content:
        while piece := content.read(PIECE_BYTES):
            yield piece


def remove(tenant_id: int, location: str) -> None:
    """Remove a content; nothing where there is none."""
    _check(tenant_id, location)
    _storage().delete(location)


async def opened(tenant_id: int, location: str) -> File[Any]:
    """A content, to be streamed. Raises ContentMissing."""
    return await in_thread(lambda: opened_now(tenant_id, location))


def opened_now(tenant_id: int, location: str) -> File[Any]:
    """The same for callers that may wait."""
    _check(tenant_id, location)
    try:
        content = _storage().open(location, "rb")
        content.seek(0)  # of S3, this is when it is read
    except FileNotFoundError:
        log.error("file_content_missing", tenant_id=tenant_id, location=location)
        raise ContentMissing(location) from None
    return content


async def stream(content: File[Any]) -> AsyncGenerator[bytes, None]:
    """An opened content, piece by piece, to whoever reads it at whatever speed; it is closed at the end."""
    try:
        while piece := await in_thread(lambda: content.read(PIECE_BYTES)):
            yield piece
    finally:
        await asyncio.shield(in_thread(content.close))


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, done by one of the few threads for files."""
    return await asyncio.get_running_loop().run_in_executor(_threads, work)


def _check(tenant_id: int, location: str) -> None:
    if not location.startswith(f"{tenant_id}/"):
        raise PermissionError("This content is another tenant's.")


def _storage() -> Storage:
    return storages["files"]
