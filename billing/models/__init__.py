"""The tables of money: prices, budgets, the ledger, alerts.

It owns tables, constraints and triggers. It does not own writes: the functions of the other packages do.
"""

from billing.models.alerts import (
    AlertChannel,
    AlertDelivery,
    AlertEvent,
    AlertFinding,
    AlertRule,
    AlertStep,
)
from billing.models.billing_details import BillingDetails
from billing.models.budgets import Budget, BudgetRaise, BudgetWindow
from billing.models.contracts.commitments import Commitment
from billing.models.contracts.currencies import CurrencyRate
from billing.models.contracts.entries import EntryProposal, ManualEntry
from billing.models.contracts.gl_accounts import GlAccount
from billing.models.contracts.prepaid import PrepaidBalance, PrepaidEntry
from billing.models.contracts.proposals import AgreementProposal
from billing.models.deliveries import ReportDelivery, ReportSchedule
from billing.models.estimates import EstimateAccuracy
from billing.models.ledger import Attempt, BillingPeriod, RollupDirty, UsageDaily, UsageLine, UsageRecord
from billing.models.month_jobs import MonthFile, MonthJob
from billing.models.planning import FeatureDay, FeatureEvent, ForecastTrial
from billing.models.prices import PriceProposal, PriceRow
from billing.models.raise_requests import RaiseRequest
from billing.models.rate_rules import RateRule, RuleCheck
from billing.models.reconciliation import CostComparison, CostReport, CostReportLine
from billing.models.reratings import PriceCheck, Rerating, ReratingRow
from billing.models.runs import AgentHour, RunEnvelope
from billing.models.spans import UsageSpan, WatchClock
from billing.models.split_rules import ChargebackSheet, SplitRule
from billing.models.statements import (
    Certificate,
    CertificateAnnex,
    ReceiptTree,
    Statement,
    StatementFile,
    StatementLine,
)
from billing.models.tags import RunTags, TagValue
from billing.models.usage_sums import PeriodSum, UsageSum

__all__ = [
    "AgentHour",
    "AgreementProposal",
    "AlertChannel",
    "AlertDelivery",
    "AlertEvent",
    "AlertFinding",
    "AlertRule",
    "AlertStep",
    "Attempt",
    "BillingDetails",
    "BillingPeriod",
    "Budget",
    "BudgetRaise",
    "BudgetWindow",
    "Certificate",
    "CertificateAnnex",
    "ChargebackSheet",
    "Commitment",
    "CostComparison",
    "CostReport",
    "CostReportLine",
    "CurrencyRate",
    "EntryProposal",
    "EstimateAccuracy",
    "FeatureDay",
    "FeatureEvent",
    "ForecastTrial",
    "GlAccount",
    "ManualEntry",
    "MonthFile",
    "MonthJob",
    "PeriodSum",
    "PrepaidBalance",
    "PrepaidEntry",
    "PriceCheck",
    "PriceProposal",
    "PriceRow",
    "RaiseRequest",
    "RateRule",
    "ReceiptTree",
    "ReportDelivery",
    "ReportSchedule",
    "Rerating",
    "ReratingRow",
    "RollupDirty",
    "RuleCheck",
    "RunEnvelope",
    "RunTags",
    "SplitRule",
    "Statement",
    "StatementFile",
    "StatementLine",
    "TagValue",
    "UsageDaily",
    "UsageLine",
    "UsageRecord",
    "UsageSpan",
    "UsageSum",
    "WatchClock",
]
