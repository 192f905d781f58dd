"""What a tenant pays for what the list says: markup, discount, fixed prices.

Invariant: pure. The first rule that names a meter (or names none) counts for it, and only that one: rules
never stack. Without a rule the tenant pays the list price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from billing.rating import EXACT, TWELVE_PLACES

HUNDRED = Decimal(100)


class RuleKind(StrEnum):
    """How a rule turns a list price into the tenant's."""

    AS_LISTED = "pass_through"
    MARKUP = "markup_pct"
    DISCOUNT = "discount_pct"
    FIXED = "fixed_unit_price"


@dataclass(frozen=True, slots=True)
class RateRule:
    """One rule. An empty `meter`, `provider` or `model` means every one."""

    kind: RuleKind
    value: Decimal = Decimal(0)
    meter: str = ""
    provider: str = ""
    model: str = ""

    def concerns(self, *, meter: str, provider: str = "", model: str = "") -> bool:
        """Whether the rule is about a meter of a model."""
        return self.meter in ("", meter) and self.provider in ("", provider) and self.model in ("", model)


def unit_price_of(
    list_unit_price: Decimal, rules: Sequence[RateRule], *, meter: str, provider: str = "", model: str = ""
) -> Decimal:
    """The tenant's unit price of a meter, exact."""
    rule = next((rule for rule in rules if rule.concerns(meter=meter, provider=provider, model=model)), None)
    if rule is None or rule.kind == RuleKind.AS_LISTED:
        return list_unit_price
    if rule.kind == RuleKind.FIXED:
        return rule.value
    percent = HUNDRED + rule.value if rule.kind == RuleKind.MARKUP else HUNDRED - rule.value
    return EXACT.divide(EXACT.multiply(list_unit_price, percent), HUNDRED)


def cost_of(list_cost_usd: Decimal, rules: Sequence[RateRule]) -> Decimal:
    """The tenant's share of a list cost whose meters are not told apart, at 12 places."""
    return EXACT.quantize(unit_price_of(list_cost_usd, rules, meter=""), TWELVE_PLACES)
