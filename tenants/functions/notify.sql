-- Sends the tenants whose configuration changed to every worker's snapshot (the channel of tenants/rls.py). One function
-- for every table: the trigger's argument names the tenant column, or is '' for tables whose rows concern everybody; a second one says which rows are configuration. A
-- change that touches many tenants clears everything with one message.
CREATE OR REPLACE FUNCTION public.purser_notify_config() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed_tenants text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('purser_config', '*');
        RETURN NULL;
    END IF;
    IF TG_ARGV[0] = '' THEN
        EXECUTE CASE WHEN TG_OP = 'DELETE'
            THEN 'SELECT array_agg(''*''::text) FROM (SELECT FROM old_rows LIMIT 1) AS one'
            ELSE 'SELECT array_agg(''*''::text) FROM (SELECT FROM new_rows LIMIT 1) AS one' END
        INTO changed_tenants;
    ELSE
        EXECUTE format(CASE TG_OP
            WHEN 'INSERT' THEN 'SELECT array_agg(DISTINCT coalesce(%1$I::text, ''*'')) FROM new_rows WHERE %2$s'
            WHEN 'DELETE' THEN 'SELECT array_agg(DISTINCT coalesce(%1$I::text, ''*'')) FROM old_rows WHERE %2$s'
            ELSE 'SELECT array_agg(DISTINCT coalesce(%1$I::text, ''*'')) FROM
                  (SELECT %1$I FROM new_rows WHERE %2$s UNION SELECT %1$I FROM old_rows WHERE %2$s) AS both_rows'
            END, TG_ARGV[0], coalesce(TG_ARGV[1], 'true'))
        INTO changed_tenants;
    END IF;
    IF cardinality(changed_tenants) > 100 THEN
        changed_tenants := ARRAY['*'];
    END IF;
    PERFORM pg_notify('purser_config', tenant) FROM unnest(changed_tenants) AS tenant;
    RETURN NULL;
END $$;
