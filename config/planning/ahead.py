"""What changes ahead: prices from a day to come and models that will be shut down, with the money on them.

Invariant: only what is written down here already; the money is the last 30 days' usage.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.urls import reverse

from billing.planning.price_changes import USED_DAYS, PriceAhead, prices_ahead
from config.planning.parts import Chosen, Part
from config.site import cells
from llm.retirements import retirements

PRICES_WITHIN: Final = timedelta(days=366)


def parts(chosen: Chosen) -> list[Part]:
    """Models first, because their day cannot be moved."""
    return [_models(chosen), _prices(chosen)]


def _models(chosen: Chosen) -> Part:
    rows = [
        [
            cells.link(reverse("admin:llm_languagemodel_change", args=(one.id,)), one.model)
            if chosen.is_operator
            else one.model,
            f"{one.day}",
            _left(one.days_left),
            one.usd,
            ", ".join(one.fallbacks) or "none",
        ]
        for one in retirements(chosen.tenant_ids, today=chosen.at.date())
    ]
    return Part(
        "Models that will be shut down",
        "The day stands on the model's page, or as “retires” in the configuration file.",
        table={
            "headers": ["Model", "Shut down on", "Left", "Spent in 30 days, USD", "Fallbacks"],
            "rows": rows,
            "empty": "No model has such a day.",
        },
    )


def _prices(chosen: Chosen) -> Part:
    found = prices_ahead(chosen.tenant_ids, at=chosen.at, within=PRICES_WITHIN)
    known = [one.difference_usd for one in found if one.difference_usd is not None]
    total = sum(known, Decimal(0))
    text = f"The usage of the last {USED_DAYS} days at the new prices, against the old ones."
    if known:
        text += f" Together {'+' if total >= 0 else '-'}{abs(total):,.2f} USD for 30 days."
    return Part(
        "Prices that change",
        text,
        table={
            "headers": ["From", "Model", "Meter", "Now, USD", "Then, USD", "Per", "Tokens, 30 d", "At the new, USD", "More, USD"],
            "rows": [_price_row(one) for one in found],
            "empty": "No price in the table begins on a day to come.",
        },
    )  # fmt: skip


def _price_row(one: PriceAhead) -> list[Any]:
    meter = one.meter if one.processing == "online" else f"{one.meter}, {one.processing}"
    return [
        f"{one.valid_from:%Y-%m-%d}",
        f"{one.provider}/{one.model}",
        meter if one.book == "list" else f"{meter}, contract",
        _exact(one.old_price),
        _exact(one.unit_price),
        one.per,
        None if one.tokens is None else int(one.tokens),
        one.usd,
        one.difference_usd,
    ]


def _exact(price: Decimal | None) -> str | None:
    """A price is never rounded."""
    return (
        None
        if price is None
        else f"{price.normalize():.2f}"
        if price == round(price, 2)
        else f"{price.normalize():f}"
    )


def _left(days: int) -> str:
    if days < 0:
        return f"over for {-days} days"
    return "1 day" if days == 1 else f"{days} days"
