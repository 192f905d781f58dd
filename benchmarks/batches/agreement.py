"""Compares what the provider billed, what the ledger says and what the output file holds, line by line.

Invariant: reads only; whatever does not agree ends the benchmark.
"""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db import connection

from benchmarks.batches.client import Client
from benchmarks.batches.site import PRICES, Site, batch_price

BOOKED = """
SELECT i.custom_id, i.request_id::text, i.status, i.cost_usd, r.billed_cost, r.upstream_id,
       r.input_tokens, r.cache_read_tokens, r.output_tokens
FROM llm_batchitem i JOIN llm_batch b ON b.id = i.batch_id
LEFT JOIN billing_usagerecord r ON r.request_id = i.request_id AND r.tenant_id = i.tenant_id
WHERE b.public_id = %s
"""
HELD = "SELECT coalesce(sum(held), 0) FROM billing_budgetwindow"


def compare(site: Site, client: Client, batch: Any) -> dict[str, Any]:
    """How many lines were compared, and what they cost; ends with the first that does not agree."""
    calls = Counter[str]()
    billed = {}
    for call in _calls(site):
        calls[call["custom_id"]] += 1
        billed[call["custom_id"]] = call["billed"]
    answered = Counter(
        row["custom_id"]
        for row in map(json.loads, client.sdk.files.content(batch.output_file_id).iter_lines())
    )
    with connection.cursor() as cursor:
        cursor.execute(BOOKED, [batch.id])
        rows = cursor.fetchall()
        cursor.execute(HELD)
        held = cursor.fetchone()[0]
    total, names = Decimal(0), set()
    for custom_id, request_id, status, cost, booked, _, tokens_in, cached, tokens_out in rows:
        usage = billed.get(request_id, {})
        meters = {"input": tokens_in, "cache_read": cached, "output": tokens_out}
        due = sum((batch_price(meter) * (meters[meter] or 0) / 1_000_000 for meter in PRICES), Decimal(0))
        is_same = {name: count for name, count in meters.items() if count} == {
            name: count for name, count in usage.items() if count
        }
        if status != "completed" or calls[request_id] != 1 or answered[custom_id] != 1 or not is_same:
            raise SystemExit(f"line {custom_id}: {status}, ran {calls[request_id]} times, {usage}, {meters}")
        if not booked == cost == due:
            raise SystemExit(f"line {custom_id} costs {due}, is booked as {booked} and shown as {cost}")
        total += booked
        names.add(custom_id)
    if not len(rows) == len(names) == answered.total() == batch.request_counts.total or held:
        raise SystemExit(
            f"{len(rows)} rows, {answered.total()} answers of {batch.request_counts.total}; held: {held}"
        )
    return {"lines": len(rows), "billed_usd": str(total), "held_usd": str(held)}


def _calls(site: Site) -> Iterator[dict[str, Any]]:
    with site.call_log.open() as log:
        for line in log:
            call = json.loads(line)
            if call["processing"] == "batch":
                yield call
