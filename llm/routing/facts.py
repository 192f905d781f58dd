"""The facts that routing uses: the last question of a request and what its answer needs, read from a body of either API.

Invariant: reading never fails and never changes the body; what a body does not say is the empty value.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

AUTO: Final = "auto"
FOLLOW_UP_WORDS: Final = 6  # a shorter ask is judged together with the one before it

# what coding harnesses wrap around the person's words; it says nothing about the work
_HARNESS_OPENING = re.compile(
    r"<(system-reminder|environment_context|environment_details|user_instructions|additional_data|attached_files)>"
)


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """One request as routing sees it."""

    model_asked: str
    ask: str
    declared_tier: str = ""
    max_output_tokens: int | None = None
    needs: frozenset[str] = frozenset()
    user_turns: int = 1
    answers: int = 1

    @property
    def is_automatic(self) -> bool:
        """Whether the gateway may choose: the client asked for `auto`, or for `auto:<tier>`."""
        return self.model_asked == AUTO or self.model_asked.startswith(f"{AUTO}:")


def read_route_facts(body: Mapping[str, Any], *, declared_tier: str = "") -> RouteFacts:
    """Read the facts of a chat, messages or responses body. `auto:<tier>` wins over the header's tier."""
    model = str(body.get("model") or "")
    _, _, tier_asked = model.partition(":") if model.startswith(f"{AUTO}:") else ("", "", "")
    asks = list(_user_texts(body))
    ask = asks[-1] if asks else ""
    if len(ask.split(None, FOLLOW_UP_WORDS)) < FOLLOW_UP_WORDS and len(asks) > 1:
        ask = f"{asks[-2]}\n{ask}"
    return RouteFacts(
        model_asked=model,
        ask=ask,
        declared_tier=tier_asked or declared_tier,
        max_output_tokens=_max_output_tokens(body),
        needs=frozenset(_needs(body)),
        user_turns=len(asks),
        answers=body["n"] if isinstance(body.get("n"), int) and body["n"] > 0 else 1,
    )


def _turns(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    turns = body.get("messages")
    if turns is None:
        turns = body.get("input")
        if isinstance(turns, str):
            return [{"role": "user", "content": turns}]
    return [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []


def _user_texts(body: Mapping[str, Any]) -> Iterator[str]:
    for turn in _turns(body):
        if turn.get("role") == "user":
            text = _without_harness("\n".join(_texts(turn.get("content")))).strip()
            if text:  # a turn of tool results alone continues the ask before it
                yield text


def _without_harness(text: str) -> str:
    """The text without the blocks of a harness. Linear: a tag that is not closed any more is not looked for again."""
    kept: list[str] = []
    unclosed: set[str] = set()
    position = 0
    for opening in _HARNESS_OPENING.finditer(text):
        tag = opening[1]
        if opening.start() < position or tag in unclosed:
            continue
        closing = text.find(f"</{tag}>", opening.end())
        if closing < 0:
            unclosed.add(tag)
            continue
        kept.append(text[position : opening.start()])
        position = closing + len(f"</{tag}>")
    return "".join((*kept, text[position:])) if position else text


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if (
                isinstance(part, dict)
                and part.get("type") in ("text", "input_text")  # a type that is a list must not raise
                and isinstance(part.get("text"), str)
            ):
                yield part["text"]


def _max_output_tokens(body: Mapping[str, Any]) -> int | None:
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _needs(body: Mapping[str, Any]) -> Iterator[str]:
    if body.get("tools") or body.get("functions"):
        yield "tools"
    response_format = body.get("response_format")
    text = body.get("text")
    if response_format is None and isinstance(text, dict):
        response_format = text.get("format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        yield "json_schema"
    if any(_has_image(turn.get("content")) for turn in _turns(body)):
        yield "vision"


def _has_image(content: Any) -> bool:
    if not isinstance(content, list):
        return False
    for part in content:
        if isinstance(part, dict):
            if part.get("type") in ("image_url", "input_image", "image"):
                return True
            if part.get("type") == "tool_result" and _has_image(part.get("content")):
                return True
    return False
