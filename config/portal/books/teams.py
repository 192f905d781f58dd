"""Teams: the cost centres of a tenant, who is in them, what they spent this month, and what is left of their budgets.

Invariant: sums of the month and counters of budgets are read, never the ledger; a fixed number of queries, and bounded rows.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.timezone import now

from billing.budgets.balances import Balance
from billing.budgets.windows import load_budgets, windows_for
from billing.models import BillingPeriod, PeriodSum
from billing.scopes import Dimensions
from config.portal.access import Visitor, page
from config.portal.balances import balances_in, in_unit
from config.portal.layout import address, show
from config.site import cells
from tenants.models import EndUser
from tenants.people.rights import Right

MOST_TEAMS: Final = 200
MOST_PEOPLE: Final = 5000
NAMED: Final = 6  # people of a team
BUDGETS_SHOWN: Final = 3  # of a team
SCOPE: Final = "cost_center"
NO_TEAM: Final = "no cost centre"


@page(Right.SEE)
def show_teams(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/teams/`."""
    spent, people = _spent(visitor), _people(visitor)
    names = sorted({*spent, *people}, key=lambda team: (-spent.get(team, Decimal(0)), team))[:MOST_TEAMS]
    balances = _balances(visitor, names)
    whole = sum(spent.values(), start=Decimal(0))
    rows = [
        [
            team or NO_TEAM,
            _who(people.get(team, [])),
            spent.get(team, Decimal(0)),
            f"{100 * spent.get(team, Decimal(0)) / whole:.1f} %" if whole else cells.NOTHING,
            *_budget_cells(visitor, team, balances.get(team, [])),
        ]
        for team in names
    ]
    table = {
        "headers": ["Cost centre", "Who", "This month, USD", "Share", "Budgets", "Used", "Left"],
        "rows": rows,
        "empty": "No user has a cost centre yet, and nothing was spent this month.",
    }
    return show(request, visitor, "teams.html", {"teams": table}, title="Teams")


def _spent(visitor: Visitor) -> dict[str, Decimal]:
    """What each cost centre spent this month, as the month's report has it."""
    month = BillingPeriod.objects.filter(tenant=visitor.tenant, starts_at__lte=now(), ends_at__gt=now())
    sums = PeriodSum.objects.filter(
        tenant=visitor.tenant, period_id__in=month.values("pk"), dimension=SCOPE
    ).exclude(records=0)
    dearest = sums.order_by("-billed_cost_usd", "value").values_list("value", "billed_cost_usd")
    return dict(dearest[:MOST_TEAMS])


def _people(visitor: Visitor) -> dict[str, list[str]]:
    """Who is in each cost centre."""
    found: dict[str, list[str]] = {}
    declared = EndUser.objects.filter(tenant=visitor.tenant, is_active=True).exclude(cost_center="")
    for team, user in declared.order_by("cost_center", "external_id").values_list(
        "cost_center", "external_id"
    )[:MOST_PEOPLE]:
        found.setdefault(team, []).append(user)
    return found


def _who(people: Sequence[str]) -> str:
    if not people:
        return cells.NOTHING
    more = f" and {len(people) - NAMED:,} more" if len(people) > NAMED else ""
    return ", ".join(people[:NAMED]) + more


def _balances(visitor: Visitor, names: Sequence[str]) -> dict[str, list[Balance]]:
    """What is left of the budgets of each team, the fullest first."""
    at, tenant = now(), visitor.tenant
    budgets = [budget for budget in load_budgets(tenant.pk) if budget.scope == SCOPE]
    windows = [
        window
        for team in names
        for window in windows_for(budgets, Dimensions(cost_center=team), at=at, timezone=tenant.timezone)
    ]
    found: dict[str, list[Balance]] = {}
    for balance in balances_in(tenant, windows, at=at):
        found.setdefault(balance.subject, []).append(balance)
    return found


def _budget_cells(visitor: Visitor, team: str, balances: Sequence[Balance]) -> list[Any]:
    """A team's budgets, a line each: the limit with a link, how much of it is used, and what is left."""
    if not balances:
        return [_offer(visitor, team), cells.NOTHING, cells.NOTHING]
    shown = balances[:BUDGETS_SHOWN]
    limits = [
        cells.link(
            address(visitor, "budget", budget_id=one.budget_id), f"{_amount(one, one.limit)} {_when(one)}"
        )
        for one in shown
    ]
    if len(balances) > BUDGETS_SHOWN:
        limits.append(format_html('<a href="{}">all {}</a>', address(visitor, "budgets"), len(balances)))
    return [
        cells.lines(limits),
        cells.lines(
            [cells.progress(one.used_percent, label="of the limit is used or held") for one in shown]
        ),
        cells.lines([_amount(one, one.remaining) for one in shown]),
    ]


def _offer(visitor: Visitor, team: str) -> Any:
    """The way to a budget for a team that has none."""
    if not visitor.may_configure or not team:
        return cells.NOTHING
    query = urlencode({"scope": SCOPE, "value": team})
    return cells.link(f"{address(visitor, 'add_budget')}?{query}", "Set one")


def _amount(balance: Balance, amount: Decimal) -> str:
    return f"{in_unit(balance.unit, amount)} {balance.unit_name}"


def _when(balance: Balance) -> str:
    watched = "" if balance.mode == "hard" else ", only watched"
    return f"{'in total' if balance.period == 'total' else f'per {balance.period}'}{watched}"
