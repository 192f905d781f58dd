"""Keeps the end of a long conversation: a window over its last exchanges.

Invariant: instructions always stay, and so do cached turns; an exchange stays or goes as a whole, so that no
tool result is left without its call.
"""

from collections.abc import Sequence

from llm.compression.turns import Turn, exchanges, is_instruction


def last_exchanges(turns: Sequence[Turn], *, history_turns: int, frozen: int = 0) -> list[Turn]:
    """The instructions, the current exchange and the `history_turns` before it; 0 keeps everything."""
    groups = exchanges(turns)
    if history_turns < 1 or len(groups) <= history_turns + 1:
        return list(turns)
    out_of_window = {
        position for group in groups[: -(history_turns + 1)] for position in group if group[0] >= frozen
    }
    return [
        turn for position, turn in enumerate(turns) if position not in out_of_window or is_instruction(turn)
    ]
