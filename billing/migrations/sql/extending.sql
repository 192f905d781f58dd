-- A stream that outgrows its hold asks for more of it. The same law as admission: decided under the windows' locks, in all
-- the attempt's windows or in none.

-- Raises the holds of a group, in order. Attempt p_ids[i] is to hold p_usd[i] and p_tokens[i] altogether; what it holds
-- counts, so that a repetition holds nothing more, and no hold gets smaller.
-- refused_by: 0 it holds that much, -1 it has ended or is unknown, else the window that has no room, the fullest of them.
CREATE FUNCTION billing_extend(
    p_ids uuid[], p_usd numeric[], p_tokens bigint[],
    OUT refused_by bigint[], OUT attempt_windows jsonb, OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    window_ids bigint[];
    attempt billing_attempt;
    wanted numeric[];
    full_window bigint;
BEGIN
    refused_by := array_fill(0, ARRAY[cardinality(p_ids)]);
    PERFORM 1 FROM billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(DISTINCT w.id ORDER BY w.id) INTO window_ids
    FROM billing_attempt a CROSS JOIN LATERAL unnest(a.window_ids) AS w (id) WHERE a.id = ANY (p_ids);
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (window_ids) ORDER BY id FOR UPDATE;
    FOR i IN 1..cardinality(p_ids) LOOP
        SELECT * INTO attempt FROM billing_attempt WHERE id = p_ids[i] AND state IN ('held', 'sent');
        IF NOT FOUND THEN
            refused_by[i] := -1;
            CONTINUE;
        END IF;
        SELECT coalesce(array_agg(greatest(h.amount, CASE w.unit WHEN 'usd' THEN p_usd[i] WHEN 'tokens' THEN p_tokens[i] END)
                                  ORDER BY h.position), '{}')
        INTO wanted
        FROM unnest(attempt.window_ids, attempt.hold_amounts) WITH ORDINALITY AS h (id, amount, position)
        JOIN billing_budgetwindow w ON w.id = h.id;
        SELECT s.window_id INTO full_window
        FROM unnest(attempt.window_ids, attempt.hold_amounts, wanted) AS h (id, amount, wanted)
        JOIN billing_window_states(attempt.window_ids) s ON s.window_id = h.id
        WHERE s.is_hard AND h.wanted > h.amount AND s.spent + s.held + h.wanted - h.amount > s.limit_amount
        ORDER BY (s.spent + s.held) / nullif(s.limit_amount, 0) DESC NULLS FIRST LIMIT 1;
        IF FOUND THEN
            refused_by[i] := full_window;
            CONTINUE;
        END IF;
        UPDATE billing_budgetwindow w SET held = w.held + h.wanted - h.amount
        FROM unnest(attempt.window_ids, attempt.hold_amounts, wanted) AS h (id, amount, wanted)
        WHERE w.id = h.id AND h.wanted > h.amount;
        UPDATE billing_attempt SET hold_amounts = wanted, hold_usd = greatest(hold_usd, p_usd[i]),
                                   hold_tokens = greatest(hold_tokens, p_tokens[i])
        WHERE id = attempt.id;
    END LOOP;
    SELECT jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY asked.position) INTO attempt_windows
    FROM unnest(p_ids) WITH ORDINALITY AS asked (id, position) LEFT JOIN billing_attempt a ON a.id = asked.id;
    windows := billing_describe_windows(coalesce(window_ids, '{}'));
END $$;
