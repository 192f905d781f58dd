"""`make bench-closing`: how long closing a month takes, step by step.

A month of ROWS calls with two lines each, of USERS people who use three models and two features, is written straight into the
ledger of an embedded PostgreSQL of its own (its triggers look at every row), then closed as the product closes it: the
statement, its files in every format, the digest over every row. Then the chain is verified, which reads all of it again.

    make bench-closing           ROWS=1000000 USERS=100 by default
"""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import results_file
from benchmarks.own_servers import own_postgres

ROWS = int(os.environ.get("ROWS", "1000000"))
USERS = int(os.environ.get("USERS", "100"))
CHUNK = 100_000
TARGET_SECONDS = 60

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


def main() -> None:
    machine = results_file.machine()
    with own_postgres():
        figures = _measure()
    path = results_file.write("closing", {"machine": machine, "rows": ROWS, "users": USERS, **figures})
    within = "within" if figures["close_seconds"] <= TARGET_SECONDS else "NOT within"
    print(f"{within} {TARGET_SECONDS} s; written to {path.relative_to(path.parents[2])}")


def _measure() -> dict[str, Any]:
    from billing.ledger import digest
    from billing.months import closing
    from billing.months import files as statement_files
    from billing.months.statements import first_break
    from tenants.models import Tenant

    tenant = Tenant.objects.create(slug="bench", name="Bench", timezone="UTC")
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    period = closing.period_at(tenant, at=this_month - timedelta(days=1))
    told: dict[str, float] = {}
    with _timed("writing", told):
        _write(tenant, period)
    steps: dict[str, float] = {}
    watched = [
        (closing, "lines_of", "sums"),
        (closing, "month_report", "report"),
        (digest, "day_digests", "digest"),
        *((statement_files, name, name) for name in ("statement_csv", "export")),
    ]
    with _watch(watched, steps), _timed("closing", told):
        statement = closing.close_period(period, grace=timedelta(0))
    with _timed("verifying", told):
        broken = first_break(tenant)
    if statement.record_count != ROWS or broken is not None:
        raise SystemExit(f"the books are not exact: {statement.record_count} rows, {broken}")
    sizes = dict(statement.files.values_list("format", "content"))
    figures = {
        "close_seconds": told["closing"],
        "close_cpu_seconds": told["closing_cpu"],
        "close_postgres_cpu_seconds": told["closing_postgres_cpu"],
        "verify_seconds": told["verifying"],
        "steps_seconds": steps,
        "statement_lines": statement.lines.count(),
        "file_bytes": {name: len(content) for name, content in sizes.items()},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    rest = told["closing"] - sum(steps.values())
    for name, seconds in (*steps.items(), ("rest", rest)):
        print(f"    {name:20}{seconds:8.1f} s")
    print(f"{ROWS:,} rows closed in {told['closing']:.1f} s, verified in {told['verifying']:.1f} s")
    return figures


def _write(tenant: Any, period: Any) -> None:
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
def _timed(name: str, told: dict[str, float]) -> Iterator[None]:
    """Note how long the block takes, and how much processor it takes of ours and of PostgreSQL's."""
    began, ours, theirs = time.perf_counter(), time.process_time(), _backend_cpu()
    yield
    told[name] = round(time.perf_counter() - began, 2)
    told[f"{name}_cpu"] = round(time.process_time() - ours, 2)
    told[f"{name}_postgres_cpu"] = round(_backend_cpu() - theirs, 2)
    cpu = f"{told[f'{name}_cpu']:.1f} s of our CPU, {told[f'{name}_postgres_cpu']:.1f} s of PostgreSQL's"
    print(f"{name}: {told[name]:.1f} s ({cpu})", flush=True)


def _backend_cpu() -> float:
    """The processor time of the connection's backend."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _watch(places: list[tuple[Any, str, str]], steps: dict[str, float]) -> Iterator[None]:
    """Note how long the product's own functions take while it closes."""

    def timed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            label = f"{name} {arguments[1]}" if name == "export" else name
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                steps[label] = round(steps.get(label, 0.0) + time.perf_counter() - began, 2)

        return call

    originals = [(module, attribute, getattr(module, attribute)) for module, attribute, _ in places]
    for (module, attribute, name), (_, _, function) in zip(places, originals, strict=True):
        setattr(module, attribute, timed(function, name))
    try:
        yield
    finally:
        for module, attribute, function in originals:
            setattr(module, attribute, function)


if __name__ == "__main__":
    main()
