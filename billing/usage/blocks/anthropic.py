"""Anthropic's usage block.

Invariant: the input excludes what was read from the cache and written to it. Iterations are billed each at its own
model's price; those that are no part of the totals are billed in addition.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from billing.usage.blocks.counts import Block
from billing.usage.blocks.doubts import Doubts

Meters = dict[str, int]

# Tools that cost their tokens and nothing else. What is counted besides has a price or is unpriced, never free.
FREE_REQUESTS: Final = frozenset({"web_fetch_requests", "tool_search_requests"})
# All iterations are billed, each at its own model's price. The totals are those of the messages, or of the fallback (another
# model answered what the first one refused), or of both, or of all.
MESSAGES: Final = frozenset({None, "message"})
FALLBACKS: Final = frozenset({"fallback_message"})
KNOWN_ITERATIONS: Final = MESSAGES | FALLBACKS | {"compaction", "advisor_message"}
_DATED: Final = re.compile(r"-(\d{8}|latest)")
TOTALS: Final = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def read_anthropic(usage: Mapping[str, Any], doubts: Doubts, *, model: str = "") -> Meters:
    """The meters of a block; `model` is the one whose iterations need no mark of their own."""
    block = Block(usage, doubts)
    if not block.has_any("input_tokens", "output_tokens"):
        doubts.contradicts("no tokens", "the usage block has neither input nor output tokens")
    meters = _tokens(block, doubts)
    iterations = block.take("iterations")
    if isinstance(iterations, Sequence) and not isinstance(iterations, str):
        meters = _of_iterations(iterations, meters, doubts, model=model)
    elif iterations is not None:
        doubts.unread("usage.iterations", iterations)
    tools = block.part("server_tool_use")
    for name in tools.names():
        if name in FREE_REQUESTS:
            tools.take(name)
        elif name.endswith("_requests"):
            meters[name.removesuffix("_requests")] = tools.count(name)
    block.take("service_tier", "speed", "inference_geo")  # read by `billing.usage.served`
    block.finish()
    return meters


def _tokens(block: Block, doubts: Doubts) -> Meters:
    written = block.count("cache_creation_input_tokens")
    split = block.part("cache_creation")
    five_minutes, one_hour = (
        split.count("ephemeral_5m_input_tokens"),
        split.count("ephemeral_1h_input_tokens"),
    )
    if five_minutes + one_hour > written:
        if written:
            doubts.contradicts(
                "cache writes are more than all",
                f"the cache writes are more than the {written} tokens written in all",
            )
        written = five_minutes + one_hour
    output = block.count("output_tokens")
    thinking = block.part("output_tokens_details").count("thinking_tokens", "reasoning_tokens")
    if thinking > output:
        doubts.contradicts(
            "output is less than its parts", f"the parts of the output are more than its {output} tokens"
        )
        output = thinking
    doubts.unseen_output = max(doubts.unseen_output, thinking)
    return {
        "input": block.count("input_tokens"),
        "cache_read": block.count("cache_read_input_tokens"),
        "cache_write_5m": written - one_hour,
        "cache_write_1h": one_hour,
        "output": output,
    }


def _of_iterations(iterations: Sequence[Any], totals: Meters, doubts: Doubts, *, model: str) -> Meters:
    """The iterations' meters if they add up to the totals, as they must; else of each meter the larger."""
    meters: Meters = {}
    read: list[tuple[Any, Meters]] = []
    for iteration in iterations:
        if not isinstance(iteration, Mapping):
            doubts.contradicts("an iteration is no block", "the iterations are no usage blocks")
            continue
        block = Block(iteration, doubts, path="usage.iterations")
        kind, its_model = block.take("type"), str(block.take("model") or "")
        tokens = _tokens(block, doubts)
        block.take("service_tier", "speed", "inference_geo")
        block.finish()
        read.append((kind, tokens))
        if kind not in KNOWN_ITERATIONS or (kind in FALLBACKS and not its_model):
            doubts.unread(f"an iteration of type {kind!s:.40}", its_model or "of no model")
        mark = f"@{its_model}" if its_model and model and not is_same_model(its_model, model) else ""
        for name, tokens_of_it in tokens.items():
            meters[name + mark] = meters.get(name + mark, 0) + tokens_of_it
    outputs = [tokens["output"] for _, tokens in read]
    doubts.unseen_output = max(doubts.unseen_output, sum(outputs) - max(outputs, default=0))
    groups = (
        [tokens for kind, tokens in read if kind in kinds]
        for kinds in (MESSAGES, FALLBACKS, MESSAGES | FALLBACKS, {kind for kind, _ in read})
    )
    if not any(_adds_up(totals, parts) for parts in groups if parts):
        doubts.contradicts("iterations do not add up", "the iterations do not add up to the totals")
        return {name: max(meters.get(name, 0), totals.get(name, 0)) for name in {**totals, **meters}}
    return meters


def is_same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: providers answer with the dated name of what was asked for."""
    return _DATED.sub("", one) == _DATED.sub("", other)


def _adds_up(totals: Meters, parts: Sequence[Meters]) -> bool:
    written = ("cache_write_5m", "cache_write_1h")
    if sum(totals[name] for name in written) != sum(part[name] for part in parts for name in written):
        return False
    others = (name for name in TOTALS if name not in written)
    return all(totals[name] == sum(part[name] for part in parts) for name in others)
