"""The state of the deployments, as the web processes of all machines report it, and what is left of each account's limits.

Invariant: reads Redis and nothing else; without Redis nothing is known, and the page says so.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
import redis
from django.conf import settings
from redis.exceptions import RedisError

from llm.providers.account_limits import account_keys
from llm.providers.announcing import KEY, SILENT_SECONDS
from llm.providers.health import DeploymentReport

Deployment = tuple[str, str]


@dataclass
class DeploymentState:
    """One model at one account, over all web processes that have called it."""

    processes: int = 0
    resting_in: int = 0
    probing_in: int = 0
    rest_seconds: float = 0.0
    calls: int = 0
    failures: int = 0
    stream_seconds: list[float] = field(default_factory=list)
    whole_seconds: list[float] = field(default_factory=list)

    def add(self, report: DeploymentReport) -> None:
        """Add what one process reported."""
        self.processes += 1
        self.resting_in += report["state"] == "open"
        self.probing_in += report["state"] == "half_open"
        self.rest_seconds = max(self.rest_seconds, report["rest_seconds"])
        self.calls += report["calls"]
        self.failures += report["failures"]
        for mine, seconds in (
            (self.stream_seconds, report["stream_seconds"]),
            (self.whole_seconds, report["whole_seconds"]),
        ):
            if seconds is not None:
                mine.append(seconds)


@dataclass(frozen=True)
class AccountState:
    """What an account's limiter has: calls that run, and the seconds until it lets the next one through."""

    running: int = 0
    wait_seconds: float = 0.0
    paused_seconds: float = 0.0


@dataclass(frozen=True)
class States:
    """Everything that is known."""

    deployments: dict[Deployment, DeploymentState]
    accounts: dict[str, AccountState]


def read_states(accounts: Iterable[str]) -> States | None:
    """Read it; None where Redis does not answer."""
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=1)
    try:
        reports = client.hgetall(KEY)
        found = {account: _account(client, account) for account in accounts}
    except (RedisError, OSError):
        return None
    finally:
        client.close()
    return States(_merged(reports.values()), found)


def _merged(reports: Iterable[bytes]) -> dict[Deployment, DeploymentState]:
    merged: dict[Deployment, DeploymentState] = {}
    for report in map(orjson.loads, reports):
        if time.time() - report["at"] > SILENT_SECONDS:
            continue
        for deployment in report["deployments"]:
            merged.setdefault((deployment["provider"], deployment["model"]), DeploymentState()).add(
                deployment
            )
    return merged


def _account(client: "redis.Redis", account: str) -> AccountState:
    kept_key, running_key, *_ = account_keys(account)
    now = time.time()
    paid = {
        name: float(value) - now
        for name, value in zip(
            ("requests", "tokens", "paused"),
            client.hmget(kept_key, ["requests", "tokens", "paused"]),
            strict=True,
        )
        if value is not None
    }
    return AccountState(
        running=int(client.zcount(running_key, now, "+inf")),
        wait_seconds=max(0.0, paid.get("requests", 0.0), paid.get("tokens", 0.0)),
        paused_seconds=max(0.0, paid.get("paused", 0.0)),
    )
