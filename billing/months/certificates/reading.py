"""Reads what a certificate is made of: the calls of a period, the reports of their accounts, and the comparisons.

Invariant: reads only; one pass over the period's rows, and per account three queries. What is compared is what was compared last.
"""

from collections import defaultdict
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.models import BillingPeriod, CostComparison, CostReport, CostReportLine
from billing.months.certificates.claims import Account, Calls, Compared, Month
from billing.reconciliation.rows import covered_days, model_names

MOST_REPORTS: Final = 100  # named on a certificate, the newest
# What calls to providers cost by day, account and model; the rest by what it is.
OWN: Final = """
SELECT CASE WHEN r.kind NOT IN ('usage', 'correction') THEN r.kind WHEN r.usage_source = 'gateway_cache' THEN 'cache'
            ELSE 'calls' END AS what,
       CASE WHEN r.kind IN ('usage', 'correction') AND r.usage_source <> 'gateway_cache'
            THEN (r.occurred_at AT TIME ZONE 'UTC')::date END AS day,
       CASE WHEN r.kind IN ('usage', 'correction') AND r.usage_source <> 'gateway_cache' THEN r.provider END AS account,
       CASE WHEN r.kind IN ('usage', 'correction') AND r.usage_source <> 'gateway_cache' THEN r.model END AS model,
       count(*), sum(r.billed_cost)
FROM billing_usagerecord AS r WHERE r.tenant_id = %(tenant)s AND r.period_id = %(period)s
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""


def read_month(period: BillingPeriod) -> Month:
    """The calls of a period and what is known of the bills for them."""
    with connection.cursor() as cursor:
        cursor.execute(OWN, {"tenant": period.tenant_id, "period": period.pk})
        rows = cursor.fetchall()
    others: dict[str, tuple[int, Decimal]] = {}
    by_account: dict[str, list[tuple[date, str, int, Decimal]]] = defaultdict(list)
    for what, day, account, model, count, usd in rows:
        if what == "calls":
            by_account[account].append((day, model, count, usd))
        else:
            others[what] = count, usd
    first = period.starts_at.astimezone(UTC).date()
    last = (period.ends_at.astimezone(UTC) - timedelta(microseconds=1)).date()
    calls: list[Calls] = []
    for account, found in sorted(by_account.items()):
        names = model_names(account)
        calls += [Calls(day, account, names.of_ours(model), count, usd) for day, model, count, usd in found]
    return Month(
        tuple(calls), others, tuple(_account(name, first=first, last=last) for name in sorted(by_account))
    )


def _account(name: str, *, first: date, last: date) -> Account:
    columns = ("day", "model", "meter", "kind", "cause", "their_quantity", "their_usd", "difference_usd")
    rows = CostComparison.objects.filter(provider=name, day__range=(first, last))
    return Account(
        name=name,
        days=(last - first).days + 1,
        covered=frozenset(covered_days(name, first=first, last=last)),
        compared=tuple(
            Compared(day, model, meter, kind, cause, quantity is not None, theirs, difference)
            for day, model, meter, kind, cause, quantity, theirs, difference in rows.order_by(
                "day", "model", "meter"
            ).values_list(*columns)
        ),
        reports=tuple(_reports(name, first=first, last=last)),
    )


def _reports(name: str, *, first: date, last: date) -> list[dict[str, Any]]:
    """The reports whose lines counted when the month was closed, the newest first."""
    live = CostReportLine.objects.filter(provider=name, day__range=(first, last), superseded_at=None)
    reports = CostReport.objects.filter(pk__in=live.values("report_id")).order_by("-fetched_at", "-pk")
    return [
        {
            "first_day": str(report.first_day),
            "last_day": str(report.last_day),
            "source": report.source,
            "fetched_at": report.fetched_at.astimezone(UTC).isoformat(timespec="seconds"),
            "sha256": report.digest,
        }
        for report in reports[:MOST_REPORTS]
    ]
