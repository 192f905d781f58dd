"""What routing decided and why: the value the pipeline acts on and the receipt shows.

Invariant: a decision can be checked later from its own facts, including the models it did not take; it holds no
text.
"""

from decimal import Decimal
from typing import Any

from config.values import value_type
from llm.providers.target import Target
from llm.routing.signals import Score


@value_type
class Considered:
    """One model that was considered: what this request would cost there, and why it was not eligible (empty if
    it was)."""

    target: Target
    cost_usd: Decimal | None
    rejected: str = ""


@value_type
class Step:
    """One rule that spoke: its name, what it decided, and why."""

    rule: str
    tier: str
    detail: str


@value_type
class Route:
    """The model that serves the request, the order in which others may take over, and how it came about.

    `max_tokens` is what the client asked for, else the model's maximum or, for `auto`, the tier's default: never more than
    fits the chosen model.
    """

    tier: str
    target: Target
    reason: str
    max_tokens: int
    fallbacks: tuple[Target, ...] = ()
    considered: tuple[Considered, ...] = ()
    steps: tuple[Step, ...] = ()
    score: Score | None = None
    tier_without_pressure: str = ""

    @property
    def model(self) -> str:
        """The name of the chosen model, as clients use it."""
        return self.target.model

    def to_receipt(self) -> dict[str, Any]:
        """The decision as JSON: signals with weights, every model considered with its cost, every rule that
        spoke."""
        receipt: dict[str, Any] = {
            "tier": self.tier,
            "model": self.model,
            "provider": self.target.provider,
            "reason": self.reason,
            "max_tokens": self.max_tokens,
            "fallbacks": [target.model for target in self.fallbacks],
            "steps": [{"rule": step.rule, "tier": step.tier, "detail": step.detail} for step in self.steps],
            "considered": [
                {
                    "model": one.target.model,
                    "tier": one.target.tier,
                    "expected_cost_usd": None if one.cost_usd is None else format(one.cost_usd, "f"),
                    "rejected": one.rejected,
                }
                for one in self.considered
            ],
        }
        if self.tier_without_pressure:
            receipt["tier_without_pressure"] = self.tier_without_pressure
        if self.score is not None:
            receipt["score"] = {
                "value": round(self.score.value, 3),
                "source": self.score.source,
                "signals": [
                    {
                        "name": signal.name,
                        "value": signal.value,
                        "weight": round(signal.weight, 4),
                        "contribution": round(signal.contribution, 4),
                    }
                    for signal in self.score.signals
                ],
            }
        return receipt
