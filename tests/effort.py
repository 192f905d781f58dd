"""How much of all that could be tried a run tries: the suite a share, `make hostile` everything."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
IS_LONG = os.environ.get("HOSTILE") == "all"


def share(things: Sequence[T], *, one_in: int, turn: int) -> Sequence[T]:
    """One in so many of them; as many turns in a row try them all."""
    return things if IS_LONG else things[turn % one_in :: one_in]
