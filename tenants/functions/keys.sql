-- A key arrives before its tenant is known, so its look-up is outside row-level security and gives away nothing but the
-- tenant's id.
CREATE OR REPLACE FUNCTION public.tenants_tenant_of_key(wanted text) RETURNS bigint LANGUAGE sql STABLE STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT tenant_id FROM public.tenants_apikey WHERE public_id = wanted
$$;
GRANT EXECUTE ON FUNCTION public.tenants_tenant_of_key TO purser_app;
