-- The tables Django cannot make. Their partitions of months are made by billing_ensure_partition.

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
    usage_source text NOT NULL CHECK (usage_source IN ('provider', 'estimated', 'gateway_cache', 'manual', 'provider_invoice')),
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
    certainty text NOT NULL DEFAULT 'exact' CHECK (certainty IN ('exact', 'estimated', 'unread')),
    reading jsonb,
    PRIMARY KEY (id, occurred_at),
    -- one usage row per attempt: it has the attempt's id, and its moment
    CONSTRAINT usagerecord_of_attempt CHECK (kind <> 'usage' OR attempt_id IS NULL OR id = attempt_id),
    -- a correction says what it corrects, and nothing else does
    CONSTRAINT usagerecord_correction_of CHECK ((kind = 'correction') = (corrects_id IS NOT NULL)),
    -- what comes from a provider's invoice is an adjustment, and says whose invoice
    CONSTRAINT usagerecord_of_invoice CHECK (usage_source <> 'provider_invoice' OR (kind = 'adjustment' AND provider <> '')),
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
-- Rows arrive in the order of time: a few pages tell which blocks to read.
CREATE INDEX usagerecord_recorded ON billing_usagerecord USING brin (recorded_at);
CREATE INDEX usagerecord_time ON billing_usagerecord USING brin (occurred_at);
-- The sums of what is not exact, and the list of what nobody has explained yet.
CREATE INDEX usagerecord_unread ON billing_usagerecord (occurred_at) WHERE certainty = 'unread';

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

-- What no month claims is not lost: it lands here, and ensure_partitions complains.
CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT;
CREATE TABLE billing_usageline_default PARTITION OF billing_usageline DEFAULT;

-- ---------------------------------------------------------------- attempts and windows
-- Every call updates them: room on the page keeps the update off the indexes.
ALTER TABLE billing_budgetwindow SET (fillfactor = 50);
ALTER TABLE billing_attempt SET (fillfactor = 80);
-- A comparison with a provider's report reads an account's day.
CREATE INDEX attempt_time ON billing_attempt USING brin (occurred_at);

-- ---------------------------------------------------------------- estimates
-- What was held for a call, what was counted ahead, and what it came to: calls that were answered whole and billed by the
-- provider's own figures. occurred_at is the ledger's, so that a condition on it chooses partitions.
CREATE VIEW billing_settled_estimates AS
SELECT r.id, r.occurred_at, r.tenant_id, a.provider, a.model, a.processing, a.dims ->> 'shape' AS shape,
       (a.dims ->> 'counted_input_tokens')::bigint AS counted_input_tokens,
       r.input_tokens + r.cache_read_tokens + r.cache_write_tokens AS input_tokens,
       r.output_tokens, a.hold_tokens, a.hold_usd, r.billed_cost AS billed_usd
FROM billing_usagerecord r
JOIN billing_attempt a ON a.id = r.id
WHERE r.kind = 'usage' AND r.usage_source = 'provider' AND a.state = 'captured'
  AND a.dims ? 'counted_input_tokens' AND a.dims ? 'shape';
