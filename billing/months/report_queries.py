"""The queries of the month report: sums over one tenant's period, each one statement.

Invariant: every query reads the same rows, those of the tenant and period, and rounds nothing. The ledger is cut as
finely as the detail shows it; coarser cuts are sums of these, and the totals, which do not go that way, prove them.
"""

# What a row of the detail is told apart by, besides its meter and its price.
CUT = (
    *("day", "user_id", "key_id", "feature", "project", "cost_center", "provider", "model", "service_tier"),
    *("processing", "region", "kind", "charge_class", "usage_source", "tags"),
)
DAY = "(r.occurred_at AT TIME ZONE %(timezone)s)::date AS day"
COLUMNS = ", ".join(DAY if name == "day" else f"r.{name}" for name in CUT)
NUMBERS = ", ".join(str(number) for number in range(1, len(CUT) + 1))
MONTH = "r.tenant_id = %(tenant)s AND r.period_id = %(period)s"

MEASURES = """
count(*) FILTER (WHERE r.kind = 'usage') AS calls,
count(*) FILTER (WHERE r.usage_source = 'gateway_cache') AS cache_hits,
count(*) FILTER (WHERE r.kind = 'usage' AND r.usage_source = 'estimated') AS estimated_calls,
coalesce(sum(r.input_tokens), 0)::bigint AS input_tokens,
coalesce(sum(r.cache_read_tokens), 0)::bigint AS cache_read_tokens,
coalesce(sum(r.cache_write_tokens), 0)::bigint AS cache_write_tokens,
coalesce(sum(r.output_tokens), 0)::bigint AS output_tokens,
coalesce(sum(r.saved_input_tokens + r.saved_output_tokens), 0)::bigint AS saved_tokens,
coalesce(sum(r.list_cost), 0) AS list_cost_usd,
coalesce(sum(r.contracted_cost), 0) AS contracted_cost_usd,
coalesce(sum(r.billed_cost), 0) AS billed_cost_usd,
coalesce(sum((SELECT sum(value::numeric) FROM jsonb_each_text(r.saving))), 0) AS saved_usd"""

TOTALS = f"SELECT {MEASURES} FROM billing_usagerecord AS r WHERE {MONTH}"

RECORDS = f"""
SELECT {COLUMNS}, count(*) AS rows, {MEASURES}
FROM billing_usagerecord AS r WHERE {MONTH} GROUP BY {NUMBERS}
"""

METERS = f"""
SELECT {COLUMNS}, l.meter, l.per, l.unit_price, sum(l.quantity)::bigint AS quantity, count(*) AS rows,
       sum(l.list_cost) AS list_cost_usd, sum(l.contracted_cost) AS contracted_cost_usd,
       sum(l.billed_cost) AS billed_cost_usd
FROM billing_usagerecord AS r
JOIN billing_usageline AS l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
WHERE {MONTH} GROUP BY {NUMBERS}, l.meter, l.per, l.unit_price
"""

SAVINGS = f"""
SELECT step.key AS name, sum(step.value::numeric) AS amount
FROM billing_usagerecord AS r CROSS JOIN LATERAL jsonb_each_text(r.saving) AS step
WHERE {MONTH} GROUP BY step.key
"""

KEYS = "SELECT id, name, public_id FROM tenants_apikey WHERE tenant_id = %(tenant)s"
PEOPLE = "SELECT external_id, display_name FROM tenants_enduser WHERE tenant_id = %(tenant)s"
