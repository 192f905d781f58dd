"""`make bench-peers`: other gateways in the same run as ours: the same upstream, load, core, order and repeats.

LiteLLM and Portkey have nothing on; ours has a ledger at least. any-llm-gateway has a budget and usage rows. They are
installed under `.bench` the first time, from the locks in `benchmarks/peers`.

    make bench-peers            SECONDS=10 REPEATS=3 ONLY=litellm,everything      (then nothing is written)
"""

import contextlib
import os

from benchmarks import results_file
from benchmarks.load.keeping import keep
from benchmarks.load.product import product, raw_relay
from benchmarks.load.runs import run_all
from benchmarks.load.scenarios import check, own_scenarios
from benchmarks.peers.anyllm import anyllm
from benchmarks.peers.litellm import litellm
from benchmarks.peers.portkey import portkey

SECONDS = float(os.environ.get("SECONDS", "10"))
REPEATS = int(os.environ.get("REPEATS", "3"))
ONLY = [name for name in os.environ.get("ONLY", "").split(",") if name]
PEERS = (litellm, portkey, anyllm)
PAIRS = (
    ("litellm", "everything"),
    ("portkey", "everything"),
    ("any-llm", "everything"),
    ("litellm hit", "hit"),
    ("everything", "raw"),
)


def main() -> None:
    machine = results_file.machine()
    with (
        product() as site,
        raw_relay(site) as (raw_url, raw_pid),
        contextlib.ExitStack() as stack,
    ):
        scenarios = own_scenarios(site, raw_url=raw_url, raw_pid=raw_pid)
        for peer in PEERS:
            scenarios += stack.enter_context(peer(site))
        chosen = [scenario for scenario in scenarios if not ONLY or scenario.name in ONLY]
        for scenario in chosen:
            check(scenario)
        outcomes = run_all(chosen, repeats=REPEATS, seconds=SECONDS)
    if not ONLY and REPEATS > 1:
        keep("peers", "Ours and other gateways", outcomes, pairs=PAIRS, machine=machine, seconds=SECONDS)


if __name__ == "__main__":
    main()
