-- What was held for a call, what was counted ahead, and what it came to: calls that were answered whole and billed by the
-- provider's own figures. occurred_at is the ledger's, so that a condition on it chooses partitions.
CREATE VIEW billing_settled_estimates AS
SELECT r.id, r.occurred_at, r.tenant_id, a.provider, a.model, a.processing, a.dims ->> 'shape' AS shape,
       (a.dims ->> 'counted_input_tokens')::bigint AS counted_input_tokens,
       r.input_tokens + r.cache_read_tokens + r.cache_write_tokens AS input_tokens,
       r.output_tokens, a.hold_tokens, a.hold_usd, r.billed_cost AS billed_usd
FROM billing_usagerecord r
JOIN billing_attempt a ON a.id = r.id
WHERE r.kind = 'usage' AND r.usage_source = 'provider' AND a.state = 'captured'
  AND a.dims ? 'counted_input_tokens' AND a.dims ? 'shape';
