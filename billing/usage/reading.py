"""Reads the usage blocks of the providers' APIs.

Invariant: pure. OpenAI's totals include their parts (cached, written, audio, reasoning), Anthropic's input
excludes what was cached: both come out as disjoint meters. A block that contradicts itself is read at no less than
what it clearly reports, and says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing.errors import InvalidUsage
from billing.usage.blocks.anthropic import read_anthropic
from billing.usage.blocks.counts import count_of
from billing.usage.blocks.doubts import Doubt, Doubts, Kind, is_empty
from billing.usage.blocks.merging import merged, reported_usage
from billing.usage.blocks.openai import read_openai
from billing.usage.blocks.tools import fees_of_items, read_tools, unknown_items
from config.values import value_type
from tenants.errors import Api

__all__ = [
    "Meters",
    "Reading",
    "Totals",
    "count_of",
    "fees_of_items",
    "is_empty",
    "merged",
    "meters_from_usage",
    "read_usage",
    "reasoning_tokens",
    "reported_usage",
    "totals_of",
    "unknown_items",
    "usage_of_stream",
]

Usage = Mapping[str, Any]
Meters = dict[str, int]


@value_type
class Reading:
    """What a usage block reports, as leaf meters (those of quantity 0 are left out), and every reason to doubt it.

    `unread_tokens` have names that we do not know; at worst they are billed in addition to the meters. `unseen_output`
    are tokens of the output that are no text for the client, such as reasoning.
    """

    meters: Meters = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    unread_tokens: int = 0
    unseen_output: int = 0

    @property
    def contradiction(self) -> str:
        """Why the block does not show what was used; empty if it does."""
        return next((doubt.detail for doubt in self.doubts if doubt.kind is not Kind.UNREAD), "")


def read_usage(api: str, usage: Usage | None, *, context: Usage | None = None) -> Reading:
    """Read a block; raises InvalidUsage only where there is none, or none of an API that we know.

    `context` may say what the block does not: `model` (whose iterations need no mark of their own), and what
    `read_tools` takes.
    """
    if not isinstance(usage, Mapping) or not usage:
        raise InvalidUsage("there is no usage block")
    context, doubts = context or {}, Doubts()
    vendor = api.partition(".")[0]
    # chat, completions, responses, embeddings, realtime: one shape, two sets of names
    if vendor == Api.OPENAI:
        meters = read_openai(usage, doubts)
    elif vendor == Api.ANTHROPIC:
        meters = read_anthropic(usage, doubts, model=str(context.get("model") or ""))
    else:
        raise InvalidUsage(f"unknown API {api!r}")
    for meter, quantity in read_tools(context, doubts).items():
        meters[meter] = meters.get(meter, 0) + quantity
    meters = {name: quantity for name, quantity in meters.items() if quantity}
    return Reading(meters, tuple(doubts.found.values()), doubts.unread_tokens, doubts.unseen_output)


def meters_from_usage(api: str, usage: Usage | None, *, context: Usage | None = None) -> Meters:
    """The leaf meters of a block that can be true; raises InvalidUsage. `context` as in `read_usage`."""
    reading = read_usage(api, usage, context=context)
    if reading.contradiction:
        raise InvalidUsage(reading.contradiction)
    return reading.meters


@dataclass(frozen=True, slots=True)
class Totals:
    """A block in five figures, as clients of another API get them. `plain_input` leaves the cache out."""

    plain_input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


def totals_of(api: str, usage: Usage) -> Totals:
    """The figures of a block, even if it contradicts itself; zeros where there is none."""
    try:
        meters = read_usage(api, usage).meters
    except InvalidUsage:
        return Totals()
    sums = {
        prefix: sum(tokens for meter, tokens in meters.items() if meter.startswith(prefix))
        for prefix in ("input", "cache_read", "cache_write", "output")
    }
    return Totals(
        sums["input"], sums["cache_read"], sums["cache_write"], sums["output"], reasoning_tokens(usage)
    )


def usage_of_stream(api: str, events: Sequence[Usage]) -> dict[str, Any]:
    """The usage that a stream reported, in any of its events. Figures are cumulative. Raises InvalidUsage if none came."""
    reported: dict[str, Any] = {}
    for event in events:
        reported = merged(reported, reported_usage(event))
    if not reported:
        raise InvalidUsage("the stream ended without usage")
    return reported


def reasoning_tokens(usage: Usage | None) -> int:
    """The reasoning share of the output, where the provider reports it: for reports only, it costs nothing extra."""
    usage = usage or {}
    for name in ("completion_tokens_details", "output_tokens_details", "output_token_details"):
        details = usage.get(name)
        if isinstance(details, Mapping):
            return max(count_of(details.get(kind)) or 0 for kind in ("reasoning_tokens", "thinking_tokens"))
    return count_of(usage.get("reasoning_tokens")) or 0
