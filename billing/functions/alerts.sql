-- Budgets whose spent share has passed a threshold: of the budget itself, or of a tenant's rule for all its budgets. Once
-- for a window and a limit: a raised limit makes it news again. Of a window in shards it is the sum that passes; two shards
-- that pass it together, neither seeing the other, are found by billing_alert_shards.
CREATE OR REPLACE FUNCTION public.billing_alert_budgets(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO public.billing_alertevent (
        tenant_id, rule_id, budget_id, metric, subject_key, window_key, value, threshold, message, facts, fired_at, ends_at)
    SELECT w.tenant_id, t.rule_id, b.id, 'budget_percent', k.subject_key, k.window_key,
           trunc(s.spent * 100 / s.limit_amount, 2), t.threshold,
           format('The %s budget%s of %s %s %s is used to %s %%: %s %s spent', replace(b.scope, '_', ' '),
                  CASE WHEN w.subject = '' THEN '' ELSE format(' (%s)', w.subject) END, trim_scale(s.limit_amount), k.unit,
                  CASE b.period WHEN 'total' THEN 'in total' ELSE 'per ' || b.period END,
                  trunc(s.spent * 100 / s.limit_amount, 1), trim_scale(round(s.spent, 6)), k.unit),
           CASE b.scope WHEN 'user' THEN jsonb_build_object('user', left(w.subject, 200)) ELSE '{}' END,
           clock_timestamp(), w.ends_at
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
    WHERE s.id = ANY (p_windows) AND b.scope NOT IN ('run', 'prepaid') AND s.spent * 100 >= t.threshold * s.limit_amount AND s.limit_amount > 0
      AND NOT EXISTS (
        SELECT FROM public.billing_alertevent e
        WHERE e.tenant_id = w.tenant_id AND e.metric = 'budget_percent' AND e.threshold = t.threshold
          AND e.subject_key = k.subject_key AND e.window_key = k.window_key)
    ORDER BY 1, 5, 8
    ON CONFLICT DO NOTHING;
END $$;

-- Notes requests that cost more than their tenant's alert threshold (0.50 USD where it has no rule), and usage that has no price
-- or could not be read, and was billed at a bound. Of one group a rule and subject is one finding, with the worst of its requests;
-- billing.alerts.incidents counts it in an alert. At most 20 subjects of usage in a group.
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
        INSERT INTO public.billing_alertfinding (tenant_id, rule_id, metric, subject_key, value, threshold, count, message, facts)
        SELECT DISTINCT ON (a.tenant_id, a.key_id, t.threshold)
               a.tenant_id, t.rule_id, 'request_cost', coalesce('key:' || a.key_id, ''), s.usd, t.threshold,
               count(*) OVER (PARTITION BY a.tenant_id, a.key_id, t.threshold),
               format('A request to %s cost %s USD (user %s, feature %s, request %s)', left(a.model, 100), trim_scale(s.usd),
                      coalesce(nullif(left(a.user_id, 100), ''), 'not named'),
                      coalesce(nullif(left(a.feature, 100), ''), 'not named'), a.request_id),
               jsonb_build_object('request_id', a.request_id, 'key_id', a.key_id, 'user', left(a.user_id, 200),
                                  'feature', left(a.feature, 200), 'model', left(a.model, 200))
        FROM unnest(p_ids, p_outcomes, p_usd) AS s (id, outcome, usd)
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (
            SELECT r.threshold, r.id AS rule_id FROM public.billing_alertrule r
            WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost' AND r.is_active
            UNION ALL
            SELECT 0.50, NULL WHERE NOT EXISTS (
                SELECT FROM public.billing_alertrule r WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost')) t
        WHERE s.outcome >= 2 AND s.usd > t.threshold
        ORDER BY a.tenant_id, a.key_id, t.threshold, s.usd DESC;
    END IF;

    -- a model without a price is news to its tenant and to the operators, usage that could not be read to the operators,
    -- and to the tenants that have a rule for it
    IF p_records @> '[{"price_status": "unpriced"}]' OR p_records @> '[{"certainty": "unread"}]' THEN
        INSERT INTO public.billing_alertfinding (tenant_id, rule_id, metric, subject_key, value, threshold, count, message, facts)
        SELECT DISTINCT ON (whose.tenant_id, doubt.metric, doubt.subject)
               whose.tenant_id, whose.rule_id, doubt.metric, doubt.subject, s.usd, 0,
               count(*) OVER (PARTITION BY whose.tenant_id, doubt.metric, doubt.subject),
               format(doubt.sentence, left(a.provider || '/' || a.model, 200), left(s.record ->> 'reason', 500), a.request_id),
               jsonb_build_object('request_id', a.request_id, 'model', left(a.model, 200), 'provider', left(a.provider, 200))
               || CASE WHEN whose.tenant_id IS NULL THEN '{}'
                       ELSE jsonb_build_object('key_id', a.key_id, 'user', left(a.user_id, 200)) END
        FROM unnest(p_ids, p_outcomes, p_usd) WITH ORDINALITY AS u (id, outcome, usd, position)
        CROSS JOIN LATERAL (SELECT u.id, u.outcome, u.usd, p_records -> (u.position - 1)::int AS record) s
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (
            SELECT 'unpriced_usage' AS metric, left(a.provider || '/' || a.model, 300) AS subject,
                   'Usage of %s has no price: %s. It was billed at its hold, last in request %s' AS sentence
            WHERE s.record ->> 'price_status' = 'unpriced'
            UNION ALL
            SELECT 'unread_usage',
                   left(a.provider || '/' || a.model, 150)
                   || left(': ' || coalesce(s.record -> 'reading' ->> 'what', s.record ->> 'reason'), 140),
                   'Usage of %s could not be read: %s. It was booked at a bound, last in request %s'
            WHERE s.record ->> 'certainty' = 'unread' AND s.record ->> 'price_status' = 'priced') doubt
        CROSS JOIN LATERAL (
            SELECT NULL::bigint AS tenant_id, NULL::bigint AS rule_id
            UNION ALL
            (SELECT a.tenant_id, r.id FROM (SELECT) one
             LEFT JOIN public.billing_alertrule r
                ON r.tenant_id = a.tenant_id AND r.metric = doubt.metric AND r.is_active
             WHERE doubt.metric = 'unpriced_usage' OR r.id IS NOT NULL
             ORDER BY r.threshold LIMIT 1)) whose
        WHERE s.outcome = 2
        ORDER BY whose.tenant_id, doubt.metric, doubt.subject, s.usd DESC
        LIMIT 20;
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
