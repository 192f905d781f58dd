-- The period of a tenant that contains a moment, made if it is not there: a month in the tenant's time zone. After a
-- change of the zone the first month begins where the last one ended, so that no moment has two periods or none.
CREATE OR REPLACE FUNCTION billing_period_at(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_id bigint;
    zone text;
    month timestamp;
    starts timestamptz;
    ends timestamptz;
BEGIN
    LOOP
        SELECT id INTO found_id FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at <= p_at AND ends_at > p_at;
        IF FOUND THEN
            RETURN found_id;
        END IF;
        SELECT timezone INTO STRICT zone FROM tenants_tenant WHERE id = p_tenant;
        month := date_trunc('month', p_at AT TIME ZONE zone);
        IF EXISTS (SELECT FROM billing_billingperiod
                   WHERE tenant_id = p_tenant AND label = to_char(month, 'YYYY-MM') AND ends_at <= p_at) THEN
            month := month + interval '1 month';
        END IF;
        starts := month AT TIME ZONE zone;
        ends := (month + interval '1 month') AT TIME ZONE zone;
        SELECT greatest(least(starts, p_at), max(ends_at)) INTO starts FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND ends_at <= p_at;
        SELECT least(ends, min(starts_at)) INTO ends FROM billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at > p_at;
        INSERT INTO billing_billingperiod (tenant_id, label, starts_at, ends_at, status, digest)
        VALUES (p_tenant, to_char(month, 'YYYY-MM'), starts, ends, 'open', '')
        ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- Where a row of a closed period goes: the tenant's first period after it that is open.
CREATE OR REPLACE FUNCTION billing_open_period_after(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM billing_period_at(p_tenant, now());
    RETURN (SELECT id FROM billing_billingperiod WHERE tenant_id = p_tenant AND status = 'open' AND starts_at > p_at
            ORDER BY starts_at LIMIT 1);
END $$;

-- The open period a row of a moment enters: its own, or the next open one if that is closed. Locked, so that it stays open
-- until the caller's transaction ends.
CREATE OR REPLACE FUNCTION billing_entry_period(p_tenant bigint, p_at timestamptz) RETURNS bigint
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
