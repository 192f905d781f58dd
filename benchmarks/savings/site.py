"""Starts Redis, the sandbox and the product (web server, workers, beat) for the workload, and ends them.

Invariant: every process that was started here is ended here. Waits for the caches are ten times as long as in production:
client, sandbox, databases and gateway share the machine, and a hit that is lost to that says nothing.
"""

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.savings.steps import MARKETS, configuration
from config.running import embedded
from config.running.processes import Child, spawn

WORKERS = 1
WAIT_SECONDS = 120
ANSWERS_IN_ONE_GO = 500
ROOT = Path(__file__).resolve().parents[2]
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Site:
    """Where the gateway and the sandbox are."""

    base_url: str
    sandbox_url: str

    def control(self, path: str, body: Any = None) -> Any:
        """Ask the sandbox's control."""
        data = None if body is None else json.dumps(body).encode()
        with LOCAL.open(
            urllib.request.Request(f"{self.sandbox_url}/control/{path}", data=data), timeout=60
        ) as answer:
            return json.load(answer)

    def teach(self, answers: dict[str, str]) -> None:
        """Give the sandbox's models the answers, a few at a time."""
        items = list(answers.items())
        for start in range(0, len(items), ANSWERS_IN_ONE_GO):
            self.control("answers", dict(items[start : start + ANSWERS_IN_ONE_GO]))


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """The product with all tenants of the workload. PostgreSQL must be there, and Django set up on it."""
    from config.running import web
    from llm.configuration import apply_configuration

    home = Path(os.environ["PURSER_HOME"])
    redis = embedded.start_redis(home)
    children: list[Child] = []

    def start(name: str, *arguments: str, url: str = "") -> None:
        log = home / "logs" / f"{name}.log"
        environment = {
            **os.environ,
            "REDIS_URL": redis.url,
            "CACHE_BUDGET_SCALE": "10",
            **web.clean_metrics(home / "metrics"),
        }
        children.append(
            Child(
                name,
                spawn([sys.executable, *arguments], log=log, folder=ROOT, environment=environment),
                log,
            )
        )
        if url:
            wait_until(lambda: _answers(url), what=f"the start of {name}")

    try:
        sandbox_url = f"http://127.0.0.1:{(port := embedded.free_port())}"
        start("sandbox", "-m", "llm.sandbox", "--port", str(port), url=f"{sandbox_url}/healthz")
        document = json.dumps(configuration(sandbox_url, _list_prices()))
        apply_configuration(document, source="bench.yaml", environ={})
        (home / "static").mkdir(exist_ok=True)
        base_url = f"http://127.0.0.1:{(port := embedded.free_port())}"
        command = web.granian(host="127.0.0.1", port=port, workers=WORKERS, static_root=home / "static")
        start("web", *command[1:], url=f"{base_url}/readyz")
        start("workers", "-m", "config.running.workers", "--beat")
        yield Site(base_url, sandbox_url)
    finally:
        for child in reversed(children):
            child.ask_to_stop()
            child.end(within_seconds=30)
        redis.stop()


def wait_until(holds: Callable[[], bool], *, what: str) -> None:
    """Wait, for a bounded time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} takes longer than {WAIT_SECONDS} s")
        time.sleep(0.2)


def _list_prices() -> dict[str, list[dict[str, str]]]:
    """Today's list prices of the markets' models, online and in batches."""
    from billing.prices.lists import read_list_prices

    wanted = {name for market in MARKETS for name in market.models}
    prices: dict[str, list[dict[str, str]]] = {name: [] for name in wanted}
    for price in read_list_prices(["openai"]):
        is_ours = price.model in wanted and price.meter in ("input", "cache_read", "output")
        if is_ours and price.valid_to is None and price.processing in ("online", "batch"):
            row = {
                "meter": price.meter,
                "processing": price.processing,
                "usd_per_million": str(price.unit_price * 1_000_000 / price.per),
            }
            if price.service_tier == "standard" and not price.above_input_tokens:
                prices[price.model].append(row)
    return prices


def _answers(url: str) -> bool:
    try:
        with LOCAL.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
