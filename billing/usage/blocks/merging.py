"""Merges what a provider reports of one call's usage, in several places and several times.

Invariant: figures are cumulative and never fall: null, zero, nothing or a smaller figure never takes the place of a
larger one that was reported before.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from billing.usage.blocks.doubts import is_empty

MOST_NAMES: Final = 200  # of one level of a block
MOST_DEPTH: Final = 8
TOO_MANY: Final = "more_fields_than_are_read"
# Besides `usage` itself, the objects of an answer, event or chunk that may hold the usage block.
_HOLDERS: Final = ("message", "response", "x_groq", "delta")
# Blocks of other APIs that compatible servers pass on, and what their figures are called here.
_FOREIGN: Final = {
    "usageMetadata": "gemini",
    "usage_metadata": "gemini",
    "amazon-bedrock-invocationMetrics": "bedrock",
}
_PARTS_OF_TOTAL: Final = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
_OTHER_PLACES: Final = frozenset({*_HOLDERS, *_FOREIGN})
_OUR_NAMES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "gemini": {
        "promptTokenCount": ("prompt_tokens",),
        "candidatesTokenCount": ("completion_tokens",),
        "totalTokenCount": ("total_tokens",),
        "thoughtsTokenCount": ("completion_tokens_details", "reasoning_tokens"),
        "cachedContentTokenCount": ("prompt_tokens_details", "cached_tokens"),
    },
    "bedrock": {
        "inputTokenCount": ("input_tokens",),
        "outputTokenCount": ("output_tokens",),
        "cacheReadInputTokenCount": ("cache_read_input_tokens",),
        "cacheWriteInputTokenCount": ("cache_creation_input_tokens",),
    },
}
_OF_TEXT: Final = ("promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails")
_TIMES: Final = frozenset({"invocationLatency", "firstByteLatency"})


def reported_usage(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The usage that an answer, a chunk or an event reports, in any of the places where servers put it; empty if none."""
    reported: dict[str, Any] = {}
    for block in _blocks(payload):
        reported = merged(reported, block)
    return reported


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any], *, depth: int = 0) -> dict[str, Any]:
    """Both blocks as one: of each figure the larger, of other things what came last and is not empty."""
    both = dict(earlier)
    if "total_tokens" in both and later.get("total_tokens") is None and _outgrows(earlier, later):
        del both["total_tokens"]  # the sum of what was reported before
    for name, value in later.items():
        if name not in both and len(both) >= MOST_NAMES:
            both[TOO_MANY] = 1
            continue
        both[name] = _merged_value(both.get(name), value, depth=depth) if name in both else value
    return both


def _outgrows(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether a part of the total has grown."""
    return any(
        (_figure(later.get(name)) or 0) > (_figure(earlier.get(name)) or 0) for name in _PARTS_OF_TOTAL
    )


def _merged_value(known: Any, value: Any, *, depth: int) -> Any:
    if is_empty(value):
        return value if known is None else known
    if isinstance(known, Mapping) and isinstance(value, Mapping):
        return merged(known, value, depth=depth + 1) if depth < MOST_DEPTH else value
    if isinstance(known, list) and isinstance(value, list):
        return _merged_lists(known, value, depth=depth)
    known_figure, figure = _figure(known), _figure(value)
    if known_figure is not None and figure is not None:
        return value if figure >= known_figure else known
    return value


def _merged_lists(known: list[Any], value: list[Any], *, depth: int) -> list[Any]:
    """Iterations: item by item, and what one of them has more."""
    pairs = [_merged_value(one, other, depth=depth + 1) for one, other in zip(known, value, strict=False)]
    return pairs + (known if len(known) > len(value) else value)[len(pairs) :]


def _blocks(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if (usage := payload.get("usage")) is not None:
        yield from _block(usage)
    if not _OTHER_PLACES.isdisjoint(payload):
        for name in payload.keys() & _OTHER_PLACES:
            inside = payload[name]
            if not isinstance(inside, dict):
                continue
            if name in _FOREIGN:
                yield _translated(inside, _FOREIGN[name])
            elif "usage" in inside:
                yield from _block(inside["usage"])
    choices = payload.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and "usage" in choice:
                yield from _block(choice["usage"])


def _block(reported: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(reported, Mapping):
        yield reported
    elif not is_empty(reported):
        yield {"unreadable_block": reported}


def _translated(foreign: Mapping[str, Any], kind: str) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for name, value in foreign.items():
        if name in _TIMES or (name in _OF_TEXT and _is_text_alone(value)):
            continue
        *outer, last = _OUR_NAMES[kind].get(name, (name,))
        (block.setdefault(outer[0], {}) if outer else block)[last] = value
    return block


def _is_text_alone(details: Any) -> bool:
    items = details if isinstance(details, list) else ()
    return all(isinstance(item, Mapping) and item.get("modality") == "TEXT" for item in items)


def _figure(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
