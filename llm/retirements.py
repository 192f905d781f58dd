"""Models whose providers will shut them down, and the money that is on them.

Invariant: only what is written down on the model; the money is these tenants' own, of the last days' sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Sum

from billing.models import UsageSum
from llm.models import LanguageModel

USED_DAYS: Final = 30
MOST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model that is served until `day`; `usd` is what was spent on it in the last 30 days."""

    id: int
    model: str
    day: date
    days_left: int
    fallbacks: tuple[str, ...]
    usd: Decimal


def retirements(
    tenant_ids: Sequence[int] | None, *, today: date, within: timedelta | None = None
) -> list[Retirement]:
    """Active models with such a day, the nearest first, those of the past too: two statements. None: all tenants."""
    models = LanguageModel.objects.filter(is_active=True, retires_on__isnull=False)
    if within is not None:
        models = models.filter(retires_on__lte=today + within)
    found = list(models.order_by("retires_on", "name").only("name", "retires_on", "fallbacks")[:MOST_SHOWN])
    if not found:
        return []
    used = UsageSum.objects.filter(
        dimension=UsageSum.Dimension.MODEL,
        value__in=[model.name for model in found],
        day__gte=today - timedelta(days=USED_DAYS),
    )
    if tenant_ids is not None:
        used = used.filter(tenant__in=list(tenant_ids))
    spent = dict(used.order_by().values_list("value").annotate(usd=Sum("billed_cost")))
    return [
        Retirement(
            id=model.pk,
            model=model.name,
            day=model.retires_on,
            days_left=(model.retires_on - today).days,
            fallbacks=tuple(model.fallbacks[:3]),
            usd=spent.get(model.name, Decimal(0)),
        )
        for model in found
        if model.retires_on is not None
    ]
