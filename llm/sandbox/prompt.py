"""Owns the question behind a call, in either wire format.

Invariant: a Prompt is plain immutable data; equal prompts get equal replies.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message: who said what."""

    role: str  # user | assistant | tool
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `schema` is its parameters' JSON schema."""

    name: str
    description: str
    schema: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of the model and within which bounds."""

    model: str
    turns: tuple[Turn, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"  # auto | none | required | the name of a tool
    is_parallel: bool = True
    schema: dict[str, Any] | None = field(default=None, hash=False)
    wants_json: bool = False
    image_count: int = 0
    variant: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    reasoning_tokens: int = 0
    known_answer: str = ""  # what was ordered as the answer to this question; empty: nothing was

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user" and turn.text), "")

    @property
    def results(self) -> tuple[str, ...]:
        """Results of tools given since the model's last word."""
        results: list[str] = []
        for turn in reversed(self.turns):
            if turn.role != "tool":
                break
            results.append(turn.text)
        return tuple(reversed(results))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says; `pieces` is the text token by token."""

    pieces: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    reasoning: str
    reasoning_tokens: int
    output_tokens: int  # all that is billed, reasoning included
    finish: str  # stop | length | stop_sequence | tool_calls
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text among its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return "" if content is None else orjson.dumps(content, default=str).decode()
    parts: list[str] = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict):
            text = part.get("text") or part.get("refusal")
            if isinstance(text, str):
                parts.append(text)
            elif part.get("type") == "document" and isinstance(part.get("source"), dict):
                parts.append(
                    str(part["source"].get("data") or "") if part["source"].get("type") == "text" else ""
                )
    return "\n".join(parts)


def image_count(content: Any) -> int:
    """How many images or files a message's content carries."""
    if not isinstance(content, list):
        return 0
    kinds = {"image_url", "input_image", "image", "file", "input_file", "document"}
    return sum(1 for part in content if isinstance(part, dict) and part.get("type") in kinds)
