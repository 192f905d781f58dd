"""Portkey's gateway on Node.js, as its README starts it, without its console. It has no keys, budgets or ledger.

Invariant: its direct dependencies are the versions of its own repository's lock file; newer ones are slower or faster.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

from benchmarks.load import cores
from benchmarks.load.product import Site
from benchmarks.load.scenarios import Scenario, chat, is_completion
from benchmarks.load.servers import started
from benchmarks.peers.environments import node_environment
from config.running import embedded


@contextlib.contextmanager
def portkey(site: Site) -> Iterator[list[Scenario]]:
    program = node_environment("portkey") / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    with started(
        "portkey",
        cores.on_gateway_core(["node", str(program), "--headless", f"--port={port}"]),
        home=site.home,
        ready=f"{url}/",
        environment={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
        folder=site.home,
        is_ours=False,
    ) as child:
        request = chat(url, key="sk-bench")
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{site.upstream_url}/v1"}
        request = dataclasses.replace(request, headers=request.headers | headers)
        what = "Portkey: no keys, budgets or ledger"
        yield [Scenario("portkey", what, request, {"gateway": [child.process.pid]}, is_completion)]
