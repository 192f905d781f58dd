-- Counts and figures of many tenants arrive together, and Prometheus asks for many at once, from a role that sees one tenant
-- at a time: so these run as the owner. They can add figures and read their sums, nothing else.

CREATE OR REPLACE FUNCTION public.caching_add_counts(
    tenants bigint[], hours timestamptz[], caches text[], outcomes text[], reasons text[], scopes bytea[], counts bigint[]
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.caching_stat AS s (tenant_id, hour, cache, outcome, reason, scope_digest, count)
    SELECT t.id, u.hour, u.cache, u.outcome, u.reason, u.scope, u.count
    FROM unnest(tenants, hours, caches, outcomes, reasons, scopes, counts)
         AS u(tenant, hour, cache, outcome, reason, scope, count)
    JOIN public.tenants_tenant t ON t.id = u.tenant
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (tenant_id, hour, cache, outcome, reason, scope_digest)
    DO UPDATE SET count = s.count + excluded.count
$$;
GRANT EXECUTE ON FUNCTION public.caching_add_counts TO purser_app;

CREATE OR REPLACE FUNCTION public.caching_touch_entries(
    tenants bigint[], ids bigint[], more_hits integer[], at timestamptz
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.caching_entry e SET hits = e.hits + u.more, last_hit_at = greatest(e.last_hit_at, at)
    FROM unnest(tenants, ids, more_hits) AS u(tenant, id, more)
    WHERE e.tenant_id = u.tenant AND e.id = u.id
$$;
GRANT EXECUTE ON FUNCTION public.caching_touch_entries TO purser_app;

CREATE OR REPLACE FUNCTION public.caching_add_scope_figures(
    tenants bigint[], scopes bytea[], days date[], hits bigint[], saved numeric[], checks bigint[], check_usd numeric[]
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.caching_scopeday AS d (tenant_id, scope_digest, day, hits, saved_usd, checks, check_usd)
    SELECT t.id, u.scope, u.day, u.hits, u.saved, u.checks, u.check_usd
    FROM unnest(tenants, scopes, days, hits, saved, checks, check_usd)
         AS u(tenant, scope, day, hits, saved, checks, check_usd)
    JOIN public.tenants_tenant t ON t.id = u.tenant
    ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, scope_digest, day) DO UPDATE
    SET hits = d.hits + excluded.hits, saved_usd = d.saved_usd + excluded.saved_usd,
        checks = d.checks + excluded.checks, check_usd = d.check_usd + excluded.check_usd
$$;
GRANT EXECUTE ON FUNCTION public.caching_add_scope_figures TO purser_app;

CREATE OR REPLACE FUNCTION public.caching_scope_figures(most integer)
RETURNS TABLE (tenant text, scope text, route text, hits bigint, saved_usd numeric, checks bigint, check_usd numeric,
               threshold float8, error_rate float8, error_rate_upper float8, noise_floor float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.slug, left(encode(d.scope_digest, 'hex'), 16), coalesce(s.route, ''), d.hits, d.saved_usd, d.checks,
           d.check_usd, s.threshold, s.error_rate, s.error_rate_upper, s.noise_floor
    FROM (SELECT tenant_id, scope_digest, sum(hits)::bigint AS hits, sum(saved_usd) AS saved_usd,
                 sum(checks)::bigint AS checks, sum(check_usd) AS check_usd
          FROM public.caching_scopeday WHERE day > current_date - 30
          GROUP BY tenant_id, scope_digest ORDER BY 3 DESC, 1, 2 LIMIT most) d
    JOIN public.tenants_tenant t ON t.id = d.tenant_id
    LEFT JOIN public.caching_scope s ON s.tenant_id = d.tenant_id AND s.scope_digest = d.scope_digest
$$;
GRANT EXECUTE ON FUNCTION public.caching_scope_figures TO purser_app;
