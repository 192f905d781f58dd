"""Budget pressure: how the tenant's own thresholds lower a tier while its tightest budget runs out.

Invariant: pressure only ever lowers a tier, and says at which share of the budget it did.
"""

from collections.abc import Iterable

from config.values import value_type
from llm.catalog.catalog import TIERS
from tenants.policy import PressureRule


@value_type
class Pressed:
    """The tier after pressure, and the sentence that explains it (empty where nothing changed)."""

    tier: str
    why: str = ""


def press(
    tier: str, *, rules: Iterable[PressureRule], used_percent: float | None, is_named: bool = False
) -> Pressed:
    """Apply every rule whose share is reached, mildest first. A named model moves only where a rule says
    so."""
    if used_percent is None:
        return Pressed(tier)
    lowered, why = tier, ""
    for rule in sorted(rules, key=lambda rule: rule.at_percent):
        if used_percent < rule.at_percent or (is_named and not rule.applies_to_named):
            continue
        ceiling = rule.only or _below(rule.demote or "", tier=lowered)
        if ceiling and TIERS.index(ceiling) < TIERS.index(lowered):
            lowered = ceiling
            why = f"budget {used_percent:.0f}% used, past {rule.at_percent}%: {tier} work goes to {lowered}"
    return Pressed(lowered, why)


def _below(demoted: str, *, tier: str) -> str:
    """The tier under the demoted one when this is its work, else nothing."""
    if demoted != tier or tier == TIERS[0]:
        return ""
    return TIERS[TIERS.index(tier) - 1]
