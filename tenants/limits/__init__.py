"""Limits: requests and tokens per minute, and calls at one time.

It owns counting in Redis and in one process. It does not own money budgets (`billing.budgets`).
"""
