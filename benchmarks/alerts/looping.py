"""How soon an agent's loop is found, and how often honest work is taken for one, by the threshold of `session_repeats`.

Invariant: the sessions are rows of a real ledger, side by side, and the product's own watch (`billing.alerts.loops.find`) looks
at all of them every minute. A rule of ten repeats makes it say how often each session repeated itself.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.alerts.sessions import LOOPS, MINUTE, POLLS, WORK, Session

THRESHOLDS: Final = (20, 25, 30, 35, 40, 45, 50, 60, 80)
ASKED_MINUTES: Final = 10
LEAST: Final = 10
WORKED: Final = 60 * MINUTE  # of a session at work
LOOPED: Final = 20 * MINUTE
EACH: Final = {"work": 8, "loops": 30, "polls": 12}  # sessions of each kind

BOOK = """
INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, usage_source, list_cost, provider_cost, contracted_cost,
    billed_cost, request_id, session, agent, model, input_tokens, output_tokens)
SELECT gen_random_uuid(), at, %(tenant)s, %(period)s, 'provider', 0.01, 0, 0.01, 0.01, gen_random_uuid(), %(session)s,
    agent, model, input, output
FROM unnest(%(at)s::timestamptz[], %(agent)s::text[], %(model)s::text[], %(input)s::int[], %(output)s::int[])
    AS s (at, agent, model, input, output)
"""


def measure(*, seed: int, at: datetime) -> dict[str, Any]:
    """Book all sessions so that they begin an hour before a moment, and look at them minute by minute."""
    from django.db import connection, transaction

    from billing.alerts import loops
    from billing.models import AlertRule
    from tenants.models import Tenant

    begins = at - timedelta(seconds=WORKED)
    tenant = Tenant.objects.create(slug="agents-at-work", name="Agents at work")
    AlertRule.objects.create(tenant=tenant, metric=loops.METRIC, threshold=LEAST)
    rows = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT billing_period_at(%s, %s)", [tenant.pk, begins])
        period = cursor.fetchone()[0]
        for name, requests in _sessions(np.random.default_rng([seed, 13])):
            columns = dict(
                zip(("at", "agent", "model", "input", "output"), zip(*requests, strict=True), strict=True)
            )
            columns["at"] = [begins + timedelta(seconds=second) for second in columns["at"]]
            values = {key: list(column) for key, column in columns.items()}
            cursor.execute(BOOK, {**values, "tenant": tenant.pk, "period": period, "session": name})
            rows += len(requests)
        cursor.execute("ANALYZE billing_usagerecord")
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for minute in range(1, int(WORKED / MINUTE) + 1):
        for found in loops.find(at=begins + timedelta(minutes=minute)):
            seen[found.facts["session"]].append((minute, int(found.value)))
    return {"requests": rows, "work": _work(seen), "loops": _loops(seen), "polls": _polls(seen)}


def _sessions(rng: Any) -> Iterator[tuple[str, list[Any]]]:
    kinds: tuple[tuple[str, Mapping[str, Session], float], ...] = (
        ("work", WORK, WORKED), ("loops", LOOPS, LOOPED), ("polls", POLLS, LOOPED),
    )  # fmt: skip
    for group, sessions, seconds in kinds:
        for name, session in sessions.items():
            for number in range(EACH[group]):
                requests = [one for one in session(rng, seconds) if one.second < seconds]
                yield f"{group}/{name}/{number}", requests


def _work(seen: Mapping[str, list[tuple[int, int]]]) -> dict[str, dict[int, float]]:
    """False alarms for an hour of a session, by kind of work and threshold; one that comes again within its quiet time is one."""
    hours = EACH["work"] * WORKED / 3600
    return {
        name: {
            threshold: round(
                sum(_opened(seen, f"work/{name}/{n}", threshold) for n in range(EACH["work"])) / hours, 3
            )
            for threshold in THRESHOLDS
        }
        for name in WORK
    }


def _loops(seen: Mapping[str, list[tuple[int, int]]]) -> dict[str, dict[int, dict[str, Any]]]:
    """Of the loops, the share that is found within ten minutes and the median minutes until they are."""
    return {
        name: {threshold: _found(seen, f"loops/{name}", threshold) for threshold in THRESHOLDS}
        for name in LOOPS
    }


def _polls(seen: Mapping[str, list[tuple[int, int]]]) -> dict[str, dict[int, float]]:
    """Of agents that look for twenty minutes whether something is done, the percentage that is taken for a loop."""
    return {
        name: {
            threshold: round(
                100
                * sum(_opened(seen, f"polls/{name}/{n}", threshold) > 0 for n in range(EACH["polls"]))
                / EACH["polls"]
            )
            for threshold in THRESHOLDS
        }
        for name in POLLS
    }


def _found(seen: Mapping[str, list[tuple[int, int]]], name: str, threshold: int) -> dict[str, Any]:
    minutes = [
        next((minute for minute, times in seen.get(f"{name}/{n}", ()) if times >= threshold), None)
        for n in range(EACH["loops"])
    ]
    known = [minute for minute in minutes if minute is not None]
    within = sum(minute <= ASKED_MINUTES for minute in known)
    return {
        "within_percent": round(100 * within / len(minutes)),
        "median_minutes": median(known) if known else None,
    }


def _opened(seen: Mapping[str, list[tuple[int, int]]], name: str, threshold: int) -> int:
    from billing.alerts.loops import METRIC
    from billing.alerts.metrics import METRICS

    quiet = METRICS[METRIC].quiet.total_seconds() / 60
    minutes = [minute for minute, times in seen.get(name, ()) if times >= threshold]
    return sum(number == 0 or minute - minutes[number - 1] > quiet for number, minute in enumerate(minutes))
