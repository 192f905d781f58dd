"""Finds agents that go round in circles: nearly the same request again and again in one session.

What was asked is not stored, so the ledger's counters say it: a loop asks the same model with equally long input, or, where each
turn is appended to the input, gets equally long answers or results of its tools. Where a model thinks, no two answers are equally
long; what the input grew by is, or what it grew by besides the answer. A loop of two steps has two lengths. An answer or a
result of a few tokens is as long as many others, and says nothing; neither does one to an input that did not grow, as when many
texts are classified.

Invariant: ten minutes of the ledger are read once for all tenants, and at most MOST_FOUND sessions are told of, the worst first.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.rules import RULES, parameters
from billing.ledger.measures import REQUEST, ledger

METRIC: Final = "session_repeats"
LOOKED_AT: Final = timedelta(minutes=10)
LEAST_ANSWER: Final = 16  # tokens
LEAST_GROWTH: Final = 32
MOST_FOUND: Final = 1_000

LENGTHS: Final = 2  # of the steps of a loop
WHAT: Final = {"input": "input", "answers": "answers", "growth": "added turns", "results": "results of tools"}

_TIME: Final = "r.occurred_at >= %(since)s AND r.occurred_at < %(at)s"


def repeats(where: str, *, slot: str) -> str:
    """The CTEs in front of `worst`: of each session and time (`slot`) how often it repeated itself. `where` bounds the rows."""
    return f"""
WITH asked AS (
    SELECT r.tenant_id, {slot} AS slot, r.session, r.agent, r.model, r.billed_cost, r.occurred_at, r.id,
           r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.saved_input_tokens AS input,
           r.output_tokens + r.saved_output_tokens AS output
    FROM {ledger(where)}
    WHERE {where} AND r.session <> '' AND {REQUEST}),
grown AS (
    SELECT *, input > coalesce(max(input) OVER before, 0) AS has_grown,
           input - last_value(input) OVER before AS growth, input - last_value(input + output) OVER before AS results
    FROM asked
    WINDOW before AS (PARTITION BY tenant_id, slot, session, agent, model ORDER BY occurred_at, id
                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
lengths AS (
    SELECT tenant_id, slot, session, agent, model, 'input' AS what, count(*) AS times, sum(billed_cost) AS usd
    FROM grown WHERE input > 0 GROUP BY tenant_id, slot, session, agent, model, input
    UNION ALL
    SELECT tenant_id, slot, session, agent, model, 'answers', count(*), sum(billed_cost)
    FROM grown WHERE output >= {LEAST_ANSWER} AND has_grown GROUP BY tenant_id, slot, session, agent, model, output
    UNION ALL
    SELECT tenant_id, slot, session, agent, model, 'growth', count(*), sum(billed_cost)
    FROM grown WHERE growth >= {LEAST_GROWTH} AND has_grown GROUP BY tenant_id, slot, session, agent, model, growth
    UNION ALL
    SELECT tenant_id, slot, session, agent, model, 'results', count(*), sum(billed_cost)
    FROM grown WHERE results >= {LEAST_GROWTH} AND has_grown GROUP BY tenant_id, slot, session, agent, model, results),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY tenant_id, slot, session, agent, model, what ORDER BY times DESC) AS place
    FROM lengths),
alike AS (
    SELECT tenant_id, slot, session, agent, model, what, sum(times) AS times, sum(usd) AS usd
    FROM ranked WHERE place <= {LENGTHS} AND times > 1 GROUP BY tenant_id, slot, session, agent, model, what),
worst AS (
    SELECT DISTINCT ON (tenant_id, slot, session) * FROM alike ORDER BY tenant_id, slot, session, times DESC, usd DESC)
"""


LOOPS: Final = f"""{repeats(_TIME, slot="0")}
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, w.session, w.agent, w.model, w.what, w.times, w.usd
FROM worst w JOIN {RULES} r ON r.tenant_id = w.tenant_id
WHERE w.times >= r.threshold
ORDER BY w.times DESC LIMIT %(most)s
"""


def find(*, at: datetime) -> list[Finding]:
    """The sessions that repeat themselves."""
    asked: dict[str, Any] = {
        "since": at - LOOKED_AT,
        "at": at,
        "most": MOST_FOUND,
    }
    with connection.cursor() as cursor:
        cursor.execute(LOOPS, {**asked, **parameters(METRIC)})
        rows = cursor.fetchall()
    return [
        Finding(
            tenant_id, METRIC, f"session/{session}", times, threshold, rule_id=rule_id, at=at,
            message=f"Session {session} of {slug} asked {model} {times} times within ten minutes with {WHAT[what]} of the "
            f"same one or two lengths, for {usd:.4f} USD: a loop?",
            facts={"session": session, "agent": agent, "model": model, "usd": f"{usd:.6f}"},
        )
        for tenant_id, rule_id, threshold, slug, session, agent, model, what, times, usd in rows
    ]  # fmt: skip
