-- Append-only, also for those who own the tables.
CREATE OR REPLACE FUNCTION public.billing_refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- A row enters an open period of its own tenant. FOR SHARE: a close waits for us, or we wait and then see it closed.
-- Once for a statement, over its new rows.
CREATE OR REPLACE FUNCTION public.billing_period_gate() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    PERFORM 1 FROM public.billing_billingperiod WHERE id IN (SELECT DISTINCT period_id FROM new_rows) ORDER BY id FOR SHARE;
    SELECT n.occurred_at, n.charge_class, n.tenant_id, n.period_id, p.label, p.status, p.tenant_id AS owner_id INTO wrong
    FROM new_rows n LEFT JOIN public.billing_billingperiod p ON p.id = n.period_id
    WHERE p.id IS NULL OR p.tenant_id <> n.tenant_id OR p.status <> 'open'
       OR (n.occurred_at >= p.starts_at AND n.occurred_at < p.ends_at) = (n.charge_class = 'Correction')
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF wrong.owner_id IS DISTINCT FROM wrong.tenant_id THEN
        RAISE EXCEPTION 'period % is not one of tenant %', wrong.period_id, wrong.tenant_id
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF wrong.status <> 'open' THEN
        RAISE EXCEPTION 'period % is %: nothing enters it any more', wrong.label, wrong.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RAISE EXCEPTION 'charge class Correction is for rows of an earlier period, and only for them (% in %)',
        wrong.occurred_at, wrong.label USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- A line belongs to a record of its tenant whose period is open. Once for a statement, over its new rows.
CREATE OR REPLACE FUNCTION public.billing_line_gate() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    first_at timestamptz;
    last_at timestamptz;
    periods bigint[];
    strays bigint;
    shut text;
BEGIN
    -- bounds that are known before the statement runs: it opens the partitions between them, not those of all months
    SELECT min(occurred_at), max(occurred_at) INTO first_at, last_at FROM new_rows;
    -- the tenant is compared, not joined by: of a tenant's rows at one moment there can be many
    SELECT array_agg(DISTINCT r.period_id), count(*) FILTER (WHERE r.id IS NULL OR r.tenant_id <> n.tenant_id)
    INTO periods, strays
    FROM (SELECT DISTINCT record_id, occurred_at, tenant_id FROM new_rows) n
    LEFT JOIN public.billing_usagerecord r
        ON r.id = n.record_id AND r.occurred_at = n.occurred_at AND r.occurred_at BETWEEN first_at AND last_at;
    IF strays > 0 THEN
        RAISE EXCEPTION 'a line without a record of its tenant' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT min(p.label) INTO shut FROM (
        SELECT label, status FROM public.billing_billingperiod WHERE id = ANY (periods) ORDER BY id FOR SHARE) p
    WHERE p.status <> 'open';
    IF shut IS NOT NULL THEN
        RAISE EXCEPTION 'period % is not open: nothing enters it any more', shut
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- A period goes open -> closing -> closed and never back; only `closing` may be opened again, while it has no statement.
-- Its bounds are what its rows were sorted by: while it is open it may begin earlier, over moments that had no period.
-- Closed means: there is a statement, and this is its digest.
CREATE OR REPLACE FUNCTION public.billing_period_law() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.status = 'closed' THEN
        RAISE EXCEPTION 'period % is closed for good', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT FROM public.billing_usagerecord WHERE period_id = OLD.id) THEN
            RAISE EXCEPTION 'period % has rows', OLD.label USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN OLD;
    ELSIF (NEW.id, NEW.tenant_id, NEW.label, NEW.timezone, NEW.ends_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.label, OLD.timezone, OLD.ends_at)
            OR NEW.starts_at > OLD.starts_at OR (NEW.starts_at < OLD.starts_at AND OLD.status <> 'open') THEN
        RAISE EXCEPTION 'the bounds of period % are fixed', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF NEW.status = 'closed' AND NOT (OLD.status = 'closing' AND EXISTS (
            SELECT FROM public.billing_statement WHERE period_id = NEW.id AND digest = NEW.digest)) THEN
        RAISE EXCEPTION 'period % has no statement of this digest', OLD.label
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- A zone that the database does not know would stop the tenant's settlements: it is refused where it is written.
CREATE OR REPLACE FUNCTION public.billing_zone_law() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM now() AT TIME ZONE NEW.timezone;
    RETURN NEW;
END $$;

-- A price row is superseded once, by whom and why, and changes in nothing else.
CREATE OR REPLACE FUNCTION public.billing_price_immutable() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may_change text[] := ARRAY['superseded_at', 'superseded_reason', 'superseded_by_id'];
BEGIN
    IF TG_OP <> 'UPDATE' OR OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
        OR to_jsonb(NEW) - may_change <> to_jsonb(OLD) - may_change THEN
        RAISE EXCEPTION 'a price row is immutable: supersede it and insert another'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- Numbers without a gap, the tenant's and the issuer's, a chain without a break, and only while the month is being closed.
CREATE OR REPLACE FUNCTION public.billing_statement_law() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last public.billing_statement;
BEGIN
    PERFORM 1 FROM public.billing_billingperiod WHERE id = NEW.period_id AND tenant_id = NEW.tenant_id AND status = 'closing';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a statement is written while its month is being closed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT * INTO last FROM public.billing_statement WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1 OR NEW.previous_digest <> coalesce(last.digest, '') THEN
        RAISE EXCEPTION 'statement % does not follow statement %', NEW.number, coalesce(last.number, 0)
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.serial IS DISTINCT FROM (
            SELECT coalesce(max(serial), 0) + 1 FROM public.billing_statement WHERE issuer = NEW.issuer) THEN
        RAISE EXCEPTION 'statement % of % does not follow the one before', NEW.serial, NEW.issuer
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- The lines of a statement are written with it, and so are the files that it seals. What is made of a closed ledger comes later.
CREATE OR REPLACE FUNCTION public.billing_statement_part_law() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME = 'billing_statementfile' THEN
        IF NOT EXISTS (SELECT FROM new_rows WHERE is_sealed) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM (SELECT DISTINCT statement_id FROM new_rows) n
               JOIN public.billing_statement s ON s.id = n.statement_id
               JOIN public.billing_billingperiod p ON p.id = s.period_id WHERE p.status <> 'closing') THEN
        RAISE EXCEPTION 'the statement of a closed month is complete' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.billing_rule_law() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - 'valid_to' <> to_jsonb(OLD) - 'valid_to' THEN
        RAISE EXCEPTION 'a rate rule is immutable: end it and add another' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- A rate between currencies is superseded once, and changes in nothing else.
CREATE OR REPLACE FUNCTION public.billing_rate_law() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
        OR to_jsonb(NEW) - 'superseded_at' <> to_jsonb(OLD) - 'superseded_at' THEN
        RAISE EXCEPTION 'a rate is immutable: another one supersedes it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION public.billing_cost_line_law() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
        OR to_jsonb(NEW) - 'superseded_at' <> to_jsonb(OLD) - 'superseded_at' THEN
        RAISE EXCEPTION 'a line of a cost report is immutable: a newer report supersedes it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- An adjustment that is booked stays the comparison's: a later one may take its place, none may vanish.
CREATE OR REPLACE FUNCTION public.billing_comparison_law() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.provider, NEW.day, NEW.model, NEW.meter)
            IS DISTINCT FROM (OLD.provider, OLD.day, OLD.model, OLD.meter)
        OR (OLD.adjustment_id IS NOT NULL AND NEW.adjustment_id IS NULL) THEN
        RAISE EXCEPTION 'a comparison and its adjustment stay' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
