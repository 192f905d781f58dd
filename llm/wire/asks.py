"""What people ask in the turns of a request, without what their tools wrap around it.

Invariant: pure, linear in the text; reading never fails.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from config.values import value_type

MOST_KEPT: Final = 2

# what coding harnesses wrap around the person's words; it says nothing about the work
_HARNESS_OPENING = re.compile(
    r"<(system-reminder|environment_context|environment_details|user_instructions|additional_data|attached_files)>"
)


@value_type
class Asks:
    """The last asks, the newest at the end; how many there are in all; and whether any turn shows an image."""

    last: tuple[str, ...] = ()
    count: int = 0
    has_images: bool = False

    @classmethod
    def of(cls, turns: Iterable[Mapping[str, Any]]) -> "Asks":
        asks = cls()
        for turn in turns:
            asks = asks.with_turn(turn)
        return asks

    def with_turn(self, turn: Mapping[str, Any]) -> "Asks":
        """These and those of one more turn."""
        content = turn.get("content")
        text = _without_harness("\n".join(_texts(content))).strip() if turn.get("role") == "user" else ""
        has_images = self.has_images or _has_image(content)
        if not text:  # a turn of tool results alone continues the ask before it
            return self if has_images is self.has_images else Asks(self.last, self.count, has_images)
        return Asks((*self.last, text)[-MOST_KEPT:], self.count + 1, has_images)


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
