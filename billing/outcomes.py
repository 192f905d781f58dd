"""What can go wrong with money: what a client is told, and what only we need to know.

Invariant: one class per outcome; a client's outcome names the limit, whose it is and when it ends.
"""

from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import TYPE_CHECKING, Final

from tenants.outcomes import ClientError

if TYPE_CHECKING:
    from billing.budgets.balances import Balance


RESETS_AT: Final = "x-purser-budget-resets-at"


class BudgetExceeded(ClientError):
    """A hard budget has no room for the call. `balance` is the fullest of those that had none."""

    status, code, type = 429, "budget_exceeded", "insufficient_quota"
    recurs = True

    def __init__(self, balance: "Balance", *, needed: Decimal) -> None:
        now = datetime.now(UTC)
        seconds = ceil((balance.resets_at - now).total_seconds()) if balance.resets_at else None
        headers = reset_header(balance)
        reset = f" It resets at {headers[RESETS_AT]}." if headers else ""
        super().__init__(
            f"The {balance.describe()} has {plain(balance.remaining)} {balance.unit_name} left; "
            f"this call may need {plain(needed)} {balance.unit_name}.{reset}",
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
            },
        )
        self.balance = balance


class ModelUnpriced(ClientError):
    """Nobody has told us what the model costs: it is never called."""

    status, code, type = 402, "model_unpriced", "billing_error"


class LedgerUnavailable(ClientError):
    """PostgreSQL does not answer: nothing is admitted that could not be written down."""

    status, code, type = 503, "service_unavailable", "api_error"

    def __init__(self, message: str = "The ledger is not available at the moment; try again.") -> None:
        super().__init__(message, retry_after_seconds=2)


class Stalled(LedgerUnavailable):
    """A statement waited or ran longer than it may, because of another one. Nothing of it was done."""


class InvalidUsage(ValueError):
    """A usage block contradicts itself, or says nothing. It is not billed as it stands."""


class UnpricedMeter(ModelUnpriced):
    """The model is priced, but not in the way it is or would be used."""


def reset_header(balance: "Balance | None") -> dict[str, str]:
    """When a budget begins anew, in RFC 3339; empty for one that never does."""
    if balance is None or balance.resets_at is None:
        return {}
    return {RESETS_AT: f"{balance.resets_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}


def plain(amount: Decimal) -> str:
    """An amount without trailing zeros or exponent."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
