"""A provider's words for a prompt that is too long, in the words that the other API's clients look for.

Invariant: pure. A message already in the client's words stays as the provider sent it.
"""

import re
from typing import Final

from tenants.errors import Api

# tokens and most tokens, as Anthropic, OpenAI and the servers that follow it say them
_FIGURES: Final = (
    re.compile(r"prompt is too long[^0-9]{0,20}(?P<tokens>\d+) tokens? > (?P<most>\d+)"),
    re.compile(
        r"exceed context limit: (?P<tokens>\d+) \+ (?P<output>\d+) > (?P<most>\d+)",
    ),
    re.compile(
        r"(?:maximum context length is|configured limit of|context (?:window|length) (?:is|of)) (?P<most>\d+)"
        r"[^0-9]{1,80}(?P<tokens>\d+)"
    ),
)
_SPOKEN: Final = {
    Api.ANTHROPIC: ("prompt is too long", "exceed context limit"),
    Api.OPENAI: ("maximum context length", "context window", "configured limit"),
}
TOO_LONG: Final = (
    *_SPOKEN[Api.ANTHROPIC],
    *_SPOKEN[Api.OPENAI],
    "input is too long",
    "context_length_exceeded",
)


def says_too_long(message: str) -> bool:
    """Whether a refusal is about the prompt's length."""
    lowered = message.lower()
    return any(phrase in lowered for phrase in TOO_LONG)


def in_words_of(api: Api, message: str) -> str:
    """The same refusal to a client of that API."""
    lowered = message.lower()
    other = Api.OPENAI if api == Api.ANTHROPIC else Api.ANTHROPIC
    if any(phrase in lowered for phrase in _SPOKEN[api]) or not any(
        phrase in lowered for phrase in _SPOKEN[other]
    ):
        return message
    found = next((match for figure in _FIGURES if (match := figure.search(message))), None)
    if found is None:
        opening = (
            "prompt is too long"
            if api == Api.ANTHROPIC
            else "This model's maximum context length is exceeded"
        )
        return f"{opening}: {message}"
    tokens = int(found["tokens"]) + int(found.groupdict().get("output") or 0)
    return too_long(api, tokens=tokens, most_tokens=int(found["most"]))


def too_long(api: Api, *, tokens: int, most_tokens: int) -> str:
    """That a prompt of so many tokens is too long, in the words of the API."""
    if api == Api.ANTHROPIC:
        return f"prompt is too long: {tokens} tokens > {most_tokens} maximum"
    return (
        f"This model's maximum context length is {most_tokens} tokens. "
        f"However, your messages resulted in {tokens} tokens."
    )
