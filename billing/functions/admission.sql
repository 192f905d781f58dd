-- Decides on the admissions of a group; the caller has locked their windows. p_windows is each of them once, ascending; attempt
-- p_hold_attempts[i] (counted from 1) wants p_hold_amounts[i] of p_windows[p_hold_windows[i]], the attempts ascending. It
-- enters all its windows or none. p_outcomes says who is in already (-1) and so wants nothing; the others are 0 and stay so,
-- or are refused by p_windows[k] (k > 0), the fullest of those that are too small.
-- Of a window in shards p_windows has one. It is refused only what the whole has no room for; for what the shard alone has no
-- room for, "object_not_in_prerequisite_state" is raised, unless p_all_shards.
CREATE OR REPLACE FUNCTION public.billing_decide(
    p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[], p_all_shards boolean,
    p_outcomes int[]
) RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    hold_count int := cardinality(p_hold_attempts);
    outcomes int[] := p_outcomes;
    limits numeric[];
    used numeric[];
    rooms numeric[];
    hards boolean[];
    hold int := 1;
    first_hold int;
    k int;
    fullness numeric;
    worst numeric;
BEGIN
    SELECT array_agg(s.limit_amount ORDER BY s.id), array_agg(s.spent + s.held ORDER BY s.id),
           array_agg(CASE WHEN p_all_shards THEN s.room_of_all ELSE s.room END ORDER BY s.id), array_agg(s.is_hard ORDER BY s.id)
    INTO limits, used, rooms, hards FROM public.billing_window_now s WHERE s.id = ANY (p_windows);
    IF cardinality(limits) IS DISTINCT FROM cardinality(p_windows) THEN
        RAISE EXCEPTION 'unknown budget window' USING ERRCODE = 'no_data_found';
    END IF;
    FOR i IN 1..cardinality(outcomes) LOOP
        first_hold := hold;
        worst := NULL;
        WHILE hold <= hold_count AND p_hold_attempts[hold] = i LOOP
            k := p_hold_windows[hold];
            IF hards[k] AND used[k] + p_hold_amounts[hold] > limits[k] AND outcomes[i] >= 0 THEN
                fullness := CASE WHEN limits[k] > 0 THEN used[k] / limits[k] ELSE 'Infinity' END;
                IF worst IS NULL OR fullness > worst THEN
                    worst := fullness;
                    outcomes[i] := k;
                END IF;
            END IF;
            hold := hold + 1;
        END LOOP;
        IF outcomes[i] = 0 THEN
            FOR h IN first_hold..hold - 1 LOOP
                k := p_hold_windows[h];
                IF hards[k] AND p_hold_amounts[h] > rooms[k] THEN
                    RAISE EXCEPTION 'a shard has no room' USING ERRCODE = 'object_not_in_prerequisite_state';
                END IF;
                used[k] := used[k] + p_hold_amounts[h];
                rooms[k] := rooms[k] - p_hold_amounts[h];
            END LOOP;
        END IF;
    END LOOP;
    RETURN outcomes;
END $$;

-- Holds in the windows what admitted attempts (p_outcomes is 0) want, or takes it back (p_sign is -1). The caller has locked the
-- windows.
CREATE OR REPLACE FUNCTION public.billing_hold(
    p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[], p_outcomes int[], p_sign int
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    held_in int;
BEGIN
    UPDATE public.billing_budgetwindow w SET held = w.held + p_sign * h.amount
    FROM (SELECT p_windows[h.hold_window] AS id, sum(CASE WHEN p_outcomes[h.attempt] = 0 THEN h.amount ELSE 0 END) AS amount
          FROM unnest(p_hold_attempts, p_hold_windows, p_hold_amounts) AS h (attempt, hold_window, amount)
          GROUP BY h.hold_window) h
    WHERE w.id = h.id;
    GET DIAGNOSTICS held_in = ROW_COUNT;
    IF held_in <> cardinality(p_windows) THEN
        RAISE EXCEPTION 'unknown budget window' USING ERRCODE = 'no_data_found';
    END IF;
END $$;

-- Writes the attempts of a group that are not refused or in already (p_outcomes is 0), which an answer that was lost may have
-- been about: who conflicts is in with the holds of the first time, and gets -1.
CREATE OR REPLACE FUNCTION public.billing_insert_attempts(p_attempts jsonb, p_outcomes int[]) RETURNS int[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    outcomes int[] := p_outcomes;
    inserted uuid[];
BEGIN
    WITH made AS (
        INSERT INTO public.billing_attempt (
            id, tenant_id, request_id, attempt_no, key_id, user_id, feature, provider, model, processing, occurred_at,
            hold_usd, hold_tokens, window_ids, hold_amounts, state, sent_at, expires_at, void_reason, dims)
        SELECT n.id, n.tenant_id, n.request_id, n.attempt_no, n.key_id, n.user_id, n.feature, n.provider, n.model,
               n.processing, n.occurred_at, n.hold_usd, n.hold_tokens, n.window_ids::bigint[], n.hold_amounts::numeric[],
               n.state, CASE WHEN n.state = 'sent' THEN now() END, n.expires_at, '', n.dims
        FROM ROWS FROM (jsonb_to_recordset(p_attempts) AS (
                id uuid, tenant_id bigint, request_id uuid, attempt_no smallint, key_id bigint, user_id text, feature text,
                provider text, model text, processing text, occurred_at timestamptz, hold_usd numeric, hold_tokens bigint,
                window_ids text, hold_amounts text, state text, expires_at timestamptz, dims jsonb)) WITH ORDINALITY
            AS n (id, tenant_id, request_id, attempt_no, key_id, user_id, feature, provider, model, processing, occurred_at,
                  hold_usd, hold_tokens, window_ids, hold_amounts, state, expires_at, dims, position)
        WHERE outcomes[n.position] = 0
        ORDER BY n.id
        ON CONFLICT DO NOTHING
        RETURNING id)
    SELECT array_agg(id) INTO inserted FROM made;
    IF coalesce(cardinality(inserted), 0) <> cardinality(array_positions(outcomes, 0)) THEN
        SELECT array_agg(CASE WHEN outcomes[n.position] = 0 AND NOT (n.attempt ->> 'id')::uuid = ANY (coalesce(inserted, '{}'))
                         THEN -1 ELSE outcomes[n.position] END ORDER BY n.position) INTO outcomes
        FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position);
    END IF;
    RETURN outcomes;
END $$;

-- A stream that outgrows its hold asks for more of it. The same law as admission: decided under the windows' locks, in all
-- the attempt's windows or in none. Raises the holds of a group, in order. Attempt p_ids[i] is to hold p_usd[i] and
-- p_tokens[i] altogether; what it holds counts, so that a repetition holds nothing more, and no hold gets smaller.
-- refused_by: 0 it holds that much, -1 it has ended or is unknown, else the window that has no room, the fullest of them.
-- Rare enough to lock all shards of a window.
CREATE OR REPLACE FUNCTION public.billing_extend(
    p_ids uuid[], p_usd numeric[], p_tokens bigint[],
    OUT refused_by bigint[], OUT attempt_windows jsonb, OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    window_ids bigint[];
    attempt public.billing_attempt;
    wanted numeric[];
    full_window bigint;
BEGIN
    refused_by := array_fill(0, ARRAY[cardinality(p_ids)]);
    PERFORM 1 FROM public.billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(DISTINCT w.id ORDER BY w.id) INTO window_ids
    FROM public.billing_attempt a CROSS JOIN LATERAL unnest(a.window_ids) AS w (id) WHERE a.id = ANY (p_ids);
    PERFORM public.billing_lock_all_shards(window_ids);
    FOR i IN 1..cardinality(p_ids) LOOP
        SELECT * INTO attempt FROM public.billing_attempt WHERE id = p_ids[i] AND state IN ('held', 'sent');
        IF NOT FOUND THEN
            refused_by[i] := -1;
            CONTINUE;
        END IF;
        SELECT coalesce(array_agg(greatest(h.amount, CASE w.unit WHEN 'usd' THEN p_usd[i] WHEN 'tokens' THEN p_tokens[i] END)
                                  ORDER BY h.position), '{}')
        INTO wanted
        FROM unnest(attempt.window_ids, attempt.hold_amounts) WITH ORDINALITY AS h (id, amount, position)
        JOIN public.billing_budgetwindow w ON w.id = h.id;
        SELECT s.id INTO full_window
        FROM unnest(attempt.window_ids, attempt.hold_amounts, wanted) AS h (id, amount, wanted)
        JOIN public.billing_window_now s ON s.id = h.id
        WHERE s.is_hard AND h.wanted > h.amount AND s.spent + s.held + h.wanted - h.amount > s.limit_amount
        ORDER BY (s.spent + s.held) / nullif(s.limit_amount, 0) DESC NULLS FIRST LIMIT 1;
        IF FOUND THEN
            refused_by[i] := full_window;
            CONTINUE;
        END IF;
        UPDATE public.billing_budgetwindow w SET held = w.held + h.wanted - h.amount
        FROM unnest(attempt.window_ids, attempt.hold_amounts, wanted) AS h (id, amount, wanted)
        WHERE w.id = h.id AND h.wanted > h.amount;
        UPDATE public.billing_attempt SET hold_amounts = wanted, hold_usd = greatest(hold_usd, p_usd[i]),
                                   hold_tokens = greatest(hold_tokens, p_tokens[i])
        WHERE id = attempt.id;
    END LOOP;
    PERFORM public.billing_split_allowance(window_ids);
    SELECT jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY asked.position) INTO attempt_windows
    FROM unnest(p_ids) WITH ORDINALITY AS asked (id, position) LEFT JOIN public.billing_attempt a ON a.id = asked.id;
    SELECT d.windows INTO windows FROM public.billing_describe_windows(coalesce(window_ids, '{}')) d;
END $$;
GRANT EXECUTE ON FUNCTION public.billing_extend TO purser_app;
