"""Rate plans: what a tenant pays, given the list price (markup, discount, fixed prices).

Invariant: pure. The first rule that names a meter (or names none) counts for it, and only that one: rules
never stack. Without a rule the tenant pays the list price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase

from billing.money import EXACT, TWELVE_PLACES

HUNDRED = Decimal(100)


class RuleKind(StrEnum):
    """How a rule turns a list price into the tenant's."""

    AS_LISTED = "pass_through"
    MARKUP = "markup_pct"
    DISCOUNT = "discount_pct"
    FIXED = "fixed_unit_price"


@dataclass(frozen=True, slots=True)
class RateRule:
    """One rule. An empty `meter`, `provider`, `model` or `processing` means every one; a model may be a pattern.

    Without `valid_from` it has always counted.
    """

    kind: RuleKind
    value: Decimal = Decimal(0)
    meter: str = ""
    provider: str = ""
    model: str = ""
    processing: str = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None

    def concerns(self, *, meter: str, provider: str = "", model: str = "", processing: str = "") -> bool:
        """Whether the rule is about a meter of a model."""
        return (
            self.meter in ("", meter)
            and self.provider in ("", provider)
            and (not self.model or fnmatchcase(model, self.model))
            and self.processing in ("", processing)
        )

    def holds(self, at: datetime) -> bool:
        """Whether the rule counts at a moment."""
        return (self.valid_from is None or self.valid_from <= at) and (
            self.valid_to is None or at < self.valid_to
        )


def unit_price_of(
    list_unit_price: Decimal,
    rules: Sequence[RateRule],
    *,
    meter: str,
    provider: str = "",
    model: str = "",
    processing: str = "",
) -> Decimal:
    """The tenant's unit price of a meter, exact."""
    about = {"meter": meter, "provider": provider, "model": model, "processing": processing}
    rule = next((rule for rule in rules if rule.concerns(**about)), None)
    if rule is None or rule.kind == RuleKind.AS_LISTED:
        return list_unit_price
    if rule.kind == RuleKind.FIXED:
        return rule.value
    percent = HUNDRED + rule.value if rule.kind == RuleKind.MARKUP else HUNDRED - rule.value
    return EXACT.divide(EXACT.multiply(list_unit_price, percent), HUNDRED)


def cost_of(list_cost_usd: Decimal, rules: Sequence[RateRule]) -> Decimal:
    """The tenant's share of a list cost whose meters are not known separately, at 12 places."""
    return EXACT.quantize(unit_price_of(list_cost_usd, rules, meter=""), TWELVE_PLACES)
