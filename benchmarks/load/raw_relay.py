"""The least that a gateway can do: granian takes the request, aiohttp hands it on, the answer goes back. No product.

UPSTREAM=http://127.0.0.1:9000 granian --interface asgi benchmarks.load.raw_relay:application
"""

import os
from typing import Any

import aiohttp

_sessions: list[aiohttp.ClientSession] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        _sessions.append(
            aiohttp.ClientSession(os.environ["UPSTREAM"], connector=aiohttp.TCPConnector(limit=0))
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _sessions.pop().close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {"content-type": "application/json"}
    async with _sessions[0].request(scope["method"], scope["path"], data=body, headers=headers) as response:
        kind = response.headers.get("content-type", "").encode()
        head = {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(b"content-type", kind)],
        }
        await send(head)
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
