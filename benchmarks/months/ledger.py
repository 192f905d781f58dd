"""A month of many calls, written straight into the ledger of a benchmark's own PostgreSQL, and what work on it takes.

ROWS calls with two lines each, of USERS people who use three models and two features; the ledger's triggers look at every row.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROWS = int(os.environ.get("ROWS", "1000000"))
USERS = int(os.environ.get("USERS", "100000"))
CHUNK = 100_000

RECORDS = """
INSERT INTO billing_usagerecord (
    id, occurred_at, recorded_at, tenant_id, period_id, attempt_id, kind, usage_source, request_id, user_id, key_id, feature,
    cost_center, endpoint, provider, model, model_asked, tier, cache_state, upstream_id, raw_usage, input_tokens, output_tokens,
    list_cost, provider_cost, contracted_cost, billed_cost, saving)
SELECT f.id, f.at, f.at, %(tenant)s, %(period)s, f.id, 'usage', 'provider', f.id, 'user-' || f.who, f.who %% 10,
       CASE f.n / 7 %% 2 WHEN 0 THEN 'search' ELSE 'chat' END, 'cc-' || f.who %% 12, '/v1/chat/completions', 'openai',
       'model-' || f.n / 3 %% 3, 'auto', 'standard', 'miss', 'chatcmpl-' || f.n,
       '{"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}', 1000 + f.n %% 400, 200 + f.n %% 200,
       c.cost * 2, c.cost, c.cost, c.cost, jsonb_build_object('routing', c.cost::text)
FROM (
    SELECT n, (n * 7919) %% %(users)s AS who, %(starts_at)s::timestamptz + n * %(step)s::interval AS at,
           ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) f
CROSS JOIN LATERAL (SELECT (1000 + f.n %% 400) * 0.0000025 + (200 + f.n %% 200) * 0.00001 AS cost) c
"""
LINES = """
INSERT INTO billing_usageline (
    record_id, line_no, occurred_at, tenant_id, meter, quantity, per, unit_price, list_cost, provider_cost, contracted_cost,
    billed_cost)
SELECT r.id, m.line_no, r.occurred_at, r.tenant_id, m.meter, m.quantity, 1000000, m.price, m.cost, m.cost, m.cost, m.cost
FROM billing_usagerecord r
CROSS JOIN LATERAL (
    SELECT 1 AS line_no, 'input' AS meter, r.input_tokens AS quantity, 2.5 AS price, r.input_tokens * 0.0000025 AS cost
    UNION ALL SELECT 2, 'output', r.output_tokens, 10, r.output_tokens * 0.00001) m
WHERE r.tenant_id = %(tenant)s AND r.occurred_at >= %(from)s AND r.occurred_at < %(until)s
"""


def booked_month() -> tuple[Any, Any]:
    """A tenant, and its last month, full of calls."""
    from billing.months import closing
    from tenants.models import Tenant

    tenant = Tenant.objects.create(slug="bench", name="Bench", timezone="UTC")
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    period = closing.period_at(tenant, at=this_month - timedelta(days=1))
    with measured("writing the ledger"):
        book(tenant, period)
    return tenant, period


def book(tenant: Any, period: Any) -> None:
    from django.db import connection

    step = (period.ends_at - period.starts_at) / (ROWS + 1)
    with connection.cursor() as cursor:
        for first in range(1, ROWS + 1, CHUNK):
            last = min(first + CHUNK - 1, ROWS)
            arguments = {
                "tenant": tenant.pk,
                "period": period.pk,
                "users": USERS,
                "starts_at": period.starts_at,
                "step": step,
                "first": first,
                "last": last,
                "from": period.starts_at + first * step,
                "until": period.starts_at + (last + 1) * step,
            }
            cursor.execute(RECORDS, arguments)
            cursor.execute(LINES, arguments)
        cursor.execute("ANALYZE billing_usagerecord")
        cursor.execute("ANALYZE billing_usageline")


@contextmanager
def measured(name: str) -> Iterator[dict[str, float]]:
    """What the block takes: seconds, processor time of ours and of PostgreSQL's, and the most memory that we had meanwhile."""
    _forget_peak()
    told: dict[str, float] = {}
    began, ours, theirs = time.perf_counter(), time.process_time(), _backend_cpu()
    yield told
    told |= {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - ours, 1),
        "postgres_cpu_seconds": round(_backend_cpu() - theirs, 1),
        "peak_mib": _peak_mib(),
    }
    print(
        f"{name:32}{told['seconds']:9.1f} s{told['cpu_seconds']:9.1f} s of our CPU"
        f"{told['postgres_cpu_seconds']:9.1f} s of PostgreSQL's{told['peak_mib']:7.0f} MiB",
        flush=True,
    )


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def _backend_cpu() -> float:
    """The processor time of the connection's backend."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
