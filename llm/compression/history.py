"""Keeps the end of a long conversation: a window over its last exchanges.

Invariant: instructions always stay, and so do cached turns; an exchange stays or goes as a whole, so that no
tool result is left without its call.
"""

from collections.abc import Callable, Sequence

from llm.compression.turns import Turn, exchanges, is_instruction

Summary = Callable[[Sequence[Turn]], str]


def no_summary(left_out: Sequence[Turn]) -> str:
    """What stands for the turns left out where nobody summarises them: nothing."""
    return ""


def last_exchanges(
    turns: Sequence[Turn], *, history_turns: int, frozen: int = 0, summary: Summary = no_summary
) -> list[Turn]:
    """The instructions, the current exchange and the `history_turns` before it; 0 keeps everything.

    What `summary` says about the exchanges left out stands before the first one kept, as a part of its
    question.
    """
    groups = exchanges(turns)
    if history_turns < 1 or len(groups) <= history_turns + 1:
        return list(turns)
    out_of_window = {
        position for group in groups[: -(history_turns + 1)] for position in group if group[0] >= frozen
    }
    left_out = [turns[position] for position in sorted(out_of_window)]
    said = summary(left_out) if left_out else ""
    first_kept = groups[-(history_turns + 1)][0]
    return [
        _with_preface(turn, said) if said and position == first_kept else turn
        for position, turn in enumerate(turns)
        if position not in out_of_window or is_instruction(turn)
    ]


def _with_preface(turn: Turn, said: str) -> Turn:
    preface = f"[Earlier in this conversation: {said}]"
    content = turn.get("content")
    if isinstance(content, list):
        return {**turn, "content": [{"type": "text", "text": preface}, *content]}
    return {**turn, "content": f"{preface}\n\n{content or ''}"}
