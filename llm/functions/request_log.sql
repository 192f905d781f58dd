-- The log is written for several tenants in one group, so this runs as the owner; it can do nothing but append.
CREATE OR REPLACE FUNCTION public.llm_log_requests(rows jsonb) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.llm_requestlog SELECT * FROM jsonb_populate_recordset(NULL::public.llm_requestlog, rows)
    ON CONFLICT (request_id) DO NOTHING
$$;
GRANT EXECUTE ON FUNCTION public.llm_log_requests TO purser_app;
