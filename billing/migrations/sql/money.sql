-- Money moves here and nowhere else: each function is one call and one transaction for a whole group of requests.
-- They run as the owner, because purser_app may not write a table of money, and a group holds calls of several tenants;
-- every row names its own. Locks are taken in one order (attempts by id, periods by id, windows by id), so that groups
-- cannot deadlock; the windows last, because everybody wants them. Plans are made once and kept, because planning takes longer than running; they may be from the day the
-- tables were empty, so the planner is told to use indexes.

-- ---------------------------------------------------------------- windows and periods
-- The state of windows as it is now. The limit is read here, with the raises that count at this moment, never copied.
CREATE FUNCTION billing_window_states(p_windows bigint[])
RETURNS TABLE (window_id bigint, limit_amount numeric, spent numeric, held numeric, is_hard boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT w.id, b.limit_amount + coalesce(r.extra, 0), w.spent, w.held, b.mode = 'hard' AND b.is_active
    FROM billing_budgetwindow w
    JOIN billing_budget b ON b.id = w.budget_id
    LEFT JOIN LATERAL (
        SELECT sum(extra_amount) AS extra FROM billing_budgetraise
        WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) r ON true
    WHERE w.id = ANY (p_windows)
    ORDER BY w.id;
END $$;

-- The same in words, for people and headers. Amounts are text: JSON numbers are not exact.
CREATE FUNCTION billing_describe_windows(p_windows bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(
        s.window_id, b.id, b.scope, w.subject, b.unit, b.period, b.mode,
        s.limit_amount::text, s.spent::text, s.held::text, w.ends_at)), '[]')
    FROM billing_window_states(p_windows) s
    JOIN billing_budgetwindow w ON w.id = s.window_id
    JOIN billing_budget b ON b.id = w.budget_id);
END $$;

-- The balances of windows that may not be there yet, of one tenant.
CREATE FUNCTION billing_balances(p_tenant bigint, p_budgets bigint[], p_subjects text[], p_starts timestamptz[])
RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(
        b.id, (b.limit_amount + coalesce(r.extra, 0))::text, coalesce(w.spent, 0)::text, coalesce(w.held, 0)::text, b.mode)
        ORDER BY asked.position), '[]')
    FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS asked (budget_id, subject, starts_at, position)
    JOIN billing_budget b ON b.id = asked.budget_id AND b.tenant_id = p_tenant
    LEFT JOIN billing_budgetwindow w
        ON w.budget_id = b.id AND w.subject = asked.subject AND w.starts_at = asked.starts_at
    LEFT JOIN LATERAL (
        SELECT sum(extra_amount) AS extra FROM billing_budgetraise
        WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) r ON true);
END $$;

-- Makes the windows that are not there; returns the ids in the order asked, NULL where there is no such budget.
CREATE FUNCTION billing_ensure_windows(
    p_budgets bigint[], p_subjects text[], p_starts timestamptz[], p_ends timestamptz[]
) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO billing_budgetwindow (budget_id, tenant_id, subject, starts_at, ends_at, unit, held, spent, overrun)
    SELECT b.id, b.tenant_id, u.subject, u.starts_at, u.ends_at, b.unit, 0, 0, 0
    FROM unnest(p_budgets, p_subjects, p_starts, p_ends) AS u (budget_id, subject, starts_at, ends_at)
    JOIN billing_budget b ON b.id = u.budget_id
    ORDER BY b.id, u.subject, u.starts_at
    ON CONFLICT (budget_id, subject, starts_at) DO NOTHING;
    RETURN (
        SELECT array_agg(w.id ORDER BY u.position)
        FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS u (budget_id, subject, starts_at, position)
        LEFT JOIN billing_budgetwindow w
            ON w.budget_id = u.budget_id AND w.subject = u.subject AND w.starts_at = u.starts_at);
END $$;

-- The period of a tenant that contains a moment, made if it is not there: a month in the tenant's time zone. After a
-- change of the zone the first month begins where the last one ended, so that no moment has two periods or none.
CREATE FUNCTION billing_period_at(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_id bigint;
    zone text;
    month timestamp;
    starts timestamptz;
    ends timestamptz;
BEGIN
    LOOP
        SELECT id INTO found_id FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at <= p_at AND ends_at > p_at;
        IF FOUND THEN
            RETURN found_id;
        END IF;
        SELECT timezone INTO STRICT zone FROM tenants_tenant WHERE id = p_tenant;
        month := date_trunc('month', p_at AT TIME ZONE zone);
        IF EXISTS (SELECT FROM billing_billingperiod
                   WHERE tenant_id = p_tenant AND label = to_char(month, 'YYYY-MM') AND ends_at <= p_at) THEN
            month := month + interval '1 month';
        END IF;
        starts := month AT TIME ZONE zone;
        ends := (month + interval '1 month') AT TIME ZONE zone;
        SELECT greatest(least(starts, p_at), max(ends_at)) INTO starts FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND ends_at <= p_at;
        SELECT least(ends, min(starts_at)) INTO ends FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at > p_at;
        INSERT INTO billing_billingperiod (tenant_id, label, starts_at, ends_at, status, digest)
        VALUES (p_tenant, to_char(month, 'YYYY-MM'), starts, ends, 'open', '')
        ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Where a row of a closed period goes: the tenant's first period after it that is open.
CREATE FUNCTION billing_open_period_after(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM billing_period_at(p_tenant, now());
    RETURN (SELECT id FROM billing_billingperiod WHERE tenant_id = p_tenant AND status = 'open' AND starts_at > p_at
            ORDER BY starts_at LIMIT 1);
END $$;

-- ---------------------------------------------------------------- settlement
-- Settles a group; idempotent by attempt. Attempt p_ids[i] ended as p_states[i] (captured or estimated) for p_usd[i] and
-- p_tokens[i]; p_records[i] says the rest of its ledger row, and p_lines holds the lines of all. Who, what and when are
-- copied from the attempt. No attempt stands in p_ids twice.
-- outcomes: 0 unknown, 1 it had ended, 2 settled, 3 corrected (it had been estimated, now its usage is known).
CREATE FUNCTION billing_settle(
    p_ids uuid[], p_states text[], p_usd numeric[], p_tokens bigint[], p_records jsonb, p_lines jsonb,
    OUT outcomes int[], OUT attempt_windows jsonb, OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    tenants bigint[];
    moments timestamptz[];
    are_holding boolean[];
    periods bigint[];
    window_ids bigint[];
    before numeric[];
BEGIN
    PERFORM 1 FROM billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(a.tenant_id ORDER BY s.position), array_agg(a.occurred_at ORDER BY s.position),
           array_agg(a.state IN ('held', 'sent') ORDER BY s.position),
           jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY s.position),
           array_agg(CASE WHEN a.state IN ('held', 'sent', 'voided') THEN 2
                          WHEN a.state = 'estimated' AND s.state = 'captured' THEN 3
                          WHEN a.id IS NULL THEN 0 ELSE 1 END ORDER BY s.position)
    INTO tenants, moments, are_holding, attempt_windows, outcomes
    FROM unnest(p_ids, p_states) WITH ORDINALITY AS s (id, state, position)
    LEFT JOIN billing_attempt a ON a.id = s.id;

    -- the period of each, made where it is not there; of a closed one, the open one that takes its corrections
    SELECT array_agg(CASE WHEN outcomes[s.position] >= 2 THEN
                         coalesce((SELECT p.id FROM billing_billingperiod p
                                   WHERE p.tenant_id = s.tenant_id AND p.starts_at <= s.moment AND p.ends_at > s.moment),
                                  billing_period_at(s.tenant_id, s.moment)) END ORDER BY s.position)
    INTO periods FROM unnest(tenants, moments) WITH ORDINALITY AS s (tenant_id, moment, position);
    PERFORM 1 FROM billing_billingperiod WHERE id = ANY (periods) ORDER BY id FOR SHARE;
    IF EXISTS (SELECT FROM billing_billingperiod WHERE id = ANY (periods) AND status <> 'open') THEN
        SELECT array_agg(CASE WHEN p.status = 'open' OR p.id IS NULL THEN p.id
                              ELSE billing_open_period_after(p.tenant_id, p.starts_at) END ORDER BY s.position)
        INTO periods
        FROM unnest(periods) WITH ORDINALITY AS s (id, position) LEFT JOIN billing_billingperiod p ON p.id = s.id;
        PERFORM 1 FROM billing_billingperiod WHERE id = ANY (periods) ORDER BY id FOR SHARE;
    END IF;

    INSERT INTO billing_usagerecord (
        id, occurred_at, recorded_at, tenant_id, period_id, attempt_id, seq, kind, usage_source, charge_class, corrects_id, reason,
        request_id, user_id, key_id, feature, project, cost_center, tags, endpoint, provider, model, model_asked, tier,
        cache_state, service_tier, processing, region, upstream_id, raw_usage,
        input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
        list_cost, provider_cost, contracted_cost, billed_cost, saving, price_status)
    SELECT a.id, a.occurred_at, clock_timestamp(), a.tenant_id, p.id, a.id, 0, 'usage', s.usage_source,
           CASE WHEN p.starts_at > a.occurred_at THEN 'Correction' ELSE '' END, NULL, s.reason,
           a.request_id, a.user_id, a.key_id, a.feature, coalesce(a.dims ->> 'project', ''),
           coalesce(a.dims ->> 'cost_center', ''), coalesce(a.dims -> 'tags', '{}'), coalesce(a.dims ->> 'endpoint', ''),
           a.provider, a.model, coalesce(a.dims ->> 'model_asked', ''), coalesce(a.dims ->> 'tier', ''),
           coalesce(a.dims ->> 'cache_state', ''), s.service_tier, coalesce(s.processing, a.processing), s.region,
           s.upstream_id, s.raw_usage,
           s.input_tokens, s.cache_read_tokens, s.cache_write_tokens, s.output_tokens, s.reasoning_tokens,
           s.list_cost, s.provider_cost, s.contracted_cost, s.usd, s.saving, s.price_status
    FROM ROWS FROM (unnest(p_ids, p_usd), jsonb_to_recordset(p_records) AS (
            usage_source text, reason text, service_tier text, processing text, region text, upstream_id text, raw_usage jsonb,
            input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
            reasoning_tokens bigint, list_cost numeric, provider_cost numeric, contracted_cost numeric, saving jsonb,
            price_status text)) WITH ORDINALITY
        AS s (id, usd, usage_source, reason, service_tier, processing, region, upstream_id, raw_usage, input_tokens,
              cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, list_cost, provider_cost,
              contracted_cost, saving, price_status, position)
    JOIN billing_attempt a ON a.id = s.id
    JOIN billing_billingperiod p ON p.id = periods[s.position]
    WHERE outcomes[s.position] = 2;

    INSERT INTO billing_usageline (
        record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
        list_cost, provider_cost, contracted_cost, billed_cost)
    SELECT p_ids[l.n], l.line_no, moments[l.n], tenants[l.n], l.meter, l.quantity, l.per, l.price_id, l.unit_price,
           l.list_cost, l.provider_cost, l.contracted_cost, l.billed_cost
    FROM jsonb_to_recordset(p_lines) AS l (
        n int, line_no smallint, meter text, quantity bigint, per integer, price_id bigint, unit_price numeric,
        list_cost numeric, provider_cost numeric, contracted_cost numeric, billed_cost numeric)
    WHERE outcomes[l.n] = 2;

    UPDATE billing_attempt a SET state = s.state, settled_at = now()
    FROM unnest(p_ids, p_states) WITH ORDINALITY AS s (id, state, position)
    WHERE a.id = s.id AND outcomes[s.position] >= 2;

    INSERT INTO billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT s.tenant_id, (s.moment AT TIME ZONE 'UTC')::date
    FROM unnest(tenants, moments, outcomes) AS s (tenant_id, moment, outcome) WHERE s.outcome >= 2;

    PERFORM billing_alert_requests(p_ids, outcomes, tenants, p_usd, p_records);

    -- the windows last: whoever admits in them meanwhile waits for this end alone, not for all that is written above
    SELECT array_agg(DISTINCT w.id ORDER BY w.id) INTO window_ids
    FROM billing_attempt a CROSS JOIN LATERAL unnest(a.window_ids) AS w (id) WHERE a.id = ANY (p_ids);
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (window_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(w.spent ORDER BY w.id) INTO before FROM billing_budgetwindow w WHERE w.id = ANY (window_ids);

    -- what each window gets back, and what it pays
    UPDATE billing_budgetwindow w
    SET held = w.held - m.held,
        spent = w.spent + CASE w.unit WHEN 'usd' THEN m.usd WHEN 'tokens' THEN m.tokens ELSE m.requests END,
        overrun = w.overrun + CASE w.unit WHEN 'usd' THEN m.usd_over WHEN 'tokens' THEN m.tokens_over ELSE 0 END
    FROM (
        SELECT h.id, sum(CASE WHEN are_holding[s.position] THEN h.amount ELSE 0 END) AS held,
               sum(s.usd) AS usd, sum(greatest(s.usd - h.amount, 0)) AS usd_over,
               sum(s.tokens) AS tokens, sum(greatest(s.tokens - h.amount, 0)) AS tokens_over, count(*) AS requests
        FROM unnest(p_ids, p_usd, p_tokens) WITH ORDINALITY AS s (id, usd, tokens, position)
        JOIN billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL unnest(a.window_ids, a.hold_amounts) AS h (id, amount)
        WHERE outcomes[s.position] = 2
        GROUP BY h.id) m
    WHERE w.id = m.id;
    IF 3 = ANY (outcomes) THEN
        PERFORM billing_correct_estimates(p_ids, outcomes, periods, p_usd, p_tokens, p_records, p_lines);
    END IF;
    PERFORM billing_alert_budgets(window_ids, before);
    windows := billing_describe_windows(window_ids);
END $$;

-- The difference between what is booked of an attempt (its estimate, and what re-rating made of it) and the usage that came
-- later: a row of its own, with the booked lines taken back and the true ones put in their place.
CREATE FUNCTION billing_correct_estimates(
    p_ids uuid[], p_outcomes int[], p_periods bigint[], p_usd numeric[], p_tokens bigint[], p_records jsonb, p_lines jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    entry int;
    attempt billing_attempt;
    booked record;
    correction_id uuid;
BEGIN
    FOREACH entry IN ARRAY array_positions(p_outcomes, 3) LOOP
        correction_id := gen_random_uuid();
        SELECT * INTO STRICT attempt FROM billing_attempt WHERE id = p_ids[entry];
        SELECT sum(input_tokens) AS input, sum(cache_read_tokens) AS cache_read, sum(cache_write_tokens) AS cache_write,
               sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning, sum(list_cost) AS list,
               sum(provider_cost) AS provider, sum(contracted_cost) AS contracted, sum(billed_cost) AS billed,
               coalesce(max(seq) FILTER (WHERE kind = 'correction'), 0) + 1 AS next_seq
        INTO booked FROM billing_usagerecord WHERE attempt_id = attempt.id AND occurred_at = attempt.occurred_at;

        UPDATE billing_budgetwindow w
        SET spent = w.spent + CASE w.unit
            WHEN 'usd' THEN p_usd[entry] - booked.billed
            WHEN 'tokens' THEN p_tokens[entry] - booked.input - booked.cache_read - booked.cache_write - booked.output
            ELSE 0 END
        WHERE w.id = ANY (attempt.window_ids);

        INSERT INTO billing_usagerecord (
            id, occurred_at, tenant_id, period_id, attempt_id, seq, kind, usage_source, charge_class, corrects_id, reason,
            request_id, user_id, key_id, feature, project, cost_center, tags, endpoint, provider, model, model_asked, tier,
            cache_state, service_tier, processing, region, upstream_id, raw_usage,
            input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
            list_cost, provider_cost, contracted_cost, billed_cost, saving, price_status)
        SELECT correction_id, e.occurred_at, e.tenant_id, p.id, e.attempt_id, booked.next_seq, 'correction', f.usage_source,
               CASE WHEN p.starts_at > e.occurred_at THEN 'Correction' ELSE '' END, e.id, 'usage that came after an estimate',
               e.request_id, e.user_id, e.key_id, e.feature, e.project, e.cost_center, e.tags, e.endpoint, e.provider, e.model,
               e.model_asked, e.tier, e.cache_state, f.service_tier, coalesce(f.processing, e.processing), f.region,
               f.upstream_id, f.raw_usage, f.input_tokens - booked.input, f.cache_read_tokens - booked.cache_read,
               f.cache_write_tokens - booked.cache_write, f.output_tokens - booked.output,
               f.reasoning_tokens - booked.reasoning, f.list_cost - booked.list, f.provider_cost - booked.provider,
               f.contracted_cost - booked.contracted, p_usd[entry] - booked.billed,
               (SELECT coalesce(jsonb_object_agg(steps.key, steps.amount::text), '{}') FROM (
                    SELECT step.key, sum(step.amount) AS amount FROM (
                        SELECT key, value::numeric AS amount FROM jsonb_each_text(f.saving)
                        UNION ALL
                        SELECT s.key, -s.value::numeric FROM billing_usagerecord r, jsonb_each_text(r.saving) s
                        WHERE r.attempt_id = attempt.id AND r.occurred_at = attempt.occurred_at) step
                    GROUP BY step.key) steps),
               f.price_status
        FROM billing_usagerecord e, jsonb_populate_record(NULL::billing_usagerecord, p_records -> (entry - 1)) f,
             billing_billingperiod p
        WHERE e.id = attempt.id AND e.occurred_at = attempt.occurred_at AND p.id = p_periods[entry];

        INSERT INTO billing_usageline (
            record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
            list_cost, provider_cost, contracted_cost, billed_cost)
        SELECT correction_id, row_number() OVER (ORDER BY step, meter, price_id), attempt.occurred_at, attempt.tenant_id,
               meter, quantity, per, price_id, unit_price, list_cost, provider_cost, contracted_cost, billed_cost
        FROM (
            SELECT 0 AS step, l.meter, -sum(l.quantity) AS quantity, l.per, l.price_id, l.unit_price,
                   -sum(l.list_cost) AS list_cost, -sum(l.provider_cost) AS provider_cost,
                   -sum(l.contracted_cost) AS contracted_cost, -sum(l.billed_cost) AS billed_cost
            FROM billing_usagerecord r
            JOIN billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
            WHERE r.attempt_id = attempt.id AND r.occurred_at = attempt.occurred_at AND r.id <> correction_id
            GROUP BY l.meter, l.per, l.price_id, l.unit_price
            HAVING sum(l.quantity) <> 0 OR sum(l.list_cost) <> 0 OR sum(l.provider_cost) <> 0
                OR sum(l.contracted_cost) <> 0 OR sum(l.billed_cost) <> 0
            UNION ALL
            SELECT 1, l.meter, l.quantity, l.per, l.price_id, l.unit_price, l.list_cost, l.provider_cost,
                   l.contracted_cost, l.billed_cost
            FROM jsonb_to_recordset(p_lines) AS l (
                n int, line_no smallint, meter text, quantity bigint, per integer, price_id bigint, unit_price numeric,
                list_cost numeric, provider_cost numeric, contracted_cost numeric, billed_cost numeric)
            WHERE l.n = entry) both_lines;
    END LOOP;
END $$;

-- Gives the holds of a group back. outcomes: 0 unknown, 1 it had ended, 2 voided.
CREATE FUNCTION billing_void(
    p_ids uuid[], p_reasons text[], OUT outcomes int[], OUT attempt_windows jsonb, OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    window_ids bigint[];
BEGIN
    PERFORM 1 FROM billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(CASE WHEN a.state IN ('held', 'sent') THEN 2 WHEN a.id IS NULL THEN 0 ELSE 1 END ORDER BY s.position),
           jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY s.position)
    INTO outcomes, attempt_windows
    FROM unnest(p_ids) WITH ORDINALITY AS s (id, position) LEFT JOIN billing_attempt a ON a.id = s.id;
    SELECT array_agg(DISTINCT w.id ORDER BY w.id) INTO window_ids
    FROM billing_attempt a CROSS JOIN LATERAL unnest(a.window_ids) AS w (id) WHERE a.id = ANY (p_ids);
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (window_ids) ORDER BY id FOR UPDATE;
    UPDATE billing_budgetwindow w SET held = w.held - m.amount
    FROM (
        SELECT h.id, sum(h.amount) AS amount
        FROM unnest(p_ids) WITH ORDINALITY AS s (id, position)
        JOIN billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL unnest(a.window_ids, a.hold_amounts) AS h (id, amount)
        WHERE outcomes[s.position] = 2 GROUP BY h.id) m
    WHERE w.id = m.id;
    UPDATE billing_attempt a SET state = 'voided', settled_at = now(), void_reason = s.reason
    FROM unnest(p_ids, p_reasons) WITH ORDINALITY AS s (id, reason, position)
    WHERE a.id = s.id AND outcomes[s.position] = 2;
    windows := billing_describe_windows(window_ids);
END $$;

-- Rows of answers from our caches: no attempt, no hold; what they saved. Idempotent by id.
CREATE FUNCTION billing_record_hits(p_records jsonb, p_windows bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    periods bigint[];
BEGIN
    SELECT array_agg(coalesce(
        (SELECT p.id FROM billing_billingperiod p
         WHERE p.tenant_id = r.tenant_id AND p.starts_at <= r.occurred_at AND p.ends_at > r.occurred_at AND p.status = 'open'),
        billing_open_period_after(r.tenant_id, '-infinity')) ORDER BY r.position)
    INTO periods
    FROM ROWS FROM (jsonb_to_recordset(p_records) AS (tenant_id bigint, occurred_at timestamptz)) WITH ORDINALITY
        AS r (tenant_id, occurred_at, position);
    INSERT INTO billing_usagerecord (
        id, occurred_at, recorded_at, tenant_id, period_id, kind, usage_source, charge_class, request_id, user_id, key_id, feature,
        project, cost_center, tags, endpoint, provider, model, model_asked, tier, cache_state,
        saved_input_tokens, saved_output_tokens, list_cost, contracted_cost, billed_cost, saving)
    SELECT r.id, r.occurred_at, clock_timestamp(), r.tenant_id, p.id, 'usage', 'gateway_cache',
           CASE WHEN r.occurred_at >= p.starts_at AND r.occurred_at < p.ends_at THEN '' ELSE 'Correction' END,
           r.request_id, r.user_id, r.key_id, r.feature, r.project, r.cost_center, r.tags, r.endpoint, r.provider, r.model,
           r.model_asked, r.tier, r.cache_state, r.saved_input_tokens, r.saved_output_tokens, r.list_cost, 0, 0, r.saving
    FROM ROWS FROM (jsonb_to_recordset(p_records) AS (
            id uuid, occurred_at timestamptz, tenant_id bigint, request_id uuid, user_id text, key_id bigint, feature text,
            project text, cost_center text, tags jsonb, endpoint text, provider text, model text, model_asked text, tier text,
            cache_state text, saved_input_tokens bigint, saved_output_tokens bigint, list_cost numeric, saving jsonb))
        WITH ORDINALITY AS r (
            id, occurred_at, tenant_id, request_id, user_id, key_id, feature, project, cost_center, tags, endpoint, provider,
            model, model_asked, tier, cache_state, saved_input_tokens, saved_output_tokens, list_cost, saving, position)
    JOIN billing_billingperiod p ON p.id = periods[r.position]
    ON CONFLICT DO NOTHING;
    INSERT INTO billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT r.tenant_id, (r.occurred_at AT TIME ZONE 'UTC')::date
    FROM jsonb_to_recordset(p_records) AS r (tenant_id bigint, occurred_at timestamptz);
    RETURN billing_describe_windows(p_windows);
END $$;

-- How far streams have come, so that a crash is billed from what was produced; and that they live, so that nobody reaps
-- them. Not worth waiting for the disk: a lost step costs an estimate a second of precision.
CREATE FUNCTION billing_progress(p_ids uuid[], p_progress text[], p_expires timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM 1 FROM billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    UPDATE billing_attempt a SET progress = u.progress::jsonb, expires_at = greatest(a.expires_at, p_expires)
    FROM unnest(p_ids, p_progress) AS u (id, progress) WHERE a.id = u.id AND a.state = 'sent';
END $$;

-- Held attempts (batch lines) go out now. Returns how many did.
CREATE FUNCTION billing_mark_sent(p_ids uuid[], p_expires timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    sent integer;
BEGIN
    PERFORM 1 FROM billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    UPDATE billing_attempt SET state = 'sent', sent_at = now(), expires_at = p_expires
    WHERE id = ANY (p_ids) AND state = 'held';
    GET DIAGNOSTICS sent = ROW_COUNT;
    RETURN sent;
END $$;

-- ---------------------------------------------------------------- alerts
-- Budgets whose spent share has passed a threshold: of the budget itself, or of a tenant's rule for all its budgets. Once
-- for a window and a limit: a raised limit makes it news again.
CREATE FUNCTION billing_alert_budgets(p_windows bigint[], p_before numeric[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    hot bigint[];
BEGIN
    SELECT array_agg(s.window_id) INTO hot
    FROM unnest(p_windows, p_before) AS changed (id, before)
    JOIN billing_window_states(p_windows) s ON s.window_id = changed.id AND s.spent > changed.before AND s.limit_amount > 0
    JOIN billing_budgetwindow w ON w.id = changed.id
    JOIN billing_budget b ON b.id = w.budget_id
    WHERE s.spent * 100 >= s.limit_amount * least(
        (SELECT min(percent::numeric) FROM jsonb_array_elements_text(b.alert_at) AS percent),
        (SELECT min(r.threshold) FROM billing_alertrule r
         WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active));
    IF hot IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO billing_alertevent (
        tenant_id, rule_id, budget_id, metric, subject_key, window_key, value, threshold, message, fired_at)
    SELECT w.tenant_id, t.rule_id, b.id, 'budget_percent', k.subject_key, k.window_key,
           trunc(s.spent * 100 / s.limit_amount, 2), t.threshold,
           format('The %s budget%s of %s %s %s is used to %s %%: %s %s spent', replace(b.scope, '_', ' '),
                  CASE WHEN w.subject = '' THEN '' ELSE format(' (%s)', w.subject) END, trim_scale(s.limit_amount), k.unit,
                  CASE b.period WHEN 'total' THEN 'in total' ELSE 'per ' || b.period END,
                  trunc(s.spent * 100 / s.limit_amount, 1), trim_scale(round(s.spent, 6)), k.unit),
           clock_timestamp()
    FROM billing_window_states(hot) s
    JOIN billing_budgetwindow w ON w.id = s.window_id
    JOIN billing_budget b ON b.id = w.budget_id
    JOIN tenants_tenant tenant ON tenant.id = w.tenant_id
    CROSS JOIN LATERAL (
        SELECT concat_ws(':', b.id, w.subject, trim_scale(s.limit_amount)) AS subject_key,
               CASE b.period WHEN 'total' THEN 'total'
                             ELSE to_char(w.starts_at AT TIME ZONE tenant.timezone, 'YYYY-MM-DD') END AS window_key,
               CASE b.unit WHEN 'usd' THEN 'USD' ELSE b.unit END AS unit) k
    CROSS JOIN LATERAL (
        SELECT r.threshold, r.id AS rule_id FROM billing_alertrule r
        WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active
        UNION ALL
        SELECT percent::numeric, NULL FROM jsonb_array_elements_text(b.alert_at) AS percent
        WHERE NOT EXISTS (
            SELECT FROM billing_alertrule r WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active
                AND r.threshold = percent::numeric)) t
    WHERE s.spent * 100 >= t.threshold * s.limit_amount
      AND NOT EXISTS (
        SELECT FROM billing_alertevent e
        WHERE e.tenant_id = w.tenant_id AND e.metric = 'budget_percent' AND e.threshold = t.threshold
          AND e.subject_key = k.subject_key AND e.window_key = k.window_key)
    ORDER BY 1, 5, 8
    ON CONFLICT DO NOTHING;
END $$;

-- Requests that cost more than their tenant wants to be told of (0.50 USD where no rule says otherwise), and those whose
-- usage has no price and was billed at its hold.
CREATE FUNCTION billing_alert_requests(
    p_ids uuid[], p_outcomes int[], p_tenants bigint[], p_usd numeric[], p_records jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    dear numeric;
BEGIN
    SELECT least(0.50, min(threshold)) INTO dear FROM billing_alertrule
    WHERE tenant_id = ANY (p_tenants) AND metric = 'request_cost' AND is_active;
    IF (SELECT max(usd) FROM unnest(p_usd) AS usd) > dear THEN
        INSERT INTO billing_alertevent (tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
        SELECT a.tenant_id, t.rule_id, 'request_cost', a.request_id, '', s.usd, t.threshold,
               format('One request to %s cost %s USD (user %s, feature %s, request %s)', a.model, trim_scale(s.usd),
                      coalesce(nullif(a.user_id, ''), 'not named'), coalesce(nullif(a.feature, ''), 'not named'), a.request_id),
               clock_timestamp()
        FROM unnest(p_ids, p_outcomes, p_usd) AS s (id, outcome, usd)
        JOIN billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (
            SELECT r.threshold, r.id AS rule_id FROM billing_alertrule r
            WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost' AND r.is_active
            UNION ALL
            SELECT 0.50, NULL WHERE NOT EXISTS (
                SELECT FROM billing_alertrule r WHERE r.tenant_id = a.tenant_id AND r.metric = 'request_cost')) t
        WHERE s.outcome >= 2 AND s.usd > t.threshold
        ORDER BY 1, 4, 7
        ON CONFLICT DO NOTHING;
    END IF;

    IF p_records @> '[{"price_status": "unpriced"}]' THEN
        INSERT INTO billing_alertevent (tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, fired_at)
        SELECT DISTINCT ON (a.tenant_id, a.provider, a.model, day.label)
               a.tenant_id, r.id, 'unpriced_usage', a.provider || '/' || a.model, day.label, s.usd, 0,
               format('Usage of %s/%s has no price: %s. It was billed at its hold, first in request %s',
                      a.provider, a.model, p_records -> (s.position - 1)::int ->> 'reason', a.request_id),
               clock_timestamp()
        FROM unnest(p_ids, p_outcomes, p_usd) WITH ORDINALITY AS s (id, outcome, usd, position)
        JOIN billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL (SELECT to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS label) day
        LEFT JOIN LATERAL (
            SELECT id FROM billing_alertrule WHERE tenant_id = a.tenant_id AND metric = 'unpriced_usage' AND is_active
            LIMIT 1) r ON true
        WHERE s.outcome = 2 AND p_records -> (s.position - 1)::int ->> 'price_status' = 'unpriced'
        ORDER BY a.tenant_id, a.provider, a.model, day.label, a.id
        ON CONFLICT DO NOTHING;
    END IF;
END $$;
