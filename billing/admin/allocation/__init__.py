"""The pages of how tenants divide cost among their cost centres: split rules, and the chargebacks of months.

It owns pages and their forms, which ask before they act. It does not own division: `billing/months` does that.
"""

from billing.admin.allocation import split_rules as admin_split_rules

__all__ = ["admin_split_rules"]
