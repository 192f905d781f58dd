-- Writes rows of the log; returns which of them (from 1) could not be written. It never fails and waits for no lock for long,
-- because a statement that moves money carries it along. The log is written for several tenants in one group, so this runs as
-- the owner; it can do nothing but append.
CREATE OR REPLACE FUNCTION public.llm_log_requests(p_rows jsonb) RETURNS int[] LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    failed int[] := '{}';
BEGIN
    BEGIN
        INSERT INTO public.llm_requestlog SELECT * FROM jsonb_populate_recordset(NULL::public.llm_requestlog, p_rows)
        ON CONFLICT (request_id) DO NOTHING;
        RETURN failed;
    EXCEPTION
        WHEN lock_not_available THEN
            RETURN ARRAY(SELECT generate_series(1, jsonb_array_length(p_rows)));
        WHEN others THEN
            NULL;  -- one of them is at fault
    END;
    FOR i IN 1..jsonb_array_length(p_rows) LOOP
        BEGIN
            INSERT INTO public.llm_requestlog SELECT * FROM jsonb_populate_record(NULL::public.llm_requestlog, p_rows -> (i - 1))
            ON CONFLICT (request_id) DO NOTHING;
        EXCEPTION WHEN others THEN
            failed := failed || i;
        END;
    END LOOP;
    RETURN failed;
END $$;
GRANT EXECUTE ON FUNCTION public.llm_log_requests TO purser_app;
