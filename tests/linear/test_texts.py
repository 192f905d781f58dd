"""What reads a client's texts does linear work, whatever they say: the loops around the patterns."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

from caching import eligibility
from caching.learning.agreement import judge_by_rules
from caching.scoring import guards
from llm.compression.compress import compress
from llm.compression.duplicates import drop_duplicate_paragraphs
from llm.compression.json_minify import minify_json
from llm.compression.whitespace import compact_whitespace
from llm.routing import signals, task_patterns
from llm.routing.facts import read_route_facts
from llm.tokens import counting
from tenants.policy import CompressionPolicy
from tests.linear.growth import grows_too_fast

SIZES = (2_048, 8_192, 32_768)
TAGS = "<system-reminder>", "<environment_context>", "</user_instructions>", "<user_instructions>x"
WORDS = [f"{first}{second}" for first in ("al", "be", "ga", "de") for second in ("pha", "ta", "mma", "lta")]


def paragraphs(size: int) -> str:
    """Paragraphs that begin alike and end each in its own way."""
    same = " ".join(f"word{number}" for number in range(25))
    return "\n\n".join(f"{same} end{number} of {number}" for number in range(size // 170))


def shuffled(size: int) -> str:
    """Paragraphs of the very same words, in another order each."""
    order = random.Random(1)
    words = [f"{word}{number}" for number in range(2) for word in WORDS]
    return "\n\n".join(" ".join(order.sample(words, len(words))) for _ in range(size // 220))


TEXTS: dict[str, Callable[[int], str]] = {
    **{f"{tag} again and again": (lambda size, tag=tag: tag * (size // len(tag))) for tag in TAGS},
    "all tags in turn": lambda size: "".join(TAGS) * (size // len("".join(TAGS))),
    "a fence that nothing closes": lambda size: "{\n```" + "a" * size,
    "fences that nothing closes": lambda size: "```json\n{\n" * (size // 10),
    "marks of both kinds": lambda size: "```\n~~~\n" * (size // 8),
    "brackets": lambda size: "[" * size,
    "brackets on lines": lambda size: "[\n" * (size // 2),
    "braces with quotes": lambda size: '{"' * (size // 2),
    "documents on lines": lambda size: '{"a": [1, 2,   3], "bcdefghijkl": "mnopqrstuvwxyz"}\n' * (size // 52),
    "escapes": lambda size: '"\\' * (size // 2),
    "paragraphs that begin alike": paragraphs,
    "paragraphs of the same words": shuffled,
    "one word": lambda size: "a" * size,
    "spaces": lambda size: " " * size,
    "lines": lambda size: "\n" * size,
    "blank lines": lambda size: " \t\n" * (size // 3),
    "quotes": lambda size: "“" * size,
    "addresses": lambda size: "a@" * (size // 2),
    "names with underscores": lambda size: "a1" + "_a" * (size // 2) + "\x00",
    "letters and digits": lambda size: "a1-" * (size // 3),
    "commands": lambda size: "please cancel " * (size // 14),
    "questions of mine": lambda size: "what is my " * (size // 11),
    "queries": lambda size: "SELECT " * (size // 7),
    "digits": lambda size: "1," * (size // 2),
}


def chat(*texts: str) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text} for text in texts]}


def count(text: str) -> int:
    counting.LONG_COUNTS.clear()
    counting.count_short.cache_clear()
    return counting.count_text(text, "gpt-4o")


def compressed(text: str) -> object:
    return compress(
        chat(text, "and now?"),
        protocol="openai.chat",
        policy=CompressionPolicy(enabled=True, history_turns=3),
        count=lambda body: len(orjson.dumps(body)),
    )


READERS: dict[str, Callable[[str], object]] = {
    "facts": lambda text: read_route_facts(chat(text)),
    "facts of many turns": lambda text: read_route_facts(
        chat(*(text[start : start + 64] for start in range(0, len(text), 64)))
    ),
    "task": task_patterns.task_of,
    "signals": signals.measure,
    "fences and documents": minify_json,
    "whitespace": compact_whitespace,
    "duplicates": lambda text: drop_duplicate_paragraphs(chat(text, text, "?")["messages"]),
    "compression": compressed,
    "eligibility": eligibility.check_eligibility,
    "guards": guards.read.__wrapped__,
    "agreement": lambda text: judge_by_rules(text, text + " 1"),
    "tokens": count,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_reading_is_linear(reader: str, text: str) -> None:
    make, read = TEXTS[text], READERS[reader]
    assert grows_too_fast(lambda size: partial(read, make(size)), sizes=SIZES) == ""


def test_a_text_too_long_for_any_embedder_is_not_looked_through() -> None:
    verdict = eligibility.check_eligibility("what is my balance " * 2_000)
    assert (verdict.is_eligible, verdict.reason) == (False, "too_long")
