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
