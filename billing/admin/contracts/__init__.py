"""The pages of what is agreed with tenants: their rate rules, what is given back, paid ahead and committed to.

It owns pages and their forms, which ask before they act. It does not own rules: each calls one function of another package.
"""

from billing.admin.contracts import entries as admin_entries
from billing.admin.contracts import rate_rules as admin_rate_rules

__all__ = ["admin_entries", "admin_rate_rules"]
