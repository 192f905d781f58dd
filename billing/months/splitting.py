"""Divides shared cost among cost centres.

Invariant: pure and exact. Each rule gives away what it takes, to the ledger's last digit, by the largest remainder; what a rule
cannot give to anybody it does not take. Nothing is divided twice: a rule gives to cost centres, not to other rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from billing.money import EXACT

_PLACES: Final = 12  # of the ledger's amounts
EVEN, PROPORTIONAL, FIXED = "even", "proportional", "fixed"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who shares, and how: cost centres with percentages where they are fixed; none: all that have cost of their own."""

    name: str
    method: str
    shares: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Split:
    """What a rule takes from whom, and gives to whom; both make the same sum."""

    rule: Rule
    taken: Mapping[str, Decimal]
    given: Mapping[str, Decimal]


def split(
    rules: Sequence[Rule], *, shared: Sequence[Mapping[str, Decimal]], own: Mapping[str, Decimal]
) -> list[Split]:
    """Divide what each rule takes (`shared`, by the cost centre that has it); `own` is what no rule takes."""
    made = []
    for rule, taken in zip(rules, shared, strict=True):
        weights = _weights(rule, own) if taken else {}
        if weights:
            pool = sum(taken.values(), start=Decimal(0))
            made.append(Split(rule, dict(sorted(taken.items())), divide(pool, weights)))
    return made


def divide(amount: Decimal, weights: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """An amount in parts that make it, to its last digit; of equal remainders the first name's is served first."""
    names = sorted(weights)
    units = [int(weights[name].scaleb(_PLACES, context=EXACT)) for name in names]
    whole, total = int(amount.scaleb(_PLACES, context=EXACT)), sum(units)
    parts = [divmod(whole * unit, total) for unit in units]
    missing = whole - sum(part for part, _ in parts)
    for place in sorted(range(len(parts)), key=lambda place: -parts[place][1])[:missing]:
        parts[place] = parts[place][0] + 1, 0
    return {
        name: Decimal(part).scaleb(-_PLACES, context=EXACT)
        for name, (part, _) in zip(names, parts, strict=True)
    }


def _weights(rule: Rule, own: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """What each cost centre counts; who has nothing, or was given money, has no share in proportion."""
    if rule.method == FIXED:
        return {name: share for name, share in rule.shares.items() if share > 0}
    names = set(rule.shares) or {name for name in own if name}
    even = dict.fromkeys(names, Decimal(1))
    if rule.method == EVEN:
        return even
    weights = {name: max(own.get(name, Decimal(0)), Decimal(0)) for name in names}
    return weights if any(weights.values()) else even
