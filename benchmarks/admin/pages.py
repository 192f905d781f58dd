"""The pages that `make bench-admin` opens, and what each takes."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.admin.generating import DAYS, GREAT

OPENED: Final = 2  # times; the figures are those of the cheapest
BACKENDS: Final = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
LISTS: Final = {
    "ledger": "billing/usagerecord", "requests": "llm/requestlog", "days": "billing/usagedaily",
    "attempts": "billing/attempt", "budgets": "billing/budget", "tenants": "tenants/tenant", "keys": "tenants/apikey",
    "alerts": "billing/alertevent", "prices": "billing/pricerow", "months": "billing/billingperiod",
    "batches": "llm/batch", "users": "tenants/enduser",
}  # fmt: skip
TABS: Final = (
    "overview", "keys", "users", "budgets", "policy", "requests", "reports", "people", "history", "change",
)  # fmt: skip
NARROWED: Final = {
    "ledger, one model": "billing/usagerecord/?model=model-3",
    "ledger, a rare model": "billing/usagerecord/?model=model-rare",
    "ledger, an unknown model": "billing/usagerecord/?model=model-none",
    "ledger, one user": "billing/usagerecord/?user_id=user-7",
    "ledger, one user and model": "billing/usagerecord/?user_id=user-7&model=model-3",
    "ledger, page 20": "billing/usagerecord/?p=20",
    "days, one model": "billing/usagedaily/?model=model-3",
    "attempts, one model": "billing/attempt/?model=model-3",
    "requests, one model": "llm/requestlog/?model=model-3",
    "requests, a rare model": "llm/requestlog/?model=model-rare",
    "requests, an unknown model": "llm/requestlog/?model=model-none&period=any",
    "requests, any time": "llm/requestlog/?period=any",
    "requests, refused": "llm/requestlog/?outcome=refused",
    "requests, one user": "llm/requestlog/?user=user-7&period=30d",
    "requests of a tenant, refused": f"llm/requestlog/?tenant={GREAT}&outcome=refused",
    "requests of a tenant's user": f"llm/requestlog/?tenant={GREAT}&user=user-7&period=30d",
}
PORTAL: Final = {
    "home": "", "requests": "requests/", "keys": "keys/", "budgets": "budgets/", "spend of 90 days": "spend/?span=90",
    "teams": "teams/", "months": "months/", "month report": "months/{month}/", "month as CSV": "months/{month}/csv/",
    "month as XLSX": "months/{month}/xlsx/", "work of 30 days": "sessions/?days=30",
    "work as a tree": "sessions/one/?session={session}",
}  # fmt: skip
OF_MEMBERS: Final = ("home", "requests", "keys", "budgets", "work of 30 days")


def measure(end: datetime) -> dict[str, Any]:
    """Open each page as an operator, and the portal's as an owner and as a member."""
    pages = {}
    for who, name, address in (("olga", *page) for page in addresses(end).items()):
        pages[name] = _measure(_client(who), name, address)
    for who, name, address in portal_addresses(end):
        pages[f"portal of {who}, {name}"] = _measure(
            _client(who.rpartition(" ")[2]), f"{who}, {name}", address
        )
    return pages


def _measure(client: Any, name: str, address: str) -> dict[str, Any]:
    page = min((_open(client, address) for _ in range(OPENED)), key=lambda one: one["cpu_seconds"])
    print(
        f"{name:34}{page['seconds']:8.2f} s {page['cpu_seconds']:8.2f} s CPU, {page['postgres_cpu_seconds']:.2f} of it"
        f" PostgreSQL's {page['queries']:5} statements {page['kib']:6} KiB",
        flush=True,
    )
    return page


def portal_addresses(end: datetime) -> list[tuple[str, str, str]]:
    """Who opens which page of the portal."""
    from billing.models import UsageRecord

    newest = UsageRecord.objects.filter(
        tenant__slug=GREAT, session__gt="", occurred_at__gt=end - timedelta(days=2)
    )
    session = newest.values_list("session", flat=True).first()
    filled = {
        name: f"/portal/t/{GREAT}/{path.format(month=_last_month(end), session=session)}"
        for name, path in PORTAL.items()
    }
    return [
        *(("an owner", name, address) for name, address in filled.items()),
        *(("a member", name, filled[name]) for name in OF_MEMBERS),
    ]


def _last_month(end: datetime) -> str:
    return (end.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")


def addresses(end: datetime) -> dict[str, str]:
    """The pages by name."""
    from billing.models import AlertEvent, Budget, UsageRecord
    from llm.models import RequestLog
    from tenants.models import Tenant

    tenant = Tenant.objects.get(slug=GREAT)
    receipt = RequestLog.objects.filter(tenant=tenant, status=429).order_by("-at").first()
    row = UsageRecord.objects.filter(tenant=tenant, occurred_at__gt=end - timedelta(days=1)).first()
    budget, alert = Budget.objects.filter(tenant=tenant).first(), AlertEvent.objects.first()
    assert receipt
    assert row
    assert budget
    assert alert
    return {
        "home": "/admin/",
        "home, 90 days by user": f"/admin/?from={(end - timedelta(days=DAYS)).date()}&by=user&top=user",
        "home of a tenant": f"/admin/?tenant={GREAT}&period=month",
        "month report": f"/admin/billing/billingperiod/reports/?tenant={GREAT}&month={_last_month(end)}",
        **{f"tenant: {tab}": f"/admin/tenants/tenant/{tenant.pk}/{tab}/" for tab in TABS},
        "a receipt": f"/admin/llm/requestlog/{receipt.pk}/change/",
        "a ledger row": f"/admin/billing/usagerecord/{row.pk}/change/",
        "a budget": f"/admin/billing/budget/{budget.pk}/change/",
        "an alert": f"/admin/billing/alertevent/{alert.pk}/change/",
        **{name: f"/admin/{path}/" for name, path in LISTS.items()},
        "ledger of a tenant": f"/admin/billing/usagerecord/?tenant__id__exact={tenant.pk}",
        **{name: f"/admin/{path}" for name, path in NARROWED.items()},
    }


def _client(name: str) -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    from config.site.pages import SESSION_BEGAN

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get(username=name))
    session = client.session
    session[SESSION_BEGAN] = int(time.time())
    session.save()
    return client


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
