"""The admin of everything that is money. Each model has a module with its page; this one gathers them.

It owns pages and their forms. It does not own rules: each action calls one function of another package.
"""

from billing.admin import alerts as admin_alerts
from billing.admin import allocation as admin_allocation
from billing.admin import billing_details as admin_billing_details
from billing.admin import budgets as admin_budgets
from billing.admin import channels as admin_channels
from billing.admin import contracts as admin_contracts
from billing.admin import estimates as admin_estimates
from billing.admin import ledger as admin_ledger
from billing.admin import prices as admin_prices
from billing.admin import raise_requests as admin_raise_requests
from billing.admin import runs as admin_runs
from billing.admin import statements as admin_statements
from billing.admin import tenants as admin_tenants
from billing.admin.months import periods as admin_periods
from billing.admin.months import schedules as admin_schedules

__all__ = [
    "admin_alerts",
    "admin_allocation",
    "admin_billing_details",
    "admin_budgets",
    "admin_channels",
    "admin_contracts",
    "admin_estimates",
    "admin_ledger",
    "admin_periods",
    "admin_prices",
    "admin_raise_requests",
    "admin_runs",
    "admin_schedules",
    "admin_statements",
    "admin_tenants",
]
