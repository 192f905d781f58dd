"""The keys of a tenant: whose each is, its state, what it may do, when it was last used and what it spent this month.

Invariant: a secret is nowhere on this page; figures come from the days' sums.
"""

from datetime import date, timedelta
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest

from billing.admin.figures import utc_today
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
from tenants.admin.limits import limits_in_words
from tenants.models import ApiKey, Tenant

DAYS_LOOKED_AT: Final = 90


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """Live keys first, then those that were revoked."""
    keys, ways = paged(request, ApiKey.objects.filter(tenant=tenant).order_by("-revoked_at", "name", "pk"))
    names = [str(key.pk) for key in keys]
    month = {row["value"]: row for row in days.month_of(tenant, "key_id").filter(value__in=names)}
    used = days.months_of(tenant, "key_id", utc_today().date() - timedelta(days=DAYS_LOOKED_AT))
    last_days = {row["value"]: row["latest"] for row in used.filter(value__in=names)}
    pages: Any = admin.site.get_model_admin(ApiKey)
    return TabContent(
        sections=[
            Section(
                "API keys",
                {
                    "headers": [
                        "Key",
                        "State",
                        "User",
                        "Models",
                        "Limits",
                        "Last used",
                        "Requests",
                        "Spent, USD",
                    ],
                    "rows": [
                        _row(tenant, key, pages, last_days.get(str(key.pk)), month.get(str(key.pk)))
                        for key in keys
                    ],
                    "empty": "No key yet: nobody can call.",
                },
                [Link("Search keys", list_url("tenants_apikey", tenant__id__exact=tenant.pk))],
                note=f"Requests and spend of this month. Last used: the UTC day, within {DAYS_LOOKED_AT} days or so.",
            )
        ],
        **ways,
    )


def _row(tenant: Tenant, key: ApiKey, pages: Any, last_day: date | None, month: Any) -> list[Any]:
    return [
        row_link("tenants_apikey", key.pk, key.name),
        pages.state(key),
        key.user or cells.NOTHING,
        ", ".join(key.models) or "none",
        limits_in_words(key.rate_limits) or "the tenant's",
        f"{last_day:%Y-%m-%d}" if last_day else "never",
        requests_link(tenant, cells.figure(month["requests"]), key=key.public_id) if month else 0,
        month["billed_cost_usd"] if month else None,
    ]
