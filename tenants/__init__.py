"""Tenants: who uses the gateway, with which keys, limits and policy.

It owns tenants, end users, members, keys and row-level security. It does not own budgets (`billing`).
"""
