-- Admission and settlement of whole groups: one call, one transaction. They run as the owner, since a group holds
-- calls of several tenants; each row names its own. Locks are always taken in the order attempts by id, then windows
-- by id, so groups cannot deadlock.

-- The windows' state as everybody must see it: the limit is read here, with the raises that count now, never copied.
CREATE FUNCTION billing_window_state(p_windows bigint[])
RETURNS TABLE (window_id bigint, limit_amount numeric, spent numeric, held numeric, is_hard boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT w.id,
           b.limit_amount + coalesce(
               (SELECT sum(r.extra_amount) FROM billing_budgetraise r
                WHERE r.budget_id = b.id AND r.starts_at <= now() AND r.ends_at > now()), 0),
           w.spent, w.held, b.mode = 'hard' AND b.is_active
    FROM unnest(p_windows) WITH ORDINALITY AS asked (id, position)
    JOIN billing_budgetwindow w ON w.id = asked.id
    JOIN billing_budget b ON b.id = w.budget_id
    ORDER BY asked.position
$$;

-- Makes windows that are not there yet; returns their ids in the order asked.
CREATE FUNCTION billing_ensure_windows(
    p_budgets bigint[], p_tenants bigint[], p_subjects text[], p_starts timestamptz[], p_ends timestamptz[], p_units text[]
) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_budgetwindow (budget_id, tenant_id, subject, starts_at, ends_at, unit, held, spent, overrun)
    SELECT u.budget, b.tenant_id, u.subject, u.starts, u.ends, u.unit, 0, 0, 0
    FROM unnest(p_budgets, p_tenants, p_subjects, p_starts, p_ends, p_units) AS u (budget, tenant, subject, starts, ends, unit)
    JOIN billing_budget b ON b.id = u.budget AND b.tenant_id = u.tenant
    ORDER BY 1, 3, 4
    ON CONFLICT (budget_id, subject, starts_at) DO NOTHING;
    RETURN (
        SELECT array_agg(w.id ORDER BY u.position)
        FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS u (budget, subject, starts, position)
        LEFT JOIN billing_budgetwindow w
            ON w.budget_id = u.budget AND w.subject = u.subject AND w.starts_at = u.starts
    );
END $$;

CREATE FUNCTION billing_ensure_period(p_tenant bigint, p_label text, p_start timestamptz, p_end timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_billingperiod (tenant_id, label, starts_at, ends_at, status, digest)
    VALUES (p_tenant, p_label, p_start, p_end, 'open', '') ON CONFLICT (tenant_id, label) DO NOTHING;
    RETURN (SELECT id FROM billing_billingperiod WHERE tenant_id = p_tenant AND label = p_label);
END $$;

-- Admits a group. p_windows: every window of the group, once, by id. The three hold arrays run in parallel, sorted by
-- attempt: attempt h_attempt[i] (from 1) wants h_amount[i] of window p_windows[h_window[i]].
-- outcomes: 0 admitted, -1 known already, k > 0 refused by window p_windows[k].
CREATE FUNCTION billing_admit(
    p_attempts jsonb, p_windows bigint[], h_attempt int[], h_window int[], h_amount numeric[],
    OUT outcomes int[], OUT limits numeric[], OUT spents numeric[], OUT helds numeric[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    hards boolean[];
    known uuid[];
    attempt_count int := jsonb_array_length(p_attempts);
    hold_count int := coalesce(cardinality(h_attempt), 0);
    first_hold int := 1;
    next_hold int;
    refused_by int;
    room numeric;
    least_room numeric;
    k int;
BEGIN
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (p_windows) ORDER BY id FOR UPDATE;
    -- a statement of its own: it sees what those before us committed while we waited
    SELECT array_agg(s.limit_amount ORDER BY s.window_id), array_agg(s.spent ORDER BY s.window_id),
           array_agg(s.held ORDER BY s.window_id), array_agg(s.is_hard ORDER BY s.window_id)
    INTO limits, spents, helds, hards FROM billing_window_state(p_windows) s;
    IF coalesce(cardinality(limits), 0) <> coalesce(cardinality(p_windows), 0) THEN
        RAISE EXCEPTION 'unknown budget window' USING ERRCODE = 'no_data_found';
    END IF;
    SELECT array_agg(a.id) INTO known FROM billing_attempt a
    JOIN jsonb_to_recordset(p_attempts) AS n (request_id uuid, attempt_no smallint)
        ON a.request_id = n.request_id AND a.attempt_no = n.attempt_no;

    FOR i IN 1..attempt_count LOOP
        refused_by := 0;
        least_room := NULL;
        next_hold := first_hold;
        WHILE next_hold <= hold_count AND h_attempt[next_hold] = i LOOP
            k := h_window[next_hold];
            room := limits[k] - spents[k] - helds[k];
            IF hards[k] AND h_amount[next_hold] > room
                AND (refused_by = 0 OR room / greatest(limits[k], 1e-12) < least_room) THEN
                refused_by := k;
                least_room := room / greatest(limits[k], 1e-12);
            END IF;
            next_hold := next_hold + 1;
        END LOOP;
        IF known IS NOT NULL AND (p_attempts -> (i - 1) ->> 'id')::uuid = ANY (known) THEN
            refused_by := -1;
        END IF;
        IF refused_by = 0 THEN
            WHILE first_hold < next_hold LOOP
                helds[h_window[first_hold]] := helds[h_window[first_hold]] + h_amount[first_hold];
                first_hold := first_hold + 1;
            END LOOP;
        END IF;
        first_hold := next_hold;
        outcomes[i] := refused_by;
    END LOOP;

    UPDATE billing_budgetwindow w SET held = u.held
    FROM unnest(p_windows, helds) AS u (id, held) WHERE w.id = u.id AND w.held <> u.held;
    INSERT INTO billing_attempt (
        id, tenant_id, request_id, attempt_no, key_id, user_id, feature, provider, model, processing, occurred_at,
        hold_usd, hold_tokens, window_ids, hold_amounts, state, sent_at, expires_at, void_reason, dims)
    SELECT n.id, n.tenant_id, n.request_id, n.attempt_no, n.key_id, n.user_id, n.feature, n.provider, n.model, n.processing,
           n.occurred_at, n.hold_usd, n.hold_tokens, n.window_ids, n.hold_amounts, 'sent', clock_timestamp(),
           clock_timestamp() + make_interval(secs => n.ttl_seconds), '', n.dims
    FROM ROWS FROM (jsonb_to_recordset(p_attempts) AS (
        id uuid, tenant_id bigint, request_id uuid, attempt_no smallint, key_id bigint, user_id text, feature text,
        provider text, model text, processing text, occurred_at timestamptz, hold_usd numeric, hold_tokens bigint,
        window_ids bigint[], hold_amounts numeric[], ttl_seconds float8, dims jsonb)) WITH ORDINALITY
        AS n (id, tenant_id, request_id, attempt_no, key_id, user_id, feature, provider, model, processing, occurred_at,
              hold_usd, hold_tokens, window_ids, hold_amounts, ttl_seconds, dims, position)
    WHERE outcomes[n.position] = 0;
END $$;

-- Events of budgets whose used share passed a threshold between two sums, and of requests that cost too much.
CREATE FUNCTION billing_budget_events(p_windows bigint[], p_before numeric[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO billing_alertevent (
        tenant_id, rule_id, budget_id, metric, subject_key, window_key, threshold, value, message, fired_at)
    SELECT w.tenant_id, t.rule_id, b.id, 'budget_percent', 'budget:' || b.id || ':' || w.subject, to_char(w.starts_at, 'YYYY-MM-DD"T"HH24:MI'),
           t.threshold, round(w.spent * 100 / s.limit_amount, 2),
           format('Tenant %s: the %s budget%s is used to %s %% (%s of %s %s per %s)',
                  tenant.slug, b.scope, CASE WHEN w.subject = '' THEN '' ELSE ' of ' || w.subject END,
                  round(w.spent * 100 / s.limit_amount, 1), trim_scale(w.spent), trim_scale(s.limit_amount), b.unit, b.period),
           clock_timestamp()
    FROM unnest(p_windows, p_before) AS u (id, before)
    JOIN billing_budgetwindow w ON w.id = u.id AND w.spent > u.before
    JOIN billing_budget b ON b.id = w.budget_id
    JOIN tenants_tenant tenant ON tenant.id = w.tenant_id
    JOIN billing_window_state(p_windows) s ON s.window_id = w.id AND s.limit_amount > 0
    CROSS JOIN LATERAL (
        SELECT percent::numeric AS threshold, NULL::bigint AS rule_id FROM jsonb_array_elements_text(b.alert_at) AS percent
        WHERE NOT EXISTS (
            SELECT FROM billing_alertrule r WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent'
                AND r.is_active AND r.threshold = percent::numeric)
        UNION ALL
        SELECT r.threshold, r.id FROM billing_alertrule r
        WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active
    ) t
    WHERE u.before * 100 < t.threshold * s.limit_amount AND w.spent * 100 >= t.threshold * s.limit_amount
    ON CONFLICT DO NOTHING
$$;

-- One settlement: its attempt, how it ended, what it cost, and its ledger record with lines (none for a void).
CREATE TYPE billing_settlement AS (
    attempt_id uuid, state text, usd numeric, tokens bigint, requests bigint,
    period_id bigint, open_period_id bigint, reason text, record jsonb, lines jsonb
);

-- Settles a group; idempotent by attempt. Returns per settlement the attempt's state before us ('held' and 'sent' are
-- what we settled; anything else had ended already, '' is unknown), and the state of every window touched.
CREATE FUNCTION billing_settle(
    p_settlements jsonb,
    OUT states text[], OUT windows bigint[], OUT limits numeric[], OUT spents numeric[], OUT helds numeric[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    live uuid[];
    deltas_held numeric[];
    deltas_spent numeric[];
    deltas_overrun numeric[];
    before numeric[];
BEGIN
    PERFORM 1 FROM billing_attempt a
    WHERE a.id IN (SELECT (s ->> 'attempt_id')::uuid FROM jsonb_array_elements(p_settlements) s)
    ORDER BY a.id FOR UPDATE;
    SELECT array_agg(coalesce(a.state, '') ORDER BY s.position),
           array_agg(DISTINCT a.id) FILTER (WHERE a.state IN ('held', 'sent'))
    INTO states, live
    FROM jsonb_array_elements(p_settlements) WITH ORDINALITY AS s (item, position)
    LEFT JOIN billing_attempt a ON a.id = (s.item ->> 'attempt_id')::uuid;
    IF live IS NULL THEN
        live := '{}';
    END IF;

    SELECT array_agg(w.id ORDER BY w.id) INTO windows FROM (
        SELECT DISTINCT unnest(a.window_ids) AS id FROM billing_attempt a
        WHERE a.id IN (SELECT (s ->> 'attempt_id')::uuid FROM jsonb_array_elements(p_settlements) s)) w;
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (windows) ORDER BY id FOR UPDATE;

    SELECT array_agg(d.held ORDER BY d.id), array_agg(d.spent ORDER BY d.id), array_agg(d.overrun ORDER BY d.id),
           array_agg(d.before ORDER BY d.id)
    INTO deltas_held, deltas_spent, deltas_overrun, before
    FROM (
        SELECT w.id, w.spent AS before, coalesce(sum(m.amount), 0) AS held, coalesce(sum(m.actual), 0) AS spent,
               coalesce(sum(greatest(m.actual - m.amount, 0)), 0) AS overrun
        FROM billing_budgetwindow w
        LEFT JOIN (
            SELECT h.window_id, h.amount,
                   CASE hw.unit WHEN 'usd' THEN s.usd WHEN 'tokens' THEN s.tokens ELSE s.requests END AS actual
            FROM (SELECT DISTINCT ON (attempt_id) * FROM jsonb_populate_recordset(NULL::billing_settlement, p_settlements)) s
            JOIN billing_attempt a ON a.id = s.attempt_id AND a.id = ANY (live)
            CROSS JOIN LATERAL unnest(a.window_ids, a.hold_amounts) AS h (window_id, amount)
            JOIN billing_budgetwindow hw ON hw.id = h.window_id
        ) m ON m.window_id = w.id
        WHERE w.id = ANY (windows)
        GROUP BY w.id, w.spent
    ) d;
    UPDATE billing_budgetwindow w
    SET held = w.held - u.held, spent = w.spent + u.spent, overrun = w.overrun + u.overrun
    FROM unnest(windows, deltas_held, deltas_spent, deltas_overrun) AS u (id, held, spent, overrun)
    WHERE w.id = u.id AND (u.held <> 0 OR u.spent <> 0);

    PERFORM billing_insert_records(p_settlements, live);
    PERFORM billing_budget_events(windows, before);
    UPDATE billing_attempt a
    SET state = s.state, settled_at = clock_timestamp(), void_reason = coalesce(s.reason, '')
    FROM jsonb_populate_recordset(NULL::billing_settlement, p_settlements) s
    WHERE a.id = s.attempt_id AND a.id = ANY (live);

    SELECT array_agg(s.limit_amount ORDER BY s.window_id), array_agg(s.spent ORDER BY s.window_id),
           array_agg(s.held ORDER BY s.window_id)
    INTO limits, spents, helds FROM billing_window_state(windows) s;
END $$;

-- The ledger records and lines of settlements: who and when are copied from the attempt, never told twice.
CREATE FUNCTION billing_insert_records(p_settlements jsonb, live uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_usagerecord (
        id, occurred_at, tenant_id, period_id, attempt_id, seq, kind, usage_source, charge_class, reason, request_id, user_id,
        key_id, feature, project, cost_center, tags, endpoint, provider, model, model_asked, tier, cache_state, service_tier,
        processing, region, upstream_id, raw_usage, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens,
        reasoning_tokens, saved_input_tokens, saved_output_tokens, list_cost, provider_cost, contracted_cost, billed_cost,
        saving, price_status)
    SELECT a.id, a.occurred_at, a.tenant_id, CASE WHEN p.status = 'open' THEN p.id ELSE s.open_period_id END, a.id, 0, 'usage',
           r.usage_source, CASE WHEN p.status = 'open' THEN '' ELSE 'Correction' END, coalesce(r.reason, ''), a.request_id,
           a.user_id, a.key_id, a.feature, coalesce(a.dims ->> 'project', ''), coalesce(a.dims ->> 'cost_center', ''),
           coalesce(a.dims -> 'tags', '{}'), coalesce(a.dims ->> 'endpoint', ''), a.provider, a.model,
           coalesce(a.dims ->> 'model_asked', ''), coalesce(a.dims ->> 'tier', ''), coalesce(a.dims ->> 'cache_state', ''),
           coalesce(r.service_tier, 'standard'), a.processing, coalesce(r.region, 'global'), coalesce(r.upstream_id, ''),
           r.raw_usage, coalesce(r.input_tokens, 0), coalesce(r.cache_read_tokens, 0), coalesce(r.cache_write_tokens, 0),
           coalesce(r.output_tokens, 0), coalesce(r.reasoning_tokens, 0), coalesce(r.saved_input_tokens, 0),
           coalesce(r.saved_output_tokens, 0), r.list_cost, r.provider_cost, r.contracted_cost, r.billed_cost,
           coalesce(r.saving, '{}'), coalesce(r.price_status, 'priced')
    FROM (SELECT DISTINCT ON (attempt_id) * FROM jsonb_populate_recordset(NULL::billing_settlement, p_settlements)) s
    JOIN billing_attempt a ON a.id = s.attempt_id AND a.id = ANY (live)
    JOIN billing_billingperiod p ON p.id = s.period_id
    CROSS JOIN LATERAL jsonb_populate_record(NULL::billing_usagerecord, s.record) r
    WHERE s.record IS NOT NULL AND s.record <> 'null';

    INSERT INTO billing_usageline (
        record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price, list_cost, provider_cost,
        contracted_cost, billed_cost)
    SELECT a.id, l.line_no, a.occurred_at, a.tenant_id, l.meter, l.quantity, l.per, l.price_id, l.unit_price, l.list_cost,
           l.provider_cost, l.contracted_cost, l.billed_cost
    FROM (SELECT DISTINCT ON (attempt_id) * FROM jsonb_populate_recordset(NULL::billing_settlement, p_settlements)) s
    JOIN billing_attempt a ON a.id = s.attempt_id AND a.id = ANY (live)
    CROSS JOIN LATERAL jsonb_populate_recordset(NULL::billing_usageline, s.lines) l
    WHERE s.record IS NOT NULL AND s.record <> 'null';

    INSERT INTO billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT a.tenant_id, (a.occurred_at AT TIME ZONE 'UTC')::date FROM billing_attempt a WHERE a.id = ANY (live)
    ON CONFLICT DO NOTHING;

    -- a request that cost more than its tenant wants to be told of; 0.50 USD where no rule says otherwise
    INSERT INTO billing_alertevent (
        tenant_id, rule_id, metric, subject_key, window_key, threshold, value, message, fired_at)
    SELECT a.tenant_id, t.rule_id, 'request_cost', 'request:' || a.request_id, '', t.threshold, s.usd,
           format('Tenant %s: one request to %s cost %s USD (user %s)', tenant.slug, a.model, trim_scale(s.usd),
                  CASE WHEN a.user_id = '' THEN 'not named' ELSE a.user_id END),
           clock_timestamp()
    FROM jsonb_populate_recordset(NULL::billing_settlement, p_settlements) s
    JOIN billing_attempt a ON a.id = s.attempt_id AND a.id = ANY (live)
    JOIN tenants_tenant tenant ON tenant.id = a.tenant_id
    CROSS JOIN LATERAL (
        SELECT r.id AS rule_id, r.threshold FROM billing_alertrule r
        WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost' AND r.is_active
        UNION ALL
        SELECT NULL, 0.50 WHERE NOT EXISTS (
            SELECT FROM billing_alertrule r WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost')
    ) t
    WHERE s.usd >= t.threshold AND s.state <> 'voided'
    ON CONFLICT DO NOTHING;
END $$;

-- Records of answers that cost nothing, from our caches: no attempt, no hold, the saving told.
CREATE FUNCTION billing_record_hits(p_records jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_usagerecord (
        id, occurred_at, tenant_id, period_id, kind, usage_source, request_id, user_id, key_id, feature, project, cost_center,
        tags, endpoint, provider, model, model_asked, tier, cache_state, saved_input_tokens, saved_output_tokens, list_cost,
        provider_cost, contracted_cost, billed_cost, saving)
    SELECT r.id, r.occurred_at, r.tenant_id, r.period_id, 'usage', 'gateway_cache', r.request_id, r.user_id, r.key_id, r.feature,
           r.project, r.cost_center, coalesce(r.tags, '{}'), r.endpoint, r.provider, r.model, r.model_asked, '', r.cache_state,
           r.saved_input_tokens, r.saved_output_tokens, r.list_cost, 0, 0, 0, r.saving
    FROM jsonb_populate_recordset(NULL::billing_usagerecord, p_records) r
    ON CONFLICT DO NOTHING;
    INSERT INTO billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT r.tenant_id, (r.occurred_at AT TIME ZONE 'UTC')::date
    FROM jsonb_populate_recordset(NULL::billing_usagerecord, p_records) r
    ON CONFLICT DO NOTHING;
END $$;

-- How far streams have come, so that a crash is billed from what was produced.
CREATE FUNCTION billing_progress(p_attempts uuid[], p_progress jsonb[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE billing_attempt a SET progress = u.progress
    FROM unnest(p_attempts, p_progress) AS u (id, progress) WHERE a.id = u.id AND a.state IN ('held', 'sent')
$$;
