"""What a change of a budget would have done with the calls of last month and of this one, shown before it is saved.

Invariant: reads only.
"""

from decimal import Decimal
from typing import Any, Final

from billing.admin.figures import plain, usd
from billing.budgets.replays import Replay, last_months, replay
from billing.models import Budget
from config.site import cells

COUNTED: Final = frozenset({"limit_amount", "mode", "is_active", "scope", "value", "unit", "period"})


def needs_preview(form: Any) -> bool:
    """Whether a budget would admit other calls than before."""
    return bool(COUNTED & set(form.changed_data))


def effect_of(budget: Budget, *, former: Budget | None) -> dict[str, Any]:
    """What the budget would have refused, beside what the one that is stored would have."""
    zone, times = budget.tenant.timezone, last_months(budget.tenant.timezone)
    kinds = [("With the change", budget)] + ([("As it is now", former)] if former else [])
    rows, found = [], []
    for name, one in kinds:
        for first, until in times:
            tried = replay(one, limit=one.limit_amount, first=first, until=until)
            found.append(tried)
            local = first.astimezone(cells.zone_of(zone))
            rows.append([f"{name}, {local:%B}", tried.calls, tried.usd, tried.subjects])
    changed = found[: len(times)]
    return {
        "change": f"{former} becomes {_limit(budget)}" if former else f"{budget}",
        "meaning": _meaning(budget, changed),
        "tables": [
            {
                "headers": ["", "Calls refused", "USD refused", "Whose (how many)"],
                "rows": rows,
                "caption": "What it would have refused",
            },
            *_worst(changed),
        ],
        "verb": "Save this budget",
        "note": f"{changed[0].note} A call whose answer could have been shorter would have got a shorter one instead. "
        f"Raises are not counted; months of {zone}, the running one so far.",
    }


def _limit(budget: Budget) -> str:
    return f"{plain(budget.limit_amount)} {budget.get_unit_display()}"


def _meaning(budget: Budget, tried: list[Replay]) -> str:
    calls, amount = sum(one.calls for one in tried), sum((one.usd for one in tried), start=Decimal(0))
    if not budget.is_active:
        return "The budget is switched off: it refuses nothing, and tells nobody."
    if budget.mode != Budget.Mode.HARD:
        return f"It only tells, and refuses nothing. Calls above it: {calls:,}."
    if not calls:
        return "It would have refused nothing."
    return f"It would have refused {calls:,} of the calls that were made, for {usd(amount)}."


def _worst(tried: list[Replay]) -> list[dict[str, Any]]:
    last = next((one for one in tried if one.calls), tried[-1])
    rows = [[one.subject or "the tenant's", one.calls, one.usd, one.first_at] for one in last.worst]
    heads = ["Whose", "Calls refused", "USD refused", "First at"]
    return [{"headers": heads, "rows": rows, "caption": "Whose calls"}] if rows else []
