"""`make bench-admin`: what the main pages of the admin and of the portal take with 10 million rows in the ledger.

ROWS calls of TENANTS tenants over 90 days, with users, keys, features, models, cache hits and two lines each, are written
straight into an embedded PostgreSQL of its own; a tenth of them stand in the log of requests, some refused and some failed. The
product's own code sums the days. Then every page is opened, by an operator, and in the portal by an owner and by a member:
seconds, processor time of ours and of PostgreSQL's (which may use one core), and statements. The disk space is given back at the
end.

    make bench-admin             ROWS=10000000 TENANTS=50 USERS=200 by default; some 12 GB of disk
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import results_file
from benchmarks.own_servers import own_postgres

ROWS = int(os.environ.get("ROWS", "10000000"))
TENANTS = int(os.environ.get("TENANTS", "50"))
USERS = int(os.environ.get("USERS", "200"))
DAYS = 90
CHUNK = 500_000
TARGET_CPU_SECONDS = 1.0
BOUNDED = (
    *("home", "home of a tenant", "month report"),
    *("portal of an owner, home", "portal of an owner, month report", "portal of a member, home"),
)

RECORDS = """
INSERT INTO billing_usagerecord (
    id, occurred_at, recorded_at, tenant_id, period_id, attempt_id, kind, usage_source, request_id, user_id, key_id, feature,
    cost_center, session, agent, endpoint, provider, model, model_asked, tier, cache_state, input_tokens, output_tokens,
    saved_input_tokens, saved_output_tokens, list_cost, provider_cost, contracted_cost, billed_cost, saving)
SELECT f.id, f.at, f.at, t.id, p.id, CASE WHEN NOT f.is_hit THEN f.id END, 'usage',
       CASE WHEN f.is_hit THEN 'gateway_cache' ELSE 'provider' END, f.id, 'user-' || f.who, k.id,
       (ARRAY['search', 'chat', 'support', ''])[1 + f.n * 31 / 128 %% 4], 'cc-' || f.who %% 12,
       CASE WHEN f.is_session THEN 'session-' || f.n / 10000 ELSE '' END,
       CASE WHEN f.is_session THEN (ARRAY['', 'a1', 'a2', 'a3'])[1 + f.n %% 4] ELSE '' END, '/v1/chat/completions',
       (ARRAY['openai', 'anthropic'])[1 + f.n %% 2], 'model-' || f.n * 37 / 256 %% 6, 'auto',
       (ARRAY['simple', 'standard', 'complex', ''])[1 + f.n * 41 / 512 %% 4],
       CASE WHEN f.is_hit THEN 'exact' ELSE 'miss' END,
       CASE WHEN f.is_hit THEN 0 ELSE f.input END, CASE WHEN f.is_hit THEN 0 ELSE f.output END,
       CASE WHEN f.is_hit THEN f.input ELSE 0 END, CASE WHEN f.is_hit THEN f.output ELSE 0 END,
       c.cost * 2, CASE WHEN f.is_hit THEN 0 ELSE c.cost END, CASE WHEN f.is_hit THEN 0 ELSE c.cost END,
       CASE WHEN f.is_hit THEN 0 ELSE c.cost END,
       CASE WHEN f.is_hit THEN jsonb_build_object('gateway_cache', (c.cost * 2)::text)
            ELSE jsonb_build_object('routing', c.cost::text) END
FROM (
    SELECT n, (n / %(tenants)s * 7919) %% %(users)s AS who, 1 + n %% %(tenants)s AS whose, n * 7907 / 64 %% 3 = 0 AS is_hit,
           n / %(tenants)s %% 5 = 0 AS is_session, 200 + n %% 900 AS input, 50 + n %% 300 AS output,
           %(starts_at)s::timestamptz + n * %(step)s::interval AS at,
           ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS f
JOIN (SELECT id, row_number() OVER (ORDER BY id) AS number FROM tenants_tenant) AS t ON t.number = f.whose
JOIN billing_billingperiod AS p ON p.tenant_id = t.id AND f.at >= p.starts_at AND f.at < p.ends_at
JOIN tenants_apikey AS k ON k.tenant_id = t.id
CROSS JOIN LATERAL (SELECT f.input * 0.0000025 + f.output * 0.00001 AS cost) AS c
"""
LINES = """
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
LOG = """
INSERT INTO llm_requestlog (
    request_id, tenant_id, at, key_id, "user", feature, endpoint, model_asked, model, provider, tier, route_reason, cache_state,
    status, error_code, is_stream, input_tokens, output_tokens, cost_usd, list_cost_usd, latency_ms, ttft_ms, receipt)
SELECT r.id, r.tenant_id, r.occurred_at, r.key_id, r.user_id, r.feature, 'chat', 'auto', r.model, r.provider, r.tier, '',
       r.cache_state, (ARRAY[200, 200, 200, 200, 200, 200, 200, 200, 429, 502])[1 + n / 10 %% 10],
       (ARRAY['', '', '', '', '', '', '', '', 'budget_exceeded', 'provider_error'])[1 + n / 10 %% 10], n %% 2 = 0,
       r.input_tokens, r.output_tokens, r.billed_cost, r.list_cost, 100 + n * 7919 %% 4000,
       CASE WHEN n %% 2 = 0 THEN 50 + n * 7919 %% 900 END,
       jsonb_build_object('steps', jsonb_build_array(repeat('x', 400)))
FROM (SELECT r.*, row_number() OVER () AS n FROM billing_usagerecord AS r
      WHERE r.occurred_at >= %(from)s AND r.occurred_at < %(until)s) AS r
WHERE n %% 10 = 0 OR n %% 97 = 0
"""
TALLIES = """
INSERT INTO llm_requesttally (tenant_id, day, provider, outcome, latency, first_token, requests)
SELECT tenant_id, (at AT TIME ZONE 'UTC')::date, provider,
       CASE WHEN status >= 500 THEN 'failed' WHEN status >= 400 THEN 'refused'
            WHEN cache_state = 'exact' THEN 'cached' ELSE 'answered' END,
       ceil(8 * log(latency_ms::float)), ceil(8 * log(ttft_ms::float)), count(*)
FROM llm_requestlog GROUP BY 1, 2, 3, 4, 5, 6
"""
MARKS = """
INSERT INTO billing_rollupdirty (tenant_id, day)
SELECT t.id, d::date FROM tenants_tenant AS t, generate_series(%(from)s::date, %(until)s::date, '1 day') AS d
"""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


def main() -> None:
    machine = results_file.machine()
    with own_postgres():
        figures = _measure()
    path = results_file.write(
        "admin",
        {"machine": machine, "rows": ROWS, "tenants": TENANTS, "users": USERS, "days": DAYS, **figures},
    )
    slow = [name for name in figures["bounded"] if figures["pages"][name]["cpu_seconds"] > TARGET_CPU_SECONDS]
    within = "within" if not slow else f"NOT within ({', '.join(slow)})"
    print(
        f"home pages and month reports {within} {TARGET_CPU_SECONDS} s of CPU; written to {path.relative_to(path.parents[2])}"
    )


def _measure() -> dict[str, Any]:
    from django.db import connections

    from billing.ledger.rollups import rebuild_dirty
    from llm.request_days import add_tallies

    seconds: dict[str, float] = {}
    with _timed("writing", seconds):
        first, end = _write()
    _execute(MARKS, {"from": first.date(), "until": end.date()})
    with _timed("summing_days", seconds):
        while rebuild_dirty(limit=500):
            pass
    _execute(TALLIES, {})
    with _timed("counting_requests", seconds):
        while add_tallies():
            pass
    _execute("ANALYZE", {})
    # what a page takes is counted on one core, so that PostgreSQL's share cannot hide in other processes
    _execute("ALTER DATABASE CURRENT_DATABASE_NAME SET max_parallel_workers_per_gather = 0", {}, named=True)
    connections.close_all()
    pages = _pages(end)
    return {"seconds": seconds, "bounded": BOUNDED, "pages": pages}


def _write() -> tuple[datetime, datetime]:
    """Tenants with keys, budgets and months; then the ledger, its lines and the log, chunk by chunk."""
    from django.contrib.auth.models import User

    from billing.ledger.partitions import ensure_partitions
    from billing.models import Budget
    from billing.months.closing import period_at
    from llm.models import LanguageModel, Provider
    from tenants.keys.editing import issue_key
    from tenants.models import EndUser, Membership, Tenant

    end = datetime.now(UTC)
    first = end - timedelta(days=DAYS)
    User.objects.create(username="olga", is_staff=True, is_superuser=True)
    for number in range(1, TENANTS + 1):
        tenant = Tenant.objects.create(slug=f"tenant-{number:03}", name=f"Tenant {number}", timezone="UTC")
        issue_key(tenant, name="main")
        Budget.objects.create(
            tenant=tenant, scope="tenant", unit="usd", period="month", limit_amount=100_000, mode="hard"
        )
        at = first
        while at < end:
            at = period_at(tenant, at=at).ends_at
    first_tenant = Tenant.objects.get(slug="tenant-001")
    EndUser.objects.bulk_create(
        EndUser(tenant=first_tenant, external_id=f"user-{who}", cost_center=f"cc-{who % 12}")
        for who in range(USERS)
    )
    Budget.objects.create(
        tenant=first_tenant, scope="cost_center", unit="usd", period="month", limit_amount=10_000, mode="hard"
    )
    for name, role, person in (("owner", "owner", "user-1"), ("member", "member", "user-7")):
        Membership.objects.create(
            user=User.objects.create(username=name), tenant=first_tenant, role=role, person=person
        )
    for name in ("openai", "anthropic"):
        provider = Provider.objects.create(
            name=name, kind=name, base_url="https://example.com/v1", api_key="sk-x"
        )
        for model in range(3):
            LanguageModel.objects.create(
                name=f"{name}-{model}", provider=provider, upstream="m", context_window=1000
            )
    ensure_partitions()
    step, earlier = (end - first) / (ROWS + 1), first
    while earlier < end:
        _execute("SELECT billing_ensure_partition(%(day)s)", {"day": earlier.date()})
        earlier += timedelta(days=20)
    for begin in range(1, ROWS + 1, CHUNK):
        last = min(begin + CHUNK - 1, ROWS)
        arguments = {
            "users": USERS,
            "tenants": TENANTS,
            "starts_at": first,
            "step": step,
            "first": begin,
            "last": last,
            "from": first + (begin - 0.5) * step,
            "until": first + (last + 0.5) * step,
        }
        # generated rows are right by themselves: the triggers that look at each are the product's own benchmarks' business
        _execute("SET session_replication_role = replica; SET synchronous_commit = off", {})
        for statement in (RECORDS, LINES, LOG):
            _execute(statement, arguments)
        _execute("SET session_replication_role = origin", {})
        print(f"    {last:,} rows", flush=True)
    _execute("ANALYZE", {})
    return first, end


def _pages(end: datetime) -> dict[str, Any]:
    """Open each page three times; the figures of the cheapest."""
    from tenants.models import Tenant

    client = _client_of("olga")
    tenant = Tenant.objects.get(slug="tenant-001")
    last_month = (end.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    lists = {
        "ledger": "billing/usagerecord", "requests": "llm/requestlog", "days": "billing/usagedaily",
        "attempts": "billing/attempt", "budgets": "billing/budget", "tenants": "tenants/tenant", "keys": "tenants/apikey",
        "alerts": "billing/alertevent", "prices": "billing/pricerow", "months": "billing/billingperiod",
        "batches": "llm/batch",
    }  # fmt: skip
    addresses = {
        "home": "/admin/",
        "home, 90 days by user": f"/admin/?from={(end - timedelta(days=DAYS)).date()}&by=user&top=user",
        "home of a tenant": "/admin/?tenant=tenant-001&period=month",
        "month report": f"/admin/billing/billingperiod/reports/?tenant=tenant-001&month={last_month}",
        "tenant": f"/admin/tenants/tenant/{tenant.pk}/change/",
        **{name: f"/admin/{path}/" for name, path in lists.items()},
        "ledger of a tenant": f"/admin/billing/usagerecord/?tenant__id__exact={tenant.pk}",
        "refused requests of a tenant": "/admin/llm/requestlog/?tenant=tenant-001&outcome=refused",
        "requests of a user": "/admin/llm/requestlog/?tenant=tenant-001&user=user-7&period=30d",
    }
    of_portal = _portal_pages(end, last_month)
    opened = [("", client, addresses), *((who, _client_of(who), pages) for who, pages in of_portal.items())]
    pages = {}
    for who, client, listed in opened:
        for name, address in listed.items():
            name = f"portal of {who}, {name}" if who else name
            pages[name] = min((_open(client, address) for _ in range(3)), key=lambda one: one["cpu_seconds"])
            _print(name, pages[name])
    return pages


def _portal_pages(end: datetime, last_month: str) -> dict[str, dict[str, str]]:
    """Who opens which pages of the portal."""
    at = "/portal/t/tenant-001/"
    owner = {
        "home": "", "requests": "requests/", "keys": "keys/", "budgets": "budgets/", "spend of 90 days": "spend/?span=90",
        "teams": "teams/", "months": "months/", "month report": f"months/{last_month}/",
        "month as CSV": f"months/{last_month}/csv/", "month as XLSX": f"months/{last_month}/xlsx/",
        "work of 30 days": "sessions/?days=30", "work as a tree": f"sessions/one/?session=session-{ROWS // 10000 - 1}",
    }  # fmt: skip
    member = {name: owner[name] for name in ("home", "requests", "keys", "budgets", "work of 30 days")}
    return {
        who: {name: f"{at}{page}" for name, page in pages.items()}
        for who, pages in (("an owner", owner), ("a member", member))
    }


def _client_of(who: str) -> Any:
    """A browser in which somebody has logged in."""
    from django.contrib.auth.models import User
    from django.test import Client

    from config.site.pages import SESSION_BEGAN

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get(username=who.rpartition(" ")[2]))
    session = client.session
    session[SESSION_BEGAN] = int(time.time())
    session.save()
    return client


def _print(name: str, page: dict[str, Any]) -> None:
    print(
        f"{name:38}{page['seconds']:8.2f} s {page['cpu_seconds']:8.2f} s CPU, {page['postgres_cpu_seconds']:.2f} of it"
        f" PostgreSQL's {page['queries']:5} statements {page['kib']:6} KiB",
        flush=True,
    )


def _open(client: Any, address: str) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    began, ours, theirs = time.perf_counter(), time.process_time(), _backend_cpu()
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address)
    if response.status_code != 200:
        raise SystemExit(f"{address}: {response.status_code}")
    ours = time.process_time() - ours
    backends = sum(after - theirs.get(pid, 0.0) for pid, after in _backend_cpu().items())
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(ours + backends, 3),
        "postgres_cpu_seconds": round(backends, 3),
        "queries": len(queries),
        "slowest_statement_seconds": max(
            (float(one["time"]) for one in queries.captured_queries), default=0.0
        ),
        "kib": len(response.content) // 1024,
    }


def _backend_cpu() -> dict[int, float]:
    """The processor time of each backend of the database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(BACKENDS)
        pids = [pid for (pid,) in cursor.fetchall()]
    used = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def _execute(sql: str, arguments: dict[str, Any], *, named: bool = False) -> None:
    from django.db import connection

    if named:
        sql = sql.replace("CURRENT_DATABASE_NAME", f'"{connection.settings_dict["NAME"]}"')
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments or None)


@contextmanager
def _timed(name: str, told: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    told[name] = round(time.perf_counter() - began, 1)
    print(f"{name}: {told[name]:.1f} s", flush=True)


if __name__ == "__main__":
    main()
