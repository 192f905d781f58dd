"""After the destruction: the provider's log and our books, call by call.

Invariant: reads only. Whatever it finds wrong is a sentence in `faults`; none means that every call the provider billed
stands in the ledger once, nothing is held, and every budget has spent what the ledger says.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from llm.sandbox.behaviours import PREFIX, behaviours
from tests.chaos.harness import PRICES, Load, Site

ATTEMPTS = """
SELECT id, request_id, state, user_id, model, hold_usd, hold_tokens, void_reason FROM billing_attempt
"""
RECORDS = """
SELECT r.attempt_id, r.seq, r.kind, r.usage_source, r.upstream_id, r.reason, r.billed_cost, r.request_id::text,
       r.input_tokens + r.cache_read_tokens + r.cache_write_tokens AS input_tokens, r.output_tokens,
       (SELECT jsonb_object_agg(l.meter, l.quantity) FROM billing_usageline l
        WHERE l.record_id = r.id AND l.occurred_at = r.occurred_at) AS meters,
       (SELECT sum(l.billed_cost) FROM billing_usageline l
        WHERE l.record_id = r.id AND l.occurred_at = r.occurred_at) AS sum_of_lines
FROM billing_usagerecord r
"""
WINDOWS = """
SELECT b.scope, b.unit, sum(w.held) AS held, sum(w.spent) AS spent
FROM billing_budget b LEFT JOIN billing_budgetwindow w ON w.budget_id = b.id GROUP BY b.id
"""


@dataclass
class Audit:
    """What was compared, and what is wrong."""

    calls: int = 0
    by_figures: int = 0
    of_other_servers: int = 0
    estimated: Counter[str] = field(default_factory=Counter)
    voided: Counter[str] = field(default_factory=Counter)
    billed_usd: Decimal = Decimal(0)
    invoice_usd: Decimal = Decimal(0)
    short_by_usd: Decimal = Decimal(0)
    faults: list[str] = field(default_factory=list)


def audit(site: Site, load: Load) -> Audit:
    """Compare everything. The site is at rest, and the reaper has run."""
    calls = [json.loads(line) for line in site.call_log.read_text().splitlines()]
    with psycopg.connect(site.postgres.url, row_factory=namedtuple_row) as connection:
        attempts = {row.id: row for row in connection.execute(ATTEMPTS).fetchall()}
        records = connection.execute(RECORDS).fetchall()
        windows = connection.execute(WINDOWS).fetchall()
    found = Audit(calls=len(calls), billed_usd=sum((row.billed_cost for row in records), Decimal(0)))
    _check_attempts(found, attempts, records)
    _check_calls(found, calls, attempts, records)
    _check_clients(found, load, records)
    tokens = sum(row.input_tokens + row.output_tokens for row in records)
    spent = {"usd": found.billed_usd, "tokens": tokens, "requests": len(records)}
    for window in windows:
        if window.held or window.spent != spent[window.unit]:
            found.faults.append(f"the ledger says {spent[window.unit]}, the budget {window}")
    return found


def _check_attempts(found: Audit, attempts: dict[Any, Any], records: list[Any]) -> None:
    """Every attempt has ended, with one row of its own or, voided, with none."""
    rows = Counter(record.attempt_id for record in records)
    for attempt in attempts.values():
        if attempt.state in ("held", "sent"):
            found.faults.append(f"still open: {attempt}")
        if attempt.state == "voided":
            found.voided[attempt.void_reason] += 1
        if rows.pop(attempt.id, 0) != (attempt.state != "voided"):
            found.faults.append(f"not one row for {attempt}")
    found.faults += [f"a row without an attempt: {attempt_id}" for attempt_id in rows]
    for record in records:
        if record.sum_of_lines != record.billed_cost or (record.seq, record.kind) != (0, "usage"):
            found.faults.append(f"not the sum of its lines, or no usage: {record}")


def _check_calls(found: Audit, calls: list[Any], attempts: dict[Any, Any], records: list[Any]) -> None:
    """Each call the provider knows is booked once: by its own figures, or as an estimate of the same caller's attempt."""
    by_upstream = {row.upstream_id: row for row in records if row.usage_source == "provider"}
    estimates: dict[str, list[Any]] = {}
    for row in records:
        if row.usage_source != "provider":
            found.estimated[row.reason] += 1
            estimates.setdefault(attempts[row.attempt_id].user_id, []).append(row)
    found.by_figures = len(by_upstream)
    if len(by_upstream) + sum(found.estimated.values()) != len(records):
        found.faults.append("two rows for one call of the provider")
    for call in calls:
        cost = _cost(call)
        found.invoice_usd += cost
        found.of_other_servers += call["fault"].startswith(PREFIX)
        row = by_upstream.pop(call["request_id"], None)
        if row is not None:
            is_as_billed = (row.meters, row.billed_cost) == (call["billed"], cost)
            if not is_as_billed and not (_may_be_bound(call) and row.billed_cost >= cost):
                found.faults.append(f"{row} is not what the provider billed: {call}")
        elif mine := estimates.get(call["user"]):
            _check_estimate(found, mine.pop(), call, cost, attempts)
        elif cost:
            found.faults.append(f"a call that nobody booked: {call}")
    found.faults += [f"a row the provider does not know: {row}" for row in by_upstream.values()]
    never_seen = {
        row.reason
        for rows in estimates.values()
        for row in rows
        if row.reason.startswith("worker lost: progress")
    }
    found.faults += [f"progress of a call the provider never had: {reason}" for reason in never_seen]


def _may_be_bound(call: Any) -> bool:
    """Whether the server's own figures cannot be plainly read, so that more than it billed is right, and less is not."""
    name = call["fault"].removeprefix(PREFIX)
    return name in behaviours() and behaviours()[name].ledger != "exact"


def _check_estimate(found: Audit, row: Any, call: Any, cost: Decimal, attempts: dict[Any, Any]) -> None:
    """An estimate is what the provider billed or more, unless it says that it goes by what we had seen."""
    if attempts[row.attempt_id].hold_usd < cost:
        found.faults.append(f"billed more than was held for {attempts[row.attempt_id]}: {call}")
    if row.billed_cost >= cost:
        return
    found.short_by_usd += cost - row.billed_cost
    billed_input = sum(quantity for meter, quantity in call["billed"].items() if meter != "output")
    goes_by_what_was_seen = row.reason in ("worker lost: progress", "client_gone", "provider_error")
    if not goes_by_what_was_seen or row.input_tokens < billed_input:
        found.faults.append(f"{row} is less than the provider billed, and does not say why: {call}")


def _check_clients(found: Audit, load: Load, records: list[Any]) -> None:
    """Whoever got a whole answer has a row for it."""
    booked = {record.request_id for record in records}
    for told in load.told:
        if told.status == 200 and told.request_id not in booked:
            found.faults.append(f"answered and not booked: {told}")


def _cost(call: Any) -> Decimal:
    prices = PRICES[call["model"]]
    return sum(
        (Decimal(prices[meter]) * quantity / 1_000_000 for meter, quantity in call["billed"].items()),
        Decimal(0),
    )
