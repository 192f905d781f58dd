"""The product under load: its real processes, the gateway on a core of its own, everything else on the others.

Invariant: stores, gateway, Celery's worker and beat are started as `manage.py run` starts them, with the same settings and
logs, on an empty database. What is started here is ended here.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import cores
from benchmarks.load.counters import Stores
from benchmarks.load.servers import started
from benchmarks.load.upstream import static_upstream
from benchmarks.own_servers import own_postgres
from config.running import embedded

GOVERNED_KEY = "key-of-the-governed-tenant-0123456789abcdef"
PLAIN_KEY = "key-of-the-plain-tenant-0123456789abcdef"
NAMED_MODEL = "gpt-4o-mini"
HUGE = 1_000_000_000  # limits that are counted and never reached


@dataclass
class Site:
    """A running product. `parts`: the root processes of each part, for its CPU."""

    home: Path
    base_url: str
    upstream_url: str
    database_url: str
    stores: Stores
    environment: dict[str, str]
    parts: dict[str, list[int]] = field(default_factory=dict)


@contextlib.contextmanager
def product(
    upstream: Callable[[Path], contextlib.AbstractContextManager[str]] = static_upstream,
) -> Iterator[Site]:
    """The whole product in front of an upstream, the static one if no other is given."""
    cores.keep_to_the_rest()
    with own_postgres() as database_url, contextlib.ExitStack() as stack:
        from llm.configuration import apply_configuration

        home = Path(os.environ["PURSER_HOME"])
        server = embedded.start_redis(home)
        stack.callback(server.stop)
        upstream_url = stack.enter_context(upstream(home))
        text = json.dumps(configuration_of(upstream_url))
        apply_configuration(text, source="bench.yaml", environ={}, dry_run=False)
        environment = {"REDIS_URL": server.url, "LOG_LEVEL": "INFO", "PYTHONUNBUFFERED": "1"}
        helpers = _start_celery(stack, home, environment)
        base_url, gateway = stack.enter_context(gateway_of(home, environment))
        stores = Stores.at(redis_url=server.url, database_url=database_url)
        stack.callback(stores.postgres.close)
        parts = {
            "gateway": [gateway],
            "postgres": [_postgres_pid(home)],
            "redis": [server.process.pid],
            "helpers": helpers,
        }
        yield Site(home, base_url, upstream_url, database_url, stores, environment, parts)


@contextlib.contextmanager
def gateway_of(
    home: Path, environment: dict[str, str], *, workers: int = 1, on_cores: list[int] | None = None
) -> Iterator[tuple[str, int]]:
    """A web server on the gateway's core, or on those given: its address and its process."""
    from config.running import web

    (home / "static").mkdir(exist_ok=True)
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    command = web.granian(host="127.0.0.1", port=port, workers=workers, static_root=home / "static")
    everything = {**environment, **web.clean_metrics(home / f"metrics-{port}")}
    with started(
        f"web-{port}",
        cores.on_gateway_core(command, cores=on_cores),
        home=home,
        ready=f"{url}/readyz",
        environment=everything,
    ) as child:
        yield url, child.process.pid


@contextlib.contextmanager
def raw_relay(site: Site) -> Iterator[tuple[str, int]]:
    """granian and aiohttp without a product, on the gateway's core: its address and its process."""
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    options = [
        "--interface",
        "asgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--no-ws",
    ]
    command = [
        sys.executable,
        "-m",
        "granian",
        *options,
        "--log-level",
        "warning",
        "benchmarks.load.raw_relay:application",
    ]
    with started(
        "raw",
        cores.on_gateway_core(command),
        home=site.home,
        ready=f"{url}/health",
        environment={"UPSTREAM": site.upstream_url},
    ) as child:
        yield url, child.process.pid


def configuration_of(upstream_url: str) -> dict[str, Any]:
    """A tenant with everything on, one with nothing on, and an account of the provider for each."""
    account = {"kind": "openai", "base_url": f"{upstream_url}/v1", "api_key": "sk-bench"}
    limits = {"rpm": HUGE, "tpm": 1000 * HUGE}
    budget = {"unit": "usd", "period": "month", "limit": "1000000", "mode": "hard"}
    tiers = {"gpt-4.1-nano": "simple", "gpt-4.1-mini": "standard", "gpt-4o": "complex"}
    return {
        "providers": [{"name": "limited", **account, "limits": limits}, {"name": "unlimited", **account}],
        "models": [
            *(_model(name, provider="limited", tier=tier) for name, tier in tiers.items()),
            _model(NAMED_MODEL, provider="unlimited"),
        ],
        "tenants": [
            {
                "slug": "bench",
                "policy": {"cache": {"exact": True, "semantic": "off"}, "routing": {"enabled": True}},
                "rate_limits": limits,
                "keys": [{"name": "main", "secret": GOVERNED_KEY, "rate_limits": limits}],
                "budgets": [{**budget, "scope": scope} for scope in ("tenant", "key", "user")],
            },
            {
                "slug": "plain",
                "policy": {"cache": {"exact": False, "semantic": "off"}, "routing": {"enabled": False}},
                "keys": [{"name": "main", "secret": PLAIN_KEY}],
            },
        ],
    }


def _model(name: str, **fields: str) -> dict[str, Any]:
    prices = {"input": "0.15", "cache_read": "0.075", "output": "0.60"}
    rows = [{"meter": meter, "usd_per_million": price} for meter, price in prices.items()]
    return {"name": name, "context_window": 128000, "max_output_tokens": 16384, "prices": rows, **fields}


def _start_celery(stack: contextlib.ExitStack, home: Path, environment: dict[str, str]) -> list[int]:
    """The workers and beat, accepting tasks."""
    command = [sys.executable, "-m", "config.running.workers", "--beat"]
    ready = home / "worker.ready"
    child = stack.enter_context(
        started("workers", command, home=home, ready=ready.exists, environment=environment)
    )
    return [child.process.pid]


def _postgres_pid(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])
