-- Closing a month: what the database itself keeps of it.

-- ---------------------------------------------------------------- periods
-- What it keeps: billing/functions/gates.sql.
CREATE TRIGGER period_law BEFORE UPDATE OR DELETE ON billing_billingperiod
    FOR EACH ROW EXECUTE FUNCTION billing_period_law();

-- ---------------------------------------------------------------- lines

-- Statement triggers guard only the table that is named: each partition gets its own.
CREATE OR REPLACE FUNCTION billing_guard_partition(p_parent text, p_partition text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    gate text := CASE p_parent WHEN 'billing_usagerecord' THEN 'period_gate' ELSE 'line_gate' END;
BEGIN
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON %I EXECUTE FUNCTION billing_refuse_change()', p_partition);
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows
         FOR EACH STATEMENT EXECUTE FUNCTION %I()', gate, p_partition, 'billing_' || gate);
END $$;

DO $$
DECLARE
    guarded regclass;
BEGIN
    FOR guarded IN SELECT 'billing_usageline'::regclass
                   UNION ALL SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'billing_usageline'::regclass LOOP
        EXECUTE format(
            'CREATE TRIGGER line_gate AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows
             FOR EACH STATEMENT EXECUTE FUNCTION billing_line_gate()', guarded);
    END LOOP;
END $$;

-- ---------------------------------------------------------------- statements
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_statementfile
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_manualentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statement EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementline EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_statementfile EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_manualentry EXECUTE FUNCTION billing_refuse_change();

-- Numbers without a gap, a chain without a break, and only while the month is being closed.
CREATE FUNCTION billing_statement_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    last billing_statement;
BEGIN
    PERFORM 1 FROM billing_billingperiod WHERE id = NEW.period_id AND tenant_id = NEW.tenant_id AND status = 'closing';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a statement is written while its month is being closed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT * INTO last FROM billing_statement WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1 OR NEW.previous_digest <> coalesce(last.digest, '') THEN
        RAISE EXCEPTION 'statement % does not follow statement %', NEW.number, coalesce(last.number, 0)
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER statement_law BEFORE INSERT ON billing_statement
    FOR EACH ROW EXECUTE FUNCTION billing_statement_law();

CREATE FUNCTION billing_statement_part_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT statement_id FROM new_rows) n
               JOIN billing_statement s ON s.id = n.statement_id
               JOIN billing_billingperiod p ON p.id = s.period_id WHERE p.status <> 'closing') THEN
        RAISE EXCEPTION 'the statement of a closed month is complete' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementline REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();
CREATE TRIGGER only_while_closing AFTER INSERT ON billing_statementfile REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_part_law();

-- ---------------------------------------------------------------- rate rules
-- One rule for a tenant's priority at any moment.
ALTER TABLE billing_raterule ADD CONSTRAINT rate_rule_priority_unique EXCLUDE USING gist (
    int8range(tenant_id, tenant_id, '[]') WITH &&, int4range(priority, priority, '[]') WITH &&,
    tstzrange(valid_from, valid_to) WITH &&);
CREATE FUNCTION billing_rule_law() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR to_jsonb(NEW) - 'valid_to' <> to_jsonb(OLD) - 'valid_to' THEN
        RAISE EXCEPTION 'a rate rule is immutable: end it and add another' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON billing_raterule
    FOR EACH ROW EXECUTE FUNCTION billing_rule_law();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_raterule EXECUTE FUNCTION billing_refuse_change();

-- ---------------------------------------------------------------- corrections
CREATE TRIGGER immutable BEFORE UPDATE ON billing_reratingrow
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
