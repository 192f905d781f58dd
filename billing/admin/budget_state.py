"""What a budget has now: its limit with the raises, what is used, held and left, and its windows.

Invariant: windows are only read here; what is shown as used is what admission counts with.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, DecimalField, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.timezone import now

from billing.admin.figures import plain
from billing.budgets.windows import span
from billing.models import Budget, BudgetRaise, BudgetWindow, RaiseRequest
from config.site import cells

AMOUNT = DecimalField(max_digits=28, decimal_places=12)
WINDOWS_SHOWN = 20
RAISES_SHOWN = 10


def with_usage(budgets: QuerySet[Budget]) -> QuerySet[Budget]:
    """Add what each budget has left now: `raised`, and of its fullest current window `top_*`; no query per row."""
    at = now()
    current = BudgetWindow.objects.filter(budget=OuterRef("pk"), starts_at__lte=at).filter(
        Q(ends_at=None) | Q(ends_at__gt=at)
    )
    # a window may be in shards: their sum is what counts
    whole = current.order_by().values("subject", "starts_at")
    whole = whole.annotate(all_spent=Sum("spent"), all_held=Sum("held"))
    fullest = whole.order_by("-all_spent", "-all_held", "subject")
    raises = BudgetRaise.objects.filter(budget=OuterRef("pk"), starts_at__lte=at, ends_at__gt=at).order_by()
    zero = Value(Decimal(0), output_field=AMOUNT)
    return budgets.annotate(
        raised=Coalesce(
            Subquery(
                raises.values("budget").annotate(total=Sum("extra_amount")).values("total"),
                output_field=AMOUNT,
            ),
            zero,
        ),
        top_subject=Subquery(fullest.values("subject")[:1]),
        top_spent=Coalesce(Subquery(fullest.values("all_spent")[:1], output_field=AMOUNT), zero),
        top_held=Coalesce(Subquery(fullest.values("all_held")[:1], output_field=AMOUNT), zero),
        window_count=Coalesce(
            Subquery(
                current.filter(shard=0)
                .order_by()
                .values("budget")
                .annotate(total=Count("pk"))
                .values("total")
            ),
            Value(0),
        ),
    )


def used_percent(budget: Any) -> Decimal:
    """Return the share of the fullest window that is spent or held, in percent."""
    limit = budget.limit_amount + budget.raised
    return (
        (budget.top_spent + budget.top_held) * 100 / limit
        if limit
        else Decimal(100 if budget.top_spent else 0)
    )


def state_of(budget: Any) -> dict[str, Any]:
    """The figures of a budget from `with_usage`, its raises and who asks for one."""
    at, unit = now(), budget.get_unit_display()
    limit = budget.limit_amount + budget.raised
    raises = budget.raises.select_related("approved_by").order_by("-ends_at")[:RAISES_SHOWN]
    asked = budget.raise_requests.filter(state=RaiseRequest.State.PENDING, expires_at__gt=at)
    whose = f" of {budget.top_subject}" if budget.top_subject else ""
    raised = f" + {plain(budget.raised)} raised" if budget.raised else ""
    return {
        "bar": cells.progress(used_percent(budget), label="of the limit is used or held"),
        "facts": [
            (
                "Limit now",
                f"{plain(limit)} {unit} per {budget.period}"
                if budget.period != "total"
                else f"{plain(limit)} {unit}",
            ),
            ("Made of", f"{plain(budget.limit_amount)}{raised} {unit}"),
            (f"Spent{whose}", f"{plain(budget.top_spent)} {unit}"),
            ("Held", f"{plain(budget.top_held)} {unit}"),
            ("Left", f"{plain(limit - budget.top_spent - budget.top_held)} {unit}"),
        ],
        "raises": {
            "headers": ["Raise", "Until", "State", "Reason", "Granted by", ""],
            "rows": [_raise_row(one, unit=unit, zone=budget.tenant.timezone, at=at) for one in raises],
        }
        if raises
        else None,
        "asked": asked.count(),
        "asked_url": f"{reverse('admin:billing_raiserequest_changelist')}?tenant__id__exact={budget.tenant_id}",
    }


def windows_of(budget: Any) -> dict[str, Any]:
    """The current windows of a budget as a table, the fullest first."""
    at = now()
    current = (
        BudgetWindow.objects.filter(budget=budget, starts_at__lte=at)
        .filter(Q(ends_at=None) | Q(ends_at__gt=at))
        .order_by()
        .values("subject", "starts_at", "ends_at")
        .annotate(all_spent=Sum("spent"), all_held=Sum("held"), all_overrun=Sum("overrun"))
        .order_by("-all_spent", "-all_held", "subject")[:WINDOWS_SHOWN]
    )
    limit = budget.limit_amount + budget.raised
    rows = [
        [
            window["subject"] or cells.NOTHING,
            cells.moment(window["starts_at"], zone=budget.tenant.timezone),
            cells.moment(window["ends_at"], zone=budget.tenant.timezone)
            if window["ends_at"]
            else cells.NOTHING,
            *(
                in_unit(budget.unit, amount)
                for amount in (
                    window["all_spent"],
                    window["all_held"],
                    limit - window["all_spent"] - window["all_held"],
                    window["all_overrun"],
                )
            ),
        ]
        for window in current
    ]
    unit = budget.get_unit_display()
    heads = ["Whose", "From", "Until", *(f"{name}, {unit}" for name in ("Spent", "Held", "Left", "Overrun"))]
    return {"headers": heads, "rows": rows, "empty": "Nothing was admitted yet in this period."}


def usual_end(budget: Budget) -> datetime:
    """Until when a raise is usually needed: the end of the running period, or a day."""
    at = now()
    _, end = span(budget.period, at=at, timezone=budget.tenant.timezone)
    return (end or at + timedelta(days=1)).astimezone(UTC)


def _raise_row(raised: BudgetRaise, *, unit: str, zone: str, at: datetime) -> list[Any]:
    is_running = raised.starts_at <= at < raised.ends_at
    page = reverse("admin:billing_budgetraise_change", args=(raised.pk,))
    return [
        f"+ {plain(raised.extra_amount)} {unit}",
        cells.moment(raised.ends_at, zone=zone),
        "running" if is_running else "over",
        raised.reason,
        raised.approved_by or cells.NOTHING,
        cells.link(page, "End it" if is_running else "Open"),
    ]


def in_unit(unit: str, amount: Decimal) -> Decimal | int:
    """An amount for a column of figures: USD as a Decimal, tokens and requests as whole numbers."""
    return amount if unit == "usd" else int(amount)
