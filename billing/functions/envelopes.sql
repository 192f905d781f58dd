-- The open envelope of a run: the owner's own, else the one that is shared with it, else a new one with p_usd until p_until;
-- without p_usd it is only looked for. An owner has at most p_most at one time (is_full: no more). budget_id is NULL where there
-- is none.
CREATE OR REPLACE FUNCTION public.billing_open_envelope(
    p_tenant bigint, p_owner text, p_user text, p_run text, p_opened_by text, p_usd numeric, p_until timestamptz, p_most int,
    OUT budget_id bigint, OUT limit_amount numeric, OUT expires_at timestamptz, OUT is_full boolean
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    is_full := false;
    SELECT e.budget_id, b.limit_amount, e.expires_at INTO budget_id, limit_amount, expires_at
    FROM public.billing_runenvelope e JOIN public.billing_budget b ON b.id = e.budget_id
    WHERE e.tenant_id = p_tenant AND e.owner = p_owner AND e."user" = p_user AND e.run = p_run AND e.is_open
      AND e.expires_at > now();
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT e.budget_id, b.limit_amount, e.expires_at INTO budget_id, limit_amount, expires_at
    FROM public.billing_runenvelope e JOIN public.billing_budget b ON b.id = e.budget_id
    WHERE e.tenant_id = p_tenant AND e.run = p_run AND e.is_open AND e.shared_with <> '{}'
      AND e.shared_with && ARRAY['*', p_owner]::varchar[] AND e.expires_at > now();
    IF FOUND OR p_usd IS NULL THEN
        RETURN;
    END IF;
    -- one at a time for an owner: the count below stays true
    PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'envelopes', p_tenant, p_owner), 0));
    UPDATE public.billing_runenvelope e SET is_open = false
    WHERE e.tenant_id = p_tenant AND e.owner = p_owner AND e.is_open AND e.expires_at <= now();
    SELECT e.budget_id, b.limit_amount, e.expires_at INTO budget_id, limit_amount, expires_at
    FROM public.billing_runenvelope e JOIN public.billing_budget b ON b.id = e.budget_id
    WHERE e.tenant_id = p_tenant AND e.owner = p_owner AND e."user" = p_user AND e.run = p_run AND e.is_open;
    IF FOUND THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM public.billing_runenvelope e
        WHERE e.tenant_id = p_tenant AND e.owner = p_owner AND e.is_open) >= p_most THEN
        is_full := true;
        RETURN;
    END IF;
    limit_amount := p_usd;
    expires_at := p_until;
    INSERT INTO public.billing_budget (
        tenant_id, scope, value, unit, period, limit_amount, mode, alert_at, shards, is_active, set_by, created_at)
    VALUES (p_tenant, 'run', p_run, 'usd', 'total', p_usd, 'hard', '[]', 1, true, 'tenant', clock_timestamp())
    RETURNING id INTO budget_id;
    INSERT INTO public.billing_runenvelope (
        budget_id, tenant_id, owner, "user", run, opened_by, opened_at, expires_at, is_open, own_raises)
    VALUES (budget_id, p_tenant, p_owner, p_user, p_run, p_opened_by, clock_timestamp(), p_until, true, 0);
END $$;
GRANT EXECUTE ON FUNCTION public.billing_open_envelope TO purser_app;
