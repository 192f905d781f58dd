-- Which of some tags a tenant's callers may bring along in a month: 2 for an admitted value, 1 for one whose name alone is, 0 for
-- neither. What is new is admitted while there is room: at most p_most_names names, and p_most_values values of each.
CREATE OR REPLACE FUNCTION public.billing_admit_tags(
    p_tenant bigint, p_month text, p_names text[], p_values text[], p_most_names int, p_most_values int
) RETURNS int[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found int[] := '{}';
    is_locked boolean := false;
    name_count int;
    value_count int;
BEGIN
    FOR place IN 1 .. cardinality(p_names) LOOP
        IF EXISTS (SELECT FROM public.billing_tagvalue t WHERE t.tenant_id = p_tenant AND t.month = p_month
                   AND t.name = p_names[place] AND t.value = p_values[place]) THEN
            found := found || 2;
            CONTINUE;
        END IF;
        IF NOT is_locked THEN  -- one at a time for a tenant: the counts below stay true
            PERFORM pg_advisory_xact_lock(hashtextextended('billing_tags ' || p_tenant, 0));
            is_locked := true;
        END IF;
        SELECT count(*) INTO value_count FROM public.billing_tagvalue t
        WHERE t.tenant_id = p_tenant AND t.month = p_month AND t.name = p_names[place];
        SELECT count(DISTINCT t.name) INTO name_count FROM public.billing_tagvalue t
        WHERE t.tenant_id = p_tenant AND t.month = p_month;
        IF name_count = 0 THEN  -- a new month: nobody asks for those of long ago
            DELETE FROM public.billing_tagvalue t WHERE t.tenant_id = p_tenant AND t.month < p_month
                AND to_date(t.month, 'YYYY-MM') < to_date(p_month, 'YYYY-MM') - 62;
        END IF;
        IF value_count >= p_most_values THEN
            found := found || 1;
        ELSIF value_count = 0 AND name_count >= p_most_names THEN
            found := found || 0;
        ELSE
            INSERT INTO public.billing_tagvalue (tenant_id, month, name, value)
            VALUES (p_tenant, p_month, p_names[place], p_values[place]) ON CONFLICT DO NOTHING;
            found := found || 2;
        END IF;
    END LOOP;
    RETURN found;
END $$;
GRANT EXECUTE ON FUNCTION public.billing_admit_tags TO purser_app;

-- The tags of a run: those that are kept, else p_tags from now on; NULL where there are none. A run keeps its first tags. An owner
-- has at most p_most runs with tags at one time: beyond them the oldest one's are forgotten.
CREATE OR REPLACE FUNCTION public.billing_run_tags(
    p_tenant bigint, p_owner text, p_user text, p_run text, p_tags jsonb, p_until timestamptz, p_most int
) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept jsonb;
BEGIN
    SELECT t.tags INTO kept FROM public.billing_runtags t
    WHERE t.tenant_id = p_tenant AND t.owner = p_owner AND t."user" = p_user AND t.run = p_run AND t.expires_at > now();
    IF FOUND OR p_tags IS NULL THEN
        RETURN kept;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'run tags', p_tenant, p_owner), 0));
    DELETE FROM public.billing_runtags t WHERE t.tenant_id = p_tenant AND t.owner = p_owner AND t.expires_at <= now();
    INSERT INTO public.billing_runtags (tenant_id, owner, "user", run, tags, set_at, expires_at)
    VALUES (p_tenant, p_owner, p_user, p_run, p_tags, clock_timestamp(), p_until)
    ON CONFLICT (tenant_id, owner, "user", run) DO NOTHING;
    DELETE FROM public.billing_runtags t WHERE t.id IN (
        SELECT o.id FROM public.billing_runtags o WHERE o.tenant_id = p_tenant AND o.owner = p_owner
        ORDER BY o.set_at DESC, o.id DESC OFFSET p_most);
    SELECT t.tags INTO kept FROM public.billing_runtags t
    WHERE t.tenant_id = p_tenant AND t.owner = p_owner AND t."user" = p_user AND t.run = p_run;
    RETURN kept;
END $$;
GRANT EXECUTE ON FUNCTION public.billing_run_tags TO purser_app;
