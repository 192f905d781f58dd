"""What is left of a budget in one of its windows.

Invariant: pure; the figures are those the gate itself used when it answered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.outcomes import plain

UNIT_NAMES = {"usd": "USD", "tokens": "tokens", "requests": "requests"}


@dataclass(frozen=True, slots=True)
class Balance:
    """A budget's window as the ledger last saw it. `limit` includes the raises that count now."""

    budget_id: int
    scope: str
    subject: str
    unit: str
    period: str
    mode: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    resets_at: datetime | None

    @property
    def remaining(self) -> Decimal:
        """What may still be held. Negative where a soft budget was overdrawn or a limit was lowered."""
        return self.limit - self.spent - self.held

    @property
    def used_percent(self) -> Decimal:
        """Spent and held, in percent of the limit: the number that admission goes by."""
        if self.limit <= 0:
            return Decimal(100)
        return ((self.spent + self.held) * 100 / self.limit).quantize(Decimal("0.01"))

    @property
    def unit_name(self) -> str:
        return UNIT_NAMES[self.unit]

    def describe(self) -> str:
        """For example "tenant budget of 5 USD per day"."""
        whose = f"{self.scope.replace('_', ' ')} budget"
        if self.subject:
            whose += f" '{self.subject}'"
        period = "in total" if self.period == "total" else f"per {self.period}"
        return f"{whose} of {plain(self.limit)} {self.unit_name} {period}"


def tightest(balances: Iterable[Balance]) -> Balance:
    """The balance with the smallest share left, a hard one before a soft one. Raises ValueError on none."""
    return min(balances, key=_share_left)


def _share_left(balance: Balance) -> tuple[bool, Decimal]:
    share = balance.remaining / balance.limit if balance.limit > 0 else Decimal(0)
    return balance.mode != "hard", share
