"""Reads the usage blocks of the providers' APIs.

Invariant: pure. OpenAI's totals include their parts (cached, written, audio, reasoning), Anthropic's input
excludes what was cached: both come out as disjoint meters. Parts greater than their total are InvalidUsage.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from billing.outcomes import InvalidUsage

Usage = Mapping[str, Any]
Meters = dict[str, int]

# Items of a Responses answer that carry a fee of their own, which no usage block mentions.
FEE_ITEMS = {"web_search_call": "web_search", "file_search_call": "file_search"}
# Anthropic's tools that cost their tokens and nothing else. What it counts besides has a price or is unpriced, never free.
FREE_REQUESTS = frozenset({"web_fetch_requests", "tool_search_requests"})
# Iterations of other kinds (compaction, an advisor) are billed too, but are not part of Anthropic's totals.
COUNTED_ITERATIONS = (None, "message")
ANTHROPIC_TOTALS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def meters_from_usage(api: str, usage: Usage | None, *, context: Usage | None = None) -> Meters:
    """The leaf meters of a usage block; raises InvalidUsage. Meters of quantity 0 are left out.

    `context` may say what the block does not: `tool_calls` (counts by name), `model` (whose iterations need
    no mark of their own).
    """
    if not isinstance(usage, Mapping) or not usage:
        raise InvalidUsage("there is no usage block")
    read = _READERS.get(api.partition(".")[0])
    if read is None:
        raise InvalidUsage(f"unknown API {api!r}")
    context = context or {}
    meters = read(usage, context)
    tool_calls = context.get("tool_calls") or {}
    for name in tool_calls:
        meter = FEE_ITEMS.get(name, name)
        meters[meter] = meters.get(meter, 0) + _count(tool_calls, name)
    return {name: quantity for name, quantity in meters.items() if quantity}


def usage_of_stream(api: str, events: Sequence[Usage]) -> dict[str, Any]:
    """The usage a stream told. OpenAI: the last one that is not null. Anthropic: figures are cumulative, so a
    later one that is not null takes the place of the earlier. Raises InvalidUsage if none came."""
    merged: dict[str, Any] = {}
    for event in events:
        for told in (event.get("usage"), _nested(event, "message"), _nested(event, "response")):
            if not isinstance(told, Mapping):
                continue
            if api.startswith("anthropic"):
                merged.update({name: value for name, value in told.items() if value is not None})
            else:
                merged = dict(told)
    if not merged:
        raise InvalidUsage("the stream ended without usage")
    return merged


def fees_of_items(items: Sequence[Usage]) -> dict[str, int]:
    """Count the items of a Responses answer that cost a fee, by meter."""
    counts: dict[str, int] = {}
    for item in items:
        meter = FEE_ITEMS.get(str(item.get("type")))
        if meter:
            counts[meter] = counts.get(meter, 0) + 1
    return counts


def reasoning_tokens(usage: Usage | None) -> int:
    """The reasoning share of the output, where the provider tells it: for reports, it costs no extra."""
    usage = usage or {}
    details = _details(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")
    told = details.get("reasoning_tokens", details.get("thinking_tokens"))
    return told if isinstance(told, int) and told > 0 else 0


def _read_openai(usage: Usage, context: Usage) -> Meters:
    if not any(usage.get(name) is not None for name in ("prompt_tokens", "input_tokens")):
        raise InvalidUsage("the usage block has no input tokens")
    total_in = _count(usage, "prompt_tokens", "input_tokens")
    total_out = _count(usage, "completion_tokens", "output_tokens")
    total = _count(usage, "total_tokens")
    if total and total < total_in + total_out:
        raise InvalidUsage(f"{total_in} input and {total_out} output tokens are more than {total} in total")
    heard = _details(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    said = _details(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")

    cached, written = _count(heard, "cached_tokens"), _count(heard, "cache_write_tokens")
    audio, image = _count(heard, "audio_tokens"), _count(heard, "image_tokens")
    if _count(heard, "text_tokens") + audio + image > total_in:
        raise InvalidUsage(f"the parts of the input are more than its {total_in} tokens")
    joint = heard.get("cached_tokens_details")
    if cached and (audio or image) and not isinstance(joint, Mapping):
        raise InvalidUsage("cached tokens and other modalities overlap, and their joint count is not told")
    joint = joint if isinstance(joint, Mapping) else {}
    cached_audio, cached_image = _count(joint, "audio_tokens"), _count(joint, "image_tokens")
    if heard.get("cached_tokens") is None:
        cached = _count(joint, "text_tokens") + cached_audio + cached_image
    if _count(joint, "text_tokens") + cached_audio + cached_image > cached:
        raise InvalidUsage(f"the cached parts are more than the {cached} tokens read from the cache")
    cached_text = cached - cached_audio - cached_image
    audio, image = audio - cached_audio, image - cached_image
    text = total_in - cached - written - audio - image
    if min(cached_text, audio, image, text) < 0:
        raise InvalidUsage(f"the parts of the input are more than its {total_in} tokens")

    spoken, drawn = _count(said, "audio_tokens"), _count(said, "image_tokens")
    predicted = _count(said, "accepted_prediction_tokens") + _count(said, "rejected_prediction_tokens")
    if (
        max(_count(said, "text_tokens") + spoken + drawn, predicted, _count(said, "reasoning_tokens"))
        > total_out
    ):
        raise InvalidUsage(f"the parts of the output are more than its {total_out} tokens")
    return {
        "input": text,
        "cache_read": cached_text,
        "cache_write": written,
        "input_audio": audio,
        "cache_read_audio": cached_audio,
        "input_image": image,
        "cache_read_image": cached_image,
        "output": total_out - spoken - drawn,
        "output_audio": spoken,
        "output_image": drawn,
    }


def _read_anthropic(usage: Usage, context: Usage) -> Meters:
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        raise InvalidUsage("the usage block has neither input nor output tokens")
    iterations = usage.get("iterations")
    if not isinstance(iterations, Sequence) or not iterations:
        meters = _anthropic_tokens(usage)
    else:
        if not all(isinstance(iteration, Mapping) for iteration in iterations):
            raise InvalidUsage("the iterations are no usage blocks")
        meters = {}
        for iteration in iterations:
            model = iteration.get("model")
            mark = f"@{model}" if model and context.get("model") and model != context["model"] else ""
            for name, quantity in _anthropic_tokens(iteration).items():
                meters[name + mark] = meters.get(name + mark, 0) + quantity
        _check_iterations(usage, iterations)
    tools = usage.get("server_tool_use")
    if isinstance(tools, Mapping):
        for name in tools:
            if name.endswith("_requests") and name not in FREE_REQUESTS:
                meters[name.removesuffix("_requests")] = _count(tools, name)
    return meters


def _anthropic_tokens(usage: Usage) -> Meters:
    written = _count(usage, "cache_creation_input_tokens")
    split = usage.get("cache_creation")
    split = split if isinstance(split, Mapping) else {}
    five_minutes = _count(split, "ephemeral_5m_input_tokens")
    one_hour = _count(split, "ephemeral_1h_input_tokens")
    if usage.get("cache_creation_input_tokens") is None:
        written = five_minutes + one_hour
    if five_minutes + one_hour > written:
        raise InvalidUsage(f"the cache writes are more than the {written} tokens written in all")
    output = _count(usage, "output_tokens")
    if _count(_details(usage, "output_tokens_details"), "thinking_tokens") > output:
        raise InvalidUsage(f"the parts of the output are more than its {output} tokens")
    return {
        "input": _count(usage, "input_tokens"),
        "cache_read": _count(usage, "cache_read_input_tokens"),
        "cache_write_5m": written - one_hour,
        "cache_write_1h": one_hour,
        "output": output,
    }


def _check_iterations(usage: Usage, iterations: Sequence[Usage]) -> None:
    """Anthropic's totals are those of the message iterations, or of all of them; else somebody miscounts."""
    counted = [iteration for iteration in iterations if iteration.get("type") in COUNTED_ITERATIONS]
    for parts in (counted, iterations):
        if all(_count(usage, name) == sum(_count(part, name) for part in parts) for name in ANTHROPIC_TOTALS):
            return
    raise InvalidUsage("the iterations do not add up to the totals")


def _count(block: Usage, *names: str) -> int:
    """The first of the names that is told, as a count; 0 if none is."""
    for name in names:
        value = block.get(name)
        if value is None:
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise InvalidUsage(f"{name} is no count: {value!r}")
        return value
    return 0


def _details(usage: Usage, *names: str) -> Usage:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping)), {})


def _nested(event: Usage, name: str) -> Any:
    inner = event.get(name)
    return inner.get("usage") if isinstance(inner, Mapping) else None


_READERS: dict[str, Callable[[Usage, Usage], Meters]] = {
    "openai": _read_openai,  # chat, completions, responses, embeddings, realtime: one shape, two sets of names
    "anthropic": _read_anthropic,
}
