"""The home page: its sections in their order.

Invariant: a fixed number of statements over days' sums, however much traffic there is, and only tenants that this person may
see. Figures are as old as the last rebuild of the sums: at most a minute or two.
"""

from typing import Any

from django.http import HttpRequest

from billing.planning.forecasts import forecast_total
from config.home import attention, figures, panels, reading, work
from config.home.budgets import month_budgets
from config.home.choices import Choice, choice_of
from tenants.models import Tenant


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the home page's sections to the index page's context."""
    choice = choice_of(request)
    if choice.tenant_ids is not None and not choice.tenant_ids and not choice.bar.chosen("tenant"):
        return context | {"title": "Home", "has_tenants": False}
    found, states = work.accounts(choice)
    days, answers, budgets = reading.days(choice), reading.requests(choice), month_budgets(choice)
    return context | {
        "title": "Home",
        "has_tenants": True,
        "bar": choice.bar,
        "span": choice.span,
        "before": choice.before,
        "needs": attention.needs(request, choice, states),
        "cards": figures.cards(choice, days, answers, budgets, forecast_total(_ids(choice))),
        "spend": panels.spend(choice, budgets),
        "outcomes": panels.outcomes(choice, answers),
        "savings": panels.savings(choice, days),
        "tiers": panels.tiers(choice),
        "tops": panels.tops(choice),
        "providers": work.providers(choice, found, states),
        "batches": work.batches(choice),
    }


def _ids(choice: Choice) -> list[int]:
    if choice.tenant_ids is not None:
        return list(choice.tenant_ids)
    return list(Tenant.objects.values_list("pk", flat=True))
