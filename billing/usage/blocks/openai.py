"""OpenAI's usage block, and those of the many servers that speak its protocol.

Invariant: totals include their parts, unless the block's own total says that a part is not included. Where parts
overlap by an unknown amount, each token is read at the highest possible cost.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from billing.usage.blocks.counts import Block
from billing.usage.blocks.doubts import Doubts, Kind

Meters = dict[str, int]


def read_openai(usage: Mapping[str, Any], doubts: Doubts) -> Meters:
    """The meters of a block: chat, completions, responses, embeddings, realtime, in either set of names."""
    block = Block(usage, doubts)
    input_details = block.part("prompt_tokens_details", "input_tokens_details", "input_token_details")
    output_details = block.part("completion_tokens_details", "output_tokens_details", "output_token_details")
    total = block.count("total_tokens")
    reported_input = block.count("prompt_tokens", "input_tokens")
    reported_output = block.count("completion_tokens", "output_tokens")
    cached = _cached(block, input_details, doubts, total=reported_input)
    written = _written(block, input_details, doubts)
    reasoning = max(
        output_details.count("reasoning_tokens", "thinking_tokens"), block.count("reasoning_tokens")
    )
    if not block.has_any("prompt_tokens", "input_tokens"):
        doubts.contradicts("no input tokens", "the usage block has no input tokens")
        if block.has_any("completion_tokens", "output_tokens"):
            reported_input = max(0, total - reported_output)
        else:
            reported_output = total  # of two readings, the one that costs more

    parts = {"cached": cached, "written": sum(written.values()), "reasoning": reasoning}
    unlisted_input, unlisted_output = _unlisted(
        total - reported_input - reported_output, total, parts, doubts
    )
    input_meters = _input(reported_input + unlisted_input, cached, written, input_details, doubts)
    output_meters = _output(reported_output + unlisted_output, reasoning, output_details, doubts)
    doubts.unseen_output = max(reasoning, unlisted_output)
    block.take("service_tier")  # read by `billing.usage.served`
    block.finish()
    return input_meters | output_meters


def _unlisted(rest: int, total: int, parts: Mapping[str, int], doubts: Doubts) -> tuple[int, int]:
    """The part of the total that is in neither input nor output, and so belongs to one of them: (input, output)."""
    if not total or not rest:
        return 0, 0
    if rest < 0:
        doubts.contradicts(
            "the total is less than its parts",
            f"input and output tokens are {-rest} more than {total} in total",
        )
        return 0, 0
    named = [name for name, tokens in parts.items() if tokens]
    # reasoning is tried first: of two readings that add up, it costs more
    for size in range(1, len(named) + 1):
        for names in combinations(reversed(named), size):
            if sum(parts[name] for name in names) == rest:
                output = parts["reasoning"] if "reasoning" in names else 0
                return rest - output, output
    if parts["reasoning"]:
        doubts.contradicts(
            "the total is more than its parts", f"{rest} of {total} tokens in all are not explained"
        )
    return 0, rest  # an unnamed part is output: thinking that was left out of it


def _cached(block: Block, input_details: Block, doubts: Doubts, *, total: int) -> int:
    """Tokens read from the cache, under the names of OpenAI, DeepSeek, Moonshot and LiteLLM; of several, the fewest."""
    counts = {
        input_details.count("cached_tokens", "cache_read_tokens", "cache_read_input_tokens"),
        block.count("cached_tokens"),
        block.count("prompt_cache_hit_tokens"),
        block.count("cache_read_input_tokens", "cache_read_tokens"),
    } - {0}
    if len(counts) > 1:
        doubts.contradicts(
            "cached tokens differ", f"the tokens read from the cache are reported as {sorted(counts)}"
        )
    cached, missed = min(counts, default=0), block.count("prompt_cache_miss_tokens")
    if missed and cached + missed not in (total, total - cached):
        doubts.contradicts(
            "hits and misses are not the input",
            f"{cached} tokens hit the cache and {missed} missed it, of {total}",
        )
    return cached


def _written(block: Block, input_details: Block, doubts: Doubts) -> Meters:
    """Tokens written to the cache, by how long they are kept."""
    if not (block.mentions("cache_") or input_details.mentions("cache_")):
        return {}
    names = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
    total = max(input_details.count(*names), block.count(*names))
    by_life = input_details.part("cache_write_tokens_details")
    split = {
        "cache_write": by_life.count("ttl_30m_tokens"),
        "cache_write_12h": by_life.count("ttl_12h_tokens"),
    }
    for place in (block, input_details):
        claude = place.part("cache_creation", "cache_creation_token_details")
        for meter, name in (
            ("cache_write_5m", "ephemeral_5m_input_tokens"),
            ("cache_write_1h", "ephemeral_1h_input_tokens"),
        ):
            split[meter] = max(split.get(meter, 0), claude.count(name))
    rest = total - sum(split.values())
    if rest < 0 and total:
        doubts.contradicts(
            "cache writes are more than all", f"the parts written are {-rest} more than {total}"
        )
    split["cache_write"] += max(0, rest)
    return {meter: tokens for meter, tokens in split.items() if tokens}


def _input(total: int, cached: int, written: Meters, input_details: Block, doubts: Doubts) -> Meters:
    text, audio, image = (input_details.count(f"{kind}_tokens") for kind in ("text", "audio", "image"))
    joint = input_details.part("cached_tokens_details")
    joint_counts = {kind: joint.count(f"{kind}_tokens") for kind in ("text", "audio", "image")}
    if not cached:
        cached = sum(joint_counts.values())
    plain = total - audio - image - sum(written.values())
    if joint.names():
        if sum(joint_counts.values()) > cached:
            doubts.contradicts(
                "cached parts are more than all",
                f"the cached parts are more than the {cached} tokens read from the cache",
            )
        cached_audio, cached_image = joint_counts["audio"], joint_counts["image"]
    elif cached and (audio or image):
        # text is the cheapest, so it is read as what was cached, as far as there is some
        doubts.bounds(
            "cached tokens and modalities overlap",
            "cached tokens and other modalities overlap, and their joint count is not reported",
        )
        cached_audio = min(audio, max(0, cached - max(0, plain)))
        cached_image = min(image, max(0, cached - max(0, plain) - cached_audio))
    else:
        cached_audio = cached_image = 0
    meters = {
        "input": plain - (cached - cached_audio - cached_image),
        "cache_read": cached - cached_audio - cached_image,
        **written,
        "input_audio": audio - cached_audio,
        "cache_read_audio": cached_audio,
        "input_image": image - cached_image,
        "cache_read_image": cached_image,
    }
    if min(meters.values()) < 0 or text + audio + image > total:
        doubts.contradicts(
            "input is less than its parts", f"the parts of the input are more than its {total} tokens"
        )
        largest = max(total, text + audio + image, cached + sum(written.values()))
        others = {**written, "input_audio": audio, "input_image": image}
        return {"input": max(0, largest - sum(others.values())), **others}
    if text and total not in _sums(text + audio + image, (cached, sum(written.values()))):
        doubts.add(
            "the parts of the input do not add up",
            f"{text} + {audio} + {image} of {total} tokens",
            kind=Kind.UNREAD,
        )
    return meters


def _output(total: int, reasoning: int, output_details: Block, doubts: Doubts) -> Meters:
    text, audio, image = (output_details.count(f"{kind}_tokens") for kind in ("text", "audio", "image"))
    predicted = output_details.count("accepted_prediction_tokens") + output_details.count(
        "rejected_prediction_tokens"
    )
    if max(text + audio + image, predicted, reasoning) > total:
        doubts.contradicts(
            "output is less than its parts", f"the parts of the output are more than its {total} tokens"
        )
        # reasoning that does not fit in comes on top
        total = max(text + audio + image, predicted, total + reasoning if reasoning > total else total)
    elif text and total not in _sums(text + audio + image, (reasoning,)):
        doubts.add(
            "the parts of the output do not add up",
            f"{text} + {audio} + {image} of {total} tokens",
            kind=Kind.UNREAD,
        )
    return {"output": total - audio - image, "output_audio": audio, "output_image": image}


def _sums(modalities: int, parts: tuple[int, ...]) -> set[int]:
    """The possible sums of all modalities: each of the other parts may be included or come on top."""
    return {
        modalities + sum(chosen) for size in range(len(parts) + 1) for chosen in combinations(parts, size)
    }
