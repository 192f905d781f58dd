"""What is booked of one answer: what its provider tells, held against what we know of the call, and what that costs.

Invariant: pure. What cannot be read or believed is booked at a bound and told to a person; nothing is booked at zero
because it has no price.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

import structlog

from billing.certainty import Certainty, Evidence, Used, used
from billing.outcomes import UnpricedMeter
from billing.prices import Rates
from billing.rating import Rated, rate, rate_bound
from llm.catalog import Target
from llm.tokens import count_text
from llm.wire import Body, Exchange

_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# tools that the client runs: the provider only asks for them (those of Anthropic need no type)
_TOOLS_OF_CLIENTS: Final = frozenset({"function", "custom", "None"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What was held for the call: the most that it was expected to come to."""

    usd: Decimal
    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, body: Body, *, usd: Decimal, tokens: int, n: int) -> "Held":
        """The same, of a body that was sent, and its tokens in all."""
        output = min(tokens, _limit_sent(body) * n)
        return cls(usd, tokens - output, output)


def used_of(
    exchange: Exchange,
    target: Target,
    usage: Mapping[str, Any],
    *,
    context: Mapping[str, Any],
    produced: str,
    held: Held,
    n: int = 1,
    is_whole: bool = True,
) -> Used:
    """What a call has used. `produced` is what came that a provider bills as output, `n` how many answers were asked for."""
    evidence = Evidence(
        input_tokens=held.input_tokens,
        output_tokens=count_text(produced, target.tokenizer) if produced else 0,
        asked_output_tokens=max(held.output_tokens, _limit_sent(exchange.body) * n),
        context_window=target.context_window,
        is_whole=is_whole,
        has_server_tools=_has_server_tools(exchange.body),
    )
    what = used(
        exchange.upstream.api, usage, context={"model": target.upstream, **context}, evidence=evidence
    )
    if what.certainty is Certainty.UNREAD:
        log.error("unread_usage", provider=target.provider, model=target.model, reason=what.reason)
    return what


def rated_of(what: Used, rates: Rates, *, held: Held) -> Rated:
    """What that costs. Beyond belief: the hold. Without a price, or not read: the most that it can come to."""
    if what.is_beyond:
        return Rated.bound(held.usd)
    bound = partial(rate_bound, what.meters, rates, least_usd=held.usd)
    if what.certainty is Certainty.UNREAD:
        return bound(unread_tokens=what.unread_tokens)
    try:
        return rate(what.meters, rates)
    except UnpricedMeter as error:
        log.error("unpriced_meter", model=rates.model, reason=str(error))
        return bound()


def _limit_sent(body: Body) -> int:
    """The limit of output that the provider was sent."""
    return max((body[name] for name in _LIMITS if isinstance(body.get(name), int)), default=0)


def _has_server_tools(body: Body) -> bool:
    """Whether the provider may run tools by itself, and so read the conversation several times."""
    tools = body.get("tools")
    if not isinstance(tools, list):
        return False
    return not {str(tool.get("type")) for tool in tools if isinstance(tool, dict)} <= _TOOLS_OF_CLIENTS
