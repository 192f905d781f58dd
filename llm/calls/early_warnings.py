"""What Anthropic's clients are told of a budget that runs low, in the headers that Claude Code reads.

Invariant: said on answers only. On a refusal these headers would replace our message by the client's own.
"""

from decimal import Decimal
from typing import Final

from billing.budgets.balances import Balance, pressing
from llm.calls.call import Call
from tenants.errors import Api

THRESHOLDS: Final = (Decimal(95), Decimal(75))  # percent, as Claude Code knows them
_PREFIX: Final = "anthropic-ratelimit-unified"


def early_warning(call: Call) -> dict[str, str]:
    """The state of the hard budget or envelope that is used up furthest: from 75 % on, and always of a call with an
    envelope, so that a warning ends with a raise."""
    if call.wire.vendor != Api.ANTHROPIC:
        return {}
    fullest = max(
        (one for one in pressing(call.balances) if one.mode == "hard"),
        key=lambda one: one.used_percent,
        default=None,
    )
    if fullest is None or (fullest.used_percent < THRESHOLDS[-1] and call.envelope is None):
        return {}
    return _headers(fullest)


def _headers(balance: Balance) -> dict[str, str]:
    passed = next((one for one in THRESHOLDS if balance.used_percent >= one), None)
    status = "allowed" if passed is None else "allowed_warning"
    told = {
        f"{_PREFIX}-status": status,
        f"{_PREFIX}-representative-claim": "overage",
        f"{_PREFIX}-overage-status": status,
        f"{_PREFIX}-overage-utilization": f"{min(balance.used_percent, Decimal(100)) / 100:.4f}",
    }
    if balance.resets_at is not None:
        seconds = str(int(balance.resets_at.timestamp()))
        told |= {f"{_PREFIX}-reset": seconds, f"{_PREFIX}-overage-reset": seconds}
    if passed is not None:
        told[f"{_PREFIX}-overage-surpassed-threshold"] = f"{passed / 100:.2f}"
    return told
