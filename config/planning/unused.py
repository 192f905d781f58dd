"""What nobody uses: users without a call, and budgets that are larger than they need to be.

Invariant: suggestions; whoever follows one does so on the page that owns the thing.
"""

from typing import Any

from django.urls import reverse

from billing.admin.figures import amount_of
from billing.planning.unused import UNUSED_DAYS, IdleBudget, idle_budgets, unused_users
from config.planning.parts import Chosen, Part, budget_name
from config.site import cells


def parts(chosen: Chosen) -> list[Part]:
    """Budgets first: they are a decision, users are a list."""
    if chosen.tenant is None:
        return [Part("What nobody uses", "This is one tenant's: choose it above.")]
    idle = idle_budgets(chosen.tenant.pk, at=chosen.at)
    users, total = unused_users(chosen.tenant.pk, at=chosen.at)
    return [
        Part(
            "Budgets that are never near their limit",
            "Of the last months, weeks or days not one used a quarter of it. Suggested is twice the most that was used.",
            table={
                "headers": ["Budget", "Limit", "The most used", "Share", "Looked at", "Suggested"],
                "rows": [_budget_row(one) for one in idle],
                "empty": "Every budget is used, or too young to say.",
            },
        ),
        Part(
            f"Users without a request in {UNUSED_DAYS} days",
            table={
                "headers": ["User", "Name", "Cost centre"],
                "rows": [
                    [
                        cells.link(reverse("admin:tenants_enduser_change", args=(one.id,)), one.external_id),
                        one.name,
                        one.cost_center,
                    ]
                    for one in users
                ],
                "empty": "Every user has asked something.",
                "more": f"And {total - len(users):,} more." if total > len(users) else "",
            },
        ),
    ]


def _budget_row(one: IdleBudget) -> list[Any]:
    return [
        cells.link(
            reverse("admin:billing_budget_change", args=(one.id,)),
            budget_name(one.scope, one.value, one.unit, one.period),
        ),
        amount_of(one.unit, one.limit),
        amount_of(one.unit, one.most_spent),
        f"{one.used_percent} %",
        f"{one.windows} {one.period}s",
        amount_of(one.unit, one.suggested),
    ]
