-- Statement triggers guard only the table that is named: each partition gets its own.
CREATE OR REPLACE FUNCTION public.billing_guard_partition(p_parent text, p_partition text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gate text := CASE p_parent WHEN 'billing_usagerecord' THEN 'period_gate' ELSE 'line_gate' END;
BEGIN
    EXECUTE format(
        'CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.%I EXECUTE FUNCTION public.billing_refuse_change()', p_partition);
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON public.%I REFERENCING NEW TABLE AS new_rows
         FOR EACH STATEMENT EXECUTE FUNCTION public.%I()', gate, p_partition, 'billing_' || gate);
END $$;

-- The partitions of the month that contains p_day, in UTC. True if they were made now.
CREATE OR REPLACE FUNCTION public.billing_ensure_partition(p_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first_day timestamptz := date_trunc('month', p_day::timestamp) AT TIME ZONE 'UTC';
    next_month timestamptz := (date_trunc('month', p_day::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    parent text;
    partition text;
    was_made boolean := false;
BEGIN
    FOREACH parent IN ARRAY ARRAY['billing_usagerecord', 'billing_usageline'] LOOP
        partition := parent || to_char(first_day, '"_"YYYY"_"MM');
        CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
            partition, parent, first_day, next_month);
        PERFORM public.billing_guard_partition(parent, partition);
        was_made := true;
    END LOOP;
    RETURN was_made;
END $$;
