"""Owns both providers' prompt caches: OpenAI's automatic one and Anthropic's `cache_control`.

Invariant: a read is given only for a prefix that the same key sent to the same model within its time to
live, and read + written never exceed the prompt.
"""

import hashlib
import time
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from llm.tokens import counting as tokens

OPENAI_MINIMUM, OPENAI_STEP = 1_024, 128
LOOK_BACK_BLOCKS = 20
CAPACITY = 200_000


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of an Anthropic prompt; `ttl_seconds` where there is a breakpoint, else 0."""

    content: bytes
    tokens: int
    ttl_seconds: int = 0


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How many input tokens were read and written."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class PromptCache:
    """Digests of prefixes seen, with when they expire."""

    def __init__(self) -> None:
        self._expiry: OrderedDict[bytes, float] = OrderedDict()

    def use_openai(self, prompt: object, *, key: str, model: str, ttl_seconds: float) -> int:
        """Cached tokens of a prompt of at least 1,024 tokens, in steps of 128; remembers its prefixes."""
        text = orjson.dumps(prompt).decode()
        ids = array("I", tokens.encoding_for(model).encode_ordinary(text))
        if len(ids) < OPENAI_MINIMUM:
            return 0
        now = time.monotonic()
        digest = hashlib.blake2b(f"{key}\0{model}\0".encode(), digest_size=16)
        digest.update(ids[:OPENAI_MINIMUM].tobytes())
        cached, length, is_prefix_known = 0, OPENAI_MINIMUM, True
        while True:
            prefix = digest.digest()
            if is_prefix_known and self._is_live(prefix, now):
                cached = length
            else:
                is_prefix_known = False
            self._remember(prefix, now + ttl_seconds)
            if length + OPENAI_STEP > len(ids):
                return cached
            digest.update(ids[length : length + OPENAI_STEP].tobytes())
            length += OPENAI_STEP

    def use_anthropic(self, blocks: Sequence[Block], *, key: str, model: str) -> CacheUse:
        """What the breakpoints of a prompt read and write."""
        if not any(block.ttl_seconds for block in blocks):
            return CacheUse()
        now = time.monotonic()
        minimum = _anthropic_minimum(model)
        digest = hashlib.blake2b(f"{key}\0{model}\0".encode(), digest_size=16)
        prefixes: list[tuple[bytes, int]] = []
        total = 0
        for block in blocks:
            digest.update(len(block.content).to_bytes(8, "big") + block.content)
            total += block.tokens
            prefixes.append((digest.digest(), total))
        breakpoints = [
            index for index, block in enumerate(blocks) if block.ttl_seconds and prefixes[index][1] >= minimum
        ]
        if not breakpoints:
            return CacheUse()
        read_index = self._longest_read(prefixes, breakpoints, now)
        read = prefixes[read_index][1] if read_index >= 0 else 0
        written = {300: 0, 3600: 0}
        reached = read
        for index in breakpoints:
            prefix, length = prefixes[index]
            ttl = blocks[index].ttl_seconds
            if length > reached:
                written[ttl] += length - reached
                reached = length
            self._remember(prefix, now + ttl)
        return CacheUse(read=read, written_5m=written[300], written_1h=written[3600])

    def _longest_read(self, prefixes: list[tuple[bytes, int]], breakpoints: list[int], now: float) -> int:
        for breakpoint_index in reversed(breakpoints):
            for index in range(breakpoint_index, max(-1, breakpoint_index - LOOK_BACK_BLOCKS), -1):
                if self._is_live(prefixes[index][0], now):
                    return index
        return -1

    def _is_live(self, prefix: bytes, now: float) -> bool:
        return self._expiry.get(prefix, 0.0) > now

    def _remember(self, prefix: bytes, expiry: float) -> None:
        self._expiry[prefix] = max(expiry, self._expiry.get(prefix, 0.0))
        self._expiry.move_to_end(prefix)
        while len(self._expiry) > CAPACITY:
            self._expiry.popitem(last=False)


def _anthropic_minimum(model: str) -> int:
    if "haiku-4" in model or "opus-4-5" in model or "opus-4-6" in model:
        return 4_096
    return 2_048 if "haiku" in model else 1_024
