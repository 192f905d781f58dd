"""The ledger's rows of sessions and runs, summed by hour.

Invariant: a day is built as a whole, together with the other sums of that day (`billing.ledger.rollups`), so an hour is true
for as long as its day has no mark.
"""

from typing import Final

from billing.ledger.measures import LIST_USD, REQUESTS, ledger

KEYS: Final = ("session", "run", "agent", "parent_agent", "agent_type", "user_id", "key_id", "model")
# what each is the sum of, in rows `r` of the ledger
SUMS: Final = {
    "requests": REQUESTS,
    "input_tokens": "sum(r.input_tokens + r.cache_read_tokens + r.cache_write_tokens)",
    "output_tokens": "sum(r.output_tokens)",
    "list_cost": LIST_USD,
    "billed_cost": "sum(r.billed_cost)",
}
HOUR: Final = "date_trunc('hour', r.occurred_at, 'UTC')"

_OF_DAY: Final = """r.tenant_id = %(tenant)s
  AND r.occurred_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
  AND r.occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
  AND (r.session > '' OR r.run > '')"""

CLEAR: Final = """
DELETE FROM billing_agenthour WHERE tenant_id = %(tenant)s
  AND hour >= %(day)s::date::timestamp AT TIME ZONE 'UTC' AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
"""
REBUILD: Final = f"""
INSERT INTO billing_agenthour (tenant_id, hour, {", ".join(KEYS)}, {", ".join(SUMS)})
SELECT r.tenant_id, {HOUR}, {", ".join(f"r.{name}" for name in KEYS)}, {", ".join(SUMS.values())}
FROM {ledger(_OF_DAY)}
WHERE {_OF_DAY}
GROUP BY r.tenant_id, {HOUR}, {", ".join(f"r.{name}" for name in KEYS)}
"""
