"""The world of `make bench-admin`: tenants with keys, users, budgets and months, and what they called in 90 days.

Invariant: rows are written straight into the tables, month by month and chunk by chunk, as the product would have left them;
the sums of days are the product's own. One tenant makes a fifth of all calls, so that its pages are the hardest.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

DAYS: Final = 90
CHUNK: Final = 500_000
STEPS: Final = [
    {"step": step, "outcome": outcome, "at_ms": at_ms}
    for step, outcome, at_ms in (
        ("exact_cache", "miss", 0.4), ("semantic_cache", "miss", 3.1), ("route", "standard", 3.3), ("compress", "off", 3.4),
        ("hold", "held", 5.2), ("settle", "captured", 812.0),
    )
]  # fmt: skip
HURRY: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "'8GB'",
    "checkpoint_timeout": "'30min'",
}
GREAT: Final = "tenant-001"  # the tenant with a fifth of the calls, all of them in the log
MEMBER: Final = "user-7"  # whose portal is opened

RECORDS: Final = """
INSERT INTO billing_usagerecord (
    id, occurred_at, recorded_at, tenant_id, period_id, attempt_id, kind, usage_source, request_id, user_id, key_id, feature,
    cost_center, session, agent, endpoint, provider, model, model_asked, tier, cache_state, input_tokens, output_tokens,
    saved_input_tokens, saved_output_tokens, list_cost, provider_cost, contracted_cost, billed_cost, saving)
SELECT f.id, f.at, f.at, t.id, p.id, CASE WHEN NOT f.is_hit THEN f.id END, 'usage',
       CASE WHEN f.is_hit THEN 'gateway_cache' ELSE 'provider' END, f.id, 'user-' || f.who, k.id,
       (ARRAY['search', 'chat', 'support', ''])[1 + f.n * 31 / 128 %% 4], 'cc-' || f.who %% 12,
       CASE WHEN f.is_session THEN 'session-' || f.n / 10000 ELSE '' END,
       CASE WHEN f.is_session THEN (ARRAY['', 'a1', 'a2', 'a3'])[1 + f.n %% 4] ELSE '' END, '/v1/chat/completions',
       (ARRAY['openai', 'anthropic'])[1 + f.n %% 2],
       CASE WHEN f.n %% 400009 = 0 THEN 'model-rare' ELSE 'model-' || f.n * 37 / 256 %% 6 END, 'auto',
       (ARRAY['simple', 'standard', 'complex', ''])[1 + f.n * 41 / 512 %% 4],
       CASE WHEN f.is_hit THEN 'exact' ELSE 'miss' END,
       CASE WHEN f.is_hit THEN 0 ELSE f.input END, CASE WHEN f.is_hit THEN 0 ELSE f.output END,
       CASE WHEN f.is_hit THEN f.input ELSE 0 END, CASE WHEN f.is_hit THEN f.output ELSE 0 END,
       c.cost * 2, CASE WHEN f.is_hit THEN 0 ELSE c.cost END, CASE WHEN f.is_hit THEN 0 ELSE c.cost END,
       CASE WHEN f.is_hit THEN 0 ELSE c.cost END,
       CASE WHEN f.is_hit THEN jsonb_build_object('gateway_cache', (c.cost * 2)::text)
            ELSE jsonb_build_object('routing', c.cost::text) END
FROM (
    SELECT n, (n / %(tenants)s * 7919) %% %(users)s AS who, n * 7907 / 64 %% 3 = 0 AS is_hit,
           CASE WHEN n %% 5 = 0 THEN 1 ELSE 1 + n / 5 %% %(tenants)s END AS whose,
           n / %(tenants)s %% 5 = 0 AS is_session, 200 + n %% 900 AS input, 50 + n %% 300 AS output,
           %(starts_at)s::timestamptz + n * %(step)s::interval AS at,
           ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS f
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS number FROM tenants_tenant) AS t ON t.number = f.whose
JOIN billing_billingperiod AS p ON p.tenant_id = t.id AND f.at >= p.starts_at AND f.at < p.ends_at
JOIN tenants_apikey AS k ON k.tenant_id = t.id
CROSS JOIN LATERAL (SELECT f.input * 0.0000025 + f.output * 0.00001 AS cost) AS c
"""
LINES: Final = """
INSERT INTO billing_usageline (
    record_id, line_no, occurred_at, tenant_id, meter, quantity, per, unit_price, list_cost, provider_cost, contracted_cost,
    billed_cost)
SELECT r.id, m.line_no, r.occurred_at, r.tenant_id, m.meter, m.quantity, 1000000, m.price, m.cost, m.cost, m.cost, m.cost
FROM billing_usagerecord AS r
CROSS JOIN LATERAL (
    SELECT 1 AS line_no, 'input' AS meter, r.input_tokens AS quantity, 2.5 AS price, r.input_tokens * 0.0000025 AS cost
    UNION ALL SELECT 2, 'output', r.output_tokens, 10, r.output_tokens * 0.00001) AS m
WHERE r.occurred_at >= %(from)s AND r.occurred_at < %(until)s AND r.usage_source = 'provider'
"""
LOG: Final = """
INSERT INTO llm_requestlog (
    request_id, tenant_id, at, key_id, "user", feature, endpoint, model_asked, model, provider, tier, route_reason, cache_state,
    status, error_code, is_stream, input_tokens, output_tokens, cost_usd, list_cost_usd, latency_ms, ttft_ms, receipt)
SELECT r.id, r.tenant_id, r.occurred_at, r.key_id, r.user_id, r.feature, 'chat', 'auto', r.model, r.provider, r.tier, '',
       r.cache_state, (ARRAY[200, 200, 200, 200, 200, 200, 200, 200, 429, 502])[1 + n / 10 %% 10],
       (ARRAY['', '', '', '', '', '', '', '', 'budget_exceeded', 'provider_error'])[1 + n / 10 %% 10], n %% 2 = 0,
       r.input_tokens, r.output_tokens, r.billed_cost, r.list_cost, 100 + n * 7919 %% 4000,
       CASE WHEN n %% 2 = 0 THEN 50 + n * 7919 %% 900 END,
       jsonb_build_object('steps', %(steps)s::jsonb)
FROM (SELECT r.*, row_number() OVER () AS n FROM billing_usagerecord AS r
      WHERE r.occurred_at >= %(from)s AND r.occurred_at < %(until)s) AS r
WHERE r.tenant_id = %(great)s OR n %% 10 = 0
"""
ATTEMPTS: Final = """
INSERT INTO billing_attempt (
    id, tenant_id, request_id, attempt_no, key_id, user_id, feature, provider, model, processing, occurred_at, hold_usd,
    hold_tokens, window_ids, hold_amounts, state, expires_at, settled_at, void_reason, dims)
SELECT r.attempt_id, r.tenant_id, r.request_id, 1, r.key_id, r.user_id, r.feature, r.provider, r.model, 'online', r.occurred_at,
       r.billed_cost * 2, (r.input_tokens + r.output_tokens) * 2, '{}', '{}', 'captured', r.occurred_at + interval '10 minutes',
       r.occurred_at + interval '2 seconds', '', '{}'
FROM billing_usagerecord AS r
WHERE r.occurred_at >= %(from)s AND r.occurred_at < %(until)s AND r.usage_source = 'provider' AND r.tenant_id = %(great)s
"""
TALLIES: Final = """
INSERT INTO llm_requesttally (tenant_id, day, provider, outcome, latency, first_token, requests)
SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, provider,
       CASE WHEN status >= 500 THEN 'failed' WHEN status >= 400 THEN 'refused'
            WHEN cache_state = 'exact' THEN 'cached' ELSE 'answered' END,
       ceil(8 * log(latency_ms::float)), ceil(8 * log(ttft_ms::float)), count(*)
FROM llm_requestlog GROUP BY 1, 2, 3, 4, 5, 6
"""
MARKS: Final = """
INSERT INTO billing_rollupdirty (tenant_id, day)
SELECT t.id, d::date FROM tenants_tenant AS t, generate_series(%(from)s::date, %(until)s::date, '1 day') AS d
"""
ALERTS: Final = """
INSERT INTO billing_alertevent (
    tenant_id, rule_id, metric, subject_key, window_key, value, threshold, message, link, facts, fired_at, last_at, is_grouped,
    count, first_count, level)
SELECT rule.tenant_id, rule.id, rule.metric, 'user-' || n, '', 0.7, rule.threshold,
       'A request of user-' || n || ' cost 0.70 USD, above 0.50 USD.', '', '{}', now() - n * interval '17 minutes',
       now() - n * interval '11 minutes', true, n, 1, 0
FROM billing_alertrule AS rule, generate_series(1, 100) AS n
"""


def write_world(*, rows: int, tenants: int, users: int) -> tuple[datetime, datetime]:
    """Write everything but the sums; the time that it fills."""
    from billing.ledger.partitions import ensure_partitions
    from tenants.models import Tenant

    end = datetime.now(UTC)
    first = end - timedelta(days=DAYS)
    _write_people(tenants, users, first, end)
    ensure_partitions()
    step, earlier = (end - first) / (rows + 1), first
    while earlier < end:
        execute("SELECT billing_ensure_partition(%(day)s)", {"day": earlier.date()})
        earlier += timedelta(days=20)
    usual = {
        "users": users, "tenants": tenants, "starts_at": first, "step": step, "great": Tenant.objects.get(slug=GREAT).pk,
        "steps": json.dumps(STEPS),
    }  # fmt: skip
    for begin in range(1, rows + 1, CHUNK):
        last = min(begin + CHUNK - 1, rows)
        span = {"from": first + (begin - 0.5) * step, "until": first + (last + 0.5) * step}
        # generated rows are right by themselves: the triggers that look at each are the product's own benchmarks' business
        execute("SET session_replication_role = replica; SET synchronous_commit = off")
        for statement in (RECORDS, LINES, LOG, ATTEMPTS):
            execute(statement, {**usual, **span, "first": begin, "last": last})
        execute("SET session_replication_role = origin")
        print(f"    {last:,} rows", flush=True)
    execute(ALERTS)
    execute("ANALYZE")
    return first, end


def sum_days(first: datetime, end: datetime) -> None:
    """The days' sums, by the product's own code."""
    from billing.ledger.rollups import rebuild_dirty

    execute(MARKS, {"from": first.date(), "until": end.date()})
    while rebuild_dirty(limit=500):
        pass


def count_requests() -> None:
    """The days of requests, by the product's own code."""
    from llm.request_days import add_tallies

    execute(TALLIES)
    while add_tallies():
        pass


def hurry() -> None:
    """Nothing has to survive while rows are generated."""
    for name, value in HURRY.items():
        execute(f"ALTER SYSTEM SET {name} = {value}")
    execute("SELECT pg_reload_conf()")


def settle_down() -> None:
    """As after some nights: analysed, and vacuumed for what reads indexes only; from here on as the product runs."""
    for name in HURRY:
        execute(f"ALTER SYSTEM RESET {name}")
    execute("SELECT pg_reload_conf()")
    execute("VACUUM ANALYZE")
    # what a page takes is counted on one core, so that PostgreSQL's share cannot hide in other processes
    execute("ALTER DATABASE CURRENT_DATABASE_NAME SET max_parallel_workers_per_gather = 0")


def execute(sql: str, arguments: dict[str, Any] | None = None) -> None:
    from django.db import connection

    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("CURRENT_DATABASE_NAME", f'"{name}"'), arguments)


def _write_people(tenants: int, users: int, first: datetime, end: datetime) -> None:
    from django.contrib.auth.models import User

    from billing.ledger.periods import period_at
    from billing.models import AlertRule, Budget
    from llm.models import LanguageModel, Provider
    from tenants.keys.editing import issue_key
    from tenants.models import EndUser, Membership, Tenant

    User.objects.create(username="olga", is_staff=True, is_superuser=True)
    for number in range(1, tenants + 1):
        tenant = Tenant.objects.create(
            slug=f"tenant-{number:03}", name=f"Tenant {number}", timezone="UTC", rate_limits={"rpm": 6000}
        )
        issue_key(tenant, name="main")
        usual = {"tenant": tenant, "unit": "usd", "period": "month", "mode": "hard"}
        Budget.objects.create(scope="tenant", limit_amount=100_000, **usual)
        Budget.objects.create(scope="user", limit_amount=20, **usual)
        for feature in ("search", "chat", "support"):
            Budget.objects.create(scope="feature", value=feature, limit_amount=2_000, **usual)
        AlertRule.objects.create(tenant=tenant, metric="request_cost", threshold="0.5")
        EndUser.objects.bulk_create(
            EndUser(tenant=tenant, external_id=f"user-{one}", cost_center=f"cc-{one % 12}")
            for one in range(users)
        )
        at = first
        while at < end:
            at = period_at(tenant, at=at).ends_at
    great = Tenant.objects.get(slug=GREAT)
    Budget.objects.create(
        tenant=great, scope="cost_center", unit="usd", period="month", limit_amount=10_000, mode="hard"
    )
    for role, person in (("owner", "user-1"), ("member", MEMBER)):
        Membership.objects.create(
            user=User.objects.create(username=role), tenant=great, role=role, person=person
        )
    for name in ("openai", "anthropic"):
        provider = Provider.objects.create(
            name=name, kind=name, base_url="https://example.com/v1", api_key="sk-x"
        )
        for model in range(3):
            LanguageModel.objects.create(
                name=f"{name}-{model}", provider=provider, upstream="m", context_window=1000
            )
