"""Publishes what each web process knows of the deployments: to Prometheus, and through Redis to the admin.

Invariant: no decision uses what is published here; Redis may lose it at any moment, and has it again seconds later.
"""

import asyncio
import os
import socket
import time
from typing import Final

import orjson
from prometheus_client import Gauge
from redis.exceptions import RedisError

from config import resources
from config.breaker import State
from llm.providers.health import DeploymentReport, health

KEY: Final = "purser:deployments"
ANNOUNCE_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 30.0  # after which a process is taken for gone
KEPT_SECONDS: Final = 3600
STATE_VALUES: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}

STATE = Gauge(
    "purser_deployment_state",
    "Breaker of a model at an account: 0 closed, 1 half open, 2 open; the worst of the web processes",
    ["provider", "model"],
    multiprocess_mode="livemax",
)
FAILING = Gauge(
    "purser_deployment_failing",
    "Share of a deployment's latest calls that failed; the worst of the web processes",
    ["provider", "model"],
    multiprocess_mode="livemax",
)


@resources.service
async def announce_now_and_then() -> None:
    """Runs as long as the process serves."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    try:
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            if report := health.report():
                await announce(name, report)
    finally:
        await _forget(name)


async def announce(name: str, report: list[DeploymentReport]) -> None:
    """Publish one process's report."""
    for one in report:
        STATE.labels(one["provider"], one["model"]).set(STATE_VALUES[one["state"]])
        FAILING.labels(one["provider"], one["model"]).set(one["failing"])
    state = orjson.dumps({"at": time.time(), "deployments": report})
    try:
        async with resources.redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(KEY, name, state)
            pipeline.expire(KEY, KEPT_SECONDS)
            await pipeline.execute()
    except (RedisError, OSError):
        return  # the next one comes in two seconds


async def _forget(name: str) -> None:
    try:
        async with asyncio.timeout(1):
            await resources.redis.hdel(KEY, name)
    except (RedisError, OSError, TimeoutError):
        return
