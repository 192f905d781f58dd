-- Adds to a prepaid balance, or takes from it what is neither spent nor held; under the locks of its windows, so that no call is
-- admitted between looking and writing. Idempotent by the entry's id. Returns what is left of the balance then.
-- A balance has its windows from the beginning (billing.contracts.prepaid): there is always something to lock.
CREATE OR REPLACE FUNCTION public.billing_prepaid_book(
    p_id uuid, p_budget bigint, p_kind text, p_usd numeric, p_expires timestamptz, p_of uuid, p_reason text, p_user integer
) RETURNS numeric LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used numeric := public.billing_prepaid_lock(p_budget);
    balance_limit numeric := (SELECT limit_amount FROM public.billing_budget WHERE id = p_budget);
BEGIN
    IF EXISTS (SELECT FROM public.billing_prepaidentry WHERE id = p_id) THEN
        RETURN balance_limit - used;
    END IF;
    IF p_usd < 0 AND balance_limit - used < -p_usd THEN
        RAISE EXCEPTION 'the balance has % USD left', trim_scale(balance_limit - used) USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO public.billing_prepaidentry (
        id, tenant_id, balance_id, kind, amount_usd, expires_at, of_id, reason, entered_at, entered_by_id)
    SELECT p_id, b.tenant_id, b.budget_id, p_kind, p_usd, p_expires, p_of, p_reason, clock_timestamp(), p_user
    FROM public.billing_prepaidbalance b WHERE b.budget_id = p_budget;
    UPDATE public.billing_budget SET limit_amount = limit_amount + p_usd WHERE id = p_budget;
    RETURN balance_limit + p_usd - used;
END $$;

-- Locks a balance: its bookings take turns, then its windows in the order that everybody takes. Returns what is spent and held.
CREATE OR REPLACE FUNCTION public.billing_prepaid_lock(p_budget bigint) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM public.billing_budget WHERE id = p_budget AND scope = 'prepaid' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no prepaid balance %', p_budget USING ERRCODE = 'no_data_found';
    END IF;
    PERFORM 1 FROM public.billing_budgetwindow WHERE budget_id = p_budget ORDER BY id FOR UPDATE;
    RETURN (SELECT coalesce(sum(spent + held), 0) FROM public.billing_budgetwindow WHERE budget_id = p_budget);
END $$;

-- What of each addition is left, the one that expires first used up first: what is spent, held or paid back is taken from them in
-- that order, and what has expired from its own.
CREATE OR REPLACE FUNCTION public.billing_prepaid_parts(p_budget bigint) RETURNS TABLE (
    entry_id uuid, amount_usd numeric, expires_at timestamptz, left_usd numeric
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH used AS (
        SELECT coalesce((SELECT sum(w.spent + w.held) FROM public.billing_budgetwindow w WHERE w.budget_id = p_budget), 0)
             - coalesce((SELECT sum(e.amount_usd) FROM public.billing_prepaidentry e
                         WHERE e.balance_id = p_budget AND e.kind = 'refund'), 0) AS usd),
    parts AS (
        SELECT e.id, e.amount_usd, e.expires_at, e.amount_usd + coalesce((
                   SELECT sum(x.amount_usd) FROM public.billing_prepaidentry x WHERE x.of_id = e.id), 0) AS kept,
               row_number() OVER (ORDER BY e.expires_at NULLS LAST, e.entered_at, e.id) AS place
        FROM public.billing_prepaidentry e WHERE e.balance_id = p_budget AND e.kind IN ('top_up', 'grant'))
    SELECT p.id, p.amount_usd, p.expires_at,
           least(p.kept, greatest(0, sum(p.kept) OVER (ORDER BY p.place) - used.usd))
    FROM parts p CROSS JOIN used ORDER BY p.place
$$;

-- Takes from a balance what has expired and is neither spent nor held. What a call holds of it at that moment stays the call's; what
-- the call leaves of it is taken the next time. Returns how much was taken.
CREATE OR REPLACE FUNCTION public.billing_prepaid_expire(p_budget bigint, p_at timestamptz) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
    taken numeric := 0;
BEGIN
    PERFORM public.billing_prepaid_lock(p_budget);
    FOR part IN SELECT entry_id, left_usd FROM public.billing_prepaid_parts(p_budget)
                WHERE expires_at <= p_at AND left_usd > 0 LOOP
        PERFORM public.billing_prepaid_book(
            gen_random_uuid(), p_budget, 'expiry', -part.left_usd, NULL, part.entry_id, 'not used in time', NULL);
        taken := taken + part.left_usd;
    END LOOP;
    RETURN taken;
END $$;
