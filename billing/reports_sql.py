"""The queries of the month report: sums over one tenant's period, each one statement.

Invariant: every query reads the same rows, those of the tenant and period, and rounds nothing.
"""

RECORD = """
record AS (
    SELECT r.*, (r.occurred_at AT TIME ZONE %(timezone)s)::date AS day,
           coalesce((SELECT sum(value::numeric) FROM jsonb_each_text(r.saving)), 0) AS saved
    FROM billing_usagerecord AS r
    WHERE r.tenant_id = %(tenant)s AND r.period_id = %(period)s
)"""

MEASURES = """
count(*) FILTER (WHERE kind = 'usage') AS calls,
count(*) FILTER (WHERE usage_source = 'gateway_cache') AS cache_hits,
count(*) FILTER (WHERE kind = 'usage' AND usage_source = 'estimated') AS estimated_calls,
coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
coalesce(sum(cache_read_tokens), 0)::bigint AS cache_read_tokens,
coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
coalesce(sum(saved_input_tokens + saved_output_tokens), 0)::bigint AS saved_tokens,
coalesce(sum(list_cost), 0) AS list_cost_usd,
coalesce(sum(contracted_cost), 0) AS contracted_cost_usd,
coalesce(sum(billed_cost), 0) AS billed_cost_usd,
coalesce(sum(saved), 0) AS saved_usd"""

TOTALS = f"WITH {RECORD} SELECT {MEASURES} FROM record"

# One scan for all sections; `grouping` is 0 for the column a row is grouped by.
SECTION_ROWS = f"""
WITH {RECORD}, cube AS (
    SELECT CASE 0
               WHEN grouping(user_id) THEN 'users' WHEN grouping(key_id) THEN 'keys'
               WHEN grouping(feature) THEN 'features' WHEN grouping(model) THEN 'models'
               WHEN grouping(cost_center) THEN 'cost_centers' ELSE 'days' END AS section,
           user_id, key_id, feature, provider, model, cost_center, day::text AS day, {MEASURES}
    FROM record
    GROUP BY GROUPING SETS ((user_id), (key_id), (feature), (provider, model), (cost_center), (day))
)
SELECT cube.*, coalesce(person.display_name, '') AS user_name,
       coalesce(key.name, '') AS key_name, coalesce(key.public_id, '') AS key_public_id
FROM cube
LEFT JOIN tenants_enduser AS person ON person.tenant_id = %(tenant)s AND person.external_id = cube.user_id
LEFT JOIN tenants_apikey AS key ON key.tenant_id = %(tenant)s AND key.id = cube.key_id
"""

SAVINGS = f"""
WITH {RECORD}
SELECT step.key AS name, sum(step.value::numeric) AS amount
FROM record CROSS JOIN LATERAL jsonb_each_text(record.saving) AS step
GROUP BY step.key
"""

# The meters of each record, and one `request` line that counts the call and carries what no meter explains:
# nothing on a metered call, the whole amount of a credit. So the lines of a record always make its costs.
DETAIL = f"""
WITH {RECORD}, line AS (
    SELECT l.*
    FROM record JOIN billing_usageline AS l
      ON l.tenant_id = %(tenant)s AND l.record_id = record.id AND l.occurred_at = record.occurred_at
), metered AS (
    SELECT record_id, sum(list_cost) AS list_cost, sum(contracted_cost) AS contracted_cost,
           sum(billed_cost) AS billed_cost
    FROM line GROUP BY record_id
), piece AS (
    SELECT record_id, meter, quantity, per, unit_price, list_cost, contracted_cost, billed_cost, 0 AS saved
    FROM line
    UNION ALL
    SELECT record.id, CASE WHEN record.kind = 'usage' THEN 'request' ELSE record.kind END, 1, 1, NULL,
           record.list_cost - coalesce(metered.list_cost, 0),
           record.contracted_cost - coalesce(metered.contracted_cost, 0),
           record.billed_cost - coalesce(metered.billed_cost, 0), record.saved
    FROM record LEFT JOIN metered ON metered.record_id = record.id
)
SELECT record.day, record.user_id AS user, coalesce(key.name, '') AS api_key,
       coalesce(key.public_id, '') AS api_key_id, record.feature, record.project, record.cost_center,
       record.provider, record.model, record.service_tier, record.processing, record.region, record.kind,
       coalesce(record.charge_class, '') AS charge_class, record.usage_source, piece.meter,
       sum(piece.quantity)::bigint AS quantity, count(*) AS calls, piece.per,
       piece.unit_price AS unit_price_usd,
       sum(piece.list_cost) AS list_cost_usd, sum(piece.contracted_cost) AS contracted_cost_usd,
       sum(piece.billed_cost) AS billed_cost_usd, sum(piece.saved) AS saved_usd, record.tags
FROM piece JOIN record ON record.id = piece.record_id
LEFT JOIN tenants_apikey AS key ON key.tenant_id = %(tenant)s AND key.id = record.key_id
GROUP BY record.day, record.user_id, key.name, key.public_id, record.feature, record.project,
         record.cost_center, record.provider, record.model, record.service_tier, record.processing,
         record.region, record.kind, record.charge_class, record.usage_source, piece.meter, piece.per,
         piece.unit_price, record.tags
ORDER BY record.day, record.user_id, key.name, key.public_id, record.feature, record.provider, record.model,
         piece.meter, record.processing, piece.unit_price, record.tags::text
"""
