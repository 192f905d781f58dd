"""The pages of what is agreed with tenants: their rate rules, what is given back, paid ahead and committed to.

It owns pages and their forms, which ask before they act. It does not own rules: each calls one function of another package.
"""

from billing.admin.contracts import commitments as admin_commitments
from billing.admin.contracts import currencies as admin_currencies
from billing.admin.contracts import entries as admin_entries
from billing.admin.contracts import journal as admin_journal
from billing.admin.contracts import prepaid as admin_prepaid
from billing.admin.contracts import proposals as admin_proposals
from billing.admin.contracts import rate_rules as admin_rate_rules

__all__ = [
    "admin_commitments",
    "admin_currencies",
    "admin_entries",
    "admin_journal",
    "admin_prepaid",
    "admin_proposals",
    "admin_rate_rules",
]
