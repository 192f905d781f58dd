"""Decides how much of an answer's limit is held before the provider is called.

Invariant: where a hard budget counts the call, all that may come unseen is held. A stream that shows its tokens as they
come is held as far as such calls usually get and extended while it runs; an answer that comes in one piece, or after thoughts
that are not shown, is not allowed to get longer than what was held for it.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey
from billing.estimates.costs import output_tokens_for
from billing.prices.book import Rates
from llm.wire import Exchange

AMPLE: Final = 100  # a budget of so many of the longest answers has room for one
SHARES: Final = 4  # of what a budget has left, a call that cannot be extended takes no more than one
UNLIMITED: Final = 10**9
MODEST_TOKENS: Final = 8192  # but may always take so many, where there are any

# models whose thoughts are billed and not shown, or shown only as a summary
_THINKS_UNSEEN: Final = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)|codex")
_THINKING_FIELDS: Final = ("reasoning", "reasoning_effort", "thinking")


def shows_its_tokens(exchange: Exchange) -> bool:
    """Whether the answer is seen as it comes, with all that is billed for it."""
    body = exchange.body
    if body.get("stream") is not True or any(body.get(name) for name in _THINKING_FIELDS):
        return False
    model = str(body.get("model")).rpartition("/")[2]
    return exchange.upstream.api == "anthropic.messages" or not _THINKS_UNSEEN.match(model)


def counts_for_a_hard_budget(windows: Iterable[WindowKey]) -> bool:
    return any(is_hard_limit(window) for window in windows)


def is_ample(windows: Iterable[WindowKey], *, hold_usd: Decimal, hold_tokens: int) -> bool:
    """Whether every hard budget is so large that one call's hold makes no difference."""
    return all(
        window.budget.limit_amount >= AMPLE * (hold_usd if window.budget.unit == "usd" else hold_tokens)
        for window in windows
        if is_hard_limit(window)
    )


def is_hard_limit(window: WindowKey) -> bool:
    return window.budget.mode == "hard" and window.budget.unit != "requests"


def share_of_the_rest(balances: Iterable[Balance], *, rates: Rates, input_tokens: int) -> int:
    """How many more output tokens one call may hold of what the hard budgets have left."""
    rooms = [
        output_tokens_for(balance, rates=rates, input_tokens=input_tokens)
        for balance in balances
        if balance.mode == "hard" and balance.unit != "requests"
    ]
    return min(rooms, default=UNLIMITED) // SHARES
