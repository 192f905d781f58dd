-- What a budget would have refused of the calls of some time, whose, and since when. The calls that were made are gone through
-- in their order, window by window: one whose hold does not fit is refused and spends nothing, as `billing_decide` has it.
-- Calls that ran at the same time are taken one after the other. It reads, and returns the subjects that were refused something.
CREATE OR REPLACE FUNCTION public.billing_replay_budget(
    p_tenant bigint, p_scope text, p_value text, p_unit text, p_period text, p_zone text, p_limit numeric,
    p_from timestamptz, p_until timestamptz
) RETURNS TABLE (subject text, calls bigint, usd numeric, first_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
    spent numeric := 0;
    window_start timestamp;
    refused_request uuid;
    -- a window that began earlier is already used in part
    starts_at timestamptz := CASE WHEN p_period = 'total' THEN p_from
                                  ELSE date_trunc(p_period, p_from AT TIME ZONE p_zone) AT TIME ZONE p_zone END;
BEGIN
    FOR one IN
        SELECT c.* FROM (
            SELECT CASE p_scope WHEN 'tenant' THEN '' WHEN 'user' THEN r.user_id WHEN 'key' THEN coalesce(k.name, '')
                                WHEN 'feature' THEN r.feature WHEN 'project' THEN r.project
                                WHEN 'cost_center' THEN r.cost_center WHEN 'model' THEN r.model
                                WHEN 'provider' THEN r.provider ELSE '' END AS whose,
                   CASE WHEN p_period <> 'total' THEN date_trunc(p_period, r.occurred_at AT TIME ZONE p_zone) END AS begins,
                   r.occurred_at, r.request_id, r.id, r.billed_cost,
                   CASE p_unit WHEN 'usd' THEN r.billed_cost WHEN 'tokens' THEN t.tokens ELSE 1 END AS amount,
                   CASE p_unit WHEN 'usd' THEN coalesce(a.hold_usd, r.billed_cost)
                               WHEN 'tokens' THEN coalesce(a.hold_tokens, t.tokens) ELSE 1 END AS hold
            FROM public.billing_usagerecord r
            CROSS JOIN LATERAL (SELECT r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.output_tokens AS tokens) t
            LEFT JOIN public.billing_attempt a ON a.id = r.attempt_id AND a.tenant_id = p_tenant
            LEFT JOIN public.tenants_apikey k ON p_scope = 'key' AND k.id = r.key_id AND k.tenant_id = p_tenant
            WHERE r.tenant_id = p_tenant AND r.occurred_at >= starts_at AND r.occurred_at < p_until
              AND r.kind = 'usage' AND r.usage_source <> 'gateway_cache') c
        WHERE (p_scope = 'tenant' OR c.whose <> '') AND (p_value = '' OR c.whose = p_value)
        ORDER BY c.whose, c.begins, c.occurred_at, c.id
    LOOP
        IF subject IS DISTINCT FROM one.whose THEN
            IF calls > 0 THEN
                RETURN NEXT;
            END IF;
            subject := one.whose;
            calls := 0;
            usd := 0;
            first_at := NULL;
            window_start := NULL;
            spent := 0;
        END IF;
        IF window_start IS DISTINCT FROM one.begins THEN
            window_start := one.begins;
            spent := 0;
        END IF;
        IF spent + one.hold <= p_limit THEN
            spent := spent + one.amount;
        ELSIF one.occurred_at >= p_from THEN
            calls := calls + (one.request_id IS DISTINCT FROM refused_request)::int;
            usd := usd + one.billed_cost;
            first_at := coalesce(first_at, one.occurred_at);
            refused_request := one.request_id;
        END IF;
    END LOOP;
    IF calls > 0 THEN
        RETURN NEXT;
    END IF;
END $$;
