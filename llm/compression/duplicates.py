"""Leaves out what a prompt says twice: whole exchanges (few-shot examples, resent turns) and paragraphs
(chunks).

Invariant: the first of two equals stays, so a prompt's beginning stays the same byte for byte; the last user
turn, the instructions, and half of a tool call and its result are never left out; texts that differ in a
number, a name or any other word that carries meaning are not equals, however alike they read.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from llm.compression.turns import Turn, exchanges, rewrite_texts, texts_of

SHINGLE_WORDS: Final = 5
ALIKE: Final = 0.9  # Jaccard similarity of shingles from which two texts are equals
SHORTEST_WORDS: Final = 25  # below, a repetition may well be meant ("yes", a heading, a refrain)
MOST_COMPARED: Final = 16  # texts of the very same words that one is compared with: the latest

_WORD = re.compile(r"\d[\d.,:/%-]*\d|\w+", re.UNICODE)
_PARAGRAPH = re.compile(r"(\n[ \t]*\n)")
_SMALL_WORDS: Final = (
    "a also an and are as at be been by for from had has have in into is it its of on or so such than "
    "that the their there these they this those to was were which will with"
)
_FUNCTION_WORDS: Final = frozenset(_SMALL_WORDS.split())
AS_ABOVE: Final = "[The same as the earlier result above.]"
_IDS: Final = frozenset({"id", "tool_call_id", "tool_use_id", "call_id"})


@dataclass(frozen=True, slots=True)
class _Print:
    """What two texts are compared by."""

    shingles: frozenset[int]
    content_words: frozenset[str]


class _Seen:
    """The prints met so far, found by their words: equals have the very same ones."""

    def __init__(self) -> None:
        self._by_words: dict[frozenset[str], deque[_Print]] = {}

    def has_equal(self, one: _Print) -> bool:
        return any(_are_alike(one, other) for other in self._by_words.get(one.content_words, ()))

    def add(self, one: _Print) -> None:
        self._by_words.setdefault(one.content_words, deque(maxlen=MOST_COMPARED)).append(one)


def drop_duplicate_exchanges(turns: Sequence[Turn], *, frozen: int = 0) -> list[Turn]:
    """The turns without the exchanges that repeat an earlier one, question and answer both. Keeps the last
    exchange."""
    groups = exchanges(turns)
    seen = _Seen()
    exact: set[bytes] = set()
    dropped: set[int] = set()
    for group in groups:
        members = [turns[position] for position in group]
        is_open = group is groups[-1]
        if _uses_tools(members):
            form = orjson.dumps([_without_ids(member) for member in members], option=orjson.OPT_SORT_KEYS)
            is_repeated = form in exact
            exact.add(form)
        else:
            one = _print_of(
                "\n\n".join(
                    f"{member.get('role')}: {text}" for member in members for text in texts_of(member)
                )
            )
            is_repeated = bool(one.shingles) and seen.has_equal(one) and not _has_other_parts(members)
            seen.add(one)
        if is_repeated and not is_open and group[0] >= frozen:
            dropped.update(group)
    return [turn for position, turn in enumerate(turns) if position not in dropped]


def drop_duplicate_paragraphs(turns: Sequence[Turn], *, frozen: int = 0) -> list[Turn]:
    """The turns with paragraphs left out that an earlier user turn has said, and repeated tool results
    referred to.

    The last user turn is compared with itself alone: what it brings along again, it brings along on purpose.
    """
    groups = exchanges(turns)
    last = groups[-1][0] if groups else -1
    seen, results = _Seen(), set[str]()
    kept: list[Turn] = []
    for position, turn in enumerate(turns):
        if position == last:
            seen = _Seen()
        if _is_result(turn):
            shorter = rewrite_texts(turn, lambda text: _unless_seen(text, results))
        elif turn.get("role") == "user":
            shorter = rewrite_texts(turn, lambda text, seen=seen: _unrepeated(text, seen))  # type: ignore[misc]
        else:
            shorter = turn
        kept.append(turn if position < frozen else shorter)
    return kept


def _is_result(turn: Turn) -> bool:
    return (
        turn.get("role") == "tool"
        or turn.get("type") == "function_call_output"
        or "tool_result" in _part_kinds(turn)
    )


def _unless_seen(text: str, results: set[str]) -> str:
    if len(text.split()) < SHORTEST_WORDS:
        return text
    if text in results:
        return AS_ABOVE
    results.add(text)
    return text


def _unrepeated(text: str, seen: _Seen) -> str:
    kept = []
    for paragraph, is_prose in _paragraphs(text):
        one = _print_of(paragraph) if is_prose else _NOTHING
        if one.shingles and seen.has_equal(one):
            continue
        seen.add(one)
        kept.append(paragraph)
    shorter = "".join(kept)
    return shorter.rstrip("\n") if kept and len(shorter) < len(text) else text


def _paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """The paragraphs with the blank lines after them, and whether each is prose; a fence is one piece."""
    pieces = [*_PARAGRAPH.split(text), ""]
    fenced: list[str] = []
    for paragraph, blank in zip(pieces[::2], pieces[1::2], strict=True):
        is_mark = (paragraph.count("```") + paragraph.count("~~~")) % 2 == 1
        if fenced or is_mark:
            closes = bool(fenced) and is_mark
            fenced += [paragraph, blank]
            if closes:
                yield "".join(fenced), False
                fenced = []
        else:
            yield paragraph + blank, "```" not in paragraph and "~~~" not in paragraph
    if fenced:
        yield "".join(fenced), False


_NOTHING: Final = _Print(frozenset(), frozenset())


def _print_of(text: str) -> _Print:
    words = _WORD.findall(text.lower())
    if len(words) < SHORTEST_WORDS:
        return _NOTHING
    shingles = frozenset(
        hash(tuple(words[start : start + SHINGLE_WORDS])) for start in range(len(words) - SHINGLE_WORDS + 1)
    )
    return _Print(shingles, frozenset(words) - _FUNCTION_WORDS)


def _are_alike(one: _Print, other: _Print) -> bool:
    shared = len(one.shingles & other.shingles)
    return shared >= ALIKE * (len(one.shingles) + len(other.shingles) - shared)


def _uses_tools(members: Sequence[Turn]) -> bool:
    return any(
        member.get("role") not in {"user", "assistant"}
        or member.get("tool_calls")
        or _part_kinds(member) & {"tool_use", "tool_result"}
        for member in members
    )


def _has_other_parts(members: Sequence[Turn]) -> bool:
    """Whether it has something other than text (an image, a file): that is not compared, so never left out."""
    return any(_part_kinds(member) - {"text", "input_text", "output_text"} for member in members)


def _part_kinds(turn: Turn) -> set[str]:
    content = turn.get("content")
    return (
        {str(part.get("type")) for part in content if isinstance(part, dict)}
        if isinstance(content, list)
        else set()
    )


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(inner) for key, inner in value.items() if key not in _IDS}
    return [_without_ids(inner) for inner in value] if isinstance(value, list) else value
