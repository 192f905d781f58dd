-- A window of a budget with shards is several rows, of which each worker locks one. Each has an allowance; together they
-- have the limit as it was when it was parted (allowance_of), so that what is held and spent in all of them is never above
-- it, whoever looks. A worker whose row has no room locks them all, in the order of their ids, and parts the room anew.
-- Rows come with an allowance of nothing, and of no limit: nobody admits there before the room was parted.

-- The state of windows as it is now: of the whole window, whichever of its shards is asked. The limit is read here, with
-- the raises that count at this moment, never copied.
CREATE OR REPLACE FUNCTION billing_window_states(p_windows bigint[])
RETURNS TABLE (window_id bigint, limit_amount numeric, spent numeric, held numeric, is_hard boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT w.id, b.limit_amount + coalesce(r.extra, 0),
           CASE WHEN w.allowance IS NULL THEN w.spent ELSE s.spent END,
           CASE WHEN w.allowance IS NULL THEN w.held ELSE s.held END, b.mode = 'hard' AND b.is_active
    FROM billing_budgetwindow w
    JOIN billing_budget b ON b.id = w.budget_id
    LEFT JOIN LATERAL (
        SELECT sum(extra_amount) AS extra FROM billing_budgetraise
        WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) r ON true
    LEFT JOIN LATERAL (
        SELECT sum(o.spent) AS spent, sum(o.held) AS held FROM billing_budgetwindow o
        WHERE w.allowance IS NOT NULL
          AND o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at) s ON true
    WHERE w.id = ANY (p_windows)
    ORDER BY w.id;
END $$;

-- What admission goes by: how much the row itself may take (room), which for a shard is what its allowance leaves, and
-- what the whole window has used. A shard has no room (-1) when its allowance is of another limit than the one that
-- counts now, or when another shard has passed its own, because a call came out dearer than its hold. Who holds the locks
-- of all shards (p_all_shards) has the room of the whole.
CREATE FUNCTION billing_window_rooms(p_windows bigint[], p_all_shards boolean)
RETURNS TABLE (window_id bigint, limit_amount numeric, used numeric, room numeric, is_hard boolean, is_shard boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT w.id, l.amount,
           CASE WHEN w.allowance IS NULL THEN w.spent + w.held ELSE s.used END,
           CASE WHEN w.allowance IS NULL THEN l.amount - w.spent - w.held
                WHEN p_all_shards THEN l.amount - s.used
                WHEN w.allowance_of = l.amount AND s.are_within THEN w.allowance - w.spent - w.held
                ELSE -1 END,
           b.mode = 'hard' AND b.is_active, w.allowance IS NOT NULL
    FROM billing_budgetwindow w
    JOIN billing_budget b ON b.id = w.budget_id
    LEFT JOIN LATERAL (
        SELECT sum(extra_amount) AS extra FROM billing_budgetraise
        WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) r ON true
    CROSS JOIN LATERAL (SELECT b.limit_amount + coalesce(r.extra, 0) AS amount) l
    LEFT JOIN LATERAL (
        SELECT sum(o.spent + o.held) AS used, bool_and(o.spent + o.held <= o.allowance) AS are_within
        FROM billing_budgetwindow o
        WHERE w.allowance IS NOT NULL
          AND o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at) s ON true
    WHERE w.id = ANY (p_windows)
    ORDER BY w.id;
END $$;

-- All rows of the windows that these are rows of.
CREATE FUNCTION billing_all_shards(p_windows bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN (SELECT array_agg(DISTINCT o.id ORDER BY o.id)
            FROM billing_budgetwindow w
            JOIN billing_budgetwindow o ON o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at
            WHERE w.id = ANY (p_windows));
END $$;

-- Locks them, in the order everybody takes. If a budget was split meanwhile there are more of them than are locked: then
-- the caller begins anew.
CREATE FUNCTION billing_lock_all_shards(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    locked bigint[] := billing_all_shards(p_windows);
BEGIN
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (locked) ORDER BY id FOR UPDATE;
    IF billing_all_shards(p_windows) IS DISTINCT FROM locked THEN
        RAISE EXCEPTION 'a budget was split meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Parts the room that windows have now evenly among their shards, to the last digit; the caller has locked all of them.
-- Shards that a budget has no more get none. Where there is no room but a deficit, that is parted.
CREATE FUNCTION billing_part_room(p_windows bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE billing_budgetwindow w
    SET allowance = w.spent + w.held + p.part + CASE WHEN w.shard = 0 THEN p.room - p.part * p.shards ELSE 0 END,
        allowance_of = p.limit_amount
    FROM (
        SELECT o.id, s.limit_amount, s.room, x.shards,
               CASE WHEN o.shard < b.shards THEN trunc(s.room / x.shards, 12) ELSE 0 END AS part
        FROM billing_window_rooms(p_windows, true) s
        JOIN billing_budgetwindow w ON w.id = s.window_id
        JOIN billing_budget b ON b.id = w.budget_id
        CROSS JOIN LATERAL (
            SELECT count(*) AS shards FROM billing_budgetwindow c
            WHERE c.budget_id = w.budget_id AND c.subject = w.subject AND c.starts_at = w.starts_at
              AND c.shard < b.shards) x
        JOIN billing_budgetwindow o ON o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at
        WHERE s.is_shard) p
    WHERE w.id = p.id;
END $$;

-- Makes the windows that are not there, with all their shards; returns the ids in the order asked, each of the shard that
-- this worker uses, NULL where there is no such budget. A window that was one row until now becomes a shard.
DROP FUNCTION billing_ensure_windows(bigint[], text[], timestamptz[], timestamptz[]);
CREATE FUNCTION billing_ensure_windows(
    p_budgets bigint[], p_subjects text[], p_starts timestamptz[], p_ends timestamptz[], p_worker int DEFAULT 0
) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    split bigint[];
BEGIN
    INSERT INTO billing_budgetwindow (
        budget_id, tenant_id, subject, starts_at, ends_at, shard, allowance, unit, held, spent, overrun)
    SELECT b.id, b.tenant_id, u.subject, u.starts_at, u.ends_at, n.shard, CASE WHEN b.shards > 1 THEN 0 END, b.unit, 0, 0, 0
    FROM unnest(p_budgets, p_subjects, p_starts, p_ends) AS u (budget_id, subject, starts_at, ends_at)
    JOIN billing_budget b ON b.id = u.budget_id
    CROSS JOIN LATERAL generate_series(0, b.shards - 1) AS n (shard)
    ORDER BY b.id, u.subject, u.starts_at, n.shard
    ON CONFLICT (budget_id, subject, starts_at, shard) DO NOTHING;
    SELECT array_agg(w.id) INTO split
    FROM unnest(p_budgets, p_subjects, p_starts) AS u (budget_id, subject, starts_at)
    JOIN billing_budget b ON b.id = u.budget_id AND b.shards > 1
    JOIN billing_budgetwindow w
        ON w.budget_id = u.budget_id AND w.subject = u.subject AND w.starts_at = u.starts_at AND w.shard = 0
    WHERE w.allowance IS NULL;
    IF split IS NOT NULL THEN
        PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (split) ORDER BY id FOR UPDATE;
        UPDATE billing_budgetwindow SET allowance = 0 WHERE id = ANY (split) AND allowance IS NULL;
    END IF;
    RETURN (
        SELECT array_agg(w.id ORDER BY u.position)
        FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS u (budget_id, subject, starts_at, position)
        LEFT JOIN billing_budget b ON b.id = u.budget_id
        LEFT JOIN billing_budgetwindow w
            ON w.budget_id = u.budget_id AND w.subject = u.subject AND w.starts_at = u.starts_at
            AND w.shard = p_worker % b.shards);
END $$;

-- The balances of windows that may not be there yet, of one tenant.
CREATE OR REPLACE FUNCTION billing_balances(
    p_tenant bigint, p_budgets bigint[], p_subjects text[], p_starts timestamptz[]
) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_array(
        b.id, (b.limit_amount + coalesce(r.extra, 0))::text, coalesce(w.spent, 0)::text, coalesce(w.held, 0)::text, b.mode)
        ORDER BY asked.position), '[]')
    FROM unnest(p_budgets, p_subjects, p_starts) WITH ORDINALITY AS asked (budget_id, subject, starts_at, position)
    JOIN billing_budget b ON b.id = asked.budget_id AND b.tenant_id = p_tenant
    LEFT JOIN LATERAL (
        SELECT sum(spent) AS spent, sum(held) AS held FROM billing_budgetwindow
        WHERE budget_id = b.id AND subject = asked.subject AND starts_at = asked.starts_at) w ON true
    LEFT JOIN LATERAL (
        SELECT sum(extra_amount) AS extra FROM billing_budgetraise
        WHERE budget_id = b.id AND starts_at <= now() AND ends_at > now()) r ON true);
END $$;

-- Decides on a group under the locks of its windows; the arguments are those of billing_admit. p_outcomes says who is in
-- already (-1) and so wants nothing; the others are 0 and stay so, or are refused.
CREATE FUNCTION billing_decide(
    p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[], p_all_shards boolean,
    p_outcomes int[]
) RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    hold_count int := cardinality(p_hold_attempts);
    outcomes int[] := p_outcomes;
    limits numeric[];
    used numeric[];
    rooms numeric[];
    hards boolean[];
    wanted numeric[];
    hold int := 1;
    first_hold int;
    k int;
    fullness numeric;
    worst numeric;
BEGIN
    IF p_all_shards THEN
        PERFORM billing_lock_all_shards(p_windows);
    ELSE
        PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (p_windows) ORDER BY id FOR UPDATE;
    END IF;
    -- a statement of its own: it sees what those committed for whom we waited
    SELECT array_agg(s.limit_amount), array_agg(s.used), array_agg(s.room), array_agg(s.is_hard)
    INTO limits, used, rooms, hards FROM billing_window_rooms(p_windows, p_all_shards) s;
    IF cardinality(limits) IS DISTINCT FROM cardinality(p_windows) THEN
        RAISE EXCEPTION 'unknown budget window' USING ERRCODE = 'no_data_found';
    END IF;
    -- the usual case: everybody fits, and one sum shows it
    SELECT array_agg(w.wanted ORDER BY w.hold_window) INTO wanted FROM (
        SELECT h.hold_window, sum(CASE WHEN outcomes[h.attempt] = 0 THEN h.amount ELSE 0 END) AS wanted
        FROM unnest(p_hold_attempts, p_hold_windows, p_hold_amounts) AS h (attempt, hold_window, amount)
        GROUP BY h.hold_window) w;
    IF NOT EXISTS (SELECT FROM unnest(rooms, hards, wanted) AS w (room, is_hard, wanted)
                   WHERE w.is_hard AND w.wanted > w.room) THEN
        RETURN outcomes;
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

-- Admits a group, in order, each as a whole: an attempt enters all its windows or none. p_windows is every window of the
-- group once, ascending; attempt p_hold_attempts[i] (counted from 1) wants p_hold_amounts[i] of p_windows[p_hold_windows[i]],
-- the attempts ascending. Some may be in already, from a try whose answer was lost.
-- outcomes: 0 admitted, -1 in already, k > 0 refused by p_windows[k], the one of those too small that is the fullest.
-- Of a window in shards p_windows has one. It is refused only what the whole has no room for; for what the shard alone
-- has no room for, nothing of the group is done and "object_not_in_prerequisite_state" is raised, unless p_all_shards.
-- Where all seem to fit, the attempts are written before the windows are locked, so that everybody else waits for the
-- decision and the commit alone; whoever does not fit after all is taken out again.
DROP FUNCTION IF EXISTS billing_admit(jsonb, bigint[], int[], int[], numeric[]);
CREATE FUNCTION billing_admit(
    p_attempts jsonb, p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[],
    p_all_shards boolean DEFAULT false, OUT outcomes int[], OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    has_holds boolean := cardinality(p_hold_attempts) > 0;
    inserted uuid[];
    is_tight boolean;
BEGIN
    outcomes := array_fill(0, ARRAY[jsonb_array_length(p_attempts)]);
    -- a look without locks, which decides the order of the work and nothing else
    is_tight := has_holds AND (p_all_shards OR EXISTS (
        SELECT FROM billing_window_rooms(p_windows, false) s
        JOIN (SELECT p_windows[h.hold_window] AS id, sum(h.amount) AS wanted
              FROM unnest(p_hold_windows, p_hold_amounts) AS h (hold_window, amount) GROUP BY 1) w ON w.id = s.window_id
        WHERE s.is_hard AND w.wanted > s.room));
    IF is_tight THEN
        SELECT array_agg(CASE WHEN a.id IS NULL THEN 0 ELSE -1 END ORDER BY n.position) INTO outcomes
        FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position)
        LEFT JOIN billing_attempt a ON a.id = (n.attempt ->> 'id')::uuid;
        outcomes := billing_decide(p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, p_all_shards, outcomes);
    END IF;

    WITH made AS (
        INSERT INTO billing_attempt (
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
    -- who conflicted is in already, with the holds of the first time
    IF coalesce(cardinality(inserted), 0) <> cardinality(array_positions(outcomes, 0)) THEN
        SELECT array_agg(CASE WHEN outcomes[n.position] = 0 AND NOT (n.attempt ->> 'id')::uuid = ANY (coalesce(inserted, '{}'))
                         THEN -1 ELSE outcomes[n.position] END ORDER BY n.position) INTO outcomes
        FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position);
    END IF;
    IF has_holds AND NOT is_tight THEN
        outcomes := billing_decide(p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, p_all_shards, outcomes);
        IF 0 < ANY (outcomes) THEN
            DELETE FROM billing_attempt WHERE id IN (
                SELECT (n.attempt ->> 'id')::uuid FROM jsonb_array_elements(p_attempts) WITH ORDINALITY AS n (attempt, position)
                WHERE outcomes[n.position] > 0);
        END IF;
    END IF;
    UPDATE billing_budgetwindow w SET held = w.held + h.amount
    FROM (SELECT p_windows[h.hold_window] AS id, sum(h.amount) AS amount
          FROM unnest(p_hold_attempts, p_hold_windows, p_hold_amounts) AS h (attempt, hold_window, amount)
          WHERE outcomes[h.attempt] = 0 GROUP BY 1) h
    WHERE w.id = h.id;
    windows := billing_describe_windows(p_windows);
END $$;

-- The same for groups with windows in shards: each worker in its own shard, all of them where that has no room.
CREATE FUNCTION billing_admit_in_shards(
    p_attempts jsonb, p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[],
    OUT outcomes int[], OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    BEGIN
        SELECT a.outcomes, a.windows INTO outcomes, windows
        FROM billing_admit(p_attempts, p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts) a;
        RETURN;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        NULL;  -- this has given the locks back: all can be taken in their order
    END;
    SELECT a.outcomes, a.windows INTO outcomes, windows
    FROM billing_admit(p_attempts, p_windows, p_hold_attempts, p_hold_windows, p_hold_amounts, true) a;
    PERFORM billing_part_room(p_windows);
END $$;

-- Raises the holds of a group, in order. Attempt p_ids[i] is to hold p_usd[i] and p_tokens[i] altogether; what it holds
-- counts, so that a repetition holds nothing more, and no hold gets smaller.
-- refused_by: 0 it holds that much, -1 it has ended or is unknown, else the window that has no room, the fullest of them. Rare enough to lock all
-- shards of a window.
CREATE OR REPLACE FUNCTION billing_extend(
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
    PERFORM billing_lock_all_shards(window_ids);
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
    PERFORM billing_part_room(window_ids);
    SELECT jsonb_agg(coalesce(to_jsonb(a.window_ids), '[]') ORDER BY asked.position) INTO attempt_windows
    FROM unnest(p_ids) WITH ORDINALITY AS asked (id, position) LEFT JOIN billing_attempt a ON a.id = asked.id;
    windows := billing_describe_windows(coalesce(window_ids, '{}'));
END $$;

-- Budgets whose spent share has passed a threshold: of the budget itself, or of a tenant's rule for all its budgets. Once
-- for a window and a limit: a raised limit makes it news again. Of a window in shards it is the sum that passes; two shards
-- that pass it together, neither seeing the other, are found by billing_alert_shards.
CREATE OR REPLACE FUNCTION billing_alert_budgets(p_windows bigint[], p_before numeric[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    hot bigint[];
BEGIN
    SELECT array_agg(s.window_id) INTO hot
    FROM unnest(p_windows, p_before) AS changed (id, before)
    JOIN billing_window_states(p_windows) s ON s.window_id = changed.id AND s.limit_amount > 0
    JOIN billing_budgetwindow w ON w.id = changed.id AND w.spent > changed.before
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

-- Looks at all windows in shards that are current, or were a day ago.
CREATE FUNCTION billing_alert_shards() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT billing_alert_budgets(array_agg(id ORDER BY id), array_agg(-1::numeric))
    FROM billing_budgetwindow
    WHERE shard = 0 AND allowance IS NOT NULL AND (ends_at IS NULL OR ends_at > now() - interval '1 day')
    HAVING count(*) > 0;
$$;
