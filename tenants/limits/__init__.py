"""Rate limits: requests and tokens per minute, and concurrent calls.

It owns counting in Redis and in one process. It does not own money budgets (`billing.budgets`).
"""
