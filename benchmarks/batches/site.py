"""The product as `manage.py run` starts it, in front of the sandbox, on servers of its own.

Invariant: what is started here is ended here. Every tenant has hard budgets in USD and tokens, so that each line is held.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.load import processes
from benchmarks.load.servers import started
from benchmarks.own_servers import own_postgres
from config.running import embedded, web

PRICES = {"input": "0.15", "cache_read": "0.075", "output": "0.60"}
MODEL = "gpt-4o-mini"
OTHERS_MODEL = "gpt-4.1-nano"  # at a server of its own: what is measured is our fairness, not the provider's
POLL_SECONDS = 1


@dataclass
class Site:
    """The running product. `parts`: the root process of each part, for its memory."""

    home: Path
    base_url: str
    sandbox_url: str
    call_log: Path
    keys: list[str]
    parts: dict[str, int]

    def peak_mib(self) -> dict[str, float]:
        """The highest resident memory of any process of each part, by the kernel."""
        found = {}
        for name, root in self.parts.items():
            pids = [root] if root == os.getpid() else processes.tree(root)
            peaks = [_peak_kib(pid) for pid in pids]
            found[name] = round(max(peaks) / 1024, 1)
        return found


@contextlib.contextmanager
def running(*, tenants: int) -> Iterator[Site]:
    """The site with so many tenants."""
    with own_postgres(), contextlib.ExitStack() as stack:
        from llm.configuration import apply_configuration

        home = Path(os.environ["PURSER_HOME"])
        redis = embedded.start_redis(home)
        stack.callback(redis.stop)
        environment = {
            "REDIS_URL": redis.url,
            "LOG_LEVEL": "WARNING",
            "PYTHONUNBUFFERED": "1",
            "BATCH_POLL_SECONDS": str(POLL_SECONDS),
        }
        call_log = home / "calls.jsonl"
        sandbox_url, sandbox = stack.enter_context(_sandbox("sandbox", home, "--log", str(call_log)))
        others_url, _ = stack.enter_context(_sandbox("sandbox-of-others", home))
        keys = [f"key-of-tenant-{number}-0123456789abcdef" for number in range(tenants)]
        document = json.dumps(_configuration({MODEL: sandbox_url, OTHERS_MODEL: others_url}, keys))
        apply_configuration(document, source="bench.yaml", environ={}, dry_run=False)
        workers = stack.enter_context(
            started(
                "workers",
                [sys.executable, "-m", "config.running.workers", "--beat", "--log-level", "WARNING"],
                home=home,
                ready=(home / "worker.ready").exists,
                environment=environment,
            )
        )
        (home / "static").mkdir(exist_ok=True)
        base_url = f"http://127.0.0.1:{embedded.free_port()}"
        gateway = stack.enter_context(
            started(
                "web",
                web.granian(
                    host="127.0.0.1",
                    port=int(base_url.rpartition(":")[2]),
                    workers=web.default_workers(),
                    static_root=home / "static",
                ),
                home=home,
                ready=f"{base_url}/readyz",
                environment={**environment, **web.clean_metrics(home / "metrics")},
            )
        )
        parts = {
            "web process": gateway.process.pid,
            "Celery process": workers.process.pid,
            "sandbox": sandbox,
            "PostgreSQL backend": int((home / "postgres" / "postmaster.pid").read_text().split()[0]),
            "Redis": redis.process.pid,
            "client": os.getpid(),
        }
        yield Site(home, base_url, sandbox_url, call_log, keys, parts)


def batch_price(meter: str) -> Decimal:
    """USD of a million in batches: half."""
    return Decimal(PRICES[meter]) / 2


@contextlib.contextmanager
def _sandbox(name: str, home: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A provider: its address and its process."""
    url = f"http://127.0.0.1:{embedded.free_port()}"
    command = [sys.executable, "-m", "llm.sandbox", "--port", url.rpartition(":")[2], *options]
    with started(name, command, home=home, ready=f"{url}/control/calls?limit=1") as child:
        yield url, child.process.pid


def _configuration(sandboxes: dict[str, str], keys: list[str]) -> dict[str, Any]:
    prices = [{"meter": meter, "usd_per_million": usd} for meter, usd in PRICES.items()]
    prices += [
        {"meter": meter, "usd_per_million": str(batch_price(meter)), "processing": "batch"}
        for meter in PRICES
    ]
    budgets = [
        {"scope": "tenant", "unit": "usd", "period": "month", "limit": "100000", "mode": "hard"},
        {"scope": "key", "unit": "tokens", "period": "day", "limit": "100000000000", "mode": "hard"},
    ]
    return {
        "providers": [
            {"name": _account(model), "kind": "openai", "base_url": f"{url}/v1", "api_key": "sk-bench"}
            for model, url in sandboxes.items()
        ],
        "models": [
            {
                "name": model,
                "provider": _account(model),
                "context_window": 128000,
                "max_output_tokens": 16384,
                "prices": prices,
            }
            for model in sandboxes
        ],
        "tenants": [
            {
                "slug": f"tenant-{number}",
                "policy": {
                    "cache": {"exact": False, "semantic": "off"},
                    "routing": {"enabled": False},
                    "deferred": {"max_age_seconds": 1},
                },
                "keys": [{"name": "main", "secret": key}],
                "budgets": budgets,
            }
            for number, key in enumerate(keys)
        ],
    }


def _peak_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def _account(model: str) -> str:
    return "account-of-" + model.replace(".", "-")
