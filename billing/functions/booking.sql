-- Locks the attempts of a re-rating in the order everybody takes, so that no settlement comes between looking and writing.
CREATE OR REPLACE FUNCTION public.billing_lock_rerating(p_rerating bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM public.billing_attempt WHERE id IN (
        SELECT r.attempt_id FROM public.billing_reratingrow n
        JOIN public.billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
        WHERE n.rerating_id = p_rerating) ORDER BY id FOR UPDATE;
END $$;

-- Books the rows of a re-rating: a correction each, in its own month if that is open, else in the next open one; and the
-- difference in the budget windows that the call was counted in. Idempotent by the corrections' ids.
CREATE OR REPLACE FUNCTION public.billing_apply_rerating(p_rerating bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    booked uuid[];
    window_ids bigint[];
BEGIN
    PERFORM public.billing_lock_rerating(p_rerating);
    -- ahead of the statement that needs them: it would not see periods made while it runs
    PERFORM public.billing_entry_period(n.tenant_id, n.occurred_at) FROM public.billing_reratingrow n
    WHERE n.rerating_id = p_rerating ORDER BY n.tenant_id, n.occurred_at;
    SELECT array_agg(DISTINCT h.id ORDER BY h.id) INTO window_ids
    FROM public.billing_reratingrow n
    JOIN public.billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
    JOIN public.billing_attempt a ON a.id = r.attempt_id
    CROSS JOIN LATERAL unnest(a.window_ids) AS h (id)
    WHERE n.rerating_id = p_rerating;
    PERFORM 1 FROM public.billing_budgetwindow WHERE id = ANY (window_ids) ORDER BY id FOR UPDATE;

    WITH made AS (
        INSERT INTO public.billing_usagerecord
        SELECT correction.*
        FROM public.billing_reratingrow n
        JOIN public.billing_rerating g ON g.id = n.rerating_id
        JOIN public.billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
        CROSS JOIN LATERAL (SELECT public.billing_entry_period(r.tenant_id, r.occurred_at) AS id) entry
        JOIN public.billing_billingperiod p ON p.id = entry.id
        CROSS JOIN LATERAL jsonb_populate_record(r, jsonb_build_object(
            'id', n.correction_id, 'kind', 'correction', 'corrects_id', r.id, 'period_id', p.id,
            'recorded_at', clock_timestamp(), 'reason', g.reason,
            -- 1 is the usage that comes after an estimate
            'seq', greatest(1, coalesce((SELECT max(c.seq) FROM public.billing_usagerecord c WHERE c.attempt_id = r.attempt_id
                                         AND c.kind = 'correction' AND c.occurred_at = r.occurred_at), 0)) + 1,
            'charge_class', CASE WHEN p.starts_at > r.occurred_at THEN 'Correction' ELSE '' END,
            'raw_usage', NULL, 'reading', NULL, 'input_tokens', 0, 'cache_read_tokens', 0, 'cache_write_tokens', 0,
            'output_tokens', 0, 'reasoning_tokens', 0, 'saved_input_tokens', 0, 'saved_output_tokens', 0,
            'list_cost', n.list_delta, 'provider_cost', n.provider_delta, 'contracted_cost', n.contracted_delta,
            'billed_cost', n.billed_delta, 'saving', n.saving, 'price_status', 'priced',
            'certainty', CASE WHEN r.price_status = 'unpriced' THEN 'exact' ELSE r.certainty END)) correction
        WHERE n.rerating_id = p_rerating
        ORDER BY r.tenant_id, r.occurred_at
        ON CONFLICT DO NOTHING
        RETURNING id)
    SELECT array_agg(id) INTO booked FROM made;
    IF booked IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO public.billing_usageline (
        record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
        list_cost, provider_cost, contracted_cost, billed_cost)
    SELECT n.correction_id, l.line_no, n.occurred_at, n.tenant_id, l.meter, l.quantity, l.per, l.price_id, l.unit_price,
           l.list_cost, l.provider_cost, l.contracted_cost, l.billed_cost
    FROM public.billing_reratingrow n
    CROSS JOIN LATERAL jsonb_to_recordset(n.lines) AS l (
        line_no smallint, meter text, quantity bigint, per integer, price_id bigint, unit_price numeric,
        list_cost numeric, provider_cost numeric, contracted_cost numeric, billed_cost numeric)
    WHERE n.rerating_id = p_rerating AND n.correction_id = ANY (booked);

    -- what had no price has one now: its bound is no bound any more
    UPDATE public.billing_attempt a SET state = 'captured'
    FROM public.billing_reratingrow n JOIN public.billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
    WHERE n.rerating_id = p_rerating AND n.correction_id = ANY (booked) AND r.price_status = 'unpriced'
      AND a.id = r.attempt_id AND a.state = 'estimated';

    UPDATE public.billing_budgetwindow w SET spent = w.spent + m.delta
    FROM (SELECT h.id, sum(n.billed_delta) AS delta
          FROM public.billing_reratingrow n
          JOIN public.billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
          JOIN public.billing_attempt a ON a.id = r.attempt_id
          CROSS JOIN LATERAL unnest(a.window_ids) AS h (id)
          WHERE n.rerating_id = p_rerating AND n.correction_id = ANY (booked) GROUP BY h.id) m
    WHERE w.id = m.id AND w.unit = 'usd';

    INSERT INTO public.billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT n.tenant_id, (n.occurred_at AT TIME ZONE 'UTC')::date
    FROM public.billing_reratingrow n WHERE n.rerating_id = p_rerating;
    PERFORM public.billing_alert_budgets(window_ids);
    RETURN cardinality(booked);
END $$;

-- Writes a credit or an adjustment into the month of a moment (that which runs), or into the next open one, as a correction, if
-- that is closed. The row's id makes it idempotent. It has no list price: without us nobody would pay or get it.
CREATE OR REPLACE FUNCTION public.billing_book_entry(
    p_id uuid, p_tenant bigint, p_kind text, p_usd numeric, p_reason text, p_user text, p_cost_center text, p_at timestamptz
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := coalesce(p_at, now());
    entry_period bigint := public.billing_entry_period(p_tenant, moment);
    period_starts timestamptz := (SELECT starts_at FROM public.billing_billingperiod WHERE id = entry_period);
BEGIN
    INSERT INTO public.billing_usagerecord
    SELECT r.*
    FROM jsonb_populate_record(public.billing_blank_record(), jsonb_build_object(
        'id', p_id, 'occurred_at', moment, 'recorded_at', clock_timestamp(), 'tenant_id', p_tenant, 'period_id', entry_period,
        'kind', p_kind, 'usage_source', 'manual', 'reason', p_reason, 'user_id', p_user, 'cost_center', p_cost_center,
        'charge_class', CASE WHEN period_starts > moment THEN 'Correction' ELSE '' END,
        'contracted_cost', p_usd, 'billed_cost', p_usd)) r;
    INSERT INTO public.billing_rollupdirty (tenant_id, day) VALUES (p_tenant, (moment AT TIME ZONE 'UTC')::date);
    RETURN entry_period;
END $$;

-- Books what a provider billed and the ledger has not, or the other way round: our cost, and the tenant's if it is charged.
-- In the month of the day, if that is open, else in the next open one as a correction. Idempotent by id: true if booked now.
CREATE OR REPLACE FUNCTION public.billing_book_invoice_difference(
    p_id uuid, p_tenant bigint, p_at timestamptz, p_usd numeric, p_charged_usd numeric, p_provider text, p_model text,
    p_reason text, p_tags jsonb
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry_period bigint := public.billing_entry_period(p_tenant, p_at);
    period_starts timestamptz := (SELECT starts_at FROM public.billing_billingperiod WHERE id = entry_period);
BEGIN
    INSERT INTO public.billing_usagerecord
    SELECT r.*
    FROM jsonb_populate_record(public.billing_blank_record(), jsonb_build_object(
        'id', p_id, 'occurred_at', p_at, 'recorded_at', clock_timestamp(), 'tenant_id', p_tenant, 'period_id', entry_period,
        'kind', 'adjustment', 'usage_source', 'provider_invoice', 'reason', p_reason, 'provider', p_provider, 'model', p_model,
        'tags', p_tags, 'charge_class', CASE WHEN period_starts > p_at THEN 'Correction' ELSE '' END,
        'provider_cost', p_usd, 'contracted_cost', p_charged_usd,
        'billed_cost', p_charged_usd)) r
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO public.billing_rollupdirty (tenant_id, day) VALUES (p_tenant, (p_at AT TIME ZONE 'UTC')::date);
    RETURN true;
END $$;
