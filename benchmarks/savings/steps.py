"""The steps by which a tenant goes from paying for everything to paying for what is left, as policies.

Invariant: each step is the one before it and one more switch; every tenant of a market may use the same models. What is not
named here has the product's default.
"""

from dataclasses import dataclass
from typing import Any

NOTHING: dict[str, Any] = {
    "cache": {"exact": False, "semantic": "off", "provider_marks": False, "single_flight_seconds": 0},
    "compression": {"enabled": False},
}
EXACT = {"exact": True, "semantic": "off", "provider_marks": False}
BOUND = 0.02
SEMANTIC = {"exact": True, "semantic": "bounded", "max_error_rate": BOUND, "provider_marks": False}
STATIC_THRESHOLD = 0.90
STATIC = {"exact": True, "semantic": "static", "threshold": STATIC_THRESHOLD}
EVERYTHING = {"cache": SEMANTIC | {"provider_marks": True}, "compression": {"enabled": True}}
DEFERRED = EVERYTHING | {"deferred": {"max_age_seconds": 5}}
TIER_OF_KIND = {"simple": "simple", "moderate": "standard", "complex": "complex"}


@dataclass(frozen=True, slots=True)
class Market:
    """The models that the tenants of a comparison may use, from list prices."""

    name: str
    title: str
    premium: str
    standard: str = "gpt-4o-mini"
    simple: str = "gpt-4.1-nano"

    @property
    def models(self) -> dict[str, str]:
        """The tier of each model."""
        return {self.premium: "complex", self.standard: "standard", self.simple: "simple"}


MARKETS = (
    Market("sources", "the sources' premium model", premium="gpt-4-turbo"),
    Market("today", "a premium model of today", premium="gpt-4o"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the day: what is asked for, by which policy, whether the provider caches prompts in it, and whether calls
    that may wait are deferred."""

    name: str
    title: str
    policy: dict[str, Any]
    asks_for: str = "auto"  # premium | auto | tier: that of the kind of work
    has_provider_cache: bool = False
    default_tier: str = "standard"
    defers: bool = False  # calls that may wait say so

    def model(self, market: Market, kind: str) -> str:
        """What a request of a kind of work names."""
        if self.asks_for == "tier":
            return f"auto:{TIER_OF_KIND[kind]}"
        return market.premium if self.asks_for == "premium" else "auto"

    def policy_in(self, market: Market) -> dict[str, Any]:
        """The tenant's policy. Its baseline is the premium model, as it would be without us."""
        routing = {"enabled": True, "default_tier": self.default_tier, "baseline_model": market.premium}
        return self.policy | {"routing": routing}


STEPS = (
    Step("premium", "every call at the premium model", NOTHING, asks_for="premium"),
    Step("routing", "+ routing (`auto`)", NOTHING),
    Step("exact", "+ exact cache", NOTHING | {"cache": EXACT}),
    Step("semantic", f"+ semantic cache (bound {BOUND:.0%})", NOTHING | {"cache": SEMANTIC}),
    Step("compression", "+ compression", {"cache": SEMANTIC, "compression": {"enabled": True}}),
    Step("all", "+ the provider's prompt cache", EVERYTHING, has_provider_cache=True),
    Step(
        "deferred",
        "+ a third of the calls may wait (batches)",
        DEFERRED,
        has_provider_cache=True,
        defers=True,
    ),
)
# In the second market only the two ends are run.
ENDS = (STEPS[0], STEPS[-1])
# What else a tenant may choose, with everything on.
CHOICES = (
    Step(
        "declared",
        "the applications declare the tier (`auto:simple`, ...)",
        EVERYTHING,
        asks_for="tier",
        has_provider_cache=True,
    ),
    Step(
        "careful",
        "what is not surely simple stays at the premium model (`default_tier: complex`)",
        EVERYTHING,
        has_provider_cache=True,
        default_tier="complex",
    ),
    Step(
        "static",
        f"a static threshold of {STATIC_THRESHOLD:.2f} instead of the bound",
        EVERYTHING | {"cache": STATIC},
        has_provider_cache=True,
    ),
)


def runs() -> list[tuple[Market, Step]]:
    """Every run, in order."""
    first, second = MARKETS
    return [*((first, step) for step in (*STEPS, *CHOICES)), *((second, step) for step in ENDS)]


def tenant_of(market: Market, step: Step) -> str:
    """The slug of the run's tenant."""
    return f"{market.name}-{step.name}"


def key_of(market: Market, step: Step) -> str:
    """The secret of its one key: an application's, that names no users."""
    return f"key-of-bench-savings-{tenant_of(market, step)}-0123456789"


def configuration(sandbox_url: str, prices: dict[str, list[dict[str, str]]]) -> dict[str, Any]:
    """The configuration file of all tenants. `prices` are list prices by model."""
    models = {name: tier for market in MARKETS for name, tier in market.models.items()}
    return {
        "providers": [
            {"name": "openai", "kind": "openai", "base_url": f"{sandbox_url}/v1", "api_key": "sk-bench"}
        ],
        "models": [
            {
                "name": name,
                "provider": "openai",
                "tier": tier,
                "context_window": 128_000,
                "max_output_tokens": 4_096,
                "capabilities": ["tools", "json_schema"],
                "prices": prices[name],
            }
            for name, tier in models.items()
        ],
        "tenants": [
            {
                "slug": tenant_of(market, step),
                "policy": step.policy_in(market),
                "keys": [
                    {"name": "app", "secret": key_of(market, step), "models": list(market.models)},
                ],
                "budgets": [
                    {"scope": "tenant", "unit": "usd", "period": "month", "limit": "1000000", "mode": "hard"}
                ],
            }
            for market, step in runs()
        ],
    }
