"""The users of a tenant: those that are declared and those that calls only named, with what each spent this month.

Invariant: figures come from the days' sums; the list is in the order of spend, and has a next page instead of an end.
"""

from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.figures import amount_of
from billing.budgets.user_windows import UserBudget, fullest_of_users
from config.site import cells
from config.tenant_page import days
from config.tenant_page.parts import (
    Link,
    Section,
    TabContent,
    list_url,
    paged,
    requests_link,
    row_link,
)
from tenants.models import EndUser, Tenant

IDLE_SHOWN = 20
NOTE = (
    "The running month, as its report has it. A user who is not declared was named by a call only, and has no cost centre. The "
    "bar is of the fullest budget that counts this user, in its running window."
)


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """Who spent this month, and who of the declared users did not."""
    month = days.month_of(tenant, "user_id")
    spent, ways = paged(request, month)
    names = [row["value"] for row in spent]
    declared = {
        user.external_id: user for user in EndUser.objects.filter(tenant=tenant, external_id__in=names)
    }
    budgets = fullest_of_users(tenant, set(names))
    idle = (
        EndUser.objects.filter(tenant=tenant, is_active=True)
        .exclude(external_id__in=month.order_by().values("value"))
        .order_by("external_id")[:IDLE_SHOWN]
    )
    return TabContent(
        sections=[
            Section(
                "Users, this month",
                {
                    "headers": [
                        "User",
                        "Cost centre",
                        "Declared",
                        "Last day",
                        "Requests",
                        "Cached",
                        "Spent, USD",
                        "Saved, USD",
                        "Of the budget, now",
                    ],
                    "rows": [
                        _row(tenant, row, declared.get(row["value"]), budgets.get(row["value"]))
                        for row in spent
                    ],
                    "empty": "Nobody has called this month.",
                },
                [
                    Link("Declare a user", f"{reverse('admin:tenants_enduser_add')}?tenant={tenant.pk}"),
                    Link("All declared users", list_url("tenants_enduser", tenant__id__exact=tenant.pk)),
                ],
                note=NOTE,
            ),
            Section(
                "Declared, but without a call this month",
                {
                    "headers": ["User", "Cost centre"],
                    "rows": [
                        [row_link("tenants_enduser", user.pk, user), user.cost_center or cells.NOTHING]
                        for user in idle
                    ],
                    "empty": "Every declared user has called.",
                    "more": f"The first {IDLE_SHOWN}." if len(idle) == IDLE_SHOWN else "",
                },
            ),
        ],
        **ways,
    )


def _row(tenant: Tenant, row: dict[str, Any], user: EndUser | None, budget: UserBudget | None) -> list[Any]:
    name: Any = row["value"] or "(no user named)"
    saved: Decimal = row["saved_usd"]
    calls = cells.figure(row["requests"])
    return [
        row_link("tenants_enduser", user.pk, user) if user else name,
        user.cost_center or cells.NOTHING if user else cells.NOTHING,
        ("yes" if user.is_active else "switched off") if user else "no",
        f"{row['last_day']:%Y-%m-%d}",
        requests_link(tenant, calls, user=row["value"]) if row["value"] else row["requests"],
        row["cache_hits"],
        row["billed_cost_usd"],
        saved,
        _bar(budget) if budget else cells.NOTHING,
    ]


def _bar(budget: UserBudget) -> SafeString:
    """How full the user's fullest budget is, and which it is."""
    one = budget.budget
    limit = f"{amount_of(one.unit, budget.limit)}{'' if one.unit == 'usd' else f' {one.unit}'} / {one.period}"
    return format_html(
        "{} {}",
        cells.progress(budget.percent, label="of the user's fullest budget is spent or held"),
        row_link("billing_budget", one.pk, limit),
    )
