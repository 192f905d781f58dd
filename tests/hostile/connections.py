"""Attacks without a key, and on what is kept: connections, bodies, headers, files."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from tests.hostile.attacker import BROKEN, FINE, REFUSED, UNANSWERED, Attacker, attack

TURNED_AWAY = REFUSED | {BROKEN}
CHUNK = b"x" * 65_536


def _head(path: str, *, length: int, key: str = "") -> bytes:
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\n{authorization}content-type: application/json\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


async def _endless(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield CHUNK


@attack("a large body in pieces, without a key", may_get=TURNED_AWAY, is_refused=True)
async def large_bodies_of_nobody(attacker: Attacker) -> list[int]:
    paths = ("/v1/chat/completions", "/v1/files", "/v1/estimate", "/v1/nothing")
    return [await attacker.send("POST", path, _endless(500 * attacker.size), key="") for path in paths]


@attack("a large body in pieces, with a key", may_get=TURNED_AWAY, is_refused=True)
async def large_bodies(attacker: Attacker) -> list[int]:
    return [await attacker.send("POST", "/v1/chat/completions", _endless(500 * attacker.size))]


@attack("a body of fifty gigabytes, announced", may_get=TURNED_AWAY, is_refused=True)
async def announced_bodies(attacker: Attacker) -> list[int]:
    found = []
    for path in ("/v1/chat/completions", "/v1/files", "/admin/login/"):
        for key in ("", attacker.key):
            found.append(await attacker.raw(_head(path, length=53_687_091_200, key=key) + b"{", seconds=15))
    return found


@attack(
    "bodies that stop at their first byte, without a key", may_get=TURNED_AWAY | {UNANSWERED}, is_refused=True
)
async def slow_bodies_of_nobody(attacker: Attacker) -> list[int]:
    head = _head("/v1/chat/completions", length=1_000)
    return list(
        await asyncio.gather(*(attacker.raw(head + b"{", seconds=5) for _ in range(60 * attacker.size)))
    )


@attack(
    "bodies that stop at their first byte, with a key", may_get=TURNED_AWAY | {UNANSWERED}, is_refused=True
)
async def slow_bodies(attacker: Attacker) -> list[int]:
    head = _head("/v1/chat/completions", length=1_000, key=attacker.key)
    return list(
        await asyncio.gather(*(attacker.raw(head + b"{", seconds=5) for _ in range(60 * attacker.size)))
    )


@attack("headers that never end", may_get=TURNED_AWAY | {UNANSWERED}, is_refused=True)
async def slow_headers(attacker: Attacker) -> list[int]:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: "
    return list(await asyncio.gather(*(attacker.raw(head, seconds=5) for _ in range(60 * attacker.size))))


@attack("headers of a megabyte, and many of them", may_get=TURNED_AWAY | {200, 414}, is_refused=True)
async def large_headers(attacker: Attacker) -> list[int]:
    line = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    return [
        await attacker.raw(line + b"x-a: " + b"a" * 1_000_000 + b"\r\n\r\n", seconds=10),
        await attacker.raw(line + b"x-a: a\r\n" * 20_000 + b"\r\n", seconds=10),
        await attacker.raw(b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", seconds=10),
    ]


@attack("keys at random", may_get=frozenset({401, 429, 503}), is_refused=True)
async def keys_at_random(attacker: Attacker) -> list[int]:
    body = {"model": attacker.model, "messages": []}
    return await attacker.all(
        attacker.post("/v1/chat/completions", body, key=f"psr_{number:032x}")
        for number in range(150 * attacker.size)
    )


@attack("passwords at random", may_get=frozenset({200, 302, 403, 429, 503}), is_refused=True)
async def passwords_at_random(attacker: Attacker) -> list[int]:
    form = {"content-type": "application/x-www-form-urlencoded"}
    return await attacker.all(
        attacker.send(
            "POST", "/admin/login/", f"username=admin&password={number}".encode(), key="", headers=form
        )
        for number in range(12 * attacker.size)
    )


@attack("what is no HTTP", may_get=TURNED_AWAY | {UNANSWERED}, is_refused=True)
async def no_http(attacker: Attacker) -> list[int]:
    contents = (
        b"\x00" * 10_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 200,
    )
    return [await attacker.raw(content, seconds=3) for content in contents]


@attack("connections that say nothing", may_get=TURNED_AWAY | {UNANSWERED}, is_refused=True)
async def silent_connections(attacker: Attacker) -> list[int]:
    return list(await asyncio.gather(*(attacker.raw(b"", seconds=4) for _ in range(150 * attacker.size))))


@attack("files until the quota says no", is_refused=True)
async def many_files(attacker: Attacker) -> list[int]:
    found = []
    for number in range(8 * attacker.size):
        form = aiohttp.FormData()
        form.add_field("purpose", "user_data")
        form.add_field("file", b"x" * 1_000_000, filename=f"{'../' * 9}{number}.txt")
        found.append(await attacker.send("POST", "/v1/files", form))
    return found


@attack("figures, headers and texts that no column holds", is_refused=True)
async def odd_values(attacker: Attacker) -> list[int]:
    raised = {
        "scope": "tenant",
        "unit": "usd",
        "period": "month",
        "amount": "1",
        "until": "2099-01-01T00:00:00Z",
        "reason": "x\u0000",
    }
    paths = [
        f"/v1/files?limit={limit}"
        for limit in ("0000000009999999999999", "0" * 12 + "9" * 21, "-1", "1e9", "٣")
    ]
    return [
        *[await attacker.send("GET", path, None) for path in paths],
        await attacker.post("/v1/budgets/raise-requests", raised),
        await attacker.post("/v1/feedback", {"request_id": "\u0000", "rating": 1, "reason": "\u0000" * 10}),
        await attacker.post("/v1/feedback", {"request_id": "x" * 100_000, "rating": 10**30}),
        await attacker.chat(max_tokens=10**30),
        await attacker.chat(temperature=1e308),
        await attacker.chat(user="\u0000" * 5),
    ]


__all__ = ["FINE"]
