"""The pages that `make bench-admin` opens, and what each takes."""

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.admin.generating import DAYS, GREAT, MEMBER

OPENED: Final = 2  # times; the figures are those of the cheapest
BACKENDS: Final = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
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
    "home": "", "requests": "requests/", "a request": "requests/{request}/", "keys": "keys/", "connect": "connect/",
    "budgets": "budgets/", "spend of 90 days": "spend/?span=90", "file of 90 days": "spend/file/?span=90", "teams": "teams/",
    "months": "months/", "month report": "months/{month}/", "alerts": "alerts/", "policy": "policy/", "people": "people/",
    "changes": "changes/", "work of 30 days": "sessions/?days=30", "work as a tree": "sessions/one/?session={session}",
}  # fmt: skip
WANTED_POLICY: Final = {
    "cache": {"exact": False, "semantic": "static", "threshold": 0.99},
    "routing": {"enabled": False},
    "compression": {"enabled": True},
    "users": {"unknown": "refuse", "missing": "refuse"},
    "hedging": {"after_ms": 800},
}
Sent = dict[str, str]
OF_MEMBERS: Final = ("home", "requests", "a request", "keys", "connect", "budgets", "work of 30 days")


class NotShown(Exception):
    """A page answers with another status than 200."""


def measure(end: datetime) -> tuple[dict[str, Any], dict[str, str]]:
    """Open each page as an operator, and the portal's as an owner and as a member: what they take, and which are not shown."""
    asked: list[tuple[str, str, str, Sent | None]] = [
        *(("olga", name, address, None) for name, address in addresses(end).items()),
        *(("olga", name, *page) for name, page in previews().items()),
        *((who, f"portal of {who}, {name}", address, None) for who, name, address in portal_addresses(end)),
    ]
    pages, not_shown = {}, {}
    for who, name, address, sent in asked:
        try:
            pages[name] = _measure(client_of(who.rpartition(" ")[2]), name, address, sent)
        except NotShown as error:
            not_shown[name] = str(error)
    return pages, not_shown


def _measure(client: Any, name: str, address: str, sent: Sent | None) -> dict[str, Any]:
    page = min((_open(client, address, sent) for _ in range(OPENED)), key=lambda one: one["cpu_seconds"])
    print(
        f"{name:44}{page['seconds']:8.2f} s {page['cpu_seconds']:8.2f} s CPU, {page['postgres_cpu_seconds']:.2f} of it"
        f" PostgreSQL's {page['queries']:5} statements {page['kib']:6} KiB",
        flush=True,
    )
    return page


def previews() -> dict[str, tuple[str, Sent]]:
    """What a change would have done with the last two months, asked of the great tenant and of a usual one."""
    from billing.models import Budget
    from tenants.models import Tenant

    found: dict[str, tuple[str, Sent]] = {}
    for which, slug in (("the great tenant", GREAT), ("a usual tenant", "tenant-002")):
        tenant = Tenant.objects.get(slug=slug)
        policy = {"way": "json", "step": "preview", "policy": json.dumps(WANTED_POLICY)}
        found[f"preview of a policy, {which}"] = (f"/admin/tenants/tenant/{tenant.pk}/policy/", policy)
        budget = Budget.objects.filter(tenant=tenant, scope="user").first()
        assert budget
        address = f"/admin/billing/budget/{budget.pk}/change/"
        asked = {**_form_of(address), "limit_amount": "1", "_preview": "1"}
        found[f"preview of a budget, {which}"] = (address, asked)
    return found


def _form_of(address: str) -> Sent:
    """What a page's form sends as it is."""
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment()  # the client keeps what a page was made of
    try:
        form = client_of("olga").get(address).context["adminform"].form
    finally:
        teardown_test_environment()
    values = {field.html_name: field.value() for field in form}
    return {name: str(value) for name, value in values.items() if value not in (None, False)}


def portal_addresses(end: datetime) -> list[tuple[str, str, str]]:
    """Who opens which page of the portal."""
    from billing.models import UsageRecord
    from llm.models import RequestLog

    newest = UsageRecord.objects.filter(
        tenant__slug=GREAT, session__gt="", occurred_at__gt=end - timedelta(days=2)
    )
    session = newest.values_list("session", flat=True).first()
    of_member = RequestLog.objects.filter(
        tenant__slug=GREAT, user=MEMBER, at__gt=end - timedelta(days=2)
    ).first()
    assert of_member
    known = {"month": _last_month(end), "session": session, "request": of_member.pk}
    filled = {name: f"/portal/t/{GREAT}/{path.format(**known)}" for name, path in PORTAL.items()}
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
        **lists(),
        **{
            f"planning, {tab}{whose}": f"/admin/planning/?tab={tab}{query}"
            for tab in ("budgets", "units", "ahead", "unused")
            for whose, query in (("", ""), (" of a tenant", f"&tenant={GREAT}"))
        },
        "ledger of a tenant": f"/admin/billing/usagerecord/?tenant__id__exact={tenant.pk}",
        **{name: f"/admin/{path}" for name, path in NARROWED.items()},
    }


def lists() -> dict[str, str]:
    """Every list of the admin."""
    from django.contrib import admin
    from django.urls import reverse

    tables = sorted((model._meta for model in admin.site._registry), key=lambda one: one.label)
    return {
        f"list of {one.verbose_name_plural}": reverse(f"admin:{one.app_label}_{one.model_name}_changelist")
        for one in tables
    }


def client_of(name: str) -> Any:
    """A browser of somebody who has signed in."""
    from django.contrib.auth.models import User
    from django.test import Client

    from config.site.pages import SESSION_BEGAN

    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(User.objects.get(username=name))
    session = client.session
    session[SESSION_BEGAN] = int(time.time())
    session.save()
    return client


def _open(client: Any, address: str, sent: Sent | None = None) -> dict[str, Any]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    began, ours, theirs = time.perf_counter(), time.process_time(), _backend_cpu()
    with CaptureQueriesContext(connection) as queries:
        response = client.get(address) if sent is None else client.post(address, sent)
    if response.status_code != 200:
        raise NotShown(f"{address}: {response.status_code}")
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
