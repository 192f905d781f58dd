"""A provider that says exactly what a test has written down, however odd: bytes, pieces, status, content type.

Invariant: it listens on loopback, answers each account's requests with that account's scripts in their order (the last
one again and again), and remembers what it was asked.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STREAM = "text/event-stream"
JSON = "application/json"


@dataclass(frozen=True)
class Script:
    """One answer. Each piece is a chunk of its own; `cut` ends the connection in the middle."""

    pieces: tuple[bytes, ...]
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


def whole(body: Any, **facts: Any) -> Script:
    """A whole answer: an object, or the very bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Script((raw,), **facts)


def stream(events: Iterable[Any], *, done: bool = True, **facts: Any) -> Script:
    """A stream of events, each a piece: an object, or the very bytes; with `[DONE]` at its end."""
    pieces = [event if isinstance(event, bytes) else event_of(event) for event in events]
    return Script((*pieces, *([b"data: [DONE]\n\n"] if done else [])), **{"content_type": STREAM, **facts})


def event_of(payload: dict[str, Any]) -> bytes:
    name = f"event: {payload['type']}\n" if isinstance(payload.get("type"), str) else ""
    return f"{name}data: {json.dumps(payload)}\n\n".encode()


@dataclass
class Provider:
    """The running server; `scripts` and `asked` are by the account's key."""

    url: str = ""
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def answer(self, key: str, payload: dict[str, Any]) -> Script:
        self.asked.setdefault(key, []).append(payload)
        scripts = self.scripts[key]
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


@contextmanager
def serving() -> Iterator[Provider]:
    """A scripted provider while the block lasts."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            key = self.headers.get("x-api-key") or self.headers["authorization"].removeprefix("Bearer ")
            script = provider.answer(key, body)
            self.send_response(script.status)
            self.send_header("content-type", script.content_type)
            for name, value in script.headers:
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in filter(None, script.pieces):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if script.cut:
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
