-- The laws of money that the database keeps by itself. What the functions of the triggers say: billing/functions/gates.sql.

-- ---------------------------------------------------------------- the ledger is append-only, and its periods close
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usagerecord
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_usageline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
-- Statement triggers guard only the table that is named: each partition gets its own (billing_guard_partition).
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usagerecord EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usagerecord_default EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usageline EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usageline_default EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER period_gate AFTER INSERT ON billing_usagerecord REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_period_gate();
CREATE TRIGGER period_gate AFTER INSERT ON billing_usagerecord_default REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_period_gate();
CREATE TRIGGER line_gate AFTER INSERT ON billing_usageline REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_line_gate();
CREATE TRIGGER line_gate AFTER INSERT ON billing_usageline_default REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_line_gate();

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

-- One rule for a tenant's priority at any moment.
ALTER TABLE billing_raterule ADD CONSTRAINT rate_rule_priority_unique EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&, int4range(priority, priority, '[]') WITH &&,
    tstzrange(valid_from, valid_to) WITH &&);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_raterule
    FOR EACH ROW EXECUTE FUNCTION billing_rule_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_raterule EXECUTE FUNCTION billing_refuse_change();

-- ---------------------------------------------------------------- periods
-- A moment belongs to one period of a tenant, also when its time zone changes.
ALTER TABLE billing_billingperiod ADD CONSTRAINT period_no_overlap EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&, tstzrange(starts_at, ends_at) WITH &&);
CREATE TRIGGER period_law BEFORE UPDATE OR DELETE ON billing_billingperiod
    FOR EACH ROW EXECUTE FUNCTION billing_period_law();
CREATE TRIGGER zone_law BEFORE INSERT OR UPDATE OF timezone ON tenants_tenant
    FOR EACH ROW EXECUTE FUNCTION billing_zone_law();

-- ---------------------------------------------------------------- statements
CREATE TRIGGER statement_law BEFORE INSERT ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_statement_law();
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementline REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementfile REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statement EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementline EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementfile
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementfile EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_manualentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_manualentry EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE ON billing_reratingrow
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();

-- ---------------------------------------------------------------- reconciliation: reports are written once, and lines end once
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_costreport
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costreport EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_costreportline
    FOR EACH ROW EXECUTE FUNCTION billing_cost_line_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costreportline EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER comparison_law BEFORE UPDATE OR DELETE ON billing_costcomparison
    FOR EACH ROW EXECUTE FUNCTION billing_comparison_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_costcomparison EXECUTE FUNCTION billing_refuse_change();
