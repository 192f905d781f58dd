"""Browsers of other origins: let in where an operator named theirs."""

import asyncio
from typing import Any

from config.door.cors import with_cors


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")]})
    await send({"type": "http.response.body", "body": b"{}"})


def ask(origins: set[str], method: str = "POST", **headers: str) -> tuple[int, dict[str, str]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "headers": raw}
    asyncio.run(with_cors(application, origins=origins)(scope, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_it_works() -> None:
    status, headers = ask(
        {"https://chat.example"},
        "OPTIONS",
        origin="https://chat.example",
        access_control_request_method="POST",
        access_control_request_headers="authorization, x-purser-user",
    )
    assert status == 204
    assert headers["access-control-allow-origin"] == "https://chat.example"
    assert headers["access-control-allow-headers"] == "authorization, x-purser-user"
    assert "POST" in headers["access-control-allow-methods"]
    status, headers = ask({"*"}, origin="https://any.example")
    assert (status, headers["x"]) == (200, "1")
    assert headers["access-control-allow-origin"] == "https://any.example"
    assert headers["access-control-expose-headers"] == "*"
    assert "access-control-allow-credentials" not in headers


def test_nobody_else_is_let_in() -> None:
    for origins, headers in (
        ({"https://chat.example"}, {"origin": "https://other.example"}),
        ({"https://chat.example"}, {"origin": "https://chat.example.evil.example"}),
        ({"https://chat.example"}, {}),
        (set(), {"origin": "https://chat.example"}),
    ):
        assert "access-control-allow-origin" not in ask(origins, **headers)[1]
