"""The balances of budget windows as the database's functions give them, and as this process saw them last.

Invariant: what was seen is a hint for choices, never a permission, and at most MOST_SECONDS old, or CALM_SECONDS where a budget
is far from all that depends on it. Every admission, settlement and look of this process renews it; what other processes spend
shows when it is too old and is read again.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import orjson

from billing.budgets.balances import Balance
from billing.budgets.windows import WindowKey

MOST_SECONDS: Final = 1.0
CALM_SECONDS: Final = 60.0
MOST_SEEN: Final = 20_000

_seen: dict[tuple[int, str, datetime | None], tuple[Balance, float]] = {}


def read_balances(text: str) -> dict[int, Balance]:
    """The balances by window id, from what `billing_describe_windows` returns."""
    balances = {}
    for entry in orjson.loads(text):
        window_id, budget_id, scope, subject, unit, period, mode, limit, spent, held, resets_at = entry
        balances[window_id] = Balance(
            budget_id,
            scope,
            subject,
            unit,
            period,
            mode,
            Decimal(limit),
            Decimal(spent),
            Decimal(held),
            datetime.fromisoformat(resets_at) if resets_at else None,
        )
    remember(balances.values())
    return balances


def remember(balances: Iterable[Balance]) -> None:
    """Note balances that PostgreSQL gave just now."""
    if len(_seen) > MOST_SEEN:
        _seen.clear()
    now = time.monotonic()
    for balance in balances:
        _seen[balance.budget_id, balance.subject, balance.resets_at] = balance, now


def seen(windows: Sequence[WindowKey], *, since: float, calm_percent: float = 0) -> list[Balance]:
    """The balances of all these windows, none of them seen before `since` (monotonic), or too old. One that was used to less
    than `calm_percent` is good for longer. Raises KeyError."""
    now = time.monotonic()
    balances = []
    for window in windows:
        key = window.budget.id, window.subject, window.ends_at
        balance, at = _seen[key]
        age = now - at
        if at < since or age > CALM_SECONDS or (age > MOST_SECONDS and balance.used_percent >= calm_percent):
            raise KeyError(key)
        balances.append(balance)
    return balances


def seems_to_fit(window: WindowKey, amount: Decimal) -> bool:
    """Whether a window had room for that much when it was seen last, however long ago; true for one never seen."""
    key = window.budget.id, window.subject, window.ends_at
    balance, _ = _seen.get(key, (None, 0))
    return balance is None or balance.mode != "hard" or amount <= balance.remaining
