"""The tables of money: prices, budgets, the ledger, alerts."""

from billing.models.alerts import AlertChannel, AlertDelivery, AlertEvent, AlertRule
from billing.models.budgets import Budget, BudgetRaise, BudgetWindow
from billing.models.ledger import Attempt, BillingPeriod, RollupDirty, UsageDaily, UsageLine, UsageRecord
from billing.models.prices import PriceProposal, PriceRow

__all__ = [
    "AlertChannel",
    "AlertDelivery",
    "AlertEvent",
    "AlertRule",
    "Attempt",
    "BillingPeriod",
    "Budget",
    "BudgetRaise",
    "BudgetWindow",
    "PriceProposal",
    "PriceRow",
    "RollupDirty",
    "UsageDaily",
    "UsageLine",
    "UsageRecord",
]
