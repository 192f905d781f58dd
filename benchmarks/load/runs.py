"""Running scenarios against servers, in a random order and several times, and what they cost.

Invariant: before each measured run the same load warms the server up. A run with an error fails the benchmark: a refusal is
cheaper than an answer.
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load import generators
from benchmarks.load.counters import per_request, snapshot
from benchmarks.load.scenarios import Scenario

WARM_SECONDS = 2.0
LONGER = 5


@dataclass(slots=True)
class Outcome:
    """The figures of a scenario's runs, by name: one number per run."""

    scenario: Scenario
    runs: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.runs.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.runs[name]) if name in self.runs else 0.0

    def spread(self, name: str) -> tuple[float, float]:
        return min(self.runs[name]), max(self.runs[name])

    def as_json(self) -> dict[str, object]:
        figures = {
            name: {"median": round(self.median(name), 4), "runs": [round(value, 4) for value in values]}
            for name, values in self.runs.items()
        }
        scenario = self.scenario
        return {"what": scenario.what, "connections": scenario.connections, "figures": figures}


def run_all(scenarios: Sequence[Scenario], *, repeats: int, seconds: float) -> dict[str, Outcome]:
    """Each scenario `repeats` times, the order drawn anew for each round. By the scenario's name, in their order."""
    outcomes = {scenario.name: Outcome(scenario) for scenario in scenarios}
    for number in range(repeats):
        for scenario in random.sample(scenarios, len(scenarios)):
            figures = run_once(scenario, seconds=seconds)
            outcomes[scenario.name].add(figures)
            print(f"  [{number + 1}/{repeats}] {line_of(scenario.name, figures)}", flush=True)
    return outcomes


def run_once(scenario: Scenario, *, seconds: float) -> dict[str, float]:
    warm = _load(scenario, WARM_SECONDS)
    if warm.requests < scenario.connections:  # so slow that a run would end among the first answers
        seconds *= LONGER
    before = snapshot(scenario.parts, scenario.stores)
    load = _load(scenario, seconds)
    after = snapshot(scenario.parts, scenario.stores)
    if not load.requests:
        raise RuntimeError(f"{scenario.name}: no answer within {seconds:.0f} s")
    return {
        "requests": load.requests,
        "requests_per_second": load.per_second,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        **per_request(before, after, requests=load.requests),
    }


def line_of(name: str, figures: Mapping[str, float]) -> str:
    """The figures of one run in a line."""
    text = f"{name:14} {figures['requests_per_second']:7.1f}/s  gateway {figures['gateway_cpu_ms']:6.3f} ms"
    if "postgres_cpu_ms" in figures:
        text += (
            f"  postgres {figures['postgres_cpu_ms']:6.3f}  redis {figures['redis_cpu_ms']:6.3f}"
            f"  round trips {figures['redis_round_trips']:5.2f}"
            f"  transactions {figures['postgres_transactions']:5.2f}"
            f"  WAL {figures['postgres_wal_bytes']:7,.0f} B in {figures['postgres_wal_records']:4.1f}"
        )
    return (
        text
        + f"  p50 {figures['p50_ms']:6.1f}  p99 {figures['p99_ms']:6.1f} ms  busy {figures['gateway_busy']:4.0%}"
    )


def draw_seed() -> int:
    """The first token of a run: no body of another run comes again."""
    return random.randrange(10**6) * 10**8


def _load(scenario: Scenario, seconds: float) -> generators.Load:
    load = generators.closed_loop(
        scenario.request, connections=scenario.connections, seconds=seconds, seed=draw_seed()
    )
    if load.errors:
        raise RuntimeError(f"{scenario.name}: {load.errors} errors in {load.requests} requests")
    return load
