"""Alerts: what tenants and operators are notified of, and how it reaches them.

It owns the watches, grouping, the outbox and webhooks. `billing.notices` writes what other rooms found themselves, and
`billing.incidents` has what becomes of an alert that is open. It does not own the thresholds of budgets: the ledger's functions
write those events.
"""
