"""A request of the gateway: what its views read of an ASGI scope, and no more.

Invariant: `headers` has each name in small letters and once; what was sent more than once has commas between. The body is
whole before a view runs, but for a view that reads it while it arrives.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from io import SEEK_END, BytesIO
from typing import IO, Any, BinaryIO, cast

from django.core.handlers.asgi import ASGIRequest

from config.door.bodies import ArrivingBody

PIECE_BYTES = 256 * 1024


class GatewayRequest(ASGIRequest):
    """Django's request without its copy of all headers in META: that has only what Django's own readers ask for."""

    headers: dict[str, str]  # type: ignore[assignment]
    arriving: ArrivingBody | None = None  # of a view that reads it so
    caller: Any = None  # whom the door has identified, as its host knows callers

    def __init__(self, scope: Any) -> None:
        """Raises UnicodeDecodeError."""
        self.scope = scope
        self.path = self.path_info = scope["path"]
        self.method = scope["method"].upper()
        self.headers = headers_of(scope["headers"])
        server, client = scope.get("server") or ("unknown", 0), scope.get("client") or ("", 0)
        self.META = {
            "REQUEST_METHOD": self.method,
            "QUERY_STRING": scope.get("query_string", b"").decode(),
            "REMOTE_ADDR": client[0],
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": self.headers.get("content-length", ""),
        }
        self.resolver_match = None
        self._stream = BytesIO()
        self._read_started = self._post_parse_error = False

    @property
    def is_for_a_websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def body(self) -> bytes:
        """The whole body; the door has bounded it."""
        if not hasattr(self, "_body"):
            self._body = self._stream.read()
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece: while it arrives, or from the file that it was read into. Raises OF_THE_BODY."""
        if self.arriving is None:
            while piece := await asyncio.to_thread(self._stream.read, PIECE_BYTES):
                yield piece
            return
        while not self.arriving.is_over:
            yield await self.arriving.next()

    def take(self, body: IO[bytes], *, is_decoded: bool) -> None:
        """Have the body that was read; a decoded one has another length than the client announced."""
        self._stream = cast(BinaryIO, body)
        if is_decoded:
            self.META["CONTENT_LENGTH"] = self.headers["content-length"] = str(body.seek(0, SEEK_END))
            body.seek(0)

    def _load_post_and_files(self) -> None:
        self._set_content_type_params(self.META)  # type: ignore[attr-defined]
        super()._load_post_and_files()


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of an ASGI scope by their names."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers
