-- Closing a month: what the database itself keeps of it. The functions named `billing_...` that stand in money.sql too
-- are replaced here; their callers do not change.

-- ---------------------------------------------------------------- periods
-- A period goes open -> closing -> closed and never back; only `closing` may be opened again, while it has no statement.
-- Its bounds are what its rows were sorted by. Closed means: there is a statement, and this is its digest.
CREATE FUNCTION billing_period_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.status = 'closed' THEN
        RAISE EXCEPTION 'period % is closed for good', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT FROM billing_usagerecord WHERE period_id = OLD.id) THEN
            RAISE EXCEPTION 'period % has rows', OLD.label USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN OLD;
    ELSIF (NEW.id, NEW.tenant_id, NEW.label, NEW.starts_at, NEW.ends_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.label, OLD.starts_at, OLD.ends_at) THEN
        RAISE EXCEPTION 'the bounds of period % are fixed', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF NEW.status = 'closed' AND NOT (OLD.status = 'closing' AND EXISTS (
            SELECT FROM billing_statement WHERE period_id = NEW.id AND digest = NEW.digest)) THEN
        RAISE EXCEPTION 'period % has no statement of this digest', OLD.label
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER period_law BEFORE UPDATE OR DELETE ON billing_billingperiod
    FOR EACH ROW EXECUTE FUNCTION billing_period_law();

-- The open period a row of a moment enters: its own, or the next open one if that is closed. Locked, so that it stays open
-- until the caller's transaction ends.
CREATE FUNCTION billing_entry_period(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_id bigint := billing_period_at(p_tenant, p_at);
BEGIN
    LOOP
        PERFORM 1 FROM billing_billingperiod WHERE id = found_id AND status = 'open' FOR SHARE;
        IF FOUND THEN
            RETURN found_id;
        END IF;
        found_id := billing_open_period_after(p_tenant, (SELECT starts_at FROM billing_billingperiod WHERE id = found_id));
        IF found_id IS NULL THEN
            RAISE EXCEPTION 'tenant % has no open period after %', p_tenant, p_at USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END LOOP;
END $$;

-- ---------------------------------------------------------------- lines
-- A line belongs to a record of its tenant whose period is open. Once for a statement, over its new rows.
CREATE FUNCTION billing_line_gate() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    periods bigint[];
    strays bigint;
    shut text;
BEGIN
    -- the tenant is compared, not joined by: of a tenant's rows at one moment there can be many
    SELECT array_agg(DISTINCT r.period_id), count(*) FILTER (WHERE r.id IS NULL OR r.tenant_id <> n.tenant_id)
    INTO periods, strays
    FROM (SELECT DISTINCT record_id, occurred_at, tenant_id FROM new_rows) n
    LEFT JOIN billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at;
    IF strays > 0 THEN
        RAISE EXCEPTION 'a line without a record of its tenant' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM 1 FROM billing_billingperiod WHERE id = ANY (periods) ORDER BY id FOR SHARE;
    SELECT label INTO shut FROM billing_billingperiod WHERE id = ANY (periods) AND status <> 'open' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'period % is not open: nothing enters it any more', shut
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- Statement triggers guard only the table that is named: each partition gets its own.
CREATE OR REPLACE FUNCTION billing_guard_partition(p_parent text, p_partition text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    gate text := CASE p_parent WHEN 'billing_usagerecord' THEN 'period_gate' ELSE 'line_gate' END;
BEGIN
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I EXECUTE FUNCTION billing_refuse_change()', p_partition);
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
         FOR EACH STATEMENT EXECUTE FUNCTION %I()', gate, p_partition, 'billing_' || gate);
END $$;

DO $$
DECLARE
    guarded regclass;
BEGIN
    FOR guarded IN SELECT 'billing_usageline'::regclass
                   UNION ALL SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'billing_usageline'::regclass LOOP
        EXECUTE format(
            'CREATE TRIGGER line_gate AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows
             FOR EACH STATEMENT EXECUTE FUNCTION billing_line_gate()', guarded);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- statements
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementfile
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_manualentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statement EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementline EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementfile EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_manualentry EXECUTE FUNCTION billing_refuse_change();

-- Numbers without a gap, a chain without a break, and only while the month is being closed.
CREATE FUNCTION billing_statement_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    last billing_statement;
BEGIN
    PERFORM 1 FROM billing_billingperiod WHERE id = NEW.period_id AND tenant_id = NEW.tenant_id AND status = 'closing';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a statement is written while its month is being closed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT * INTO last FROM billing_statement WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1 OR NEW.previous_digest <> coalesce(last.digest, '') THEN
        RAISE EXCEPTION 'statement % does not follow statement %', NEW.number, coalesce(last.number, 0)
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER statement_law BEFORE INSERT ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_statement_law();

CREATE FUNCTION billing_statement_part_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT statement_id FROM new_rows) n
               JOIN billing_statement s ON s.id = n.statement_id
               JOIN billing_billingperiod p ON p.id = s.period_id WHERE p.status <> 'closing') THEN
        RAISE EXCEPTION 'the statement of a closed month is complete' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementline REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementfile REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();

-- ---------------------------------------------------------------- rate rules
-- One rule for a tenant's priority at any moment.
ALTER TABLE billing_raterule ADD CONSTRAINT rate_rule_priority_unique EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&, int4range(priority, priority, '[]') WITH &&,
    tstzrange(valid_from, valid_to) WITH &&);
CREATE FUNCTION billing_rule_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - 'valid_to' <> to_jsonb(OLD) - 'valid_to' THEN
        RAISE EXCEPTION 'a rate rule is immutable: end it and add another' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_raterule
    FOR EACH ROW EXECUTE FUNCTION billing_rule_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_raterule EXECUTE FUNCTION billing_refuse_change();

-- ---------------------------------------------------------------- corrections
CREATE TRIGGER immutable BEFORE UPDATE ON billing_reratingrow
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();

-- Rows of answers from our caches: no attempt, no hold; what they saved. Idempotent by id. Replaces the one in money.sql:
-- the first row of a new month makes its period, and a month that closes at this moment hands its rows on.
CREATE OR REPLACE FUNCTION billing_record_hits(p_records jsonb, p_windows bigint[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    periods bigint[];
BEGIN
    SELECT array_agg(coalesce(
        (SELECT p.id FROM billing_billingperiod p
         WHERE p.tenant_id = r.tenant_id AND p.starts_at <= r.occurred_at AND p.ends_at > r.occurred_at),
        billing_period_at(r.tenant_id, r.occurred_at)) ORDER BY r.position)
    INTO periods
    FROM ROWS FROM (jsonb_to_recordset(p_records) AS (tenant_id bigint, occurred_at timestamptz)) WITH ORDINALITY
        AS r (tenant_id, occurred_at, position);
    PERFORM 1 FROM billing_billingperiod WHERE id = ANY (periods) ORDER BY id FOR SHARE;
    IF EXISTS (SELECT FROM billing_billingperiod WHERE id = ANY (periods) AND status <> 'open') THEN
        SELECT array_agg(CASE WHEN p.status = 'open' THEN p.id ELSE billing_entry_period(p.tenant_id, p.starts_at) END
                         ORDER BY s.position)
        INTO periods
        FROM unnest(periods) WITH ORDINALITY AS s (id, position) JOIN billing_billingperiod p ON p.id = s.id;
    END IF;
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

-- Locks the attempts of a re-rating in the order everybody takes, so that no settlement comes between looking and writing.
CREATE FUNCTION billing_lock_rerating(p_rerating bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM billing_attempt WHERE id IN (
        SELECT r.attempt_id FROM billing_reratingrow n
        JOIN billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
        WHERE n.rerating_id = p_rerating) ORDER BY id FOR UPDATE;
END $$;

-- Books the rows of a re-rating: a correction each, in its own month if that is open, else in the next open one; and the
-- difference in the budget windows that the call was counted in. Idempotent by the corrections' ids.
CREATE FUNCTION billing_apply_rerating(p_rerating bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    booked uuid[];
    window_ids bigint[];
    before numeric[];
BEGIN
    PERFORM billing_lock_rerating(p_rerating);
    -- ahead of the statement that needs them: it would not see periods made while it runs
    PERFORM billing_entry_period(n.tenant_id, n.occurred_at) FROM billing_reratingrow n
    WHERE n.rerating_id = p_rerating ORDER BY n.tenant_id, n.occurred_at;
    SELECT array_agg(DISTINCT h.id ORDER BY h.id) INTO window_ids
    FROM billing_reratingrow n
    JOIN billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
    JOIN billing_attempt a ON a.id = r.attempt_id
    CROSS JOIN LATERAL unnest(a.window_ids) AS h (id)
    WHERE n.rerating_id = p_rerating;
    PERFORM 1 FROM billing_budgetwindow WHERE id = ANY (window_ids) ORDER BY id FOR UPDATE;
    SELECT array_agg(w.spent ORDER BY w.id) INTO before FROM billing_budgetwindow w WHERE w.id = ANY (window_ids);

    WITH made AS (
        INSERT INTO billing_usagerecord (
            id, occurred_at, recorded_at, tenant_id, period_id, attempt_id, seq, kind, usage_source, charge_class, corrects_id,
            reason, request_id, user_id, key_id, feature, project, cost_center, tags, endpoint, provider, model, model_asked,
            tier, cache_state, service_tier, processing, region, upstream_id,
            list_cost, provider_cost, contracted_cost, billed_cost, saving, price_status)
        SELECT n.correction_id, r.occurred_at, clock_timestamp(), r.tenant_id, p.id, r.attempt_id,
               -- 1 is the usage that comes after an estimate
               greatest(1, coalesce((SELECT max(c.seq) FROM billing_usagerecord c WHERE c.attempt_id = r.attempt_id
                                     AND c.kind = 'correction' AND c.occurred_at = r.occurred_at), 0)) + 1,
               'correction', r.usage_source, CASE WHEN p.starts_at > r.occurred_at THEN 'Correction' ELSE '' END, r.id,
               g.reason, r.request_id, r.user_id, r.key_id, r.feature, r.project, r.cost_center, r.tags, r.endpoint, r.provider,
               r.model, r.model_asked, r.tier, r.cache_state, r.service_tier, r.processing, r.region, r.upstream_id,
               n.list_delta, n.provider_delta, n.contracted_delta, n.billed_delta, n.saving, 'priced'
        FROM billing_reratingrow n
        JOIN billing_rerating g ON g.id = n.rerating_id
        JOIN billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
        CROSS JOIN LATERAL (SELECT billing_entry_period(r.tenant_id, r.occurred_at) AS id) entry
        JOIN billing_billingperiod p ON p.id = entry.id
        WHERE n.rerating_id = p_rerating
        ORDER BY r.tenant_id, r.occurred_at
        ON CONFLICT DO NOTHING
        RETURNING id)
    SELECT array_agg(id) INTO booked FROM made;
    IF booked IS NULL THEN
        RETURN 0;
    END IF;

    INSERT INTO billing_usageline (
        record_id, line_no, occurred_at, tenant_id, meter, quantity, per, price_id, unit_price,
        list_cost, provider_cost, contracted_cost, billed_cost)
    SELECT n.correction_id, l.line_no, n.occurred_at, n.tenant_id, l.meter, l.quantity, l.per, l.price_id, l.unit_price,
           l.list_cost, l.provider_cost, l.contracted_cost, l.billed_cost
    FROM billing_reratingrow n
    CROSS JOIN LATERAL jsonb_to_recordset(n.lines) AS l (
        line_no smallint, meter text, quantity bigint, per integer, price_id bigint, unit_price numeric,
        list_cost numeric, provider_cost numeric, contracted_cost numeric, billed_cost numeric)
    WHERE n.rerating_id = p_rerating AND n.correction_id = ANY (booked);

    UPDATE billing_budgetwindow w SET spent = w.spent + m.delta
    FROM (SELECT h.id, sum(n.billed_delta) AS delta
          FROM billing_reratingrow n
          JOIN billing_usagerecord r ON r.id = n.record_id AND r.occurred_at = n.occurred_at
          JOIN billing_attempt a ON a.id = r.attempt_id
          CROSS JOIN LATERAL unnest(a.window_ids) AS h (id)
          WHERE n.rerating_id = p_rerating AND n.correction_id = ANY (booked) GROUP BY h.id) m
    WHERE w.id = m.id AND w.unit = 'usd';

    INSERT INTO billing_rollupdirty (tenant_id, day)
    SELECT DISTINCT n.tenant_id, (n.occurred_at AT TIME ZONE 'UTC')::date
    FROM billing_reratingrow n WHERE n.rerating_id = p_rerating;
    PERFORM billing_alert_budgets(window_ids, before);
    RETURN cardinality(booked);
END $$;

-- Writes a credit or an adjustment into the month that runs. The row's id makes it idempotent.
CREATE FUNCTION billing_book_entry(
    p_id uuid, p_tenant bigint, p_kind text, p_usd numeric, p_reason text, p_user text, p_cost_center text
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    entry_period bigint := billing_entry_period(p_tenant, now());
BEGIN
    INSERT INTO billing_usagerecord (
        id, occurred_at, tenant_id, period_id, kind, usage_source, reason, user_id, cost_center,
        list_cost, provider_cost, contracted_cost, billed_cost)
    VALUES (p_id, now(), p_tenant, entry_period, p_kind, 'manual', p_reason, p_user, p_cost_center, p_usd, 0, p_usd, p_usd);
    INSERT INTO billing_rollupdirty (tenant_id, day) VALUES (p_tenant, (now() AT TIME ZONE 'UTC')::date);
    RETURN entry_period;
END $$;

REVOKE ALL ON FUNCTION billing_entry_period(bigint, timestamptz), billing_lock_rerating(bigint),
    billing_apply_rerating(bigint), billing_book_entry(uuid, bigint, text, numeric, text, text, text) FROM PUBLIC;
