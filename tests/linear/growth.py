"""How the work of a function grows with its text: by the CPU time of this process, never by the clock on the wall."""

import time
from collections.abc import Callable

SIZES = (12, 16, 64, 256, 1_024, 4_096)  # the small ones are for what grows exponentially
NEGLIGIBLE_NS = 400.0  # a character: whatever grows to more than this is looked at
MOST_GROWTH = 2.2  # of the work per character, from one size to the next
STEPS = 2  # in a row; work that is bounded, but not yet at its bound, grows once
BEYOND_DOUBT_NS = 40_000.0


def grows_too_fast(work: Callable[[int], Callable[[], object]], *, sizes: tuple[int, ...] = SIZES) -> str:
    """Empty where the work per character stays level; else what was seen. `work(size)` prepares one run."""
    before, smaller, steps = 0.0, 0, 0
    for size in (*sizes, sizes[-1] * 4):
        if size > sizes[-1] and not steps:
            return ""
        run = work(size)
        per_character = _cost(run, 1) / size
        if _is_too_fast(before, per_character):
            before, per_character = _cost(work(smaller), 5) / smaller, _cost(run, 5) / size
        steps = steps + 1 if _is_too_fast(before, per_character) else 0
        if steps == STEPS or (steps and per_character > BEYOND_DOUBT_NS):
            return f"{before:,.0f} ns a character at {smaller:,}, {per_character:,.0f} at {size:,}"
        before, smaller = per_character, size
    return ""


def _is_too_fast(before: float, after: float) -> bool:
    return before > 0 and after > NEGLIGIBLE_NS and after > MOST_GROWTH * before


def _cost(run: Callable[[], object], times: int) -> float:
    """The least CPU time of some runs, in nanoseconds."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time_ns()
        run()
        best = min(best, time.process_time_ns() - start)
    return best
