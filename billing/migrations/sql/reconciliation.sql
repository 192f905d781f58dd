-- Reconciliation: reports are written once, lines end once, and a confirmed difference is one row of the ledger.

ALTER TABLE billing_usagerecord DROP CONSTRAINT billing_usagerecord_usage_source_check;
ALTER TABLE billing_usagerecord ADD CONSTRAINT billing_usagerecord_usage_source_check
    CHECK (usage_source IN ('provider', 'estimated', 'gateway_cache', 'manual', 'provider_invoice'));
-- what comes from a provider's invoice is an adjustment, and says whose invoice
ALTER TABLE billing_usagerecord ADD CONSTRAINT usagerecord_of_invoice
    CHECK (usage_source <> 'provider_invoice' OR (kind = 'adjustment' AND provider <> ''));

-- A comparison reads an account's day. Rows arrive in the order of time: a few pages tell which blocks to read.
CREATE INDEX attempt_time ON billing_attempt USING brin (occurred_at);
CREATE INDEX usagerecord_time ON billing_usagerecord USING brin (occurred_at);

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_costreport
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costreport EXECUTE FUNCTION billing_refuse_change();

CREATE FUNCTION billing_cost_line_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR OLD.superseded_at IS NOT NULL OR NEW.superseded_at IS NULL
        OR to_jsonb(NEW) - 'superseded_at' <> to_jsonb(OLD) - 'superseded_at' THEN
        RAISE EXCEPTION 'a line of a cost report is immutable: a newer report supersedes it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_costreportline
    FOR EACH ROW EXECUTE FUNCTION billing_cost_line_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costreportline EXECUTE FUNCTION billing_refuse_change();

-- An adjustment that is booked stays the comparison's: a later one may take its place, none may vanish.
CREATE FUNCTION billing_comparison_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.provider, NEW.day, NEW.model, NEW.meter)
            IS DISTINCT FROM (OLD.provider, OLD.day, OLD.model, OLD.meter)
        OR (OLD.adjustment_id IS NOT NULL AND NEW.adjustment_id IS NULL) THEN
        RAISE EXCEPTION 'a comparison and its adjustment stay' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER comparison_law BEFORE UPDATE OR DELETE ON billing_costcomparison
    FOR EACH ROW EXECUTE FUNCTION billing_comparison_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costcomparison EXECUTE FUNCTION billing_refuse_change();

-- Books what a provider billed and the ledger has not, or the other way round: our cost, and the tenant's if it is charged.
-- In the month of the day, if that is open, else in the next open one as a correction. Idempotent by id: true if booked now.
CREATE FUNCTION billing_book_invoice_difference(
    p_id uuid, p_tenant bigint, p_at timestamptz, p_usd numeric, p_charged_usd numeric, p_provider text, p_model text,
    p_reason text, p_tags jsonb
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    entry_period bigint := billing_entry_period(p_tenant, p_at);
    period_starts timestamptz := (SELECT starts_at FROM billing_billingperiod WHERE id = entry_period);
BEGIN
    INSERT INTO billing_usagerecord (
        id, occurred_at, recorded_at, tenant_id, period_id, kind, usage_source, charge_class, reason, provider, model, tags,
        list_cost, provider_cost, contracted_cost, billed_cost)
    VALUES (p_id, p_at, clock_timestamp(), p_tenant, entry_period, 'adjustment', 'provider_invoice',
            CASE WHEN period_starts > p_at THEN 'Correction' ELSE '' END, p_reason, p_provider, p_model, p_tags,
            p_charged_usd, p_usd, p_charged_usd, p_charged_usd)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO billing_rollupdirty (tenant_id, day) VALUES (p_tenant, (p_at AT TIME ZONE 'UTC')::date);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION billing_book_invoice_difference(
    uuid, bigint, timestamptz, numeric, numeric, text, text, text, jsonb) FROM PUBLIC;
