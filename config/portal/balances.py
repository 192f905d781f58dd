"""What is left of the budgets that limit a person: the figures that admission itself uses, read for a page.

Invariant: only budgets that apply to the person, her keys and her cost centre, or to the whole tenant; a fixed number of queries.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db.models import Q, Sum
from django.utils.timezone import now

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey, load_budgets, windows_for
from billing.models import BudgetRaise, BudgetWindow
from billing.scopes import PREPAID, Dimensions
from config.portal.access import Visitor
from config.site import cells
from tenants.keys.allocating import cost_center_of
from tenants.models import ApiKey, EndUser, Tenant

MOST_KEYS: Final = 50
MOST_SHOWN: Final = 50


def balances_of(visitor: Visitor) -> list[Balance]:
    """The budgets that limit the visitor, the fullest first."""
    at = now()
    return balances_in(visitor.tenant, _windows(visitor, at=at), at=at)[:MOST_SHOWN]


def balances_in(tenant: Tenant, windows: Sequence[WindowKey], *, at: datetime) -> list[Balance]:
    """What is left in each of some windows of a tenant, the fullest first. Two queries."""
    if not windows:
        return []
    ids = {window.budget.id for window in windows}
    counted = {
        (row["budget"], row["subject"], row["starts_at"]): row
        for row in BudgetWindow.objects.filter(
            tenant=tenant,
            budget__in=ids,
            subject__in={window.subject for window in windows},
            starts_at__in={window.starts_at for window in windows},
        )
        .order_by()
        .values("budget", "subject", "starts_at")
        .annotate(all_spent=Sum("spent"), all_held=Sum("held"))
    }
    raises = dict(
        BudgetRaise.objects.filter(budget__in=ids, budget__tenant=tenant, starts_at__lte=at, ends_at__gt=at)
        .order_by()
        .values_list("budget")
        .annotate(extra=Sum("extra_amount"))
    )
    found = [_balance(window, counted, raises.get(window.budget.id)) for window in windows]
    return sorted(found, key=lambda one: -one.used_percent)


def bars(visitor: Visitor, balances: Sequence[Balance], *, link: str = "") -> dict[str, Any]:
    """The budgets as a table of bars, with what is left and when each begins anew."""
    places = places_in(amount for one in balances if one.unit == "usd" for amount in (one.spent, one.limit))
    rows = [
        [
            cells.link(f"{link}{one.budget_id}/", whose(one)) if link else whose(one),
            cells.progress(one.used_percent, label="of the limit is used or held"),
            f"{in_unit(one.unit, one.spent, places=places)} {one.unit_name}",
            f"{in_unit(one.unit, one.limit, places=places)} {one.unit_name}",
            f"{in_unit(one.unit, one.remaining, places=places)} {one.unit_name}",
            cells.moment(one.resets_at, zone=visitor.tenant.timezone) if one.resets_at else "never",
        ]
        for one in balances
    ]
    heads = ["Budget", "Used", "Spent", "Limit", "Left", "Starts anew"]
    return {"headers": heads, "rows": rows, "empty": "No budget limits you."}


def whose(balance: Balance) -> str:
    """ "You, per day" and the like."""
    names = {
        "tenant": "Everybody",
        "user": "You",
        "key": f"Key {balance.subject}",
        PREPAID: "Prepaid balance of everybody",
    }
    who = names.get(balance.scope, f"{balance.scope.replace('_', ' ').capitalize()} {balance.subject}")
    soft = "" if balance.mode == "hard" else ", only watched"
    return f"{who}, {'in total' if balance.period == 'total' else f'per {balance.period}'}{soft}"


def in_unit(unit: str, amount: Decimal, *, places: int | None = None) -> str:
    """An amount of a budget for reading: USD to the cent or as far as it needs, or its column; tokens and requests whole."""
    if unit != "usd":
        return f"{int(amount):,}"
    return f"{amount:,.{cells.places_of([amount]) if places is None else places}f}"


def places_in(amounts: Iterable[Decimal]) -> int:
    """The places of USD amounts that stand below or beside each other."""
    return cells.places_of(list(amounts))


def _windows(visitor: Visitor, *, at: datetime) -> list[WindowKey]:
    budgets = load_budgets(visitor.tenant.pk)
    person, timezone = visitor.person, visitor.tenant.timezone
    user = EndUser.objects.filter(tenant=visitor.tenant, external_id=person).first() if person else None
    own = Dimensions(user=person, cost_center=cost_center_of(visitor.tenant, user))
    windows = list(windows_for(budgets, own, at=at, timezone=timezone))
    of_keys = [budget for budget in budgets if budget.scope == "key"]
    if of_keys and person:
        keys = ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=at), tenant=visitor.tenant, user=person, revoked_at=None
        )
        for name in keys.order_by("name").values_list("name", flat=True)[:MOST_KEYS]:
            windows += windows_for(of_keys, Dimensions(key=name), at=at, timezone=timezone)
    return windows


def _balance(window: WindowKey, counted: dict[Any, Any], extra: Decimal | None) -> Balance:
    row = counted.get((window.budget.id, window.subject, window.starts_at), {})
    return Balance(
        budget_id=window.budget.id,
        scope=window.budget.scope,
        subject=window.subject,
        unit=window.budget.unit,
        period=window.budget.period,
        mode=window.budget.mode,
        limit=window.budget.limit_amount + (extra or 0),
        spent=row.get("all_spent") or Decimal(0),
        held=row.get("all_held") or Decimal(0),
        resets_at=window.ends_at,
    )
