-- Budgets whose spent share has passed a threshold: of the budget itself, or of a tenant's rule for all its budgets. Once
-- for a window and a limit: a raised limit makes it news again. Of a window in shards it is the sum that passes; two shards
-- that pass it together, neither seeing the other, are found by billing_alert_shards.
CREATE OR REPLACE FUNCTION public.billing_alert_budgets(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO public.billing_alertevent (
        tenant_id, rule_id, budget_id, metric, subject_key, window_key, value, threshold, message, fired_at)
    SELECT w.tenant_id, t.rule_id, b.id, 'budget_percent', k.subject_key, k.window_key,
           trunc(s.spent * 100 / s.limit_amount, 2), t.threshold,
           format('The %s budget%s of %s %s %s is used to %s %%: %s %s spent', replace(b.scope, '_', ' '),
                  CASE WHEN w.subject = '' THEN '' ELSE format(' (%s)', w.subject) END, trim_scale(s.limit_amount), k.unit,
                  CASE b.period WHEN 'total' THEN 'in total' ELSE 'per ' || b.period END,
                  trunc(s.spent * 100 / s.limit_amount, 1), trim_scale(round(s.spent, 6)), k.unit),
           clock_timestamp()
    FROM public.billing_window_now s
    JOIN public.billing_budgetwindow w ON w.id = s.id
    JOIN public.billing_budget b ON b.id = w.budget_id
    JOIN public.tenants_tenant tenant ON tenant.id = w.tenant_id
    CROSS JOIN LATERAL (
        SELECT concat_ws(':', b.id, w.subject, trim_scale(s.limit_amount)) AS subject_key,
               CASE b.period WHEN 'total' THEN 'total'
                             ELSE to_char(w.starts_at AT TIME ZONE tenant.timezone, 'YYYY-MM-DD') END AS window_key,
               CASE b.unit WHEN 'usd' THEN 'USD' ELSE b.unit END AS unit) k
    CROSS JOIN LATERAL (
        SELECT r.threshold, r.id AS rule_id FROM public.billing_alertrule r
        WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active
        UNION ALL
        SELECT percent::numeric, NULL FROM jsonb_array_elements_text(b.alert_at) AS percent
        WHERE NOT EXISTS (
            SELECT FROM public.billing_alertrule r WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active
                AND r.threshold = percent::numeric)) t
    WHERE s.id = ANY (p_windows) AND b.scope <> 'run' AND s.spent * 100 >= t.threshold * s.limit_amount AND s.limit_amount > 0
      AND NOT EXISTS (
        SELECT FROM public.billing_alertevent e
        WHERE e.tenant_id = w.tenant_id AND e.metric = 'budget_percent' AND e.threshold = t.threshold
          AND e.subject_key = k.subject_key AND e.window_key = k.window_key)
    ORDER BY 1, 5, 8
    ON CONFLICT DO NOTHING;
END $$;

-- Requests that cost more than their tenant's alert threshold (0.50 USD where no rule says otherwise), and those whose
-- usage has no price, or could not be read, and was billed at a bound.
CREATE OR REPLACE FUNCTION public.billing_alert_requests(
    p_ids uuid[], p_outcomes int[], p_tenants bigint[], p_usd numeric[], p_records jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    dear numeric;
BEGIN
    SELECT least(0.50, min(threshold)) INTO dear FROM public.billing_alertrule
    WHERE tenant_id = ANY (p_tenants) AND metric = 'request_cost' AND is_active;
    IF (SELECT max(usd) FROM unnest(p_usd) AS usd) > dear THEN
        INSERT INTO public.billing_alertevent (
            tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
        SELECT a.tenant_id, t.rule_id, 'request_cost', a.request_id, '', s.usd, t.threshold,
               format('One request to %s cost %s USD (user %s, feature %s, request %s)', a.model, trim_scale(s.usd),
                      coalesce(nullif(a.user_id, ''), 'not named'), coalesce(nullif(a.feature, ''), 'not named'), a.request_id),
               clock_timestamp()
        FROM unnest(p_ids, p_outcomes, p_usd) AS s (id, outcome, usd)
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (
            SELECT r.threshold, r.id AS rule_id FROM public.billing_alertrule r
            WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost' AND r.is_active
            UNION ALL
            SELECT 0.50, NULL WHERE NOT EXISTS (
                SELECT FROM public.billing_alertrule r WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost')) t
        WHERE s.outcome >= 2 AND s.usd > t.threshold
        ORDER BY 1, 4, 7
        ON CONFLICT DO NOTHING;
    END IF;

    IF p_records @> '[{"price_status": "unpriced"}]' THEN
        INSERT INTO public.billing_alertevent (
            tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
        SELECT DISTINCT ON (a.tenant_id, a.provider, a.model, day.label)
               a.tenant_id, r.id, 'unpriced_usage', a.provider || '/' || a.model, day.label, s.usd, 0,
               format('Usage of %s/%s has no price: %s. It was billed at its hold, first in request %s',
                      a.provider, a.model, p_records -> (s.position - 1)::int ->> 'reason', a.request_id),
               clock_timestamp()
        FROM unnest(p_ids, p_outcomes, p_usd) WITH ORDINALITY AS s (id, outcome, usd, position)
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (SELECT to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS label) day
        LEFT JOIN LATERAL (
            SELECT id FROM public.billing_alertrule WHERE tenant_id = a.tenant_id AND metric = 'unpriced_usage' AND is_active
            LIMIT 1) r ON true
        WHERE s.outcome = 2 AND p_records -> (s.position - 1)::int ->> 'price_status' = 'unpriced'
        ORDER BY a.tenant_id, a.provider, a.model, day.label, a.id
        ON CONFLICT DO NOTHING;
    END IF;

    -- the operators' event, once for a provider's model and kind of doubt; at most 20 kinds a day
    IF p_records @> '[{"certainty": "unread", "price_status": "priced"}]' THEN
        INSERT INTO public.billing_alertevent (metric, subject_key, window_key, value, threshold, message, fired_at)
        SELECT DISTINCT ON (doubt.subject, doubt.what) 'unread_usage', doubt.subject, doubt.what, s.usd, 0,
               format('Usage of %s could not be read: %s. It was booked at a bound, first in request %s',
                      doubt.subject, s.record ->> 'reason', a.request_id),
               clock_timestamp()
        FROM unnest(p_ids, p_outcomes, p_usd) WITH ORDINALITY AS u (id, outcome, usd, position)
        CROSS JOIN LATERAL (SELECT u.id, u.outcome, u.usd, p_records -> (u.position - 1)::int AS record) s
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (
            SELECT left(a.provider || '/' || a.model, 300) AS subject,
                   left(coalesce(s.record -> 'reading' ->> 'what', s.record ->> 'reason'), 100) AS what) doubt
        WHERE s.outcome = 2 AND s.record ->> 'certainty' = 'unread' AND s.record ->> 'price_status' = 'priced'
          AND (SELECT count(*) FROM public.billing_alertevent e
               WHERE e.tenant_id IS NULL AND e.metric = 'unread_usage' AND e.subject_key = doubt.subject
                 AND e.fired_at > now() - interval '1 day') < 20
        ORDER BY doubt.subject, doubt.what, a.id
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Checks all windows in shards that are current, or were a day ago.
CREATE OR REPLACE FUNCTION public.billing_alert_shards() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT public.billing_alert_budgets(array_agg(id ORDER BY id))
    FROM public.billing_budgetwindow
    WHERE shard = 0 AND allowance IS NOT NULL AND (ends_at IS NULL OR ends_at > now() - interval '1 day')
    HAVING count(*) > 0;
$$;
