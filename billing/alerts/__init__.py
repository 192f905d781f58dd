"""Alerts: what tenants and operators are notified of, and how it reaches them.

It owns the outbox, webhooks, operators' alerts and the watch over unusual spending.
It does not own the thresholds of budgets: the ledger's functions write those events.
"""
