"""The tables of what is agreed with tenants: entries by hand, prepaid balances, commitments, currencies, accounts.

It owns tables and constraints. It does not own writes: the functions of `billing.contracts` do.
"""
