-- A window of a budget with shards is several rows, of which each worker locks one. Each has an allowance; together they
-- have the limit as it was when it was parted (allowance_of), so that what is held and spent in all of them is never above
-- it, for every reader. A worker whose row has no room locks them all, in the order of their ids, and splits the rest again.
-- Rows come with an allowance of nothing, and of no limit: nothing is admitted there before the rest was split.

-- The state of windows as it is now (`billing_window_now`) in words, for people and headers; amounts are text, because JSON numbers
-- are not exact. exceeded: which of them are hard and hold more than they have room for. hot: which have been spent so far that
-- people are to be notified.
CREATE OR REPLACE FUNCTION public.billing_describe_windows(
    p_windows bigint[], OUT windows jsonb, OUT exceeded bigint[], OUT hot bigint[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    SELECT coalesce(jsonb_agg(jsonb_build_array(
               w.id, w.budget_id, w.scope, w.subject, w.unit, w.period, w.mode,
               w.limit_amount::text, w.spent::text, w.held::text, w.ends_at)), '[]'),
           array_agg(w.id) FILTER (WHERE w.is_hard AND w.room < 0),
           array_agg(w.id) FILTER (WHERE w.spent >= w.alerts_from AND w.limit_amount > 0)
    INTO windows, exceeded, hot
    FROM public.billing_window_now w WHERE w.id = ANY (p_windows);
END $$;

-- Where the window begins that a moment's window of a budget is: there, or where one begins that covers most of its time.
-- So a tenant that changes its time zone goes on in the windows it has, and has no second allowance for the same day.
CREATE OR REPLACE FUNCTION public.billing_window_start(p_budget bigint, p_subject text, p_start timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    half interval := (SELECT CASE period WHEN 'day' THEN interval '12 hours' WHEN 'week' THEN interval '84 hours'
                                         WHEN 'month' THEN interval '14 days' END
                      FROM public.billing_budget WHERE id = p_budget);
BEGIN
    RETURN coalesce((
        SELECT w.starts_at FROM public.billing_budgetwindow w
        WHERE w.budget_id = p_budget AND w.subject = p_subject AND w.shard = 0
          AND w.starts_at BETWEEN p_start - half AND p_start + half
          AND w.ends_at BETWEEN w.starts_at + half AND w.starts_at + 3 * half  -- of the period that the budget has now
        ORDER BY abs(extract(epoch FROM w.starts_at - p_start)), w.starts_at LIMIT 1), p_start);
END $$;

-- The balances of windows that may not be there yet, in the order asked; NULL where the tenant has no such budget.
CREATE OR REPLACE FUNCTION public.billing_balances(
    p_tenants bigint[], p_budgets bigint[], p_subjects text[], p_starts timestamptz[]
) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT jsonb_agg(CASE WHEN b.id IS NOT NULL THEN jsonb_build_array(
        l.amount::text, coalesce(w.spent, 0)::text, coalesce(w.held, 0)::text, b.mode) END
        ORDER BY asked.position)
    FROM unnest(p_tenants, p_budgets, p_subjects, p_starts) WITH ORDINALITY
        AS asked (tenant_id, budget_id, subject, starts_at, position)
    LEFT JOIN public.billing_budget b ON b.id = asked.budget_id AND b.tenant_id = asked.tenant_id
    LEFT JOIN public.billing_limit_now l ON l.budget_id = b.id
    LEFT JOIN LATERAL (
        SELECT sum(spent) AS spent, sum(held) AS held FROM public.billing_budgetwindow
        WHERE budget_id = b.id AND subject = asked.subject
          AND starts_at = public.billing_window_start(b.id, asked.subject, asked.starts_at)) w ON true);
END $$;
GRANT EXECUTE ON FUNCTION public.billing_balances TO purser_app;

-- Makes the windows that are not there, with all their shards; returns the ids in the order asked, each of the shard that
-- this worker uses, NULL where there is no such budget. A window that was one row until now becomes a shard.
CREATE OR REPLACE FUNCTION public.billing_ensure_windows(
    p_budgets bigint[], p_subjects text[], p_starts timestamptz[], p_ends timestamptz[], p_worker int DEFAULT 0
) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    split bigint[];
BEGIN
    SELECT array_agg(public.billing_window_start(u.budget_id, u.subject, u.starts_at) ORDER BY u.position) INTO p_starts
    FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS u (budget_id, subject, starts_at, position);
    INSERT INTO public.billing_budgetwindow (
        budget_id, tenant_id, subject, starts_at, ends_at, shard, allowance, unit, held, spent, overrun)
    SELECT b.id, b.tenant_id, u.subject, u.starts_at, u.ends_at, n.shard, CASE WHEN b.shards > 1 THEN 0 END, b.unit, 0, 0, 0
    FROM unnest(p_budgets, p_subjects, p_starts, p_ends) AS u (budget_id, subject, starts_at, ends_at)
    JOIN public.billing_budget b ON b.id = u.budget_id
    CROSS JOIN LATERAL generate_series(0, b.shards - 1) AS n (shard)
    ORDER BY b.id, u.subject, u.starts_at, n.shard
    ON CONFLICT (budget_id, subject, starts_at, shard) DO NOTHING;
    SELECT array_agg(w.id) INTO split
    FROM unnest(p_budgets, p_subjects, p_starts) AS u (budget_id, subject, starts_at)
    JOIN public.billing_budget b ON b.id = u.budget_id AND b.shards > 1
    JOIN public.billing_budgetwindow w
        ON w.budget_id = u.budget_id AND w.subject = u.subject AND w.starts_at = u.starts_at AND w.shard = 0
    WHERE w.allowance IS NULL;
    IF split IS NOT NULL THEN
        PERFORM 1 FROM public.billing_budgetwindow WHERE id = ANY (split) ORDER BY id FOR UPDATE;
        UPDATE public.billing_budgetwindow SET allowance = 0 WHERE id = ANY (split) AND allowance IS NULL;
    END IF;
    RETURN (
        SELECT array_agg(w.id ORDER BY u.position)
        FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS u (budget_id, subject, starts_at, position)
        LEFT JOIN public.billing_budget b ON b.id = u.budget_id
        LEFT JOIN public.billing_budgetwindow w
            ON w.budget_id = u.budget_id AND w.subject = u.subject AND w.starts_at = u.starts_at
            AND w.shard = p_worker % b.shards);
END $$;
GRANT EXECUTE ON FUNCTION public.billing_ensure_windows TO purser_app;

-- All rows of the windows that these are rows of.
CREATE OR REPLACE FUNCTION public.billing_all_shards(p_windows bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT array_agg(DISTINCT o.id ORDER BY o.id)
            FROM public.billing_budgetwindow w
            JOIN public.billing_budgetwindow o
                ON o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at
            WHERE w.id = ANY (p_windows));
END $$;

-- Locks them, always in the same order. If a budget was split meanwhile there are more of them than are locked: then
-- the caller starts again.
CREATE OR REPLACE FUNCTION public.billing_lock_all_shards(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    locked bigint[] := public.billing_all_shards(p_windows);
BEGIN
    PERFORM 1 FROM public.billing_budgetwindow WHERE id = ANY (locked) ORDER BY id FOR UPDATE;
    IF public.billing_all_shards(p_windows) IS DISTINCT FROM locked THEN
        RAISE EXCEPTION 'a budget was split meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Splits what windows have left now evenly among their shards, to the last digit; the caller has locked all of them.
-- Shards that a budget has no more get none. Where there is a deficit instead, the deficit is split.
CREATE OR REPLACE FUNCTION public.billing_split_allowance(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE public.billing_budgetwindow w
    SET allowance = w.spent + w.held + p.part + CASE WHEN w.shard = 0 THEN p.room - p.part * p.shards ELSE 0 END,
        allowance_of = p.limit_amount
    FROM (
        SELECT o.id, s.limit_amount, s.room_of_all AS room, x.shards,
               CASE WHEN o.shard < b.shards THEN trunc(s.room_of_all / x.shards, 12) ELSE 0 END AS part
        FROM public.billing_window_now s
        JOIN public.billing_budgetwindow w ON w.id = s.id
        JOIN public.billing_budget b ON b.id = w.budget_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS shards FROM public.billing_budgetwindow c
            WHERE c.budget_id = w.budget_id AND c.subject = w.subject AND c.starts_at = w.starts_at
              AND c.shard < b.shards) x
        JOIN public.billing_budgetwindow o ON o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at
        WHERE s.is_shard AND s.id = ANY (p_windows)) p
    WHERE w.id = p.id;
END $$;
