"""`make bench-savings`: what a month of the sources' workload costs after each step, from the product's own ledger.

100,000 requests a day: 60 % simple, 30 % moderate, 10 % complex; 40 % repeat an earlier one or ask it in other words; 2,000
tokens in, 500 out; a third may wait. A scaled-down day of it goes through the running product against the sandbox, once for
each step: the first tenant names the premium model, the second lets the gateway choose, the third has the exact cache too, and
so on; in the last one the calls that may wait are deferred. Equal requests in equal order, so that the difference of two ledgers
is what the step saves, with everything that it does to the steps around it. The last ledger's own columns say the same in one
run; they are printed next to it.

    make bench-savings          REQUESTS=2000 of the day, SEED=1, SECONDS=3600 at most in all
"""

import asyncio
import json
import os
import time
from dataclasses import asdict
from typing import Any

from benchmarks import results_file
from benchmarks.own_servers import own_postgres
from benchmarks.savings import books, quality, report, sending, steps, texts, workload
from benchmarks.savings.bodies import Applications
from benchmarks.savings.site import site

REQUESTS = int(os.environ.get("REQUESTS", "2000"))
SECONDS = float(os.environ.get("SECONDS", "3600"))
SEED = int(os.environ.get("SEED", "1"))


def main() -> None:
    machine = results_file.machine()
    words = texts.read()
    asks = workload.day(words, requests=REQUESTS, seed=SEED)
    deadline = time.monotonic() + SECONDS
    with own_postgres(), site() as running:
        applications = Applications(asks, words.passages)
        bodies = [applications.body(ask) for ask in asks]
        running.teach({ask.question: applications.answer(ask.answer) for ask in asks})
        results = []
        for market, step in steps.runs():
            running.control("settings", {"cache_ttl_s": 300.0 if step.has_provider_cache else 0.0})
            began = time.monotonic()
            replies = asyncio.run(
                sending.send(
                    running.base_url,
                    steps.key_of(market, step),
                    asks,
                    [
                        json.dumps({"model": step.model(market, ask.kind), **body}).encode()
                        for ask, body in zip(asks, bodies, strict=True)
                    ],
                    seconds=deadline - began,
                    tier_of=market.models,
                    defers=step.defers,
                )
            )
            taken = time.monotonic() - began
            booked = books.read(steps.tenant_of(market, step))
            results.append(
                report.Result(market, step, booked, quality.quality(asks, replies, market.models), taken)
            )
            print(report.progress(results[-1]), flush=True)
        calls = books.check_invoice(running)
        dropped = quality.dropped(bodies, model=steps.MARKETS[0].standard)
    figures: dict[str, Any] = {
        "machine": machine,
        "requests": REQUESTS,
        "seed": SEED,
        "in_flight": sending.IN_FLIGHT,
        "calls_booked_and_invoiced_alike": calls,
        "compression": asdict(dropped),
        **report.figures(results),
    }
    path = results_file.write("savings", figures)
    text = report.markdown(results, dropped, requests=REQUESTS, seed=SEED, calls=calls)
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"written to {path.relative_to(path.parents[2])} and {path.with_suffix('.md').name}")


if __name__ == "__main__":
    main()
