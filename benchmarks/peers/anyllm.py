"""any-llm-gateway, which became otari: PostgreSQL, a key of a user with a budget, usage rows with prices.

Invariant: it has a database of its own on the PostgreSQL of the run, so its stores' CPU is counted as ours is. It is asked
one call at a time: with four connections and more of one key it stopped answering, and did not begin again.
"""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks.load import cores
from benchmarks.load.counters import Stores
from benchmarks.load.product import NAMED_MODEL, Site
from benchmarks.load.scenarios import Scenario, chat, is_completion
from benchmarks.load.servers import LOCAL, started
from benchmarks.peers.environments import python_environment
from config.running import embedded

MASTER_KEY = "sk-bench-master-key-0123456789abcdef"
MODEL = f"openai:{NAMED_MODEL}"
USER = "bench"


@contextlib.contextmanager
def anyllm(site: Site) -> Iterator[list[Scenario]]:
    programs = python_environment("anyllm")
    site.stores.postgres.execute("CREATE DATABASE anyllm")
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    file = site.home / "anyllm.yaml"
    address = urlsplit(site.database_url)._replace(path="/anyllm").geturl()
    file.write_text(json.dumps(configuration_of(site.upstream_url, address, port)))  # JSON is YAML
    command = [str(programs / "any-llm-gateway"), "serve", "--config", str(file), "--workers", "1"]
    with (
        psycopg.connect(address, autocommit=True) as connection,
        started(
            "anyllm",
            cores.on_gateway_core(command),
            home=site.home,
            ready=f"{url}/health",
            folder=site.home,
            is_ours=False,
        ) as child,
    ):
        key = _key_with_budget(url)
        request = chat(url, key=key, model=MODEL, user=None)
        parts = {"gateway": [child.process.pid], "postgres": site.parts["postgres"]}
        stores = Stores(None, connection)
        what = "any-llm-gateway: a budget, usage rows; one call at a time"
        yield [Scenario("any-llm", what, request, parts, is_completion, connections=1, stores=stores)]


def configuration_of(upstream_url: str, database_url: str, port: int) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "database_url": database_url.replace("postgresql:", "postgresql+psycopg2:"),
        "master_key": MASTER_KEY,
        "providers": {"openai": {"api_key": "sk-bench", "api_base": f"{upstream_url}/v1"}},
        "pricing": {MODEL: {"input_price_per_million": 0.15, "output_price_per_million": 0.6}},
    }


def _key_with_budget(url: str) -> str:
    """A key of a user who has a budget for the month."""
    budget = _post(f"{url}/v1/budgets", {"max_budget": 1_000_000.0, "budget_duration_sec": 2_592_000})
    _post(f"{url}/v1/users", {"user_id": USER, "budget_id": budget["budget_id"]})
    return str(_post(f"{url}/v1/keys", {"key_name": "bench", "user_id": USER})["key"])


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json", "X-AnyLLM-Key": f"Bearer {MASTER_KEY}"}
    call = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with LOCAL.open(call, timeout=30) as response:
        return dict(json.load(response))
