-- Commits what waits for the ledger in one process: settlements, voids, hits, notes of progress and admissions, each kind as
-- arrays that may be empty. Every part is safe to repeat: an answer that was lost may have been about a commit.
-- Settlements come before admissions, so what they give back can be held at once. Rows are written before any window is locked:
-- others wait for the decision and the commit alone. What is held is written, too, and looked at once: only where a window then has
-- more than it has room for, it is taken back and decided attempt by attempt. Where admissions do not seem to fit (p_is_tight, as
-- the caller saw the windows last) they are decided on before they are written. That is the order of the work and nothing else.
-- settled_windows, voided_windows: the windows of each attempt. windows: the balances after, of every window.
CREATE OR REPLACE FUNCTION public.billing_commit_group(
    p_settled uuid[] DEFAULT '{}', p_states text[] DEFAULT '{}', p_usd numeric[] DEFAULT '{}', p_tokens bigint[] DEFAULT '{}',
    p_records jsonb DEFAULT '[]', p_lines jsonb DEFAULT '[]',
    p_voided uuid[] DEFAULT '{}', p_reasons text[] DEFAULT '{}',
    p_hits jsonb DEFAULT NULL, p_hit_windows bigint[] DEFAULT '{}',
    p_noted uuid[] DEFAULT '{}', p_notes text[] DEFAULT '{}', p_noted_until timestamptz DEFAULT NULL,
    p_attempts jsonb DEFAULT NULL, p_windows bigint[] DEFAULT '{}', p_hold_attempts int[] DEFAULT '{}',
    p_hold_windows int[] DEFAULT '{}', p_hold_amounts numeric[] DEFAULT '{}', p_is_tight boolean DEFAULT false,
    p_all_shards boolean DEFAULT false,
    OUT settled int[], OUT settled_windows jsonb, OUT voided int[], OUT voided_windows jsonb, OUT admitted int[],
    OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    ended uuid[] := p_settled || p_voided;
    are_holding boolean[] := '{}';
    periods bigint[];
    has_holds boolean := cardinality(p_hold_attempts) > 0;
    is_tight boolean := p_attempts IS NOT NULL AND has_holds AND (p_is_tight OR p_all_shards);
    touched bigint[] := p_windows;
    exceeded bigint[];
    hot bigint[];
BEGIN
    settled := '{}';
    voided := '{}';
    admitted := '{}';
    IF cardinality(ended) = 0 AND p_hits IS NULL AND p_attempts IS NULL THEN
        PERFORM set_config('synchronous_commit', 'off', true);  -- a lost note costs an estimate a second of precision
    END IF;
    IF cardinality(ended || p_noted) > 0 THEN
        PERFORM 1 FROM public.billing_attempt WHERE id = ANY (ended || p_noted) ORDER BY id FOR UPDATE;
    END IF;
    IF cardinality(p_settled) > 0 THEN
        SELECT b.outcomes, b.are_holding, b.periods, b.attempt_windows INTO settled, are_holding, periods, settled_windows
        FROM public.billing_book_settlements(p_settled, p_states, p_usd, p_records, p_lines) b;
    END IF;
    IF cardinality(p_voided) > 0 THEN
        SELECT v.outcomes, v.attempt_windows INTO voided, voided_windows
        FROM public.billing_end_unpaid(p_voided, p_reasons) v;
        are_holding := are_holding || array_fill(true, ARRAY[cardinality(p_voided)]);
    END IF;
    IF p_hits IS NOT NULL THEN
        PERFORM public.billing_record_hits(p_hits);
    END IF;
    IF cardinality(p_noted) > 0 THEN
        PERFORM public.billing_note_progress(p_noted, p_notes, p_noted_until);
    END IF;
    IF p_attempts IS NOT NULL THEN
        admitted := array_fill(0, ARRAY[jsonb_array_length(p_attempts)]);
        IF is_tight THEN
            SELECT array_agg(CASE WHEN a.id IS NULL THEN 0 ELSE -1 END ORDER BY n.position) INTO admitted
            FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position)
            LEFT JOIN public.billing_attempt a ON a.id = (n.attempt ->> 'id')::uuid;
        ELSE
            admitted := public.billing_insert_attempts(p_attempts, admitted);
        END IF;
    END IF;

    -- the windows last, all of them in one order
    IF cardinality(ended) > 0 THEN
        SELECT touched || coalesce(array_agg(w.id), '{}') INTO touched
        FROM public.billing_attempt a CROSS JOIN LATERAL unnest(a.window_ids) AS w (id) WHERE a.id = ANY (ended);
    END IF;
    IF p_all_shards THEN
        PERFORM public.billing_lock_all_shards(touched);
    ELSIF cardinality(touched) > 0 THEN
        PERFORM 1 FROM public.billing_budgetwindow WHERE id = ANY (touched) ORDER BY id FOR UPDATE;
    END IF;
    -- statements of their own: they see what those committed for whom we waited
    IF cardinality(ended) > 0 THEN
        PERFORM public.billing_pay_windows(ended, settled || voided, are_holding, p_usd, p_tokens);
    END IF;
    IF 3 = ANY (settled) THEN
        PERFORM public.billing_correct_estimates(p_settled, settled, periods, p_usd, p_tokens, p_records, p_lines);
    END IF;
    IF has_holds AND NOT is_tight THEN
        PERFORM public.billing_hold(p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, admitted, 1);
    END IF;
    SELECT d.windows, d.exceeded, d.hot INTO windows, exceeded, hot
    FROM public.billing_describe_windows(touched || p_hit_windows) d;
    IF has_holds AND (is_tight OR exceeded && p_windows) THEN
        IF NOT is_tight THEN
            PERFORM public.billing_hold(p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, admitted, -1);
        END IF;
        admitted := public.billing_decide(
            p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, p_all_shards, admitted);
        IF is_tight THEN
            admitted := public.billing_insert_attempts(p_attempts, admitted);
        ELSE
            DELETE FROM public.billing_attempt WHERE id IN (
                SELECT (n.attempt ->> 'id')::uuid FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position)
                WHERE admitted[n.position] > 0);
        END IF;
        PERFORM public.billing_hold(p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, admitted, 1);
        IF p_all_shards THEN
            PERFORM public.billing_split_allowance(p_windows);
        END IF;
        SELECT d.windows INTO windows FROM public.billing_describe_windows(touched || p_hit_windows) d;
    END IF;
    IF hot IS NOT NULL AND cardinality(p_settled) > 0 THEN
        PERFORM public.billing_alert_budgets(hot);
    END IF;
END $$;
GRANT EXECUTE ON FUNCTION public.billing_commit_group TO purser_app;
