-- Rows of `billing_usagedaily` that came (argument '1') or went ('-1') are added to the sums of their periods, or taken away. Once
-- for a statement, over its rows, which its trigger calls `changed`; so the sums of a period are those of its days, whoever
-- changes them (TRUNCATE alone is no change of rows: empty both tables). Sums of numeric are exact in any order.
CREATE OR REPLACE FUNCTION public.billing_keep_period_sums() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET work_mem = '64MB' AS $$  -- a great day fits
DECLARE
    sign int := TG_ARGV[0]::int;
BEGIN
    INSERT INTO public.billing_periodsum AS s (
        tenant_id, period_id, dimension, provider, value, last_day, records, requests, calls, further_calls, own_calls, cache_hits,
        estimated_requests, unallocated_requests, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, saved_tokens,
        list_cost_usd, saved_usd, contracted_cost_usd, corrections_usd, adjustments_usd, credits_usd, commitments_usd,
        billed_cost_usd, exact_usd, estimated_usd, unread_usd, least_usd, most_usd, unallocated_usd)
    SELECT d.tenant_id, d.period_id,
           CASE WHEN grouping(d.day) = 0 THEN 'day' WHEN grouping(d.user_id) = 0 THEN 'user_id'
                WHEN grouping(d.key_id) = 0 THEN 'key_id' WHEN grouping(d.feature) = 0 THEN 'feature'
                WHEN grouping(d.project) = 0 THEN 'project' WHEN grouping(d.cost_center) = 0 THEN 'cost_center'
                WHEN grouping(d.missing_tags) = 0 THEN 'missing_tags' WHEN grouping(d.model) = 0 THEN 'model'
                ELSE 'certainty' END,
           coalesce(d.provider, ''),
           coalesce(d.day::text, d.user_id, d.key_id::text, d.feature, d.project, d.cost_center, d.missing_tags, d.model,
                    d.certainty, ''),
           CASE WHEN sign > 0 THEN max(d.day) END, sign * sum(d.records), sign * sum(d.requests), sign * sum(d.calls), sign * sum(d.further_calls),
           sign * sum(d.own_calls), sign * coalesce(sum(d.requests) FILTER (WHERE d.usage_source = 'gateway_cache'), 0),
           sign * coalesce(sum(d.requests) FILTER (WHERE d.usage_source = 'estimated'), 0),
           sign * coalesce(sum(d.requests) FILTER (WHERE d.missing_tags <> ''), 0),
           sign * sum(d.input_tokens), sign * sum(d.cache_read_tokens), sign * sum(d.cache_write_tokens),
           sign * sum(d.output_tokens), sign * sum(d.saved_input_tokens + d.saved_output_tokens),
           sign * sum(d.list_cost), sign * sum(d.saved_cost), sign * sum(d.contracted_cost),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.kind = 'correction'), 0),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.kind = 'adjustment'), 0),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.kind = 'credit'), 0),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.kind = 'commitment'), 0),
           sign * sum(d.billed_cost), sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.certainty = 'exact'), 0),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.certainty = 'estimated'), 0),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.certainty = 'unread'), 0),
           sign * sum(d.least_cost), sign * sum(d.most_cost),
           sign * coalesce(sum(d.billed_cost) FILTER (WHERE d.missing_tags <> ''), 0)
    FROM changed d WHERE d.period_id IS NOT NULL
    GROUP BY GROUPING SETS (
        (d.tenant_id, d.period_id, d.day), (d.tenant_id, d.period_id, d.user_id), (d.tenant_id, d.period_id, d.key_id),
        (d.tenant_id, d.period_id, d.feature), (d.tenant_id, d.period_id, d.project), (d.tenant_id, d.period_id, d.cost_center),
        (d.tenant_id, d.period_id, d.missing_tags), (d.tenant_id, d.period_id, d.provider, d.model),
        (d.tenant_id, d.period_id, d.certainty))
    UNION ALL
    SELECT d.tenant_id, d.period_id, 'saving', '', saved.key, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           sign * sum(saved.value::numeric), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM changed d CROSS JOIN LATERAL jsonb_each_text(d.saving) AS saved
    WHERE d.period_id IS NOT NULL GROUP BY d.tenant_id, d.period_id, saved.key
    ON CONFLICT (tenant_id, period_id, dimension, value, provider) DO UPDATE SET
        refreshed_at = now(), last_day = greatest(s.last_day, excluded.last_day),
        records = s.records + excluded.records, requests = s.requests + excluded.requests, calls = s.calls + excluded.calls,
        further_calls = s.further_calls + excluded.further_calls, own_calls = s.own_calls + excluded.own_calls,
        cache_hits = s.cache_hits + excluded.cache_hits,
        estimated_requests = s.estimated_requests + excluded.estimated_requests,
        unallocated_requests = s.unallocated_requests + excluded.unallocated_requests,
        input_tokens = s.input_tokens + excluded.input_tokens,
        cache_read_tokens = s.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = s.cache_write_tokens + excluded.cache_write_tokens,
        output_tokens = s.output_tokens + excluded.output_tokens, saved_tokens = s.saved_tokens + excluded.saved_tokens,
        list_cost_usd = s.list_cost_usd + excluded.list_cost_usd, saved_usd = s.saved_usd + excluded.saved_usd,
        contracted_cost_usd = s.contracted_cost_usd + excluded.contracted_cost_usd,
        corrections_usd = s.corrections_usd + excluded.corrections_usd,
        adjustments_usd = s.adjustments_usd + excluded.adjustments_usd, credits_usd = s.credits_usd + excluded.credits_usd,
        commitments_usd = s.commitments_usd + excluded.commitments_usd,
        billed_cost_usd = s.billed_cost_usd + excluded.billed_cost_usd, exact_usd = s.exact_usd + excluded.exact_usd,
        estimated_usd = s.estimated_usd + excluded.estimated_usd, unread_usd = s.unread_usd + excluded.unread_usd,
        least_usd = s.least_usd + excluded.least_usd, most_usd = s.most_usd + excluded.most_usd,
        unallocated_usd = s.unallocated_usd + excluded.unallocated_usd;
    RETURN NULL;
END $$;
