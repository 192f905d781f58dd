-- The period of a tenant that contains a moment, made if it is not there: a month in the tenant's time zone, which it keeps.
-- Periods tile time: each begins where the former one ended, in any later zone, and the months between a moment
-- and the periods that there are get made, too. Each round makes a period or lets one begin earlier, one caller at a time
-- for a tenant; a moment that is further away than MOST_STEPS months is an error, not a longer wait.
CREATE OR REPLACE FUNCTION public.billing_period_at(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    MOST_STEPS CONSTANT int := 600;
    -- how far the end of a month may lie from the same month's end in another zone, and a little more
    LEEWAY CONSTANT interval := '2 days';
    found_id bigint;
    former public.billing_billingperiod;
    later public.billing_billingperiod;
    zone text;
    month timestamp;
    starts timestamptz;
    ends timestamptz;
BEGIN
    FOR step IN 0..MOST_STEPS LOOP
        SELECT id INTO found_id FROM public.billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at <= p_at AND ends_at > p_at;
        IF FOUND THEN
            RETURN found_id;
        END IF;
        IF step = 0 THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('billing_period ' || p_tenant, 0));
            CONTINUE;  -- who held the lock may have made it
        END IF;
        SELECT * INTO former FROM public.billing_billingperiod
        WHERE tenant_id = p_tenant AND ends_at <= p_at ORDER BY ends_at DESC LIMIT 1;
        SELECT * INTO later FROM public.billing_billingperiod
        WHERE tenant_id = p_tenant AND starts_at > p_at ORDER BY starts_at LIMIT 1;
        SELECT coalesce(later.timezone, t.timezone) INTO STRICT zone FROM public.tenants_tenant t WHERE t.id = p_tenant;

        month := date_trunc('month', CASE
            WHEN former.id IS NOT NULL THEN former.ends_at AT TIME ZONE zone + LEEWAY
            WHEN later.id IS NOT NULL THEN later.starts_at AT TIME ZONE zone - LEEWAY
            ELSE p_at AT TIME ZONE zone END);
        -- a month that exists has its name from what follows it, or (by hand) from what is before it
        IF to_char(month, 'YYYY-MM') = later.label THEN
            IF later.status <> 'open' THEN
                RETURN later.id;  -- sealed: what happened in the gap before it is a correction after it
            END IF;
            UPDATE public.billing_billingperiod SET starts_at = coalesce(former.ends_at, month AT TIME ZONE zone)
            WHERE id = later.id;
            CONTINUE;
        END IF;
        FOR skipped IN 1..MOST_STEPS LOOP
            EXIT WHEN NOT EXISTS (SELECT FROM public.billing_billingperiod
                                  WHERE tenant_id = p_tenant AND label = to_char(month, 'YYYY-MM'));
            month := month + CASE WHEN former.id IS NULL THEN interval '-1 month' ELSE interval '1 month' END;
        END LOOP;
        starts := coalesce(former.ends_at, month AT TIME ZONE zone);
        ends := (month + interval '1 month') AT TIME ZONE zone;
        IF later.id IS NOT NULL AND (former.id IS NULL OR ends > later.starts_at - LEEWAY) THEN
            ends := later.starts_at;
        END IF;
        INSERT INTO public.billing_billingperiod (tenant_id, label, timezone, starts_at, ends_at, status, digest)
        VALUES (p_tenant, to_char(month, 'YYYY-MM'), zone, starts, ends, 'open', '');
    END LOOP;
    RAISE EXCEPTION 'tenant % has no period within % months of %', p_tenant, MOST_STEPS, p_at
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- The periods of a group of moments, in their order; no tenant, no period. Those that are missing are made in one order, so
-- that groups cannot deadlock.
CREATE OR REPLACE FUNCTION public.billing_periods_at(p_tenants bigint[], p_moments timestamptz[]) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    periods bigint[];
BEGIN
    SELECT array_agg(p.id ORDER BY s.position) INTO periods
    FROM unnest(p_tenants, p_moments) WITH ORDINALITY AS s (tenant_id, moment, position)
    LEFT JOIN public.billing_billingperiod p ON p.tenant_id = s.tenant_id AND p.starts_at <= s.moment AND p.ends_at > s.moment;
    IF cardinality(array_positions(periods, NULL)) = cardinality(array_positions(p_tenants, NULL)) THEN
        RETURN periods;
    END IF;
    PERFORM public.billing_period_at(m.tenant_id, m.moment)
    FROM (SELECT s.tenant_id, s.moment FROM unnest(p_tenants, p_moments, periods) AS s (tenant_id, moment, period_id)
          WHERE s.tenant_id IS NOT NULL AND s.period_id IS NULL ORDER BY s.tenant_id, s.moment) m;
    RETURN (SELECT array_agg(CASE WHEN s.tenant_id IS NOT NULL THEN public.billing_period_at(s.tenant_id, s.moment) END
                             ORDER BY s.position)
            FROM unnest(p_tenants, p_moments) WITH ORDINALITY AS s (tenant_id, moment, position));
END $$;

-- Where a row of a closed period goes: the tenant's first period after it that is open, made if there is none.
CREATE OR REPLACE FUNCTION public.billing_open_period_after(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id bigint;
BEGIN
    PERFORM public.billing_period_at(p_tenant, now());
    SELECT id INTO found_id FROM public.billing_billingperiod WHERE tenant_id = p_tenant AND status = 'open' AND starts_at > p_at
    ORDER BY starts_at LIMIT 1;
    RETURN coalesce(found_id, public.billing_period_at(
        p_tenant, (SELECT max(ends_at) FROM public.billing_billingperiod WHERE tenant_id = p_tenant)));
END $$;

-- The open period a row of a moment enters: its own, or the next open one if that is closed. Locked, so that it stays open
-- until the caller's transaction ends. Each round tries a later period than the one before.
CREATE OR REPLACE FUNCTION public.billing_entry_period(p_tenant bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id bigint := public.billing_period_at(p_tenant, p_at);
BEGIN
    LOOP
        PERFORM 1 FROM public.billing_billingperiod WHERE id = found_id AND status = 'open' FOR SHARE;
        IF FOUND THEN
            RETURN found_id;
        END IF;
        found_id := public.billing_open_period_after(
            p_tenant, (SELECT starts_at FROM public.billing_billingperiod WHERE id = found_id));
    END LOOP;
END $$;
