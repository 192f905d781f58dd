"""The admin of everything that is money. Each page stands in the file of its thing; this one gathers them."""

from billing import (
    admin_alerts,
    admin_budgets,
    admin_estimates,
    admin_ledger,
    admin_prices,
    admin_raise_requests,
    admin_statements,
    admin_tenants,
)

__all__ = [
    "admin_alerts",
    "admin_budgets",
    "admin_estimates",
    "admin_ledger",
    "admin_prices",
    "admin_raise_requests",
    "admin_statements",
    "admin_tenants",
]
