-- The rows of a group's settlements; the caller has locked the attempts. Attempt p_ids[i] ended as p_states[i] (captured or
-- estimated) for p_usd[i]; p_records[i] says the rest of its ledger row, and p_lines holds the lines of all. Who, what and
-- when are copied from the attempt. No attempt is in p_ids twice.
-- outcomes: 0 unknown, 1 it had ended, 2 settled, 3 to be corrected (it had been estimated, now its usage is known).
CREATE OR REPLACE FUNCTION public.billing_book_settlements(
    p_ids uuid[], p_states text[], p_usd numeric[], p_records jsonb, p_lines jsonb,
    OUT outcomes int[], OUT are_holding boolean[], OUT periods bigint[], OUT attempt_windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    tenants bigint[];
    moments timestamptz[];
    open_periods bigint[];
    ended record;
    entry record;  -- a billing_usagerecord; the linter knows fields of records only
    entries public.billing_usagerecord[];
BEGIN
    SELECT array_agg(a.tenant_id ORDER BY s.position), array_agg(a.occurred_at ORDER BY s.position),
           array_agg(a.state IN ('held', 'sent') ORDER BY s.position),
           jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY s.position),
           array_agg(o.outcome ORDER BY s.position),
           array_agg(CASE WHEN o.outcome >= 2 THEN p.id END ORDER BY s.position)
    INTO tenants, moments, are_holding, attempt_windows, outcomes, periods
    FROM unnest(p_ids, p_states) WITH ORDINALITY AS s (id, state, position)
    LEFT JOIN public.billing_attempt a ON a.id = s.id
    LEFT JOIN public.billing_billingperiod p
        ON p.tenant_id = a.tenant_id AND p.starts_at <= a.occurred_at AND p.ends_at > a.occurred_at
    CROSS JOIN LATERAL (SELECT CASE WHEN a.state IN ('held', 'sent', 'voided') THEN 2
                                    WHEN a.state = 'estimated' AND s.state = 'captured' THEN 3
                                    WHEN a.id IS NULL THEN 0 ELSE 1 END AS outcome) o;

    -- the period of each, made where it is not there; of a closed one, the open one that takes its corrections; one that is
    -- being closed is not waited for
    IF (SELECT bool_or(s.outcome >= 2 AND s.period_id IS NULL) FROM unnest(outcomes, periods) AS s (outcome, period_id)) THEN
        SELECT public.billing_periods_at(
            array_agg(CASE WHEN outcomes[s.position] >= 2 THEN s.tenant_id END ORDER BY s.position), moments)
        INTO periods FROM unnest(tenants) WITH ORDINALITY AS s (tenant_id, position);
    END IF;
    SELECT array_agg(p.id) INTO open_periods FROM (
        SELECT id FROM public.billing_billingperiod WHERE id = ANY (periods) AND status = 'open' ORDER BY id FOR SHARE) p;
    IF NOT array_remove(periods, NULL) <@ coalesce(open_periods, '{}') THEN
        SELECT array_agg(CASE WHEN p.status = 'open' OR p.id IS NULL THEN p.id
                              ELSE public.billing_open_period_after(p.tenant_id, p.starts_at) END ORDER BY s.position)
        INTO periods
        FROM unnest(periods) WITH ORDINALITY AS s (id, position) LEFT JOIN public.billing_billingperiod p ON p.id = s.id;
        PERFORM 1 FROM public.billing_billingperiod WHERE id = ANY (periods) AND status = 'open' ORDER BY id FOR SHARE;
    END IF;

    -- the rows one by one, because who, what and when are then copied as they are, not by way of JSON
    FOR ended IN
        SELECT f AS entry, a.id, a.occurred_at, a.tenant_id, p.id AS period_id, a.request_id, a.user_id, a.key_id, a.feature,
               a.provider, a.model, a.processing, s.usd,
               CASE WHEN p.starts_at > a.occurred_at THEN 'Correction' ELSE '' END AS charge_class
        FROM unnest(p_ids, outcomes, periods, p_usd) WITH ORDINALITY AS s (id, outcome, period_id, usd, position)
        JOIN public.billing_attempt a ON a.id = s.id
        JOIN public.billing_billingperiod p ON p.id = s.period_id
        CROSS JOIN LATERAL jsonb_populate_record(
            public.billing_blank_record(), a.dims || (p_records -> (s.position - 1)::int)) f
        LEFT JOIN public.billing_usagerecord none ON false  -- so that this is planned again, too, when the table changes
        WHERE s.outcome = 2
    LOOP
        entry := ended.entry;
        entry.id := ended.id;
        entry.attempt_id := ended.id;
        entry.kind := 'usage';
        entry.occurred_at := ended.occurred_at;
        entry.recorded_at := clock_timestamp();
        entry.tenant_id := ended.tenant_id;
        entry.period_id := ended.period_id;
        entry.charge_class := ended.charge_class;
        entry.request_id := ended.request_id;
        entry.user_id := ended.user_id;
        entry.key_id := ended.key_id;
        entry.feature := ended.feature;
        entry.provider := ended.provider;
        entry.model := ended.model;
        entry.processing := coalesce(entry.processing, ended.processing);
        entry.billed_cost := ended.usd;
        entries := entries || entry;
    END LOOP;
    WITH records AS (
        INSERT INTO public.billing_usagerecord SELECT r.* FROM unnest(entries) r),
    lines AS (
        INSERT INTO public.billing_usageline (
            record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
            list_cost, provider_cost, contracted_cost, billed_cost)
        SELECT p_ids[l.n], l.line_no, moments[l.n], tenants[l.n], l.meter, l.quantity, l.per, l.price_id, l.unit_price,
               l.list_cost, l.provider_cost, l.contracted_cost, l.billed_cost
        FROM jsonb_to_recordset(p_lines) AS l (
            n int, line_no smallint, meter text, quantity bigint, per integer, price_id bigint, unit_price numeric,
            list_cost numeric, provider_cost numeric, contracted_cost numeric, billed_cost numeric)
        WHERE outcomes[l.n] = 2),
    attempts AS (
        UPDATE public.billing_attempt a SET state = s.state, settled_at = now()
        FROM unnest(p_ids, p_states, outcomes) AS s (id, state, outcome)
        WHERE a.id = s.id AND s.outcome >= 2)
    INSERT INTO public.billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT s.tenant_id, (s.moment AT TIME ZONE 'UTC')::date
    FROM unnest(tenants, moments, outcomes) AS s (tenant_id, moment, outcome) WHERE s.outcome >= 2;

    PERFORM public.billing_alert_requests(p_ids, outcomes, tenants, p_usd, p_records);
END $$;

-- What the windows of ended attempts get back, and what they pay; the caller has locked them. Attempt p_ids[i] was settled for
-- p_usd[i] and p_tokens[i], or voided for NULL, if p_outcomes[i] is 2; its hold counts if p_are_holding[i].
CREATE OR REPLACE FUNCTION public.billing_pay_windows(
    p_ids uuid[], p_outcomes int[], p_are_holding boolean[], p_usd numeric[], p_tokens bigint[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE public.billing_budgetwindow w
    SET held = w.held - m.held,
        spent = w.spent + CASE w.unit WHEN 'usd' THEN m.usd WHEN 'tokens' THEN m.tokens ELSE m.requests END,
        overrun = w.overrun + CASE w.unit WHEN 'usd' THEN m.usd_over WHEN 'tokens' THEN m.tokens_over ELSE 0 END
    FROM (
        SELECT h.id, sum(CASE WHEN s.is_holding THEN h.amount ELSE 0 END) AS held, count(s.usd) AS requests,
               coalesce(sum(s.usd), 0) AS usd, sum(greatest(s.usd - h.amount, 0)) AS usd_over,
               coalesce(sum(s.tokens), 0) AS tokens, sum(greatest(s.tokens - h.amount, 0)) AS tokens_over
        FROM unnest(p_ids, p_outcomes, p_are_holding, p_usd, p_tokens) AS s (id, outcome, is_holding, usd, tokens)
        JOIN public.billing_attempt a ON a.id = s.id
        CROSS JOIN LATERAL unnest(a.window_ids, a.hold_amounts) AS h (id, amount)
        WHERE s.outcome = 2
        GROUP BY h.id) m
    WHERE w.id = m.id;
END $$;

-- The difference between what is booked of an attempt (its estimate, and what re-rating made of it) and the usage that came
-- later: a row of its own, with the booked lines taken back and the true ones put in their place.
CREATE OR REPLACE FUNCTION public.billing_correct_estimates(
    p_ids uuid[], p_outcomes int[], p_periods bigint[], p_usd numeric[], p_tokens bigint[], p_records jsonb, p_lines jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    entry int;
    attempt public.billing_attempt;
    booked record;
    facts jsonb;
    correction_id uuid;
BEGIN
    FOREACH entry IN ARRAY array_positions(p_outcomes, 3) LOOP
        correction_id := gen_random_uuid();
        SELECT * INTO STRICT attempt FROM public.billing_attempt WHERE id = p_ids[entry];
        SELECT sum(input_tokens) AS input, sum(cache_read_tokens) AS cache_read, sum(cache_write_tokens) AS cache_write,
               sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning, sum(list_cost) AS list,
               sum(provider_cost) AS provider, sum(contracted_cost) AS contracted, sum(billed_cost) AS billed,
               coalesce(max(seq) FILTER (WHERE kind = 'correction'), 0) + 1 AS next_seq
        INTO booked FROM public.billing_usagerecord WHERE attempt_id = attempt.id AND occurred_at = attempt.occurred_at;

        UPDATE public.billing_budgetwindow w
        SET spent = w.spent + CASE w.unit
            WHEN 'usd' THEN p_usd[entry] - booked.billed
            WHEN 'tokens' THEN p_tokens[entry] - booked.input - booked.cache_read - booked.cache_write - booked.output
            ELSE 0 END
        WHERE w.id = ANY (attempt.window_ids);

        facts := p_records -> (entry - 1);
        INSERT INTO public.billing_usagerecord
        SELECT r.*
        FROM public.billing_usagerecord e
        JOIN public.billing_billingperiod p ON p.id = p_periods[entry]
        CROSS JOIN LATERAL jsonb_populate_record(NULL::public.billing_usagerecord, facts) f
        CROSS JOIN LATERAL jsonb_populate_record(e, facts || jsonb_build_object(
            'id', correction_id, 'seq', booked.next_seq, 'kind', 'correction', 'corrects_id', e.id, 'period_id', p.id,
            'recorded_at', clock_timestamp(),
            'charge_class', CASE WHEN p.starts_at > e.occurred_at THEN 'Correction' ELSE '' END,
            'reason', coalesce(nullif(f.reason, ''), 'usage that came after an estimate'),
            'processing', coalesce(f.processing, e.processing),
            'input_tokens', f.input_tokens - booked.input, 'cache_read_tokens', f.cache_read_tokens - booked.cache_read,
            'cache_write_tokens', f.cache_write_tokens - booked.cache_write, 'output_tokens', f.output_tokens - booked.output,
            'reasoning_tokens', f.reasoning_tokens - booked.reasoning, 'list_cost', f.list_cost - booked.list,
            'provider_cost', f.provider_cost - booked.provider, 'contracted_cost', f.contracted_cost - booked.contracted,
            'billed_cost', p_usd[entry] - booked.billed,
            'saving', (SELECT coalesce(jsonb_object_agg(steps.key, steps.amount::text), '{}') FROM (
                SELECT step.key, sum(step.amount) AS amount FROM (
                    SELECT key, value::numeric AS amount FROM jsonb_each_text(f.saving)
                    UNION ALL
                    SELECT s.key, -s.value::numeric
                    FROM public.billing_usagerecord b, jsonb_each_text(b.saving) s
                    WHERE b.attempt_id = attempt.id AND b.occurred_at = attempt.occurred_at) step
                GROUP BY step.key) steps))) r
        WHERE e.id = attempt.id AND e.occurred_at = attempt.occurred_at;

        INSERT INTO public.billing_usageline (
            record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
            list_cost, provider_cost, contracted_cost, billed_cost)
        SELECT correction_id, row_number() OVER (ORDER BY step, meter, price_id), attempt.occurred_at, attempt.tenant_id,
               meter, quantity, per, price_id, unit_price, list_cost, provider_cost, contracted_cost, billed_cost
        FROM (
            SELECT 0 AS step, l.meter, -sum(l.quantity) AS quantity, l.per, l.price_id, l.unit_price,
                   -sum(l.list_cost) AS list_cost, -sum(l.provider_cost) AS provider_cost,
                   -sum(l.contracted_cost) AS contracted_cost, -sum(l.billed_cost) AS billed_cost
            FROM public.billing_usagerecord r
            JOIN public.billing_usageline l ON l.record_id = r.id AND l.occurred_at = r.occurred_at
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

-- Ends attempts that owe nothing; the caller has locked them, and gives their holds back. outcomes: 0 unknown, 1 it had
-- ended, 2 voided.
CREATE OR REPLACE FUNCTION public.billing_end_unpaid(
    p_ids uuid[], p_reasons text[], OUT outcomes int[], OUT attempt_windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    SELECT array_agg(CASE WHEN a.state IN ('held', 'sent') THEN 2 WHEN a.id IS NULL THEN 0 ELSE 1 END ORDER BY s.position),
           jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY s.position)
    INTO outcomes, attempt_windows
    FROM unnest(p_ids) WITH ORDINALITY AS s (id, position) LEFT JOIN public.billing_attempt a ON a.id = s.id;
    UPDATE public.billing_attempt a SET state = 'voided', settled_at = now(), void_reason = s.reason
    FROM unnest(p_ids, p_reasons) WITH ORDINALITY AS s (id, reason, position)
    WHERE a.id = s.id AND outcomes[s.position] = 2;
END $$;

-- Rows of answers from our caches: no attempt, no hold; what they saved. Idempotent by id. The first row of a new month
-- makes its period, and a month that closes at this moment hands its rows on.
CREATE OR REPLACE FUNCTION public.billing_record_hits(p_records jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    periods bigint[];
BEGIN
    SELECT public.billing_periods_at(array_agg(r.tenant_id ORDER BY r.position), array_agg(r.occurred_at ORDER BY r.position))
    INTO periods
    FROM ROWS FROM (jsonb_to_recordset(p_records) AS (tenant_id bigint, occurred_at timestamptz)) WITH ORDINALITY
        AS r (tenant_id, occurred_at, position);
    PERFORM 1 FROM public.billing_billingperiod WHERE id = ANY (periods) AND status = 'open' ORDER BY id FOR SHARE;
    IF EXISTS (SELECT FROM public.billing_billingperiod WHERE id = ANY (periods) AND status <> 'open') THEN
        SELECT array_agg(CASE WHEN p.status = 'open' THEN p.id ELSE public.billing_entry_period(p.tenant_id, p.starts_at) END
                         ORDER BY s.position)
        INTO periods
        FROM unnest(periods) WITH ORDINALITY AS s (id, position) JOIN public.billing_billingperiod p ON p.id = s.id;
    END IF;
    INSERT INTO public.billing_usagerecord
    SELECT (hit.entry).*
    FROM (
        SELECT jsonb_populate_record(public.billing_blank_record(), s.facts || jsonb_build_object(
            'kind', 'usage', 'usage_source', 'gateway_cache', 'period_id', p.id, 'recorded_at', clock_timestamp(),
            'charge_class', CASE WHEN m.at >= p.starts_at AND m.at < p.ends_at THEN '' ELSE 'Correction' END,
            'contracted_cost', 0, 'billed_cost', 0)) AS entry
        FROM jsonb_array_elements(p_records) WITH ORDINALITY AS s (facts, position)
        CROSS JOIN LATERAL (SELECT (s.facts ->> 'occurred_at')::timestamptz AS at) m
        JOIN public.billing_billingperiod p ON p.id = periods[s.position]
        OFFSET 0) hit  -- made once, not once for each of its columns
    ON CONFLICT DO NOTHING;
    INSERT INTO public.billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT r.tenant_id, (r.occurred_at AT TIME ZONE 'UTC')::date
    FROM jsonb_to_recordset(p_records) AS r (tenant_id bigint, occurred_at timestamptz);
END $$;

-- How far streams have come, so that a crash is billed from what was produced; and that they live, so that the reaper leaves
-- them alone. The caller has locked the attempts.
CREATE OR REPLACE FUNCTION public.billing_note_progress(p_ids uuid[], p_progress text[], p_expires timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE public.billing_attempt a SET progress = u.progress::jsonb, expires_at = greatest(a.expires_at, p_expires)
    FROM unnest(p_ids, p_progress) AS u (id, progress) WHERE a.id = u.id AND a.state = 'sent';
END $$;

-- Held attempts (batch lines) go out now. Returns how many did.
CREATE OR REPLACE FUNCTION public.billing_mark_sent(p_ids uuid[], p_expires timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    sent integer;
BEGIN
    PERFORM 1 FROM public.billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    UPDATE public.billing_attempt SET state = 'sent', sent_at = now(), expires_at = p_expires
    WHERE id = ANY (p_ids) AND state = 'held';
    GET DIAGNOSTICS sent = ROW_COUNT;
    RETURN sent;
END $$;
GRANT EXECUTE ON FUNCTION public.billing_mark_sent TO purser_app;
