"""How long an answer may be: the limit that goes out with a request, and who set it.

Invariant: pure. Our own limit never cuts what the client would have got: where it sends none, a named model gets its
own maximum. The tiers' defaults are for `auto`, and for tenants whose policy asks for them.
"""

from typing import Final, Literal, Protocol

from config.values import value_type
from llm.providers.target import Target
from tenants.policy import Policy

SetBy = Literal["client", "model", "window", "account", "tier", "budget", "provider", "share"]

# for a kind that needs a limit, where none is declared: every model writes so much
LEAST_MAXIMUM: Final = 4096
LEAST_NEED: Final = 256


class OutputFacts(Protocol):
    """What a request says about its output; routing's facts do."""

    @property
    def max_output_tokens(self) -> int | None: ...
    @property
    def is_automatic(self) -> bool: ...


@value_type
class OutputLimit:
    """`sent` goes out with the request, None leaves it to the provider; no answer is longer than `most` tokens."""

    sent: int | None
    most: int
    set_by: SetBy

    @property
    def is_ours(self) -> bool:
        return self.set_by != "client"


def limit_for(
    target: Target,
    *,
    facts: OutputFacts,
    policy: Policy,
    input_tokens: int,
    api: str = "",
    is_maximum_raised: bool = False,
) -> OutputLimit:
    """The limit for a request at a target. `input_tokens` leans upwards: where they seem to fill the window it bounds
    nothing. `is_maximum_raised` is a request that asks its provider for more than the model's usual maximum."""
    if target.model_kind != "chat":
        return OutputLimit(None, 0, "model")
    if (asked := facts.max_output_tokens) is not None:
        if is_maximum_raised or asked <= target.output_bound:
            return OutputLimit(asked, asked, "client")
        return OutputLimit(target.output_bound, target.output_bound, "model")
    # the older completions give 16 tokens to who asks for no number, and know no end of their own
    if facts.is_automatic or policy.routing.output_limit == "tier" or api == "openai.completions":
        return _least(target, input_tokens, (policy.default_max_tokens.for_tier(target.tier), "tier"))
    if target.max_output_tokens or target.kind.needs_output_limit:
        return _least(target, input_tokens)
    room = target.context_window - input_tokens
    return OutputLimit(None, room if room > 0 else target.context_window, "provider")


def need_of(limit: OutputLimit, *, target: Target, policy: Policy, long_output_tokens: int) -> int:
    """How long an answer has to be expected to get: about the longest of twenty and as much again, where they are known,
    else its tier's default."""
    if limit.set_by == "client":
        return limit.most
    known = max(LEAST_NEED, 2 * long_output_tokens) if long_output_tokens else 0
    return min(limit.most, known or policy.default_max_tokens.for_tier(target.tier))


def _least(target: Target, input_tokens: int, *further: tuple[int, SetBy]) -> OutputLimit:
    bounds: list[tuple[int, SetBy]] = [(target.max_output_tokens or LEAST_MAXIMUM, "model"), *further]
    if (room := target.context_window - input_tokens) > 0:
        bounds.append((room, "window"))
    # some count the limit against the account's minute, and refuses what alone is more than that
    tokens_per_minute = int(target.limits.get("tpm") or 0)
    if target.kind.counts_output_limit and tokens_per_minute > input_tokens:
        bounds.append((tokens_per_minute - input_tokens, "account"))
    most, set_by = min(bounds, key=lambda bound: bound[0])
    return OutputLimit(most, most, set_by)
