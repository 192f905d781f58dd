"""An application behind the product's own ASGI door, for the tests of the door: views that answer, fail and wait.

Served by granian as `tests.config.door.door:application`; what happened to the views is told at /v1/events.
"""

import asyncio
import os
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from config import asgi, resources

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # isort: skip
from django.urls import path  # isort: skip

events: list[str] = []


async def ok(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type=request.headers.get("content-type", "text/plain"))


async def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the secret of this failure")


async def wait(request: HttpRequest) -> HttpResponse:
    """Answers never; says when it was cancelled."""
    events.append("waiting")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        events.append("wait cancelled")
        raise
    return HttpResponse()


async def block(request: HttpRequest) -> HttpResponse:
    """Holds the loop up, and the interpreter with it, for as long as it may."""
    re.fullmatch("(?:a+)+", "a" * int(request.GET["letters"]) + "!")
    return HttpResponse("done")


async def pid(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """One chunk, then silence until the client goes."""

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"data: first\n\n"
            await asyncio.sleep(60)
        finally:
            events.append("stream ended")

    return StreamingHttpResponse(chunks(), content_type="text/event-stream")


async def tell(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"events": events, "threads": threading.active_count(), "os_threads": _os_threads()})


def _os_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@resources.service
async def note_life() -> None:
    """Runs as long as the resources are open."""
    diary = Path(os.environ["DOOR_DIARY"])
    diary.write_text("open\n")
    try:
        await asyncio.Event().wait()
    finally:
        diary.write_text("open\nclosed\n")


urlpatterns = [
    path("v1/ok", ok),
    path("v1/fail", fail),
    path("v1/wait", wait),
    path("v1/block", block),
    path("v1/pid", pid),
    path("v1/stream", stream),
    path("v1/events", tell),
]
asgi.door.urlconf = __name__
asgi.door.host = None  # everybody may come in
application = asgi.application
