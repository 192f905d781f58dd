-- Every row of the ledger is made of one record type: a row to begin with (a blank one, or one that is corrected) and facts by
-- the names of its columns. So a column that only the facts or an attempt's `dims` know needs no change here.

-- A row that says what the table says where an INSERT names no value. It changes with the table alone, and a statement
-- that names the table is planned again when it changes: so this is asked once for a plan, and costs a call nothing.
CREATE OR REPLACE FUNCTION public.billing_blank_record() RETURNS public.billing_usagerecord
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_populate_record(NULL::public.billing_usagerecord, jsonb_object_agg(
        a.attname, CASE WHEN a.atttypid = 'jsonb'::regtype THEN literal.text::jsonb ELSE to_jsonb(literal.text) END))
    FROM pg_attribute a
    JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (SELECT trim(BOTH '''' FROM split_part(pg_get_expr(d.adbin, d.adrelid), '::', 1)) AS text) literal
    WHERE a.attrelid = 'public.billing_usagerecord'::regclass AND a.attname <> 'recorded_at'  -- each row its own moment
$$;
