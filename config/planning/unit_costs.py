"""What one of something costs: a request, an active user's day, an event, an answer that was accepted.

Invariant: days are UTC's last 30, today included; one tenant at a time.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Count, Q, Sum

from billing.admin.figures import count, percent, usd
from billing.planning.unit_costs import EventCost, per, unit_costs
from config.planning.parts import Chosen, Part
from llm.models import Feedback
from tenants.models import Tenant

DAYS: Final = 30
ASK_FOR_ONE: Final = "Unit costs are one tenant's: choose it above."


def parts(chosen: Chosen) -> list[Part]:
    """Cards of the four unit costs, then events one by one."""
    if chosen.tenant is None:
        return [Part("Unit costs", ASK_FOR_ONE)]
    last = chosen.at.date()
    first = last - timedelta(days=DAYS - 1)
    found = unit_costs(chosen.tenant.pk, first=first, last=last)
    rated = _rated(chosen.tenant, first)
    cards = [
        _card("Per request", found.per_request, f"{count(found.requests)} requests"),
        _card(
            "Per active user and day",
            found.per_user_day,
            f"users: {count(found.users)}, their active days: {count(found.user_days)}",
        ),
        _card(
            "Per accepted answer",
            per(rated["usd"] or Decimal(0), rated["accepted"]),
            f"{count(rated['accepted'])} of {count(rated['rated'])} rated answers accepted"
            f" ({percent(rated['accepted'], rated['rated'])})"
            if rated["rated"]
            else "no answer was rated",
        ),
        {"title": "Spent", "value": usd(found.usd), "note": f"{first:%d %b} to {last:%d %b}, UTC days"},
    ]
    return [
        Part(
            "What one costs, last 30 days",
            "Of rated answers: what all of them cost, over those that were accepted.",
            cards=cards,
        ),
        Part(
            "Events of the product",
            "What the tenant posted to /v1/events, and what the calls of the same feature cost since the first of them.",
            table={
                "headers": ["Event", "Feature", "Since", "Events", "Spent, USD", "Per event, USD", "Quantity", "Per unit, USD"],
                "rows": [_event_row(one) for one in found.events],
                "empty": "No event was posted. With POST /v1/events a tenant's product tells what it did.",
            },
        ),
    ]  # fmt: skip


def _card(title: str, amount: Any, note: str) -> dict[str, Any]:
    return {"title": title, "value": usd(amount), "note": note}


def _event_row(one: EventCost) -> list[Any]:
    feature = one.feature or "all of the tenant"
    return [one.name, feature, f"{one.since}", one.events, one.usd, one.per_event, one.quantity, one.per_unit]


def _rated(tenant: Tenant, first: Any) -> dict[str, Any]:
    """Answers that were rated in these days, and what they cost: one statement."""
    rated = Feedback.objects.filter(tenant=tenant, at__date__gte=first)
    return rated.aggregate(
        rated=Count("pk"), accepted=Count("pk", filter=Q(rating=1)), usd=Sum("request__cost_usd")
    )
