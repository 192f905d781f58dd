"""The head of a tenant's page: who it is, what it spent of its limit this month, what can be done, and its tabs.

Invariant: a button is there only for who may press it, in a state in which it does something.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from billing.admin.budget_state import used_percent, with_usage
from billing.admin.budgets import may_decide
from billing.admin.figures import usd, utc_today
from billing.models import Budget
from billing.planning import forecasts
from config.site import cells
from config.tenant_page import days
from config.tenant_page.parts import Link, first_of_month, tab_url
from tenants.models import Tenant

TABS: Final = (
    ("overview", "Overview"),
    ("keys", "Keys"),
    ("users", "Users"),
    ("budgets", "Budgets"),
    ("policy", "Policy"),
    ("requests", "Requests"),
    ("reports", "Reports"),
    ("people", "People"),
    ("history", "History"),
    ("change", "Settings"),
)
STATES: Final = {"active": "well", "paused": "warning", "suspended": "alarm", "closed": "alarm"}


@dataclass(frozen=True)
class Header:
    """What the head's template shows."""

    tenant: Tenant
    state: str
    bar: Any
    figures: list[tuple[str, Any]]
    buttons: list[Link]
    tabs: list[dict[str, Any]]
    has_no_budget: bool
    has_no_limits: bool


def header_of(request: HttpRequest, tenant: Tenant, *, model_admin: Any, tab: str) -> Header:
    """The head of a tenant's page with one of its tabs open."""
    budget = monthly_budget(tenant)
    return Header(
        tenant=tenant,
        state=STATES[tenant.status],
        bar=cells.progress(used_percent(budget), label="of the monthly budget is spent or held")
        if budget
        else "",
        figures=[*_figures(tenant, budget), ("By the end of the month", _forecast(tenant))],
        buttons=_buttons(request, tenant, budget, model_admin=model_admin),
        tabs=[{"title": title, "url": tab_url(tenant, name), "is_open": name == tab} for name, title in TABS],
        has_no_budget=budget is None,
        has_no_limits=not tenant.rate_limits,
    )


def monthly_budget(tenant: Tenant) -> Any:
    """The tenant's own budget of USD per month, with what is used of it; None if it has none."""
    own = Budget.objects.filter(tenant=tenant, scope="tenant", unit="usd", period="month", is_active=True)
    return with_usage(own).first()


def _figures(tenant: Tenant, budget: Any) -> list[tuple[str, Any]]:
    if budget is not None:
        limit = budget.limit_amount + budget.raised
        spent = f"{usd(budget.top_spent)} of {usd(limit)}"
        left = usd(max(limit - budget.top_spent - budget.top_held, Decimal(0)))
        return [("Spent this month", spent), ("Left", left)]
    today = utc_today().date()
    month = days.summed(days.sums_of(tenant, "total", first_of_month(today), today).values("tenant"))
    return [("Spent this month", f"{usd(days.total(month, 'billed'))}, no limit")]


def _forecast(tenant: Tenant) -> str:
    forecast = forecasts.forecast_tenants([tenant.pk])[tenant.pk]
    if not forecast.is_known:
        return "too little history for a forecast"
    return f"{usd(forecast.middle)} ({usd(forecast.low)} to {usd(forecast.high)})"


def _buttons(request: HttpRequest, tenant: Tenant, budget: Any, *, model_admin: Any) -> list[Link]:
    buttons = []
    if model_admin.has_operate_permission(request, tenant):
        if tenant.status != Tenant.Status.CLOSED:
            buttons.append(
                Link("Issue key", f"{reverse('admin:tenants_apikey_add')}?tenant={tenant.pk}", kind="primary")
            )
        if budget is not None:
            verb = "raise_until" if may_decide(request, budget) else "ask_for_raise"
            label = "Raise…" if verb == "raise_until" else "Ask for a raise…"
            buttons.append(
                Link(label, reverse(f"admin:billing_budget_{verb}", args=(budget.pk,)), is_dialog=True)
            )
    buttons.append(Link("Report", f"{reverse('admin:billing_reports')}?tenant={tenant.slug}"))
    for verb in model_admin.status_verbs(request, tenant):
        url = reverse(f"admin:{verb.action_name}", args=(tenant.pk,))
        buttons.append(Link(f"{verb.description}…", url, is_dialog=True))
    return buttons
