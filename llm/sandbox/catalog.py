"""Owns which models the sandbox offers and what it charges for them.

Invariant: prices are exact decimals per million tokens; a model it does not know by name is charged as its
family.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

MILLION = 1_000_000
CREATED = 1_735_689_600


@dataclass(frozen=True, slots=True)
class Offer:
    """A model's owner and its price in USD per million tokens by class."""

    owner: str
    input: Decimal
    cache_read: Decimal
    output: Decimal

    def price(self, meter: str, *, is_batch: bool) -> Decimal:
        """USD per million of a meter; batches cost half."""
        prices = {
            "input": self.input,
            "cache_read": self.cache_read,
            "cache_write_5m": self.input * Decimal("1.25"),
            "cache_write_1h": self.input * 2,
            "output": self.output,
        }
        return prices[meter] / 2 if is_batch else prices[meter]

    @property
    def has_prompt_cache(self) -> bool:
        """Whether a cached token is cheaper; older models have no cache."""
        return self.cache_read < self.input


def _offer(owner: str, input_usd: str, cache_read_usd: str, output_usd: str) -> Offer:
    return Offer(owner, Decimal(input_usd), Decimal(cache_read_usd), Decimal(output_usd))


OFFERS = {
    "gpt-4.1-nano": _offer("openai", "0.10", "0.025", "0.40"),
    "gpt-4.1-mini": _offer("openai", "0.40", "0.10", "1.60"),
    "gpt-4.1": _offer("openai", "2.00", "0.50", "8.00"),
    "gpt-4o-mini": _offer("openai", "0.15", "0.075", "0.60"),
    "gpt-4o": _offer("openai", "2.50", "1.25", "10.00"),
    "gpt-4-turbo": _offer("openai", "10.00", "10.00", "30.00"),
    "gpt-3.5-turbo": _offer("openai", "0.50", "0.50", "1.50"),
    "gpt-5-nano": _offer("openai", "0.05", "0.005", "0.40"),
    "gpt-5-mini": _offer("openai", "0.25", "0.025", "2.00"),
    "gpt-5": _offer("openai", "1.25", "0.125", "10.00"),
    "o4-mini": _offer("openai", "1.10", "0.275", "4.40"),
    "o3": _offer("openai", "2.00", "0.50", "8.00"),
    "text-embedding-3-small": _offer("openai", "0.02", "0.02", "0"),
    "text-embedding-3-large": _offer("openai", "0.13", "0.13", "0"),
    "text-embedding-ada-002": _offer("openai", "0.10", "0.10", "0"),
    "claude-haiku-4-5": _offer("anthropic", "1.00", "0.10", "5.00"),
    "claude-sonnet-4-5": _offer("anthropic", "3.00", "0.30", "15.00"),
    "claude-opus-4-5": _offer("anthropic", "5.00", "0.50", "25.00"),
}
DATE_SUFFIX = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
REASONING = re.compile(r"^(o\d|gpt-5(?!.*chat))")
CONTEXT_WINDOWS = (
    ("gpt-4.1", 1_047_576),
    ("gpt-5", 400_000),
    ("gpt-3.5", 16_385),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("claude", 200_000),
    ("o", 200_000),
)
OUTPUT_LIMITS = (
    ("gpt-4.1", 32_768),
    ("gpt-5", 128_000),
    ("gpt-3.5", 4_096),
    ("gpt-4o", 16_384),
    ("gpt-4-turbo", 4_096),
    ("claude", 64_000),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4", 100_000),
)
FORCED_TOOLS_REFUSED = re.compile(r"^claude-fable")
DEFAULT_CONTEXT_WINDOW = 1_047_576
EFFORT_TOKENS = {"none": 0, "minimal": 0, "low": 64, "medium": 192, "high": 512, "xhigh": 1_024}


def is_offered(model: str) -> bool:
    """Whether the model, or the model of a dated name, is in the catalogue."""
    return DATE_SUFFIX.sub("", model) in OFFERS


def offer_of(model: str) -> Offer:
    """The offer of a model; an unknown one is charged like the model whose name begins alike."""
    name = DATE_SUFFIX.sub("", model)
    if name in OFFERS:
        return OFFERS[name]
    family = max((known for known in OFFERS if name.startswith(known)), key=len, default="")
    if not family:
        family = "claude-sonnet-4-5" if name.startswith("claude") else "gpt-4o-mini"
    return OFFERS[family]


def cost_usd(model: str, billed: dict[str, int], *, is_batch: bool) -> dict[str, Decimal]:
    """What each meter of a call costs."""
    offer = offer_of(model)
    return {
        meter: tokens * offer.price(meter, is_batch=is_batch) / MILLION for meter, tokens in billed.items()
    }


def context_window_of(model: str) -> int:
    """How many tokens a prompt may have."""
    return next(
        (window for prefix, window in CONTEXT_WINDOWS if model.startswith(prefix)), DEFAULT_CONTEXT_WINDOW
    )


def most_output_tokens_of(model: str) -> int:
    """How much an answer may have; 0 where it is not known."""
    return next((limit for prefix, limit in OUTPUT_LIMITS if model.startswith(prefix)), 0)


def is_reasoning(model: str) -> bool:
    """Whether the model thinks before it answers, and so takes some parameters and not others."""
    return REASONING.match(model) is not None


def refuses_forced_tools(model: str) -> bool:
    """Whether the model cannot be made to call a tool."""
    return FORCED_TOOLS_REFUSED.match(model) is not None


def reasoning_tokens_of(model: str, effort: object) -> int:
    """How many tokens a reasoning model thinks before it answers; 0 for the others."""
    if not REASONING.match(model):
        return 0
    return EFFORT_TOKENS.get(effort if isinstance(effort, str) else "low", 64)
