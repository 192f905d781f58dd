"""What is left of a budget in one of its windows, and the refusal of a call that does not fit.

Invariant: pure; the figures are those that admission itself used for its answer.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Final

from django.conf import settings

from billing.money import plain
from billing.scopes import PREPAID, RUN
from config.values import value_type
from tenants.errors import ClientError

RESETS_AT: Final = "x-purser-budget-resets-at"
UNIT_NAMES: Final = {"usd": "USD", "tokens": "tokens", "requests": "requests"}


@value_type
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
        """Spent and held, in percent of the limit: the number that admission uses."""
        if self.limit <= 0:
            return Decimal(100)
        return ((self.spent + self.held) * 100 / self.limit).quantize(Decimal("0.01"))

    @property
    def unit_name(self) -> str:
        return UNIT_NAMES[self.unit]

    def describe(self) -> str:
        """For example "tenant budget of 5 USD per day"."""
        if self.scope == RUN:
            return f"envelope of run '{self.subject}' of {plain(self.limit)} USD"
        if self.scope == PREPAID:
            return "prepaid balance"
        whose = f"{self.scope.replace('_', ' ')} budget"
        if self.subject:
            whose += f" '{self.subject}'"
        period = "in total" if self.period == "total" else f"per {self.period}"
        return f"{whose} of {plain(self.limit)} {self.unit_name} {period}"


class BudgetExceeded(ClientError):
    """A hard budget has no room for the call. `balance` is the fullest of those that had none."""

    status, code, type = 429, "budget_exceeded", "insufficient_quota"
    recurs = True

    def __init__(self, balance: Balance, *, needed: Decimal, what: str = "call") -> None:
        now = datetime.now(UTC)
        seconds = ceil((balance.resets_at - now).total_seconds()) if balance.resets_at else None
        headers = reset_header(balance)
        remedy = f" It resets at {headers[RESETS_AT]}." if headers else ""
        if balance.scope == PREPAID:
            remedy = " Calls go on once it is topped up."
        if raise_url := raise_url_of(balance):
            remedy = f" Raise it and go on: {raise_url}"
        super().__init__(
            f"The {balance.describe()} has {plain(balance.remaining)} {balance.unit_name} left; "
            f"this {what} may need {plain(needed)} {balance.unit_name}.{remedy}",
            retry_after_seconds=None if seconds is None else max(1, seconds),
            headers=headers,
            facts={
                "budget": balance.describe(),
                "scope": balance.scope,
                "subject": balance.subject,
                "unit": balance.unit,
                "period": balance.period,
                "limit": plain(balance.limit),
                "spent": plain(balance.spent),
                "held": plain(balance.held),
                "asked": plain(needed),
                "remaining": plain(balance.remaining),
                "resets_at": balance.resets_at,
                **({"raise_url": raise_url} if raise_url else {}),
            },
        )
        self.balance = balance


def raise_url_of(balance: Balance) -> str:
    """The page on which an envelope is raised; empty for what is none."""
    return f"{settings.SITE_URL}/portal/runs/{balance.budget_id}" if balance.scope == RUN else ""


def tightest(balances: Iterable[Balance]) -> Balance:
    """The balance with the smallest share left, a hard one before a soft one. Raises ValueError on none.

    A prepaid balance has no share that says anything: it is the tightest where less is left of it than of that, or alone.
    """
    known = list(balances)
    prepaid = next((one for one in known if one.scope == PREPAID), None)
    others = pressing(known)
    if prepaid is None or not others:
        return min(known, key=_share_left)
    least = min(others, key=_share_left)
    return prepaid if least.unit == "usd" and prepaid.remaining < least.remaining else least


def pressing(balances: Iterable[Balance]) -> list[Balance]:
    """The balances whose used share means something: of a prepaid balance it only grows, however often it is topped up."""
    return [balance for balance in balances if balance.scope != PREPAID]


def reset_header(balance: Balance | None) -> dict[str, str]:
    """When a budget resets, in RFC 3339; empty for one that never does."""
    if balance is None or balance.resets_at is None:
        return {}
    return {RESETS_AT: f"{balance.resets_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}


def _share_left(balance: Balance) -> tuple[bool, Decimal]:
    share = balance.remaining / balance.limit if balance.limit > 0 else Decimal(0)
    return balance.mode != "hard", share
