"""Estimates: what a call is likely to cost, and how good earlier estimates were.

It owns the expected cost and the amount of a hold. It does not own the hold itself (`ledger`).
"""
