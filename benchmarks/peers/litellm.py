"""LiteLLM's proxy: a master key, no database; one uvicorn worker, as its page of best practices for production says.

Invariant: it is asked as its users ask it. The settings are those of that page, without alerts: errors only in its log, no
`.env`, no debugging. Its price map is the one in the package, because the benchmark has no internet.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from benchmarks.load import cores
from benchmarks.load.product import NAMED_MODEL, Site
from benchmarks.load.scenarios import Answer, Scenario, chat, is_completion
from benchmarks.load.servers import started
from benchmarks.peers.environments import python_environment
from config.running import embedded

MASTER_KEY = "sk-bench-master-key-0123456789abcdef"
ENVIRONMENT = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@contextlib.contextmanager
def litellm(site: Site) -> Iterator[list[Scenario]]:
    """Two proxies: without a cache, and with its cache in memory."""
    cache = {"cache": True, "cache_params": {"type": "local"}}
    with (
        _proxy(site, "litellm", {}) as (plain_url, plain_pid),
        _proxy(site, "litellm-cache", cache) as (cache_url, cache_pid),
    ):
        plain = chat(plain_url, key=MASTER_KEY)
        hit = chat(cache_url, key=MASTER_KEY, repeated=True)
        plain_parts, cache_parts = {"gateway": [plain_pid]}, {"gateway": [cache_pid]}
        yield [
            Scenario("litellm", "LiteLLM: master key, no database", plain, plain_parts, is_completion),
            Scenario("litellm hit", "LiteLLM: a hit of its cache in memory", hit, cache_parts, _is_hit),
        ]


def _is_hit(answer: Answer) -> bool:
    return "x-litellm-cache-key" in answer.headers


@contextlib.contextmanager
def _proxy(site: Site, name: str, settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    programs = python_environment("litellm")
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    file = site.home / f"{name}.yaml"
    file.write_text(json.dumps(configuration_of(site.upstream_url, settings)))  # JSON is YAML
    command = [str(programs / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    with started(
        name,
        cores.on_gateway_core([*command, "--num_workers", "1"]),
        home=site.home,
        ready=f"{url}/health/liveliness",
        environment=ENVIRONMENT,
        folder=site.home,
        is_ours=False,
    ) as child:
        yield url, child.process.pid


def configuration_of(upstream_url: str, settings: dict[str, Any]) -> dict[str, Any]:
    account = {
        "model": f"openai/{NAMED_MODEL}",
        "api_key": "sk-bench",
        "api_base": f"{upstream_url}/v1",
    }
    return {
        "model_list": [{"model_name": NAMED_MODEL, "litellm_params": account}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True, **settings},
    }
