"""A real sandbox provider, a real HTTP session and a real Redis for the tests of this folder."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from redis.asyncio import Redis

from config import resources
from config.redis_link import RedisLink
from llm.providers.kinds import KINDS
from llm.providers.target import Target
from tests.llm.providers.relay_server import build


@dataclass(frozen=True)
class SandboxProcess:
    """A running sandbox and its control endpoints."""

    url: str

    def control(self, path: str, body: Any = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/control/{path}", data=data)
        ) as answer:
            return orjson.loads(answer.read())

    def order(self, fault: str, **facts: Any) -> None:
        self.control("faults", {"fault": fault, **facts})

    def calls(self) -> list[dict[str, Any]]:
        return list(self.control("calls")["calls"])

    def target(self, kind: Any = "openai", model: str = "gpt-4o-mini", **facts: Any) -> Target:
        base_url = f"{self.url}/v1" if kind == "openai" else self.url
        known: dict[str, Any] = {"api_key": "sk-sandbox-very-secret", "provider": kind, "base_url": base_url}
        return Target(model=model, kind=KINDS[kind], upstream=model, **{**known, **facts})


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "llm.sandbox", "--port", str(port)])
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield SandboxProcess(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.control("reset", {})
    return sandbox_process


@pytest.fixture
def connections() -> list[Any]:
    """What aiohttp tells of each connection that it makes."""
    return []


@pytest_asyncio.fixture
async def http(
    monkeypatch: pytest.MonkeyPatch, connections: list[Any]
) -> AsyncIterator[aiohttp.ClientSession]:
    """The session that calls go through, as `config.resources` opens it."""

    async def made(session: Any, context: Any, parameters: Any) -> None:
        connections.append(parameters)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(made)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
        monkeypatch.setattr(resources, "http", session, raising=False)
        yield session


@pytest_asyncio.fixture
async def gateway(sandbox: SandboxProcess, http: aiohttp.ClientSession) -> AsyncIterator[str]:
    """The address of a server that only relays, in front of the sandbox."""
    runner = web.AppRunner(build(sandbox))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[Redis]:
    client = Redis.from_url(os.environ["REDIS_URL"])
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def link() -> AsyncIterator[RedisLink]:
    link = RedisLink(os.environ["REDIS_URL"])
    yield link
    await link.aclose()
