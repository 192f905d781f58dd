"""The first page: what was spent today and this month, and what is left of the budgets.

Invariant: reads only; a member sees her own figures, an owner and finance those of the tenant.
"""

from django.http import HttpRequest, HttpResponse

from billing.admin.figures import usd
from config.portal.access import Visitor, page
from config.portal.balances import balances_of, bars
from config.portal.charts import columns
from config.portal.layout import address, show
from config.portal.spending import Spent, days_of


@page()
def show_home(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/`."""
    days = days_of(visitor)
    context = {
        "cards": _cards(visitor, days.of_today(), days.of_month()),
        "budgets": bars(visitor, balances_of(visitor), link=address(visitor, "budgets")),
        "days": columns(days.last(), label="USD by day (UTC)"),
        "summed_at": days.summed_at,
    }
    return show(request, visitor, "home.html", context, title="Home")


def _cards(visitor: Visitor, today: Spent, month: Spent) -> list[dict[str, str]]:
    whose = "everybody" if visitor.reads_all else "you"
    return [
        {
            "title": "Spent today",
            "value": usd(today.cost_usd),
            "note": f"by {whose}, {today.requests:,} requests",
        },
        {
            "title": "Spent this month",
            "value": usd(month.cost_usd),
            "note": f"by {whose}, {month.requests:,} requests",
        },
        {"title": "Saved this month", "value": usd(month.saved_usd), "note": "against list prices"},
        {"title": "Tokens this month", "value": f"{month.tokens:,}", "note": "in and out"},
    ]
