"""Budgets: their windows, what is left in them, and how limits change.

It owns budgets, raises and requests for raises. It does not own holds: the ledger decides whether a call fits.
"""
