-- A line belongs to a record of its tenant whose period is open. Once for a statement, over its new rows.
CREATE OR REPLACE FUNCTION billing_line_gate() RETURNS trigger LANGUAGE plpgsql
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

-- A period goes open -> closing -> closed and never back; only `closing` may be opened again, while it has no statement.
-- Its bounds are what its rows were sorted by: while it is open it may begin earlier, over moments that had no period.
-- Closed means: there is a statement, and this is its digest.
CREATE OR REPLACE FUNCTION billing_period_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.status = 'closed' THEN
        RAISE EXCEPTION 'period % is closed for good', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT FROM billing_usagerecord WHERE period_id = OLD.id) THEN
            RAISE EXCEPTION 'period % has rows', OLD.label USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN OLD;
    ELSIF (NEW.id, NEW.tenant_id, NEW.label, NEW.timezone, NEW.ends_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.label, OLD.timezone, OLD.ends_at)
            OR NEW.starts_at > OLD.starts_at OR (NEW.starts_at < OLD.starts_at AND OLD.status <> 'open') THEN
        RAISE EXCEPTION 'the bounds of period % are fixed', OLD.label USING ERRCODE = 'integrity_constraint_violation';
    ELSIF NEW.status = 'closed' AND NOT (OLD.status = 'closing' AND EXISTS (
            SELECT FROM billing_statement WHERE period_id = NEW.id AND digest = NEW.digest)) THEN
        RAISE EXCEPTION 'period % has no statement of this digest', OLD.label
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- A zone that the database does not know would stop the tenant's settlements: it is refused where it is written.
CREATE OR REPLACE FUNCTION billing_zone_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM now() AT TIME ZONE NEW.timezone;
    RETURN NEW;
END $$;

-- A price row is superseded once, by whom and why, and changes in nothing else.
CREATE OR REPLACE FUNCTION billing_price_immutable() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
