-- The ledger: append-only, partitioned by month of occurred_at. A partition is made ahead; the default one takes
-- what nobody foresaw and is looked at by ensure_partitions.
CREATE TABLE billing_usagerecord (
    id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id bigint NOT NULL REFERENCES tenants_tenant,
    period_id bigint NOT NULL REFERENCES billing_billingperiod,
    attempt_id uuid,
    seq smallint NOT NULL DEFAULT 0,
    kind text NOT NULL DEFAULT 'usage' CHECK (kind IN ('usage', 'correction', 'credit', 'adjustment', 'rounding')),
    usage_source text NOT NULL
        CHECK (usage_source IN ('provider', 'estimated', 'gateway_cache', 'manual', 'provider_invoice')),
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
    list_cost numeric(28,12) NOT NULL,
    provider_cost numeric(28,12) NOT NULL,
    contracted_cost numeric(28,12) NOT NULL,
    billed_cost numeric(28,12) NOT NULL,
    saving jsonb NOT NULL DEFAULT '{}',
    price_status text NOT NULL DEFAULT 'priced' CHECK (price_status IN ('priced', 'unpriced')),
    PRIMARY KEY (id, occurred_at),
    CHECK ((kind = 'correction') = (corrects_id IS NOT NULL))
) PARTITION BY RANGE (occurred_at);
-- one record per attempt: occurred_at is copied from the attempt, so the partition key cannot split a duplicate
CREATE UNIQUE INDEX usagerecord_once ON billing_usagerecord (attempt_id, kind, seq, occurred_at);
CREATE INDEX usagerecord_tenant_time ON billing_usagerecord (tenant_id, occurred_at);
CREATE INDEX usagerecord_period ON billing_usagerecord (period_id);
CREATE INDEX usagerecord_request ON billing_usagerecord (request_id);

CREATE TABLE billing_usageline (
    record_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    tenant_id bigint NOT NULL,
    meter text NOT NULL,
    quantity bigint NOT NULL,
    per integer NOT NULL CHECK (per > 0),
    price_id bigint,
    unit_price numeric(18,9) NOT NULL,
    list_cost numeric(28,12) NOT NULL,
    provider_cost numeric(28,12) NOT NULL,
    contracted_cost numeric(28,12) NOT NULL,
    billed_cost numeric(28,12) NOT NULL,
    PRIMARY KEY (record_id, meter, occurred_at),
    FOREIGN KEY (record_id, occurred_at) REFERENCES billing_usagerecord (id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX usageline_tenant_time ON billing_usageline (tenant_id, occurred_at);

CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;
CREATE TABLE billing_usageline_default PARTITION OF billing_usageline DEFAULT;

-- Makes the partitions of a month; true if it was not there. Months begin at UTC midnight.
CREATE FUNCTION billing_ensure_partition(p_month date) RETURNS boolean LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', p_month)::date;
    suffix text := to_char(date_trunc('month', p_month), '_YYYY_MM');
    parent text;
BEGIN
    IF to_regclass('billing_usagerecord' || suffix) IS NOT NULL THEN
        RETURN false;
    END IF;
    FOREACH parent IN ARRAY ARRAY['billing_usagerecord', 'billing_usageline'] LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
            parent || suffix, parent,
            to_char(first, 'YYYY-MM-DD') || ' 00:00:00+00',
            to_char(first + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    END LOOP;
    RETURN true;
END $$;

-- Append-only: the law of the ledger, and of prices but for their supersession.
CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is forbidden: it is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usagerecord FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usageline FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usagerecord EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usageline EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_price_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
        OR to_jsonb(NEW) - 'superseded_at' <> to_jsonb(OLD) - 'superseded_at' THEN
        RAISE EXCEPTION 'a price row is immutable: supersede it and insert another'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_pricerow
    FOR EACH ROW EXECUTE FUNCTION billing_price_immutable();

-- A record enters an open period of its own tenant. FOR SHARE: a close waits for us, or we wait and see it closed.
CREATE FUNCTION billing_period_gate() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    period billing_billingperiod;
BEGIN
    SELECT * INTO period FROM billing_billingperiod WHERE id = NEW.period_id FOR SHARE;
    IF NOT FOUND OR period.tenant_id <> NEW.tenant_id THEN
        RAISE EXCEPTION 'period % is not of tenant %', NEW.period_id, NEW.tenant_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF period.status <> 'open' THEN
        RAISE EXCEPTION 'period % is %', period.label, period.status USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.occurred_at >= period.starts_at AND NEW.occurred_at < period.ends_at) = (NEW.charge_class = 'Correction') THEN
        RAISE EXCEPTION 'a record of another period, and only that, has charge class Correction'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER period_gate BEFORE INSERT ON billing_usagerecord FOR EACH ROW EXECUTE FUNCTION billing_period_gate();

SELECT billing_ensure_partition((date_trunc('month', now()) + make_interval(months => ahead))::date)
FROM generate_series(-1, 3) AS ahead;
