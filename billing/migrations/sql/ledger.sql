-- The tables Django cannot make (partitions) and the laws of money that the database keeps by itself.

-- ---------------------------------------------------------------- the ledger
-- Append-only, a partition for each month of occurred_at (UTC). No foreign keys: the period gate below checks
-- period and tenant once for a whole statement, where a foreign key would check every row.
CREATE TABLE billing_usagerecord (
    id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id bigint NOT NULL,
    period_id bigint NOT NULL,
    attempt_id uuid,
    seq smallint NOT NULL DEFAULT 0,
    kind text NOT NULL DEFAULT 'usage' CHECK (kind IN ('usage', 'correction', 'credit', 'adjustment')),
    usage_source text NOT NULL CHECK (usage_source IN ('provider', 'estimated', 'gateway_cache', 'manual')),
    charge_class text NOT NULL DEFAULT '' CHECK (charge_class IN ('', 'Correction')),
    corrects_id uuid,
    reason text NOT NULL DEFAULT '',
    request_id uuid,
    user_id text NOT NULL DEFAULT '',
    key_id bigint,
    feature text NOT NULL DEFAULT '',
    project text NOT NULL DEFAULT '',
    cost_center text NOT NULL DEFAULT '',
    tags jsonb NOT NULL DEFAULT '{}',
    endpoint text NOT NULL DEFAULT '',
    provider text NOT NULL DEFAULT '',
    model text NOT NULL DEFAULT '',
    model_asked text NOT NULL DEFAULT '',
    tier text NOT NULL DEFAULT '',
    cache_state text NOT NULL DEFAULT '',
    service_tier text NOT NULL DEFAULT 'standard',
    processing text NOT NULL DEFAULT 'online',
    region text NOT NULL DEFAULT 'global',
    upstream_id text NOT NULL DEFAULT '',
    raw_usage jsonb,
    input_tokens bigint NOT NULL DEFAULT 0,
    cache_read_tokens bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    saved_input_tokens bigint NOT NULL DEFAULT 0,
    saved_output_tokens bigint NOT NULL DEFAULT 0,
    list_cost numeric(28,12) NOT NULL DEFAULT 0,
    provider_cost numeric(28,12) NOT NULL DEFAULT 0,
    contracted_cost numeric(28,12) NOT NULL DEFAULT 0,
    billed_cost numeric(28,12) NOT NULL DEFAULT 0,
    saving jsonb NOT NULL DEFAULT '{}',
    price_status text NOT NULL DEFAULT 'priced' CHECK (price_status IN ('priced', 'unpriced')),
    PRIMARY KEY (id, occurred_at),
    -- one usage row per attempt: it has the attempt's id, and its moment
    CONSTRAINT usagerecord_of_attempt CHECK (kind <> 'usage' OR attempt_id IS NULL OR id = attempt_id),
    -- a correction says what it corrects, and nothing else does
    CONSTRAINT usagerecord_correction_of CHECK ((kind = 'correction') = (corrects_id IS NOT NULL)),
    -- a cache hit bought nothing: its tokens stand in saved_*, or reports would count them twice
    CONSTRAINT usagerecord_hit_buys_nothing CHECK (
        usage_source <> 'gateway_cache'
        OR (provider_cost = 0 AND input_tokens = 0 AND cache_read_tokens = 0 AND cache_write_tokens = 0 AND output_tokens = 0))
) PARTITION BY RANGE (occurred_at);
-- each correction once; occurred_at is copied, so the partition key cannot part two duplicates
CREATE UNIQUE INDEX usagerecord_once ON billing_usagerecord (attempt_id, kind, seq, occurred_at)
    WHERE kind <> 'usage' AND attempt_id IS NOT NULL;
CREATE INDEX usagerecord_tenant_time ON billing_usagerecord (tenant_id, occurred_at);
CREATE INDEX usagerecord_period ON billing_usagerecord (period_id);
CREATE INDEX usagerecord_recorded ON billing_usagerecord USING brin (recorded_at);

CREATE TABLE billing_usageline (
    record_id uuid NOT NULL,
    line_no smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    tenant_id bigint NOT NULL,
    meter text NOT NULL,
    quantity bigint NOT NULL,
    per integer NOT NULL CHECK (per > 0),
    price_id bigint,
    unit_price numeric(18,9),
    list_cost numeric(28,12) NOT NULL,
    provider_cost numeric(28,12) NOT NULL,
    contracted_cost numeric(28,12) NOT NULL,
    billed_cost numeric(28,12) NOT NULL,
    PRIMARY KEY (record_id, line_no, occurred_at)
) PARTITION BY RANGE (occurred_at);

-- Append-only, also for those who own the tables.
CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the ledger is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usagerecord
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usageline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usagerecord EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usageline EXECUTE FUNCTION billing_refuse_change();

-- A row enters an open period of its own tenant. FOR SHARE: a close waits for us, or we wait and then see it closed.
-- Once for a statement, over its new rows.
CREATE FUNCTION billing_period_gate() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    PERFORM 1 FROM billing_billingperiod WHERE id IN (SELECT DISTINCT period_id FROM new_rows) ORDER BY id FOR SHARE;
    SELECT n.occurred_at, n.charge_class, n.tenant_id, n.period_id, p.label, p.status, p.tenant_id AS owner_id INTO wrong
    FROM new_rows n LEFT JOIN billing_billingperiod p ON p.id = n.period_id
    WHERE p.id IS NULL OR p.tenant_id <> n.tenant_id OR p.status <> 'open'
       OR (n.occurred_at >= p.starts_at AND n.occurred_at < p.ends_at) = (n.charge_class = 'Correction')
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF wrong.owner_id IS DISTINCT FROM wrong.tenant_id THEN
        RAISE EXCEPTION 'period % is not one of tenant %', wrong.period_id, wrong.tenant_id
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF wrong.status <> 'open' THEN
        RAISE EXCEPTION 'period % is %: nothing enters it any more', wrong.label, wrong.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RAISE EXCEPTION 'charge class Correction is for rows of an earlier period, and only for them (% in %)',
        wrong.occurred_at, wrong.label USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER period_gate AFTER INSERT ON billing_usagerecord REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_period_gate();

-- Statement triggers guard only the table that is named: each partition gets its own.
CREATE FUNCTION billing_guard_partition(p_parent text, p_partition text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I EXECUTE FUNCTION billing_refuse_change()', p_partition);
    IF p_parent = 'billing_usagerecord' THEN
        EXECUTE format(
            'CREATE TRIGGER period_gate AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
             FOR EACH STATEMENT EXECUTE FUNCTION billing_period_gate()', p_partition);
    END IF;
END $$;

-- The partitions of the month that contains p_day, in UTC. True if they were made now.
CREATE FUNCTION billing_ensure_partition(p_day date) RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first_day timestamptz := date_trunc('month', p_day::timestamp) AT TIME ZONE 'UTC';
    next_month timestamptz := (date_trunc('month', p_day::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    parent text;
    partition text;
    was_made boolean := false;
BEGIN
    FOREACH parent IN ARRAY ARRAY['billing_usagerecord', 'billing_usageline'] LOOP
        partition := parent || to_char(first_day, '"_"YYYY"_"MM');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', partition, parent, first_day, next_month);
        PERFORM billing_guard_partition(parent, partition);
        was_made := true;
    END LOOP;
    RETURN was_made;
END $$;

-- What no month claims is not lost: it lands here, and ensure_partitions complains.
CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;
CREATE TABLE billing_usageline_default PARTITION OF billing_usageline DEFAULT;
SELECT billing_guard_partition('billing_usagerecord', 'billing_usagerecord_default'),
       billing_guard_partition('billing_usageline', 'billing_usageline_default');
SELECT billing_ensure_partition((now() AT TIME ZONE 'UTC' + make_interval(months => step))::date)
FROM generate_series(-1, 3) AS step;

-- ---------------------------------------------------------------- attempts and windows
-- Every call updates them: room on the page keeps the update off the indexes.
ALTER TABLE billing_budgetwindow SET (fillfactor = 50);
ALTER TABLE billing_attempt SET (fillfactor = 80);

-- ---------------------------------------------------------------- prices
-- At any instant one live row prices a meter. Equality in a GiST constraint without the btree_gist extension, which
-- not every server has: the identity as a range of one text.
CREATE TYPE billing_textrange AS RANGE (subtype = text, collation = "C");
CREATE FUNCTION billing_price_identity(
    book text, tenant bigint, provider text, model text, meter text, service_tier text, processing text, region text,
    above_input_tokens bigint
) RETURNS billing_textrange LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT public.billing_textrange(i.identity, i.identity, '[]') FROM (SELECT
        book || E'\x1f' || coalesce(tenant, 0)::text || E'\x1f' || provider || E'\x1f' || model || E'\x1f' || meter || E'\x1f'
        || service_tier || E'\x1f' || processing || E'\x1f' || region || E'\x1f' || above_input_tokens::text AS identity) AS i
$$;
ALTER TABLE billing_pricerow ADD CONSTRAINT price_one_at_a_time EXCLUDE USING gist (
    billing_price_identity(
        book, tenant_id, provider, model, meter, service_tier, processing, region, above_input_tokens) WITH &&,
    tstzrange(valid_from, valid_to) WITH &&
) WHERE (superseded_at IS NULL);

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_pricerow
    FOR EACH ROW EXECUTE FUNCTION billing_price_immutable();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_pricerow EXECUTE FUNCTION billing_refuse_change();

-- ---------------------------------------------------------------- periods
-- A moment belongs to one period of a tenant, also when its time zone changes.
ALTER TABLE billing_billingperiod ADD CONSTRAINT period_no_overlap EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&, tstzrange(starts_at, ends_at) WITH &&);
