"""The facts that routing uses: the last question of a request and what its answer needs, read from a body of either API.

Invariant: reading never fails and never changes the body; what a body does not say is the empty value.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from config.values import value_type
from llm.wire.asks import Asks

AUTO: Final = "auto"
FOLLOW_UP_WORDS: Final = 6  # a shorter ask is judged together with the one before it


@value_type
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


def read_route_facts(
    body: Mapping[str, Any], *, declared_tier: str = "", asks: Asks | None = None
) -> RouteFacts:
    """Read the facts of a chat, messages or responses body, whose asks may have been read before. `auto:<tier>` wins over the
    header's tier."""
    model = str(body.get("model") or "")
    _, _, tier_asked = model.partition(":") if model.startswith(f"{AUTO}:") else ("", "", "")
    asks = asks or Asks.of(_turns(body))
    ask = asks.last[-1] if asks.last else ""
    if len(ask.split(None, FOLLOW_UP_WORDS)) < FOLLOW_UP_WORDS and len(asks.last) > 1:
        ask = f"{asks.last[-2]}\n{ask}"
    return RouteFacts(
        model_asked=model,
        ask=ask,
        declared_tier=tier_asked or declared_tier,
        max_output_tokens=_max_output_tokens(body),
        needs=frozenset(_needs(body, asks)),
        user_turns=asks.count,
        answers=body["n"] if isinstance(body.get("n"), int) and body["n"] > 0 else 1,
    )


def _turns(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    turns = body.get("messages")
    if turns is None:
        turns = body.get("input")
        if isinstance(turns, str):
            return [{"role": "user", "content": turns}]
    return [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []


def _max_output_tokens(body: Mapping[str, Any]) -> int | None:
    for field in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _needs(body: Mapping[str, Any], asks: Asks) -> Iterator[str]:
    if body.get("tools") or body.get("functions"):
        yield "tools"
    response_format = body.get("response_format")
    text = body.get("text")
    if response_format is None and isinstance(text, dict):
        response_format = text.get("format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_schema":
        yield "json_schema"
    if asks.has_images:
        yield "vision"
