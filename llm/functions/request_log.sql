-- Writes rows of the log and counts them (`llm_requesttally`); returns which of them (from 1) could not be written. It never
-- fails and waits for no lock for long, because a statement that moves money carries it along. The log is written for several
-- tenants in one group, so this runs as the owner; it can do nothing but append. A time's bucket is on a logarithmic scale with
-- eight buckets for a factor of ten: 0 is up to 1 ms, n is up to 10 ^ (n / 8) ms.
CREATE OR REPLACE FUNCTION public.llm_log_requests(p_rows jsonb) RETURNS int[] LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    failed int[] := '{}';
BEGIN
    BEGIN
        WITH written AS (
            INSERT INTO public.llm_requestlog SELECT * FROM jsonb_populate_recordset(NULL::public.llm_requestlog, p_rows)
            ON CONFLICT (request_id) DO NOTHING
            RETURNING tenant_id, at, provider, status, cache_state, latency_ms, ttft_ms)
        INSERT INTO public.llm_requesttally (tenant_id, day, provider, outcome, latency, first_token, requests)
        SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, provider,
               CASE WHEN status >= 500 THEN 'failed' WHEN status >= 400 THEN 'refused'
                    WHEN cache_state IN ('exact', 'semantic') THEN 'cached' ELSE 'answered' END,
               least(ceil(8 * log(greatest(latency_ms, 1)::double precision)), 64),
               CASE WHEN ttft_ms IS NOT NULL THEN least(ceil(8 * log(greatest(ttft_ms, 1)::double precision)), 64) END, count(*)
        FROM written GROUP BY 1, 2, 3, 4, 5, 6;
        RETURN failed;
    EXCEPTION
        WHEN lock_not_available THEN
            RETURN ARRAY(SELECT generate_series(1, jsonb_array_length(p_rows)));
        WHEN others THEN  -- one of them is at fault
            IF jsonb_array_length(p_rows) = 1 THEN
                RETURN ARRAY[1];
            END IF;
    END;
    FOR i IN 1..jsonb_array_length(p_rows) LOOP
        IF cardinality(public.llm_log_requests(jsonb_build_array(p_rows -> (i - 1)))) > 0 THEN
            failed := failed || i;
        END IF;
    END LOOP;
    RETURN failed;
END $$;
GRANT EXECUTE ON FUNCTION public.llm_log_requests TO purser_app;
