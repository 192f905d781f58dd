"""The budgets of a tenant: how full each is now, what raises it, who asks for more, and what can be done about it.

Invariant: what is shown as used is what admission counts with.
"""

from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import now

from billing.admin.budget_state import used_percent, with_usage
from billing.admin.budgets import may_decide
from billing.admin.figures import amount_of
from billing.budgets.last_month import Beyond, beyond_last_month, tried
from billing.budgets.replays import last_months
from billing.models import Budget, BudgetRaise, RaiseRequest
from config.site import cells
from config.tenant_page.parts import Link, Section, TabContent, page_number, paged, row_link, when
from tenants.models import Tenant

ASKED_SHOWN: Final = 20
RAISES_SHOWN: Final = 20
LONGEST_TEXT: Final = 80
EXACTLY: Final = "exactly"
LAST_MONTH: Final = (
    "Beyond it: the calls that were made last month and that the limit of today, without raises, would have refused. Call by "
    "call, or about, from the sums of days, where there were many; then a click counts them."
)


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """Active budgets with their bars, requests for more that wait for a decision, and raises that run."""
    active = Budget.objects.filter(tenant=tenant, is_active=True).select_related("tenant")
    budgets, ways = paged(request, with_usage(active).order_by("scope", "value", "unit", "period"))
    at = now()
    beyond = _beyond(request, budgets)
    asked = RaiseRequest.objects.filter(tenant=tenant, state="pending", expires_at__gt=at).select_related(
        "budget", "requested_by"
    )
    raises = BudgetRaise.objects.filter(budget__tenant=tenant, ends_at__gt=at).select_related(
        "budget", "approved_by"
    )
    pages: Any = admin.site.get_model_admin(Budget)
    add = f"{reverse('admin:billing_budget_add')}?tenant={tenant.pk}"
    return TabContent(
        links=[Link("Add a budget", add, kind="primary")] if pages.has_add_permission(request) else [],
        sections=[
            Section(
                "Budgets",
                {
                    "headers": [
                        "Budget",
                        "Limit",
                        "Used",
                        "Left",
                        "When it is full",
                        "Calls beyond it",
                        "USD beyond it",
                        "Alerts at",
                        "",
                    ],
                    "rows": [_row(request, pages, budget, beyond[budget.pk]) for budget in budgets],
                    "empty": "No budget: every key may spend without end.",
                },
                note=LAST_MONTH if budgets else "",
            ),
            Section(
                "Asked for more",
                {
                    "headers": ["Request", "Budget", "Until", "Asked by", "Reason"],
                    "rows": [_asked(tenant, one) for one in asked.order_by("created_at")[:ASKED_SHOWN]],
                    "empty": "Nobody asks for a raise.",
                },
            ),
            Section(
                "Raises that run or will run",
                {
                    "headers": ["Raise", "Budget", "From", "Until", "Granted by", "Reason"],
                    "rows": [_raise(tenant, one) for one in raises.order_by("ends_at")[:RAISES_SHOWN]],
                    "empty": "No raise runs.",
                },
            ),
        ],
        **ways,
    )


def _beyond(request: HttpRequest, budgets: list[Any]) -> dict[int, Beyond]:
    """What last month's calls were beyond each budget's limit; call by call for the one that is asked for."""
    found = beyond_last_month(budgets)
    asked = request.GET.get(EXACTLY, "")
    for budget in budgets:
        if str(budget.pk) == asked:
            found[budget.pk] = tried(budget, *last_months(budget.tenant.timezone)[0])
    return found


def _row(request: HttpRequest, pages: Any, budget: Any, beyond: Beyond) -> list[Any]:
    limit = budget.limit_amount + budget.raised
    left = max(limit - budget.top_spent - budget.top_held, 0)
    unit = "" if budget.unit == "usd" else f" {budget.unit}"
    return [
        row_link("billing_budget", budget.pk, pages.label(budget)),
        pages.shown_limit(budget),
        cells.progress(used_percent(budget)),
        f"{amount_of(budget.unit, left)}{unit}",
        "refuses" if budget.mode == "hard" else "only tells",
        _calls(request, budget, beyond),
        None if beyond.calls is None else beyond.usd,
        f"{', '.join(map(str, budget.alert_at))} %" if budget.alert_at else cells.NOTHING,
        _verbs(request, pages, budget),
    ]


def _calls(request: HttpRequest, budget: Any, beyond: Beyond) -> Any:
    """How many calls: exactly, or about, with a way to the exact figure."""
    if beyond.is_exact and beyond.calls is not None:
        return beyond.calls
    text = "count them" if beyond.calls is None else f"about {beyond.calls:,}"
    return cells.link(f"?{urlencode({'page': page_number(request), EXACTLY: budget.pk})}", text)


def _verbs(request: HttpRequest, pages: Any, budget: Any) -> SafeString:
    can_raise = pages.has_operate_permission(request, budget) and may_decide(request, budget)
    verb, label = ("raise_until", "Raise…") if can_raise else ("ask_for_raise", "Ask…")
    url = reverse(f"admin:billing_budget_{verb}", args=(budget.pk,))
    return format_html(
        '<a class="text-link" href="{}" hx-get="{}" hx-target="#modal-content" hx-select="#dialog" '
        'x-on:htmx:after-on-load="openModal = true">{}</a>',
        url,
        url,
        label,
    )


def _asked(tenant: Tenant, asked: RaiseRequest) -> list[Any]:
    more = f"+ {amount_of(asked.budget.unit, asked.extra_amount)}"
    return [
        row_link("billing_raiserequest", asked.pk, more),
        str(asked.budget),
        when(asked.ends_at, tenant),
        Truncator(asked.asker).chars(LONGEST_TEXT),
        Truncator(asked.reason).chars(LONGEST_TEXT),
    ]


def _raise(tenant: Tenant, raised: BudgetRaise) -> list[Any]:
    return [
        row_link("billing_budgetraise", raised.pk, f"+ {amount_of(raised.budget.unit, raised.extra_amount)}"),
        str(raised.budget),
        when(raised.starts_at, tenant),
        when(raised.ends_at, tenant),
        raised.approved_by or cells.NOTHING,
        Truncator(raised.reason).chars(LONGEST_TEXT),
    ]
