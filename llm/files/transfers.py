"""Uploads and downloads that are under way in a process, and the content that goes to a client.

Invariant: a tenant has only a few of them at a time, and so has the process; each may have a file on disk. A place is free
again however its transfer ends.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

from django.core.files import File

from llm.errors import GatewayBusy
from llm.files.stored import location_of
from tenants import contents
from tenants.contents import ContentMissing

MOST_OPEN, MOST_OF_A_TENANT = 64, 8
RETRY_AFTER_SECONDS: Final = 5

_open: Counter[int] = Counter()


@contextmanager
def transfer(tenant_id: int) -> Iterator[None]:
    """A place for one upload or download. Raises GatewayBusy where there are too many, of the tenant or in all."""
    _enter(tenant_id)
    try:
        yield
    finally:
        _leave(tenant_id)


async def download(tenant_id: int, *, public_id: str) -> tuple[int, AsyncGenerator[bytes, None]]:
    """How many bytes a file has, and its content piece by piece. Raises NotFound, GatewayBusy."""
    location, size = await location_of(tenant_id, public_id=public_id)
    return size, await stored_content(tenant_id, location)


async def stored_content(tenant_id: int, location: str) -> AsyncGenerator[bytes, None]:
    """A content of the storage, piece by piece. Raises GatewayBusy."""
    _enter(tenant_id)
    try:
        content = await contents.opened(tenant_id, location)
    except ContentMissing:
        _leave(tenant_id)
        raise _busy("The file's content cannot be read at the moment; try again.") from None
    except BaseException:
        _leave(tenant_id)
        raise
    return _stream(tenant_id, content)


async def _stream(tenant_id: int, content: File[Any]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(contents.stream(content)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        _leave(tenant_id)


def _enter(tenant_id: int) -> None:
    if _open[tenant_id] >= MOST_OF_A_TENANT or _open.total() >= MOST_OPEN:
        raise _busy("Too many files are under way at the moment; try again in a few seconds.")
    _open[tenant_id] += 1


def _leave(tenant_id: int) -> None:
    _open[tenant_id] -= 1
    if not _open[tenant_id]:
        del _open[tenant_id]


def _busy(message: str) -> GatewayBusy:
    return GatewayBusy(message, retry_after_seconds=RETRY_AFTER_SECONDS, facts={"line": "files"})
