-- Reconciliation: reports are written once, and lines end once.

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
