"""Owns what a call is billed for, and how each API reports it.

Invariant: the five classes are disjoint; every shape below is derived from them.
"""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by class; `input` excludes what was read from or written to the prompt cache."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0  # part of output

    @property
    def total_input(self) -> int:
        """All input tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def with_output(self, tokens: int) -> "Usage":
        """The same call, ended after so many output tokens."""
        return replace(self, output=tokens, reasoning=min(self.reasoning, tokens))

    def meters(self) -> dict[str, int]:
        """The classes that are billed, without zeros."""
        meters = {
            "input": self.input,
            "cache_read": self.cache_read,
            "cache_write_5m": self.cache_write_5m,
            "cache_write_1h": self.cache_write_1h,
            "output": self.output,
        }
        return {name: tokens for name, tokens in meters.items() if tokens}

    def chat(self) -> dict[str, Any]:
        """The `usage` of a chat completion."""
        return {
            "prompt_tokens": self.total_input,
            "completion_tokens": self.output,
            "total_tokens": self.total_input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cache_read, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def responses(self) -> dict[str, Any]:
        """The `usage` of a response."""
        return {
            "input_tokens": self.total_input,
            "input_tokens_details": {"cached_tokens": self.cache_read, "cache_write_tokens": 0},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.total_input + self.output,
        }

    def embeddings(self) -> dict[str, Any]:
        """The `usage` of an embeddings call."""
        return {"prompt_tokens": self.total_input, "total_tokens": self.total_input}

    def messages(self, *, service_tier: str = "standard") -> dict[str, Any]:
        """The `usage` of an Anthropic message."""
        return {
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_write_5m + self.cache_write_1h,
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
            "output_tokens": self.output,
            "output_tokens_details": {"thinking_tokens": self.reasoning},
            "server_tool_use": None,
            "service_tier": service_tier,
            "inference_geo": "not_available",
        }
