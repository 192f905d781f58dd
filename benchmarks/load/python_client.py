"""A load generator in Python: a closed loop over some connections, or a steady rate. One process, one event loop.

    echo ORDER | python -m benchmarks.load.python_client      an order is JSON: see `generators`

Invariant: it reads its order from standard input and prints one line of figures. Latency at a steady rate counts from when
the request was due, so that a server which keeps its callers waiting does not hide it.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks.load.generators import MARK, Load

OK = b"HTTP/1.1 200"


@dataclass
class Client:
    """The connections of one run and what they saw."""

    order: dict[str, Any]
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    sent: int = 0
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def run(self) -> Load:
        began = time.perf_counter()
        until = began + self.order["seconds"]
        if self.order["rate"]:
            await self._steadily(began, until)
        else:
            await asyncio.gather(*(self._loop(until) for _ in range(self.order["connections"])))
        seconds = time.perf_counter() - began
        ordered = sorted(self.latencies) or [0.0]
        p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        return Load(len(self.latencies), seconds, self.errors, p50, p99)

    async def _loop(self, until: float) -> None:
        while time.perf_counter() < until:
            await self._ask(time.perf_counter())

    async def _steadily(self, began: float, until: float) -> None:
        waiting: set[asyncio.Task[None]] = set()
        due, number = began, 0
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._ask(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            number += 1
            due = began + number / self.order["rate"]
            if len(waiting) > self.order["connections"]:
                raise SystemExit("the server does not keep up with this rate")
        await asyncio.gather(*waiting)

    async def _ask(self, due: float) -> None:
        """One request and its answer, on a connection that was idle; on a new one if the server has closed that."""
        request = self._next()
        while True:
            is_new = not self.idle
            try:
                reader, writer = await self._connect() if is_new else self.idle.pop()
                writer.write(request)
                is_ok = await _read_answer(reader)
                break
            except (OSError, asyncio.IncompleteReadError):
                if is_new:
                    self.errors += 1
                    return
        self.idle.append((reader, writer))
        self.latencies.append(time.perf_counter() - due)
        self.errors += not is_ok

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = urlsplit(self.order["url"])
        return await asyncio.open_connection(address.hostname, address.port)

    def _next(self) -> bytes:
        self.sent += 1
        order = self.order
        head, middle, tail = order["parts"]
        token = self.sent % order["tokens"] if order["tokens"] else order["seed"] + self.sent
        user = f"{self.sent % order['users']:03}" if order["users"] else ""
        return f"{head}{token:014}{middle}{user}{tail}".encode()


async def _read_answer(reader: asyncio.StreamReader) -> bool:
    """Read one whole answer; whether it is a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
    if lengths:
        await reader.readexactly(lengths[0])
    else:  # chunked
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return head.startswith(OK)


def main() -> None:
    load = uvloop.run(Client(json.load(sys.stdin)).run())
    print(MARK + json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
