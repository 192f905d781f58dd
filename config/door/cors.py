"""CORS for the API: off unless origins are configured.

Invariant: only `/v1` allows other origins, and never with cookies: a caller sends its own key in a header.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]

ANY = "*"
KEPT_SECONDS = b"86400"


def with_cors(application: Application, *, origins: Collection[str]) -> Application:
    """The application with CORS for these origins (`*`: all); unchanged if there are none."""
    if not origins:
        return application

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        if not origin or not (ANY in origins or origin.decode("latin-1") in origins):
            await application(scope, receive, send)
            return
        granted = [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            asked = headers.get(b"access-control-request-headers", b"")
            granted += [
                (b"access-control-allow-methods", b"GET, POST, DELETE"),
                (b"access-control-allow-headers", asked),
                (b"access-control-max-age", KEPT_SECONDS),
            ]
            await send({"type": "http.response.start", "status": 204, "headers": granted})
            await send({"type": "http.response.body", "body": b""})
            return
        granted.append((b"access-control-expose-headers", b"*"))

        async def send_granted(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *granted]}
            await send(message)

        await application(scope, receive, send_granted)

    return middleware
